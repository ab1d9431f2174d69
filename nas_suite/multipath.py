"""Chains of multi-path bottlenecks: what MixPath's S1 and S2 share, so that each is a table, a stem and a head."""

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from nas_suite.chain import (
    ChainSpace,
    MultiPathChoice,
    Site,
    check_images,
    check_kernels,
    kernel_part,
    multi_path_block,
    multi_path_variables,
    subsets,
    uniform_count,
)
from nas_suite.space import Arch, Block, Part, Variable

EXPANSIONS = (3, 6)


@dataclass(frozen=True)
class MultiPathChain(ChainSpace):
    """Each block is an expansion of 3 or 6 and a non-empty set of at most `m` depthwise kernels, whose outputs are summed.

    Settings: `width` multiplies all channels; `stem_stride` is that of the first convolution.
    """

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

    @property
    @abstractmethod
    def sites(self) -> Sequence[Site]:
        """Where the choice blocks stand."""

    @cached_property
    def options(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The options of every block: (expansion, kernels), expansions first."""
        return tuple((rate, subset) for rate in EXPANSIONS for subset in subsets(self.kernels, self.m))

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        return multi_path_variables(len(self.sites), self.options)

    @property
    def side(self) -> int:
        """Of the features behind the stem's first convolution."""
        return -(-self.image_size // self.stem_stride)

    def option(self, at: int, option: int) -> Block:
        return multi_path_block(self.sites[at], *self.options[option])

    def part(self, at: int, option: int) -> Part:
        return kernel_part(self.variables[at].name, self.sites[at], *self.options[option], self.kernels, added=True)

    def choice(self, at: int, norm: str) -> MultiPathChoice:
        return MultiPathChoice(self.sites[at], self.options, self.kernels, self.m, norm)

    def draw(self, rng: random.Random) -> Arch:
        drawn = (uniform_count(rng, EXPANSIONS, self.kernels, self.m) for _ in self.sites)
        return tuple(self.options.index(option) for option in drawn)

    def with_paths(self, rng: random.Random, paths: int) -> Arch:
        fitting = [at for at, (_, kernels) in enumerate(self.options) if len(kernels) == paths]
        return tuple(rng.choice(fitting) for _ in self.sites)
