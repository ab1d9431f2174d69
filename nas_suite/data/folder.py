"""The data set `folder`: your own pictures, one folder a class."""

import os
from dataclasses import dataclass
from pathlib import Path

from nas_suite.data import store
from nas_suite.data.images import Images, Splits
from nas_suite.data.pictures import Pictures, Tree
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput, suggest

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


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
        return Pictures(root, listed(root), self, ("val", "test")).stored()


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
