"""TF-NAS's own latency tables, as curves over the widths of its blocks, for tests."""

import json
import lzma
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite.cost import Cost
from nas_suite.scaling import Elastic
from nas_suite.space import Block
from nas_suite.spaces.tfnas import TFNAS

OPERATIONS = ((3, 3, 0), (3, 6, 0), (5, 3, 0), (5, 6, 0), (3, 3, 1), (3, 6, 2), (5, 3, 1), (5, 6, 2))  # kernel, expansion, SE
STAGES = (  # activation, then resolution, channels in and out, and stride of each block
    ("relu", ((112, 16, 24, 2), (56, 24, 24, 1))),
    ("swish", ((56, 24, 40, 2), *((28, 40, 40, 1),) * 2)),
    ("swish", ((28, 40, 80, 2), *((14, 80, 80, 1),) * 3)),
    ("swish", ((14, 80, 112, 1), *((14, 112, 112, 1),) * 3)),
    ("swish", ((14, 112, 192, 2), *((7, 192, 192, 1),) * 3)),
    ("swish", ((7, 192, 320, 1),)),
)
TF_NAS_A = ((5, 3), (5, 1, 7), (7, 1, 1, 1), (5, 1, 5, 5), (1, 1, 5, 5), (7,))  # operations, as FaceX-Zoo has them
TF_NAS_A_WIDTHS = (83, 128, 138, 297, 170, 248, 500, 424, 477, 504, 796, 723, 555, 813, 1370, 1138, 1359, 1203)


@dataclass(frozen=True)
class Official:
    """One of the two tables."""

    entries: dict[str, Any]

    @classmethod
    def read(cls, shared: Path, device: str) -> "Official":
        with lzma.open(shared / "luts" / f"tfnas_latency_{device}.json.xz") as file:
            return cls(json.load(file))

    @property
    def base(self) -> float:
        return self.entries["base"]

    def block(self, stage: int, at: int, operation: int, step: int = 1, width: int = 0) -> Elastic:
        """A block at its start width, or another, on a grid of `step` channels."""
        act, blocks = STAGES[stage]
        side, into, out, stride = blocks[at]
        kernel, expansion, se = OPERATIONS[operation]
        table = self.entries[f"MBInvertedResBlock_{side}_{into}_{se * into}_{out}_k{kernel}_s{stride}_{act}"]
        widths = np.arange(2 * into * expansion // 3, 4 * into * expansion // 3 + 1, step)
        return Elastic(stage, width or into * expansion, widths, np.array([table[str(w)] for w in widths]))

    def cost(self, space: TFNAS) -> Cost:
        """The latency of networks of the space; the base is stem and head."""
        return Cost("latency", "ms", space, self.of, self.base)

    def of(self, block: Block) -> float:
        told = re.fullmatch(r"mb_i(\d+)_o(\d+)_k(\d)_s(\d)_r(\d+)_se(\d+)_(\w+)", block.family)
        if told is None:
            return 0.0
        into, out, kernel, stride, side, hidden, act = told.groups()
        key = f"MBInvertedResBlock_{side}_{into}_{hidden}_{out}_k{kernel}_s{stride}_{act}"
        return self.entries[key][str(block.width)]

    def network(self, operations: Sequence[Sequence[int]], step: int = 1) -> list[Elastic]:
        return [self.block(s, at, op, step) for s, stage in enumerate(operations) for at, op in enumerate(stage)]

    def random(self, rng: random.Random, step: int = 1) -> list[Elastic]:
        depths = [rng.randint(1, len(blocks)) for _, blocks in STAGES]
        return self.network([[rng.randrange(len(OPERATIONS)) for _ in range(depth)] for depth in depths], step)
