"""Importing NAS-Bench-101: genuine records, files that are made here, and everything that is wrong with a file."""

import base64
import binascii
import gzip
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_suite import tables
from nas_suite.cells import CellGraph, cell_graph
from nas_suite.errors import BadInput
from nas_suite.importers import nb101, published
from nas_suite.run import digest
from nas_suite.spaces.mixpath_s4 import MixPathS4
from nas_suite.spaces.nasbench101 import NasBench101
from nas_suite.tables import Draft

ACCURACIES = ("train_accuracy", "validation_accuracy", "test_accuracy")
SPLITS = dict(zip(("train", "val", "test"), ACCURACIES, strict=True))
SPACE = NasBench101()
SMALL, OTHER = (SPACE.cell(SPACE.parse(text)) for text in ("3@0-P@01-o@12", "1@0-o@1"))
CRC = [0] * 256
for byte in range(256):
    crc = byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    CRC[byte] = crc


def summed(data: bytes) -> bytes:
    """Some bytes and their checksum as TFRecord masks it (specs/mixpath.md 5.5)."""
    total = 0xFFFFFFFF
    for byte in data:
        total = total >> 8 ^ CRC[(total ^ byte) & 255]
    total ^= 0xFFFFFFFF
    return data + struct.pack("<I", ((total >> 15 | total << 17 & 0xFFFFFFFF) + 0xA282EAD8) % (1 << 32))


def framed(data: bytes) -> bytes:
    return summed(struct.pack("<Q", len(data))) + summed(data)


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def double(field: int, value: float) -> bytes:
    return bytes([field << 3 | 1]) + struct.pack("<d", value)


def sized(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint(len(data)) + data


def evaluation(*values: float) -> bytes:
    """A message from epoch, seconds and the accuracies of training, validation and test."""
    return b"".join(double(field, value) for field, value in enumerate(values, start=1))


START, HALF, END = (0.0, 0.0, 0.125, 0.0625, 0.09375), (54.0, 600.5, 0.75, 0.5, 0.625), (108.0, 1200.25, 1.0, 0.9375, 0.875)


def metrics(*evaluations: tuple[float, ...], parameters: int = 1_234_567) -> bytes:
    each = [sized(1, evaluation(*values)) for values in evaluations or (START, HALF, END)]
    return b"".join(each) + b"\x10" + varint(parameters) + double(3, 4321.5)


def record(
    cell: CellGraph = SMALL, epochs: Any = 108, message: bytes | None = None, name: str | None = None, **parts: Any
) -> bytes:
    """A whole record; `parts` replace the text of the matrix or of the operations."""
    matrix = "".join(str(edge) for row in cell.adjacency for edge in row)
    ops = ",".join(f"{op}-bn-relu" if op.startswith("conv") else op for op in cell.ops)
    text = base64.encodebytes(metrics() if message is None else message).decode()
    whole = {"name": name or cell.module_hash(), "epochs": epochs, "matrix": matrix, "ops": ops, "metrics": text, **parts}
    return framed(json.dumps(list(whole.values())).encode())


@pytest.fixture
def made(tmp_path: Path):
    """Writes a file of records and imports it."""

    def imported(*data: bytes, partial: bool = True) -> Draft:
        file = tmp_path / "made.tfrecord"
        file.write_bytes(b"".join(data))
        return nb101.read(file, partial, lambda done, total: None)

    return imported


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> bytes:
    return (shared_data / "nb101" / "golden_record.tfrecord").read_bytes()


def columns(draft: Draft) -> dict[str, np.ndarray]:
    return {column.name: np.asarray(values) for column, values in draft.columns}


def test_the_golden_record(made, golden: bytes) -> None:
    """The values of specs/mixpath.md 5.5."""
    draft = made(golden)
    found = columns(draft)
    accuracies = {split: found[f"cifar10/{split}@4"] for split in ("val", "test", "train")}
    assert {split: values[0, 0] for split, values in accuracies.items()} == {
        "val": np.float32(0.3489583432674408),
        "test": np.float32(0.3504607379436493),
        "train": np.float32(0.3498597741127014),
    }
    assert found["time@4"][0, 0] == np.float32(89.90399932861328)
    assert found["params"].tolist() == [8_555_530]
    assert found["module_hash"].tobytes().hex() == "00005c142e6f48ac74fdcf73e3439874"
    assert SPACE.describe(tuple(draft.archs[0].tolist())) == "3@0-P@1-3@2-3@0-1@034-o@25"
    shares = [v[0, 0] * 9984.0 for name, v in found.items() if "/" in name and "time" not in name]
    assert len(shares) == 6
    assert max(abs(share - round(share)) for share in shares) < 1e-3
    assert [round(float(values[0, 0]) * 9984) for values in accuracies.values()] == [3484, 3499, 3493]
    assert all(np.isnan(found[name][0, 1:]).all() for name in found if "@" in name)


def test_a_flipped_bit_is_refused(golden: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.tfrecord"
    path.write_bytes(golden)
    with open(path, "r+b", buffering=0) as file:
        for bit in range(8 * len(golden)):
            os.pwrite(file.fileno(), bytes([golden[bit // 8] ^ 1 << bit % 8]), bit // 8)
            with pytest.raises(BadInput, match="damaged or not what was published"):
                nb101.read(path, True, lambda done, total: None)
            os.pwrite(file.fileno(), golden[bit // 8 : bit // 8 + 1], bit // 8)
    assert len(nb101.read(path, True, lambda done, total: None).archs) == 1


def test_a_cut_file_is_refused_with_the_byte(made, golden: bytes) -> None:
    for length in range(len(golden)):
        with pytest.raises(BadInput, match=r"ends within record 1 at byte 0" if length else "is not all of NAS-Bench-101"):
            made(golden[:length])
    with pytest.raises(BadInput, match=r"ends within record 2 at byte 417; get it again"):
        made(golden, golden[:50])


def test_the_official_records(made, shared_data: Path) -> None:
    """52 records by another way, put into the format here."""
    told = json.loads((shared_data / "nb101" / "nb101_official_records52.json").read_text())
    data, keys = [], [f"{m}_{what}" for m in ("halfway", "final") for what in ("training_time", *ACCURACIES)]
    for name, module in told.items():
        cell = cell_graph(module["module_adjacency"], module["module_operations"])
        for repeat in module["metrics"]["108"]:
            half, end = ([54.0, *map(repeat.get, keys[:4])], [108.0, *map(repeat.get, keys[4:])])
            data.append(record(cell, 108, metrics(START, half, end, parameters=module["trainable_parameters"]), name))
    draft = made(*data)
    found = columns(draft)
    assert len(draft.archs) == len(told) == 52
    for at, (name, module) in enumerate(told.items()):
        cell = SPACE.cell(tuple(draft.archs[at].tolist()))
        assert cell == cell_graph(module["module_adjacency"], module["module_operations"])
        assert found["module_hash"][at].tobytes().hex() == name
        assert found["params"][at] == module["trainable_parameters"]
        for split, key in SPLITS.items():
            assert found[f"cifar10/{split}@108"][at].tolist() == [r[f"final_{key}"] for r in module["metrics"]["108"]]
            assert found[f"halfway/{split}@108"][at].tolist() == [r[f"halfway_{key}"] for r in module["metrics"]["108"]]
        for column, key in (("time@108", "final_training_time"), ("halfway/time@108", "halfway_training_time")):
            assert found[column][at].tolist() == [r[key] for r in module["metrics"]["108"]]


def test_repeats_stand_in_file_order_by_budget_and_module(made) -> None:
    def told(val: float) -> bytes:
        return metrics(START, HALF, (108.0, 9.0, 0.5, val, 0.5))

    draft = made(
        record(OTHER, 108, told(0.125)), record(SMALL, 4, told(0.25)), record(OTHER, 108, told(0.375)),
        record(SMALL, 108, told(0.5)), record(OTHER, 108, told(0.0)), record(SMALL, 4, told(1.0)),
    )  # fmt: skip
    nan, found = math.nan, columns(draft)
    np.testing.assert_array_equal(found["cifar10/val@108"], [[0.125, 0.375, 0.0], [0.5, nan, nan]])
    np.testing.assert_array_equal(found["cifar10/val@4"], [[nan, nan, nan], [0.25, 1.0, nan]])
    assert found["cifar10/val@4"].dtype == np.float32
    assert (draft.version, draft.partial) == ("4+108 epochs", True)


@pytest.mark.parametrize("budgets", [(108,), (4, 12, 36, 108)])
def test_a_file_is_whole_with_every_module_repeat_and_budget(made, budgets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nb101, "CELLS", 2)
    data = [record(cell, epochs) for _ in range(3) for epochs in budgets for cell in (SMALL, OTHER)]
    assert not made(*data, partial=False).partial
    assert not made(*data).partial
    for lacking in range(len(data)):
        with pytest.raises(BadInput, match=rf"records {len(data) - 1}, epochs .*--partial imports what there is"):
            made(*data[:lacking], *data[lacking + 1 :], partial=False)


def test_a_part_of_the_benchmark_has_to_be_asked_for(made, golden: bytes) -> None:
    with pytest.raises(BadInput, match=r"modules 1, records 1, epochs 4; there are 423,624 modules.*--partial"):
        made(golden, partial=False)
    budgets = [record(SMALL, epochs) for epochs in (4, 12) for _ in range(3)]
    with pytest.raises(BadInput, match=r"modules 1, records 6, epochs 4, 12; "):
        made(*budgets, partial=False)


def test_records_may_spell_a_cell_in_different_ways_and_the_table_knows_them_all(made) -> None:
    one, turned = (cell_graph(["0110", "0001", "0001", "0000"], ["input", *ops, "output"]) for ops in (BOTH, BOTH[::-1]))
    table = tables.write(made(record(turned), record(OTHER), record(one)))
    assert one != turned
    assert (table.space, table.settings, len(table)) == ("nasbench101", {}, 2)
    assert table.metric().name == "cifar10/val@108"
    assert table.metric("test").name == "cifar10/test@108"
    for cell in (one, turned):
        row = table.find(SPACE.spelt(cell) or ())
        assert row is not None
        assert table.repeats("cifar10/val@108")[row].tolist()[:2] == [0.9375, 0.9375]
        assert table.values("halfway/time@108")[row, 0] == 600.5
        assert table.values("params")[row] == 1_234_567
    assert table.means("cifar10/test@108").tolist() == [0.875, 0.875]


BOTH = ["conv1x1", "maxpool3x3"]
LONELY = CellGraph(((0, 1, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0)), ("input", *BOTH, "output"))
CROWDED = CellGraph(tuple(tuple(int(u < v) for v in range(5)) for u in range(5)), ("input", *["conv3x3"] * 3, "output"))
NAMELESS = "0" * 32


def with_text(*parts: Any) -> bytes:
    return framed(json.dumps(parts[0] if len(parts) == 1 else list(parts)).encode())


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (framed(b"{"), "it is no JSON text"),
        (framed(b"\xff\xfe"), "it is no JSON text"),
        (framed(b"[" * 100_000), "it is no JSON text"),
        (with_text(7), "it is no list of a hash"),
        (with_text(dict.fromkeys("abcde", 1)), "it is no list of a hash"),
        (with_text(NAMELESS, 108, "0100", "input,output"), "it is no list of a hash"),
        (with_text(NAMELESS, "108", "0100", "input,output", ""), "it is no list of a hash"),
        (with_text(NAMELESS, True, "0100", "input,output", ""), "it is no list of a hash"),
        (record(epochs=7), "it tells of 7 epochs; there are: 4, 12, 36, 108"),
        (record(name="x" * 32), "its hash 'xxxxx.*' is not hexadecimal"),
        (record(name="00" * 15), "does not have 32 hexadecimal digits"),
        (record(metrics="?"), "its metrics are not base64"),
        (record(metrics="AAA"), "its metrics are not base64"),
        (record(matrix="01100"), "its matrix '01100' is not square"),
        (record(matrix="0" * 64), "is not square, of 2 to 7 rows"),
        (record(matrix="011000110001000x"), "is not square, of 2 to 7 rows of digits 0 and 1"),
        (record(matrix="0110001110010000"), "0 or 1 above the diagonal"),
        (record(ops="input,conv3x3-bn-relu,output"), "does not have as many vertices as input,conv3x3"),
        (record(ops="input,conv3x3-bn-relu,conv5x5-bn-relu,output"), "unknown cell operation 'conv5x5'"),
        (record(ops="input"), "are not 2 to 7 names"),
        (record(message=metrics(START, END)), "it has 2 evaluations, not 3"),
        (record(message=metrics(START, HALF, END, END)), "it has 4 evaluations, not 3"),
        (record(message=metrics(START, HALF, END[:4])), "lacks one of three accuracies"),
        (record(message=metrics(START, HALF, (*END[:4], math.nan))), r"accuracies are 0 to 1 .* nan and 1200.25 s"),
        (record(message=metrics(START, (54.0, 1.0, 1.5, 0.5, 0.5), END)), "accuracies are 0 to 1"),
        (record(message=metrics((0.0, 0.0, -0.5, 0.5, 0.5), HALF, END)), "accuracies are 0 to 1"),
        (record(message=metrics(START, HALF, (108.0, math.inf, 0.5, 0.5, 0.5))), "times finite"),
        (record(message=metrics(parameters=0)), "its network has 0 parameters"),
        (record(message=metrics(parameters=(1 << 64) - 5)), "its network has 18,446,744,073,709,551,611 parameters"),
        (record(message=metrics(parameters=7)), r"it tells 7 parameters of module .*record 1 tells 1,234,567"),
        (record(message=metrics()[:-1]), r"field at byte \d+ that is cut short"),
        (record(message=metrics() + b"\x10"), r"a number at byte \d+ that does not end"),
        (record(message=metrics() + b"\x10" + b"\x80" * 10), r"a number at byte \d+ that does not end"),
        (record(message=metrics() + sized(6, b"name")[:-1]), r"field at byte \d+ that is cut short"),
        (record(message=metrics() + b"\x33"), r"wire type 3 at byte \d+, which is none"),
        (record(message=metrics() + b"\x00\x01"), r"field at byte \d+ that has no number"),
    ],
)  # fmt: skip
def test_a_record_that_says_something_else_is_refused_with_its_byte(made, second: bytes, message: str) -> None:
    first = record()
    with pytest.raises(BadInput, match=rf"is not NAS-Bench-101's: record 2 at byte {len(first):,}: .*{message}") as caught:
        made(first, second)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            record(OTHER, name=NAMELESS),
            f"record 2 is of a module {NAMELESS}, but the hash of its cell is {OTHER.module_hash()}",
        ),
        (record(LONELY, name=NAMELESS), "record 2 .* whose input does not reach its output or which has more than nine edges"),
        (record(CROWDED), "record 2 .* more than nine edges"),
        (record(OTHER, name=SMALL.module_hash()), "record 1 .* but a later record gives it another cell"),
    ],
)
def test_a_cell_that_is_none_or_has_another_name_is_refused(made, second: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=f"is not NAS-Bench-101's: its {message}"):
        made(record(), second)


def test_a_fourth_repeat_is_refused(made) -> None:
    with pytest.raises(BadInput, match=r"record 5 .* its module has 3 repeats of 108 epochs before"):
        made(record(epochs=4), *[record()] * 4)


def test_fields_that_are_not_known_or_in_another_order_are_passed_over(made) -> None:
    strange = (
        b"\x58"
        + varint(1 << 40)
        + double(12, 1.0)
        + sized(13, b"text")
        + b"\x75abcd"
        + b"\x82\x80\x01"
        + varint(200)
        + bytes(200)
    )
    each = [
        sized(1, strange + b"".join(double(f, v) for f, v in reversed([*enumerate(values, 1)])) + strange)
        for values in (START, HALF, END)
    ]
    message = strange + double(3, 1.0) + b"\x10" + varint(1_234_567) + strange + b"".join(each) + strange
    plain, other = columns(made(record())), columns(made(record(message=message)))
    for name, values in plain.items():
        np.testing.assert_array_equal(values, other[name])


def test_the_last_of_several_values_counts(made) -> None:
    message = b"".join(sized(1, evaluation(*values) + double(5, 0.25)) for values in (START, HALF, END))
    found = columns(made(record(message=b"\x10\x05" + message + b"\x10" + varint(300))))
    assert found["cifar10/test@108"][0, 0] == 0.25
    assert found["params"].tolist() == [300]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "modules 0, records 0, epochs none; there are"),
        (b"PK\x03\x04" + bytes(100), "it is no TFRecord file"),
        (b"module_hash,epochs\n", "it is no TFRecord file"),
        (gzip.compress(record()), "it is no TFRecord file"),
        (b"tiny", "ends within record 1 at byte 0"),
        (summed(struct.pack("<Q", 1 << 40)), "record 1 at byte 0 has 1,099,511,627,776 bytes"),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_foreign_files_are_refused(made, data: bytes, message: str, partial: bool) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        made(data, partial=partial)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadInput, match="cannot be read"):
            nb101.read(path, True, lambda done, total: None)


def test_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    file, told = tmp_path / "made.tfrecord", []
    file.write_bytes(record() * 3)
    nb101.read(file, True, lambda done, total: told.append((done, total)))
    assert told[-1] == (file.stat().st_size,) * 2


def test_what_is_published_names_the_official_files() -> None:
    assert [file.file for file in published("nb101").files] == ["nasbench_only108.tfrecord", "nasbench_full.tfrecord"]
    assert all(file.url.endswith(file.file) and len(binascii.unhexlify(file.sha256)) == 32 for file in published("nb101").files)
    with pytest.raises(BadInput, match="did you mean 'nb101'"):
        published("nb102")


@pytest.mark.slow
def test_the_real_file(shared_data: Path) -> None:
    """Check 18 of specs/mixpath.md, on the official file that NAS_NB101 names."""
    if not os.environ.get("NAS_NB101"):
        pytest.skip("NAS_NB101 names no official file of NAS-Bench-101 (nasbench_only108.tfrecord or nasbench_full.tfrecord)")
    file = Path(os.environ["NAS_NB101"])
    assert digest(file) in {original.sha256 for original in published("nb101").files}
    table = tables.write(published("nb101").read(file, False, lambda done, total: None))
    assert len(table) == 423_624 == len({name.tobytes() for name in table.values("module_hash")})
    assert np.isfinite(table.values("cifar10/val@108")).all()
    assert table.means("cifar10/val@108").max() == pytest.approx(0.9505542318026224, abs=1e-9)
    assert table.means("cifar10/test@108").max() == pytest.approx(0.943175752957662, abs=1e-9)
    assert all(table.find(SPACE.spelt(MixPathS4().cell(arch)) or ()) is not None for arch in MixPathS4().everything())
    told = json.loads((shared_data / "nb101" / "nb101_official_records52.json").read_text())
    for module in told.values():
        row = table.find(SPACE.spelt(cell_graph(module["module_adjacency"], module["module_operations"])) or ())
        assert row is not None
        assert table.values("params")[row] == module["trainable_parameters"]
        found = sorted(table.repeats("cifar10/test@108")[row])
        assert found == sorted(repeat["final_test_accuracy"] for repeat in module["metrics"]["108"])
