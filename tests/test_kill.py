"""SIGKILL at random moments: whatever a run was doing, it resumes to the bit where an unbroken one ends."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command import forked
from test_deriving import planned, table_of

from nas_suite import pipeline
from nas_suite.pipeline.ranking import SCORES, Request
from nas_suite.pipeline.setting import deployed, prepare
from nas_suite.plan import Plan, compose
from nas_suite.run import LOG, TRIALS, Run, run_at

KILLS = 10
SETS = [
    "data.size=8", "data.limit=160", "space.width=0.1", "space.kernels=[3,5]", "method.epochs=4", "method.batch_size=16",
    "method.budget=40", "method.population=8", "method.calib_images=32", "retrain.epochs=4", "retrain.batch_size=16",
    "retrain.ema=0.9", "retrain.drop_path=0.1",
]  # fmt: skip
PLAN = compose(Plan(precision="fp32"), "mixpath-digits", sets=SETS)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_suite.engine.SAVE_SECONDS", 0.05)


def survive(name: str, start: Any, seconds: float, seed: int) -> tuple[Run, int]:
    """Starts a run, kills it at random moments and resumes it; the run at its end, and how many kills hit it alive."""
    rng = random.Random(seed)
    kills = 0
    for attempt in range(KILLS):
        there = (Path(os.environ["NAS_RUNS"]) / name / "run.json").exists()
        child = forked((lambda: pipeline.resume(run_at(name))) if there else start)
        time.sleep(rng.uniform(0.0, seconds * 0.1) if attempt else 0.01)
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if not (Path(os.environ["NAS_RUNS"]) / name / "run.json").exists():
        start()
    return pipeline.resume(run_at(name)), kills


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.load()[1]["weights"]  # type: ignore[index]


def same(first: Run, second: Run) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    strip = [[{k: v for k, v in line.items() if "second" not in k} for line in run.lines(LOG)] for run in (first, second)]
    assert strip[0] == strip[1]


@pytest.mark.slow
def test_training_search_and_retraining_survive_kill_9(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    started = time.monotonic()
    whole = pipeline.train_supernet(PLAN, tmp_path / "whole")
    seconds = time.monotonic() - started
    broken, kills = survive("supernet", lambda: pipeline.train_supernet(PLAN, out / "supernet"), seconds, 1)
    assert kills >= KILLS // 2
    assert broken.record["status"] == "done"
    same(whole, broken)

    names = ["error", "macs"]
    started = time.monotonic()
    found = pipeline.search_supernet(whole, PLAN, names, {}, tmp_path / "found")
    seconds = time.monotonic() - started
    again, kills = survive("search", lambda: pipeline.search_supernet(whole, PLAN, names, {}, out / "search"), seconds, 2)
    assert kills >= KILLS // 2
    trials = [[(line["arch"], line["values"]) for line in run.lines(TRIALS)] for run in (found, again)]
    assert trials[0] == trials[1]
    assert found.lines(LOG) == again.lines(LOG)
    fronts = [[(t["arch"], t["values"]) for t in pipeline.front(run)] for run in (found, again)]
    assert fronts[0] == fronts[1]

    arch = pipeline.choose(found, best=1)
    started = time.monotonic()
    trained = pipeline.retrain(found, PLAN, arch, tmp_path / "trained")
    seconds = time.monotonic() - started
    network, _ = survive("retrain", lambda: pipeline.retrain(found, PLAN, arch, out / "retrain"), seconds, 3)
    same(trained, network)
    assert trained.record["result"] == network.record["result"]


@pytest.mark.slow
def test_a_search_for_a_latency_survives_kill_9(tmp_path: Path) -> None:
    """In the warm-up, in steps of weights and choices, and between epochs, where widths are scaled and channels sorted."""
    plan = planned("method.epochs=6", "method.warmup_epochs=2", "method.latency=0.55")
    table = table_of(deployed(prepare(plan)))
    started = time.monotonic()
    whole = pipeline.derive(plan, table, out=tmp_path / "whole")
    seconds = time.monotonic() - started
    broken, kills = survive("bilevel", lambda: pipeline.derive(plan, table, out=tmp_path / "runs" / "bilevel"), seconds, 4)
    assert kills >= KILLS // 2
    same(whole, broken)
    assert broken.record["result"] == whole.record["result"]
    assert whole.load()[1]["widths"] == broken.load()[1]["widths"]  # type: ignore[index]


@pytest.mark.slow
def test_a_ranking_survives_kill_9(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_suite.pipeline.ranking.FIRST", 1)
    monkeypatch.setattr("nas_suite.pipeline.ranking.PIECE", 0.0)
    request = Request("s4-digits", ("naswot", "epe_nas", "grad_norm"), sample=None)
    started = time.monotonic()
    whole = pipeline.rank_networks(request, out=tmp_path / "whole")
    seconds = time.monotonic() - started
    broken, kills = survive("rank", lambda: pipeline.rank_networks(request, out=tmp_path / "runs" / "rank"), seconds, 4)
    assert kills >= KILLS // 2
    scores = [[(line["source"], line["arch"], line["score"]) for line in run.lines(SCORES)] for run in (whole, broken)]
    assert scores[0] == scores[1]
    taus = [[(e["name"], e["tau"], e["tau_low"]) for e in run.record["result"]["estimators"]] for run in (whole, broken)]
    assert taus[0] == taus[1]
