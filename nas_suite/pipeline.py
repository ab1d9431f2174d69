"""The story in order: plan, problem, train a supernet, search it, retrain what was found, evaluate, resume."""

import platform
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas_suite.artefact import load_network, write_network
from nas_suite.cost import COSTS, cost
from nas_suite.data import DATA
from nas_suite.data.images import Splits
from nas_suite.data.sets import DataSet
from nas_suite.engine import Compute, Progress, fit, silent
from nas_suite.errors import BadInput, Interrupted, suggest
from nas_suite.ground import basis, check_basis, check_finished, check_images, intact, last
from nas_suite.method import Method, Problem
from nas_suite.methods import METHODS
from nas_suite.objective import Objective
from nas_suite.plan import PATHS, Plan
from nas_suite.registry import checked, construct, defaults, settable
from nas_suite.run import Run, handle
from nas_suite.search import Limit, archive, drive, knee, losses_of
from nas_suite.space import SearchSpace
from nas_suite.spaces import SPACES
from nas_suite.standalone import Recipe, Standalone

RESIDENT = 4 << 30  # images of fewer bytes lie on the device as a whole


def new_run(kind: str, stem: str, setting: "Setting", out: Path | None, **more: Any) -> Run:
    """A fresh run of a kind (supernet, search, retrain), numbered under `runs_root` unless `out` names its folder."""
    now = datetime.now().isoformat(timespec="milliseconds")
    record = {
        "schema": 1, "kind": kind, "status": "running", "created": now, "plan": settled(setting).record(),
        "fingerprint": setting.splits.fingerprint, **more, "environment": environment(),
    }  # fmt: skip
    if out is not None:
        return Run.create(out, record)
    return Run.numbered(stem, record)


def environment() -> dict[str, str]:
    """What a result depends on besides its settings."""
    packages = {name: version(name) for name in ("nas-suite", "torch", "numpy", "pymoo")}
    return {
        "python": platform.python_version(),
        **packages,
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


@dataclass(frozen=True)
class Setting:
    """All that a plan stands for, built: data, splits without test images, the space that fits them, where to compute."""

    plan: Plan
    data: DataSet
    splits: Splits
    space: SearchSpace
    compute: Compute

    @property
    def problem(self) -> Problem:
        s, device = self.splits, self.compute.device
        train, val = (images.to(device) if images.x.numel() < RESIDENT else images for images in (s.train, s.val))
        return Problem(self.space, train, val, s.mean, s.std, self.compute, self.plan.seed)


def typed(plan: Plan) -> Plan:
    """The plan with every value of its settings as its annotation says, and one path a block for a single-path method where
    nobody says otherwise; BadInput where a name, a value or two of them do not fit."""
    method, space = METHODS.load(plan.method), SPACES.load(plan.space)
    if not issubclass(space, method.needs):
        raise BadInput(f"method {plan.method!r} needs a {method.needs.__name__}, which space {plan.space!r} is not")
    parts = {
        "method": (method, f"method {plan.method!r}"),
        "space": (space, f"space {plan.space!r}"),
        "data": (DATA.load(plan.data), f"data {plan.data!r}"),
        "retrain": (Recipe, "retrain"),
    }
    values = {part: checked(cls, what, plan.part(part)) for part, (cls, what) in parts.items()}
    if method.single_path and PATHS in settable(space):
        values["space"].setdefault(PATHS, 1)
    for part in ("method", "retrain"):
        cls, what = parts[part]
        said = {"epochs": 1, "warmup_epochs": 0, **defaults(cls), **values[part]}
        if said["warmup_epochs"] >= said["epochs"]:
            raise BadInput(
                f"{what}: warmup_epochs = {said['warmup_epochs']} must be less than epochs = {said['epochs']}; "
                f"set {part}.warmup_epochs"
            )
    return replace(plan, settings=values)


def prepare(plan: Plan) -> Setting:
    """Checks a plan's names and settings, opens its data and builds the space that fits them."""
    plan = typed(plan)
    compute = Compute.choose(plan.device, plan.precision)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    data = DATA.build(plan.data, plan.part("data"))
    splits = data.splits()
    side = min(splits.train.shape[1:])
    for part, cls in (("method", METHODS.load(plan.method)), ("retrain", Recipe)):
        if (pad := {"pad": 0, **defaults(cls), **plan.part(part)}["pad"]) >= side:
            raise BadInput(f"{part}.pad = {pad} must be less than the side of the images of {plan.data}, {side}")
    return Setting(plan, data, splits, space_for(plan, splits), compute)


def prepare_on(run: Run, plan: Plan) -> Setting:
    """As `prepare`, on the images that `run` was made with; BadInput where they have changed."""
    setting = prepare(plan)
    check_images(run, plan.data, setting.splits.fingerprint)
    return setting


def space_for(plan: Plan, splits: Splits) -> SearchSpace:
    """The plan's space for images of this size, number of channels and classes; a setting that says otherwise is refused."""
    _, channels, side, _ = splits.train.x.shape
    fit = {"image_size": side, "channels": channels, "classes": len(splits.classes)}
    asked = plan.part("space")
    for name, value in fit.items():
        if asked.get(name, value) != value:
            raise BadInput(
                f"space.{name} is {asked[name]}, but {plan.data} has {value}; leave it out, or change the data's settings"
            )
    return SPACES.build(plan.space, {**asked, **fit})


def space_of(plan: Plan) -> SearchSpace:
    """The plan's space as its record describes it, without opening any data."""
    return SPACES.build(plan.space, plan.part("space"))


def build(setting: Setting) -> Method:
    """The plan's method on its problem, untrained."""
    return METHODS.build(setting.plan.method, setting.plan.part("method"), problem=setting.problem)


def settled(setting: Setting) -> Plan:
    """The plan with every setting spelt out, defaults included: what a run records."""
    plan, space, data = setting.plan, setting.space, setting.data
    plan = plan.with_settings("space", {name: getattr(space, name) for name in settable(type(space))})
    plan = plan.with_settings("data", {name: lasting(getattr(data, name)) for name in settable(type(data))})
    plan = plan.with_settings("method", {**defaults(METHODS.load(plan.method)), **plan.part("method")})
    return plan.with_settings("retrain", {**defaults(Recipe), **plan.part("retrain")})


def lasting(value: Any) -> Any:
    """A setting as a record keeps it: a path holds wherever the run is resumed from."""
    return str(value.expanduser().resolve()) if isinstance(value, Path) else value


def work(run: Run, job: Any) -> Run:
    """Runs `job()` in a locked run and keeps its status true: running, then done, interrupted or failed."""
    with run.locked():
        try:
            run.tidy()
            run = run.update(status="running")
            result = job() or {}
        except (Interrupted, KeyboardInterrupt) as stop:
            run.update(status="interrupted")
            number, whole = (stop.number, True) if isinstance(stop, Interrupted) else (int(signal.SIGINT), False)
            raise Interrupted(number, str(run.path), whole) from None
        except Exception as error:
            run.update(status="failed", error=str(error))
            raise
        return run.update(status="done", error=None, **result)


def train_supernet(plan: Plan, out: Path | None = None, progress: Progress = silent) -> Run:
    """Trains a supernet; returns its run."""
    setting = prepare(plan)
    method = build(setting)
    run = new_run("supernet", f"{plan.method}_{plan.space}_{plan.data}", setting, out)
    return continue_supernet(run, setting, method, progress)


def continue_supernet(run: Run, setting: Setting, method: Method, progress: Progress) -> Run:
    return work(run, lambda: {"step": fit(method, method.batches(), method.epochs, run, setting.plan.seed, progress)})


def trained(run: Run, plan: Plan | None = None) -> tuple[Setting, Method]:
    """The method of a supernet run with its newest weights, the final ones where it is done, on a plan that may change its
    search; BadInput where these or its images are no longer there."""
    if run.record["kind"] != "supernet":
        raise BadInput(f"{run.path} is a {run.record['kind']} run, not a trained supernet")
    loaded = last(run)
    if loaded is None:
        raise BadInput(f"{run.path} holds no checkpoint yet; `nas runs resume {handle(run)}` trains it")
    setting = prepare_on(run, plan or Plan.from_record(run.record["plan"]))
    method = build(setting)
    try:
        method.restore(loaded[1])
    except (KeyError, RuntimeError, ValueError) as error:
        raise BadInput(f"the checkpoint of {run.path} does not fit its plan ({str(error).splitlines()[0]})") from None
    return setting, method


def check_ground(origin: Run, plan: Plan, deed: str, names: Sequence[str]) -> None:
    """BadInput where a plan differs from its origin's in one of these names, or in settings of its space or its data."""
    former = Plan.from_record(origin.record["plan"])
    refusal = f"{origin.name} was made with {{}} = {{!r}}; {deed} of it cannot have {{!r}}: leave it out".format
    for name in names:
        if getattr(former, name) != getattr(plan, name):
            raise BadInput(refusal(name, getattr(former, name), getattr(plan, name)))
    for part, cls in (("space", SPACES.load(plan.space)), ("data", DATA.load(plan.data))):
        was, wanted = (checked(cls, f"{part} {getattr(plan, part)!r}", p.part(part)) for p in (former, plan))
        for name, value in wanted.items():
            if lasting(value) != lasting(was.get(name)):
                raise BadInput(refusal(f"{part}.{name}", was.get(name), value))
    if "method" in names:
        cls, what = METHODS.load(plan.method), f"method {plan.method!r}"
        was, wanted = ({**defaults(cls), **checked(cls, what, p.part("method"))} for p in (former, plan))
        for name in cls.ground:
            if was[name] != wanted[name]:
                raise BadInput(refusal(f"method.{name}", was[name], wanted[name]))


def objectives_for(names: Sequence[str], setting: Setting, method: Method) -> list[Objective]:
    """Objectives by name: `error` as the method scores it, and costs."""
    known = {"error": method.scorer, **{name: lambda n=name: cost(n, setting.space).objective() for name in COSTS}}
    for name in names:
        if name not in known:
            raise BadInput(f"unknown objective {name!r}{suggest(name, known)}")
    if len(set(names)) != len(names):
        raise BadInput(f"objectives {', '.join(names)} name one twice")
    return [known[name]() for name in names]


def limits_for(bounds: Mapping[str, float], space: SearchSpace) -> list[Limit]:
    for name in bounds:
        if name not in COSTS:
            raise BadInput(f"--max {name}: unknown cost{suggest(name, COSTS)}")
    return [Limit(cost(name, space).objective(), bound) for name, bound in bounds.items()]


def search_supernet(
    supernet: Run,
    plan: Plan,
    objectives: Sequence[str],
    bounds: Mapping[str, float],
    out: Path | None = None,
    progress: Progress = silent,
) -> Run:
    """Searches a trained supernet; `plan` is the supernet's with the search's settings changed. Returns the search's run."""
    check_ground(supernet, plan, "a search", ("method", "space", "data"))
    check_finished(supernet)
    setting, method = trained(supernet, plan)
    objectives_for(objectives, setting, method)
    method.searcher([], limits_for(bounds, setting.space))  # a limit that nothing meets is refused before a run is made
    run = new_run(
        "search", f"search_{plan.method}_{plan.space}_{plan.data}", setting, out,
        supernet=str(supernet.path.resolve()), basis=basis(supernet), objectives=list(objectives), limits=dict(bounds),
    )  # fmt: skip
    return continue_search(run, setting, method, progress)


def continue_search(run: Run, setting: Setting, method: Any, progress: Progress) -> Run:
    objectives = objectives_for(run.record["objectives"], setting, method)
    searcher = method.searcher(objectives, limits_for(run.record["limits"], setting.space))
    return work(run, lambda: drive(searcher, setting.space, objectives, method.budget, run, progress))


def front(run: Run) -> list[dict[str, Any]]:
    """The non-dominated trials of a search run, best first in the first objective."""
    return list(archive(run.trials(), signs(run)))


def signs(run: Run) -> list[Objective]:
    """The search's objectives by name alone; all of them are minimised."""
    return [Objective(name, "min", lambda archs: []) for name in run.record["objectives"]]


def choose(run: Run, best: int | None = None, at_knee: bool = False, arch: str | None = None) -> str:
    """The architecture to retrain: `arch` itself, the K-th best of the front in its first objective, or its knee."""
    if arch is not None:
        space = space_of(Plan.from_record(run.record["plan"]))
        return space.describe(space.parse(arch))
    if run.record["kind"] != "search":
        raise BadInput(f"{run.path} is a {run.record['kind']} run: name a search run, or an architecture with --arch")
    found = front(run)
    if not found:
        raise BadInput(f"{run.path} has no evaluated network yet; `nas runs resume {handle(run)}` goes on with it")
    if at_knee:
        import numpy as np

        return found[knee(np.array([losses_of(t, signs(run)) for t in found]))]["arch"]
    if best is not None and not 1 <= best <= len(found):
        raise BadInput(f"--best {best}: the front of {run.name} has {len(found)} networks, 1 is the most accurate")
    return found[(best or 1) - 1]["arch"]


def retrain(origin: Run, plan: Plan, arch: str, out: Path | None = None, progress: Progress = silent) -> Run:
    """Trains one architecture from scratch, then opens the test split once. Returns its run, which holds the network.

    Space and data are the origin's: of other splits, its test images may have chosen the architecture.
    """
    setting = prepare(plan)
    check_ground(origin, settled(setting), "a retraining", ("space", "data"))
    check_images(origin, plan.data, setting.splits.fingerprint)
    learner = standalone(setting, arch)
    run = new_run("retrain", f"retrain_{plan.space}_{plan.data}", setting, out, origin=str(origin.path.resolve()), arch=arch)
    return continue_retrain(run, setting, learner, progress)


def standalone(setting: Setting, arch: str) -> Standalone:
    torch.manual_seed(setting.plan.seed)
    recipe = construct(Recipe, "retrain", setting.plan.part("retrain"))
    s = setting.splits
    network = setting.space.network(setting.space.parse(arch))
    return construct(
        Standalone, "retrain", {}, network=network, recipe=recipe, train=s.train, val=s.val, mean=s.mean, std=s.std,
        compute=setting.compute, seed=setting.plan.seed,
    )  # fmt: skip


def continue_retrain(run: Run, setting: Setting, learner: Standalone, progress: Progress) -> Run:
    def job() -> dict[str, Any]:
        step = fit(learner, learner.batches(), learner.recipe.epochs, run, setting.plan.seed, progress)
        write_network(run, setting.plan.space, setting.space, run.record["arch"], learner.best_weights, setting.splits)
        arch = setting.space.parse(run.record["arch"])
        totals = {name: cost(name, setting.space).total(arch) for name in COSTS}
        best = {"val_accuracy": learner.best[0], "best_epoch": learner.best[1]}
        return {"step": step, "result": {"test_accuracy": tested(learner, setting), **best, **totals}}

    return work(run, job)


def tested(learner: Standalone, setting: Setting) -> dict[str, float]:
    """Test accuracy, 0 … 1, with the last epoch's weights and with those that were best on the validation images."""
    test = setting.data.test()
    return {"last": learner.accuracy(test), "best": learner.accuracy(test, learner.best_weights)}


def evaluate(run: Run, plan: Plan, arch: str | None = None) -> dict[str, Any]:
    """Test accuracy of a retrained network, or of an architecture in a trained supernet after calibration; writes nothing.

    `plan` is the run's; its device and precision may differ.
    """
    kind = run.record["kind"]
    if kind == "supernet":
        if arch is None:
            raise BadInput(f"{run.path} is a supernet run: name the architecture to evaluate with --arch")
        setting, method = trained(run, plan)
        chosen = setting.space.parse(arch)
        accuracy = {"one_shot": method.accuracy(chosen, setting.data.test())}
        return {"arch": setting.space.describe(chosen), "test_accuracy": accuracy}
    if kind != "retrain" or arch is not None:
        raise BadInput(f"{run.path} is a {kind} run: name a retrain run, or a supernet run and an architecture with --arch")
    loaded = last(run)
    if run.record["status"] != "done" or loaded is None:
        raise BadInput(f"{run.path} is not finished; `nas runs resume {handle(run)}` goes on with it")
    setting = prepare_on(run, plan)
    learner = standalone(setting, run.record["arch"])
    learner.restore(loaded[1])
    return {"arch": run.record["arch"], "test_accuracy": tested(learner, setting)}


def resume(run: Run, progress: Progress = silent) -> Run:
    """Goes on with a run of any kind from its last saved state; a finished one that is whole is returned as it is."""
    if run.record["status"] == "done" and intact(run):
        return run
    plan = Plan.from_record(run.record["plan"])
    kind = run.record["kind"]
    if kind == "search":
        supernet = Run.open(Path(run.record["supernet"]))
        check_finished(supernet)
        setting, method = trained(supernet, plan)
        check_basis(run, supernet)
        return continue_search(run, setting, method, progress)
    setting = prepare_on(run, plan)
    if kind == "supernet":
        return continue_supernet(run, setting, build(setting), progress)
    return continue_retrain(run, setting, standalone(setting, run.record["arch"]), progress)


def load(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network that `retrain` wrote into a folder, in evaluation mode, and what its arch.json says."""
    return load_network(Path(folder), SPACES)
