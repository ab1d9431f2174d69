"""Elasticity-scaling of random networks of TF-NAS's size to random targets: milliseconds each, and how near they come.

    python benchmarks/speed_scaling.py --luts FOLDER [--networks 500]

FOLDER holds TF-NAS's own latency tables as JSON (tfnas_latency_gpu.json.xz, tfnas_latency_cpu.json.xz). The rival is the loop
as the paper describes it: one step at a time, every block's latency looked up after each; its widths are the same.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from official import Official  # pyright: ignore[reportMissingImports]

from nas_suite.scaling import Elastic, reach, scaled


def straightforward(blocks: Sequence[Elastic], target: float, constant: float) -> list[int]:
    """The official code's loop, widths of single channels."""
    widths = [b.width for b in blocks]

    def latency(some: Sequence[int]) -> float:
        return constant + sum(float(b.latency[w - b.widths[0]]) for b, w in zip(blocks, some, strict=True))

    def fit(first: int, sign: int) -> None:
        nonlocal widths
        chosen = [at for at, b in enumerate(blocks) if b.stage >= first]
        narrowest = min((widths[at] for at in chosen), default=1)
        rates = {at: round(widths[at] / narrowest) for at in chosen}
        while True:
            stepped = list(widths)
            for at, rate in rates.items():
                stepped[at] = min(max(widths[at] + sign * rate, blocks[at].widths[0]), blocks[at].widths[-1])
            if stepped == widths or (sign > 0 and latency(stepped) > target):
                return
            widths = stepped
            if sign < 0 and latency(widths) <= target:
                return

    fit(0, -1 if latency(widths) > target else 1)
    for first in range(1, 6):
        fit(first, 1)
    return widths


def draws(tables: Sequence[Official], count: int, step: int) -> list[tuple[list[Elastic], float, float]]:
    """Blocks, target in ms and constant of random networks whose start widths miss the target by 5 % or more."""
    rng, found = random.Random(0), []
    while len(found) < count:
        table = rng.choice(tables)
        blocks = table.random(rng, step)
        target = rng.uniform(*reach(blocks, table.base))
        start = table.base + sum(float(np.interp(b.width, b.widths, b.latency)) for b in blocks)
        if abs(start / target - 1) >= 0.05:
            found.append((blocks, target, table.base))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--luts", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=500)
    given = parser.parse_args()
    tables = [Official.read(given.luts.parent, device) for device in ("gpu", "cpu")]
    for step in (1, 8):
        seconds, rival, residuals = [], [], []
        for blocks, target, constant in draws(tables, given.networks, step):
            started = time.process_time()
            found = scaled(blocks, target, constant)
            seconds.append(time.process_time() - started)
            residuals.append(1 - found.latency / target)
            if step == 1:
                started = time.process_time()
                assert list(found.widths) == straightforward(blocks, target, constant)
                rival.append(time.process_time() - started)
        left = np.array(residuals)
        print(f"step {step}: {1e3 * np.mean(seconds):.2f} ms a network, at most {1e3 * max(seconds):.2f} ms", end="")
        print(f"; step by step {1e3 * np.mean(rival):.2f} ms, same widths" if rival else "")
        print(
            f"  below the target: mean {100 * left.mean():.4f} %, most {100 * left.max():.3f} %, under 0.5 %: "
            f"{100 * np.mean(left < 5e-3):.1f} % of them, above it {np.sum(left < -1e-12)}"
        )


if __name__ == "__main__":
    main()
