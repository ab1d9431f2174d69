"""The importer of NAS-Bench-Macro: what it reads, what the real file says, and what it refuses."""

import csv
import itertools
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas_suite import tables
from nas_suite.errors import BadInput
from nas_suite.importers import PUBLISHED, macro, published
from nas_suite.spaces.macro import Macro

ARCHS = ["".join(digits) for digits in itertools.product("012", repeat=8)]
TEST = "cifar10/test@50"


def unheard(done: int, total: int) -> None:
    """A Progress that does nothing."""


def entry(at: int) -> dict[str, Any]:
    accuracies = [50 + at / 200, 50.1 + at / 200, 50.5 + at / 200]
    mean, std = float(np.mean(accuracies)), float(np.std(accuracies))
    return {"test_acc": accuracies, "mean_acc": mean, "std": std, "params": 100 + at, "flops": 10**6 + at}


@pytest.fixture(scope="module")
def entries() -> dict[str, dict[str, Any]]:
    return {arch: entry(at) for at, arch in enumerate(ARCHS)}


def as_csv(entries: dict[str, dict[str, Any]]) -> str:
    lines = ["arch,params,flops,mean_acc,std,acc0,acc1,acc2"]
    for arch, e in entries.items():
        lines.append(",".join(map(str, (arch, e["params"], e["flops"], e["mean_acc"], e["std"], *e["test_acc"]))))
    return "\n".join(lines) + "\n"


@pytest.fixture(params=["json", "csv", "json.xz", "csv.xz"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def put(folder: Path, kind: str, entries: dict[str, dict[str, Any]]) -> Path:
    text = as_csv(entries) if kind.startswith("csv") else json.dumps(entries)
    file = folder / f"file.{kind}"
    file.write_bytes(lzma.compress(text.encode()) if kind.endswith("xz") else text.encode())
    return file


def test_json_and_csv_plain_or_packed_give_one_table(tmp_path: Path, kind: str, entries: dict[str, Any]) -> None:
    shuffled = dict(sorted(entries.items(), key=lambda item: item[0][::-1]))
    seen: list[tuple[int, int]] = []
    draft = macro.read(put(tmp_path, kind, shuffled), False, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6561, 6561)
    assert not draft.partial
    table = tables.write(draft)
    assert (len(table), table.space, table.name) == (6561, "macro", "macro")
    for at in (0, 1, 17, 6560):
        row = table.find(tuple(map(int, ARCHS[at])))
        assert row == at
        np.testing.assert_allclose(table.repeats(TEST)[row], np.array(entry(at)["test_acc"]) / 100, rtol=1e-12)
        assert (table.values("params")[row], table.values("macs")[row]) == (100 + at, 10**6 + at)


def test_rows_keep_their_spelling(tmp_path: Path, entries: dict[str, Any]) -> None:
    table = tables.write(macro.read(put(tmp_path, "json", entries), False, unheard))
    space = Macro()
    for text in ("01002001", "01020010"):
        assert table.find(space.parse(text)) == ARCHS.index(text)


def test_a_file_that_lacks_rows_is_partial_or_refused(tmp_path: Path, kind: str, entries: dict[str, Any]) -> None:
    file = put(tmp_path, kind, dict(itertools.islice(entries.items(), 100, 160)))
    with pytest.raises(BadInput, match=r"has 60 of the 6,561 architectures.*partial"):
        macro.read(file, False, unheard)
    draft = macro.read(file, True, unheard)
    assert (len(draft.archs), draft.partial) == (60, True)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "digit": (lambda e: e.update({"00000003": e.pop("00000001")}), "'00000003' is not 8 digits"),
    "short": (lambda e: e.update({"0000001": e.pop("00000001")}), "'0000001' is not 8 digits"),
    "long": (lambda e: e.update({"000000001": e.pop("00000001")}), "'000000001' is not 8 digits"),
    "nan": (lambda e: e["00000002"]["test_acc"].__setitem__(1, float("nan")), "test_acc has '?nan'?, which is no finite"),
    "infinite": (lambda e: e["00000002"].update(flops=float("inf")), "flops has '?inf'?, which is no finite"),
    "word": (lambda e: e["00000002"].update(params="many"), "params has 'many', which is no finite"),
    "percent": (lambda e: e["00000002"]["test_acc"].__setitem__(2, 100.5), "test_acc has 100.5, which is no percentage"),
    "negative": (lambda e: e["00000002"]["test_acc"].__setitem__(0, -1.0), "test_acc has -1, which is no percentage"),
    "mean": (lambda e: e["00000002"].update(mean_acc=51.0), "mean_acc is 51, but the mean of its accuracies is 50.21"),
    "huge": (lambda e: e["00000002"].update(params=10**400), "params has '?10+'?, which is no finite"),
    "no parameters": (lambda e: e["00000002"].update(params=0), "params and flops are 0 and"),
    "half a parameter": (lambda e: e["00000002"].update(params=10.5), "params and flops are 10.5 and"),
}


@pytest.mark.parametrize("harm", WRONG)
def test_a_wrong_row_is_named(tmp_path: Path, kind: str, harm: str) -> None:
    spoilt = {arch: entry(at) for at, arch in enumerate(ARCHS[:4])}
    spoil, said = WRONG[harm]
    spoil(spoilt)
    where = r"line [2-5]" if kind.startswith("csv") else r"key '0+[0-3]'"
    if kind.startswith("csv"):
        said = re.sub("test_acc", "acc[012]", said)  # the columns that such a file has
    with pytest.raises(BadInput, match=rf"file\.{kind}, {where}: .*{said}") as caught:
        macro.read(put(tmp_path, kind, spoilt), True, unheard)
    assert "\n" not in str(caught.value)


def test_a_row_that_comes_twice_is_named(tmp_path: Path) -> None:
    one = json.dumps(entry(0))
    file = tmp_path / "twice.json"
    file.write_text(f'{{"00000000": {one}, "00000001": {one}, "00000000": {one}}}')
    with pytest.raises(BadInput, match="key '00000000': architecture 00000000 has a row already"):
        macro.read(file, True, unheard)
    text = as_csv({"00000000": entry(0)})
    file.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(BadInput, match="line 3: architecture 00000000 has a row already"):
        macro.read(file, True, unheard)


@pytest.mark.parametrize("accuracies", [[90.0, 90.0], [], 90.0, None, {"a": 1}])
def test_other_than_three_accuracies_are_refused(tmp_path: Path, accuracies: Any) -> None:
    with pytest.raises(BadInput, match=r"key '00000000': test_acc is .*, not 3 accuracies"):
        macro.read(put(tmp_path, "json", {"00000000": {**entry(0), "test_acc": accuracies}}), True, unheard)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    whole = put(tmp_path, kind, {arch: entry(at) for at, arch in enumerate(ARCHS[:100])})
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(BadInput) as caught:
        macro.read(whole, False, unheard)
    assert "\n" not in str(caught.value)
    if kind != "csv":
        assert "is cut short or damaged" in str(caught.value)


def test_a_flipped_bit_in_a_packed_file_is_found(tmp_path: Path) -> None:
    file = put(tmp_path, "csv.xz", {arch: entry(at) for at, arch in enumerate(ARCHS[:100])})
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(BadInput, match="is cut short or damaged"):
        macro.read(file, True, unheard)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hello", b"arch,acc\n00000000,90\n", b"[1, 2]", b'{"a": 1}', b'{"a": []}', b'{"00000000": {"acc": 1}}',
     b'{"00000000": [[1, 2]]}', b"\x80\x02}q\x00.", b"\x89PNG\r\n\x1a\n\xff"],
)  # fmt: skip
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "foreign"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"no file of NAS-Bench-Macro.*nas-bench-macro_cifar10.json"):
        macro.read(file, True, unheard)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*No such file"):
        macro.read(tmp_path / "none.json", False, unheard)
    with pytest.raises(BadInput, match=r"cannot read .*directory"):
        macro.read(tmp_path, False, unheard)


def test_it_is_among_the_published_benchmarks(tmp_path: Path, entries: dict[str, Any]) -> None:
    assert published("macro") is PUBLISHED["macro"]
    assert len(published("macro").read(put(tmp_path, "json", entries), False, unheard).archs) == 6561


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tables.Draft:
    return macro.read(shared_data / "macro" / "nas_bench_macro.csv.xz", False, unheard)


def column(draft: tables.Draft, name: str) -> np.ndarray:
    return next(values for column, values in draft.columns if column.name == name)


def test_the_real_file_gives_every_row(real: tables.Draft) -> None:
    assert real.archs.shape == (6561, 8)
    assert column(real, TEST).shape == (6561, 3)
    assert not real.partial


def test_the_best_network_is_the_published_one(real: tables.Draft) -> None:
    means = column(real, TEST).mean(1)
    assert real.archs[means.argmax()].tolist() == [2, 2, 2, 1, 2, 2, 2, 0]
    assert means.max() == pytest.approx(0.93127, abs=5e-6)


@pytest.mark.parametrize(("guess", "tau"), [("depth", 0.693), ("macs", 0.556), ("params", 0.218)])
def test_kendalls_tau_of_plain_guesses(real: tables.Draft, guess: str, tau: float) -> None:
    guessed = [Macro().depth(arch) for arch in map(tuple, real.archs.tolist())] if guess == "depth" else column(real, guess)
    assert kendalltau(guessed, column(real, TEST).mean(1)).statistic == pytest.approx(tau, abs=0.0005)


def test_kendalls_tau_between_repeats(real: tables.Draft) -> None:
    repeats = column(real, TEST).T
    taus = [kendalltau(a, b).statistic for a, b in itertools.combinations(repeats, 2)]
    assert float(np.mean(taus)) == pytest.approx(0.8813, abs=0.0005)


def test_the_real_file_as_json_gives_the_same(real: tables.Draft, shared_data: Path, tmp_path: Path) -> None:
    """In the published form, which the CSV was made of."""
    with lzma.open(shared_data / "macro" / "nas_bench_macro.csv.xz", "rt") as file:
        rows = list(csv.DictReader(file))
    published = {
        row["arch"]: {
            "test_acc": [float(row[f"acc{at}"]) for at in range(3)],
            "mean_acc": float(row["mean_acc"]), "std": float(row["std"]),
            "params": int(row["params"]), "flops": int(row["flops"]),
        }
        for row in rows
    }  # fmt: skip
    again = macro.read(put(tmp_path, "json", published), False, unheard)
    assert np.array_equal(again.archs, real.archs)
    for (one, values), (other, others) in zip(again.columns, real.columns, strict=True):
        assert one == other
        assert np.array_equal(values, others)
