"""Depthwise convolution whose bf16 gradients on a CPU are computed the fast way, with the parameters of nn.Conv2d."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one group a channel, padded by kernel // 2, without bias; `kernel` is odd.

    Outputs are those of `nn.Conv2d`. In training on a CPU in bf16 (autocast or bf16 input) the gradients take another way.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        if not (input.device.type == "cpu" and torch.is_grad_enabled() and in_bf16(input)):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return DepthwiseFunction.apply(input.bfloat16(), self.weight, self.stride[0])


def in_bf16(x: Tensor) -> bool:
    """Whether a convolution of `x` on the CPU runs in bf16 here."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16


class DepthwiseFunction(torch.autograd.Function):
    """oneDNN's bf16 convolution, and gradients each in the precision in which oneDNN is fast (benchmarks/LOG.md)."""

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
    """The gradient of `x`, in its type; strided ones are computed in fp32."""
    dtype = torch.float32 if stride > 1 else x.dtype
    return gradients(grad.to(dtype), x.to(dtype), weight.to(dtype), stride, (True, False, False))[0].to(x.dtype)


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of `weight`, in its type; large kernels' are computed in fp32."""
    dtype = torch.float32 if weight.shape[-1] >= 5 else x.dtype
    return gradients(grad.to(dtype), x.to(dtype), weight.to(dtype), stride, (False, True, False))[1].to(weight.dtype)


def gradients(grad: Tensor, x: Tensor, weight: Tensor, stride: int, wanted: tuple[bool, bool, bool]) -> tuple[Any, ...]:
    """The gradients (input, weight, bias) that are `wanted`, by torch's own convolution; None for the others."""
    pad = weight.shape[-1] // 2
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, (stride, stride), (pad, pad), (1, 1), False, (0, 0), weight.shape[0], wanted
    )
