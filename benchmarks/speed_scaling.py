"""Elasticity-scaling of random networks of TF-NAS's space to random targets: milliseconds each, and how near they come.

    python benchmarks/speed_scaling.py --luts FOLDER [--networks 500]

FOLDER holds TF-NAS's own latency tables (latency_gpu.pkl, latency_cpu.pkl). The rival is the loop as the official code has it:
one step at a time, every block's latency looked up after each; its widths are the same.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas_suite.importers import luts
from nas_suite.latency.conditions import Conditions
from nas_suite.scaling import Elastic, reach, scaled
from nas_suite.spaces.tfnas import TFNAS
from nas_suite.target import Choice, Target


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


def draws(targets: Sequence[Target], count: int) -> list[tuple[list[Elastic], float, float]]:
    """Blocks, target in ms and constant of random networks whose start widths miss the target by 5 % or more."""
    rng, found = random.Random(0), []
    while len(found) < count:
        target = rng.choice(targets)
        choice = Choice(*target.space.split(target.space.sample(rng))[:2])
        running = list(target.running(choice))
        blocks = [Elastic(stage, target.start[at][op], *target.curve(at, op)) for stage, at, op in running]
        ms = rng.uniform(*reach(blocks, target.constant))
        start = target.cost.total(target.arch(choice, target.start))
        if abs(start / ms - 1) >= 0.05:
            found.append((blocks, ms, target.constant))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--luts", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=500)
    given = parser.parse_args()
    tables = [
        luts.read(given.luts / f"latency_{name}.pkl", "ms", Conditions(device, batch), False)
        for name, device, batch in (("gpu", "Titan RTX", 32), ("cpu", "Xeon Gold 6130", 1))
    ]
    for step in (1, 8):
        targets = [Target(table.cost(TFNAS(width_step=step)), 1.0) for table in tables]
        seconds, rival, residuals = [], [], []
        for blocks, ms, constant in draws(targets, given.networks):
            started = time.process_time()
            found = scaled(blocks, ms, constant)
            seconds.append(time.process_time() - started)
            residuals.append(1 - found.latency / ms)
            if step == 1:
                started = time.process_time()
                assert list(found.widths) == straightforward(blocks, ms, constant)
                rival.append(time.process_time() - started)
        left = np.array(residuals)
        print(f"step {step}: {1e3 * np.mean(seconds):.2f} ms a network, at most {1e3 * max(seconds):.2f} ms", end="")
        print(f"; step by step {1e3 * np.mean(rival):.2f} ms, same widths" if rival else "")
        print(
            f"  below the target: mean {100 * left.mean():.4f} %, most {100 * left.max():.3f} %, under 0.5 %: "
            f"{100 * np.mean(left < 5e-3):.1f} % of them, above it {np.sum(left < -1e-11)}"
        )


if __name__ == "__main__":
    main()
