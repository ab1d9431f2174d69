"""One network of a search trained and judged on the validation images, at the search's fidelity or whole; in any process."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nas_suite.disk import of_disk
from nas_suite.errors import BadInput
from nas_suite.methods.direct import Direct
from nas_suite.pipeline.scratch import SCRATCH, check_disk, from_scratch
from nas_suite.pipeline.setting import Setting, prepare_on, space_for, typed
from nas_suite.plan import WIDTH, Plan
from nas_suite.registry import defaults
from nas_suite.run import Run
from nas_suite.standalone import Recipe, Standalone
from nas_suite.workers import FAILURES, evaluate


@dataclass(frozen=True)
class Task:
    """A training of one network for a search run; `whole` at the fidelity of retraining, `number` names its folder."""

    run: str
    arch: str
    seed: int
    number: str
    whole: bool = False

    @property
    def folder(self) -> Path:
        """Where it keeps its checkpoint, until what came of it is written down."""
        return Path(self.run) / f"{SCRATCH}-{self.number}"


@dataclass(frozen=True)
class Outcome:
    """What came of a training: the share of the validation images classified rightly by the last weights, or why there is
    none. `seconds` are of training; `source` says whether it was done now or is in the history."""

    val: float | None
    seconds: float
    error: str = ""
    source: str = "training"


def at_fidelity(setting: Setting) -> Setting:
    """The setting of the trainings in a search: shorter, warm-up too, and of narrower networks, where it says so."""
    asked, plan = asked_of(setting), setting.plan
    if asked.search_epochs is not None:
        recipe = {**defaults(Recipe), **plan.part("retrain")}
        warmup = recipe["warmup_epochs"] * min(asked.search_epochs, recipe["epochs"]) // recipe["epochs"]
        plan = plan.with_settings("retrain", {"epochs": asked.search_epochs, "warmup_epochs": warmup})
    if asked.search_width is not None:
        plan = plan.with_settings("space", {WIDTH: asked.search_width})
    plan = typed(plan)
    space = space_for(plan, setting.splits)
    if space.variables != setting.space.variables:
        raise BadInput(
            f"the choices of {plan.space} hang on its width: it cannot be searched at another, leave search_width out"
        )
    return replace(setting, plan=plan, space=space)


def asked_of(setting: Setting) -> Direct:
    """What a plan asks of a search by trainings."""
    return Direct(**setting.plan.part("method"))


@lru_cache(maxsize=1)
def setting_of(run: str) -> Setting:
    """What the plan of a run stands for; once a process."""
    made = Run.open(Path(run))
    return prepare_on(made, Plan.from_record(made.record["plan"]))


def train(task: Task) -> Standalone:
    """The learner at the end of a task's training, which goes on where it was begun and is not done again where it ended."""
    return fitted(task)[0]


def fitted(task: Task) -> tuple[Standalone, float]:
    setting = setting_of(task.run)
    return from_scratch(setting if task.whole else at_fidelity(setting), task.arch, task.seed, task.folder)


def attempt(task: Task) -> Outcome:
    """A training's outcome; that a network cannot be built or trained is one too."""
    started = time.monotonic()
    try:
        learner, seconds = fitted(task)
        return Outcome(learner.accuracy(learner.val), seconds)
    except FAILURES as error:
        if of_disk(error):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(None, round(time.monotonic() - started, 3), reason)


def outcomes(tasks: Sequence[Task], at_once: int, check: Callable[[], None]) -> Iterator[tuple[Task, Outcome]]:
    """What comes of tasks, each as soon as it is known. BadInput where the disk refuses: no network has failed then."""
    for done in evaluate(attempt, tasks, min(at_once, max(1, len(tasks))), check):
        check_disk(Run.open(Path(done.task.run)), done.task.folder, done)
        yield done.task, done.result or Outcome(None, 0.0, done.error)


def line_of(outcome: Outcome) -> dict[str, Any]:
    """What an outcome adds to a line of a run's files."""
    return {"seconds": outcome.seconds, "source": outcome.source} | ({"error": outcome.error} if outcome.error else {})
