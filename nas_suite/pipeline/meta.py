"""Meta-training as a run: a history is gathered, a deep kernel learned from it, and both are kept as a checkpoint."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nas_suite.disk import digest
from nas_suite.encoders.banks import NONE
from nas_suite.encoders.joint import preset
from nas_suite.engine import Progress, fit, silent
from nas_suite.errors import BadInput
from nas_suite.history import Evaluation, History, Task
from nas_suite.pipeline.featuring import featured, features_word
from nas_suite.pipeline.setting import environment, settings_of, work
from nas_suite.run import Run
from nas_suite.space import SearchSpace
from nas_suite.spaces import SPACES
from nas_suite.surrogate.deep import Build, DeepKernel, Networks
from nas_suite.surrogate.experience import LEAST_ROWS, LEAST_SETS, Experience, Shelf
from nas_suite.surrogate.learned import Learned
from nas_suite.surrogate.meta import MetaLearner, Schedule
from nas_suite.surrogate.standard import Standardiser

PLAIN = "none"  # the preset of a plain Gaussian process
SMALL = (20, 10_000)  # data sets and rows below which the preset is tiny
LARGE = 100_000  # rows from which it is full


@dataclass(frozen=True)
class Asked:
    """What to learn from, and how. An empty word takes what there is, provided that it is of one kind."""

    space: str = "nasbench201"
    history: str = ""
    recipe: str = ""
    settings: str = ""
    fidelity: str = ""
    metric: str = ""
    split: Literal["train", "val", "test"] = "val"
    without: tuple[str, ...] = ()
    """Data sets, by key or name, that are left out: those to be searched later, say."""
    features: str = "auto"
    preset: str = "auto"
    build: Build = field(default_factory=Build)
    schedule: Schedule = field(default_factory=Schedule)
    seed: int = 0

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Asked":
        parts = {"build": Build(**record["build"]), "schedule": Schedule(**record["schedule"])}
        return cls(**{**record, **parts, "without": tuple(record["without"])})


@dataclass(frozen=True)
class Gathered:
    """A history as it is learned from."""

    rows: tuple[Evaluation, ...]
    space: SearchSpace
    experience: Experience
    shelf: Shelf | None
    extractor: str

    @property
    def sets(self) -> int:
        return len(self.experience.names)


def meta_train(asked: Asked, out: Path | None = None, progress: Progress = silent) -> Run:
    """Learns from a history; returns the run, whose folder is the checkpoint. BadInput where the history is empty, of several
    kinds, or of features that cannot be had."""
    found = gathered(asked)
    run = Run.create(out, opened(asked, found)) if out else Run.numbered(f"tnas_{asked.space}", opened(asked, found))
    return continue_meta(run, progress)


def opened(asked: Asked, found: Gathered) -> dict[str, Any]:
    """The record of a new run."""
    kept_ = replace(asked, features=features_word(found.extractor), preset=size(asked, found))
    history = {"rows": len(found.rows), "hash": found.experience.hash, "datasets": found.sets}
    return {
        "schema": 1, "kind": "meta", "status": "running", "created": datetime.now().isoformat(timespec="milliseconds"),
        "plan": {"method": "tnas", "space": asked.space, "data": "history", "settings": {"method": asdict(asked.schedule)},
                 "seed": asked.seed},
        "asked": asdict(kept_), "history": history, "environment": environment(),
    }  # fmt: skip


def gathered(asked: Asked, most: int | None = None) -> Gathered:
    """The history that is asked for; with `most` its first rows alone, which were all when a run began."""
    history = History.open(asked.history)
    rows = history.select(
        space=asked.space, split=asked.split, metric=asked.metric, recipe=asked.recipe, settings=asked.settings,
        fidelity=asked.fidelity, without=asked.without, most=most,
    )  # fmt: skip
    tasks = {task.key: task for task in history.datasets()}
    space: SearchSpace = SPACES.build(asked.space, rows[0].settings)
    known = [tasks[key] for key in dict.fromkeys(row.data for row in rows)]
    banks, made_by = featured(history, known, asked.features)
    return Gathered(tuple(rows), space, experience(rows, space, known), Shelf.of(banks) if banks else None, made_by)


def experience(rows: Sequence[Evaluation], space: SearchSpace, tasks: Sequence[Task]) -> Experience:
    """Evaluations by network and data set; repeats are averaged. Values are turned so that greater is better."""
    places = {task.key: at for at, task in enumerate(tasks)}
    archs: dict[tuple[int, ...], int] = {}
    values: dict[tuple[int, int, bool], list[float]] = {}
    for row in rows:
        assert row.value is not None  # `select` gives trainings that did not fail
        at = archs.setdefault(space.valid(space.parse(row.spelt)), len(archs))
        published = row.tags.get("split") == "validation"
        values.setdefault((at, places[row.data], published), []).append(row.value if row.goal == "max" else -row.value)
    arch, data, published = (np.array(column) for column in zip(*values, strict=True))
    means = np.array([np.mean(some) for some in values.values()])
    return Experience(tuple(archs), tuple(places), arch, data, means, published)


def size(asked: Asked, found: Gathered) -> str:
    """The preset by the size of the history, where none is asked for; `none` where it is too small for a deep kernel."""
    if not found.experience.enough:
        return PLAIN
    if asked.preset != "auto":
        preset(asked.preset)
        return asked.preset
    if found.sets < SMALL[0] or len(found.experience) < SMALL[1]:
        return "tiny"
    return "fast" if len(found.experience) < LARGE else "full"


def learner(asked: Asked, found: Gathered) -> MetaLearner | None:
    """What is trained, untrained; None where the history is too small."""
    if (name := size(asked, found)) == PLAIN:
        return None
    datasets = asked.build.datasets and found.shelf is not None
    shelf = found.shelf or Shelf((np.zeros((1, 4), np.float32),), ((0,),) * found.sets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(asked.seed)
        build = replace(asked.build, preset=name, datasets=datasets)
        kernel = DeepKernel(build, Networks(found.space, build.encoding), shelf.classes[0].shape[1], shelf.means)
    return MetaLearner(kernel, found.experience, shelf, asked.schedule, asked.seed)


def estimate(asked: Asked, found: Gathered) -> float | None:
    """Seconds that training takes on this machine, from one mini-batch and one look at all rows; None where nothing is
    trained."""
    if (trial := learner(asked, found)) is None:
        return None
    rows = next(trial.batches.epoch(0))
    started = time.perf_counter()
    trial.loss(rows, 0).backward()
    inner = trial.schedule.inner if trial.schedule.optimizer == "reptile" else 1
    return (time.perf_counter() - started) * inner * trial.total + trial.ground_seconds()


def gathered_by(run: Run) -> tuple[Asked, Gathered]:
    """What a run asked for, and the history as it was when it began; BadInput where that is no longer there."""
    asked = Asked.from_record(dict(run.record["asked"]))
    found = gathered(asked, run.record["history"]["rows"])
    if found.experience.hash != run.record["history"]["hash"]:
        raise BadInput(f"the history has changed since {run.name} began, rows are gone or others: begin anew")
    return asked, found


def continue_meta(run: Run, progress: Progress = silent) -> Run:
    """Learns on from the last checkpoint. BadInput where the history is no longer what it was when the run began."""
    asked, found = gathered_by(run)

    def job() -> dict[str, Any]:
        trained = learner(asked, found)
        figures: dict[str, Any] = {}
        if trained is None:
            standardiser = Standardiser.of(found.experience.values, None)
        else:
            trained.ground()
            fit(trained, trained.batches, asked.schedule.epochs, run, asked.seed, progress)
            trained.finish()
            standardiser = trained.standardiser
            figures = trained.figures() | {"epoch": trained.best_epoch}
        first = found.rows[0]
        kernel, shelf = (None, None) if trained is None else (trained.kernel, trained.shelf)
        made_by = found.extractor if kernel is not None and kernel.build.datasets else NONE
        learnt = found.experience if trained is None else trained.experience
        learned = Learned.of(
            asked.space, found.space, learnt, standardiser, made_by, shelf, kernel,
            first.metric, first.unit, first.goal,
        )  # fmt: skip
        about = {key: value for key, value in figures.items() if key.startswith(("val_", "published_"))}
        told = {"seed": asked.seed, "schedule": asdict(asked.schedule), "validation": about}
        sums = learned.save(run.path, told | {"settings": settings_of(found.space)})
        sizes = {"preset": size(asked, found), "rows": len(found.experience), "datasets": found.sets}
        return {"result": {**sizes, "extractor": made_by, "best_epoch": figures.get("epoch"), **about, "sha256": sums}}

    return work(run, job)


def fallback(found: Gathered) -> str:
    """What is said of a history that is too small; nothing of one that is not."""
    if said := lacking(found):
        return f"{said}: searches will use a plain Gaussian process that begins with the best of them"
    return ""


def lacking(found: Gathered) -> str:
    """What a history has too little of for a deep kernel; nothing where it has enough."""
    if found.experience.enough:
        return ""
    return f"{found.experience.there} are too few to learn from (at least {LEAST_SETS} and {LEAST_ROWS})"


def whole(run: Run) -> bool:
    """Whether a finished run still has what it learned."""
    sums = run.record["result"]["sha256"]
    return all((run.path / name).is_file() and digest(run.path / name) == sum_ for name, sum_ in sums.items())
