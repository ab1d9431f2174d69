"""Add a search space: what its blocks are; text, sampling, costs, supernet and search come free."""

from dataclasses import dataclass
from functools import cached_property

from nas_suite.chain import ChainSpace, MultiPathChoice, Site, head_block, multi_path_block, multi_path_variables
from nas_suite.cost import cost
from nas_suite.layers import conv_block

OPTIONS = tuple((rate, kernels) for rate in (2, 4) for kernels in ((3,), (5,), (3, 5)))


@dataclass(frozen=True)
class Pocket(ChainSpace):
    """Four inverted bottlenecks between a stem and a head; the fields are the settings."""

    image_size: int = 32
    channels: int = 3
    classes: int = 10
    variables = cached_property(lambda self: multi_path_variables(4, OPTIONS))
    site = cached_property(lambda self: Site(16, 16, 1, self.image_size, "relu"))

    def stem(self):
        return [conv_block(self.channels, 16, 3, 1, self.image_size, "relu")]

    def head(self):
        return head_block(self.site, 64, self.classes)

    def option(self, at, option):
        return multi_path_block(self.site, *OPTIONS[option])

    def choice(self, at, norm):
        return MultiPathChoice(self.site, OPTIONS, (3, 5), 2, norm)

    draw = ChainSpace.sample  # how a supernet is trained: uniformly


space = Pocket()
arch = space.parse("e2k3-e4k35-e2k5-e4k3")
print(f"{space.describe(arch)}: {cost('macs', space).total(arch) / 1e6:.1f} M multiply-adds, of {space.size()} networks")
