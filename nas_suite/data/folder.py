"""The data set `folder`: your own pictures, one folder a class."""

import os
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
from nas_suite.data.images import Images, Splits, cut, shuffled
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput, suggest
from nas_suite.words import plural

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
ORIENTATION = 0x0112
"""The EXIF tag; from 5 on it exchanges width and height."""

Tree = dict[str, dict[str, list[Path]]]
"""Split to class to files, relative to the folder."""


@dataclass(frozen=True)
class Folder(DataSet):
    """Your own pictures, one folder a class: PATH/CLASS/*, or PATH/train/CLASS/* with PATH/val and PATH/test if there are.

    `path`: the folder. Gray where all images are gray, else RGB. What is not given of validation and test is cut from
    the other images. Decoded once, into a store under the data folder; it is renewed when a file changes (path, size
    or time), and broken images are found then, in all splits.
    """

    path: Path | None = None

    def splits(self) -> Splits:
        return self.stored().splits("folder", self.limit, self.seed)

    def test(self) -> Images:
        return self.stored().images("test")

    def where(self) -> str:
        return str(self.path or "data.path, which is not set")

    def available(self) -> bool:
        return self.path is not None and self.path.expanduser().is_dir()

    def stored(self) -> store.Store:
        """The store of the decoded images, made where there is none."""
        if self.path is None or not self.path.expanduser().is_dir():
            given = "needs data.path" if self.path is None else f"has data.path = {self.path}, which is no folder"
            raise BadInput(f"folder {given}: set it to a folder that holds one folder of images a class")
        root = self.path.expanduser().resolve()
        tree = listed(root)
        stats = [((root / f).stat(), f) for classes in tree.values() for files in classes.values() for f in files]
        made_of = [(str(f), stat.st_size, stat.st_mtime_ns) for stat, f in stats]
        name = f"{root.name}-{store.key(made_of, self.size, self.val_fraction, self.seed)}"
        return store.stored(name, lambda: self.content(root, tree))

    def content(self, root: Path, tree: Tree) -> store.Content:
        classes = sorted(tree["train"])
        files, labels = self.plan(tree, classes)
        with ThreadPoolExecutor() as pool:
            probes = [probe for probe in pool.map(probed, (root / file for file in files)) if probe]
        channels = 1 if probes and all(gray for gray, _ in probes) else 3
        sizes = sorted({size for _, size in probes})
        if self.size is None and len(sizes) > 1:
            raise BadInput(
                f"images in {root} have {len(sizes)} sizes, from {sizes[0]} to {sizes[-1]} (width, height): set data.size "
                "to the pixels a side that all shall have, such as 32"
            )
        width, height = (self.size, self.size) if self.size else sizes[0] if sizes else (1, 1)
        shape = (height, width, channels)
        return store.Content(classes, labels, shape, decoded(root, files, self.size, shape))

    def plan(self, tree: Tree, classes: Sequence[str]) -> tuple[list[Path], dict[str, Int64[np.ndarray, " _"]]]:
        """All files in the order of the splits, shuffled within each, and the labels of each split."""
        files = {split: [f for name in classes for f in tree[split].get(name, ())] for split in tree}
        y = {s: np.repeat(np.arange(len(classes)), [len(tree[s].get(name, ())) for name in classes]) for s in tree}
        rows = {split: (split, shuffled(len(y[split]), self.seed)) for split in tree}
        lacking = [split for split in ("val", "test") if split not in tree]
        if lacking:
            indices = cut(y["train"], classes, self.val_fraction, len(lacking), self.seed)
            rows |= {split: ("train", index) for split, index in zip(("train", *lacking), indices, strict=True)}
        ordered = [files[source][i] for source, index in rows.values() for i in index]
        return ordered, {split: y[source][index] for split, (source, index) in rows.items()}


def listed(root: Path) -> Tree:
    """The image files of a folder; BadInput where there are not at least two classes, or one without images."""
    apart = bool(folders(root / "train"))
    tree: Tree = {}
    for split in ("train", "val", "test") if apart else ("train",):
        place = root / split if apart else root
        if split == "train" or place.is_dir():
            tree[split] = {name: files_in(root, place / name) for name in folders(place)}
    place, known = (root / "train" if apart else root), sorted(tree["train"])
    if len(known) < 2:
        raise BadInput(
            f"{place} holds {f'one class, {known[0]!r}' if known else 'no classes'}; a network needs two at least, "
            "each a folder of images"
        )
    for split, classes in tree.items():
        for name, files in classes.items():
            if name not in known:
                raise BadInput(f"class {name!r} in {root / split} is none of {place}{suggest(name, known)}")
            if not files:
                raise BadInput(
                    f"class {name!r} in {root / split if apart else root} has no images ({', '.join(SUFFIXES)}): "
                    "add some or remove its folder"
                )
    return tree


def folders(place: Path) -> list[str]:
    """Names of the folders in a folder, hidden ones left out; none where there is no such folder."""
    if not place.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith("."))


def files_in(root: Path, place: Path) -> list[Path]:
    """Image files in a folder and the folders in it, in order, relative to `root`."""
    found = [Path(at) / name for at, _, names in os.walk(place) for name in names if not name.startswith(".")]
    return sorted(file.relative_to(root) for file in found if file.suffix.lower() in SUFFIXES)


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
