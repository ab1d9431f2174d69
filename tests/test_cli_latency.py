"""`nas latency`: measured, shown, checked, imported, exported, listed; every refusal is one line."""

import csv
import json
import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timing
import torch
from command import nas
from test_import_luts import TFNAS_A, YAML

from nas_suite.cli.latency import complete_table, seconds
from nas_suite.errors import BadInput
from nas_suite.latency import backends, machine, shelf
from nas_suite.latency.noise import Noise
from nas_suite.latency.table import Fit, LatencyTable
from nas_suite.latency.timer import Reading

FIT = Fit(1.5, 0.25, 20, "tfnas", 0, 0.1, 0.05, 0.01, "2026-01-01")
BUSY = Noise("x", 1.0, 0.4, 0, 16, 0.5, 0.3)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Modules take a time by their size, at once; what is timed, and how, is noted."""
    asked: list[Any] = []

    def timed(module: torch.nn.Module, shape: tuple[int, ...], under: Any, *_: Any) -> Reading:
        asked.append(under)
        return Reading(1.0 + sum(p.numel() for p in module.parameters()) / 1e5, 0.001, 10)

    monkeypatch.setattr(backends, "timed", timed)
    return asked


@pytest.fixture
def mine() -> str:
    shelf.made(shelf.folder())
    timing.table().write(shelf.folder() / "mine.json")
    return "mine"


# --- build


def test_a_built_table_is_found_shown_and_listed(quick: list[Any]) -> None:
    said = nas("latency", "build", "tfnas", *timing.WORDS, "--batch", 2, "--threads", 2, "--json")
    data = said.data
    here = machine.called(torch.device("cpu"))
    assert data["conditions"] == {
        "device": here, "batch": 2, "threads": 2, "dtype": "fp32", "resolution": 16, "backend": "torch",
    }  # fmt: skip
    assert (data["noisy"], data["unit"], data["points"], data["fit"]) == (False, "ms", len(list(timing.SPACE.pieces())), None)
    assert {"governor", "clock_mhz", "versions", "system"} <= data["source"].keys()
    assert "nas latency calibrate tfnas_" in said.err
    assert {(under.batch, under.threads, under.dtype) for under in quick} == {(2, 2, "fp32")}
    name = Path(data["table"]).stem
    assert [table["name"] for table in nas("latency", "list", "--json").data] == [name]
    shown = nas("latency", "show", name, "--json").data
    low, high = shown["reachable_ms"]
    text = timing.SPACE.describe(timing.SPACE.sample(random.Random(0)))
    told = nas("latency", "show", name, "--arch", text, "--json").data
    assert low <= told["latency_ms"] <= high
    assert told["arch"] == text
    assert f"{told['latency_ms']:.4f} ms" in nas("latency", "show", name, "--arch", text).out
    again = nas("latency", "build", "tfnas", *timing.WORDS, "--batch", 2, "--threads", 2, "--json").data
    assert again["table"].endswith("-2.json")


def test_resolution_is_the_spaces_image_size(quick: list[Any], tmp_path: Path) -> None:
    words = ("mixpath-s4", "--set", "space.width=0.0625")
    data = nas("latency", "build", *words, "--resolution", 8, "--out", tmp_path / "t.json", "--json").data
    assert data["conditions"]["resolution"] == data["space"]["settings"]["image_size"] == 8
    said = nas("latency", "build", *words, "--resolution", 8, "--set", "space.image_size=16", "--out", tmp_path / "u.json")
    assert "--resolution 8 is not space.image_size = 16" in said.error
    assert "is already there" in nas("latency", "build", *words, "--resolution", 8, "--out", tmp_path / "t.json").error


def test_dtype_and_backend_and_seed_have_effect(quick: list[Any], tmp_path: Path) -> None:
    words = ("build", "mixpath-s4", "--set", "space.width=0.0625", "--resolution", 8)
    data = nas("latency", *words, "--dtype", "bf16", "--device", "cpu", "--out", tmp_path / "t.json", "--json").data
    assert data["conditions"]["dtype"] == quick[0].dtype == "bf16"
    assert nas("latency", *words, "--seed", 1, "--out", tmp_path / "u.json").code == 0


def test_a_busy_machine_is_said_to_be_one_and_the_table_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "timed", lambda *_: Reading(1.0, 0.5, 4, 0.4))
    words = ("build", "mixpath-s4", "--set", "space.width=0.0625", "--resolution", 8, "--out", tmp_path / "t.json")
    said = nas("latency", *words, "--json")
    assert said.data["noisy"] is True
    assert "noisy, not to be believed: 100% of the points did not settle; the processor was another's for 40%" in said.err
    assert "calibrate" not in said.err
    assert json.loads((tmp_path / "t.json").read_text())["noisy"] is True


def test_a_budget_measures_fewer_points(quick: list[Any], tmp_path: Path) -> None:
    words = ("build", "tfnas", *timing.WORDS, "--budget", "0.001s", "--out", tmp_path / "t.json", "--json")
    points = nas("latency", *words).data["source"]["points"]
    assert points["measured"] < points["of"]
    assert [seconds(text) for text in ("90s", "5m", "1h", "1.5m", "7")] == [90, 300, 3600, 90, 7]
    for text in ("0s", "soon", "-5m", "5d", ""):
        with pytest.raises(BadInput, match="is no time; give one such as"):
            seconds(text)


def test_a_real_build_measures_real_blocks(tmp_path: Path) -> None:
    words = ("mixpath-s4", "--set", "space.width=0.0625", "--resolution", 8, "--budget", "1s")
    data = nas("latency", "build", *words, "--out", tmp_path / "t.json", "--json").data
    assert data["points"] == 22
    table = LatencyTable.read(tmp_path / "t.json")
    assert all(point.ms > 0 and point.runs for point in table.blocks.values())
    assert table.spread == "iqr"
    assert table.noise is not None
    low, high = nas("latency", "show", tmp_path / "t.json", "--json").data["reachable_ms"]
    assert 0 < low < high


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tfnass",), "unknown space 'tfnass'; did you mean 'tfnas'?"),
        (("nasbench101",), "its blocks cannot be listed one by one"),
        (("tfnas", "--device", "cuda:7"), "device 'cuda:7' cannot be used"),
        (("tfnas", "--device", "npu"), "device 'npu' is unknown"),
        (("tfnas", "--dtype", "fp8"), "latency: dtype = 'fp8' does not fit"),
        (("tfnas", "--backend", "tvm"), "latency: backend = 'tvm' does not fit"),
        (("tfnas", "--budget", "soon"), "--budget 'soon' is no time"),
        (("tfnas", "--set", "method.lr=1"), "only settings of space count here"),
        (("tfnas", "--batch", "0"), "Invalid value for '--batch'"),
        (("tfnas", "--backend", "onnxruntime", "--dtype", "bf16"), "onnx"),
    ],
)
def test_what_cannot_be_built_is_refused(words: tuple[str, ...], message: str) -> None:
    said = nas("latency", "build", *words)
    assert said.code == 2
    assert message in said.error


# --- show, list, export


def test_show_without_a_space_tells_how_it_was_measured(mine: str) -> None:
    path = shelf.folder() / "mine.json"
    replace(LatencyTable.read(path), space=None, noise=BUSY, fit=FIT).write(path)
    said = nas("latency", "show", mine)
    assert "a made-up device" in said.out
    assert "1.5 × sum + 0.25 ms (off by 5.00 % held out, 20 networks)" in said.out
    assert "noisy, not to be believed: the reference block moved by up to 40%, 16 points" in said.err
    assert "reachable_ms" not in nas("latency", "show", mine, "--json").data
    for words, message in (
        (("--arch", "x"), "an architecture needs its space"),
        (("--set", "space.width=1"), "needs --space"),
        (("--space", "mixpath-s1"), "lacks"),
        (("--space", "tfnas"), "lacks 2,805 of the blocks"),
        (("--space", "tfnas", *timing.WORDS, "--arch", "0w9"), "has 1 stage between"),
    ):
        assert message in nas("latency", "show", mine, *words).error
    assert nas("latency", "show", mine, "--space", "tfnas", *timing.WORDS, "--json").data["reachable_ms"][0] > 0


def test_an_unusable_table_is_listed_with_its_fault_and_refused(mine: str) -> None:
    (shelf.folder() / "broken.json").write_text("{")
    found = {table["name"]: table["fault"] for table in nas("latency", "list", "--json").data}
    assert found["mine"] is None
    assert "cut short" in found["broken"]
    assert "cut short" in nas("latency", "list").out
    assert "cut short" in nas("latency", "show", "broken").error
    assert "there is no latency table 'brokem'" in nas("latency", "show", "brokem").error


def test_tables_are_completed(mine: str) -> None:
    assert complete_table("mi") == ["mine"]
    assert complete_table("x") == []


def test_a_table_is_exported_whole_or_as_rows(mine: str, tmp_path: Path) -> None:
    assert nas("latency", "export", mine, tmp_path / "t.json", "--json").data == {"file": str(tmp_path / "t.json")}
    assert LatencyTable.read(tmp_path / "t.json") == timing.table()
    assert nas("latency", "export", mine, tmp_path / "t.csv").code == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert {row["key"]: float(row["ms"]) for row in rows} == {b.key: timing.made_up(b) for b in timing.SPACE.pieces()}
    assert "is already there" in nas("latency", "export", mine, tmp_path / "t.csv").error
    assert "must end in .json" in nas("latency", "export", mine, tmp_path / "t.xml").error
    assert nas("latency", "export", mine, tmp_path / "new" / "t.json").code == 0
    assert "cannot write" in nas("latency", "export", mine, tmp_path / "t.csv" / "t.json").error


# --- check, calibrate


def test_check_and_calibrate_tell_errors_and_keep_a_fit(quick: list[Any], tmp_path: Path) -> None:
    nas("latency", "build", "tfnas", *timing.WORDS, "--out", tmp_path / "t.json")
    checked = nas("latency", "check", tmp_path / "t.json", "--json").data
    assert len(checked["networks"]) == 20
    assert {"noise", "before", "after", "bias", "a", "b", "tau"} <= checked.keys()
    assert (checked["fit"], checked["kept"], checked["believed"]) == (None, None, True)
    said = nas("latency", "calibrate", tmp_path / "t.json", "--networks", 22, "--seed", 5, "--json")
    assert (said.data["fit"]["networks"], said.data["fit"]["seed"]) == (22, 5)
    assert f"the fit is kept in {tmp_path / 't.json'}" in said.err
    out = nas("latency", "check", tmp_path / "t.json").out
    assert "error of its fit" in out
    assert "held out" in out
    assert "too few" in nas("latency", "check", tmp_path / "t.json", "--networks", 5).error


def test_a_noisy_machine_is_not_believed(quick: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nas("latency", "build", "tfnas", *timing.WORDS, "--out", tmp_path / "t.json")
    calls: list[int] = []
    monkeypatch.setattr(backends, "timed", lambda *_: calls.append(1) or Reading(1.0 + len(calls) % 3, 0.0, 1))
    said = nas("latency", "check", tmp_path / "t.json")
    assert said.code == 0
    assert "not to be believed: two measurements of one network differ by" in said.err
    said = nas("latency", "calibrate", tmp_path / "t.json")
    assert said.code == 2
    assert "this machine is too noisy to be believed" in said.error
    assert LatencyTable.read(tmp_path / "t.json").fit is None


# --- import


WORDS = ("--device", "Titan RTX", "--unit", "ms", "--batch", 32)


@pytest.mark.parametrize(("name", "latency", "low", "high"), [("gpu", 17.99947, 4.09, 27.06), ("cpu", 74.34122, 19.98, 135.91)])
def test_the_official_tables_are_imported_and_asked(
    shared_data: Path, tmp_path: Path, name: str, latency: float, low: float, high: float
) -> None:
    file = shared_data / "luts" / f"latency_{name}.pkl"
    said = nas("latency", "import", file, *WORDS, "--out", tmp_path / "t.json", "--json")
    assert (said.data["conditions"]["device"], said.data["conditions"]["batch"]) == ("Titan RTX", 32)
    data = nas("latency", "show", tmp_path / "t.json", "--space", "tfnas", "--arch", TFNAS_A, "--json").data
    assert data["latency_ms"] == pytest.approx(latency, abs=1e-4)
    assert data["reachable_ms"] == pytest.approx([low, high], abs=0.005)
    data = nas("latency", "show", tmp_path / "t.json", "--space", "tfnas", "--json").data
    assert data["reachable_ms"] == pytest.approx([low, high], abs=0.005)
    said = nas("latency", "show", tmp_path / "t.json", "--space", "tfnas", "--set", "space.image_size=32")
    assert "lacks" in said.error


@pytest.mark.parametrize(("unit", "doubted"), [("ms", False), ("s", True), ("us", True)])
def test_a_unit_that_can_hardly_be_right_is_asked_about(shared_data: Path, tmp_path: Path, unit: str, doubted: bool) -> None:
    for name, batch in (("gpu", 32), ("cpu", 1)):
        words = ("--device", "its own", "--unit", unit, "--batch", batch, "--out", tmp_path / f"{name}.json")
        said = nas("latency", "import", shared_data / "luts" / f"latency_{name}.pkl", *words)
        assert said.code == 0
        assert (f"are the file's numbers in {unit}?" in said.err) is doubted


def test_yaml_is_imported_and_lies_in_the_users_folder(tmp_path: Path) -> None:
    (tmp_path / "Note 10.yaml").write_text(YAML)
    words = ("--device", "Samsung Note10", "--unit", "ms", "--batch", 1, "--threads", 4, "--dtype", "fp32")
    data = nas("latency", "import", tmp_path / "Note 10.yaml", *words, "--json").data
    assert Path(data["table"]) == shelf.folder() / "note-10_samsung-note10_b1.json"
    assert (data["conditions"]["threads"], data["conditions"]["dtype"]) == (4, "fp32")
    assert data["source"]["sha256"]
    assert "is already there" in nas("latency", "import", tmp_path / "Note 10.yaml", *words).error


def test_imports_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    pickled = tmp_path / "x.pkl"
    pickled.write_bytes(pickle.dumps({"base": 1.0}))
    for words, message in (
        ((pickled, *WORDS), "lacks 66 of the 66 shapes"),
        ((pickled, *WORDS, "--partial"), "has no block's latency"),
        ((pickled, "--device", "x", "--unit", "sec", "--batch", 1), "unknown unit 'sec'"),
        ((pickled, "--device", "x", "--batch", 1), "Missing option '--unit'"),
        ((pickled, "--unit", "ms", "--batch", 1), "Missing option '--device'"),
        ((pickled, "--unit", "ms", "--device", "x"), "Missing option '--batch'"),
        ((tmp_path / "nowhere", *WORDS), "cannot be read"),
    ):
        said = nas("latency", "import", *words, "--out", tmp_path / "t.json")
        assert said.code == 2
        assert message in said.error
        assert not (tmp_path / "t.json").exists()
