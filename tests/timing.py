"""A small elastic space whose blocks take made-up, exactly known times, and tables of them."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nas_suite.latency.conditions import Conditions
from nas_suite.latency.table import Curve, LatencyTable, Point
from nas_suite.latency.timer import Reading
from nas_suite.registry import SpaceNote
from nas_suite.space import Block
from nas_suite.spaces.tfnas import TFNAS

SMALL: dict[str, Any] = {"width": 0.125, "image_size": 16, "small": True, "se": False, "classes": 10}
WORDS = tuple(word for name, value in SMALL.items() for word in ("--set", f"space.{name}={str(value).lower()}"))
SPACE = TFNAS(**SMALL)
UNDER = Conditions("a made-up device", 1, 1, "fp32", 16, "torch")


def made_up(block: Block) -> float:
    """Ms that rise with the width, by stairs of 16 channels, and differ by family."""
    return 0.5 + zlib.crc32((block.family or block.key).encode()) % 97 / 100 + 0.01 * block.width + 0.1 * (block.width // 16)


def reading(block: Block, seconds: float = 0.0) -> Reading:
    return Reading(made_up(block), 0.001, 10)


def table(under: Conditions = UNDER, ms: Callable[[Block], float] = made_up, space: TFNAS = SPACE, **more: Any) -> LatencyTable:
    """A table of every block of a space."""
    families: dict[str, list[Block]] = {}
    alone = {}
    for block in space.pieces():
        if block.family:
            families.setdefault(block.family, []).append(block)
        else:
            alone[block.key] = Point(ms(block))
    curves = {
        name: Curve(tuple(b.width for b in row), tuple(ms(b) for b in row))
        for name, row in ((name, sorted(row, key=lambda b: b.width)) for name, row in families.items())
    }
    return replace(LatencyTable(under, "2026-01-01", curves, alone, SpaceNote("tfnas", {**SMALL})), **more)
