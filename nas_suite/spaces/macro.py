"""NAS-Bench-Macro: eight layers for 32-px images, each an identity or an inverted bottleneck of one of two sizes."""

import math
import operator
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from nas_suite.chain import (
    Alternatives,
    ChainSpace,
    Site,
    check_images,
    head_block,
    kernel_part,
    multi_path_block,
    scaled,
    sites_of,
    unrolled,
)
from nas_suite.errors import BadInput
from nas_suite.layers import conv_block
from nas_suite.space import Arch, Block, Part, Variable

# Stages (channels, layers, stride of the first) and options (expansion, kernel) of the published networks
# (xiusu/NAS-Bench-Macro, train/model.py; Su et al., CVPR 2021).
STAGES = ((64, 2, 2), (128, 3, 2), (256, 3, 2))
BOTTLENECKS = ((3, 3), (6, 5))
STEM, HEAD, ACT = 32, 1280, "relu"
IDENTITY = 0


@dataclass(frozen=True)
class Macro(ChainSpace):
    """Settings: `width` multiplies all channels; `stem_stride` is 1 for 32 px.

    An option is 0, the identity (a strided 1×1 convolution with batch norm where a stage begins), 1, a bottleneck of
    expansion 3 with a 3×3 kernel, or 2, one of expansion 6 with 5×5. An architecture is its eight digits: `02012100`. A layer
    that is nothing can stand anywhere behind the first of its stage, so that 3,969 networks are spelt in 6,561 ways. In a
    supernet no two layers share weights, and two spellings of one network need not score alike.
    """

    width: float = 1.0
    image_size: int = 32
    stem_stride: int = 1
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        check_images(self.width, self.image_size, self.stem_stride, self.channels, self.classes)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        options = ("identity", *(f"e{expansion}k{kernel}" for expansion, kernel in BOTTLENECKS))
        labels = tuple(map(str, range(len(options))))
        return tuple(Variable(f"layer{at}", options, labels) for at in range(len(self.sites)))

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        side = -(-self.image_size // self.stem_stride)
        return sites_of(unrolled(STAGES), scaled(STEM, self.width), side, self.width, ACT)

    def canonical(self, arch: Arch) -> Arch | None:
        """Identities without parameters come last in their stage, as the benchmark's makers have it (train/utils.py)."""
        layers = iter(self.check(arch))
        return tuple(option for _, repeats, _ in STAGES for option in packed([next(layers) for _ in range(repeats)]))

    def size(self) -> int:
        """A stage of n layers: three ways to begin, then 0 to n - 1 bottlenecks of two kinds."""
        return math.prod(3 * (2**repeats - 1) for _, repeats, _ in STAGES)

    def describe(self, arch: Arch) -> str:
        return "".join(map(str, self.check(arch)))

    def parse(self, text: str) -> Arch:
        digits = text.strip()
        if len(digits) != len(self.sites) or not set(digits) <= set("012"):
            raise BadInput(
                f"architecture {text!r} is not {len(self.sites)} digits, one a layer, of 0 (identity), 1 (expansion 3, 3×3) "
                "and 2 (expansion 6, 5×5); an example: 02012100"
            )
        return tuple(map(int, digits))

    def draw(self, rng: random.Random) -> Arch:
        """Every spelling with the same chance."""
        return tuple(rng.randrange(len(variable.options)) for variable in self.variables)

    def depth(self, arch: Arch) -> int:
        """The number of bottlenecks. The 1×1 convolutions of identities that begin a stage do not count: with them Kendall's τ
        with the benchmark's accuracies is 0.336, without them 0.693."""
        return sum(option != IDENTITY for option in self.check(arch))

    def stem(self) -> list[Block]:
        return [conv_block(self.channels, scaled(STEM, self.width), 3, self.stem_stride, self.image_size, ACT)]

    def head(self) -> Block:
        return head_block(self.sites[-1], scaled(HEAD, self.width), self.classes)

    def option(self, at: int, option: int) -> Block | None:
        site = self.sites[at]
        if option != IDENTITY:
            expansion, kernel = BOTTLENECKS[option - 1]
            return multi_path_block(site, expansion, (kernel,))
        return None if site.residual else conv_block(site.c_in, site.c_out, 1, site.stride, site.side, "none")

    def initialise(self, network: nn.Module) -> None:
        """Leaves torch's own initialisation, as the benchmark's makers do (train/model.py)."""

    def part(self, at: int, option: int) -> Part:
        name, site = self.variables[at].name, self.sites[at]
        if option != IDENTITY:
            expansion, kernel = BOTTLENECKS[option - 1]
            return kernel_part(name, site, expansion, (kernel,))
        return Part(name, operations=("identity" if site.residual else "1×1",))

    def choice(self, at: int, norm: str) -> Alternatives:
        return Alternatives([self.option(at, option) for option in range(len(self.variables[at].options))])


def packed(stage: list[int]) -> Iterator[int]:
    """A stage with its identities behind the first layer moved to the end."""
    yield stage[0]
    yield from sorted(stage[1:], key=operator.not_)
