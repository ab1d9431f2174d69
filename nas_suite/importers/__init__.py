"""The benchmarks that can be imported: where their files come from, and which module reads them; one entry a benchmark."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nas_suite.errors import BadInput, suggest

if TYPE_CHECKING:
    from nas_suite.tables import Draft

Progress: TypeAlias = Callable[[int, int], None]
"""Told (bytes or rows that are done, in all)."""


@dataclass(frozen=True)
class Original:
    """A published file, and where it can be downloaded by itself; what nobody tells of it is left out."""

    file: str
    url: str = ""
    sha256: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Published:
    """A published benchmark. `reader` is `module:function`, which takes (file, partial, progress) and returns a `Draft`."""

    name: str
    about: str
    space: str
    reader: str
    files: tuple[Original, ...]
    """Each of which holds a table, the preferred one first."""
    home: str
    """Where its makers tell of it."""

    def read(self, file: Path, partial: bool, progress: Progress) -> "Draft":
        """The table that a file holds; BadInput where it is not one of this benchmark's, cut short or damaged."""
        module, _, function = self.reader.partition(":")
        return getattr(importlib.import_module(module), function)(file, partial, progress)


NB101 = Published(
    "nb101",
    "NAS-Bench-101: accuracies on CIFAR-10 of all 423,624 cells, three trainings each",
    "nasbench101",
    "nas_suite.importers.nb101:read",
    (
        Original(
            "nasbench_only108.tfrecord",
            "https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord",
            "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",
        ),
        Original(
            "nasbench_full.tfrecord",
            "https://storage.googleapis.com/nasbench/nasbench_full.tfrecord",
            "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",
        ),
    ),
    "https://github.com/google-research/nasbench",
)
"""The sums are those of its README."""

PUBLISHED: dict[str, Published] = {found.name: found for found in (NB101,)}


def published(name: str) -> Published:
    if name not in PUBLISHED:
        raise BadInput(f"unknown benchmark {name!r}{suggest(name, PUBLISHED)}")
    return PUBLISHED[name]
