"""NAS-Bench-201's columns, each checked, and the table that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from nas_suite.edgecells import EDGES, OPERATIONS, numbered, written
from nas_suite.errors import BadInput
from nas_suite.tables import SPLITS, Column, Draft, accuracy
from nas_suite.words import plural

DATA = ("cifar10", "cifar100", "ImageNet16-120")
CELLS = len(OPERATIONS) ** len(EDGES)
HALVES = {
    ("cifar10", "val"): "of half of the training images, after training on the other half",
    ("cifar10", "test"): "of all test images, after training on all training images",
    ("cifar100", "val"): "of a half of the test images",
    ("cifar100", "test"): "of the other half of the test images",
    ("ImageNet16-120", "val"): "of a half of the validation images",
    ("ImageNet16-120", "test"): "of the other half of the validation images",
}
"""The benchmark's splits (D-X-Y/NAS-Bench-201, README.md and api_utils.py)."""

COSTS = {
    "train_time": ("s", "200 epochs of training; on cifar10 with half of the training images"),
    "latency_gpu": ("ms", "a batch of 256 images"),
    "params": (
        "parameters",
        "as published; of some cells it is the number of another one, which the benchmark took for the same",
    ),
    "flops": ("FLOPs", "as published: multiply-adds, and the classifier's bias"),
}
Row: TypeAlias = tuple[Column, Shaped[np.ndarray, "a ..."]]
Split: TypeAlias = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Found:
    """What a file holds, and where it is from."""

    archs: UInt8[np.ndarray, "a v"]
    columns: Sequence[Row]
    source: str = ""
    licence: str = "MIT (NATS-Bench)"
    version: str = ""


def shares(where: str, data: str, split: Split, epochs: int, percent: Float[np.ndarray, "a ..."]) -> Row:
    """A column of accuracies; BadInput names the first row that is no percentage."""
    column = accuracy(data, split, epochs, HALVES.get((data, split), ""))
    check(where, column, percent, (percent >= 0) & (percent <= 100), "a percentage of 0 to 100")
    return column, percent / 100


def costs(where: str, data: str, name: str, values: Float[np.ndarray, "a ..."]) -> Row:
    """A column of `COSTS`, in their units; BadInput names the first row that is negative or infinite."""
    unit, about = COSTS[name]
    column = Column(f"{data}/{name}", unit, about, data=data)
    check(where, column, values, np.isfinite(values) & (values >= 0), "a number of 0 or more")
    return column, values


def check(where: str, column: Column, values: np.ndarray, fine: np.ndarray, wanted: str) -> None:
    wrong = np.argwhere(~(fine | np.isnan(values)))
    if len(wrong):
        raise BadInput(f"{where}: {column.name} of row {wrong[0][0]} is {values[tuple(wrong[0])]:g}, not {wanted}")


def draft(where: str, found: Found, partial: bool) -> Draft:
    """The table; BadInput where a cell has two rows or, but for `partial`, a cell or its accuracy is lacking."""
    archs = found.archs
    if archs.ndim != 2 or archs.shape[1] != len(EDGES) or not len(archs):
        raise BadInput(f"{where}: architectures are {archs.shape}, not rows of six operations")
    if len(wrong := np.flatnonzero((archs >= len(OPERATIONS)).any(1))):
        told = archs[wrong[0]].tolist()
        raise BadInput(f"{where}: architecture of row {wrong[0]} is {told}, not six operations of 0 to {len(OPERATIONS) - 1}")
    _, first, cell = np.unique(archs, axis=0, return_index=True, return_inverse=True)
    if len(again := np.flatnonzero((owner := first[cell.reshape(-1)]) != np.arange(len(archs)))):
        of = f"row {again[0]} is of the cell of row {owner[again[0]]}"
        raise BadInput(f"{where}: {of}; {plural(len(again), 'row')} too many: get it again from where it was published")
    lacking = lacks(found)
    if lacking and not partial:
        raise BadInput(f"{where} is not whole: {lacking}; get it again, or take what there is as a partial table (--partial)")
    return Draft(
        "nb201", "nasbench201", archs, (*found.columns, numbers(archs)), found.version,
        about=f"NAS-Bench-201 (Dong and Yang, ICLR 2020): {len(archs):,} cells trained on {held(found.columns)}",
        source=found.source, licence=found.licence, partial=bool(lacking),
    )  # fmt: skip


def held(columns: Sequence[Row]) -> str:
    """The data sets that there are accuracies of, in words."""
    *most, last = dict.fromkeys(column.data for column, _ in columns if column.split) or ("no data set",)
    return f"{', '.join(most)} and {last}" if most else last


def lacks(found: Found) -> str:
    """What a whole table would have and this has not; of each data set the first accuracy, as `Table.metric` finds it."""
    if len(found.archs) < CELLS:
        return f"{len(found.archs):,} of {CELLS:,} cells"
    accuracies = [(column, values) for column, values in found.columns if column.split]
    for data in dict.fromkeys(column.data for column, _ in accuracies):
        column, values = min(
            ((column, values) for column, values in accuracies if column.data == data),
            key=lambda row: (SPLITS.index(row[0].split), -row[0].epochs),
        )
        absent = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).any(1))
        if len(absent):
            first = written(tuple(found.archs[absent[0]].tolist()))
            return f"no {column.name} of {plural(len(absent), 'cell')}, the first of them {first}"
    return "" if accuracies else "no accuracies"


def numbers(archs: UInt8[np.ndarray, "a v"]) -> Row:
    """The column of the cells' places in the benchmark's own order."""
    places = {bytes(arch): place for place, arch in enumerate(numbered())}
    return Column("index", "", "the cell's number in the benchmark"), np.array([places[arch.tobytes()] for arch in archs])


def ragged(rows: Sequence[Sequence[float]]) -> Float[np.ndarray, "a r"]:
    """Rows of different lengths, filled up with NaN."""
    filled = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for at, row in enumerate(rows):
        filled[at, : len(row)] = row
    return filled
