"""TNAS where each task in turn is the unknown one: what six tasks of TransNAS-Bench-101 tell a search on the seventh.

    python benchmarks/left_out_tnas.py --csv transnasbench101_micro.csv.xz --out FOLDER [--seeds 8] [--budget 30] [--jobs 2]

The file is NASLib's, of 711 cells of the micro space and seven tasks (scenes, objects, autoencoding, normals, jigsaws, room
layouts, segmentation), one value a cell; each task's values are brought to 0 … 1. For each task a surrogate is meta-trained on
the six others, of whose images nothing is known, and searches the 711 cells of the task beside a plain Gaussian process: once
from TNAS's initial design, once from random ones of its own.

Regret is told as a share of what lies between the median cell of a task and its best: 0 is the best, 1 no better than half of
the cells. Differences are means over tasks with their 95 % intervals, paired by task and seed. Everything is a run in a folder
of --out; the same command goes on where it was stopped and prints the tables at the end.
"""

import argparse
import csv
import io
import lzma
import os
import re
import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nas_suite import pipeline
from nas_suite.errors import BadInput
from nas_suite.pipeline import Contest
from nas_suite.pipeline.histories import Wanted, take
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.run import JOBS, RECORD, Run
from nas_suite.tables import Draft, Table, accuracy, there, write

BENCH, EDGES = "transnas-micro", 6  # a cell is written as the operations of its edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3
MARKS = (5, 10, 20, 30)
WAYS = ("tnas", "the same start", "random start")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--csv", type=Path, required=True, help="NASLib's table of the micro space")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the study")
    for name, default in {"seeds": 8, "budget": 30, "jobs": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser.parse_args()


def benchmark(file: Path) -> Table:
    """The file as a table of `nasbench201`, whose operations 0 to 3 are TransNAS's: none, skip, 1×1 and 3×3 convolution."""
    if BENCH in there():
        return Table.open(there()[BENCH])
    with lzma.open(file) as packed:
        rows = list(csv.DictReader(io.TextIOWrapper(packed, encoding="utf-8")))
    values: dict[str, dict[tuple[int, ...], float]] = defaultdict(dict)
    for row in rows:
        cell = tuple(map(int, re.findall(r"\d+", row["arch"])))
        if len(cell) != EDGES or not set(cell) <= set(range(4)):
            raise BadInput(f"{file}: {row['arch']!r} is no cell of the micro space")
        values[row["dataset"]][cell] = float(row["val_accuracy"])
    cells = sorted(set.intersection(*(set(known) for known in values.values())))
    columns = []
    for task, known in values.items():
        raw = np.array([known[cell] for cell in cells])
        columns.append((accuracy(task, "val", 0), (raw - raw.min()) / np.ptp(raw)))
    return write(Draft(BENCH, "nasbench201", np.array(cells, np.uint8), columns, source=file.name, partial=True))


def held(folder: Path) -> Run | None:
    """The run in a folder, gone on with to its end; None where none was begun."""
    return pipeline.resume(Run.open(folder)) if (folder / RECORD).exists() else None


def searches(asked: argparse.Namespace, table: Table, task: str) -> Mapping[str, np.ndarray]:
    """Of each way to search a task, the regrets (seeds, evaluations)."""
    learned = asked.out / f"{task}-learned"
    run = held(learned) or meta_train(Asked("nasbench201", without=(task,)), learned)
    print(f"{task}: learned from {run.record['history']['datasets']} tasks, {run.record['history']['rows']:,} rows", flush=True)
    values = table.means(f"{task}/val@0")
    scale = values.max() - np.median(values)
    found = {}
    for name, same in (("same", True), ("own", False)):
        given = {"tnas": str(learned.resolve())} if same else {}
        contest = Contest(
            BENCH, ("tnas", "gp-ei") if same else ("gp-ei",), task, asked.budget, asked.seeds, same_init=same, spellings=True,
            workers=asked.jobs, checkpoints=given,
        )  # fmt: skip
        folder = asked.out / f"{task}-{name}"
        ended = held(folder) or pipeline.compare(contest, folder)
        for line in sorted(ended.lines(JOBS), key=lambda line: line["seed"]):
            way = WAYS[0] if line["searcher"] == "tnas" else WAYS[1] if same else WAYS[2]
            found.setdefault(way, []).append((values.max() - np.maximum.accumulate(values[line["rows"]])) / scale)
    return {way: np.array(regrets) for way, regrets in found.items()}


def paired(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The mean over tasks of differences (tasks, seeds), and its interval by resampling tasks, and seeds within them."""
    rng, difference = np.random.default_rng(0), ours - theirs
    tasks, seeds = difference.shape
    drawn = [
        difference[at[:, None], rng.integers(seeds, size=(tasks, seeds))].mean()
        for at in rng.integers(tasks, size=(2000, tasks))
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return f"{difference.mean():+.3f} ({low:+.3f} … {high:+.3f})"


def report(found: Mapping[str, Mapping[str, np.ndarray]], budget: int) -> None:
    marks = sorted({mark for mark in MARKS if mark < budget} | {budget})
    print(
        f"\n| left out | {' | '.join(f'{way} @{mark}' for way in WAYS for mark in marks)} |\n|{'---|' * (3 * len(marks) + 1)}"
    )
    for task, ways in found.items():
        print(f"| {task} | " + " | ".join(f"{ways[way][:, mark - 1].mean():.3f}" for way in WAYS for mark in marks) + " |")
    every = {way: np.stack([ways[way] for ways in found.values()]) for way in WAYS}
    print(f"\n| difference over all tasks | {' | '.join(f'@{mark}' for mark in marks)} |\n|{'---|' * (len(marks) + 1)}")
    for way in WAYS[1:]:
        cells = [paired(every[WAYS[0]][:, :, mark - 1], every[way][:, :, mark - 1]) for mark in marks]
        print(f"| TNAS less the plain process, {way} | {' | '.join(cells)} |")


def main() -> None:
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    asked.csv, asked.out = asked.csv.resolve(), asked.out.resolve()
    os.environ.update(NAS_DATA=str(asked.out / "data"), NAS_HISTORY=str(asked.out / "history.sqlite"))
    try:
        table = benchmark(asked.csv)
        tasks = [column.data for column in table.columns.values()]
        for task in tasks:
            take("table", BENCH, Wanted(dataset=task))  # rows that are there are not added twice
        report({task: searches(asked, table, task) for task in tasks}, asked.budget)
        print(f"\nmade by: {shlex.join(['python', *sys.argv])}")
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
