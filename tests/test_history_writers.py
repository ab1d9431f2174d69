"""What is trained is remembered: by retrain and bench make, failures too, and never at the cost of a training."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from command import nas
from test_direct import planned
from test_making import SETS

from nas_suite import pipeline
from nas_suite.engine import Diverged
from nas_suite.errors import BadInput
from nas_suite.history import History, kinds
from nas_suite.pipeline import making, prepare, remembering, retraining
from nas_suite.plan import Plan
from nas_suite.run import Run, all_runs


def make(*words: object) -> Any:
    said = nas("bench", "make", "toy", *SETS, "--repeats", 2, *words)
    assert said.code == 0, said.err
    return said


def origin(folder: Path) -> tuple[Run, Plan]:
    """A run of which one network can be retrained, as a search would be: the making's own."""
    run = next(run for run in all_runs() if run.record["kind"] == "table")
    return run, Plan.from_record(run.record["plan"])


@pytest.mark.slow
def test_every_training_of_a_benchmark_is_a_row_and_retraining_the_same_is_the_same_row(tmp_path: Path) -> None:
    make()
    history = History.open()
    found = history.evaluations()
    assert len(found) == 3 * 2 * 2  # networks, repeats, splits
    table = pipeline.bench("toy")
    for split in ("val", "test"):
        values = table.values(f"digits/{split}@1").ravel().tolist()
        assert sorted(row.value or 0 for row in found if row.split == split) == pytest.approx(sorted(values))
    run, plan = origin(tmp_path)
    (task,) = history.datasets()
    assert (task.content, len(task.classes), task.image_size, task.channels) == (run.record["fingerprint"], 10, 8, 1)
    row = found[0]
    assert row.fidelity == {"epochs": 1}
    assert (row.recipe["batch_size"], row.recipe["pad"], row.settings["width"], row.source) == (16, 1, 0.0625, run.name)
    assert row.seconds is not None
    assert row.seconds > 0
    pipeline.retrain(run, plan, "1", tmp_path / "retrained")
    assert len(history.evaluations()) == len(found)  # on one processor a training is a function of its seed
    pipeline.retrain(run, Plan.from_record({**plan.record(), "seed": 9}), "1", tmp_path / "another")
    assert [row.seed for row in history.evaluations()[len(found) :]] == [9, 9]
    assert len(kinds(history.select())) == 1


def test_a_training_that_failed_is_remembered_as_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = making.trained_from_scratch

    def fail(task: making.Training) -> dict[str, float]:
        if (task.arch, task.repeat) == ("1", 1):
            raise RuntimeError("not enough\nmemory")
        return real(task)

    monkeypatch.setattr(making, "trained_from_scratch", fail)
    make()
    (row,) = History.open().evaluations(status="failed")
    assert (row.arch, row.seed, row.value, row.error) == ("1", 1, None, "RuntimeError: not enough memory")

    def diverges(*_: object) -> int:
        raise Diverged("loss is nan")

    run, plan = origin(tmp_path)
    monkeypatch.setattr(retraining, "fit", diverges)
    with pytest.raises(Diverged):
        pipeline.retrain(run, Plan.from_record({**plan.record(), "seed": 4}), "P", tmp_path / "diverged")
    row = History.open().evaluations(status="failed")[-1]
    assert (row.arch, row.seed, row.error) == ("P", 4, "Diverged: loss is nan")


def test_a_history_that_cannot_be_written_fails_no_training_and_is_told_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "garbage").write_bytes(b"no database\n" * 1000)
    monkeypatch.setenv("NAS_HISTORY", str(tmp_path / "garbage"))
    make()
    assert "toy" in {entry["name"] for entry in nas("bench", "list", "--json").data}
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("warning: the history cannot be written, the training goes on: the history ")
    assert last.startswith("warning: 12 evaluations of table_toy-1 not remembered: the history ")
    assert "\n" not in first + last


def test_what_was_refused_in_between_is_there_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = History.add, []

    def add(self: History, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise BadInput("locked")
        return real(self, *given)

    monkeypatch.setattr(History, "add", add)
    make()
    assert len(calls) == 3
    assert len(History.open().evaluations()) == 12
    assert len(caplog.records) == 1


def test_what_a_kill_left_between_a_row_and_the_history_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: History, *given: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(History, "add", killed)
        assert nas("bench", "make", "toy", *SETS, "--repeats", 2).code == 130
    run = all_runs()[0]
    assert len(run.lines("rows.jsonl")) == 1
    assert nas("runs", "resume", run.name).code == 0
    assert len(History.open().evaluations()) == 12


def test_the_history_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    file = Path(os.environ["NAS_HISTORY"])
    monkeypatch.setenv("NAS_HISTORY", "off")
    make("--sample", 2)
    assert not file.exists()
    assert not (Path(os.environ["NAS_DATA"]) / "history.sqlite").exists()
    assert caplog.records == []
    assert "the history is switched off" in nas("history", "stats").error


def test_a_data_set_without_features_is_told_of_and_its_trainings_are_remembered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unseen(*_: object) -> None:
        raise BadInput("class 3 has no training image")

    monkeypatch.setattr(remembering, "seen", unseen)
    where = prepare(planned("tnas"))
    memory = remembering.Memory(where, "run")
    for seed in range(2):
        memory.note(where.space.describe(where.space.sample(random.Random(1))), seed, {"val": 0.5})
        memory.write()
    memory.close()
    assert [row.seed for row in History.open().evaluations()] == [0, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "warning: digits cannot be compared with other data sets: class 3 has no training image"
    ]
