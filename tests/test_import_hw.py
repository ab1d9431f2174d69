"""HW-NAS-Bench: the real numbers, the official file in its true structure, and what is refused and why."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_suite import tables
from nas_suite.edgecells import numbered, written
from nas_suite.errors import BadInput
from nas_suite.importers import published
from nas_suite.importers.hw import METRICS
from nas_suite.tables import Draft

DATA = ("cifar10", "cifar100", "ImageNet16-120")
CELLS = len(numbered())


def read(file: Path, partial: bool = False) -> Draft:
    return published("hw-nas-bench").read(file, partial, lambda done, total: None)


def numbers(cells: int = CELLS) -> np.ndarray:
    values = np.random.default_rng(0).uniform(0.1, 9, (len(DATA), cells, len(METRICS)))
    values[:, ::3, METRICS.index("edgetpu_latency")] = -1
    return values


def official(cells: int = CELLS, as_list: Callable[[np.ndarray], Any] = np.ndarray.tolist) -> dict[str, Any]:
    """The official file's dict: lists, or arrays of numpy's, of all cells (the benchmark's API, query_by_index)."""
    values = numbers(cells)
    space = {}
    for at, data in enumerate(DATA):
        configs = [
            {"name": "infer.tiny", "C": 16, "N": 5, "arch_str": written(arch), "num_classes": 10} for arch in numbered()[:cells]
        ]
        space[data] = {"config": configs, **{name: as_list(values[at, :, i]) for i, name in enumerate(METRICS)}}
    return {"nasbench201": space, "fbnet": {"edgegpu_latency": {"ConvNorm_H32": 1.0}}}


def saved(folder: Path, found: Any) -> Path:
    file = folder / "HW-NAS-Bench-v1_0.pickle"
    file.write_bytes(pickle.dumps(found, 3))
    return file


def arrays(folder: Path, **changed: Any) -> Path:
    file = folder / "hw.npz"
    given = {"values": numbers(), "datasets": np.array(DATA), "metrics": np.array(METRICS), **changed}
    np.savez(file, **{name: array for name, array in given.items() if array is not None})
    return file


def test_the_real_numbers_with_their_units(shared_data: Path) -> None:
    table = tables.write(read(shared_data / "hw" / "hw_nas_bench_nb201.npz"))
    assert (len(table), table.space, table.manifest["partial"]) == (15_625, "nasbench201", False)
    assert len(table.columns) == 30
    row = table.find(numbered()[0])
    assert row is not None
    expected = {  # what the benchmark's README prints of cell 0 on cifar10
        "edgegpu_latency": (5.807418537139893, "ms"), "edgegpu_energy": (24.226614330768584, "mJ"),
        "raspi4_latency": (10.481976820010459, "ms"), "edgetpu_latency": (0.9571811309997429, "ms"),
        "pixel3_latency": (3.60585, "ms"), "eyeriss_latency": (3.64562, "ms"), "eyeriss_energy": (0.6872827645, "mJ"),
        "fpga_latency": (2.57296, "ms"), "fpga_energy": (18.01072, "mJ"),
    }  # fmt: skip
    for name, (value, unit) in expected.items():
        assert table.values(f"cifar10/{name}")[row] == pytest.approx(value, rel=1e-9)
        assert table.columns[f"cifar10/{name}"].unit == unit
    lacking = [int(np.isnan(table.values(name)).sum()) for name in table.columns]
    assert sum(lacking) == sum(np.isnan(table.values(f"{data}/edgetpu_latency")).sum() for data in DATA) == 14_097
    with pytest.raises(BadInput, match="holds no accuracies: name the column that is meant"):
        table.metric()


@pytest.mark.parametrize("as_list", [np.ndarray.tolist, np.asarray, lambda array: list(array)])
def test_the_official_file_is_read_whether_of_lists_or_arrays(as_list: Callable[[np.ndarray], Any], tmp_path: Path) -> None:
    draft = read(saved(tmp_path, official(900, as_list)), partial=True)
    same = read(arrays(tmp_path, values=numbers(900)), partial=True)
    assert draft.archs.tolist() == same.archs.tolist() == [list(arch) for arch in numbered()[:900]]
    for (column, values), (other, others) in zip(draft.columns, same.columns, strict=True):
        assert column == other
        assert np.array_equal(values, others, equal_nan=True)
    found = {column.name: values for column, values in draft.columns}
    assert np.isnan(found["cifar100/edgetpu_latency"][::3]).all()
    assert np.isfinite(found["cifar100/edgetpu_latency"][1::3]).all()


def test_fewer_cells_are_refused_but_as_a_part(tmp_path: Path) -> None:
    for file in (saved(tmp_path, official(15_624)), arrays(tmp_path, values=numbers(15_624))):
        with pytest.raises(BadInput, match=r"is not whole: 15,624 of 15,625 cells.*--partial"):
            read(file)
        assert read(file, partial=True).partial
    assert not read(saved(tmp_path, official())).partial


def with_metric(name: str, values: Any) -> dict[str, Any]:
    found = official(9)
    found["nasbench201"]["cifar100"][name] = values
    return found


def exchanged() -> dict[str, Any]:
    found = official(9)
    configs = found["nasbench201"]["cifar10"]["config"]
    configs[3], configs[4] = configs[4], configs[3]
    return found


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([1], r"has no dict 'nasbench201'"),
        ({"nasbench201": {"cifar10": 1}}, r"has no dict 'cifar10'"),
        ({"nasbench201": {}}, r"tells of no cells"),
        ({"nasbench201": {"mnist": {"raspi4_latency": [1.0]}}}, r"unknown data set 'mnist'"),
        (with_metric("raspi5_latency", [1.0] * 9), r"cifar100 has a metric 'raspi5_latency' that is not known; did you mean"),
        (with_metric("raspi4_latency", [1.0] * 8), r"tells of 8 or 9 cells, not of 15625 throughout"),
        (with_metric("raspi4_latency", [1.0] * 8 + [-2.0]), r"raspi4_latency on cifar100 of cell 8 is -2, not a number of 0"),
        (with_metric("raspi4_latency", [1.0] * 8 + [float("inf")]), r"of cell 8 is inf"),
        (with_metric("raspi4_latency", ["fast"] * 9), r"raspi4_latency on cifar100 are not numbers"),
        (exchanged(), r"cifar10: cell 3 is '\|.*, not the benchmark's cell of this number"),
    ],
)
def test_official_files_that_do_not_fit_are_refused_saying_where(found: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        read(saved(tmp_path, found), partial=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"values": None}, r"holds datasets, metrics, but no values"),
        ({"values": numbers()[:2]}, r"values in .* are \(2, 15625, 10\), not \(3, cells, 10\)"),
        ({"values": numbers()[:, 0]}, r"values in .* are \(3, 10\)"),
        ({"metrics": np.array([*METRICS[:-1], "fpga_power"])}, r"a metric 'fpga_power' that is not known"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_saying_where(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        read(arrays(tmp_path, **changed))


class Runs:
    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.place,)


def test_a_pickle_that_would_run_something_does_not(tmp_path: Path) -> None:
    foul = official(9)
    foul["nasbench201"]["cifar10"]["config"][5] = Runs(tmp_path / "made")
    with pytest.raises(BadInput, match=r"it asks for posix\.mkdir, which no table needs, and nothing of it was run"):
        read(saved(tmp_path, foul), partial=True)
    assert not (tmp_path / "made").exists()


def test_cut_damaged_foreign_and_absent_files_are_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path, official(9)).read_bytes()
    packed = arrays(tmp_path).read_bytes()
    middle = len(packed) // 2
    for data in (
        whole[:-100],
        packed[:-100],
        packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :],
        b"hello",
        b"",
    ):
        file = tmp_path / "bad.pickle"
        file.write_bytes(data)
        with pytest.raises(BadInput, match=r"bad\.pickle is cut short, damaged"):
            read(file, partial=True)
    with pytest.raises(BadInput, match=r"cannot be read \(No such file"):
        read(tmp_path / "absent")
