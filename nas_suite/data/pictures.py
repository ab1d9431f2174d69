"""Image files by split and class, decoded once into a store."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image, ImageOps

from nas_suite.data import store
from nas_suite.data.images import cut, shuffled
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput
from nas_suite.words import plural

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
ORIENTATION = 0x0112
"""The EXIF tag; from 5 on it exchanges width and height."""

Tree = dict[str, dict[str, list[Path]]]
"""Split to class to files, relative to a folder or absolute; the classes of `train` are all there are, in order."""


@dataclass(frozen=True)
class Pictures:
    """The files of a folder. A split of `lacking` that is not among them is cut from the training images, by the settings
    `val_fraction` and `seed` of the data; all images are given the one size of the data, if it has one.

    Gray where all images are gray, else RGB. The store is renewed when a file changes (path, size or time), and broken images
    are found when it is made, in all splits.
    """

    root: Path
    tree: Tree
    data: DataSet
    lacking: Sequence[str]

    def stored(self) -> store.Store:
        """The store of the decoded images, made where there is none."""
        files = [(s, name, file) for s, classes in self.tree.items() for name, some in classes.items() for file in some]
        stats = [(self.root / file).stat() for _, _, file in files]
        made_of = [(*map(str, at), stat.st_size, stat.st_mtime_ns) for at, stat in zip(files, stats, strict=True)]
        key = store.key(made_of, self.data.size, self.data.val_fraction, self.data.seed)
        return store.stored(f"{self.root.name}-{key}", self.content)

    def content(self) -> store.Content:
        classes, size = list(self.tree["train"]), self.data.size
        files, labels = self.plan(classes)
        with ThreadPoolExecutor() as pool:
            probes = [probe for probe in pool.map(probed, (self.root / file for file in files)) if probe]
        channels = 1 if probes and all(gray for gray, _ in probes) else 3
        sizes = sorted({pixels for _, pixels in probes})
        if size is None and len(sizes) > 1:
            raise BadInput(
                f"images in {self.root} have {len(sizes)} sizes, from {sizes[0]} to {sizes[-1]} (width, height): set "
                "data.size to the pixels a side that all shall have, such as 32"
            )
        width, height = (size, size) if size else sizes[0] if sizes else (1, 1)
        shape = (height, width, channels)
        return store.Content(classes, labels, shape, decoded(self.root, files, size, shape))

    def plan(self, classes: Sequence[str]) -> tuple[list[Path], dict[str, Int64[np.ndarray, " _"]]]:
        """All files in the order of the splits, shuffled within each, and the labels of each split."""
        tree, seed = self.tree, self.data.seed
        files = {split: [f for name in classes for f in tree[split].get(name, ())] for split in tree}
        y = {s: np.repeat(np.arange(len(classes)), [len(tree[s].get(name, ())) for name in classes]) for s in tree}
        rows = {split: (split, shuffled(len(y[split]), seed)) for split in tree}
        lacking = [split for split in self.lacking if split not in tree]
        if lacking:
            indices = cut(y["train"], classes, self.data.val_fraction, len(lacking), seed)
            rows |= {split: ("train", index) for split, index in zip(("train", *lacking), indices, strict=True)}
        ordered = [files[source][i] for source, index in rows.values() for i in index]
        return ordered, {split: y[source][index] for split, (source, index) in rows.items()}


def probed(file: Path) -> tuple[bool, tuple[int, int]] | None:
    """Whether an image is gray, and its (width, height) upright, from its header; None where that is broken."""
    try:
        with Image.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            return image.mode in ("1", "L", "LA", "I;16"), (height, width) if turned else (width, height)
    except BROKEN:
        return None


def pixels(file: Path, size: int | None, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """An image upright, of `shape`: its centre square resized bilinearly to `size`, if there is one."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode == "I;16":
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise ValueError(f"pixels of mode {image.mode} have no known range; save it with 8 bits a channel")
        image = image.convert("L" if shape[2] == 1 else "RGB")
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(shape)


def decoded(
    root: Path, files: Sequence[Path], size: int | None, shape: tuple[int, int, int]
) -> Iterator[UInt8[np.ndarray, "_ h w c"]]:
    """All images in chunks, decoded by threads. BadInput at the end if some are broken: how many, and the first."""

    def attempt(file: Path) -> UInt8[np.ndarray, "h w c"] | tuple[Path, Exception]:
        try:
            return pixels(root / file, size, shape)
        except BROKEN as error:
            return file, error

    broken = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), 256):
            results = list(pool.map(attempt, files[start : start + 256]))
            broken += [result for result in results if isinstance(result, tuple)]
            if not broken:
                yield np.stack([result for result in results if isinstance(result, np.ndarray)])
    if broken:
        file, error = min(broken, key=lambda pair: pair[0])
        raise BadInput(
            f"{len(broken)} of {plural(len(files), 'image')} in {root} cannot be read, such as {file} "
            f"({str(error).replace(str(root / file), str(file))}): replace or remove them"
        )
