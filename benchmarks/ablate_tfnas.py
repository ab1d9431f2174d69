"""TF-NAS's three freedoms, switched off one by one: operations, depths and widths, on CIFAR-10 at a size for processors.

    python benchmarks/ablate_tfnas.py --data FOLDER --table TABLE --out FOLDER [--seeds 3] [--epochs 20] [--jobs 2]

FOLDER of --data holds CIFAR-10's binary batches; TABLE is a latency table of space tfnas at 224 px. Each kind is the recipe
tfnas-cifar10-cpu, at a quarter of the resolution inside, but for what its name says:

    bi-sampling       TF-NAS: a second path at random, depths by the sink, elastic widths
    gumbel max min    the second path drawn otherwise
    single            no second path; single-longer as well, for as many more epochs as bi-sampling costs more
    skip full         depth as one more operation, and no choice of depth at all, in place of the sink
    rigid             widths as they are
    fbnet             no second path, skips, rigid; fbnet-elastic the same with elastic widths

A search is a run in a folder of --out that resumes from its checkpoint, its network is retrained from scratch as wide as it is
in the supernet (not with --retrain-epochs 0); what came of both is a line of results.jsonl. The same command goes on where it
was stopped and prints two tables at the end: of each figure the mean over seeds and its 95 % interval (Student's t), and what
bi-sampling is ahead, paired by seed.
"""

import argparse
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from nas_suite.data.batches import Clean
from nas_suite.disk import write_atomic
from nas_suite.engine import Signals, fit, random_for
from nas_suite.errors import BadInput
from nas_suite.latency.table import LatencyTable
from nas_suite.oneshot import accuracy
from nas_suite.pipeline.deriving import latency_table
from nas_suite.pipeline.retraining import standalone
from nas_suite.pipeline.setting import build, prepare, priced, settled
from nas_suite.plan import Plan, compose
from nas_suite.run import Run
from nas_suite.workers import evaluate

RECIPE, RESULTS = "tfnas-cifar10-cpu", "results.jsonl"
COST = "cost.jsonl"  # of a run: seconds of the processor
KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "bi-sampling": {},
    "gumbel": {"method": {"second_path": "gumbel"}},
    "max": {"method": {"second_path": "max"}},
    "min": {"method": {"second_path": "min"}},
    "single": {"method": {"second_path": "none"}},
    "single-longer": {"method": {"second_path": "none"}},
    "skip": {"space": {"depth_by": "skip"}},
    "full": {"space": {"depth_by": "full"}},
    "rigid": {"method": {"elastic": False}},
    "fbnet": {"method": {"second_path": "none", "elastic": False}, "space": {"depth_by": "skip"}},
    "fbnet-elastic": {"method": {"second_path": "none"}, "space": {"depth_by": "skip"}},
}
PATHS = 32  # random ones that say how well a supernet is trained


@dataclass(frozen=True)
class Task:
    """One search of the study."""

    given: Mapping[str, Any]
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.seed}"

    @property
    def folder(self) -> Path:
        return Path(self.given["out"]) / self.name


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of CIFAR-10's binary batches")
    parser.add_argument("--table", required=True, help="a latency table of space tfnas at 224 px")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the study")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    numbers = {"seeds": 3, "epochs": 20, "warmup": 8, "longer": 5, "retrain-epochs": 15, "limit": 10_000, "jobs": 2}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--latency", type=float, default=15.0, help="ms; default 15")
    return parser.parse_args()


def plan_of(task: Task) -> Plan:
    given = task.given
    plan = compose(Plan(), recipe_name=RECIPE, seed=task.seed, latency=given["latency"], threads=1)
    epochs = given["epochs"] + (given["longer"] if task.kind == "single-longer" else 0)
    plan = plan.with_settings("method", {"epochs": epochs, "warmup_epochs": given["warmup"]})
    plan = plan.with_settings("data", {"path": given["data"], "limit": given["limit"]}).with_settings("space", {"small": False})
    if given["retrain_epochs"]:
        plan = plan.with_settings("retrain", {"epochs": given["retrain_epochs"], "batch_size": 64})
    for part, values in KINDS[task.kind].items():
        plan = plan.with_settings(part, values)
    return plan


def begun(folder: Path, kind: str, plan: Plan, given: Mapping[str, Any]) -> Run:
    """The run in a folder, as it was left or new."""
    if not (folder / "run.json").exists():
        record = {"schema": 1, "kind": kind, "status": "running", "created": "", "plan": plan.record(), "given": dict(given)}
        return Run.create(folder, record)
    run = Run.open(folder)
    if run.record["given"] != json.loads(json.dumps(given)):
        raise BadInput(f"{folder} was made with other settings: choose another --out")
    return run


def work(task: Task) -> dict[str, Any]:
    """Searches, then retrains the network that was found in the supernet's space; accuracies are of validation images."""
    plan = plan_of(task)
    table: LatencyTable = latency_table(plan, task.given["table"])
    setting = priced(prepare(plan), table)
    method: Any = build(setting)
    run = begun(task.folder, "supernet", settled(setting), task.given)
    clock = time.process_time()
    try:
        fit(method, method.batches(), method.epochs, run, task.seed, epochs_apart=2)
    finally:
        run.append(COST, {"seconds": time.process_time() - clock})
    lines = [line for line in run.epochs() if "network" in line]
    (found,) = method.searcher([], []).ask()
    trained = [[int(n) for n in row] for row in lines[-1]["trained"]]
    figures = {
        "cost": sum(line["seconds"] for line in run.lines(COST)), "steps": method.steps * method.epochs,
        "paths": random_paths(method), "inherited": method.accuracy(found, setting.problem.val),
        "least_share": statistics.fmean(min(row) * len(row) / sum(row) for row in trained),
        "most_share": statistics.fmean(max(row) * len(row) / sum(row) for row in trained),
        "off": abs(lines[-1]["latency"] / task.given["latency"] - 1), "latency": lines[-1]["latency"],
        "depths": [sum(len(stage.split("_")) for stage in line["network"].split("/") if stage) for line in lines],
    }  # fmt: skip
    figures["arch"] = setting.space.describe(found)
    return figures | {"retrained": retrained(task, setting, figures["arch"]) if task.given["retrain_epochs"] else math.nan}


def retrained(task: Task, setting: Any, arch: str) -> float:
    learner = standalone(setting, arch)
    run = begun(task.folder.with_name(f"{task.name}-retrained"), "retrain", settled(setting), task.given)
    fit(learner, learner.batches(), learner.recipe.epochs, run, task.seed, epochs_apart=5)
    return learner.accuracy(setting.problem.val)


def random_paths(method: Any) -> float:
    """Mean validation accuracy of paths whose operations are uniform, their depths as soft as they are held to be."""
    p = method.problem
    depths = [beta.detach().softmax(0) for beta in method.betas]
    batches = Clean(p.val.take(1000, 0), method.batch_size, p.mean, p.std, p.compute.device, whole=True)
    found = []
    for number in range(PATHS):
        rng = random_for(0, number)
        operations = [rng.randrange(min(len(alpha), 8)) for alpha in method.alphas]
        path = p.space.join(operations, depths, method.inner())
        found.append(accuracy(method.supernet, path, batches, p.compute))
    return statistics.fmean(found)


def finished(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    file = out / RESULTS
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {(line["kind"], line["seed"]): line for line in lines}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval."""
    mean, n = statistics.fmean(values), len(values)
    return mean, float(student.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan


COLUMNS: dict[str, tuple[float, Callable[[Mapping[str, Any]], float]]] = {
    "cost, s": (1, lambda r: r["cost"]),
    "paths, %": (100, lambda r: r["paths"]),
    "inherited, %": (100, lambda r: r["inherited"]),
    "retrained, %": (100, lambda r: r["retrained"]),
    "least trained": (1, lambda r: r["least_share"]),
    "most trained": (1, lambda r: r["most_share"]),
    "latency off, %": (100, lambda r: r["off"]),
    "first depth": (1, lambda r: r["depths"][0]),
    "last depth": (1, lambda r: r["depths"][-1]),
}


def spread(values: Sequence[float]) -> str:
    """An interval in words; nothing where the values are none."""
    return "–" if any(map(math.isnan, values)) else "{:.2f} ± {:.2f}".format(*interval(values))


def table(done: Mapping[tuple[str, int], Mapping[str, Any]]) -> str:
    lines = [" | ".join(["kind", "seeds", *COLUMNS])]
    for kind in KINDS:
        rows = [line for (name, _), line in sorted(done.items()) if name == kind]
        if rows:
            told = [spread([scale * of(row) for row in rows]) for scale, of in COLUMNS.values()]
            lines.append(" | ".join([kind, str(len(rows)), *told]))
    return "\n".join(lines)


def paired(done: Mapping[tuple[str, int], Mapping[str, Any]]) -> str:
    """How much better bi-sampling is than each other kind, in points of accuracy, seed by seed."""
    names = [name for name in COLUMNS if name in ("paths, %", "inherited, %", "retrained, %")]
    lines = [" | ".join(["bi-sampling less", "seeds", *names])]
    for kind in list(KINDS)[1:]:
        seeds = [seed for name, seed in done if name == kind and ("bi-sampling", seed) in done]
        if len(seeds) > 1:
            ways = [COLUMNS[name] for name in names]
            told = [spread([scale * (of(done["bi-sampling", s]) - of(done[kind, s])) for s in seeds]) for scale, of in ways]
            lines.append(" | ".join([kind, str(len(seeds)), *told]))
    return "\n".join(lines)


def main() -> None:
    asked = arguments()
    given = {**vars(asked), "out": str(asked.out), "data": str(asked.data.resolve()), "table": str(asked.table)}
    kinds, seeds, jobs = given.pop("kinds"), given.pop("seeds"), given.pop("jobs")
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        done = finished(asked.out)
        tasks = [Task(given, kind, seed) for seed in range(seeds) for kind in kinds if (kind, seed) not in done]
        with Signals() as signals:
            for answer in evaluate(work, tasks, min(jobs, max(1, len(tasks))), signals.check):
                if answer.result is None:
                    sys.exit(f"{answer.task.name}: {answer.error}")
                key = answer.task.kind, answer.task.seed
                done[key] = line = {"kind": key[0], "seed": key[1], **answer.result}
                write_atomic(asked.out / RESULTS, "".join(json.dumps(row) + "\n" for row in done.values()).encode())
                told = f"paths {line['paths']:.3f}  retrained {line['retrained']:.3f}"
                print(f"{time.strftime('%H:%M:%S')}  {answer.task.name}  {line['cost']:.0f} s  {told}", flush=True)
        print(f"{table(done)}\n\n{paired(done)}")
        print(f"made by: {shlex.join(['python', *sys.argv])}")
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
