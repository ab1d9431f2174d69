"""Images as uint8 tensors: one split, the two splits that are trained with, and seeded stratified parts."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, Integer, Shaped, UInt8
from torch import Tensor

from nas_suite.errors import BadInput
from nas_suite.words import plural

CHUNK = 1 << 24
"""Bytes of pixels that are worked on at once, so that memory-mapped images are never read whole into memory."""


@dataclass(frozen=True, eq=False)
class Images:
    """One split: pixels 0 … 255, channels-last in memory (a file mapped where it is large), and labels from 0."""

    x: UInt8[Tensor, "n c h w"]
    y: Int64[Tensor, " n"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", self.x.contiguous(memory_format=torch.channels_last))

    @classmethod
    def of(cls, x: UInt8[np.ndarray, "n h w c"], y: Integer[np.ndarray, " n"]) -> "Images":
        """Images over the same memory as `x`."""
        return cls(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(np.asarray(y, np.int64)))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    def pick(self, index: Int64[Tensor, " k"]) -> "Images":
        """The images at `index`, in that order; `index` may lie on another device."""
        index = index.to(self.x.device)
        pixels = self.x.permute(0, 2, 3, 1)
        if self.x.device.type == "cpu":  # numpy starts no threads for it: see batches.SERIAL
            return Images.of(pixels.numpy()[index.numpy()], self.y.numpy()[index.numpy()])
        return Images(pixels.index_select(0, index).permute(0, 3, 1, 2), self.y.index_select(0, index))

    def to(self, device: torch.device | str) -> "Images":
        """These images on `device`, itself where they already are."""
        return Images(self.x.to(device), self.y.to(device))

    def take(self, n: int, seed: int) -> "Images":
        """`n` images in which every class has its share, to within one; all images where there are no more.

        With one seed, fewer images are the first of more images.
        """
        if n < 1:
            raise BadInput(f"{plural(n, 'image')} asked for; at least 1 is needed")
        if n >= len(self):
            return self
        y = self.y.cpu().numpy()
        places = (ranks(y, seed) + 0.5) / np.bincount(y)[y]
        order = shuffled(len(y), seed)
        return self.pick(torch.from_numpy(order[np.argsort(places[order], kind="stable")][:n]))


@dataclass(frozen=True, eq=False)
class Splits:
    """What training may see of a data set: never its test images.

    `mean` and `std` are a channel's, of pixels scaled to 0 … 1, from the training images alone (or the published
    constants); `fingerprint` is the start of the sha256 of both splits' pixels and labels.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str


def shuffled(n: int, *seeds: int) -> Int64[np.ndarray, " n"]:
    """A permutation of 0 … n-1, a pure function of `n` and the seeds (≥ 0).

    It sorts the raw words of a bit generator, the one random stream that numpy promises never to change.
    """
    return np.argsort(np.random.PCG64(np.random.SeedSequence(seeds)).random_raw(n), kind="stable").astype(np.int64)


def ranks(y: Integer[np.ndarray, " n"], seed: int) -> Int64[np.ndarray, " n"]:
    """The place, from 0, of every image in a seeded random order of its own class."""
    order = shuffled(len(y), seed)
    order = order[np.argsort(y[order], kind="stable")]
    result = np.empty(len(y), np.int64)
    result[order] = np.arange(len(y)) - np.searchsorted(y[order], y[order])
    return result


def cut(
    y: Integer[np.ndarray, " n"], classes: Sequence[str], fraction: float, parts: int, seed: int
) -> list[Int64[np.ndarray, " _"]]:
    """Indices of the training images and of `parts` parts (validation, test), disjoint, each in a random order.

    A part holds `fraction` of the images of each class, rounded, and at least one; BadInput where too few remain.
    """
    counts = np.bincount(y, minlength=len(classes))
    size = np.maximum(1, np.rint(fraction * counts)).astype(np.int64)
    short = np.flatnonzero(counts <= parts * size)
    if short.size:
        raise BadInput(
            f"class {classes[short[0]]!r} has {plural(int(counts[short[0]]), 'image')}, too few to cut {parts} "
            f"part{'s'[: parts > 1]} of {fraction:.0%} from them: add images, lower data.val_fraction or leave the class out"
        )
    part = np.minimum(ranks(y, seed) // size[y], parts)
    order = shuffled(len(y), seed, 1)
    return [order[part[order] == which] for which in (parts, *range(parts))]


def resized(x: UInt8[np.ndarray, "n h w c"], size: int | None) -> UInt8[np.ndarray, "n s t c"]:
    """The centre square of each image, resized bilinearly (antialiased) to `size` pixels a side; None: as they are."""
    height, width = x.shape[1:3]
    if size is None or (height, width) == (size, size):
        return x
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(x[:, top : top + side, left : left + side]).permute(0, 3, 1, 2)
    step = max(1, CHUNK // (4 * side * side))
    done = [
        torch.nn.functional.interpolate(some.float(), (size, size), mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        .permute(0, 2, 3, 1)
        for some in square.split(step)
    ]
    return torch.cat(done).contiguous().numpy()


def moments(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of pixels scaled to 0 … 1, from exact integer sums; a constant
    channel's deviation is given as 1."""
    sums = squares = torch.zeros(images.shape[0], dtype=torch.int64)
    for x in images.x.split(max(1, CHUNK // math.prod(images.shape))):
        sums = sums + x.sum((0, 2, 3), dtype=torch.int64)
        squares = squares + x.int().square_().sum((0, 2, 3), dtype=torch.int64)
    n = len(images) * images.shape[1] * images.shape[2]
    deviations = [math.sqrt(n * q - s * s) / n / 255 for s, q in zip(sums.tolist(), squares.tolist(), strict=True)]
    return tuple(s / n / 255 for s in sums.tolist()), tuple(deviation or 1.0 for deviation in deviations)


def fingerprint(*splits: Images) -> str:
    """16 hexadecimal digits of the sha256 of shapes, pixels and labels."""
    digest = hashlib.sha256()
    for images in splits:
        digest.update(str(tuple(images.x.shape)).encode())
        for x in images.x.split(max(1, CHUNK // math.prod(images.shape))):
            digest.update(x.permute(0, 2, 3, 1).contiguous().numpy().data)
        digest.update(images.y.numpy().data)
    return digest.hexdigest()[:16]


def assemble(
    name: str,
    classes: Sequence[str],
    train: Images,
    val: Images,
    limit: int | None,
    seed: int,
    constants: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Splits:
    """Splits with at most `limit` training images; `constants` are the published mean and standard deviation."""
    train = train if limit is None else train.take(limit, seed)
    mean, std = constants or moments(train)
    return Splits(name, tuple(classes), train, val, mean, std, fingerprint(train, val))


def check_labels(what: str, y: Shaped[np.ndarray, "..."], n: int, classes: int | None = None) -> int:
    """The number of classes, `classes` or as found. BadInput unless `y` holds `n` whole numbers in 0 … classes-1;
    where `classes` is None, each of them must occur."""
    if y.ndim != 1 or len(y) != n or y.dtype.kind not in "iu":
        raise BadInput(f"{what} must hold one whole number for each of {plural(n, 'image')}, not {y.dtype} of shape {y.shape}")
    known = np.unique(y)
    if not known.size or known[0] < 0 or (classes is not None and known[-1] >= classes):
        found = "no labels" if not known.size else f"label {known[0] if known[0] < 0 else known[-1]}"
        allowed = "0, 1, 2, …" if classes is None else f"0 … {classes - 1}"
        raise BadInput(f"{what} holds {found}; labels must be {allowed}: number the classes so")
    if classes is None and known[-1] >= known.size:
        gap = int(np.flatnonzero(known != np.arange(known.size))[0])
        raise BadInput(f"{what} holds labels up to {known[-1]} but no {gap}: number the classes 0, 1, 2, … without gaps")
    return classes if classes is not None else int(known.size)
