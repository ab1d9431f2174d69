"""MixPath's S1: twelve inverted bottlenecks for 32-px images, each an expansion and a set of depthwise kernels."""

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
    sites_of,
    subsets,
    uniform_count,
)
from nas_suite.layers import conv_block
from nas_suite.space import Arch, Block, Part, Variable

# Output channels and stride of the twelve blocks (official code, S1/model_search.py:84-112); the stem has 32 channels.
TABLE = ((48, 1), (48, 1), (96, 2), (96, 1), (96, 1), (192, 2), (192, 1), (192, 1), (256, 1), (256, 1), (320, 1), (320, 1))
STEM, HEAD, EXPANSIONS, ACT = 32, 1280, (3, 6), "relu6"


@dataclass(frozen=True)
class MixPathS1(ChainSpace):
    """Settings: `width` multiplies all channels, `m` bounds the number of active paths, `stem_stride` is 1 for 32 px."""

    width: float = 1.0
    m: int = 4
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    image_size: int = 32
    stem_stride: int = 1
    channels: int = 3
    classes: int = 10

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
    def sites(self) -> tuple[Site, ...]:
        side = -(-self.image_size // self.stem_stride)
        return sites_of(TABLE, scaled(STEM, self.width), side, self.width, ACT)

    def stem(self) -> list[Block]:
        return [conv_block(self.channels, scaled(STEM, self.width), 3, self.stem_stride, self.image_size, ACT)]

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
