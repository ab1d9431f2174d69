"""Once-for-all's MobileNetV3: five stages of inverted bottlenecks; each stage's depth, each block's kernel and expansion."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

from torch import Tensor, nn

from nas_suite.chain import Alternatives, Site, check_images, divisible
from nas_suite.elastic import align, bottleneck, quarter_bottleneck, reached, separable_bottleneck, until, weighed
from nas_suite.errors import BadInput, suggest
from nas_suite.graph import INPUT, OUTPUT, Graph, GraphSpace
from nas_suite.layers import GlobalPool, PointwiseConv2d, activation, conv_block, initialise
from nas_suite.space import Arch, Block, Part, Path, Sketch, Stage, Supernet, SupernetSpace, Variable
from nas_suite.words import plural


class Layout(NamedTuple):
    """A stage: its channels, the stride of its first block, its activation, whether its blocks squeeze-excite."""

    channels: int
    stride: int
    act: str
    excited: bool


# Of the official code (mit-han-lab/once-for-all, ofa/imagenet_classification/elastic_nn/networks/ofa_mbv3.py; Cai et al.,
# ICLR 2020). The layers of MobileNetV3-Large, made regular.
STAGES = (
    Layout(24, 2, "relu", False),
    Layout(40, 2, "relu", True),
    Layout(80, 2, "hswish", False),
    Layout(112, 1, "hswish", True),
    Layout(160, 2, "hswish", True),
)
STEM, EXPANDED, MIXED, ACT = 16, 960, 1280, "hswish"
DEPTHS = (2, 3, 4)
OPERATIONS = tuple(itertools.product((3, 5, 7), (3, 4, 6)))
"""Kernel and expansion of a block."""
LABELS = tuple(f"k{kernel}e{rate}" for kernel, rate in OPERATIONS)
SPAN = 1 + DEPTHS[-1]  # variables of a stage
TYPES = (INPUT, OUTPUT, *(f"d{depth}{label}" for depth, label in itertools.product(DEPTHS, LABELS)))
"""Of nodes, in MetaD2A's order: a block's type says how deep its stage is, too (HayeonLee/MetaD2A,
MetaD2A_mobilenetV3/utils.py:30-38)."""


@dataclass(frozen=True)
class MobileNetV3(SupernetSpace, GraphSpace):
    """Settings: `width` multiplies all channels, 1.0 and 1.2 being published, rounded to multiples of 8 as MobileNet does.
    `small` is for 32-px images: neither the stem (whatever `stem_stride` is) nor the first stage strides, so that 4 px are left
    at the end.

    A stage runs its first 2, 3 or 4 blocks; a block is one of nine, by its depthwise kernel (3, 5, 7) and its expansion (3, 4,
    6). An architecture is written by stage, block by block: `k3e3_k5e6/k7e4_k3e3_k3e6/…`. Blocks that do not run are the first
    of the nine in the one spelling of a network.

    The supernet is a plain single-path one: the nine share no weights (once-for-all cuts smaller kernels and expansions out of
    the largest) but begin as if they did, and networks of any depth share those of the blocks that they run. Small ones were
    seen to learn within hundreds of steps only with `method.zero_residual` besides (benchmarks/LOG.md).
    """

    width: float = 1.0
    image_size: int = 224
    stem_stride: int = 2
    channels: int = 3
    classes: int = 1000
    small: bool = False

    def __post_init__(self) -> None:
        check_images(self.width, self.image_size, self.stem_stride, self.channels, self.classes)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Of each stage its depth, then its blocks."""
        return tuple(
            variable
            for stage in range(len(STAGES))
            for variable in (
                Variable(f"stage{stage}.depth", DEPTHS),
                *(Variable(f"stage{stage}.block{at}", OPERATIONS, LABELS) for at in range(DEPTHS[-1])),
            )
        )

    @property
    def stride(self) -> int:
        """Of the stem."""
        return 1 if self.small else self.stem_stride

    @cached_property
    def sites(self) -> tuple[tuple[Site, ...], ...]:
        """Where the blocks of each stage stand."""
        found, c_in, side = [], self.scaled(STEM), -(-self.image_size // self.stride)
        for number, stage in enumerate(STAGES):
            stride = 1 if self.small and number == 0 else stage.stride
            first = Site(c_in, self.scaled(stage.channels), stride, side, stage.act)
            c_in, side = first.c_out, -(-side // stride)
            found.append((first, *[Site(c_in, c_in, 1, side, stage.act)] * (DEPTHS[-1] - 1)))
        return tuple(found)

    def scaled(self, channels: int) -> int:
        return divisible(channels * self.width)

    def decisions(self, path: Path) -> Iterator[tuple[int | Tensor, Sequence[int | Tensor]]]:
        """Of each stage the depth (how many blocks run, less one; or weights of `DEPTHS`) and all its blocks' operations."""
        for at in range(0, SPAN * len(STAGES), SPAN):
            depth = path[at]
            yield depth if isinstance(depth, Tensor) else DEPTHS[depth] - 1, path[at + 1 : at + SPAN]

    def rows(self, arch: Arch) -> list[tuple[int, ...]]:
        """The operations of the blocks that run, by stage."""
        return [tuple(row[: depth + 1]) for depth, row in self.decisions(self.check(arch))]  # type: ignore[operator,misc]

    def spell(self, rows: Sequence[Sequence[int]]) -> Arch:
        """The canonical architecture of these rows."""
        most = DEPTHS[-1]
        return tuple(entry for row in rows for entry in (DEPTHS.index(len(row)), *row, *[0] * (most - len(row))))

    def canonical(self, arch: Arch) -> Arch | None:
        return self.spell(self.rows(arch))

    def size(self) -> int:
        return sum(len(OPERATIONS) ** depth for depth in DEPTHS) ** len(STAGES)

    def describe(self, arch: Arch) -> str:
        return "/".join("_".join(LABELS[operation] for operation in row) for row in self.rows(arch))

    def parse(self, text: str) -> Arch:
        parts = text.strip().split("/")
        if len(parts) != len(STAGES):
            raise BadInput(
                f"architecture {text!r} has {plural(len(parts), 'stage')} between '/'; this space has {len(STAGES)}; "
                f"an example: {self.describe(self.sample(random.Random(0)))}"
            )
        rows = []
        for number, part in enumerate(parts):
            tokens = part.split("_")
            if len(tokens) not in DEPTHS:
                count = " or ".join(map(str, DEPTHS))
                raise BadInput(f"stage {number} cannot be {part!r}: its number of blocks is {count}, not {len(tokens)}")
            for at, token in enumerate(tokens):
                if token not in LABELS:
                    raise BadInput(f"stage{number}.block{at} cannot be {token!r}{suggest(token, LABELS)}")
            rows.append([LABELS.index(token) for token in tokens])
        return self.spell(rows)

    @property
    def node_types(self) -> tuple[str, ...]:
        return TYPES

    @property
    def most_nodes(self) -> int:
        return DEPTHS[-1] * len(STAGES) + 2

    def graph(self, arch: Arch) -> Graph:
        """A chain of the blocks that run: one that does not has no node."""
        names = [f"d{len(row)}{LABELS[operation]}" for row in self.rows(self.check(arch)) for operation in row]
        return Graph.chain(TYPES, names)

    def spelt_graph(self, arch: Arch) -> Graph:
        """MetaD2A's, and TNAS's after it: always 22 nodes, blocks that do not run as they are spelt."""
        stages = self.decisions(self.check(arch))
        names = [f"d{depth + 1}{LABELS[operation]}" for depth, row in stages for operation in row]  # type: ignore[operator,call-overload]
        return Graph.chain(TYPES, names)

    def draw(self, rng: random.Random) -> Arch:
        """As once-for-all draws: depths, kernels and expansions, each uniform."""
        return self.sample(rng)

    def stem(self) -> list[Block]:
        first = self.scaled(STEM)
        return [
            conv_block(self.channels, first, 3, self.stride, self.image_size, ACT),
            separable_bottleneck(Site(first, first, 1, self.sites[0][0].side, "relu")),
        ]

    def head(self) -> list[Block]:
        """1×1 convolution, average pool, 1×1 convolution without batch norm, classifier; features before it may be dropped."""
        last = self.sites[-1][-1]
        expanded, mixed = self.scaled(EXPANDED), self.scaled(MIXED)
        return [
            conv_block(last.c_out, expanded, 1, 1, last.side, ACT),
            Block(f"pool_i{expanded}_r{last.side}", (expanded, last.side, last.side), partial(pool, expanded)),
            Block(f"pointwise_i{expanded}_o{mixed}_r1_{ACT}", (expanded, 1, 1), partial(mix_channels, expanded, mixed)),
            Block(f"linear_i{mixed}_o{self.classes}", (mixed, 1, 1), partial(classifier, mixed, self.classes)),
        ]

    def option(self, stage: int, at: int, operation: int) -> Block:
        """The stand-alone block that a block of a stage becomes."""
        site, (kernel, rate) = self.sites[stage][at], OPERATIONS[operation]
        width = rate * site.c_in
        return quarter_bottleneck(site, kernel, width) if STAGES[stage].excited else bottleneck(site, kernel, width, 0)

    def blocks(self, path: Path) -> Iterator[tuple[float | Tensor, Block]]:
        yield from ((1.0, block) for block in self.stem())
        for stage, (depth, row) in enumerate(self.decisions(path)):
            for at, (reach, choice) in enumerate(zip(reached(depth, DEPTHS), row, strict=False)):
                for weight, operation in weighed(choice, range(len(OPERATIONS))):
                    yield reach * weight, self.option(stage, at, operation)
        yield from ((1.0, block) for block in self.head())

    def network(self, arch: Arch) -> nn.Module:
        network = nn.Sequential(*(block.build() for _, block in self.blocks(self.valid(arch))))
        initialise_as_published(network)
        return network

    def supernet(self, norm: str) -> "StagedChain":
        """No paths are summed before a batch norm: `norm` changes nothing."""
        choices = [
            [
                Alternatives([self.option(stage, at, operation) for operation in range(len(OPERATIONS))])
                for at in range(len(row))
            ]
            for stage, row in enumerate(self.sites)
        ]
        supernet = StagedChain(
            [block.build() for block in self.stem()], choices, [block.build() for block in self.head()], self
        )
        initialise_as_published(supernet)
        for choice in itertools.chain.from_iterable(choices):
            align(option.convolutions for option in choice.options)  # type: ignore[attr-defined]
        return supernet

    def sketch(self, arch: Arch) -> Sketch:
        parts = [Part(f"stem{at or ''}", block.input) for at, block in enumerate(self.stem())]
        for stage, row in enumerate(self.rows(self.valid(arch))):
            for at, operation in enumerate(row):
                site, (kernel, rate) = self.sites[stage][at], OPERATIONS[operation]
                word = f"{kernel}×{kernel}{' se' * STAGES[stage].excited}"
                parts.append(
                    Part(
                        f"stage{stage}.{at}",
                        (site.c_in, site.side, site.side),
                        operations=(word,),
                        expansion=rate,
                        residual=site.residual,
                    )
                )
        parts.append(Part("head", self.head()[0].input))
        after = [*(part.input for part in parts[1:]), (self.classes, 1, 1)]
        return Sketch(tuple(replace(part, output=output) for part, output in zip(parts, after, strict=True)))


class StagedChain(Supernet):
    """Stem, stages of choice blocks, head; a stage's output is that of its last block that runs or, where its depth is soft,
    the weighted sum of those that may be the last."""

    def __init__(
        self, stem: Sequence[nn.Module], choices: Sequence[Sequence[nn.Module]], head: Sequence[nn.Module], space: MobileNetV3
    ) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Sequential(*stem)
        self.head: nn.Module = nn.Sequential(*head)
        self.choices = nn.ModuleList(nn.ModuleList(stage) for stage in choices)
        self.space = space

    def stages(self, path: Path) -> list[Stage]:
        stages = [Stage("stem", self.stem)]
        for number, (depth, row) in enumerate(self.space.decisions(path)):
            blocks = zip(self.choices[number], row, strict=True)  # type: ignore[arg-type]
            runs = [Stage((number, at, choice), partial(block, choice=choice)) for at, (block, choice) in enumerate(blocks)]
            stages += until(depth, runs)
        return [*stages, Stage("head", self.head)]


def pool(channels: int) -> nn.Module:
    return nn.Sequential(GlobalPool(), nn.Unflatten(1, (channels, 1, 1)))


def mix_channels(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(PointwiseConv2d(c_in, c_out), activation(ACT))


def classifier(c_in: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(c_in, classes))


def initialise_as_published(network: nn.Module) -> None:
    """Convolutions and batch norms as MixPath's; linear layers uniform ±1/√fan_in (official code, init_models, he_fout)."""
    initialise(network)
    for part in network.modules():
        if isinstance(part, nn.Linear):
            bound = 1.0 / math.sqrt(part.in_features)
            nn.init.uniform_(part.weight, -bound, bound)
