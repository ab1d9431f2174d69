"""The benchmarks that can be imported: where their files come from, and which module reads them; one entry a benchmark."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nas_suite.errors import BadInput, suggest

if TYPE_CHECKING:
    from nas_suite.data.download import Source
    from nas_suite.tables import Draft

Progress: TypeAlias = Callable[[int, int], None]
"""Told (bytes or rows that are done, in all)."""


@dataclass(frozen=True)
class Published:
    """A published benchmark. `reader` is `module:function`, which takes (file, partial, progress) and returns a `Draft`."""

    name: str
    about: str
    space: str
    reader: str
    files: tuple[str, ...]
    """Names under which its files are known, the preferred one first."""
    home: str
    """Where its makers tell of it."""
    official: "Source | None" = None
    """Where the preferred file can be downloaded, with its checksum."""

    def read(self, file: Path, partial: bool, progress: Progress) -> "Draft":
        """The table that a file holds; BadInput where it is not one of this benchmark's, cut short or damaged."""
        module, _, function = self.reader.partition(":")
        return getattr(importlib.import_module(module), function)(file, partial, progress)


PUBLISHED: dict[str, Published] = {
    found.name: found
    for found in (
        Published(
            "macro",
            "NAS-Bench-Macro: 6,561 networks of eight layers on CIFAR-10, three trainings of 50 epochs each",
            "macro",
            "nas_suite.importers.macro:read",
            ("nas-bench-macro_cifar10.json", "nas_bench_macro.csv", "nas_bench_macro.csv.xz"),
            "github.com/xiusu/NAS-Bench-Macro",
        ),
    )
}


def published(name: str) -> Published:
    if name not in PUBLISHED:
        raise BadInput(f"unknown benchmark {name!r}{suggest(name, PUBLISHED)}")
    return PUBLISHED[name]
