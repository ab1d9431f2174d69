"""The data set `lists`: pictures that text files name, a line `path label` each."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nas_suite.data import store
from nas_suite.data.images import Images, Splits, check_labels
from nas_suite.data.pictures import Pictures, Tree
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput, Missing
from nas_suite.words import plural

FORM = "`path label`, such as `n01560419/n01560419_100.JPEG 0`"
LINE = re.compile(r"(\S.*?)\s+([0-9]{1,9})")


class Line(NamedTuple):
    """A line of a list: its number from 1, the file as it is written, the label."""

    number: int
    file: str
    label: int


@dataclass(frozen=True)
class Lists(DataSet):
    """Pictures that text files name, a line `path label` each, as TF-NAS lists 100 classes of ImageNet.

    `path`: the folder that the lists' paths start from, `train_list` the list of the training images. Without `val_list`
    validation is cut from these. Without `test_list` there are no test images; `test_path` is the folder that its paths start
    from, where that is another. Labels are 0, 1, 2, …; a class is named by the folder of its images, where it has one to
    itself. Decoded once, as those of `folder`.
    """

    path: Path | None = None
    train_list: Path | None = None
    val_list: Path | None = None
    test_list: Path | None = None
    test_path: Path | None = None

    def splits(self) -> Splits:
        return self.stored().splits("lists", self.limit, self.seed)

    def test(self) -> Images:
        if reason := self.lacks_test():
            raise BadInput(reason)
        return self.stored().images("test")

    def lacks_test(self) -> str:
        if self.test_list is not None:
            return ""
        return (
            "lists has no test images: set data.test_list to a list of images that no other list names (and data.test_path "
            "to their folder, if it is another)"
        )

    def where(self) -> str:
        wanted = {"data.path": self.path, "data.train_list": self.train_list}
        unset = [name for name, given in wanted.items() if given is None]
        if unset:
            return f"{' and '.join(unset)}, which {'are' if len(unset) > 1 else 'is'} not set"
        return f"{self.path}, by {', '.join(map(str, self.files.values()))}"

    def available(self) -> bool:
        here = self.path is not None and self.path.expanduser().is_dir()
        return here and self.train_list is not None and all(file.is_file() for file in self.files.values())

    @property
    def files(self) -> dict[str, Path]:
        """Split to list, of those that are given."""
        given = {"train": self.train_list, "val": self.val_list, "test": self.test_list}
        return {split: file.expanduser() for split, file in given.items() if file is not None}

    def stored(self) -> store.Store:
        """The store of the decoded images, made where there is none; Missing where images are not where lists say."""
        if self.path is None or not self.path.expanduser().is_dir():
            given = "needs data.path" if self.path is None else f"has data.path = {self.path}, which is no folder"
            raise BadInput(f"lists {given}: set it to the folder that the lists' paths start from")
        if self.train_list is None:
            raise BadInput(f"lists needs data.train_list: set it to a file with a line {FORM} for each training image")
        root = self.path.expanduser().resolve()
        roots = {"test": self.test_path.expanduser().resolve()} if self.test_path else {}
        return Pictures(root, self.listed(root, roots), self, ("val",)).stored()

    def listed(self, root: Path, roots: Mapping[str, Path]) -> Tree:
        """The lists, checked: labels, images named twice, images that are not there. `roots` are the folders of splits whose
        images are elsewhere than in `root`."""
        lists = {split: read_list(file) for split, file in self.files.items()}
        labels = {split: np.array([line.label for line in lines]) for split, lines in lists.items()}
        train = lists["train"]
        classes = check_labels(str(self.files["train"]), labels["train"], len(train))
        if classes < 2:
            raise BadInput(f"{self.files['train']} has one class; a network needs two at least")
        for split, lines in lists.items():
            beyond = [line for line in lines if line.label >= classes]
            if beyond:
                raise BadInput(
                    f"{self.files[split]}, line {beyond[0].number}: label {beyond[0].label} is none of the training list's, "
                    f"0 … {classes - 1} ({len(beyond):,} such lines): number the classes alike in all lists"
                )
        placed = {split: [(line, roots.get(split, root) / line.file) for line in lines] for split, lines in lists.items()}
        self.check_files(placed)
        names = named(train, classes)
        tree: Tree = {split: {name: [] for name in names} for split in placed}
        for split, lines in placed.items():
            for line, file in lines:
                tree[split][names[line.label]].append(file)
        return tree

    def check_files(self, placed: Mapping[str, Sequence[tuple[Line, Path]]]) -> None:
        """BadInput where two lines name one image, Missing where an image is not there."""
        seen: dict[Path, str] = {}
        absent: list[str] = []
        for split, lines in placed.items():
            for line, file in lines:
                at = f"{self.files[split]}, line {line.number}"
                if file in seen:
                    raise BadInput(f"{at} names {line.file}, as {seen[file]} does: an image may stand in one line of all lists")
                seen[file] = at
                if not file.is_file():
                    absent.append(f"{file} ({at})")
        if absent:
            named = plural(len(seen), "image")
            raise Missing(
                f"{len(absent):,} of {named} that the lists name are not there, the first {absent[0]}: get them, "
                "or set data.path (of test images data.test_path) to the folder that the lists' paths start from"
            )


def read_list(file: Path) -> list[Line]:
    """The lines of a list; empty ones are passed over, and paths may hold spaces. BadInput where there is none, or where lines
    are not of the form: how many, and the first."""
    try:
        texts = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the list {file} cannot be read ({error}): it must be a text file of lines {FORM}") from None
    found, bad = [], []
    for number, text in enumerate(map(str.strip, texts), 1):
        if match := LINE.fullmatch(text):
            found.append(Line(number, match[1], int(match[2])))
        elif text:
            bad.append((number, text))
    if bad:
        raise BadInput(
            f"{file}, line {bad[0][0]}: {bad[0][1][:80]!r} is not of the form {FORM}, with labels 0, 1, 2, … ({len(bad):,} "
            f"such line{'s'[: len(bad) > 1]} of {len(found) + len(bad):,}): mend or remove"
        )
    if not found:
        raise BadInput(f"{file} names no image: it must have lines {FORM}")
    return found


def named(train: Sequence[Line], classes: int) -> list[str]:
    """A name for each label: the folder of its images where classes and folders go together one by one, else the number."""
    folders: dict[int, set[str]] = defaultdict(set)
    for line in train:
        folders[line.label].add(Path(line.file).parent.name)
    known = set().union(*folders.values())
    if len(known) == classes and all(len(some) == 1 and "" not in some for some in folders.values()):
        return [next(iter(folders[label])) for label in range(classes)]
    return [str(label) for label in range(classes)]
