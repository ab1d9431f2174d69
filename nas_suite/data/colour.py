"""Colours of images jittered, of each image by its own amounts: brightness, contrast, saturation and hue."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def jittered(x: Shaped[Tensor, "n c h w"], generator: torch.Generator, strength: float, hue: float) -> Float[Tensor, "n c h w"]:
    """Pixels of 0 … 255 with other colours, of the same range.

    For each image brightness, contrast (towards the mean grey of the image) and saturation (towards grey) are multiplied by
    factors that are uniform over 1 ± `strength`, and the hue is turned by a share of the circle uniform over ± `hue`; in an
    order that is drawn for the batch. Only the first two touch images that are not of three channels.
    """
    n = len(x)
    order = torch.randperm(4, generator=generator).tolist()
    drawn = (2 * torch.rand(4, n, 1, 1, 1, generator=generator) - 1).to(x.device)
    pixels = x / 255
    for number in order:
        if number < 2 or x.shape[1] == len(LUMA):
            amount = drawn[number] * (hue if number == 3 else strength)
            pixels = turned(pixels, amount) if number == 3 else blended(pixels, 1 + amount, number)
    return pixels * 255


def blended(x: Float[Tensor, "n c h w"], factor: Float[Tensor, "n 1 1 1"], number: int) -> Float[Tensor, "n c h w"]:
    """Away from black (0), from the image's mean grey (1) or from each pixel's grey (2) by a factor, within 0 … 1."""
    if number == 0:
        return (factor * x).clamp_(0, 1)
    towards = grey(x)
    if number == 1:
        towards = towards.mean((2, 3), keepdim=True)
    return torch.lerp(towards, x, factor.expand_as(x)).clamp_(0, 1)


def grey(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    if x.shape[1] != len(LUMA):
        return x.mean(1, keepdim=True)
    return (x * torch.tensor(LUMA, device=x.device)[:, None, None]).sum(1, keepdim=True)


def turned(x: Float[Tensor, "n 3 h w"], share: Float[Tensor, "n 1 1 1"]) -> Float[Tensor, "n 3 h w"]:
    """Hues turned by a share of the circle; the largest and the smallest channel of each pixel keep their values."""
    red, green, blue = x.split(1, 1)
    most, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = most - least
    over = chroma.clamp(min=1e-12)  # of grey pixels, whose hue does not matter
    hue = torch.where(
        most == red, (green - blue) / over, torch.where(most == green, 2 + (blue - red) / over, 4 + (red - green) / over)
    )
    place = (hue + 6 * share + torch.tensor((5.0, 3.0, 1.0), device=x.device)[:, None, None]) % 6
    return most - chroma * torch.minimum(place, 4 - place).clamp(0, 1)
