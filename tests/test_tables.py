"""Tables: written whole, found by architecture, checked by sha256, refused where they are not what they were."""

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_suite import tables
from nas_suite.errors import BadInput
from nas_suite.tables import Draft, Table, accuracy

VAL, TEST, LESS = accuracy("cifar10", "val", 200), accuracy("cifar10", "test", 200), accuracy("cifar10", "val", 12)
OTHER, PARAMS = accuracy("cifar100", "val", 200), tables.Column("params", "parameters")


def draft(name: str = "toy") -> Draft:
    archs = np.array([(2, 0), (0, 0), (1, 2), (0, 1)], np.uint8)
    values = np.array([[0.2, np.nan], [0.0, 0.02], [0.12, 0.14], [0.01, 0.01]], np.float32)
    columns = [(VAL, values), (TEST, values - 1), (LESS, values[:, 0]), (OTHER, values * 2), (PARAMS, np.arange(4))]
    return Draft(name, "mixpath-s4", archs, columns, version="1", source="made up", licence="MIT")


def test_a_table_is_found_by_architecture_whatever_the_order_of_its_rows() -> None:
    table = tables.write(draft())
    assert len(table) == 4
    assert [table.arch(row) for row in range(4)] == [(0, 0), (0, 1), (1, 2), (2, 0)]
    assert table.find((1, 2)) == 2
    assert table.values("params")[table.find((2, 0))] == 0
    assert table.find((2, 2)) is None
    assert table.find((0, 3)) is None
    again = Table.open(table.path)
    assert again.manifest == table.manifest
    assert (again.space, again.settings, again.manifest["version"]) == ("mixpath-s4", {}, "1")


def test_more_than_256_options_are_found_too() -> None:
    archs = np.array([(0, 300), (256, 0), (1, 2), (0, 255)])
    table = tables.write(replace(draft(), archs=archs))
    rows = [table.find(tuple(map(int, arch))) for arch in archs]
    assert sorted(rows) == [0, 1, 2, 3]  # type: ignore[type-var]
    assert all(table.arch(row) == tuple(arch) for row, arch in zip(rows, archs, strict=True))  # type: ignore[arg-type]


def test_means_pass_over_repeats_that_are_missing() -> None:
    table = tables.write(draft())
    np.testing.assert_allclose(table.means(VAL.name), [0.01, 0.01, 0.13, 0.2], rtol=1e-6)
    assert table.repeats(LESS.name).shape == (4, 1)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", VAL),
        ("test", TEST),
        ("val@12", LESS),
        ("@12", LESS),
        ("cifar100", OTHER),
        ("cifar10/test", TEST),
        ("params", PARAMS),
    ],
)
def test_a_metric_is_named_by_what_tells_it_apart(text: str, column: tables.Column) -> None:
    assert tables.write(draft()).metric(text) == column


@pytest.mark.parametrize("text", ["imagenet", "test@12", "val@13", "cifar10/cost"])
def test_a_metric_that_is_not_there_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(BadInput, match=r"no metric .*cifar10/val@200"):
        tables.write(draft()).metric(text)


def test_a_name_is_given_once() -> None:
    tables.write(draft())
    with pytest.raises(BadInput, match=r"already there .*nas bench rm toy"):
        tables.write(draft())
    assert "toy" in tables.there()
    tables.remove("toy")
    assert "toy" not in tables.there()
    with pytest.raises(BadInput, match="not on this machine"):
        tables.remove("toy")
    tables.write(draft())


def test_rows_that_do_not_fit_leave_nothing_behind() -> None:
    twice = replace(draft(), archs=np.array([(0, 0), (0, 0), (0, 1), (0, 2)]))
    with pytest.raises(BadInput, match="two rows"):
        tables.write(twice)
    with pytest.raises(BadInput, match="3 rows, not 4"):
        tables.write(replace(draft(), columns=[(VAL, np.zeros(3))]))
    assert tables.there().keys() == {p.parent.name for p in tables.shipped().glob("*/manifest.json")}
    assert not list(tables.tables_folder().glob(".part*"))


def test_a_flipped_bit_is_found_when_the_column_is_read_and_by_verify() -> None:
    table = tables.write(draft())
    file = table.path / VAL.file
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    again = Table.open(table.path)
    assert again.values("params").shape == (4,)
    with pytest.raises(BadInput, match=r"sha256"):
        again.values(VAL.name)
    assert again.verify() == [VAL.file]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("cut", r"cifar10\.val@200\.npy has 100 bytes, not \d+"),
        ("gone", r"cifar10\.val@200\.npy: No such file"),
        ("no json", r"manifest\.json is cut short"),
        ("list", r"manifest\.json: it input should be an object"),
        ({"schema": 2}, r"its schema is 2, this version reads 1"),
        ({"rows": 5}, r"archs\.npy is of shape \(4, 2\), not of 5 rows"),
        ({"rows": "4"}, r"rows is '4': input should be a valid integer"),
        ({"space": "toy"}, r"space is 'toy': input should be an object"),
        ({"space": {"name": "toy", "settings": []}}, r"space.settings input should be an object"),
        ({"plan": 3}, r"plan is 3: input should be"),
        ({"columns": [{"name": 5}]}, r"columns\.0\.name is 5: input should be a valid string"),
        ({"columns": [{"name": "loss"}]}, r"manifest\.json has no loss\.npy"),
        ({"files": {}}, r"manifest\.json has no archs\.npy"),
        ({"name": "other"}, r"is that of 'other', which the folder should be called"),
    ],
)
def test_a_damaged_table_is_refused_when_opened(harm: str | dict[str, Any], said: str) -> None:
    table = tables.write(draft())
    manifest = json.loads((table.path / "manifest.json").read_text())
    if harm == "cut":
        os.truncate(table.path / VAL.file, 100)
    elif harm == "gone":
        (table.path / VAL.file).unlink()
    elif harm == "no json":
        (table.path / "manifest.json").write_text("{")
    elif harm == "list":
        (table.path / "manifest.json").write_text("[]")
    else:
        (table.path / "manifest.json").write_text(json.dumps(manifest | dict(harm)))
    with pytest.raises(BadInput, match=r"damaged or not of ours.*nas bench rm toy") as refused:
        Table.open(table.path)
    assert re.search(said, str(refused.value))


def test_of_two_that_write_one_name_one_is_told_to_wait() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with tables.writing("toy"):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    with pytest.raises(BadInput, match="another process is writing the table toy"):
        tables.write(draft())
    leave.set()
    thread.join()


def test_a_disk_that_refuses_is_said_in_one_line_and_leaves_nothing() -> None:
    archs = np.array(list(itertools.product(range(3), repeat=8)), np.uint8)
    large = Draft("toy", "macro", archs, [(VAL, np.zeros((len(archs), 3)))])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))  # the architectures fit, the column does not
    try:
        with pytest.raises(BadInput, match=r"cannot write to .*toy: file too large; make room there, or set NAS_DATA"):
            tables.write(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert [p.name for p in tables.tables_folder().iterdir()] == [".toy.lock"]
    assert len(tables.write(large)) == 6561


def test_columns_are_written_as_numpy_does(tmp_path: Path) -> None:
    for values in (np.arange(6.0).reshape(2, 3).T, np.array([[1, 2]], ">u2"), np.zeros((0, 4)), np.array([b"ab", b"c"])):
        tables.save(tmp_path / "a.npy", values)
        np.save(tmp_path / "b.npy", np.ascontiguousarray(values))
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_table_is_mapped_not_read(tmp_path: Path) -> None:
    table = tables.write(draft())
    assert isinstance(table.values(VAL.name), np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        table.values(VAL.name)[0] = 1


def test_a_table_is_opened_without_torch() -> None:
    code = "import sys, nas_suite.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
