"""Making a benchmark: the networks of a space trained from scratch, several times each, and written down as a table."""

import json
import math
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite import tables
from nas_suite.cost import COSTS, cost
from nas_suite.data import DATA
from nas_suite.engine import Progress, Signals, silent
from nas_suite.errors import BadInput
from nas_suite.importers import PUBLISHED
from nas_suite.pipeline.remembering import SPLITS, Memory
from nas_suite.pipeline.retraining import standalone
from nas_suite.pipeline.scratch import SCRATCH, check_disk, from_scratch
from nas_suite.pipeline.setting import Setting, new_run, prepare, prepare_on, work
from nas_suite.plan import FIT, Plan, compose
from nas_suite.registry import checked, defaults, typed_as
from nas_suite.run import ROWS, Run, all_runs, quoted
from nas_suite.space import SearchSpace
from nas_suite.spaces import SPACES
from nas_suite.standalone import Recipe
from nas_suite.tables import Column, Draft, accuracy
from nas_suite.words import plural
from nas_suite.workers import Done, evaluate

MOST = 100_000  # networks that are trained without being a sample


@dataclass(frozen=True)
class Training:
    """One training of one network: what a worker needs to know."""

    run: str
    arch: str
    repeat: int


def make(name: str, plan: Plan, repeats: int, sample: int | None, workers: int, out: Path | None, progress: Progress) -> Run:
    """Trains all networks of a plan's space, or a seeded sample, `repeats` times by its retraining recipe, and writes the
    table `name`. Returns its run, which resumes with one row lost at the most for each worker."""
    if not name or name != Path(name).name or name.startswith("."):
        raise BadInput(f"{name!r} is no name for a benchmark; letters, digits and - make one, such as flowers-s1")
    tables.free(name)
    if name in PUBLISHED:
        raise BadInput(f"{name} is the name of a published benchmark (nas bench get {name}); choose another")
    setting = prepare(plan)
    archs = chosen(setting.space, sample, plan.seed)
    run = new_run(
        "table", f"table_{name}", setting, out, bench=name, repeats=repeats, sample=sample, archs=archs, workers=workers
    )
    return continue_making(run, setting, progress)


def unfinished(name: str) -> list[Run]:
    """The runs that were to make a table of this name and did not come to their end."""
    runs = [run for run in all_runs() if run.record["kind"] == "table" and run.record["bench"] == name]
    return [run for run in runs if run.state not in ("done", "running")]


def chosen(space: SearchSpace, sample: int | None, seed: int) -> list[str]:
    """The networks to train, as text."""
    if sample is None or sample >= space.size():
        if space.size() > MOST:
            raise BadInput(f"the space has {space.size():.4g} networks: say with --sample how many of them to train")
        return [space.describe(arch) for arch in space.everything()]
    rng, found = random.Random(f"{seed} table"), dict[str, None]()
    while len(found) < sample:
        found[space.describe(space.sample(rng))] = None
    return sorted(found)


def continue_making(run: Run, setting: Setting, progress: Progress) -> Run:
    def job() -> dict[str, Any]:
        rows = [row for row in run.lines(ROWS) if isinstance(row.get("arch"), str)]
        run.rewrite(ROWS, rows)
        tables.free(run.record["bench"])
        done = {(row["arch"], row["repeat"]) for row in rows}
        tasks = [
            Training(str(run.path), arch, repeat) for repeat in range(run.record["repeats"]) for arch in run.record["archs"]
        ]
        todo, total = [task for task in tasks if (task.arch, task.repeat) not in done], len(tasks)
        workers = min(run.record["workers"], max(1, len(todo)))
        memory = Memory.of(run, setting)
        for row in rows:  # a kill may have come between a row and the history
            remember(memory, row)
        memory.write()
        with Signals() as signals:
            for finished in evaluate(trained_from_scratch, todo, workers, signals.check):
                check_disk(run, scratch(finished.task), finished)
                row = row_of(finished)
                run.append(ROWS, row)
                rows.append(row)
                remember(memory, row)
                memory.write()
                shutil.rmtree(scratch(finished.task), ignore_errors=True)
                progress(len(rows), total, {} if row["val"] is None else {"val_accuracy": row["val"]})
                signals.check()
        memory.close()
        table = tables.write(draft(run, setting, rows))
        failed = sum(row["val"] is None for row in rows)
        return {"result": {"table": str(table.path), "networks": len(table), "failed": failed}}

    return work(run, job)


def remember(memory: Memory, row: Mapping[str, Any]) -> None:
    """Notes a row for the history."""
    seed = memory.setting.plan.seed + row["repeat"]
    memory.note(row["arch"], seed, {name: row[name] for name in SPLITS}, row["seconds"], row.get("error", ""))


def scratch(task: Training) -> Path:
    """Where a training keeps its checkpoint until its row is written."""
    return Path(task.run) / f"{SCRATCH}-{task.arch}-{task.repeat}"


def row_of(finished: Done[Training, dict[str, float]]) -> dict[str, Any]:
    values = finished.result or {"val": None, "test": None, "train": None, "seconds": None}
    row = {"arch": finished.task.arch, "repeat": finished.task.repeat, **values}
    return row | ({"error": finished.error} if finished.error else {})


@lru_cache(maxsize=1)
def setting_of(run: str) -> Setting:
    """What the plan of a run stands for; once a process."""
    made = Run.open(Path(run))
    return prepare_on(made, Plan.from_record(made.record["plan"]))


def trained_from_scratch(task: Training) -> dict[str, float]:
    """Trains one network to the end of its recipe; accuracies of the last epoch's weights, and seconds."""
    setting = setting_of(task.run)
    learner, seconds = from_scratch(setting, task.arch, setting.plan.seed + task.repeat, scratch(task))
    splits = {"val": setting.splits.val, "test": setting.data.test(), "train": setting.splits.train}
    return {**{name: learner.accuracy(images) for name, images in splits.items()}, "seconds": seconds}


def draft(run: Run, setting: Setting, rows: Sequence[Mapping[str, Any]]) -> Draft:
    """The table of all rows; NaN where a training failed."""
    plan, space, archs = setting.plan, setting.space, run.record["archs"]
    place = {text: at for at, text in enumerate(archs)}
    values = {
        name: np.full((len(archs), run.record["repeats"]), np.nan, np.float32) for name in ("val", "test", "train", "seconds")
    }
    for row in rows:
        for name, array in values.items():
            array[place[row["arch"]], row["repeat"]] = math.nan if row[name] is None else row[name]
    epochs = standalone(setting, archs[0]).recipe.epochs
    columns: list[tuple[Column, np.ndarray]] = [
        (accuracy(plan.data, "val", epochs), values["val"]),
        (accuracy(plan.data, "test", epochs), values["test"]),
        (accuracy(plan.data, "train", epochs), values["train"]),
        (Column("train_time", "s", "of one training"), values["seconds"]),
    ]
    parsed = [space.parse(text) for text in archs]
    columns += [(Column(n, COSTS[n][0]), np.array([cost(n, space).total(arch) for arch in parsed], np.int64)) for n in COSTS]
    settings = run.record["plan"]["settings"]
    more = {
        "plan": json.loads(json.dumps(run.record["plan"])),
        "environment": run.record["environment"],
        "command": command(run),
    }
    effort = f"{plural(epochs, 'epoch')}, {plural(run.record['repeats'], 'time')}"
    about = f"{plural(len(archs), 'network')} of {plan.space} trained on {plan.data} for {effort}"
    version = run.record["created"][:10]
    return Draft(
        run.record["bench"], plan.space, np.array(parsed), columns, version, settings["space"], about,
        source=f"made by nas-suite {run.record['environment']['nas-suite']}", more=more,
    )  # fmt: skip


def command(run: Run) -> str:
    """The command that makes such a table again: all that a plan of its recipe alone would not have is said."""
    made, plan = run.record, Plan.from_record(run.record["plan"])
    base = compose(Plan(), plan.recipe or None)
    words = ["nas bench make", quoted(made["bench"]), *([f"--recipe {plan.recipe}"] if plan.recipe else [])]
    names = {"space": plan.space, "data": plan.data}
    said = {name: value for name, value in names.items() if not plan.recipe or value != getattr(base, name)}
    base = compose(Plan(), plan.recipe or None, None, (), **said)
    classes = {"space": SPACES.load(plan.space), "data": DATA.load(plan.data), "retrain": Recipe}
    told = {part: {**defaults(cls), **checked(cls, part, base.part(part))} for part, cls in classes.items()}
    other = {
        f"{part}.{name}": value
        for part, cls in classes.items()
        for name, value in checked(cls, part, plan.part(part)).items()
        if value != told[part][name] and (part, name) not in {("space", fit) for fit in FIT}
    }
    said |= {"repeats": made["repeats"]} | ({"sample": made["sample"]} if made.get("sample") else {}) | {"seed": plan.seed}
    said |= {name: getattr(plan, name) for name in ("device", "precision") if getattr(plan, name) != getattr(base, name)}
    said |= {name: other.pop(f"retrain.{name}") for name in ("epochs", "batch_size", "lr") if f"retrain.{name}" in other}
    words += [f"--{name.replace('_', '-')} {value}" for name, value in said.items()]
    return " ".join([*words, *(f"--set {quoted(f'{name}={typed_as(value)}')}" for name, value in other.items())])


def resume_making(run: Run, progress: Progress = silent) -> Run:
    """Goes on with a benchmark that was begun."""
    return continue_making(run, prepare_on(run, Plan.from_record(run.record["plan"])), progress)
