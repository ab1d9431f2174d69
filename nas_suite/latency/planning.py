"""Which blocks to measure, and in which order: a coarse grid of widths first, then where interpolation errs most."""

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from nas_suite.space import Block

LEG = 16
"""Points between two looks at the reference block."""


@dataclass
class Points:
    """The blocks of a space, shuffled: those that stand alone, and the families by width."""

    blocks: list[Block]
    families: dict[str, list[Block]] = field(init=False)

    def __post_init__(self) -> None:
        self.families = {}
        for block in sorted((b for b in self.blocks if b.family), key=lambda b: b.width):
            self.families.setdefault(block.family, []).append(block)

    @classmethod
    def of(cls, pieces: Iterable[Block], seed: int) -> "Points":
        blocks = list(pieces)
        random.Random(seed).shuffle(blocks)
        return cls(blocks)

    @property
    def coarse(self) -> list[Block]:
        """What no table can do without: blocks that stand alone; of each family the ends and the middle."""
        needed = {b.key for family in self.families.values() for b in (family[0], family[len(family) // 2], family[-1])}
        return [block for block in self.blocks if not block.family or block.key in needed]

    def leg(self, measured: Mapping[str, float], spare: bool) -> list[Block]:
        """The next points, given ms by key; none where all are measured. `spare` says that there may not be time for all: then
        the coarse grid comes first, and the points where interpolation is likely to err most."""
        rest = [block for block in (self.coarse if spare else self.blocks) if block.key not in measured]
        if not rest and spare:
            errors = sorted(((-error, block.key, block) for error, block in self.gaps(measured)), key=lambda gap: gap[:2])
            widest = {key for _, key, _ in errors[:LEG]}
            rest = [block for block in self.blocks if block.key in widest]
        return rest[:LEG]

    def gaps(self, measured: Mapping[str, float]) -> Iterable[tuple[float, Block]]:
        """For each two neighbouring measured widths the middle one between, and the error in ms to expect of interpolation.

        That is a quarter of what interpolation errs at the neighbours themselves, were they not measured: halving a
        gap divides the error of a smooth curve by four.
        """
        for family in self.families.values():
            known = [at for at, block in enumerate(family) if block.key in measured]
            errors = [0.0, *misses([family[at].width for at in known], [measured[family[at].key] for at in known]), 0.0]
            for (low, high), near in zip(pairwise(known), pairwise(errors), strict=True):
                if high - low > 1:
                    yield max(near) / 4, family[(low + high) // 2]

    def missing(self, measured: Collection[str]) -> int:
        return sum(block.key not in measured for block in self.blocks)


def misses(widths: list[int], ms: list[float]) -> list[float]:
    """For each inner width how far its ms is from the line between its neighbours."""
    x, y = np.array(widths, float), np.array(ms)
    if len(x) < 3:
        return []
    line = y[:-2] + (y[2:] - y[:-2]) * (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    return np.abs(y[1:-1] - line).tolist()
