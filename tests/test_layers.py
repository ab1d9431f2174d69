"""Layers that take another way in bf16 on a CPU: equal to torch's, with right gradients, alike in training and inference."""

import pytest
import torch
from test_depthwise import error, gradients
from torch import nn

from nas_suite.chain import MultiPathBottleneck, Site
from nas_suite.layers import GlobalPool, Head, PointwiseConv2d, conv_bn

CL = torch.channels_last
SHAPES = [(2, 8, 1, 1), (3, 24, 5, 4), (16, 16, 8, 8)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pair(c_in: int, c_out: int) -> tuple[PointwiseConv2d, nn.Conv2d]:
    ours, plain = PointwiseConv2d(c_in, c_out), nn.Conv2d(c_in, c_out, 1, bias=False)
    with torch.no_grad():
        ours.weight.copy_(ours.weight.bfloat16())
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("memory_format", [CL, torch.contiguous_format])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_pointwise_convolution_is_conv2d_in_fp32_bit_for_bit(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    ours, plain = pair(shape[1], 12)
    x = torch.randn(shape).contiguous(memory_format=memory_format)
    cotangent = torch.randn(shape[0], 12, *shape[2:])
    for one, other in zip(gradients(ours, x, cotangent), gradients(plain, x, cotangent), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("memory_format", [CL, torch.contiguous_format])
@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_gradients_of_a_pointwise_convolution(shape: tuple[int, ...], memory_format: torch.memory_format) -> None:
    ours, plain = pair(shape[1], 12)
    x = torch.randn(shape).bfloat16().float().contiguous(memory_format=memory_format)
    cotangent = torch.randn(shape[0], 12, *shape[2:]).bfloat16().float()
    wanted = gradients(plain.double(), x.double(), cotangent.double())
    with torch.autocast("cpu", torch.bfloat16):
        got = gradients(ours, x, cotangent)
        with torch.inference_mode():
            inferred = ours(x)
    assert (got[0].dtype, got[1].dtype, got[2].dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert torch.equal(got[0], inferred)
    assert got[0].is_contiguous(memory_format=memory_format)
    for one, other in zip(got, wanted, strict=True):
        assert error(one, other) < 0.004


def test_pointwise_convolutions_stand_where_kernels_are_one_by_one() -> None:
    assert type(conv_bn(8, 16)[0]) is PointwiseConv2d
    assert all(type(conv_bn(8, 16, *given)[0]) is nn.Conv2d for given in ((1, 2), (3, 1), (1, 1, "none", 2)))
    assert type(MultiPathBottleneck(Site(4, 4, 1, 8, "relu"), 3, (3,), 1, "vanilla").project) is PointwiseConv2d
    assert list(PointwiseConv2d(2, 3).state_dict()) == ["weight"]
    with torch.device("meta"):
        assert PointwiseConv2d(2, 3)(torch.empty(4, 2, 5, 5)).shape == (4, 3, 5, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_global_pool_is_the_mean_of_all_pixels(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=CL).requires_grad_()
    y = GlobalPool()(x)
    cotangent = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, cotangent)
    exact = x.detach().double()
    assert y.dtype == dtype
    assert error(y.detach(), exact.mean((2, 3))) < (1e-6 if dtype == torch.float32 else 0.004)
    pixels = shape[2] * shape[3]
    assert error(gradient, (cotangent.double() / pixels)[:, :, None, None].expand(shape)) < 0.004
    if dtype == torch.bfloat16:
        assert gradient.is_contiguous(memory_format=CL)
    else:
        assert torch.equal(y, nn.AdaptiveAvgPool2d(1)(x).flatten(1))


def test_a_head_keeps_its_names() -> None:
    names = ["0.0.weight", "0.1.weight", "0.1.bias", "0.1.running_mean", "0.1.running_var", "0.1.num_batches_tracked"]
    assert list(Head(4, 8, 3, "relu").state_dict()) == [*names, "3.weight", "3.bias"]
