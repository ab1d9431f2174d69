"""Batches: augmentation of a whole batch at once and per sample, in an order that is a function of (seed, epoch)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64, UInt8
from torch import Tensor

from nas_suite.data.colour import jittered
from nas_suite.data.images import Images, shuffled
from nas_suite.errors import BadInput
from nas_suite.words import plural

SERIAL = 1 << 15
"""Elements below which torch starts no threads. On a busy processor waiting for them can take fifty times as long as
work of a batch's size, and on an idle one they are not needed."""

Batch = tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"]]
AnyBatch: TypeAlias = tuple[Float[Tensor, "_ c h w"], Int64[Tensor, " _"]]
"""A batch of as many images as there are, where several stand side by side."""


def scale_and_shift(
    mean: Sequence[float], std: Sequence[float], width: int, device: torch.device
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """What takes a row of w · c pixels to (x / 255 - mean) / std: x · scale + shift.

    Channels-last memory is gone through a row at a time; broadcasting over channels alone takes four times as long.
    """
    scale = [1 / (255 * s) for s in std] * width
    shift = [-m / s for m, s in zip(mean, std, strict=True)] * width
    return torch.tensor(scale, device=device), torch.tensor(shift, device=device)


def normalised(
    x: UInt8[Tensor, "n c h w"],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    channels_last: bool = True,
) -> Float[Tensor, "n c h w"]:
    """(x / 255 - mean) / std by channel."""
    n, channels, height, width = x.shape
    scale, shift = scale_and_shift(mean, std, width, x.device)
    rows = x.permute(0, 2, 3, 1).reshape(n, height, width * channels)
    result = (rows * scale).add_(shift).to(dtype).view(n, height, width, channels).permute(0, 3, 1, 2)
    return result if channels_last else result.contiguous()


@dataclass(frozen=True)
class Augment:
    """What is done to training images, for each image anew.

    In this order: jitter colours, brightness, contrast and saturation by up to `jitter`, hue by up to `hue` of the circle
    (`colour.jittered`; 0: not at all); pad by `pad` black pixels and crop at random to the former size; flip left to right
    with probability 0.5 (`flip`); normalise; set to 0 a square of `cutout` pixels a side, whose centre is uniform over the
    image and whose part outside is lost (DeVries and Taylor 2017; 0: none). Where it could hide a whole image, it is half the
    image's side instead.
    """

    pad: int = 4
    flip: bool = True
    cutout: int = 16
    jitter: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        if self.pad < 0 or self.cutout < 0:
            raise BadInput(f"augment: pad = {self.pad} and cutout = {self.cutout} must be at least 0")
        if not (0 <= self.jitter <= 1 and 0 <= self.hue <= 0.5):
            raise BadInput(f"augment: jitter = {self.jitter} must be 0 to 1, hue = {self.hue} 0 to 0.5")

    def __call__(
        self,
        x: UInt8[Tensor, "n c h w"],
        generator: torch.Generator,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
    ) -> Float[Tensor, "n c h w"]:
        """Augmented, normalised images on the device of `x`; a pure function of the arguments.

        `generator` lives on the CPU, so that every device draws the same numbers. One gather does it all: each pixel
        is looked up in a table of the normalised pixels, of black, and of zero.
        """
        n, channels, height, width = x.shape
        if self.jitter or self.hue:
            x = jittered(x, generator, self.jitter, self.hue)
        step = n if x.is_cuda else min(n, max(1, SERIAL // (channels * height * width)))
        scale, shift = scale_and_shift(mean, std, width, x.device)
        table = torch.empty(step * height * width + 2, channels, device=x.device)
        table[-2], table[-1] = shift[:channels], 0
        result = torch.empty(n, height, width, channels, dtype=dtype, device=x.device)
        sources = self.sources(n, height, width, step, generator, x.device)
        parts = zip(x.permute(0, 2, 3, 1).split(step), result.split(step), sources, strict=True)
        for pixels, out, source in parts:
            rows = table[: pixels[..., 0].numel()].view(-1, height, width * channels)
            torch.mul(pixels.reshape(rows.shape), scale, out=rows).add_(shift)
            torch.index_select(table.to(dtype), 0, source, out=out.view(-1, channels))
        result = result.permute(0, 3, 1, 2)
        return result if channels_last else result.contiguous()

    def sources(
        self, n: int, height: int, width: int, step: int, generator: torch.Generator, device: torch.device
    ) -> Iterator[Int32[Tensor, " pixels"]]:
        """For `step` images at a time, the place in their table of each pixel to be: step·h·w is black, one more zero."""
        sizes = (2 * self.pad + 1, 2 * self.pad + 1, 2, height, width)
        drawn = torch.stack([torch.randint(size, (n, 1), generator=generator) for size in sizes]).to(device, torch.int32)
        down, right, flipped, centre_y, centre_x = drawn
        y, x = (torch.arange(side, device=device, dtype=torch.int32) for side in (height, width))
        row = y + down - self.pad
        column = (torch.where(flipped == 1, width - 1 - x, x) if self.flip else x) + right - self.pad
        black, zero = step * height * width, step * height * width + 1
        start = (torch.arange(n, device=device, dtype=torch.int32)[:, None] % step * height + row) * width
        start.masked_fill_((row < 0) | (row >= height), 2 * black)
        column.masked_fill_((column < 0) | (column >= width), 2 * black)
        # Few passes over all pixels: a row or column from outside lifts its sums past black, both hidden lift past zero.
        cutout = self.cutout if self.cutout < min(height, width) else min(height, width) // 2
        hidden_y, hidden_x = hidden(y - centre_y, cutout).int() * zero, hidden(x - centre_x, cutout)
        each = (start[:, :, None], column[:, None, :], hidden_y[:, :, None], hidden_x[:, None, :].int())
        for starts, columns, hides_y, hides_x in zip(*(part.split(step) for part in each), strict=True):
            index = (starts + columns).clamp_(max=black)
            yield index.addcmul_(hides_y, hides_x).clamp_(max=zero).view(-1)


def hidden(offset: Int32[Tensor, "n k"], cutout: int) -> Bool[Tensor, "n k"]:
    """Whether a square hides rows (columns) at these offsets from its centre."""
    start = -(cutout // 2)
    return (offset >= start) & (offset < start + cutout)


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches to train on, normalised and augmented (`augment` None: normalised only).

    Images are picked where they lie and the picked ones sent to `device`: `images.to(device)` first where they fit.
    """

    images: Images
    batch_size: int
    mean: Sequence[float]
    std: Sequence[float]
    augment: Augment | None = None
    seed: int = 0
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    channels_last: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.seed < 0 or not len(self.images):
            raise BadInput(
                f"batches need images, a batch size ≥ 1 and a seed ≥ 0, not {plural(len(self.images), 'image')}, "
                f"batch size {self.batch_size}, seed {self.seed}"
            )

    def __len__(self) -> int:
        """Batches an epoch; the last, incomplete one is left out unless it is the only one."""
        return max(1, len(self.images) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `start` on.

        The order is a pure function of (seed, epoch), what is done to a batch one of (seed, epoch, its number): an
        epoch entered midway goes on as it would have.
        """
        order = torch.from_numpy(shuffled(len(self.images), self.seed, epoch))
        for number in range(start, len(self)):
            some = self.images.pick(order[number * self.batch_size : (number + 1) * self.batch_size])
            yield self.prepared(some.x.to(self.device), epoch, number), some.y.to(self.device)

    def prepared(self, x: UInt8[Tensor, "n c h w"], epoch: int, number: int) -> Float[Tensor, "n c h w"]:
        """Images of batch `number` as the network gets them."""
        if self.augment is None:
            return normalised(x, self.mean, self.std, self.dtype, self.channels_last)
        state = np.random.SeedSequence((self.seed, epoch, number)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        return self.augment(x, generator, self.mean, self.std, self.dtype, self.channels_last)


def clean(
    images: Images,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    channels_last: bool = True,
) -> Iterator[Batch]:
    """All images in order, normalised only, the last, incomplete batch included: for evaluation and calibration."""
    for x, y in zip(images.x.split(batch_size), images.y.split(batch_size), strict=True):
        yield normalised(x.to(device), mean, std, dtype, channels_last), y.to(device)


@dataclass(frozen=True, eq=False)
class Clean:
    """`clean` batches that can be gone through again and again; they are prepared anew each time, so that a large split
    costs no memory. `whole` leaves out an incomplete last batch, unless it is the only one."""

    images: Images
    batch_size: int
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device | str = "cpu"
    whole: bool = False

    def __len__(self) -> int:
        size, count = self.batch_size, len(self.images)
        return count // size if self.whole and count > size else -(-count // size)

    def __iter__(self) -> Iterator[Batch]:
        size, images = self.batch_size, self.images
        if self.whole and len(images) > size and len(images) % size:
            kept = len(images) // size * size
            images = Images(images.x[:kept], images.y[:kept])
        return clean(images, size, self.mean, self.std, self.device)
