"""Depthwise convolutions: equal to nn.Conv2d, with right gradients in every precision."""

import pytest
import torch
from torch import nn

from nas_suite import depthwise
from nas_suite.depthwise import DepthwiseConv2d

CASES = [(k, stride, side) for k in (1, 3, 5, 7, 9) for stride in (1, 2) for side in (4, 9, 16, 32)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def twins(channels: int, kernel: int, stride: int) -> tuple[DepthwiseConv2d, nn.Conv2d]:
    ours = DepthwiseConv2d(channels, kernel, stride)
    plain = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def gradients(conv: nn.Module, x: torch.Tensor, cotangent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = x.detach().requires_grad_()
    y = conv(x)
    gx, gw = torch.autograd.grad(y, (x, next(conv.parameters())), cotangent.to(y.dtype))
    return y.detach(), gx, gw


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()


def inputs(kernel: int, stride: int, side: int, channels: int = 24, n: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    out = -(-side // stride)
    x, cotangent = torch.randn(n, channels, side, side), torch.randn(n, channels, out, out)
    x, cotangent = (t.bfloat16().float().contiguous(memory_format=torch.channels_last) for t in (x, cotangent))  # exact in bf16
    return x, cotangent


@pytest.mark.parametrize(("kernel", "stride", "side"), CASES)
def test_fp32_is_bit_equal_to_conv2d(kernel, stride, side):
    ours, plain = twins(24, kernel, stride)
    x, cotangent = inputs(kernel, stride, side)
    for a, b in zip(gradients(ours, x, cotangent), gradients(plain, x, cotangent), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("kernel", "stride", "side"), CASES)
def test_bf16_gradients_against_fp64(kernel, stride, side, memory_format):
    ours, plain = twins(24, kernel, stride)
    with torch.no_grad():
        ours.weight.copy_(ours.weight.bfloat16())
    plain.load_state_dict(ours.state_dict())
    x, cotangent = (t.contiguous(memory_format=memory_format) for t in inputs(kernel, stride, side))
    wanted = gradients(plain.double(), x.double(), cotangent.double())
    with torch.autocast("cpu", torch.bfloat16):
        got = gradients(ours, x, cotangent)
    assert got[0].dtype == torch.bfloat16
    assert (got[1].dtype, got[2].dtype) == (torch.float32, torch.float32)
    for a, b in zip(got, wanted, strict=True):
        assert error(a, b) < 0.004  # bf16 rounds by at most 2**-9 = 0.002 relative
    assert got[2].shape == ours.weight.shape


@pytest.mark.parametrize("channels", [8, 32, 48])
@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 16), (5, 1, 17), (5, 2, 16), (5, 2, 19), (7, 2, 32), (9, 1, 16)])
def test_products_of_groups_against_fp64(kernel, stride, side, channels):
    x, cotangent = inputs(kernel, stride, side, channels)
    weight = torch.zeros(channels, 1, kernel, kernel).double()
    wanted = depthwise.gradients(cotangent.double(), x.double(), weight, stride, (False, True, False))[1]
    got = depthwise.group_products(cotangent.bfloat16(), x.bfloat16(), kernel, stride)
    assert got.shape == weight.shape
    assert error(got, wanted) < 0.004


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "side"), [(32, 5, 1, 8), (32, 5, 1, 16), (8, 3, 1, 16), (48, 7, 2, 24)]
)
def test_products_of_groups_are_for_processors_with_matrix_units(monkeypatch, channels, kernel, stride, side):
    ours, _ = twins(channels, kernel, stride)
    x, cotangent = inputs(kernel, stride, side, channels)
    called = []
    products = depthwise.group_products
    monkeypatch.setattr(depthwise, "group_products", lambda *given: called.append(given) or products(*given))
    found = []
    for there in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda there=there: there)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(gradients(ours, x, cotangent)[2])
        assert bool(called) == there
        called.clear()
    assert error(found[0], found[1]) < 0.004


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "side"),
    [(12, 5, 1, 32), (32, 5, 2, 8), (32, 7, 1, 8), (32, 3, 1, 8), (32, 3, 2, 32), (32, 9, 2, 16)],
)
def test_where_products_of_groups_do_not_pay(monkeypatch, channels, kernel, stride, side):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert not depthwise.grouped(torch.empty(16, channels, side, side).bfloat16(), kernel, stride)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("side", [5, 6, 7])
def test_input_gradients_by_forward_convolutions_are_exact(kernel, stride, side):
    """On whole numbers, in fp32."""
    x = torch.randint(-3, 4, (2, 4, side, side + 1)).float()
    weight = torch.randint(-3, 4, (4, 1, kernel, kernel)).float()
    cotangent = torch.randint(-3, 4, (2, 4, -(-side // stride), -(-(side + 1) // stride))).float()
    wanted = depthwise.gradients(cotangent, x, weight, stride, (True, False, False))[0]
    assert torch.equal(depthwise.input_gradient(cotangent, x, weight, stride), wanted)


@pytest.mark.parametrize("n", [15, 16])
@pytest.mark.parametrize(("kernel", "stride", "shape"), [(5, 1, (2, 8)), (7, 2, (12, 6)), (9, 1, (20, 24)), (9, 2, (26, 10))])
def test_images_that_are_not_square(kernel, stride, shape, n):
    ours, plain = twins(5, kernel, stride)
    with torch.no_grad():
        ours.weight.copy_(ours.weight.bfloat16())
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(n, 5, *shape).bfloat16()
    cotangent = torch.randn_like(ours(x.float())).bfloat16().detach()
    wanted = gradients(plain.double(), x.double(), cotangent.double())
    for a, b in zip(gradients(ours, x, cotangent), wanted, strict=True):
        assert error(a, b) < 0.004


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rows", [1, 2, 4, 8])
def test_every_tile_gives_the_same_gradient(monkeypatch, rows, stride):
    ours, _ = twins(4, 9, stride)
    x, cotangent = inputs(9, stride, 8 * stride, channels=4)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = gradients(ours, x, cotangent)[2]
        monkeypatch.setattr(depthwise, "tile_rows", lambda *args: rows)
        got = gradients(ours, x, cotangent)[2]
    assert error(got, wanted) < 0.004


def test_bf16_without_autocast():
    ours, _ = twins(8, 5, 1)
    x, cotangent = inputs(5, 1, 8, channels=8)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = gradients(ours, x, cotangent)
    got = gradients(ours, x.bfloat16(), cotangent)  # parameters in fp32
    assert torch.equal(got[0], wanted[0])
    assert torch.equal(got[2], wanted[2])
    gx, gw = gradients(ours.bfloat16(), x.bfloat16(), cotangent)[1:]  # parameters in bf16
    assert gx.dtype == gw.dtype == torch.bfloat16
    assert error(gw, wanted[2]) < 0.004


def test_same_outputs_in_training_and_inference():
    ours, plain = twins(16, 7, 1)
    x, _ = inputs(7, 1, 16, channels=16)
    with torch.autocast("cpu", torch.bfloat16):
        trained = ours(x).detach()
        with torch.inference_mode():
            inferred, rival = ours(x), plain(x)
    assert torch.equal(trained, inferred)
    assert torch.equal(trained, rival)


def test_meta_state_and_repr():
    with torch.device("meta"):
        ours = DepthwiseConv2d(16, 5, 2)
        x = torch.empty(2, 16, 9, 9)
    assert ours(x).shape == (2, 16, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).shape == (2, 16, 5, 5)
    assert list(ours.state_dict()) == ["weight"]
    assert "groups=16" in repr(ours)


def test_only_wanted_gradients():
    ours, _ = twins(8, 5, 2)
    x, _ = inputs(5, 2, 8, channels=8)
    with torch.autocast("cpu", torch.bfloat16):
        ours(x).sum().backward()
        first = ours.weight.grad
        ours.requires_grad_(False)
        x.requires_grad_()
        ours(x).sum().backward()
    assert first is not None
    assert ours.weight.grad is first
    assert x.grad is not None
