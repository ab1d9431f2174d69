"""MixPath's S2, as designed here: MnasNet's layout for ImageNet, each block an expansion and a set of depthwise kernels."""

from dataclasses import dataclass
from functools import cached_property

from nas_suite.chain import Site, head_block, scaled, separable_block, sites_of, unrolled
from nas_suite.layers import conv_block
from nas_suite.multipath import MultiPathChain
from nas_suite.space import Block

# Of S2 it is only known that it is MnasNet-like: the paper's table could not be read. This design takes stem, first block,
# channels, repeats and strides from MnasNet-A1 (timm, efficientnet.py) without squeeze-excite; blocks and activation are S1's.
STAGES = ((24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2), (320, 1, 1))
STEM, FIRST, HEAD, ACT = 32, 16, 1280, "relu6"


@dataclass(frozen=True)
class MixPathS2(MultiPathChain):
    """Settings: `width` multiplies all channels, `m` bounds the number of active paths; `stem_stride` is 1 for small images.

    The paper's m for S2 is unknown; 2 is the one that the official S1 script names, and the paper's example of the law of sums.
    """

    m: int = 2
    image_size: int = 224
    stem_stride: int = 2
    classes: int = 1000

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        return sites_of(unrolled(STAGES), scaled(FIRST, self.width), self.side, self.width, ACT)

    def stem(self) -> list[Block]:
        stem = scaled(STEM, self.width)
        return [
            conv_block(self.channels, stem, 3, self.stem_stride, self.image_size, ACT),
            separable_block(stem, scaled(FIRST, self.width), self.side, ACT),
        ]

    def head(self) -> Block:
        return head_block(self.sites[-1], scaled(HEAD, self.width), self.classes)
