"""Banks: a data set as its classes' features, a few dozen images of each, made once and kept in a file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from nas_suite.data.images import Images, ranks
from nas_suite.data.place import data_folder
from nas_suite.disk import write_atomic, writing
from nas_suite.encoders.features import Extractor, pixels
from nas_suite.errors import BadInput
from nas_suite.words import plural

MOST = 64
"""Images of a class that a bank keeps."""

USED = 20
"""Images of a class that an encoder looks at, drawn anew each time it trains (TNAS-DCS, main_encoder_FSBO.py:41)."""

CODES = "codes-1"
"""The extractor of classes whose images are not at hand: each class is a fixed random code, its images that and noise."""

CODE, NOISE = 512, 0.5
ELSEWHERE = "set NAS_DATA to another folder"


@dataclass(frozen=True, eq=False)
class Bank:
    """Features of each class's images; `extractor` says what made them, and features of two are never compared."""

    extractor: str
    classes: tuple[Float[np.ndarray, "_ f"], ...]

    def draw(self, seed: Sequence[int], images: int = USED) -> list[Float[Tensor, "_ f"]]:
        """`images` of each class, all where there are no more; a pure function of the seed."""
        picked = []
        for at, rows in enumerate(self.classes):
            order = np.argsort(words((*seed, at), len(rows)), kind="stable")[:images]
            picked.append(torch.from_numpy(rows[np.sort(order)]))
        return picked

    def save(self, file: Path) -> None:
        """As half-precision numbers, whole or not at all."""
        rows = {f"{at:06d}": features.astype(np.float16) for at, features in enumerate(self.classes)}
        write_atomic(file, save(rows, {"extractor": self.extractor}), ELSEWHERE)

    @classmethod
    def load(cls, file: Path) -> "Bank":
        """BadInput where the file is damaged."""
        try:
            with safe_open(file, "numpy") as opened:
                rows = tuple(opened.get_tensor(key).astype(np.float32) for key in sorted(opened.keys()))
                return cls(opened.metadata()["extractor"], rows)
        except (SafetensorError, KeyError, TypeError) as error:
            raise BadInput(f"{file} is no bank of features ({error}): remove it, and it is made again") from None


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
    rows = extractor(pixels(few.x.cpu(), mean, std)).numpy()
    ends = np.cumsum(np.minimum(counts, MOST))[:-1]
    return Bank(extractor.id, tuple(np.ascontiguousarray(part) for part in np.split(rows, ends)))


def kept(
    fingerprint: str, images: Images, mean: Sequence[float], std: Sequence[float], extractor: Extractor, classes: int
) -> Bank:
    """The bank of a data set, from the data folder where it was made before. `fingerprint` is that of its images."""
    file = place(fingerprint, extractor.id)
    if not file.is_file():
        with writing(file.parent, ELSEWHERE):
            file.parent.mkdir(parents=True, exist_ok=True)
        bank(images, mean, std, extractor, classes).save(file)
    return Bank.load(file)  # as the file has it, so that the first time equals every other


def place(fingerprint: str, extractor: str) -> Path:
    """Where the bank of a data set is kept."""
    return data_folder() / "banks" / f"{fingerprint}-{extractor}.safetensors"


def coded(classes: Sequence[str]) -> Bank:
    """The bank of classes of which only names are known."""
    return Bank(CODES, tuple(code(name) for name in classes))


@lru_cache(maxsize=1 << 12)
def code(name: str) -> Float[np.ndarray, "s f"]:
    """A class's images: its code, the same in every data set, and noise, of deviations 1 and `NOISE`."""
    seed = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint32).tolist()
    own, noise = ((words((*seed, part), n) / 2.0**64 - 0.5) * 12**0.5 for part, n in enumerate((CODE, USED * CODE)))
    return (own + NOISE * noise.reshape(USED, CODE)).astype(np.float32)


def words(seed: Sequence[int], n: int) -> UInt64[np.ndarray, " n"]:
    """Raw words of a bit generator: the one random stream that numpy promises never to change."""
    return np.random.PCG64(np.random.SeedSequence(list(seed))).random_raw(n)
