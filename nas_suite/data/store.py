"""Stores: decoded images in one mapped file under the data folder, written whole or not at all."""

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from nas_suite.data.images import Images, Splits, assemble, fingerprint, moments
from nas_suite.data.place import data_folder
from nas_suite.disk import refusal

LARGE = 1 << 30
"""Bytes of pixels above which a split stays in its file, mapped, instead of being read into memory."""

FORMAT = 1


@dataclass(frozen=True)
class Content:
    """What goes into a store: labels by split, then the images of all splits, in that order and in chunks."""

    classes: Sequence[str]
    labels: Mapping[str, Integer[np.ndarray, " _"]]
    shape: tuple[int, int, int]
    """(height, width, channels)"""
    chunks: Iterable[UInt8[np.ndarray, "_ h w c"]]


@dataclass(frozen=True)
class Store:
    """A finished store: pixels.npy and labels.npy (all splits in one), about.json."""

    folder: Path

    def about(self) -> dict[str, Any]:
        """classes; rows: the range of each split; mean, std and fingerprint."""
        return json.loads((self.folder / "about.json").read_text(encoding="utf-8"))

    def images(self, split: str) -> Images:
        """One split; nothing is read of the others."""
        rows = slice(*self.about()["rows"][split])
        x = np.load(self.folder / "pixels.npy", mmap_mode="c")[rows]
        return Images.of(x if x.nbytes > LARGE else np.array(x), np.load(self.folder / "labels.npy")[rows])

    def splits(self, name: str, limit: int | None, seed: int) -> Splits:
        """Training and validation images, with the moments and the fingerprint as stored where `limit` changes nothing."""
        about, train, val = self.about(), self.images("train"), self.images("val")
        if limit is not None and limit < len(train):
            return assemble(name, about["classes"], train, val, limit, seed)
        mean, std = tuple(about["mean"]), tuple(about["std"])
        return Splits(name, tuple(about["classes"]), train, val, mean, std, about["fingerprint"])


def key(*parts: object) -> str:
    """A name for what these values decide."""
    return hashlib.sha256(repr((FORMAT, parts)).encode()).hexdigest()[:16]


def stored(name: str, content: Callable[[], Content]) -> Store:
    """The store `name` in the data folder, made of `content` where there is none yet.

    It takes its name only when it is whole. A process that comes second waits; what a killed one left is removed.
    """
    from filelock import FileLock

    folder = data_folder() / "stores" / name
    if folder.is_dir():
        return Store(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{name}.lock"):
            if not folder.is_dir():
                made = folder.parent / f"{name}.part"
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                try:
                    write(made, content())
                    os.replace(made, folder)
                finally:
                    shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise refusal(folder, error, "set NAS_DATA to another folder") from None
    return Store(folder)


def write(folder: Path, content: Content) -> None:
    """Fill a store's folder; OSError where the disk is too small, before anything is decoded."""
    labels = np.concatenate(list(content.labels.values())).astype(np.int64)
    shape = (len(labels), *content.shape)
    free = shutil.disk_usage(folder).free
    if math.prod(shape) > free:
        raise OSError(errno.ENOSPC, f"{math.prod(shape):,} bytes are needed and {free:,} free")
    with (folder / "pixels.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for chunk in content.chunks:
            file.write(np.ascontiguousarray(chunk).data)
        file.flush()
        os.fsync(file.fileno())
    np.save(folder / "labels.npy", labels)
    ends = np.cumsum([len(y) for y in content.labels.values()]).tolist()
    about: dict[str, Any] = {"classes": list(content.classes)}
    about["rows"] = {split: (end - len(y), end) for end, (split, y) in zip(ends, content.labels.items(), strict=True)}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    train, val = Store(folder).images("train"), Store(folder).images("val")
    mean, std = moments(train)
    about |= {"mean": mean, "std": std, "fingerprint": fingerprint(train, val)}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
