"""MixPath's S1: twelve inverted bottlenecks for 32-px images, each an expansion and a set of depthwise kernels."""

from dataclasses import dataclass
from functools import cached_property

from nas_suite.chain import Site, head_block, scaled, sites_of
from nas_suite.layers import conv_block
from nas_suite.multipath import MultiPathChain
from nas_suite.space import Block

# Output channels and stride of the twelve blocks (official code, S1/model_search.py:84-112); the stem has 32 channels.
TABLE = ((48, 1), (48, 1), (96, 2), (96, 1), (96, 1), (192, 2), (192, 1), (192, 1), (256, 1), (256, 1), (320, 1), (320, 1))
STEM, HEAD, ACT = 32, 1280, "relu6"


@dataclass(frozen=True)
class MixPathS1(MultiPathChain):
    """Settings: `width` multiplies all channels, `m` bounds the number of active paths, `stem_stride` is 1 for 32 px."""

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        return sites_of(TABLE, scaled(STEM, self.width), self.side, self.width, ACT)

    def stem(self) -> list[Block]:
        return [conv_block(self.channels, scaled(STEM, self.width), 3, self.stem_stride, self.image_size, ACT)]

    def head(self) -> Block:
        return head_block(self.sites[-1], scaled(HEAD, self.width), self.classes)
