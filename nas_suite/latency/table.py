"""A table of block latencies: one JSON file of ms under stated conditions, every value checked when read, and its cost."""

import itertools
import json
import random
import re
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from annotated_types import Ge, Gt, Lt, MinLen
from jaxtyping import Float

from nas_suite.cost import Cost
from nas_suite.disk import finite, write_atomic
from nas_suite.errors import BadInput, fault
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.noise import Noise
from nas_suite.registry import SpaceNote
from nas_suite.space import Block, SearchSpace
from nas_suite.words import plural

KIND: Literal["nas_suite latency table"] = "nas_suite latency table"
SCHEMA: Literal[1] = 1
NAME = "latency"
"""Of the cost."""
ENDLESS = float("inf")
QUICKEST, SLOWEST = 0.005, 10.0
"""Between them lie blocks of devices known to us: ms of a call, which costs something to launch, and ms of an image."""
Ms: TypeAlias = Annotated[float, Gt(0), Lt(1e9)]
"""Eleven days are no latency."""
Spread: TypeAlias = Annotated[float, Ge(0), Lt(ENDLESS)]
Number: TypeAlias = Annotated[float, Gt(-ENDLESS), Lt(ENDLESS)]
Count: TypeAlias = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Point:
    """A block's latency: the median of `runs`, and how far they spread; None where a file does not tell."""

    ms: Ms
    spread_ms: Spread | None = None
    runs: Count | None = None


@dataclass(frozen=True)
class Curve:
    """The latencies of a family of blocks by the number of their inner channels."""

    widths: Annotated[tuple[Count, ...], MinLen(1)]
    """Ascending."""
    ms: tuple[Ms, ...]
    spread_ms: tuple[Spread, ...] | None = None
    runs: tuple[Count, ...] | None = None

    def __post_init__(self) -> None:
        if list(self.widths) != sorted(set(self.widths)):
            raise ValueError("widths do not ascend")
        for values in (self.ms, self.spread_ms, self.runs):
            if values is not None and len(values) != len(self.widths):
                raise ValueError(f"{plural(len(self.widths), 'width')} have {plural(len(values), 'value')}")

    @cached_property
    def rising(self) -> Float[np.ndarray, " w"]:
        """The non-decreasing values that are nearest to the measured ones: a wider block takes no less time."""
        from scipy.optimize import isotonic_regression

        return isotonic_regression(self.ms).x

    def at(self, width: int) -> float | None:
        """Ms at a width, linear between the measured ones; None outside of them."""
        if not self.widths[0] <= width <= self.widths[-1]:
            return None
        return float(np.interp(width, self.widths, self.rising))


@dataclass(frozen=True)
class Constant:
    """One latency for several blocks that every network runs. `covers` are their keys, in which * stands for anything."""

    ms: Ms
    covers: Annotated[tuple[str, ...], MinLen(1)]


@dataclass(frozen=True)
class Fit:
    """How whole networks follow the table: `a` × its sum + `b` ms, by least squares of the relative error.

    Errors are mean absolute shares of the measured latency: `before` of the sums, `after` of fits to all other networks;
    `noise` is that between two measurements of one network. `forced` says that the noise was above what is believed.
    """

    a: Annotated[float, Gt(0), Lt(ENDLESS)]
    b: Number
    networks: Count
    space: str
    seed: int
    before: Spread
    after: Spread
    noise: Spread
    created: str
    forced: bool = False


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of blocks, ms of a whole batch.

    `blocks` by key, `families` by family and width. `source` tells what else is known of the measurement, `spread` what the
    spreads are: the interquartile range or the standard deviation. `where` is the file that it was read from.
    """

    conditions: Conditions
    created: str
    families: Mapping[str, Curve]
    blocks: Mapping[str, Point]
    space: SpaceNote | None = None
    constant: Constant | None = None
    spread: Literal["iqr", "std"] | None = None
    noise: Noise | None = None
    fit: Fit | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["nas_suite latency table"] = KIND
    schema: Literal[1] = SCHEMA
    unit: Literal["ms"] = "ms"
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.conditions.device is None or self.conditions.batch is None:
            raise ValueError("device and batch must be known")
        if not self.families and not self.blocks:
            raise ValueError("no block is in it")

    @classmethod
    def read(cls, path: Path) -> "LatencyTable":
        """The table in a file; BadInput names the first value that is wrong."""
        from pydantic import TypeAdapter, ValidationError

        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInput(f"the latency table {path} cannot be read: {error.strerror or error}") from None
        heads(path, data)
        try:
            return replace(TypeAdapter(cls).validate_json(data, strict=True), where=str(path))
        except ValidationError as error:
            said = fault(error.errors()[0])
            raise BadInput(f"the latency table {path} is not usable: {said}; measure or import it again") from None

    def write(self, path: Path) -> "LatencyTable":
        """Puts it into a file, whole or not at all."""
        record = {name: value for name, value in finite(asdict(self)).items() if name != "where"} | {"noisy": self.noisy}
        text = json.dumps({name: record[name] for name in ("kind", "schema", "unit", *record)}, indent=1)
        write_atomic(path, (re.sub(r"\[[^][{}]*\]", on_one_line, text) + "\n").encode())
        return replace(self, where=str(path))

    @property
    def name(self) -> str:
        """What a message calls it."""
        return self.where or f"of {self.conditions.device}"

    @property
    def noisy(self) -> bool:
        """Whether the machine was too busy for what it measured to be believed."""
        return self.noise is not None and self.noise.noisy

    def __len__(self) -> int:
        """How many latencies it holds."""
        return len(self.blocks) + sum(len(curve.widths) for curve in self.families.values())

    @property
    def typical(self) -> float:
        """The median of its latencies, ms of a batch."""
        return statistics.median(
            itertools.chain((point.ms for point in self.blocks.values()), *(curve.ms for curve in self.families.values()))
        )

    @property
    def doubt(self) -> str:
        """Why the unit that somebody gave can hardly be right; empty where it may be."""
        per_image = self.typical / (self.conditions.batch or 1)
        if self.typical >= QUICKEST and per_image <= SLOWEST:
            return ""
        return f"its blocks take {self.typical:.3g} ms in the median at batch {self.conditions.batch}"

    @cached_property
    def known(self) -> dict[str, float]:
        """Ms of blocks by key: those that stand there, and those that were asked for."""
        return {key: 0.0 if self.covers(key) else point.ms for key, point in self.blocks.items()}

    def find(self, block: Block) -> float | None:
        """Ms of a block, without the fit; 0 where the constant covers it, None where the table does not reach."""
        if block.key not in self.known:
            if self.covers(block.key):
                self.known[block.key] = 0.0
            elif (curve := self.families.get(block.family)) is None or (found := curve.at(block.width)) is None:
                return None
            else:
                self.known[block.key] = found
        return self.known[block.key]

    def covers(self, key: str) -> bool:
        return self.constant is not None and any(fnmatchcase(key, pattern) for pattern in self.constant.covers)

    def ms(self, block: Block) -> float:
        """Ms of a block, without the fit; BadInput where the table does not reach."""
        if (found := self.find(block)) is None:
            raise BadInput(f"the latency table {self.name} does not reach {block.key}{self.reach(block)}")
        return found

    def fitted_ms(self, block: Block) -> float:
        """What a block adds to the latency of a network."""
        return self.ms(block) * (self.fit.a if self.fit else 1.0)

    def reach(self, block: Block) -> str:
        """What the table has of a block's family."""
        curve = self.families.get(block.family)
        return "" if curve is None else f": it has widths {curve.widths[0]} to {curve.widths[-1]} of {block.family}"

    def lacking(self, space: SearchSpace) -> list[Block]:
        """The blocks that some network of the space needs and the table does not reach."""
        return [block for block in space.pieces() if self.find(block) is None]

    def cost(self, space: SearchSpace, fitted: bool = True) -> Cost:
        """The latency of networks in ms: a × (constant + Σ blocks) + b; the plain sum where there is no fit or none is wanted.

        BadInput where the table lacks blocks of the space, or its constant covers what the space has not.
        """
        if lacks := self.lacking(space):
            made = f", which was made for {self.space.name}," if self.space else ""
            raise BadInput(
                f"the latency table {self.name}{made} lacks {len(lacks):,} of the blocks of this space, such as "
                f"{lacks[0].key}{self.reach(lacks[0])}; nas latency build measures a space"
            )
        base = 0.0
        if self.constant is not None:
            keys = [block.key for _, block in space.blocks(space.sample(random.Random(0)))]
            for pattern in self.constant.covers:
                if not any(fnmatchcase(key, pattern) for key in keys):
                    raise BadInput(
                        f"the latency table {self.name} is of another space: it counts {pattern}, which this one has not"
                    )
            base = self.constant.ms
        if not fitted or self.fit is None:
            return Cost(NAME, self.unit, space, self.ms, base)
        return Cost(NAME, self.unit, space, self.fitted_ms, self.fit.a * base + self.fit.b)


def heads(path: Path, data: bytes) -> None:
    """BadInput unless a file is a latency table in ms of this version."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        said = "no text" if isinstance(error, UnicodeDecodeError) else error
        raise BadInput(
            f"{path} is cut short or no latency table ({said}); nas latency import takes the tables of others"
        ) from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise BadInput(f"{path} is no latency table; nas latency import takes the tables of others")
    for name, due in (("schema", SCHEMA), ("unit", "ms")):
        if found.get(name) != due:
            raise BadInput(f"the latency table {path} has {name} {found.get(name)!r}, this version reads {due!r}")


def on_one_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split())
