"""TNAS's transfer on trainings of the suite's own: a history of six small data sets of digits and clothes, then CIFAR-10.

    python benchmarks/transfer_tnas.py --images FOLDER --out FOLDER [--networks 40] [--seeds 3] [--budget 15] [--jobs 2]

FOLDER of --images holds cifar-10-batches-bin, mnist and fashion-mnist. Each of the six data sets is 1,500 training and 1,000
validation images of 16 px: handwritten digits, two halves of MNIST's classes, Fashion-MNIST and two halves of its own. Of each,
--networks random cells of NAS-Bench-201 at half its width are trained from scratch. What is learned from that, by features of
fixed random convolutions, begins a search on 5,000 images of CIFAR-10, with random search and a plain Gaussian process for
rivals, --budget trainings each, a seed at a time.

Everything is a run in a folder of --out that resumes; the same command goes on where it was stopped and prints the table at the
end: the best validation accuracy so far, its mean and spread over seeds. No test image is looked at.
"""

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite import pipeline
from nas_suite.data import DATA
from nas_suite.engine import silent
from nas_suite.errors import BadInput
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.plan import Plan
from nas_suite.run import RECORD, Run

SOURCES = {  # name of a data set: where its images are from, and their classes
    "digits": ("digits", range(10)),
    "mnist-low": ("mnist", range(5)),
    "mnist-high": ("mnist", range(5, 10)),
    "fashion": ("fashion-mnist", range(10)),
    "fashion-tops": ("fashion-mnist", (0, 2, 3, 4, 6)),
    "fashion-rest": ("fashion-mnist", (1, 5, 7, 8, 9)),
}
PIXELS, TRAINED, HELD = 16, 1500, 1000
SEARCHERS = ("tnas", "gp-ei", "random")
SPACE = {"width": 0.5, "cells": 1}
RECIPE = {
    "epochs": 12, "batch_size": 64, "lr": 0.1, "warmup_epochs": 1, "weight_decay": 5e-4, "label_smoothing": 0.0, "pad": 2,
    "flip": False, "cutout": 0,
}  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="holds cifar-10-batches-bin, mnist and fashion-mnist")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the study")
    for name, default in {"networks": 40, "seeds": 3, "budget": 15, "jobs": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser.parse_args()


def written(name: str, images: Path, folder: Path) -> Path:
    """The file of a data set, made where it is not there: classes renumbered, the images in a seeded order."""
    file = folder / f"{name}.npz"
    if not file.exists():
        source, classes = SOURCES[name]
        place = {} if source == "digits" else {"path": images / source}
        splits = DATA.build(source, {**place, "size": PIXELS}).splits()
        x = np.concatenate([part.x.numpy() for part in (splits.train, splits.val)])
        y = np.concatenate([part.y.numpy() for part in (splits.train, splits.val)])
        rows = np.flatnonzero(np.isin(y, list(classes)))
        rows = np.random.default_rng(0).permutation(rows)[: TRAINED + HELD]
        held = max(len(rows) // 3, len(rows) - TRAINED)
        y = np.searchsorted(list(classes), y)
        some = {"train": rows[held:], "val": rows[:held], "test": rows[:10]}  # nobody looks at the last
        arrays = {f"{part}_{split}": values[at] for split, at in some.items() for part, values in (("x", pixels(x)), ("y", y))}
        np.savez(file, allow_pickle=False, **arrays)
    return file


def pixels(x: np.ndarray) -> np.ndarray:
    """Images (n, c, h, w) as (n, h, w, c)."""
    return np.moveaxis(x, 1, 3)


def plan(data: str, settings: dict[str, Any], seed: int, method: str = "tnas") -> Plan:
    parts = {"space": SPACE, "retrain": RECIPE, "data": settings}
    return Plan(method, "nasbench201", data, parts, seed=seed, precision="fp32", threads=1)


def held(folder: Path) -> Run | None:
    """The run in a folder, gone on with to its end; None where none was begun."""
    return pipeline.resume(Run.open(folder)) if (folder / RECORD).exists() else None


def history(asked: argparse.Namespace) -> None:
    """Trains the networks of all six data sets; each data set has its own sample of them."""
    for at, name in enumerate(SOURCES):
        file, folder = written(name, asked.images, asked.out), asked.out / f"table-{name}"
        made = plan("npz", {"path": str(file)}, seed=100 + at)
        run = held(folder) or pipeline.make(name, made, 1, asked.networks, asked.jobs, folder, silent)
        told = [row["val"] for row in run.lines("rows.jsonl") if row["val"] is not None]
        print(f"{time.strftime('%H:%M:%S')}  {name}: {len(told)} networks, {min(told):.3f} to {max(told):.3f}", flush=True)


def searched(asked: argparse.Namespace, checkpoint: Path) -> Iterable[tuple[str, int, list[float]]]:
    """Validation accuracies of each search, in the order of its trainings."""
    target = {"path": str(asked.images), "size": PIXELS, "limit": 5000}
    for seed in range(asked.seeds):
        for name in SEARCHERS:
            own = {"budget": asked.budget, "init_size": 5, "finalists": 0}
            given = plan("cifar10", target, seed, name).with_settings("method", own)
            folder, surrogate = asked.out / f"search-{name}-{seed}", checkpoint if name == "tnas" else None
            run = held(folder) or pipeline.search_directly(given, {}, surrogate, folder)
            trials = run.trials()
            print(f"{time.strftime('%H:%M:%S')}  {name}, seed {seed}: {max(t['val'] or 0 for t in trials):.4f}", flush=True)
            yield name, seed, [trial["val"] or 0.0 for trial in trials]


def table(found: list[tuple[str, int, list[float]]], budget: int) -> str:
    marks = sorted({mark for mark in (1, 3, 5, 8, 10, 15, 20, 30) if mark < budget} | {budget})
    lines = ["| searcher | " + " | ".join(f"@{mark}" for mark in marks) + " |", "|---" * (len(marks) + 1) + "|"]
    for name in SEARCHERS:
        rows = [[100 * max(vals[:mark]) for mark in marks] for one, _, vals in found if one == name]
        cells = [
            f"{statistics.fmean(c):.2f} ± {statistics.stdev(c) if len(c) > 1 else 0.0:.2f}" for c in zip(*rows, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    asked.images, asked.out = asked.images.resolve(), asked.out.resolve()
    os.environ.update(NAS_DATA=str(asked.out / "data"), NAS_HISTORY=str(asked.out / "history.sqlite"))
    started = time.monotonic()
    try:
        history(asked)
        without = ("cifar10",)
        learned = asked.out / "learned"
        run = held(learned) or meta_train(Asked("nasbench201", without=without, features="conv"), learned)
        print(f"{time.strftime('%H:%M:%S')}  learned: {run.record['result']}", flush=True)
        found = list(searched(asked, learned))
        print(f"\nbest validation accuracy on CIFAR-10, %, over {asked.seeds} seeds\n\n{table(found, asked.budget)}")
        print(f"\nmade by: {shlex.join(['python', *sys.argv])}, in {time.monotonic() - started:.0f} s")
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
