"""Inverted bottlenecks of elastic width: each by itself, and all that a block may be in a supernet."""

from functools import cache, partial

from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.chain import Site
from nas_suite.layers import DropPath, SqueezeExcite, conv_bn
from nas_suite.space import Block


class Bottleneck(nn.Module):
    """1×1 expansion to `width` channels (0: none), depthwise convolution, squeeze-excite with `hidden` channels (0: none), 1×1
    projection without activation; identity where shapes allow."""

    def __init__(self, site: Site, kernel: int, width: int, hidden: int) -> None:
        super().__init__()
        inner = width or site.c_in
        self.residual = site.residual
        self.expand = conv_bn(site.c_in, inner, act=site.act) if width else nn.Identity()
        self.filter = conv_bn(inner, inner, kernel, site.stride, site.act, groups=inner)
        self.excite = SqueezeExcite(inner, hidden, site.act) if hidden else nn.Identity()
        self.project = conv_bn(inner, site.c_out)
        self.drop = DropPath()

    def forward(self, x: Float[Tensor, "n c_in h w"]) -> Float[Tensor, "n c_out h2 w2"]:
        y = self.project(self.excite(self.filter(self.expand(x))))
        return x + self.drop(y) if self.residual else y


@cache
def bottleneck(site: Site, kernel: int, width: int, hidden: int) -> Block:
    """A stand-alone bottleneck; its family is all that its width leaves open."""
    family = f"mb_i{site.c_in}_o{site.c_out}_k{kernel}_s{site.stride}_r{site.side}_se{hidden}_{site.act}"
    build = partial(Bottleneck, site, kernel, width, hidden)
    return Block(f"{family}_w{width}", (site.c_in, site.side, site.side), build, family, width)
