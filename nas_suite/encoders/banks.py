"""Banks: a data set as its classes' features, of a few dozen images of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt64
from torch import Tensor

from nas_suite.data.images import Images, ranks
from nas_suite.encoders.features import Extractor, pixels
from nas_suite.errors import BadInput
from nas_suite.words import plural

MOST = 64
"""Images of a class that a bank keeps."""

USED = 20
"""Images of a class that an encoder looks at, drawn anew each time it trains (TNAS-DCS, main_encoder_FSBO.py:41)."""

CODES, NONE = "codes-1", "none"
"""Extractors of data sets of which classes alone are known, and of those of which nothing is."""
"""The extractor of classes whose images are not at hand: each class is a fixed random code, its images that and noise."""

CODE, NOISE = 512, 0.5


@dataclass(frozen=True, eq=False)
class Bank:
    """Features of each class's images; `extractor` says what made them, and features of two are never compared. `names` are
    those of classes that have codes."""

    extractor: str
    classes: tuple[Float[np.ndarray, "_ f"], ...]
    names: tuple[str, ...] = ()

    def draw(self, seed: Sequence[int], images: int = USED) -> list[Float[Tensor, "_ f"]]:
        """`images` of each class, all where there are no more; a pure function of the seed."""
        picked = []
        for at, rows in enumerate(self.classes):
            order = np.argsort(words((*seed, at), len(rows)), kind="stable")[:images]
            picked.append(torch.from_numpy(rows[np.sort(order)]))
        return picked


def bank(images: Images, mean: Sequence[float], std: Sequence[float], extractor: Extractor, classes: int) -> Bank:
    """The bank of training images: of each class the first in a fixed random order. `mean` and `std` normalise each channel.
    BadInput where a class has no image."""
    y = images.y.cpu().numpy()
    counts = np.bincount(y, minlength=classes)
    if not counts.all():
        raise BadInput(f"class {int(np.argmin(counts))} has no training image of {plural(len(y), 'image')}: leave it out")
    chosen = np.flatnonzero(ranks(y, 0) < MOST)
    chosen = chosen[np.argsort(y[chosen], kind="stable")]
    few = images.pick(torch.from_numpy(chosen))
    rows = extractor(pixels(few.x.cpu(), mean, std)).half().float().numpy()  # as a history keeps them
    ends = np.cumsum(np.minimum(counts, MOST))[:-1]
    return Bank(extractor.id, tuple(np.ascontiguousarray(part) for part in np.split(rows, ends)))


def coded(classes: Sequence[str]) -> Bank:
    """The bank of classes of which only names are known."""
    return Bank(CODES, tuple(code(name) for name in classes), tuple(classes))


@lru_cache(maxsize=1 << 12)
def code(name: str) -> Float[np.ndarray, "s f"]:
    """A class's images: its code, the same in every data set, and noise, of deviations 1 and `NOISE`."""
    seed = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint32).tolist()
    own, noise = ((words((*seed, part), n) / 2.0**64 - 0.5) * 12**0.5 for part, n in enumerate((CODE, USED * CODE)))
    return (own + NOISE * noise.reshape(USED, CODE)).astype(np.float32)


def words(seed: Sequence[int], n: int) -> UInt64[np.ndarray, " n"]:
    """Raw words of a bit generator: the one random stream that numpy promises never to change."""
    return np.random.PCG64(np.random.SeedSequence(list(seed))).random_raw(n)
