"""One-shot accuracy by number of active paths: supernets with m = 1 … 4, linear and vanilla norms, calibrated and not.

    python benchmarks/study_norms.py --data FOLDER --out FOLDER [--epochs 6] [--jobs 2]

FOLDER of --data holds CIFAR-10's official binary batches. Each supernet is a run in a folder of --out and is trained by the
recipe mixpath-s1-cifar10-cpu with the epochs given here. Then it scores, on the same images, the same architectures for
both norms: `--each` for every number of paths i = 1 … m (every block runs i paths), and `--random` drawn as training draws.
For m = 1 both norms are the same, and one run stands for both.

Everything is resumed: a run from its last checkpoint, its scores (scores.jsonl in the run) from the last one; what is
finished is passed over. `--jobs` processes of one thread each work at the same time: on few and busy cores that is far
faster than one process of many threads. study.json in --out holds settings, command and results of what is finished.
"""

import argparse
import contextlib
import itertools
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_suite import pipeline
from nas_suite.disk import write_atomic
from nas_suite.engine import random_for
from nas_suite.errors import BadInput
from nas_suite.plan import Plan, compose
from nas_suite.run import LOG, RECORD, Run
from nas_suite.space import Arch

RECIPE = "mixpath-s1-cifar10-cpu"
PIECES = (("linear", 4), ("vanilla", 4), ("linear", 3), ("vanilla", 3), ("linear", 2), ("vanilla", 2), ("linear", 1))
SCORES = "scores.jsonl"
APART = 30.0  # seconds between lines of progress


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of CIFAR-10's binary batches")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the study")
    numbers = {"epochs": 6, "each": 24, "random": 48, "score-images": 1000, "calib-images": 1000, "jobs": 2, "seed": 0}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--limit", type=int, help="train on so many images alone, to try the study out")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    return parser.parse_args()


def plan_of(given: argparse.Namespace, norm: str, m: int) -> Plan:
    scoring = {"calib_images": given.calib_images, "score_images": given.score_images}
    plan = compose(Plan(), recipe_name=RECIPE, seed=given.seed, epochs=given.epochs, norm=norm, **scoring)
    limit = {} if given.limit is None else {"limit": given.limit}
    return plan.with_settings("space", {"m": m}).with_settings("data", {"path": str(given.data.resolve()), **limit})


def name_of(norm: str, m: int) -> str:
    return f"m{m}-{norm}"


def begun(given: argparse.Namespace, norm: str, m: int) -> Run | None:
    """The supernet's run, if there is one; BadInput where another plan made it."""
    path, plan = given.out / name_of(norm, m), plan_of(given, norm, m)
    if not (path / RECORD).exists():
        return None
    run = Run.open(path)
    for part, values in plan.settings.items():
        for name, value in values.items():
            if (former := run.record["plan"]["settings"][part].get(name)) != json.loads(json.dumps(value)):
                raise BadInput(f"{path} was made with {part}.{name} = {former!r}, not {value!r}: choose another --out")
    return run


def chosen(space: Any, given: argparse.Namespace) -> Iterator[tuple[int, Arch]]:
    """Number of paths in each block (0: drawn as in training) and architecture; the same for every norm."""
    for paths in range(1, space.m + 1):
        for number in range(given.each):
            yield paths, space.with_paths(random_for(given.seed, space.m, paths, number), paths)
    for number in range(given.random):
        yield 0, space.draw(random_for(given.seed, space.m, 0, number))


def score(run: Run, given: argparse.Namespace) -> None:
    """Writes the accuracies of all chosen architectures into the run, calibrated and not."""
    setting, method = pipeline.trained(run)
    scoring: Any = method.scoring  # type: ignore[attr-defined]
    plain = replace(scoring, calibration=[])
    done = len(run.lines(SCORES))
    run.rewrite(SCORES, run.lines(SCORES))  # without a line that a kill cut off
    todo = list(chosen(setting.space, given))
    say = spoken(f"{run.name} scores")
    for number, (paths, arch) in enumerate(todo[done:], done + 1):
        values = {"calibrated": scoring.accuracy(arch), "plain": plain.accuracy(arch)}
        run.append(SCORES, {"paths": paths, "arch": setting.space.describe(arch), **values})
        say(number, len(todo), values)


def spoken(what: str) -> Any:
    """A Progress that prints a line now and then."""
    last = [time.monotonic()]

    def say(done: int, total: int, figures: Mapping[str, float]) -> None:
        if done < total and time.monotonic() - last[0] < APART:
            return
        last[0] = time.monotonic()
        told = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        print(f"{time.strftime('%H:%M:%S')}  {what}  {done}/{total}  {told}", flush=True)

    return say


def work(given: argparse.Namespace, norm: str, m: int) -> None:
    """One supernet: train it, score it."""
    import torch

    torch.set_num_threads(1)
    name = name_of(norm, m)
    run, say = begun(given, norm, m), spoken(f"{name} trains")
    run = pipeline.resume(run, say) if run else pipeline.train_supernet(plan_of(given, norm, m), given.out / name, say)
    score(run, given)


def finished(given: argparse.Namespace, norm: str, m: int) -> bool:
    run = begun(given, norm, m)
    return run is not None and run.record["status"] == "done" and len(run.lines(SCORES)) == m * given.each + given.random


def work_all(given: argparse.Namespace) -> None:
    """All pieces that are not finished, `jobs` at a time, each in a process of its own; stops where one fails."""
    todo = [piece for piece in PIECES if not finished(given, *piece)]
    busy: dict[str, subprocess.Popen[bytes]] = {}
    with stopping(busy):
        while todo or busy:
            while todo and len(busy) < given.jobs:
                name = name_of(*todo.pop(0))
                command = [sys.executable, *sys.argv, "--piece", name]
                busy[name] = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
            time.sleep(1)
            for name in [name for name, process in busy.items() if process.poll() is not None]:
                if code := busy.pop(name).returncode:
                    sys.exit(f"{name} stopped with exit code {code}; the same command goes on from what is saved")
                write(given)


@contextlib.contextmanager
def stopping(busy: Mapping[str, subprocess.Popen[bytes]]) -> Iterator[None]:
    """After, on SIGTERM too: the processes still at work are asked to save and stop, and waited for."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for process in busy.values():
            process.terminate()
        for process in busy.values():
            process.wait()


def results(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Of each finished supernet: how it was trained, and its accuracies by number of paths (`random`: as in training)."""
    found = []
    for norm, m in PIECES:
        if not finished(given, norm, m):
            continue
        run = Run.open(given.out / name_of(norm, m))
        log, lines = run.lines(LOG), run.lines(SCORES)
        by_paths = []
        for paths, kind in itertools.product((*range(1, m + 1), 0), ("calibrated", "plain")):
            values = [line[kind] for line in lines if line["paths"] == paths]
            by_paths.append({"paths": paths or "random", "calibrated": kind == "calibrated", "accuracies": values})
        seconds = round(sum(line["seconds"] for line in log))
        training = {"epochs": len(log), "seconds": seconds, "loss": log[-1]["loss"], "accuracy": log[-1]["accuracy"]}
        found.append({"m": m, "norm": norm, "run": run.name, "training": training, "by_paths": by_paths})
    return found


def write(given: argparse.Namespace) -> list[dict[str, Any]]:
    """study.json, and its results."""
    found = results(given)
    settings = {
        name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items() if name != "piece"
    }
    about = {"recipe": RECIPE, "command": shlex.join(["python", *sys.argv]), "settings": settings, "results": found}
    write_atomic(given.out / "study.json", (json.dumps(about, indent=1) + "\n").encode())
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Accuracies in percent."""
    lines = ["m  norm     paths   calibrated    n    mean     sd    min    max"]
    for result in sorted(found, key=lambda r: (r["m"], r["norm"])):
        for row in result["by_paths"]:
            values = [100 * value for value in row["accuracies"]]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            calibrated = "yes" if row["calibrated"] else "no"
            head = f"{result['m']}  {result['norm']:7}  {row['paths']!s:6}  {calibrated:10}  {len(values):3}"
            lines.append(f"{head}  {statistics.fmean(values):6.2f} {spread:6.2f} {min(values):6.2f} {max(values):6.2f}")
    return "\n".join(lines)


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        if given.piece:
            m, norm = given.piece[1:].split("-")
            work(given, norm, int(m))
            return
        work_all(given)
        print(table(write(given)))
        print(f"made by: {shlex.join(['python', *sys.argv])}")
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
