"""All 6,561 networks of NAS-Bench-Macro's space scored with one supernet on this processor: one by one, and as a prefix tree.

    python benchmarks/speed_rank.py [--width 0.5] [--images 50] [--sample 400] [--threads 1] [--memory 64]

Both sides calibrate every network on `--images` random images and validate it on as many others, in batches of 50, in bf16
where the processor has it; the supernet is untrained. The tree scores all networks. One by one a seeded sample of `--sample`
is scored, a share of it after each part of the tree, and its seconds are scaled up to all; the scores must be equal. Block
evaluations are runs of a block on a batch: those of the tree are counted as they run, those of all networks one by one are a
sum over their blocks. Identities without parameters count for neither.
"""

import argparse
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from nas_suite.data import Images
from nas_suite.data.batches import Clean
from nas_suite.engine import Compute
from nas_suite.oneshot import SCORING_BATCH, Scoring
from nas_suite.space import Arch
from nas_suite.spaces.macro import Macro

MEAN, STD = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)


class Tally:
    """Counts the blocks of a supernet that run and compute."""

    def __init__(self, supernet: nn.Module) -> None:
        self.blocks = 0
        for part in (supernet.stem, *supernet.choices, supernet.head):  # type: ignore[misc]
            part.register_forward_hook(self.count)  # type: ignore[union-attr]

    def count(self, _: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        self.blocks += out is not given[0]

    def taken(self, work: Callable[[], object]) -> tuple[int, float, float]:
        """Blocks, seconds by the clock and seconds of the processor that `work` takes."""
        blocks, wall, processor = self.blocks, time.perf_counter(), time.process_time()
        work()
        return self.blocks - blocks, time.perf_counter() - wall, time.process_time() - processor


def noise(count: int, seed: int) -> Clean:
    drawn = np.random.default_rng(seed)
    images = Images.of(drawn.integers(0, 256, (count, 32, 32, 3), np.uint8), drawn.integers(0, 10, count))
    return Clean(images, SCORING_BATCH["cpu"], MEAN, STD)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("images", 50), ("sample", 400), ("threads", 1), ("memory", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--width", type=float, default=0.5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    space, compute = Macro(width=given.width), Compute.choose("cpu")
    archs: list[Arch] = [space.parse(np.base_repr(at, 3).zfill(8)) for at in range(space.spellings())]
    sample = random.Random(0).sample(archs, given.sample)
    supernet = compute.place(space.supernet("linear"))
    scoring = Scoring(supernet, compute, noise(given.images, 0), noise(given.images, 1))
    rounds = len(scoring.calibration) + len(scoring.val)
    tally = Tally(supernet)
    scoring.accuracy(archs[0])

    tree: dict[Arch, float] = {}
    alone: dict[Arch, float] = {}
    together, single = np.zeros(3), np.zeros(3)
    parts = scoring.parts(archs, given.memory << 20)
    while len(tree) < len(archs):
        together += tally.taken(lambda: tree.update(next(parts)))
        due = sample[len(alone) : len(sample) * len(tree) // len(archs)]
        single += tally.taken(lambda due=due: alone.update((arch, scoring.accuracy(arch)) for arch in due))
        print(f"{len(tree):,} as a tree in {together[1]:.0f} s, {len(alone)} alone in {single[1]:.0f} s", flush=True)
    assert all(tree[arch] == accuracy for arch, accuracy in alone.items())

    scale = len(archs) / len(sample)
    evaluations = rounds * sum(len(list(space.blocks(arch))) for arch in archs)
    print(f"all {len(archs):,} networks, width {given.width:g}, {given.images} + {given.images} images, {compute}")
    for name, ours, theirs in zip(
        ("block evaluations", "seconds", "seconds of the processor"),
        together,
        (evaluations, *single[1:] * scale),
        strict=True,
    ):
        print(f"  {name:26s} one by one {theirs:12,.0f}   tree {ours:10,.0f}   ratio {theirs / ours:5.2f}")
    print(f"  seconds one by one: of {len(sample)} networks, times {scale:.1f}; their scores are those of the tree")


if __name__ == "__main__":
    main()
