"""MixPath's S2, as designed here: MnasNet's layout for ImageNet, each block an expansion and a set of depthwise kernels."""

import random
from dataclasses import dataclass
from functools import cached_property

from nas_suite.chain import (
    ChainSpace,
    MultiPathChoice,
    Site,
    check_images,
    check_kernels,
    head_block,
    kernel_part,
    multi_path_block,
    multi_path_variables,
    scaled,
    separable_block,
    sites_of,
    subsets,
    uniform_count,
    unrolled,
)
from nas_suite.layers import conv_block
from nas_suite.space import Arch, Block, Part, Variable

# Of S2 it is only known that it is MnasNet-like: the paper's table could not be read. This design takes stem, first block,
# channels, repeats and strides from MnasNet-A1 (timm, efficientnet.py) without squeeze-excite; blocks and activation are S1's.
STAGES = ((24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2), (320, 1, 1))
STEM, FIRST, HEAD, EXPANSIONS, ACT = 32, 16, 1280, (3, 6), "relu6"
TABLE = unrolled(STAGES)


@dataclass(frozen=True)
class MixPathS2(ChainSpace):
    """Settings: `width` multiplies all channels, `m` bounds the number of active paths; `stem_stride` is 1 for small images.

    The paper's m for S2 is unknown; 2 is the one that the official S1 script names, and the paper's example of the law of sums.
    """

    width: float = 1.0
    m: int = 2
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    image_size: int = 224
    stem_stride: int = 2
    channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        check_kernels(self.kernels, self.m)
        check_images(self.width, self.image_size, self.stem_stride, self.channels, self.classes)

    @cached_property
    def options(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The options of every block: (expansion, kernels), expansions first."""
        return tuple((rate, subset) for rate in EXPANSIONS for subset in subsets(self.kernels, self.m))

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        return multi_path_variables(len(TABLE), self.options)

    @cached_property
    def side(self) -> int:
        """Of the features behind the stem's convolution."""
        return -(-self.image_size // self.stem_stride)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        return sites_of(TABLE, scaled(FIRST, self.width), self.side, self.width, ACT)

    def stem(self) -> list[Block]:
        stem = scaled(STEM, self.width)
        return [
            conv_block(self.channels, stem, 3, self.stem_stride, self.image_size, ACT),
            separable_block(stem, scaled(FIRST, self.width), self.side, ACT),
        ]

    def head(self) -> Block:
        return head_block(self.sites[-1], scaled(HEAD, self.width), self.classes)

    def option(self, at: int, option: int) -> Block:
        return multi_path_block(self.sites[at], *self.options[option])

    def part(self, at: int, option: int) -> Part:
        return kernel_part(self.variables[at].name, self.sites[at], *self.options[option], self.kernels, added=True)

    def choice(self, at: int, norm: str) -> MultiPathChoice:
        return MultiPathChoice(self.sites[at], self.options, self.kernels, self.m, norm)

    def draw(self, rng: random.Random) -> Arch:
        drawn = (uniform_count(rng, EXPANSIONS, self.kernels, self.m) for _ in TABLE)
        return tuple(self.options.index(option) for option in drawn)

    def with_paths(self, rng: random.Random, paths: int) -> Arch:
        fitting = [at for at, (_, kernels) in enumerate(self.options) if len(kernels) == paths]
        return tuple(rng.choice(fitting) for _ in TABLE)
