"""MixPath's S1: twelve inverted bottlenecks for 32-px images, each an expansion and a set of depthwise kernels."""

import random
from dataclasses import dataclass
from functools import cached_property, partial

from nas_suite.chain import ChainSpace, MultiPathChoice, Site, multi_path_block, scaled, subsets, uniform_count
from nas_suite.layers import Head, conv_block
from nas_suite.space import Arch, Block, Variable

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
        if list(self.kernels) != sorted(set(self.kernels)) or not set(self.kernels) <= {1, 3, 5, 7, 9}:
            raise ValueError(f"kernels must be ascending and odd, of 1 to 9, got {self.kernels}")
        if not 1 <= self.m <= len(self.kernels):
            raise ValueError(f"m must be 1 to {len(self.kernels)} (the number of kernels), got {self.m}")
        if self.width <= 0 or self.image_size < 8 or self.stem_stride not in (1, 2) or self.channels < 1 or self.classes < 2:
            raise ValueError(
                "needs width > 0, image_size >= 8, stem_stride 1 or 2, channels >= 1, classes >= 2; "
                f"got {self.width}, {self.image_size}, {self.stem_stride}, {self.channels}, {self.classes}"
            )

    @cached_property
    def options(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The options of every block: (expansion, kernels), expansions first."""
        return tuple((rate, subset) for rate in EXPANSIONS for subset in subsets(self.kernels, self.m))

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        labels = tuple(f"e{rate}k{''.join(map(str, subset))}" for rate, subset in self.options)
        return tuple(Variable(f"block{at}", self.options, labels) for at in range(len(TABLE)))

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        sites, c_in, side = [], scaled(STEM, self.width), -(-self.image_size // self.stem_stride)
        for c_out, stride in TABLE:
            sites.append(Site(c_in, scaled(c_out, self.width), stride, side, ACT))
            c_in, side = sites[-1].c_out, -(-side // stride)
        return tuple(sites)

    def stem(self) -> list[Block]:
        return [conv_block(self.channels, scaled(STEM, self.width), 3, self.stem_stride, self.image_size, ACT)]

    def head(self) -> Block:
        last, width = self.sites[-1], scaled(HEAD, self.width)
        side = -(-last.side // last.stride)
        key = f"head_i{last.c_out}_o{width}_c{self.classes}_r{side}_{ACT}"
        return Block(key, (last.c_out, side, side), partial(Head, last.c_out, width, self.classes, ACT))

    def option(self, at: int, option: int) -> Block:
        return multi_path_block(self.sites[at], *self.options[option])

    def choice(self, at: int, norm: str) -> MultiPathChoice:
        return MultiPathChoice(self.sites[at], self.options, self.kernels, self.m, norm)

    def draw(self, rng: random.Random) -> Arch:
        drawn = (uniform_count(rng, EXPANSIONS, self.kernels, self.m) for _ in TABLE)
        return tuple(self.options.index(option) for option in drawn)
