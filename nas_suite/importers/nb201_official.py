"""NAS-Bench-201's own files: NATS-Bench's archive of a pickle a cell, and the files of either name that hold all cells."""

import bz2
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite.edgecells import EDGES, numbered, written
from nas_suite.errors import BadInput, suggest
from nas_suite.foreign import DAMAGE, damaged, torch_unpickled, unpickled
from nas_suite.importers import Progress
from nas_suite.importers.nb201_table import CELLS, COSTS, DATA, Found, Row, costs, ragged, shares
from nas_suite.space import Arch

HYPER = {"200": 200, "12": 12, "full": 200, "less": 12}
"""The epochs of a training recipe, as NATS-Bench and before it NAS-Bench-201 name it (api_topology.py, api_201.py)."""

TRIALS = {
    ("cifar10", "val"): ("cifar10-valid", "x-valid"),
    ("cifar10", "test"): ("cifar10", "ori-test"),
    ("cifar100", "val"): ("cifar100", "x-valid"),
    ("cifar100", "test"): ("cifar100", "x-test"),
    ("ImageNet16-120", "val"): ("ImageNet16-120", "x-valid"),
    ("ImageNet16-120", "test"): ("ImageNet16-120", "x-test"),
}
"""In which trainings and under which name an accuracy is found (api_utils.py, remap_dataset_set_names)."""

ONE = re.compile(r"(?:.*/)?(\d{1,6})\.pickle\.pbz2")
"""The file of one cell, by its number."""


@dataclass(frozen=True)
class Cell:
    """What the files tell of a cell: accuracies in percent by seed, and costs."""

    arch: Arch
    accuracies: Mapping[tuple[str, str, int], list[float]]
    costs: Mapping[tuple[str, str], float]


def official(file: Path, progress: Progress) -> Found:
    """An archive of NATS-Bench's, unpacked or not, or a file of all cells."""
    cells: list[Cell] = []
    for index, where, recipes in records(file):
        cells.append(cell(index, where, recipes))
        progress(len(cells), CELLS)
    if not cells:
        raise BadInput(f"{file} holds no cells: no files such as 000284.pickle.pbz2")
    archs = np.array([one.arch for one in cells], np.uint8).reshape(-1, len(EDGES))
    release = re.search(r"v\d+_\d+-[0-9a-f]+", file.name)
    return Found(archs, columns(str(file), cells), file.name, version=release[0] if release else "")


def columns(where: str, cells: list[Cell]) -> list[Row]:
    """Accuracies that any cell has, then costs, data set by data set."""
    found: list[Row] = []
    for data in DATA:
        for split in ("val", "test"):
            for epochs in (200, 12):
                values = ragged([one.accuracies.get((data, split, epochs), ()) for one in cells])
                if values.size:
                    found.append(shares(where, data, split, epochs, values))
        for name in COSTS:
            values = np.array([one.costs.get((data, name), np.nan) for one in cells])
            if np.isfinite(values).any():
                found.append(costs(where, data, name, values))
    return found


def records(file: Path) -> Iterator[tuple[int, str, Any]]:
    """Of every cell its number, what to call it, and its trainings by recipe."""
    if file.is_dir():
        for path in sorted(file.iterdir()):
            if found := ONE.fullmatch(path.name):
                yield int(found[1]), str(path), decompressed(str(path), path.read_bytes())
    elif tarfile.is_tarfile(file):
        yield from packed(file)
    elif file.name.endswith(".pbz2"):
        try:
            with bz2.open(file) as opened:
                yield from together(str(file), unpickled(opened, str(file)))  # type: ignore[arg-type]
        except DAMAGE as error:
            raise error if isinstance(error, BadInput) else damaged(str(file), error) from None
    else:
        yield from together(str(file), torch_unpickled(file))


def packed(file: Path) -> Iterator[tuple[int, str, Any]]:
    """The cells of a tar archive; nothing is unpacked to the disk."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                found = ONE.fullmatch(member.name) if member.isfile() else None
                opened = archive.extractfile(member) if found else None
                if found and opened:
                    yield int(found[1]), f"{file}, {member.name}", decompressed(f"{file}, {member.name}", opened.read())
    except (*DAMAGE, tarfile.TarError) as error:
        raise error if isinstance(error, BadInput) else damaged(str(file), error) from None


def decompressed(where: str, data: bytes) -> Any:
    try:
        raw = bz2.decompress(data)
    except DAMAGE as error:
        raise damaged(where, error) from None
    return unpickled(io.BytesIO(raw), where)


def together(where: str, found: Any) -> Iterator[tuple[int, str, Any]]:
    """The cells of a file that holds all of them."""
    infos = item(where, found, "arch2infos")
    if not isinstance(infos, dict):
        raise BadInput(f"{where}: arch2infos is of type {type(infos).__name__}, not a dict of cells")
    for index, recipes in infos.items():
        if not isinstance(index, int):
            raise BadInput(f"{where}: arch2infos has a key {index!r}, not a cell's number")
        yield index, f"{where}, cell {index}", recipes


def cell(index: int, where: str, recipes: Any) -> Cell:
    """What counts of a cell's trainings; BadInput says what is not as it should be."""
    if not isinstance(recipes, dict) or not recipes:
        raise BadInput(f"{where} holds {type(recipes).__name__}, not trainings by recipe ({', '.join(HYPER)})")
    if not 0 <= index < CELLS:
        raise BadInput(f"{where}: there is no cell {index}, only 0 to {CELLS - 1}")
    accuracies: dict[tuple[str, str, int], list[float]] = {}
    spent: dict[tuple[str, str], float] = {}
    archs = set()
    for recipe, state in recipes.items():
        if recipe not in HYPER:
            raise BadInput(f"{where} has a recipe {recipe!r} that is not known{suggest(str(recipe), HYPER)}")
        archs.add(str(item(f"{where}, recipe {recipe}", state, "arch_str")))
        for (data, split), (trained, measured) in TRIALS.items():
            trials = trials_of(f"{where}, recipe {recipe}", state, trained)
            found = [last(name, trial, measured) for name, trial in trials]
            if found:
                accuracies[data, split, HYPER[recipe]] = found
            for name, value in costs_of(trials).items() if found and HYPER[recipe] == 200 else ():
                spent.setdefault((data, name), value)
    arch = numbered()[index]
    if archs != {written(arch)}:
        raise BadInput(f"{where} is of {' and '.join(sorted(archs))}; the benchmark's cell {index} is {written(arch)}")
    return Cell(arch, accuracies, spent)


def item(where: str, found: Any, key: Any) -> Any:
    if not isinstance(found, dict) or key not in found:
        raise BadInput(f"{where} has no {key!r}; it is not what the benchmark's makers publish")
    return found[key]


def trials_of(where: str, state: Any, trained: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The trainings on a data set, by seed, and what to call them."""
    results, seeds = (item(where, state, key) for key in ("all_results", "dataset_seed"))
    return [
        (f"{where}, {trained} with seed {seed}", item(where, results, (trained, seed)))
        for seed in sorted(item(where, seeds, trained) if trained in seeds else (), key=str)
    ]


def last(where: str, trial: Any, measured: str) -> float:
    """The accuracy after the last epoch, in percent."""
    epochs = item(where, trial, "epochs")
    value = item(where, item(where, trial, "eval_acc1es"), f"{measured}@{epochs - 1}")
    if not isinstance(value, float | int):
        raise BadInput(f"{where}: the accuracy {measured}@{epochs - 1} is {value!r}, not a number")
    return float(value)


def costs_of(trials: list[tuple[str, Mapping[str, Any]]]) -> dict[str, float]:
    """Means over the seeds of what takes time, the first seed's counts; what is not told is left out."""
    times, delays, counts = [], [], []
    for where, trial in trials:
        try:
            times += [sum(trial["train_times"].values())] if trial["train_times"] else []
            delays += [sum(trial["latency"]) / len(trial["latency"])] if trial["latency"] else []
            counts.append((round(1e6 * trial["params"]), round(1e6 * trial["flop"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"{where} tells of its costs otherwise than published ({type(error).__name__}: {error})") from None
    found = {"params": float(counts[0][0]), "flops": float(counts[0][1])}
    delays = [delay for delay in delays if delay > 0]
    if times:
        found["train_time"] = sum(times) / len(times)
    if delays:
        found["latency_gpu"] = 1000 * sum(delays) / len(delays)
    return found
