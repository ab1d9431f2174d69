"""Training one network from scratch and opening the test split: retraining and evaluation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas_suite.artefact import SUMS, check_network, write_network
from nas_suite.cost import COSTS, cost
from nas_suite.engine import Diverged, Progress, fit, silent
from nas_suite.errors import BadInput
from nas_suite.ground import check_images, last
from nas_suite.pipeline.remembering import Memory
from nas_suite.pipeline.setting import Setting, check_ground, differing, new_run, prepare, prepare_on, settled, work
from nas_suite.pipeline.training import trained
from nas_suite.plan import FIT, Plan
from nas_suite.registry import construct
from nas_suite.run import Run, handle
from nas_suite.standalone import Recipe, Standalone

FAILURES = (Diverged, RuntimeError, MemoryError, ArithmeticError)  # of a training, as against those of what was asked


def retrain(origin: Run, plan: Plan, arch: str, out: Path | None = None, progress: Progress = silent) -> Run:
    """Trains one architecture from scratch, then opens the test split once. Returns its run, which holds the network.

    Space and data are the origin's: of other splits, its test images may have chosen the architecture. A network that was
    derived for deployment may be trained on other data altogether, in its space as they need it; always it is as wide as it
    is deployed.
    """
    former = Plan.from_record(origin.record["plan"]).as_deployed()
    derived, plan = origin.record["kind"] == "bilevel", plan.as_deployed()
    if derived:
        was, now = former.part("space"), plan.part("space")
        free = {name: value for name, value in now.items() if name not in FIT or value != was.get(name)}
        plan = replace(plan, settings={**plan.settings, "space": free})
    setting = prepare(plan)
    whole = settled(setting)
    if derived and (former.data != whole.data or any(differing("data", former, whole))):
        if former.space != whole.space:
            raise BadInput(f"{origin.name} searched {former.space}; its network cannot be trained in {whole.space}")
    else:
        check_ground(origin, whole, "a retraining", ("space", "data"), former)
        check_images(origin, plan.data, setting.splits.fingerprint)
    if reason := setting.data.lacks_test():
        raise BadInput(reason)
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
        text, memory = run.record["arch"], Memory.of(run, setting)
        try:
            step = fit(learner, learner.batches(), learner.recipe.epochs, run, setting.plan.seed, progress)
        except FAILURES as error:
            memory.note(text, setting.plan.seed, {}, seconds(run), " ".join(f"{type(error).__name__}: {error}".split()))
            memory.write()
            raise
        weights = learner.best_weights
        sums = write_network(run, setting.plan.space, setting.space, text, weights, setting.splits)
        arch = setting.space.parse(text)
        totals = {name: cost(name, setting.space).total(arch) for name in COSTS}
        best = {"val_accuracy": learner.best[0], "best_epoch": learner.best[1]}
        test = tested(learner, setting)
        memory.note(text, setting.plan.seed, {"val": learner.accuracy(learner.val), "test": test["last"]}, seconds(run))
        memory.write()
        return {"step": step, SUMS: sums, "result": {"test_accuracy": test, **best, **totals}}

    return work(run, job)


def seconds(run: Run) -> float:
    """What the epochs of a training took."""
    return round(sum((line.get("seconds", 0.0) for line in run.epochs()), 0.0), 3)


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
    check_network(run)
    setting = prepare_on(run, plan)
    learner = standalone(setting, run.record["arch"])
    learner.restore(loaded[1])
    return {"arch": run.record["arch"], "test_accuracy": tested(learner, setting)}
