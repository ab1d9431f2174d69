"""Training a supernet, and taking one up again as it was trained."""

from pathlib import Path

from nas_suite.engine import Progress, fit, silent
from nas_suite.errors import BadInput
from nas_suite.ground import last
from nas_suite.method import Method
from nas_suite.pipeline.setting import Setting, build, new_run, prepare, prepare_on, work
from nas_suite.plan import Plan
from nas_suite.run import Run, handle


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
