"""The data set `npz`: arrays of images and labels in one file of numpy's."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from nas_suite.data import store
from nas_suite.data.images import CHUNK, Images, Splits, assemble, check_labels, cut, resized
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput

WANTED = "x and y, or x_train, y_train, x_test and y_test (and x_val, y_val)"
DAMAGE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Rows:
    """Where a split comes from: the rows `index` of the array `x`, and their labels."""

    x: str
    index: Int64[np.ndarray, " n"]
    y: Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Npz(DataSet):
    """Your own arrays: an npz file of x_train, y_train, x_test, y_test, and x_val, y_val if you have them; or of x, y.

    `path`: the file. x: uint8, (n, h, w) or (n, h, w, 1 or 3); y: whole numbers from 0. Names of the classes may be
    given in an array of text, `classes`. Validation is cut from the training images, from x the test as well.
    """

    path: Path | None = None

    def splits(self) -> Splits:
        arrays = self.arrays()
        classes, rows = self.plan(arrays)
        if arrays.bytes(rows) > store.LARGE:
            return self.stored(arrays, classes, rows).splits("npz", self.limit, self.seed)
        train, val = (self.images(arrays, rows[split]) for split in ("train", "val"))
        return assemble("npz", classes, train, val, self.limit, self.seed)

    def test(self) -> Images:
        arrays = self.arrays()
        classes, rows = self.plan(arrays)
        if arrays.bytes(rows) > store.LARGE:
            return self.stored(arrays, classes, rows).images("test")
        return self.images(arrays, rows["test"])

    def where(self) -> str:
        return str(self.path or "data.path, which is not set")

    def available(self) -> bool:
        return self.path is not None and self.path.expanduser().is_file()

    def arrays(self) -> "Arrays":
        if self.path is None or not self.path.expanduser().is_file():
            given = "needs data.path" if self.path is None else f"has data.path = {self.path}, which is no file"
            raise BadInput(f"npz {given}: set it to an npz file with the arrays {WANTED}")
        return Arrays(self.path.expanduser())

    def plan(self, arrays: "Arrays") -> tuple[tuple[str, ...], dict[str, Rows]]:
        """The classes, and where each split comes from; everything is checked but the pixels."""
        given = arrays.given()
        arrays.check_shapes(list(given.values()), any_size=self.size is not None)
        names = arrays.classes()
        y = {"train": arrays.labels(given["train"], None if names is None else len(names))}
        classes = names or tuple(str(label) for label in range(int(y["train"].max()) + 1))
        if len(found := np.unique(y["train"])) < 2:
            what = f"y{given['train'][1:]} in {arrays.file} holds one class, {classes[found[0]]!r}"
            raise BadInput(f"{what}; a network needs two at least")
        y |= {split: arrays.labels(x, len(classes)) for split, x in given.items() if split != "train"}
        rows = {split: Rows(x, np.arange(len(y[split])), y[split]) for split, x in given.items()}
        lacking = [split for split in ("val", "test") if split not in given]
        if lacking:
            indices = cut(y["train"], classes, self.val_fraction, len(lacking), self.seed)
            for split, index in zip(("train", *lacking), indices, strict=True):
                rows[split] = Rows(given["train"], index, y["train"][index])
        return classes, rows

    def images(self, arrays: "Arrays", rows: Rows) -> Images:
        return Images.of(resized(arrays.pixels(rows.x)[rows.index], self.size), rows.y)

    def stored(self, arrays: "Arrays", classes: tuple[str, ...], rows: Mapping[str, Rows]) -> store.Store:
        """The images in a store, from where they are mapped."""

        def chunks() -> Iterator[UInt8[np.ndarray, "_ h w c"]]:
            for part in rows.values():
                x = arrays.pixels(part.x)
                for index in np.array_split(part.index, len(part.index) * x[0].size // CHUNK + 1):
                    yield resized(x[index], self.size)

        def content() -> store.Content:
            height, width, channels = arrays.shape(rows["train"].x)[1:]
            shape = (self.size or height, self.size or width, channels)
            return store.Content(classes, {split: part.y for split, part in rows.items()}, shape, chunks())

        file, stat = arrays.file.resolve(), arrays.file.stat()
        made_of = store.key(str(file), stat.st_size, stat.st_mtime_ns, self.size, self.val_fraction, self.seed)
        return store.stored(f"{file.stem}-{made_of}", content)


@dataclass(frozen=True)
class Arrays:
    """An npz file; nothing in it is ever unpickled."""

    file: Path

    def headers(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Array name to shape and type; no contents are read."""
        try:
            with zipfile.ZipFile(self.file) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                return {name.removesuffix(".npy"): header(archive, name) for name in names}
        except DAMAGE as error:
            raise BadInput(f"{self.file} is no npz file or damaged ({error}): write one with {WANTED}") from None

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        try:
            with np.load(self.file, allow_pickle=False) as arrays:
                return arrays[name]
        except DAMAGE as error:
            raise BadInput(f"{name} in {self.file} cannot be read ({error}): write the file anew") from None

    def given(self) -> dict[str, str]:
        """Split to the name of its images; BadInput where an array is lacking."""
        known = self.headers()
        given = {split: f"x_{split}" for split in ("train", "val", "test")} if "x_train" in known else {"train": "x"}
        if not {"x_val", "y_val"} & known.keys():
            given.pop("val", None)
        lacking = [name for x in given.values() for name in (x, f"y{x[1:]}") if name not in known]
        if lacking:
            raise BadInput(
                f"{self.file} holds {', '.join(known) or 'no arrays'}, but no {', '.join(lacking)}: it must hold {WANTED}"
            )
        return given

    def shape(self, name: str) -> tuple[int, int, int, int]:
        """(images, height, width, channels) of an array of images; BadInput where it is none."""
        shape, dtype = self.headers()[name]
        if dtype != np.uint8 or len(shape) not in (3, 4) or 0 in shape or (*shape, 1)[3] not in (1, 3):
            raise BadInput(
                f"{name} in {self.file} is {dtype} of shape {shape}; images must be uint8, 0 to 255, "
                "of shape (images, height, width) or (images, height, width, 1 or 3)"
            )
        images, height, width, channels = (*shape, 1)[:4]
        return images, height, width, channels

    def check_shapes(self, names: list[str], any_size: bool) -> None:
        """BadInput unless all have equally many channels and, but for `any_size`, pixels."""
        shapes = {name: self.shape(name)[3 if any_size else 1 :] for name in names}
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {self.shape(name)[1:]}" for name in names)
            raise BadInput(
                f"images in {self.file} differ in (height, width, channels): {listed}; make the channels equal, "
                "and for sizes set data.size to the pixels a side that all shall have"
            )

    def bytes(self, rows: Mapping[str, Rows]) -> int:
        """Bytes of all pixels."""
        return sum(math.prod(self.shape(name)) for name in {part.x for part in rows.values()})

    def pixels(self, name: str) -> UInt8[np.ndarray, "n h w c"]:
        return self.read(name).reshape(self.shape(name))

    def labels(self, images: str, classes: int | None) -> Int64[np.ndarray, " n"]:
        """The labels of the array `images`; BadInput where they are none (`images.check_labels`)."""
        name = f"y{images[1:]}"
        y = self.read(name)
        check_labels(f"{name} in {self.file}", y, self.shape(images)[0], classes)
        return y.astype(np.int64)

    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, if the file gives them."""
        if "classes" not in self.headers():
            return None
        names = self.read("classes")
        if names.dtype.kind != "U" or names.ndim != 1 or len(set(names.tolist())) != names.size:
            raise BadInput(f"classes in {self.file} must be distinct names, not {names.dtype} of shape {names.shape}")
        return tuple(names.tolist())


def header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in a zip archive; ValueError where it is none or holds objects."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{name.removesuffix('.npy')} holds Python objects, only numbers and text are read")
    return shape, dtype
