"""The best networks of a search trained whole with several seeds; of the best by mean validation accuracy the test accuracy."""

import shutil
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from nas_suite.artefact import SUMS, write_network
from nas_suite.cost import COSTS, cost
from nas_suite.engine import Progress, Signals
from nas_suite.errors import BadInput
from nas_suite.pipeline.remembering import Memory
from nas_suite.pipeline.setting import Setting
from nas_suite.pipeline.trying import Task, asked_of, line_of, outcomes, train
from nas_suite.run import ROWS, Run

Rows = dict[tuple[str, int], dict[str, Any]]
"""What trainings of finalists came to, by architecture and seed."""


def finals(run: Run, setting: Setting, archs: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Trains `archs`, best first, with new seeds, and tests the one with the best mean on the validation images; what a run is
    to record. The test images are opened once, when it is chosen, and what they say is written down before anything else."""
    asked = asked_of(setting)
    seeds = [setting.plan.seed + k for k in range(1, asked.finalist_seeds + 1)]
    tasks = {(a, s): Task(str(run.path), a, s, f"final-{k}-{s}", True) for k, a in enumerate(archs) for s in seeds}
    rows = trained(run, setting, tasks, progress)
    entries = [entry(arch, [rows[arch, seed] for seed in seeds]) for arch in archs]
    fit = [one for one in entries if one["val"]]
    if not fit:
        raise BadInput(f"none of the finalists could be trained: {rows[archs[0], seeds[0]]['error']}; see retrain.*")
    winner = max(fit, key=lambda one: one["mean"])
    mine = [tasks[winner["arch"], s] for s in seeds if rows[winner["arch"], s]["val"] is not None]
    accuracies = tested(run, setting, mine)
    first = max(mine, key=lambda task: rows[task.arch, task.seed]["val"])
    weights = train(first).judged.state_dict()
    sums = write_network(run, setting.plan.space, setting.space, first.arch, weights, setting.splits)
    for task in tasks.values():
        shutil.rmtree(task.folder, ignore_errors=True)
    arch = setting.space.parse(first.arch)
    totals = {name: cost(name, setting.space).total(arch) for name in COSTS}
    found = {"arch": first.arch, "val_accuracy": winner["mean"], "val_sd": winner["sd"], "seed": first.seed}
    tests = {"mean": fmean(accuracies), "sd": deviation(accuracies), "of_network": accuracies[mine.index(first)]}
    return {SUMS: sums, "result": {**found, "test_accuracy": tests, "finalists": entries, **totals}}


def trained(run: Run, setting: Setting, tasks: Mapping[tuple[str, int], Task], progress: Progress) -> Rows:
    """Trains what is not in rows.jsonl yet, whatever the history knows: it has no weights to be tested."""
    lines = [line for line in run.lines(ROWS) if isinstance(line.get("arch"), str)]
    run.rewrite(ROWS, lines)
    rows: Rows = {(line["arch"], line["seed"]): line for line in lines if "val" in line}
    memory = Memory.of(run, setting)
    for row in rows.values():  # a kill may have come between a row and the history
        note(memory, row)
    memory.write()
    todo = [task for key, task in tasks.items() if key not in rows]
    with Signals() as signals:
        for task, outcome in outcomes(todo, asked_of(setting).parallel, signals.check):
            rows[task.arch, task.seed] = {"arch": task.arch, "seed": task.seed, "val": outcome.val, **line_of(outcome)}
            run.append(ROWS, rows[task.arch, task.seed])
            note(memory, rows[task.arch, task.seed])
            memory.write()
            progress(len(rows), len(tasks), {} if outcome.val is None else {"val_accuracy": outcome.val})
            signals.check()
    memory.close()
    return rows


def note(memory: Memory, row: Mapping[str, Any]) -> None:
    """Notes a row for the history."""
    memory.note(row["arch"], row["seed"], {"val": row["val"]}, row["seconds"], row.get("error", ""))


def entry(arch: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A finalist: its validation accuracies by seed, their mean and standard deviation, None where there is none."""
    val = [row["val"] for row in rows if row["val"] is not None]
    about = {"arch": arch, "val": val, "mean": fmean(val) if val else None, "sd": deviation(val)}
    return about | {"failed": len(rows) - len(val), "seconds": sum(row["seconds"] for row in rows)}


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample; None of fewer than two."""
    return stdev(values) if len(values) > 1 else None


def tested(run: Run, setting: Setting, tasks: Sequence[Task]) -> list[float]:
    """Test accuracy of each task's network, read once: what is in rows.jsonl is not read again."""
    known = {(line["arch"], line["seed"]): line["test"] for line in run.lines(ROWS) if "test" in line}
    todo = [task for task in tasks if (task.arch, task.seed) not in known]
    if todo:
        learners = [train(task) for task in todo]
        test = setting.data.test()
        for task, learner in zip(todo, learners, strict=True):
            known[task.arch, task.seed] = learner.accuracy(test)
            run.append(ROWS, {"arch": task.arch, "seed": task.seed, "test": known[task.arch, task.seed]})
    return [known[task.arch, task.seed] for task in tasks]
