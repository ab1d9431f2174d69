"""Add a search space: what its blocks are; text, sampling, costs, supernet and search come free."""

from dataclasses import dataclass
from functools import cached_property

from nas_suite.chain import ChainSpace, MultiPathChoice, Site, head_block, multi_path_block, multi_path_variables
from nas_suite.cost import cost
from nas_suite.layers import conv_block

OPTIONS = tuple((rate, kernels) for rate in (2, 4) for kernels in ((3,), (5,), (3, 5)))
SITE = Site(16, 16, 1, 32, "relu")  # channels in and out, stride, pixels a side, activation


@dataclass(frozen=True)
class Pocket(ChainSpace):  # four inverted bottlenecks between a stem and a head; the fields are the settings
    image_size: int = 32
    channels: int = 3
    classes: int = 10
    draw = ChainSpace.sample  # how a supernet is trained: uniformly

    @cached_property
    def variables(self):
        return multi_path_variables(4, OPTIONS)

    def stem(self):
        return [conv_block(self.channels, 16, 3, 1, 32, "relu")]

    def head(self):
        return head_block(SITE, 64, self.classes)

    def option(self, at, option):
        return multi_path_block(SITE, *OPTIONS[option])

    def choice(self, at, norm):
        return MultiPathChoice(SITE, OPTIONS, (3, 5), 2, norm)


space, arch = Pocket(), "e2k3-e4k35-e2k5-e4k3"
print(f"{arch}: {cost('macs', space).total(space.parse(arch)) / 1e6:.1f} M multiply-adds, of {space.size()} networks")
