"""The history: what goes in comes out, written twice is one row, and what cannot be kept is refused by name."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_suite.errors import BadInput, Missing
from nas_suite.history import Added, Evaluation, History, Task, one_kind, repeated

DIGITS = Task.of("digits", "0123456789abcdef", tuple("0123456789"), 8, 1)


def row(value: float | None = 0.5, **fields: object) -> Evaluation:
    more = {"space": "mixpath-s4", "arch": "331P", "data": DIGITS.key, "recipe": {"lr": 0.1}, "fidelity": {"epochs": 5}}
    return Evaluation(**{**more, **fields, "value": value})  # type: ignore[arg-type]


@pytest.fixture
def history() -> History:
    return History.open(make=True)


FULL = row(
    0.9375, split="test", metric="top5", settings={"width": 0.25, "m": 4}, recipe={"lr": 0.1, "optimizer": "sgd"},
    fidelity={"epochs": 5, "width": 0.5}, seed=(1 << 63) - 1, spelling="P133", seconds=1.25, device="cuda:0",
    time="2026-01-02T03:04:05+00:00", source="runs/table_x-1", tags={"split": "validation", "é": [1, "a"]},
)  # fmt: skip


def test_what_goes_in_comes_out(history: History) -> None:
    failed = row(None, status="failed", error="Diverged: at step 3", seed=1, time="2026-01-02T03:04:05+00:00")
    assert history.add([FULL, failed], [DIGITS]) == Added(2, 0)
    again = History.open()
    assert again.evaluations() == [FULL, failed]
    assert again.datasets() == [DIGITS]


def test_written_twice_is_one_row_and_repeats_are_several(history: History) -> None:
    rows = [row(0.5), row(0.6, seed=1), row(0.7, seed=1), row(0.5, fidelity={"epochs": 6}), row(0.5, recipe={"lr": 0.2})]
    assert history.add([*rows, row(0.5)]) == Added(5, 1)
    assert history.add([replace(rows[0], source="elsewhere", time="2020-01-01", seconds=3.0), *rows]) == Added(0, 6)
    assert [r.value for r in history.evaluations()] == [0.5, 0.6, 0.7, 0.5, 0.5]


def test_a_setting_is_the_same_however_it_was_typed(history: History) -> None:
    assert history.add([row(recipe={"lr": 1, "b": 2}), row(recipe={"b": 2.0, "lr": 1.0})]) == Added(1, 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (row(math.nan), "value is nan"),
        (row(math.inf), "value is inf"),
        (row(None), "status failed"),
        (row(0.5, status="failed"), "leave the value out"),
        (row(93.5), "--unit percent"),
        (row(93.5, unit="percent"), "0.935"),
        (row(-0.1), "between 0 and 1"),
        (row(0.5, split="holdout"), "train, val, test"),
        (row(0.5, goal="up"), "max, min"),
        (row(0.5, seed=-1), "seed is -1"),
        (row(0.5, seconds=math.nan), "seconds"),
        (row(0.5, arch=""), "arch is empty"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_row_and_nothing_is_written(
    history: History, given: Evaluation, words: str
) -> None:
    with pytest.raises(BadInput, match="evaluation 2") as told:
        history.add([row(0.4), given])
    assert words in str(told.value)
    assert history.evaluations() == []


def test_a_value_that_is_no_share_may_be_any_finite_number(history: History) -> None:
    history.add([row(93.5, metric="loss", unit="", goal="min")])
    assert history.select()[0].value == 93.5


def test_a_data_set_of_one_class_is_refused(history: History) -> None:
    with pytest.raises(BadInput, match="one class alone"):
        history.add([], [replace(DIGITS, classes=("0",))])


def test_images_that_are_known_under_another_key_are_that_data_set(history: History) -> None:
    history.add([row()], [DIGITS])
    other = replace(DIGITS, key="folder-x", name="folder")
    assert history.add([row(data="folder-x"), row(0.6, data="folder-x")], [other]) == Added(1, 1)
    assert history.datasets() == [DIGITS]
    with pytest.raises(BadInput, match="known with other classes"):
        history.add([], [replace(DIGITS, classes=("a", "b"))])


def test_rows_of_several_kinds_are_not_mixed_silently(history: History) -> None:
    history.add([row(), row(0.6, seed=1), row(0.4, recipe={"lr": 0.2}), row(2.0, metric="loss", unit="", goal="min")])
    with pytest.raises(BadInput, match="3 kinds that cannot be mixed") as told:
        history.select()
    assert str(told.value).endswith("choose by metric or recipe")
    assert len(history.select(mixed=True)) == 4
    chosen = history.select(metric="accuracy", recipe=row().recipe_hash[:6])
    assert [r.value for r in chosen] == [0.5, 0.6]
    one_kind(chosen)
    with pytest.raises(BadInput, match="keep those of one goal in a history of their own"):
        one_kind([row(2.0, metric="loss", unit="", goal="min"), row(2.0, metric="loss", unit="", goal="max")])


def test_a_fidelity_is_asked_for_by_its_settings_or_its_json(history: History) -> None:
    history.add([row(fidelity={"epochs": 5}), row(0.6, fidelity={"epochs": 5, "width": 0.5})])
    assert [r.value for r in history.select(fidelity="epochs=5")] == [0.5]
    for asked in ("width=0.5, epochs=5", '{"width":0.5,"epochs":5.0}'):
        assert [r.value for r in history.select(fidelity=asked)] == [0.6]
    for asked in ("epochs", "epochs=five", '{"epochs"', "[5]"):
        with pytest.raises(BadInput, match=r"is neither of the form epochs=12,width=0.5 nor an object of JSON"):
            history.select(fidelity=asked)


def test_test_values_are_given_only_to_who_asks_for_them(history: History) -> None:
    history.add([row(), row(0.7, split="test")])
    assert [r.value for r in history.select()] == [0.5]
    assert [r.value for r in history.select(split="test")] == [0.7]


def test_failed_trainings_are_kept_and_never_selected(history: History) -> None:
    history.add([row(), row(None, status="failed", seed=2)])
    assert [r.value for r in history.select()] == [0.5]
    assert [r.status for r in history.evaluations()] == ["ok", "failed"]


@pytest.mark.parametrize(
    ("ask", "words"), [({"space": "mixpath-s5"}, "did you mean 'mixpath-s4'"), ({"data": "digit"}, "digits")]
)
def test_nothing_found_says_what_there_is(history: History, ask: dict[str, str], words: str) -> None:
    with pytest.raises(BadInput, match="is empty"):
        history.select()
    history.add([row()], [DIGITS])
    with pytest.raises(BadInput, match=words):
        history.select(**ask)  # type: ignore[arg-type]


def test_a_data_set_is_found_by_key_and_by_name(history: History) -> None:
    history.add([row(), row(0.3, data="mnist")], [DIGITS])
    assert [r.value for r in history.select(data="digits")] == [r.value for r in history.select(data=DIGITS.key)] == [0.5]


def test_repeats_become_a_mean_and_a_noise() -> None:
    rows = [row(0.5), row(0.7, seed=1), row(0.3, arch="b"), row(None, arch="c", status="failed"), row(0.4, data="mnist")]
    found = repeated(rows)
    assert found.archs == ("331P", "b", "331P")
    assert found.data == (DIGITS.key, DIGITS.key, "mnist")
    assert found.means.tolist() == pytest.approx([0.6, 0.3, 0.4])
    assert found.counts.tolist() == [2, 1, 1]
    assert found.noise == pytest.approx(math.sqrt(0.02))  # sample variance of 0.5 and 0.7
    assert repeated(rows[2:]).noise is None
    assert len(repeated([])) == 0


def test_spellings_of_one_network_are_repeats_unless_they_are_to_be_kept_apart() -> None:
    rows = [row(0.5), row(0.7, spelling="P133")]
    assert repeated(rows).counts.tolist() == [2]
    assert repeated(rows, spelt=True).archs == ("331P", "P133")


def test_dedupe_leaves_the_first_that_did_not_fail_of_each_training(history: History) -> None:
    rows = [row(None, status="failed"), row(0.5), row(0.6), row(0.7, seed=1), row(None, status="failed", seed=2)]
    history.add(rows)
    assert history.dedupe(dry=True) == (2, 1)
    assert len(history.evaluations()) == 5
    assert history.dedupe() == (2, 1)
    assert [(r.seed, r.value) for r in history.evaluations()] == [(0, 0.5), (1, 0.7), (2, None)]
    assert history.dedupe() == (0, 0)


def test_a_history_that_is_not_there_is_missing_and_is_not_made_by_asking(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no history in"):
        History.open(str(tmp_path / "none" / "h.sqlite"))
    assert not (tmp_path / "none").exists()


def test_an_address_is_a_path_a_url_or_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (str(tmp_path / "a" / "h.sqlite"), f"sqlite:///{tmp_path}/a/h.sqlite"):
        assert History.open(given, make=True).where == str(tmp_path / "a" / "h.sqlite")
    monkeypatch.delenv("NAS_HISTORY")
    assert History.open(make=True).where == str(tmp_path / "data" / "history.sqlite")
    monkeypatch.setenv("NAS_HISTORY", "off")
    with pytest.raises(BadInput, match="switched off"):
        History.open()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense://x", "cannot be opened"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://user:secret@host:port/name", "postgresql://… is no URL"),
        ("mysql://user:secret@host/name", r"mysql://user:\*\*\*@host/name needs the package .*: pip install mysqlclient"),
    ],
)
def test_an_address_that_is_none_is_told_in_one_line(url: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as told:
        History.open(url, make=True)
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)


def test_features_of_images_are_kept_by_data_set_and_extractor(history: History) -> None:
    two = replace(DIGITS, classes=("0", "1"))
    history.add([], [two])
    bank = [np.arange(12, dtype=np.float16).reshape(4, 3), np.array([[0.1, -2, 65504]], np.float16)]
    assert history.bank(two.key, "conv-1") is None
    assert history.put_bank(two.key, "conv-1", bank)
    assert not history.put_bank(two.key, "conv-1", [-some for some in bank])
    found = history.bank(two.key, "conv-1")
    assert found is not None
    assert all(f.dtype == np.float16 and (f == b).all() for f, b in zip(found, bank, strict=True))
    assert history.bank(two.key, "resnet18") is None


@pytest.mark.parametrize(
    ("bank", "words"),
    [
        ([np.zeros((4, 3), np.float16)], "2 classes"),
        ([np.zeros((65, 3), np.float16)] * 2, "65 images"),
        ([np.zeros((4, 3), np.float16), np.zeros((0, 3), np.float16)], "class 1 has the features of 0 images"),
        ([np.zeros((4, 3), np.float16), np.full((1, 3), np.inf, np.float16)], "class 1 has features that are not finite"),
        ([np.zeros((4, 0), np.float16)] * 2, "one number of features"),
        ([], "for each class"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused(history: History, bank: list[np.ndarray], words: str) -> None:
    history.add([], [replace(DIGITS, classes=("0", "1"))])
    with pytest.raises(BadInput, match=words):
        history.put_bank(DIGITS.key, "conv-1", bank)
    with pytest.raises(BadInput, match=f"did you mean '{DIGITS.key}'"):
        history.bank(DIGITS.key[:-1], "conv-1")
