"""MixPath's S3, as designed here: MixNet's layout for ImageNet, each block an expansion and a kernel for each channel group."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.chain import (
    ChainSpace,
    Choice,
    Site,
    check_images,
    check_kernels,
    head_block,
    kernel_part,
    scaled,
    separable_block,
    sites_of,
    unrolled,
)
from nas_suite.layers import DropPath, SqueezeExcite, conv_block, conv_bn
from nas_suite.space import Arch, Block, Part, Variable

# Of S3 it is known that it is MixNet-like, that channels are split into four groups (caption of figure 1 in the paper's first
# version) and that m = 1, so that nothing is added (its author, issue 1 of the official repository); the table is not
# at hand. This design takes channels, repeats, strides and squeeze-excite ratios (of the block's input) from MixNet-M (timm,
# efficientnet.py), without its grouped 1×1 convolutions and with swish everywhere.
STAGES = ((32, 2, 2), (40, 4, 2), (80, 4, 2), (120, 4, 1), (200, 4, 2))
EXCITE = (0.0, 0.5, 0.25, 0.5, 0.5)
STEM, HEAD, EXPANSIONS, ACT = 24, 1536, (3, 6), "swish"
TABLE = unrolled(STAGES)
RATIOS = tuple(ratio for (_, repeats, _), ratio in zip(STAGES, EXCITE, strict=True) for _ in range(repeats))


@dataclass(frozen=True)
class MixPathS3(ChainSpace):
    """Settings: `width` multiplies all channels, `groups` is how many parts a block's middle channels are split into, each with
    one of `kernels`; `stem_stride` is 1 for small images.

    Exchanging two groups' kernels gives an isomorphic network, so that kernels ascend over the groups: 35 ways for four groups
    and four kernels. An option is written as its expansion and each group's kernel: `e6g3357`.
    """

    width: float = 1.0
    groups: int = 4
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    image_size: int = 224
    stem_stride: int = 2
    channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        check_kernels(self.kernels)
        check_images(self.width, self.image_size, self.stem_stride, self.channels, self.classes)
        if not 1 <= self.groups <= 8:
            raise ValueError(f"groups must be 1 to 8, got {self.groups}")

    @cached_property
    def options(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The options of every block: (expansion, each group's kernel), expansions first."""
        mixtures = list(itertools.combinations_with_replacement(self.kernels, self.groups))
        return tuple((rate, mixture) for rate in EXPANSIONS for mixture in mixtures)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        labels = tuple(f"e{rate}g{''.join(map(str, mixture))}" for rate, mixture in self.options)
        return tuple(Variable(f"block{at}", self.options, labels) for at in range(len(TABLE)))

    @cached_property
    def side(self) -> int:
        """Of the features behind the stem's convolution."""
        return -(-self.image_size // self.stem_stride)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        return sites_of(TABLE, scaled(STEM, self.width), self.side, self.width, ACT)

    def stem(self) -> list[Block]:
        stem = scaled(STEM, self.width)
        return [
            conv_block(self.channels, stem, 3, self.stem_stride, self.image_size, ACT),
            separable_block(stem, stem, self.side, ACT),
        ]

    def head(self) -> Block:
        return head_block(self.sites[-1], scaled(HEAD, self.width), self.classes)

    def option(self, at: int, option: int) -> Block:
        return mixed_block(self.sites[at], *self.options[option], RATIOS[at])

    def part(self, at: int, option: int) -> Part:
        return kernel_part(self.variables[at].name, self.sites[at], *self.options[option])

    def choice(self, at: int, norm: str) -> "MixedChoice":
        return MixedChoice(self.sites[at], self.options, self.kernels, RATIOS[at])

    def draw(self, rng: random.Random) -> Arch:
        """Every option with the same chance. Were each group's kernel drawn by itself, the first group, which has the smallest
        kernel, would have 9 once in 256 draws; so it is once in 35."""
        return tuple(rng.randrange(len(self.options)) for _ in TABLE)


def shares(channels: int, groups: int) -> list[int]:
    """Equal parts, the remainder going to the first, as MixConv splits channels (timm layers/mixed_conv2d.py)."""
    part = channels // groups
    return [channels - part * (groups - 1), *[part] * (groups - 1)]


class MixedBottleneck(nn.Module):
    """Inverted bottleneck whose middle is split into groups, each with a depthwise kernel of its own (MixConv).

    1×1 expansion; in each group a depthwise convolution with batch norm and activation; concatenation; squeeze-excite unless
    `ratio` is 0; 1×1 projection; identity where shapes allow. `kernels[g]` are the kernels that group g has weights for.
    """

    def __init__(self, site: Site, expansion: int, kernels: Sequence[Sequence[int]], ratio: float) -> None:
        super().__init__()
        middle = expansion * site.c_in
        self.shares = shares(middle, len(kernels))
        self.residual = site.residual
        self.expand = conv_bn(site.c_in, middle, act=site.act)
        self.only = tuple(ours[0] for ours in kernels)
        self.paths = nn.ModuleDict(
            {
                f"group{group}_k{k}": conv_bn(share, share, k, site.stride, site.act, groups=share)
                for group, (share, ours) in enumerate(zip(self.shares, kernels, strict=True))
                for k in ours
            }
        )
        self.excite = SqueezeExcite(middle, max(1, round(site.c_in * ratio)), site.act) if ratio else nn.Identity()
        self.project = conv_bn(middle, site.c_out)
        self.drop = DropPath()

    def forward(self, x: Float[Tensor, "n c_in h w"], mixture: tuple[int, ...] | None = None) -> Float[Tensor, "n c_out h2 w2"]:
        """`mixture` is each group's kernel; not needed where every group has only one."""
        parts = zip(mixture or self.only, self.expand(x).split(self.shares, 1), strict=True)
        mixed = [self.paths[f"group{group}_k{k}"](part) for group, (k, part) in enumerate(parts)]
        y = self.project(self.excite(torch.cat(mixed, 1)))
        return x + self.drop(y) if self.residual else y


class MixedChoice(Choice):
    """Expansion × kernels of the groups: one bottleneck an expansion, in which every group has every kernel."""

    def __init__(
        self, site: Site, options: Sequence[tuple[int, tuple[int, ...]]], kernels: Sequence[int], ratio: float
    ) -> None:
        super().__init__()
        rates = sorted({expansion for expansion, _ in options})
        groups = len(options[0][1])
        self.rates = nn.ModuleList(MixedBottleneck(site, rate, [kernels] * groups, ratio) for rate in rates)
        self.branches = [partial(self.rates[rates.index(rate)].forward, mixture=mixture) for rate, mixture in options]


def mixed_block(site: Site, expansion: int, mixture: tuple[int, ...], ratio: float) -> Block:
    """The stand-alone bottleneck of an option."""
    what = f"e{expansion}_g{''.join(map(str, mixture))}_x{ratio:g}"
    key = f"mixed_i{site.c_in}_o{site.c_out}_{what}_s{site.stride}_r{site.side}_{site.act}"
    build = partial(MixedBottleneck, site, expansion, [(k,) for k in mixture], ratio)
    return Block(key, (site.c_in, site.side, site.side), build)
