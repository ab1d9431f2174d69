"""Jittered colours: by the definitions of brightness, contrast, saturation and hue, each image by its own amounts."""

import colorsys

import pytest
import torch
from pictures import pictures

from nas_suite.data import Augment
from nas_suite.data.colour import LUMA, blended, grey, jittered, turned

X = pictures(6, 4, 5).x


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", [-0.5, -0.2, 0.0, 0.07, 0.5])
def test_a_turned_hue_is_that_of_the_hsv_of_each_pixel(share: float) -> None:
    extremes = torch.tensor([(0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0.5, 0.5, 0.5)]).T[
        None, :, None
    ]
    for x in (X / 255, extremes):
        found = turned(x, torch.full((len(x), 1, 1, 1), share)).permute(0, 2, 3, 1).flatten(0, 2)
        for pixel, out in zip(x.permute(0, 2, 3, 1).flatten(0, 2).tolist(), found.tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            assert out == pytest.approx(colorsys.hsv_to_rgb((h + share) % 1, s, v), abs=1e-5)


def test_brightness_contrast_and_saturation_are_blends_within_the_range() -> None:
    x, factor = X / 255, torch.tensor((0.0, 0.5, 1.0, 1.2, 1.4, 2.0)).view(-1, 1, 1, 1)
    luma = (x * torch.tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    assert torch.equal(grey(x), luma)
    for number, towards in enumerate((torch.zeros(1), luma.mean((2, 3), keepdim=True), luma)):
        expected = (factor * x + (1 - factor) * towards).clamp(0, 1)
        assert torch.allclose(blended(x, factor, number), expected, atol=1e-6)


def test_amounts_are_an_images_own_and_within_their_bounds() -> None:
    flat = torch.tensor((200, 100, 50), dtype=torch.uint8)[None, :, None, None].expand(400, 3, 2, 2)
    out = jittered(flat, drawn(0), 0.0, 0.1)
    hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in out[:, :, 0, 0].tolist()]
    off = [(hue - colorsys.rgb_to_hsv(200, 100, 50)[0] + 0.5) % 1 - 0.5 for hue in hues]
    assert -0.1 <= min(off) < -0.09 < 0.09 < max(off) <= 0.1
    dull = torch.full((400, 1, 2, 2), 100, dtype=torch.uint8)  # of one grey, which only brightness changes
    shares = jittered(dull, drawn(0), 0.4, 0.5)[:, 0, 0, 0] / 100
    assert 0.6 - 1e-5 <= float(shares.min()) < 0.63
    assert 1.37 < float(shares.max()) <= 1.4 + 1e-5


def test_nothing_is_jittered_by_nothing_and_what_is_drawn_is_a_function_of_the_generator() -> None:
    assert torch.allclose(jittered(X, drawn(3), 0.0, 0.0), X.float(), atol=1e-3)
    one = jittered(X, drawn(3), 0.4, 0.2)
    assert torch.equal(one, jittered(X, drawn(3), 0.4, 0.2))
    assert not torch.allclose(one, jittered(X, drawn(4), 0.4, 0.2), atol=1)
    assert 0 <= float(one.min()) < float(one.max()) <= 255


def test_batches_are_jittered_before_padding_and_normalising() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    out = Augment(0, False, 0, 0.4, 0.2)(X, drawn(5), mean, std)
    expected = (jittered(X, drawn(5), 0.4, 0.2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(out, expected, atol=1e-5)
    padded = Augment(3, False, 0, 0.4, 0.2)(torch.full((40, 3, 4, 4), 255, dtype=torch.uint8), drawn(5), mean, std)
    black = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(3, 1, 1)
    corners = torch.cat((padded[..., 0, 0], padded[..., -1, -1]))
    assert bool((corners == black.view(3)).all(1).any())
