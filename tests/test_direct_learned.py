"""A search that has learned from other data sets: through the command line, through kills, and beside another."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from command import forked, nas
from test_direct import planned, search, told
from test_meta import SHORT, fill

from nas_suite import pipeline
from nas_suite.history import History
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.run import TRIALS, Run

SETS = [word for one in ("data.size=8", "data.limit=96", "retrain.batch_size=16", "retrain.epochs=1", "retrain.warmup_epochs=0",
                         "retrain.pad=1", "space.width=0.125", "space.cells=1") for word in ("--set", one)]  # fmt: skip


def killed_after(lines: int, folder: Path, begin: Callable[[], object]) -> list[dict]:
    """The trials of a search that was killed as soon as so many were written down."""
    child = forked(begin)
    deadline = time.monotonic() + 120
    while not (folder / TRIALS).exists() or (folder / TRIALS).read_bytes().count(b"\n") < lines:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return Run.open(folder).trials()


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "ends"), [(1, range(1, 8)), (2, (1, 4, 5))])
def test_killed_after_any_evaluation_the_remaining_proposals_are_the_same(
    parallel: int, ends: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    checkpoint = meta_train(Asked("nasbench201", schedule=SHORT)).path
    plan = planned("tnas", "method.budget=8", "method.finalists=0", f"method.parallel={parallel}")
    monkeypatch.setenv(
        "NAS_HISTORY", str(tmp_path / "whole.sqlite")
    )  # each begins with the same and does not know of the others
    whole = search(plan, checkpoint=checkpoint, out=tmp_path / "whole")
    for lines in ends:
        monkeypatch.setenv("NAS_HISTORY", url := str(tmp_path / f"{lines}.sqlite"))
        folder = tmp_path / str(lines)
        before = killed_after(lines, folder, lambda at=folder: search(plan, checkpoint=checkpoint, out=at))
        assert len(before) >= lines
        resumed = pipeline.resume(Run.open(folder))
        assert resumed.trials()[: len(before)] == before
        assert told(resumed) == told(whole)
        rows = History.open(url).evaluations()
        assert sorted(row.arch for row in rows) == sorted(trial["arch"] for trial in resumed.trials()), "none lost, none twice"


@pytest.mark.slow
def test_two_searches_write_to_one_history_at_once(tmp_path: Path) -> None:
    History.open(make=True)
    plans = [
        planned("random", "method.budget=9", "method.finalists=1", "method.finalist_seeds=2", f"data.seed={at}")
        for at in (0, 1)
    ]
    folders = [tmp_path / str(at) for at in (0, 1)]
    children = [forked(lambda p=plan, f=folder: search(p, out=f)) for plan, folder in zip(plans, folders, strict=True)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    history = History.open()
    rows = history.evaluations()
    assert len(history.datasets()) == 2
    for folder in folders:
        run = Run.open(folder)
        assert run.record["status"] == "done"
        own = [row for row in rows if row.data.endswith(run.record["fingerprint"])]
        assert len(own) == 9 + 2
        assert [row.arch for row in own[:9]] == [trial["arch"] for trial in run.trials()]
    assert len(rows) == 22


def test_from_a_history_to_a_network_through_the_command_line(tmp_path: Path) -> None:
    """Without network, GPU or anybody's weights: learned from a history, searched by what was learned, reported."""
    fill()
    learned = nas("meta-train", "tnas", "--preset", "tiny", "--epochs", 1, "--out", tmp_path / "ckpt")
    assert learned.code == 0, learned.err
    words = ("search", "tnas", "--data", "digits", "--checkpoint", tmp_path / "ckpt", "--budget", 6, "--finalists", 1)
    said = nas(*words, *SETS, "--finalist-seeds", 1, "--out", tmp_path / "found", "--json")
    assert said.data["result"]["evaluated"] == 6
    assert Run.open(tmp_path / "found").record["beginning"] == "surrogate"
    assert 0 < said.data["result"]["test_accuracy"]["mean"] < 1
    assert nas("report", tmp_path / "found", "--out", tmp_path / "report.html").code == 0
    assert "surrogate" in (tmp_path / "report.html").read_text()
