"""Layers that several spaces are built of: convolution with batch norm, squeeze-excite, activations, initialisation."""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nas_suite.depthwise import DepthwiseConv2d, in_bf16
from nas_suite.space import Block

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "swish": nn.SiLU, "hswish": nn.Hardswish, "none": nn.Identity,
}  # fmt: skip


def activation(name: str) -> nn.Module:
    """A fresh activation, in place where torch offers it; none of the suite's networks reads its input again."""
    return ACTIVATIONS[name](inplace=True) if name != "none" else nn.Identity()


class PointwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with a 1×1 kernel and stride 1, without bias.

    In bf16 on a CPU it is a product of matrices; of images of few pixels the gradients take a third of a convolution's time.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 1, bias=False)

    def forward(self, input: Float[Tensor, "n c_in h w"]) -> Float[Tensor, "n c_out h w"]:
        return pointwise(input, self.weight)


def pointwise(x: Float[Tensor, "n c_in h w"], weight: Float[Tensor, "c_out c_in 1 1"]) -> Float[Tensor, "n c_out h w"]:
    """What a PointwiseConv2d of this weight computes."""
    if not bf16_rows(x):
        return F.conv2d(x, weight)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)


class GlobalPool(nn.Module):
    """The mean of all pixels.

    In bf16 on a CPU its gradient is channels-last; that of nn.AdaptiveAvgPool2d is not, which slows down what goes back next.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        if not bf16_rows(x):
            return F.adaptive_avg_pool2d(x, 1).flatten(1)
        return x.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


def bf16_rows(x: Tensor) -> bool:
    """Whether layers compute in bf16 on the CPU here, and each pixel's channels lie together."""
    return x.device.type == "cpu" and in_bf16(x) and x.stride(1) == 1


def conv_bn(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, act: str = "none", groups: int = 1) -> nn.Sequential:
    """Convolution without bias, padded by kernel // 2, then batch norm, then activation (left out where `none`)."""
    if groups == c_in == c_out:
        conv: nn.Module = DepthwiseConv2d(c_out, kernel, stride)
    elif kernel == stride == groups == 1:
        conv = PointwiseConv2d(c_in, c_out)
    else:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers) if act == "none" else nn.Sequential(*layers, activation(act))


class SqueezeExcite(nn.Module):
    """Channel attention: average pool, 1×1 to `hidden`, activation, 1×1 back, sigmoid (Hu et al. 2018), a piecewise linear one
    where `hard` (MobileNetV3, Howard et al. 2019)."""

    def __init__(self, channels: int, hidden: int, act: str, hard: bool = False) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.act = activation(act)
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = hard_sigmoid if hard else torch.sigmoid

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x * self.gate(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))


def hard_sigmoid(x: Float[Tensor, "*_"]) -> Float[Tensor, "*_"]:
    """max(0, min(1, x / 6 + 1 / 2)), which autograd can differentiate twice, as torch's own it cannot."""
    return F.relu6(x + 3) / 6


class Head(nn.Sequential):
    """1×1 convolution to `width` channels, global average pool, linear classifier; a recipe may drop features before it."""

    def __init__(self, c_in: int, width: int, classes: int, act: str) -> None:
        super().__init__(conv_bn(c_in, width, act=act), GlobalPool(), nn.Dropout(0.0), nn.Linear(width, classes))


def conv_block(c_in: int, c_out: int, kernel: int, stride: int, side: int, act: str) -> Block:
    """A fixed convolution with batch norm and activation, as a stem has it."""
    key = f"conv_i{c_in}_o{c_out}_k{kernel}_s{stride}_r{side}_{act}"
    return Block(key, (c_in, side, side), partial(conv_bn, c_in, c_out, kernel, stride, act))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016) of a residual branch: in training each image's branch is dropped with
    probability `rate` and the others are scaled up; nothing else."""

    rate: float = 0.0

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.empty(len(x), 1, 1, 1, device=x.device).bernoulli_(1.0 - self.rate) / (1.0 - self.rate)
        return x * keep.to(x.dtype)


def unbiased(module: nn.Module) -> None:
    """TF-NAS's initialisation (official code, model_search.py and model_eval.py): torch's own, all biases zero. MixPath's would
    let depthwise kernels turn fast, and 1×1 convolutions, their gradients clipped together with those, hardly at all."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)) and part.bias is not None:
            nn.init.zeros_(part.bias)


def initialise(module: nn.Module) -> None:
    """MixPath's initialisation (official code, S1): convolutions N(0, √(2 / (k²·c_out))), batch norms one and zero,
    linear layers uniform ±1/√fan_out with zero bias."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, 0.0, math.sqrt(2.0 / (part.kernel_size[0] * part.kernel_size[1] * part.out_channels)))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            bound = 1.0 / math.sqrt(part.out_features)
            nn.init.uniform_(part.weight, -bound, bound)
            nn.init.zeros_(part.bias)
