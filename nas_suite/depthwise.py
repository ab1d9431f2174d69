"""Depthwise convolution whose bf16 gradients on a CPU are computed the fast way, with the parameters of nn.Conv2d."""

import itertools
import math
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

GROUP = 16  # channels that a matrix unit takes at once


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one group a channel, padded by kernel // 2, without bias; `kernel` is odd.

    Outputs are those of `nn.Conv2d`. In training on a CPU in bf16 (autocast or bf16 input) the gradients take another way.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        return depthwise(input, self.weight, self.stride[0])


def depthwise(x: Float[Tensor, "n c h w"], weight: Float[Tensor, "c 1 k k"], stride: int) -> Float[Tensor, "n c h2 w2"]:
    """What a DepthwiseConv2d of this weight computes."""
    if not (x.device.type == "cpu" and torch.is_grad_enabled() and in_bf16(x)):
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])
    with torch.autocast("cpu", enabled=False):
        return DepthwiseFunction.apply(x.bfloat16(), weight, stride)


def in_bf16(x: Tensor) -> bool:
    """Whether a convolution of `x` on the CPU runs in bf16 here."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16


class DepthwiseFunction(torch.autograd.Function):
    """oneDNN's bf16 convolution; gradients computed by whatever is fast for their shape (benchmarks/LOG.md)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return torch.conv2d(x, weight.to(x.dtype), None, stride, weight.shape[-1] // 2, 1, weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gx = gw = None
        if ctx.needs_input_grad[0]:
            gx = input_gradient(grad, x, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            gw = weight_gradient(grad, x, weight, ctx.stride)
        return gx, gw, None


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of `x`, in its type: for each place that a pixel can have in a stride, a convolution of `grad`, forward."""
    if stride == 1:
        return backwards(grad, weight, 1, 0, 0)
    result = torch.empty_like(x)
    for down, right in itertools.product(range(stride), repeat=2):
        pixels = result[:, :, down::stride, right::stride]
        pixels.copy_(backwards(grad, weight, stride, down, right)[:, :, : pixels.shape[2], : pixels.shape[3]])
    return result


def backwards(grad: Tensor, weight: Tensor, stride: int, down: int, right: int) -> Tensor:
    """The gradient of the input pixels at (stride · i + down, stride · j + right).

    Output pixel i + d met such a pixel under tap down + kernel // 2 - stride · d, and likewise in columns: taken in steps of a
    stride from the flipped kernel, these taps are a kernel of their own.
    """
    pad, margin = weight.shape[-1] // 2, 2 * (stride - 1)
    reach = (pad + stride - 1) // stride
    starts = (margin + pad - stride * reach - place for place in (down, right))
    rows, columns = (slice(start, start + 2 * stride * reach + 1, stride) for start in starts)
    taps = F.pad(weight.flip(2, 3), (margin,) * 4)[:, :, rows, columns]
    return torch.conv2d(grad, taps.to(grad.dtype), None, 1, reach, 1, weight.shape[0])


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of `weight`, in its type; large kernels' are computed as products of groups or tiles, or in fp32."""
    kernel = weight.shape[-1]
    if grouped(x, kernel, stride):
        return group_products(grad, x, kernel, stride).to(weight.dtype)
    if tiled(grad, x, kernel, stride):
        return tile_products(grad, x, kernel, stride).to(weight.dtype)
    dtype = torch.float32 if kernel >= 5 else x.dtype
    return gradients(grad.to(dtype), x.to(dtype), weight.to(dtype), stride, (False, True, False))[1].to(weight.dtype)


def gradients(grad: Tensor, x: Tensor, weight: Tensor, stride: int, wanted: tuple[bool, bool, bool]) -> tuple[Any, ...]:
    """The gradients (input, weight, bias) that are `wanted`, by torch's own convolution; None for the others."""
    pad, groups = weight.shape[-1] // 2, x.shape[1] // weight.shape[1]
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, (stride, stride), (pad, pad), (1, 1), False, (0, 0), groups, wanted
    )


def grouped(x: Tensor, kernel: int, stride: int) -> bool:
    """Whether products of groups beat all else for the gradient of a kernel (measured: benchmarks/LOG.md)."""
    wide = 2 * x.shape[-1] >= 3 * kernel * stride if kernel >= 5 else stride == 1 and x.shape[-1] >= 16
    fits = x.dtype == torch.bfloat16 and math.gcd(x.shape[1], GROUP) >= 8
    return wide and fits and torch.cpu._is_amx_tile_supported()


def group_products(grad: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    """The gradient of a depthwise kernel, rounded to bf16: that of a kernel which joins the channels of a group to each other,
    where each joins itself. It multiplies `GROUP` times what is needed, at the speed of matrix units."""
    size = math.gcd(x.shape[1], GROUP)
    joint = x.new_empty(x.shape[1], size, kernel, kernel)
    products = gradients(grad, x, joint, stride, (False, True, False))[1]
    return products.unflatten(0, (-1, size)).diagonal(dim1=1, dim2=2).movedim(-1, 1).flatten(0, 1).unsqueeze(1)


def tiled(grad: Tensor, x: Tensor, kernel: int, stride: int) -> bool:
    """Whether products of tiles beat a convolution for the gradient of a kernel (measured: benchmarks/LOG.md)."""
    n, _, h, w = x.shape
    whole = x.dtype == torch.bfloat16 and (h, w) == (stride * grad.shape[2], stride * grad.shape[3])
    return whole and n >= 16 and kernel >= 5 and 8 * kernel >= stride * w


def tile_products(grad: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    """The gradient of a depthwise kernel, by matrix products of image tiles in bf16, rounded to bf16 twice.

    A tile is some full rows of one channel. For each vertical shift between tiles of `x` and of `grad`, one product over
    all images and tiles correlates every pixel with every other; sums along its diagonals are entries of the kernel.
    It multiplies more than a convolution does, at the speed of matrix products.
    """
    c, (h, w), width = x.shape[1], grad.shape[2:], x.shape[-1]
    rows = tile_rows(h, w, kernel, stride)
    count, shifts = h // rows, tile_shifts(h, rows, kernel, stride)
    tiles, cotangents = tiles_of(x, stride * rows), tiles_of(grad, rows)
    total = torch.zeros(c, kernel * kernel)
    for shift, fold in zip(shifts, folding(shifts, rows, width, w, kernel, stride), strict=True):
        left = tiles[:, max(0, shift) : count + min(0, shift)].flatten(1, 2)
        right = cotangents[:, max(0, -shift) : count - max(0, shift)].flatten(1, 2)
        total += torch.bmm(left.transpose(1, 2), right).view(c, -1) @ fold
    return total.view(c, 1, kernel, kernel)


def tiles_of(x: Tensor, rows: int) -> Float[Tensor, "c count n pixels"]:
    """The tiles of `rows` rows of each channel, from the top; two copies, of which each has long runs."""
    n, c, h, w = x.shape
    return x.contiguous().view(n, c, h // rows, rows * w).permute(1, 2, 0, 3).contiguous()


def tile_shifts(h: int, rows: int, kernel: int, stride: int) -> range:
    """The shifts, in tiles, at which a tile of `rows` output rows meets rows of the input under the kernel."""
    pad, last = kernel // 2, h // rows - 1
    low, high = -(-pad // (stride * rows)), (pad + stride * (rows - 1)) // (stride * rows)
    return range(-min(low, last), min(high, last) + 1)


def tile_rows(h: int, w: int, kernel: int, stride: int) -> int:
    """The rows of an output tile for which the products take least time: large tiles multiply more, but faster."""

    def cost(rows: int) -> float:
        return len(tile_shifts(h, rows, kernel, stride)) * rows * (1 + 48 / (rows * w))

    return min((rows for rows in range(1, h + 1) if h % rows == 0 and (rows == 1 or rows * w <= 128)), key=cost)


@lru_cache(maxsize=32)
def folding(shifts: range, rows: int, width: int, w: int, kernel: int, stride: int) -> Float[Tensor, "shifts pairs taps"]:
    """Ones where a pair (pixel of an input tile, pixel of an output tile) belongs to a tap of the kernel, in bf16."""
    pad = kernel // 2
    shift, a, u = torch.tensor(shifts)[:, None, None, None, None], torch.arange(stride * rows), torch.arange(width)
    i = shift * stride * rows + a[:, None, None, None] - stride * torch.arange(rows)[:, None] + pad
    j = u[:, None, None] - stride * torch.arange(w) + pad
    inside = (i >= 0) & (i < kernel) & (j >= 0) & (j < kernel)
    taps = torch.where(inside, i * kernel + j, kernel * kernel)
    return F.one_hot(taps, kernel * kernel + 1)[..., :-1].flatten(1, -2).bfloat16()
