"""From a plan to a setting: names and values checked, data opened, the space built; runs made, worked in and compared."""

import platform
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas_suite.cost import Cost
from nas_suite.data import DATA
from nas_suite.data.images import Splits
from nas_suite.data.sets import DataSet
from nas_suite.engine import Compute
from nas_suite.errors import BadInput, Interrupted
from nas_suite.ground import check_images
from nas_suite.latency.table import LatencyTable
from nas_suite.method import Method, Problem
from nas_suite.methods import METHODS
from nas_suite.plan import FIT, PATHS, Plan
from nas_suite.registry import checked, defaults, settable, values_of
from nas_suite.run import Run
from nas_suite.space import ElasticSpace, SearchSpace
from nas_suite.spaces import SPACES
from nas_suite.standalone import Recipe

TABLE = "latency.json"  # of a run: the latency table that it went by
RESIDENT = 4 << 30  # images of fewer bytes lie on the device as a whole


def new_run(kind: str, stem: str, setting: "Setting", out: Path | None, **more: Any) -> Run:
    """A fresh run of a kind (supernet, search, bilevel, retrain), numbered under `runs_root` unless `out` names its folder."""
    now = datetime.now().isoformat(timespec="milliseconds")
    record = {
        "schema": 1, "kind": kind, "status": "running", "created": now, "plan": settled(setting).record(),
        "fingerprint": setting.splits.fingerprint, **more, "environment": environment() | placed(setting.compute),
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


def placed(compute: Compute) -> dict[str, str]:
    """Where and how precisely is computed, whatever `auto` meant."""
    device, precision = str(compute).split(", ")
    return {"device": device, "precision": precision}


@dataclass(frozen=True)
class Setting:
    """All that a plan stands for, built: data, splits without test images, the space that fits them, where to compute, and
    the latency of its networks as they are deployed, where that is asked for."""

    plan: Plan
    data: DataSet
    splits: Splits
    space: SearchSpace
    compute: Compute
    latency: Cost | None = None

    @property
    def problem(self) -> Problem:
        s, device = self.splits, self.compute.device
        train, val = (images.to(device) if images.x.numel() < RESIDENT else images for images in (s.train, s.val))
        return Problem(self.space, train, val, s.mean, s.std, self.compute, self.plan.seed, self.latency)


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
        "deploy": (space, f"deploy, a space {plan.space!r},"),
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


def settings_of(space: SearchSpace) -> dict[str, Any]:
    """The settings of a space that its images do not decide."""
    return {name: value for name, value in values_of(space).items() if name not in FIT}


def deployed(setting: Setting) -> SearchSpace:
    """The space of the networks as they are deployed; BadInput where that offers other decisions than are searched."""
    plan, space = setting.plan, setting.space
    found = SPACES.build(plan.space, {**values_of(space), **plan.part("deploy")})
    if decisions(found) != decisions(space):
        said = ", ".join(f"deploy.{name}" for name in plan.part("deploy"))
        raise BadInput(f"{said}: networks are deployed with other choices than are searched; set these in space alone")
    return found


def priced(setting: Setting, table: LatencyTable) -> Setting:
    """The setting with the latency of its networks as they are deployed, by a table."""
    return replace(setting, latency=table.cost(deployed(setting)))


def table_of(run: Run) -> LatencyTable:
    """The latency table that a run goes by: its own copy, or, where it was killed before it had one, that of its record."""
    own = run.path / TABLE
    return LatencyTable.read(own) if own.exists() else LatencyTable.read(Path(run.record["table"])).write(own)


def decisions(space: SearchSpace) -> list[tuple[str, ...]]:
    """The options of all variables; of an elastic space those of operations and depths, for widths follow the channels."""
    count = len(space.variables)
    if isinstance(space, ElasticSpace):
        count = space.stages[-1].stop + len(space.stages)
    return [variable.labels for variable in space.variables[:count]]


def space_of(plan: Plan) -> SearchSpace:
    """The plan's space as its record describes it, without opening any data."""
    return SPACES.build(plan.space, plan.part("space"))


def build(setting: Setting) -> Method:
    """The plan's method on its problem, untrained."""
    return METHODS.build(setting.plan.method, setting.plan.part("method"), problem=setting.problem)


def settled(setting: Setting) -> Plan:
    """The plan with every setting spelt out, defaults included: what a run records."""
    plan, space, data = setting.plan, setting.space, setting.data
    plan = plan.with_settings("space", values_of(space))
    plan = plan.with_settings("data", {name: lasting(value) for name, value in values_of(data).items()})
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
            number, whole = (stop.number, stop.whole) if isinstance(stop, Interrupted) else (int(signal.SIGINT), False)
            raise Interrupted(number, str(run.path), whole) from None
        except Exception as error:
            run.update(status="failed", error=str(error))
            raise
        return run.update(status="done", error=None, **result)


def check_ground(origin: Run, plan: Plan, deed: str, names: Sequence[str], former: Plan | None = None) -> None:
    """BadInput where a plan differs in one of these names, or in settings of its space or its data, from `former`, which is its
    origin's where nothing is given."""
    former = former or Plan.from_record(origin.record["plan"])
    refusal = f"{origin.name} was made with {{}} = {{!r}}; {deed} of it cannot have {{!r}}: leave it out".format
    for name in names:
        if getattr(former, name) != getattr(plan, name):
            raise BadInput(refusal(name, getattr(former, name), getattr(plan, name)))
    for part in ("space", "data"):
        for name, was, wanted in differing(part, former, plan):
            raise BadInput(refusal(f"{part}.{name}", was, wanted))
    if "method" in names:
        cls, what = METHODS.load(plan.method), f"method {plan.method!r}"
        was, wanted = ({**defaults(cls), **checked(cls, what, p.part("method"))} for p in (former, plan))
        for name in cls.ground:
            if was[name] != wanted[name]:
                raise BadInput(refusal(f"method.{name}", was[name], wanted[name]))


def differing(part: str, former: Plan, plan: Plan) -> Iterator[tuple[str, Any, Any]]:
    """The settings that a plan gives of its space or its data and that were others in a former plan, which spells out all."""
    name = getattr(plan, part)
    cls, what = {"space": SPACES, "data": DATA}[part].load(name), f"{part} {name!r}"
    was, wanted = (checked(cls, what, p.part(part)) for p in (former, plan))
    for setting, value in wanted.items():
        if lasting(value) != lasting(was.get(setting)):
            yield setting, was.get(setting), value
