"""HW-NAS-Bench into a table: latency and energy of NAS-Bench-201's networks on six devices."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nas_suite.edgecells import numbered, written
from nas_suite.errors import BadInput, suggest
from nas_suite.foreign import npz, unpickled
from nas_suite.importers import Progress
from nas_suite.tables import Column, Draft

DATA = ("cifar10", "cifar100", "ImageNet16-120")
DEVICES = {
    "edgegpu": "an edge GPU",
    "raspi4": "a Raspberry Pi 4",
    "edgetpu": "an edge TPU, which cannot run every network",
    "pixel3": "a Pixel 3",
    "eyeriss": "Eyeriss",
    "fpga": "an FPGA",
}
UNITS = {"latency": "ms", "energy": "mJ", "arithmetic_intensity": ""}
METRICS = (
    "edgegpu_latency", "edgegpu_energy", "raspi4_latency", "edgetpu_latency", "pixel3_latency", "eyeriss_latency",
    "eyeriss_energy", "eyeriss_arithmetic_intensity", "fpga_latency", "fpga_energy",
)  # fmt: skip
CANNOT = -1.0
"""What stands where a device cannot run a network."""


def read(file: Path, partial: bool, progress: Progress) -> Draft:
    """The table of HW-NAS-Bench-v1_0.pickle, or of the same numbers in an npz file: `values` (data sets, cells, metrics), and
    the names `datasets` and `metrics`. Rows are the cells in NAS-Bench-201's order. BadInput says what does not fit."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(2)
            opened.seek(0)
            found = of_npz(file) if start == b"PK" else of_pickle(str(file), unpickled(opened, str(file)))
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror or error})") from None
    rows = {len(values) for _, values in found}
    if len(rows) != 1 or not 0 < max(rows) <= len(numbered()):
        raise BadInput(
            f"{file} tells of {' or '.join(map(str, sorted(rows))) or 'no'} cells, not of {len(numbered())} throughout"
        )
    cells = max(rows)
    if cells < len(numbered()) and not partial:
        said = f"{cells:,} of {len(numbered()):,} cells; get it again, or take what there is as a partial table (--partial)"
        raise BadInput(f"{file} is not whole: {said}")
    progress(cells, cells)
    return Draft(
        "hw-nas-bench", "nasbench201", np.array(numbered()[:cells], np.uint8), found, "1.0",
        about="HW-NAS-Bench: NAS-Bench-201's networks on six devices (Li et al., ICLR 2021)",
        source=file.name, licence="MIT", partial=cells < len(numbered()),
    )  # fmt: skip


def of_npz(file: Path) -> list[tuple[Column, Float[np.ndarray, " a"]]]:
    arrays = npz(file)
    lacking = [name for name in ("values", "datasets", "metrics") if name not in arrays]
    if lacking:
        raise BadInput(f"{file} holds {', '.join(arrays) or 'nothing'}, but no {' and no '.join(lacking)}")
    values, names, metrics = arrays["values"], arrays["datasets"].tolist(), arrays["metrics"].tolist()
    if values.ndim != 3 or values.shape[::2] != (len(names), len(metrics)):
        raise BadInput(f"values in {file} are {values.shape}, not ({len(names)}, cells, {len(metrics)})")
    pairs = ((data, metric) for data in range(len(names)) for metric in range(len(metrics)))
    return [column(str(file), names[data], metrics[metric], values[data, :, metric]) for data, metric in pairs]


def of_pickle(where: str, found: Any) -> list[tuple[Column, Float[np.ndarray, " a"]]]:
    """The official file: space to data set to metric to a number a cell, and in `config` what each cell is."""
    space = part(where, found, "nasbench201")
    columns = []
    for data in space:
        for metric, values in part(where, space, data).items():
            if metric == "config":
                check_cells(f"{where}, {data}", values)
            else:
                columns.append(column(where, data, metric, values))
    return columns


def part(where: str, found: Any, key: Any) -> Mapping[Any, Any]:
    if not isinstance(found, dict) or not isinstance(found.get(key), dict):
        raise BadInput(f"{where} has no dict {key!r}; HW-NAS-Bench-v1_0.pickle has, by space, then by data set")
    return found[key]


def check_cells(where: str, configs: Any) -> None:
    """BadInput where a cell is not the one that NAS-Bench-201 gives its number."""
    for place, config in each(configs):
        told = config.get("arch_str") if isinstance(config, dict) else config
        if place not in range(len(numbered())) or told != written(numbered()[place]):
            raise BadInput(f"{where}: cell {place} is {told!r}, not the benchmark's cell of this number")


def each(configs: Any) -> Iterator[tuple[Any, Any]]:
    """Numbers and cells, however they are listed."""
    return iter(configs.items()) if isinstance(configs, dict) else enumerate(np.asarray(configs, object).tolist())


def column(where: str, data: Any, metric: Any, values: Any) -> tuple[Column, Float[np.ndarray, " a"]]:
    """A metric on a data set, NaN where the device cannot run the network; BadInput names what is not known or negative."""
    if data not in DATA:
        raise BadInput(f"{where}: unknown data set {data!r}{suggest(str(data), DATA)}")
    if metric not in METRICS:
        raise BadInput(f"{where}: {data} has a metric {metric!r} that is not known{suggest(str(metric), METRICS)}")
    try:
        numbers = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where}: {metric} on {data} are not numbers ({error})") from None
    numbers = np.where(numbers == CANNOT, np.nan, numbers)
    wrong = np.flatnonzero(np.isinf(numbers) | (numbers < 0))
    if len(wrong):
        raise BadInput(f"{where}: {metric} on {data} of cell {wrong[0]} is {numbers[wrong[0]]:g}, not a number of 0 or more")
    device, _, what = metric.partition("_")
    return Column(f"{data}/{metric}", UNITS[what], f"on {DEVICES[device]}", data=data), numbers
