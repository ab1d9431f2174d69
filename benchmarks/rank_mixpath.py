"""MixPath's ranking study: how well supernets of S4 order its networks, by batch norm, with and without calibration.

    python benchmarks/rank_mixpath.py --bench s4-digits --out FOLDER [--seeds 5] [--epochs 200] [--jobs 2]
    python benchmarks/rank_mixpath.py --bench nb101 --data FOLDER --out FOLDER

For each norm (linear, exponential, vanilla, scaled) and each seed a supernet of mixpath-s4 is trained on the images that the
benchmark was made with (cifar10 for nb101, FOLDER of --data holding its binary batches), then all 34 networks are scored with
calibrated batch norms and without. SPOS is trained on compositions: each of the 34 cells is one choice with weights of its
own, which shares the stem and the classifier alone (MixPath, section 4).

A supernet is a run in a folder of --out that resumes from its checkpoint; its scores are a line of scores.jsonl. The same
command goes on where it was stopped and prints the table at the end: tau of each seed, their mean and spread, and tau of the
mean score over seeds with its 95 % interval, beside the paper's figures.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from nas_suite.cellnet import Cell, pooling
from nas_suite.disk import write_atomic
from nas_suite.engine import Signals, fit
from nas_suite.errors import BadInput
from nas_suite.layers import initialise
from nas_suite.method import Problem
from nas_suite.methods import METHODS
from nas_suite.oneshot import OneShot
from nas_suite.pipeline.field import Field, bench, field
from nas_suite.pipeline.setting import Setting, prepare
from nas_suite.plan import Plan
from nas_suite.rank import Ranking
from nas_suite.run import Run
from nas_suite.space import Arch, Block, Stage, Supernet, SupernetSpace, Variable
from nas_suite.space import Path as Choices
from nas_suite.workers import evaluate

KINDS = ("linear", "vanilla", "exponential", "scaled", "spos")
PAPER = {("linear", True): 0.597, ("vanilla", False): 0.05, ("spos", True): -0.225}
"""Kendall's tau as the paper's text gives it, on NAS-Bench-101 (specimens of an unknown number of networks)."""
SCORES = "scores.jsonl"


@dataclass(frozen=True)
class Compositions(SupernetSpace):
    """The networks of another space of cells, each one choice of a single variable: what SPOS trains in MixPath's study."""

    s4: Any
    cells: tuple[Arch, ...]
    image_size: int = 0
    channels: int = 0
    classes: int = 0

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        return (Variable("composition", self.cells, tuple(map(self.s4.describe, self.cells))),)

    def canonical(self, arch: Arch) -> Arch | None:
        return self.check(arch)

    def size(self) -> int:
        return len(self.cells)

    def draw(self, rng: Any) -> Arch:
        return (rng.randrange(len(self.cells)),)

    def network(self, arch: Arch) -> nn.Module:
        return self.s4.network(self.cells[arch[0]])

    def blocks(self, path: Choices) -> Iterator[tuple[Any, Block]]:
        return self.s4.blocks(self.cells[path[0]])  # type: ignore[index]

    def supernet(self, norm: str) -> Supernet:
        return CompositionSupernet(self.s4, self.cells)


class CompositionSupernet(Supernet):
    """Stem, places with a cell of every composition each, classifier."""

    def __init__(self, s4: Any, cells: tuple[Arch, ...]) -> None:
        super().__init__()
        skeleton = s4.skeleton
        self.stem = skeleton.stem_block().build()
        self.pools = nn.ModuleList(pooling() if place.pooled_from else nn.Identity() for place in skeleton.places())
        self.places = nn.ModuleList(
            nn.ModuleList(Cell(s4.cell(arch), place.c_in, place.c_out) for arch in cells) for place in skeleton.places()
        )
        self.head = skeleton.head_block().build()
        initialise(self)

    def stages(self, path: Choices) -> list[Stage]:
        (chosen,) = path
        assert isinstance(chosen, int)
        rows = [
            Stage((at, chosen), nn.Sequential(pool, cells[chosen]))  # type: ignore[index]
            for at, (pool, cells) in enumerate(zip(self.pools, self.places, strict=True))
        ]
        return [Stage("stem", self.stem), *rows, Stage("head", self.head)]


@dataclass(frozen=True)
class Task:
    """One supernet of the study."""

    given: Mapping[str, Any]
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.seed}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bench", default="s4-digits", help="a benchmark that holds the networks of mixpath-s4")
    parser.add_argument("--data", type=Path, help="the folder of its images, where they are not where they were")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the study")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    for name, default in {"seeds": 5, "epochs": 200, "batch-size": 32, "calib-images": 1000, "jobs": 2, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--lr", type=float, default=0.05, help="default 0.05")
    return parser.parse_args()


def networks(given: Mapping[str, Any]) -> Field:
    """All networks of S4 that the benchmark holds."""
    table = bench(given["bench"])
    setting = settled(given)
    return field(table, "", setting.space, sample=None)


def settled(given: Mapping[str, Any]) -> Setting:
    """The images and the space that the benchmark was made with; CIFAR-10 and S4 at the paper's size for a published one."""
    manifest = bench(given["bench"]).manifest
    made = manifest.get("plan")
    settings = {part: dict(made["settings"][part]) for part in ("space", "data")} if made else {}
    plan = Plan("mixpath", "mixpath-s4", made["data"] if made else "cifar10", settings, threads=given["threads"])
    if made:
        plan = replace(
            plan, precision=made["precision"], settings={**settings, "method": {"pad": made["settings"]["retrain"]["pad"]}}
        )
    if given["data"]:
        plan = plan.with_settings("data", {"path": given["data"]})
    return prepare(plan)


def method_of(task: Task) -> OneShot:
    """The method, untrained."""
    given, setting = task.given, settled(task.given)
    retrain = (bench(given["bench"]).manifest.get("plan") or {"settings": {}})["settings"].get("retrain", {})
    settings: dict[str, Any] = {name: retrain[name] for name in ("pad", "flip", "cutout") if name in retrain}
    settings |= {
        "epochs": given["epochs"], "batch_size": given["batch_size"], "lr": given["lr"], "lr_every": "step",
        "warmup_epochs": max(1, given["epochs"] // 20), "decay_norms": False, "calib_images": given["calib_images"],
    }  # fmt: skip
    problem = replace(setting.problem, seed=task.seed)
    if task.kind == "spos":
        found = networks(given)
        space = Compositions(
            setting.space, tuple(found.archs), problem.space.image_size, problem.space.channels, problem.space.classes
        )
        problem = Problem(space, problem.train, problem.val, problem.mean, problem.std, problem.compute, task.seed)
        return METHODS.build("spos", settings, problem=problem)
    return METHODS.build("mixpath", {**settings, "norm": task.kind}, problem=problem)


def work(task: Task) -> dict[str, Any]:
    """Trains one supernet and scores all networks, calibrated and not."""
    method = method_of(task)
    folder = Path(task.given["out"]) / task.name
    plan = Plan(task.kind, "mixpath-s4", task.given["bench"], seed=task.seed).record()
    record = {"schema": 1, "kind": "supernet", "status": "running", "created": "", "plan": plan, "given": dict(task.given)}
    run = Run.open(folder) if (folder / "run.json").exists() else Run.create(folder, record)
    if run.record["given"] != json.loads(json.dumps(task.given)):
        raise BadInput(f"{folder} was made with other settings: choose another --out")
    fit(method, method.batches(), method.epochs, run, task.seed, epochs_apart=10)
    archs = networks(task.given).archs
    spelt = [(at,) for at in range(len(archs))] if task.kind == "spos" else archs
    scores = {"calibrated": method.accuracies(spelt)}
    method.scoring = replace(method.scoring, calibration=[])  # type: ignore[misc]
    scores["plain"] = method.accuracies(spelt)
    return {"seconds": sum(line["seconds"] for line in run.epochs()), "loss": run.epochs()[-1]["loss"], **scores}


def finished(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    file = out / SCORES
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {(line["kind"], line["seed"]): line for line in lines}


def table(given: Mapping[str, Any], done: Mapping[tuple[str, int], Mapping[str, Any]]) -> str:
    """tau by norm and calibration: of each seed, their mean and spread, and of the mean score."""
    found = networks(given)
    head = (
        f"{found.table.name}, {len(found)} networks, {found.metric.name}, ceiling {found.truth.ceiling.value:.3f}, {found.hash}"
    )
    lines = [head, "norm         calibrated  seeds  mean    sd     of the mean score (95 %)   accuracy  paper   each"]
    for kind in KINDS:
        for calibrated in (True, False):
            rows = [line for (name, _), line in sorted(done.items()) if name == kind]
            if not rows:
                continue
            scores = np.array([row["calibrated" if calibrated else "plain"] for row in rows])
            taus = [Ranking(found.truth, row).tau.value for row in scores]
            mean = Ranking(found.truth, scores.mean(0)).tau
            spread = statistics.stdev(taus) if len(taus) > 1 else float("nan")
            paper = PAPER.get((kind, calibrated))
            figures = f"{statistics.fmean(taus):6.3f} {spread:6.3f}  {mean.value:6.3f} ({mean.low:6.3f} … {mean.high:6.3f})"
            told = f"{paper:6.3f}" if paper is not None else "     –"
            each = " ".join(f"{tau:.3f}" for tau in taus)
            lines.append(
                f"{kind:12} {'yes' if calibrated else 'no':10} {len(rows):6}  {figures}   {scores.mean():8.3f}  {told}   {each}"
            )
    return "\n".join(lines)


def main() -> None:
    asked = arguments()
    given = {**vars(asked), "out": str(asked.out), "data": str(asked.data.resolve()) if asked.data else None}
    kinds, seeds, jobs = given.pop("kinds"), given.pop("seeds"), given.pop("jobs")
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        done = finished(asked.out)
        tasks = [Task(given, kind, seed) for seed in range(seeds) for kind in kinds if (kind, seed) not in done]
        with Signals() as signals:
            for answer in evaluate(work, tasks, min(jobs, max(1, len(tasks))), signals.check):
                if answer.result is None:
                    sys.exit(f"{answer.task.name}: {answer.error}")
                done[answer.task.kind, answer.task.seed] = line = {
                    "kind": answer.task.kind,
                    "seed": answer.task.seed,
                    **answer.result,
                }
                write_atomic(asked.out / SCORES, "".join(json.dumps(row) + "\n" for row in done.values()).encode())
                print(
                    f"{time.strftime('%H:%M:%S')}  {answer.task.name}  {line['seconds']:.0f} s  loss {line['loss']:.3f}",
                    flush=True,
                )
        print(table(given, done))
        print(f"made by: {shlex.join(['python', *sys.argv])}")
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
