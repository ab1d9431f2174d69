"""Making a benchmark: every training a row, resumed, failures kept, the same with one worker or two."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import nas

from nas_suite import pipeline, tables
from nas_suite.errors import BadInput
from nas_suite.pipeline import making
from nas_suite.run import Run
from nas_suite.tables import Table

SMALL = (
    *("--space", "mixpath-s4", "--precision", "fp32", "--epochs", 1, "--batch-size", 16),
    *("--set", "space.width=0.0625", "--set", "space.m=1", "--set", "space.stacks=1", "--set", "space.cells=1"),
    *("--set", "retrain.warmup_epochs=0", "--set", "retrain.pad=1", "--set", "retrain.cutout=0"),
)
SETS = (*SMALL, "--data", "digits", "--set", "data.size=8", "--set", "data.limit=48")


def make(name: str, *words: object) -> Any:
    return nas("bench", "make", name, *SETS, "--repeats", 2, *words)


def values(name: str) -> dict[str, list[Any]]:
    """All that two makings of one table must agree in."""
    table = Table.open(tables.there()[name])
    return {n: table.values(n).tolist() for n in table.columns if n != "train_time"}


def test_a_table_of_all_networks_trained_from_scratch() -> None:
    said = make("toy", "--json")
    assert said.data["result"]["networks"] == 3
    assert said.data["result"]["failed"] == 0
    table = Table.open(tables.there()["toy"])
    assert [*table.columns] == ["digits/val@1", "digits/test@1", "digits/train@1", "train_time", "macs", "params"]
    assert table.values("digits/val@1").shape == (3, 2)
    assert 0 <= np.nanmin(table.values("digits/val@1")) <= np.nanmax(table.values("digits/val@1")) <= 1
    assert len(np.unique(table.values("digits/val@1"))) > 1
    assert table.settings["width"] == 0.0625
    assert table.manifest["plan"]["settings"]["retrain"]["epochs"] == 1
    again = make("again", "--workers", 2, "--json")
    assert again.data["result"]["failed"] == 0
    assert values("again") == values("toy")
    assert not list(Path(said.data["run"]["path"]).glob(".training*"))


def test_a_making_that_was_stopped_goes_on_to_the_same_table(monkeypatch: pytest.MonkeyPatch) -> None:
    make("whole")
    real, calls = making.trained_from_scratch, []

    def stop(task: making.Training) -> dict[str, float]:
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(task)

    with monkeypatch.context() as context:
        context.setattr(making, "trained_from_scratch", stop)
        said = make("broken")
    assert said.code == 130
    assert "broken" not in tables.there()
    run = next(run for run in pipeline_runs() if run.record["bench"] == "broken")
    assert len(run.lines("rows.jsonl")) == 2
    with open(run.path / "rows.jsonl", "a") as file:
        file.write('{"arch": "1", "re')
    said = nas("runs", "resume", run.name)
    assert said.code == 0, said.err
    assert values("broken") == values("whole")
    assert "next: nas bench info broken" in said.err  # three networks are too few to be ranked


def pipeline_runs() -> list[Run]:
    from nas_suite.run import all_runs

    return all_runs()


def again(command: str) -> Any:
    """Pastes a command that made a table, once the table is gone."""
    words = shlex.split(command)[1:]
    tables.remove(words[2])
    return nas(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("--data", "digits", "--set", "data.size=8", "--set", "data.limit=48", "--seed", 3),
        ("--recipe", "mixpath-s4-digits", "--sample", 2, "--lr", 0.1, "--set", "space.node5_bias=true"),
        ("--set", "retrain.ema=0.5", "--set", "data.path={tmp}/its own.npz", "--data", "npz"),
    ],
)
def test_the_manifests_command_makes_the_same_table_again(words: tuple[Any, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "its own.npz", x=rng.integers(0, 256, (60, 8, 8, 1), np.uint8), y=np.arange(60) % 3)
    said = nas("bench", "make", "toy", *SMALL, "--repeats", 2, *(str(word).format(tmp=tmp_path) for word in words))
    assert said.code == 0, said.err
    first, manifest = values("toy"), tables.Table.open(tables.there()["toy"]).manifest
    said = again(manifest["command"])
    assert said.code == 0, said.err
    assert values("toy") == first
    twin = tables.Table.open(tables.there()["toy"]).manifest
    assert twin["command"] == manifest["command"]
    parts = ("space", "data", "retrain")
    assert [twin["plan"]["settings"][p] for p in parts] == [manifest["plan"]["settings"][p] for p in parts]


def test_the_command_of_the_table_in_the_package_is_whole() -> None:
    table = Table.open(tables.there()["s4-digits"])
    record = {"bench": "s4-digits", "repeats": 5, "plan": table.manifest["plan"]}
    assert making.command(Run(Path("x"), record)) == table.manifest["command"]


def test_a_table_that_was_removed_is_written_again_from_the_rows_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    make("toy")
    whole, run = values("toy"), pipeline_runs()[0]
    tables.remove("toy")
    assert f"next: nas runs resume {run.name}\n" in nas("runs", "show", run.name).err

    def never(task: making.Training) -> dict[str, float]:
        raise AssertionError(f"{task} was trained again")

    monkeypatch.setattr(making, "trained_from_scratch", never)
    said = nas("runs", "resume", run.name)
    assert said.code == 0, said.err
    assert values("toy") == whole
    assert "next: nas bench info toy" in said.err
    assert nas("runs", "resume", run.name).code == 0


def test_the_next_line_of_a_table_can_be_pasted() -> None:
    said = make("toy", "--sample", 2)
    assert "not to be ranked yet: toy has 2 networks, 2 of them distinct, with a digits/val@1" in said.err
    shown = nas("runs", "show", pipeline_runs()[0].name)
    resumed = nas("runs", "resume", pipeline_runs()[0].name)
    for each in (said, shown, resumed):
        line = next(line for line in each.err.splitlines() if line.startswith("next: "))
        assert line == "next: nas bench info toy"
        assert nas(*shlex.split(line)[2:]).code == 0
    ten = nas("bench", "make", "ten", *SETS, "--set", "space.m=4", "--sample", 10, "--repeats", 1)
    assert "next: nas rank --bench ten\n" in ten.err
    assert nas("rank", "--bench", "ten").code == 0


def test_a_training_that_fails_is_recorded_and_missing_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    real = making.trained_from_scratch

    def fail(task: making.Training) -> dict[str, float]:
        if (task.arch, task.repeat) == ("1", 1):
            raise RuntimeError("not enough\nmemory")
        return real(task)

    monkeypatch.setattr(making, "trained_from_scratch", fail)
    said = make("toy", "--json")
    assert said.data["result"]["failed"] == 1
    table = Table.open(tables.there()["toy"])
    assert np.isnan(table.values("digits/val@1")).sum() == 1
    run = pipeline_runs()[0]
    assert [row["error"] for row in run.lines("rows.jsonl") if "error" in row] == ["RuntimeError: not enough memory"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_is_no_fault_of_a_network(monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    with monkeypatch.context() as context:
        context.setattr(making, "trained_from_scratch", full)
        said = make("toy", "--workers", workers)
    assert said.code == 2
    assert said.out == ""
    (run,) = pipeline_runs()
    assert re.search(rf"no space is left on its disk.*nas runs resume {run.name}", said.err)
    assert run.lines("rows.jsonl") == []
    assert "toy" not in tables.there()
    assert nas("history", "list").code == 3  # nothing was remembered
    assert nas("runs", "resume", run.name).code == 0
    assert Table.open(tables.there()["toy"]).repeats("digits/val@1").shape[1] == 2


def full(task: making.Training) -> dict[str, float]:
    raise BadInput("cannot write") from OSError(28, "No space left on device")


def test_a_making_that_was_stopped_is_named_where_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setattr(making, "trained_from_scratch", full)
        make("toy")
    said = make("toy")
    assert said.code == 0
    assert "table_toy-1 was to make toy and was stopped: nas runs resume table_toy-1" in said.err


def test_a_sample_is_seeded_and_large_spaces_need_one() -> None:
    space = making.prepare(making.Plan(space="mixpath-s1", data="digits")).space
    first, again = (making.chosen(space, 5, 0) for _ in range(2))
    assert first == again
    assert len(set(first)) == 5
    assert making.chosen(space, 5, 1) != first
    with pytest.raises(BadInput, match="say with --sample how many of them"):
        making.chosen(space, None, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("taken",), "the table taken is already there"),
        (("a/b",), "'a/b' is no name for a benchmark"),
        ((".hidden",), "is no name for a benchmark"),
        (("macro",), "macro is the name of a published benchmark"),
        (("toy", "--set", "method.lr=1"), "--set method.lr has no effect here"),
        (("toy", "--set", "retrain.lr=-1"), "lr = "),
        (("toy", "--set", "space.width=0"), "width must be above 0 and at most 64, got 0"),
        (("toy", "--space", "mixpath-s5"), "unknown space 'mixpath-s5'"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_trained(words: tuple[str, ...], message: str) -> None:
    archs = np.array([[1], [2], [3]])
    column = (tables.accuracy("digits", "val", 1), np.zeros(3))
    tables.write(tables.Draft("taken", "mixpath-s4", archs, [column], settings={"m": 1}))
    said = nas("bench", "make", *SETS, *words)
    assert said.code == 2
    assert message in said.error
    assert pipeline_runs() == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_making_that_is_killed_goes_on_to_the_same_table(tmp_path: Path, workers: int) -> None:
    make("whole")
    words = [*map(str, SETS), "--repeats", "2", "--workers", str(workers), "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "nas_suite", "bench", "make", "killed", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    rows = tmp_path / "run" / "rows.jsonl"
    until = time.monotonic() + 240
    while time.monotonic() < until and not (rows.exists() and rows.read_text().count("\n")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert rows.read_text().count("\n") < 6
    pipeline.resume(Run.open(tmp_path / "run"))
    assert values("killed") == values("whole")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"


def test_a_table_of_images_in_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.integers(0, 256, (60, 8, 8, 1), np.uint8), y=np.arange(60) % 3)
    data = ("--data", "npz", "--set", f"data.path={tmp_path / 'own.npz'}")
    said = nas("bench", "make", "own", *SMALL, *data, "--repeats", 1, "--json")
    assert said.data["result"] | {"table": ""} == {"table": "", "networks": 3, "failed": 0}
