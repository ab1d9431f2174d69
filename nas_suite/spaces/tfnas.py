"""TF-NAS's space: six stages of inverted bottlenecks; operations, each stage's depth and every inner width are chosen."""

import itertools
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from torch import Tensor, nn

from nas_suite.chain import Site, check_images, head_block, scaled, sites_of
from nas_suite.elastic import (
    Decisions,
    ElasticBlock,
    ElasticOperation,
    StagedSupernet,
    bottleneck,
    reached,
    separable_bottleneck,
    weighed,
)
from nas_suite.errors import BadInput, suggest
from nas_suite.graph import INPUT, OUTPUT, Graph, GraphSpace
from nas_suite.layers import ACTIVATIONS, conv_block, unbiased
from nas_suite.space import Arch, Block, ElasticSpace, Part, Path, Sketch, Variable
from nas_suite.words import plural

# Stages (channels, blocks at most, stride of the first) of the official code (AberHu/TF-NAS, models/model_search.py:219-277).
# The paper activates by ReLU up to the end of the first stage, by swish behind it.
STAGES = ((24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 4, 1), (192, 4, 2), (320, 1, 1))
STEM, SECOND, EXCITED, HEAD = (32, 16, 8, 1280)
RELU_STAGES = 1


class Operation(NamedTuple):
    """An inverted bottleneck with a depthwise kernel, `rate` times its input's channels inside when a search begins, and
    squeeze-excite or not (models/model_search.py:7-29)."""

    kernel: int
    rate: int
    excited: bool

    def __str__(self) -> str:
        return f"k{self.kernel}e{self.rate}{'se' * self.excited}"

    def hidden(self, c_in: int) -> int:
        """Channels inside the squeeze-excite, whatever the width; 0 without one."""
        return c_in * self.rate // 3 if self.excited else 0

    def widths(self, c_in: int) -> range:
        """2/3 to 4/3 of the start (train_search.py:519-532)."""
        return range(2 * self.rate * c_in // 3, 4 * self.rate * c_in // 3 + 1)


OPERATIONS = tuple(Operation(k, rate, excited) for excited in (False, True) for k in (3, 5) for rate in (3, 6))
SKIP = "skip"
LEVELS = 5
"""Of widths that nodes of a graph tell apart, from the least to the most: a graph is for encoders, which learn from few
networks, and there are up to hundreds of widths."""

Row = Sequence[tuple[int, int]]
"""The blocks of a stage that run: operation and width of each."""


@dataclass(frozen=True)
class TFNAS(ElasticSpace, GraphSpace):
    """Settings: `width` multiplies all channels; `se`: without it there are only the four operations that do not
    squeeze-excite; `act` replaces the paper's activations by one (relu, relu6, swish, hswish, none); `width_step` is that of
    the widths which a search looks at, 1 in the paper. `small` is for 32-px images: neither the stem (whatever `stem_stride`
    is) nor the first stage strides, so that 4 px are left at the end.

    A block's operation is one of eight, 0 to 7: without squeeze-excite 3×3 expansion 3, 3×3 expansion 6, 5×5 expansion 3,
    5×5 expansion 6, then the same with it. Its width, the number of its inner channels, is any integer of 2 to 4 times its
    input's channels (expansion 3) or 4 to 8 times (6); samples and searches take those at steps of `width_step` from the least,
    and the most. A stage runs its first blocks, at least one. An architecture is written by stage: `5w83_3w128/5w138/…`.

    `depth_by` is `sink`, TF-NAS's: the depth of each stage is a decision of its own. `skip` is the control: all blocks run, and
    nothing at all is one more operation, 8, of those that do not begin a stage, so that many spellings mean one network. Nor is
    there a choice with `full`: all blocks run.
    """

    width: float = 1.0
    image_size: int = 224
    stem_stride: int = 2
    channels: int = 3
    classes: int = 1000
    se: bool = True
    act: str = ""
    width_step: int = 8
    small: bool = False
    depth_by: Literal["sink", "skip", "full"] = "sink"

    def __post_init__(self) -> None:
        check_images(self.width, self.image_size, self.stem_stride, self.channels, self.classes)
        if self.act and self.act not in ACTIVATIONS:
            raise ValueError(f"unknown act {self.act!r}{suggest(self.act, ACTIVATIONS)}")
        if self.width_step < 1:
            raise ValueError(f"width_step must be at least 1, got {self.width_step}")

    @cached_property
    def stages(self) -> tuple[range, ...]:
        ends = list(itertools.accumulate((blocks for _, blocks, _ in STAGES), initial=0))
        return tuple(itertools.starmap(range, itertools.pairwise(ends)))

    @cached_property
    def elastic(self) -> tuple[Operation, ...]:
        """The operations that are blocks."""
        return tuple(operation for operation in OPERATIONS if self.se or not operation.excited)

    @cached_property
    def operations(self) -> tuple[str, ...]:
        return (*map(str, self.elastic), *([SKIP] if self.depth_by == "skip" else []))

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        strides = [1 if self.small and stage == 0 else stride for stage, (*_, stride) in enumerate(STAGES)]
        table = [(c, 1 if at else stride) for (c, n, _), stride in zip(STAGES, strides, strict=True) for at in range(n)]
        sites = sites_of(table, scaled(SECOND, self.width), self.side, self.width, self.act or "swish")
        early = self.stages[RELU_STAGES].start
        return (*(replace(site, act=self.act or "relu") for site in sites[:early]), *sites[early:])

    @property
    def stride(self) -> int:
        """Of the stem."""
        return 1 if self.small else self.stem_stride

    @property
    def side(self) -> int:
        """Of the features behind the stem's first convolution."""
        return -(-self.image_size // self.stride)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """The operation of each block, the depth of each stage, then block by block the width of each operation."""
        firsts = {stage.start for stage in self.stages}
        whole, begin = self.operations, tuple(map(str, self.elastic))
        operations = [Variable(f"block{at}", begin if at in firsts else whole) for at in range(len(self.sites))]
        depths = [Variable(f"stage{at}.depth", self.depths(at)) for at in range(len(self.stages))]
        widths = [
            Variable(f"block{at}.{self.elastic[operation]}.width", tuple(self.widths(at, operation)))
            for at, operation in self.genes
        ]
        return (*operations, *depths, *widths)

    @cached_property
    def searched(self) -> tuple[Sequence[int], ...]:
        decisions = self.variables[: len(self.sites) + len(self.stages)]
        widths = (
            tuple(width - self.widths(at, operation).start for width in self.grid(at, operation))
            for at, operation in self.genes
        )
        return (*(range(len(variable.options)) for variable in decisions), *widths)

    @property
    def genes(self) -> Iterator[tuple[int, int]]:
        """Block and operation of each variable that is a width."""
        return itertools.product(range(len(self.sites)), range(len(self.elastic)))

    def depths(self, stage: int) -> tuple[int, ...]:
        """How many blocks of a stage may run."""
        most = len(self.stages[stage])
        return tuple(range(1 if self.depth_by == "sink" else most, most + 1))

    def lengths(self, blocks: int) -> range:
        """How many of a stage's blocks may be left when those that are nothing are taken away."""
        return range(blocks if self.depth_by == "full" else 1, blocks + 1)

    @cached_property
    def spans(self) -> tuple[tuple[range, ...], ...]:
        """The widths of each operation of each block."""
        return tuple(tuple(operation.widths(site.c_in) for operation in self.elastic) for site in self.sites)

    def widths(self, at: int, operation: int) -> range:
        return self.spans[at][operation] if operation < len(self.elastic) else range(0)

    def start(self, at: int, operation: int) -> int:
        return self.elastic[operation].rate * self.sites[at].c_in if operation < len(self.elastic) else 0

    def gene(self, at: int, operation: int) -> int:
        """The variable that is a width's."""
        return len(self.sites) + len(self.stages) + at * len(self.elastic) + operation

    def join(self, operations: Sequence[int | Tensor], depths: Sequence[int | Tensor], widths: Sequence[Sequence[int]]) -> Path:
        least = [self.depths(stage)[0] - 1 for stage in range(len(self.stages))]
        chosen = [depth - least[at] if isinstance(depth, int) else depth for at, depth in enumerate(depths)]
        indices = []
        for at, (row, spans) in enumerate(zip(widths, self.spans, strict=True)):
            for operation, (width, allowed) in enumerate(zip(row, spans, strict=False)):
                if width not in allowed:
                    raise ValueError(f"block {at}, operation {operation}: width {width} is not {bounds(allowed)}")
                indices.append(width - allowed.start)
        return (*operations, *chosen, *indices)

    def decisions(self, path: Path) -> Decisions:
        """What a path says."""
        blocks, stages = len(self.sites), len(self.stages)
        depths = [
            depth if isinstance(depth, Tensor) else self.depths(at)[depth] - 1
            for at, depth in enumerate(path[blocks : blocks + stages])
        ]
        genes = iter(path[blocks + stages :])
        widths = [
            [
                index if isinstance(index, Tensor) else allowed.start + index
                for allowed, index in zip(spans, genes, strict=False)
            ]
            for spans in self.spans
        ]
        return Decisions(path[:blocks], depths, widths)

    def split(self, arch: Arch) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
        found = self.decisions(arch)
        nothing = (0,) * (len(self.operations) - len(self.elastic))
        return tuple(found.operations), tuple(found.depths), tuple((*row, *nothing) for row in found.widths)  # type: ignore[return-value]

    def rows(self, arch: Arch) -> list[list[tuple[int, int]]]:
        """Operation and width of each block that runs, by stage, without blocks that are nothing."""
        found = []
        for number, stage in enumerate(self.stages):
            running = stage[: self.depths(number)[arch[len(self.sites) + number]]]
            chosen = [(at, arch[at]) for at in running if arch[at] < len(self.elastic)]
            found.append([(op, self.spans[at][op][arch[self.gene(at, op)]]) for at, op in chosen])
        return found

    @cached_property
    def blank(self) -> Arch:
        """Every decision as it is where it changes nothing."""
        operation = len(self.elastic) if self.depth_by == "skip" else 0
        pairs = itertools.product(range(len(self.sites)), range(len(self.elastic)))
        widths = [self.start(at, op) - self.spans[at][op].start for at, op in pairs]
        return (*[operation] * len(self.sites), *[0] * len(self.stages), *widths)

    def spell(self, rows: Sequence[Row]) -> Arch:
        """The canonical architecture of these rows."""
        arch = list(self.blank)
        for number, (stage, row) in enumerate(zip(self.stages, rows, strict=True)):
            if self.depth_by == "sink":
                arch[len(self.sites) + number] = len(row) - 1
            for at, (operation, width) in zip(stage, row, strict=False):
                arch[at], arch[self.gene(at, operation)] = operation, width - self.spans[at][operation].start
        return tuple(arch)

    def canonical(self, arch: Arch) -> Arch | None:
        """Widths of operations that do not run, and operations past the depth, as at the start; nothing-blocks come last."""
        return self.spell(self.rows(self.check(arch)))

    def size(self) -> int:
        """Networks that differ in operations or depths; each has some thousand trillion trillion widths."""
        return math.prod(sum(len(self.elastic) ** depth for depth in self.lengths(len(stage))) for stage in self.stages)

    def describe(self, arch: Arch) -> str:
        return "/".join("_".join(f"{operation}w{width}" for operation, width in row) for row in self.rows(self.check(arch)))

    def parse(self, text: str) -> Arch:
        parts = text.strip().split("/")
        if len(parts) != len(self.stages):
            raise BadInput(
                f"architecture {text!r} has {plural(len(parts), 'stage')} between '/'; this space has {len(self.stages)}; "
                f"an example: {self.describe(self.sample(random.Random(0)))}"
            )
        rows = []
        for number, (stage, part) in enumerate(zip(self.stages, parts, strict=True)):
            tokens = part.split("_")
            if len(tokens) not in (lengths := self.lengths(len(stage))):
                count = " or ".join(map(str, lengths))
                raise BadInput(f"stage {number} cannot be {part!r}: its number of blocks is {count}, not {len(tokens)}")
            rows.append([self.read(at, token) for at, token in zip(stage, tokens, strict=False)])
        return self.spell(rows)

    def read(self, at: int, token: str) -> tuple[int, int]:
        """Operation and width of a block's token; any integer within bounds is a width."""
        found = re.fullmatch(r"([0-9])w([0-9]{1,9})", token)
        if not found or int(found[1]) >= len(self.elastic):
            last = len(self.elastic) - 1
            raise BadInput(f"block {at} cannot be {token!r}: an operation, 0 to {last}, 'w' and its width are due, as in 1w96")
        operation, width = int(found[1]), int(found[2])
        if width not in (allowed := self.widths(at, operation)):
            what = self.elastic[operation]
            raise BadInput(
                f"block {at} cannot be {token!r}: the width of operation {operation} ({what}) is {bounds(allowed)} there"
            )
        return operation, width

    def draw(self, rng: random.Random) -> Arch:
        """Operations as in the paper's first epochs, uniform; so are, which it does not draw, depths and widths."""
        return self.sample(rng)

    def stem(self) -> list[Block]:
        act, first = self.act or "relu", scaled(STEM, self.width)
        site = Site(first, scaled(SECOND, self.width), 1, self.side, act)
        hidden = scaled(EXCITED, self.width) if self.se else 0
        return [
            conv_block(self.channels, first, 3, self.stride, self.image_size, act),
            separable_bottleneck(site, hidden),
        ]

    def head(self) -> Block:
        return head_block(self.sites[-1], scaled(HEAD, self.width), self.classes)

    def option(self, at: int, operation: int, width: int) -> Block | None:
        if operation >= len(self.elastic):
            return None
        if width not in (allowed := self.widths(at, operation)):
            raise ValueError(f"block {at}, operation {operation}: width {width} is not {bounds(allowed)}")
        site, chosen = self.sites[at], self.elastic[operation]
        return bottleneck(site, chosen.kernel, width, chosen.hidden(site.c_in))

    @cached_property
    def node_types(self) -> tuple[str, ...]:
        """Where a stage begins; an operation with one of five levels of width."""
        levels = itertools.product(self.elastic, range(LEVELS))
        return (INPUT, OUTPUT, *(f"stage{at}" for at in range(len(STAGES))), *(f"{op}w{level}" for op, level in levels))

    @property
    def most_nodes(self) -> int:
        return len(self.sites) + len(self.stages) + 2

    def graph(self, arch: Arch) -> Graph:
        """A chain of the blocks that run, a node before those of each stage."""
        names = []
        for number, (stage, row) in enumerate(zip(self.stages, self.rows(self.valid(arch)), strict=True)):
            names.append(f"stage{number}")
            for at, (operation, width) in zip(stage, row, strict=False):
                least, most = (allowed := self.widths(at, operation))[0], allowed[-1]
                names.append(f"{self.elastic[operation]}w{round((LEVELS - 1) * (width - least) / (most - least))}")
        return Graph.chain(self.node_types, names)

    def blocks(self, path: Path) -> Iterator[tuple[float | Tensor, Block]]:
        operations, depths, widths = self.decisions(path)
        yield from ((1.0, block) for block in self.stem())
        for number, stage in enumerate(self.stages):
            for reach, at in zip(reached(depths[number], self.depths(number)), stage, strict=False):
                for weight, operation in weighed(operations[at], range(len(self.operations))):
                    if operation < len(self.elastic):
                        for share, width in weighed(widths[at][operation], self.spans[at][operation]):
                            yield reach * weight * share, self.option(at, operation, width)  # type: ignore[misc]
        yield 1.0, self.head()

    def pieces(self) -> Iterator[Block]:
        """The stem, every bottleneck at the widths that a search looks at, the head."""
        every = (self.option(at, operation, width) for at, operation in self.genes for width in self.grid(at, operation))
        yield from self.stem()
        yield from dict.fromkeys(every)  # type: ignore[misc]
        yield self.head()

    def network(self, arch: Arch) -> nn.Module:
        network = nn.Sequential(*(block.build() for _, block in self.blocks(self.valid(arch))))
        unbiased(network)
        return network

    def supernet(self, norm: str) -> StagedSupernet:
        """TF-NAS sums no paths before a batch norm: `norm` changes nothing."""
        blocks = []
        for site in self.sites:
            parts = ((op.kernel, op.widths(site.c_in), op.hidden(site.c_in)) for op in self.elastic)
            blocks.append(ElasticBlock(site, [ElasticOperation(site, *part) for part in parts]))
        stem, head = [block.build() for block in self.stem()], self.head().build()
        return StagedSupernet(stem, blocks, self.stages, head, self.decisions)

    def sketch(self, arch: Arch) -> Sketch:
        parts = [Part(f"stem{at or ''}", block.input) for at, block in enumerate(self.stem())]
        for stage, (blocks, row) in enumerate(zip(self.stages, self.rows(self.valid(arch)), strict=True)):
            for block, (at, (operation, width)) in enumerate(zip(blocks, row, strict=False)):
                site, chosen = self.sites[at], self.elastic[operation]
                word = f"{chosen.kernel}×{chosen.kernel} {width}{' se' * chosen.excited}"
                parts.append(
                    Part(
                        f"stage{stage}.{block}",
                        (site.c_in, site.side, site.side),
                        operations=(word,),
                        expansion=width / site.c_in,
                        residual=site.residual,
                    )
                )
        parts.append(Part("head", self.head().input))
        after = [*(part.input for part in parts[1:]), (self.classes, 1, 1)]
        return Sketch(tuple(replace(part, output=output) for part, output in zip(parts, after, strict=True)))


def bounds(allowed: range) -> str:
    return f"{allowed[0]} to {allowed[-1]}"
