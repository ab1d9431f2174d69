"""Supernets as estimators: grouped by seed, found under the runs, matched with benchmarks of their own and of wider spaces."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import nas
from scipy.stats import kendalltau
from test_ranking import S4, VAL, toy

from nas_suite import pipeline, tables
from nas_suite.pipeline import estimating
from nas_suite.pipeline.field import field
from nas_suite.run import Run, runs_root
from nas_suite.spaces import SPACES
from nas_suite.tables import Draft

TINY = (
    *("--data", "digits", "--space", "mixpath-s4", "--epochs", 1, "--batch-size", 32, "--precision", "fp32"),
    *("--set", "data.size=8", "--set", "data.limit=64", "--set", "space.width=0.0625", "--set", "space.stacks=1"),
    *("--set", "space.cells=1", "--set", "method.pad=1", "--set", "method.cutout=0"),
    *("--set", "method.calib_images=64", "--set", "method.score_images=200"),
)
SMALL = {"width": 0.0625, "stacks": 1, "cells": 1}  # the same settings of the space, as a table tells them


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two supernets of S4 that differ in their seed alone, and one with another norm."""
    root = tmp_path_factory.mktemp("supernets")
    for name, words in {"a": ("--seed", 0), "b": ("--seed", 1), "c": ("--set", "method.norm=vanilla")}.items():
        said = nas("train-supernet", "mixpath", *TINY, *words, "--out", root / name)
        assert said.code == 0, said.err
    return root


@pytest.fixture
def supernets(trained: Path) -> Path:
    """The same under the folder of runs of this test."""
    shutil.copytree(trained, runs_root())
    return runs_root()


def ranked(*words: object) -> Any:
    return nas("rank", "--bench", "toy", *words, "--json").data


def test_runs_that_differ_in_their_seed_alone_are_one_estimator(supernets: Path) -> None:
    toy()
    data = ranked("--run", "a", "--run", "c", "--run", "b")
    assert [e["name"] for e in data["estimators"]] == ["a ×2", "c", "params", "macs", "depth"]
    pair = data["estimators"][0]
    assert [seed["run"] for seed in pair["seeds"]] == ["a", "b"]
    assert pair["seeds_mean"] == pytest.approx(np.mean([seed["tau"] for seed in pair["seeds"]]))
    assert pair["training_seconds"] > 0
    alone = ranked("--run", "b")["estimators"][0]
    assert alone["tau"] == pytest.approx(pair["seeds"][1]["tau"])
    assert "seeds" not in alone
    said = nas("rank", "--bench", "toy", "--run", "a", "--run", "b")
    assert "a ×2: tau of each seed" in said.out


def test_scores_are_those_of_the_search(supernets: Path) -> None:
    toy()
    name = ranked("--run", "a")["run"]["name"]
    lines = {line["arch"]: line["score"] for line in Run.open(runs_root() / name).lines("scores.jsonl")}
    assert len(lines) == 34
    _, method = pipeline.trained(Run.open(supernets / "a"))
    for text in ("331P", "1", "PPPP"):
        assert lines[text] == pytest.approx(1 - method.scorer().score([S4.parse(text)])[0])


def test_without_estimators_the_runs_of_the_space_are_found(supernets: Path) -> None:
    toy()
    assert [e["name"] for e in ranked()["estimators"]][:2] == ["a ×2", "c"]
    assert [e["name"] for e in ranked("--estimator", "macs")["estimators"]] == ["macs", "params", "depth"]


def test_runs_of_other_data_are_left_out_unless_they_are_named(supernets: Path, tmp_path: Path) -> None:
    toy(settings=SMALL)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.integers(0, 256, (100, 8, 8, 1), np.uint8), y=np.arange(100) % 10)
    own = ("--data", "npz", "--set", f"data.path={tmp_path / 'own.npz'}", "--out", supernets / "d")
    words = [word for at, word in enumerate(TINY) if "data.size=8" not in TINY[at : at + 2]]
    said = nas("train-supernet", "mixpath", *words, *own)
    assert said.code == 0, said.err
    data = ranked()
    assert [e["name"] for e in data["estimators"]] == ["a ×2", "c", "params", "macs", "depth"]
    foreign = f"npz {tmp_path / 'own.npz'}"
    left_out = f"left out, trained on other data than digits/val@9 is of (digits): d ({foreign}); --run takes one all the same"
    assert data["notes"] == [left_out]
    said = nas("rank", "--bench", "toy")
    assert left_out in said.out.splitlines()
    assert left_out in nas("runs", "show", data["run"]["name"]).out
    named = ranked("--run", "d", "--run", "a")
    assert [e["name"] for e in named["estimators"]][:2] == ["d", "a"]
    assert named["notes"] == [f"d was trained on {foreign}; digits/val@9 is of digits"]
    assert ranked("--metric", "letters", "--estimator", "macs")["notes"] == []


def test_a_run_without_a_whole_checkpoint_is_left_out_unless_it_is_named(supernets: Path) -> None:
    toy(settings=SMALL)
    for weights in (supernets / "c").glob("checkpoint*/weights.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])
    data = ranked()
    assert [e["name"] for e in data["estimators"]] == ["a ×2", "params", "macs", "depth"]
    assert data["notes"] == ["left out, for no checkpoint of theirs is whole: c"]
    said = nas("rank", "--bench", "toy", "--run", "c")
    assert said.code == 2
    assert "is damaged" in said.err


def test_settings_of_data_and_space_that_differ_from_the_benchmarks_are_told(supernets: Path) -> None:
    own = {"size": 8, "limit": 64}  # as TINY has them; what is not spelt out is the default
    more: Any = {"settings": SMALL, "more": {"plan": {"data": "digits", "settings": {"data": own}}}}
    toy(**more)
    assert ranked("--run", "a")["notes"] == []
    tables.remove("toy")
    noisy = {**own, "noise": 0.25, "val_fraction": 0.4}
    toy(settings={**SMALL, "cells": 2}, more={"plan": {"data": "digits", "settings": {"data": noisy}}})
    apart = "data.val_fraction = 0.2, not 0.4; data.noise = 0.0, not 0.25"
    every = f"a, c, b: settings differ from those that made toy: {apart}; space.cells = 1, not 2"
    data = ranked("--run", "a", "--run", "c", "--run", "b")
    assert data["notes"] == [every]
    found = ranked()
    assert [e["name"] for e in found["estimators"]][:2] == ["a ×2", "c"]  # not refused
    assert apart in found["notes"][0]
    assert found["notes"][0] in nas("rank", "--bench", "toy").out.splitlines()
    assert "data." not in ranked("--run", "a", "--metric", "letters")["notes"][-1]  # whose data has no settings here


def test_supernets_are_left_out_where_the_metric_is_a_cost_and_told_of_where_they_are_named(supernets: Path) -> None:
    toy(settings=SMALL)
    data = ranked("--metric", "energy")
    assert [e["name"] for e in data["estimators"]] == ["params", "macs", "depth"]
    assert data["notes"] == [
        "left out, supernets guess accuracies, and energy is a cost: a, b, c; --run takes one all the same"
    ]
    against, beside = ranked("--metric", "energy", "--run", "a"), ranked("--run", "a")
    assert against["notes"][0].startswith("energy is a cost, of which less is better, but guesses of accuracy")
    scores = {line["arch"]: line["score"] for line in Run.open(Path(beside["run"]["path"])).lines("scores.jsonl")}
    energy = {S4.describe(arch): 0.5 - 0.1 * arch.count(1) - 0.03 * arch.count(2) for arch in S4.everything()}
    wanted = kendalltau([scores[text] for text in energy], [*energy.values()]).statistic
    assert against["estimators"][0]["tau"] == pytest.approx(wanted)
    assert against["protocol"] != beside["protocol"]


def test_images_of_the_users_own_are_told_apart_by_where_they_lie() -> None:
    def plan(data: str, **settings: str) -> dict[str, Any]:
        return {"data": data, "settings": {"data": settings}}

    assert estimating.images_of(plan("npz", path="/a.npz")) == "npz /a.npz"
    assert estimating.images_of(plan("cifar10", path="/somewhere")) == "cifar10"
    assert estimating.images_of(plan("digits")) == "digits"
    table = toy(more={"plan": plan("digits", path="/a")})
    assert estimating.judged_on(table, VAL) == "digits /a"
    assert estimating.judged_on(table, table.metric("letters")) == "letters"


def test_a_wider_benchmark_is_ranked_where_its_cells_are_the_spaces(supernets: Path) -> None:
    wide = SPACES.build("nasbench101", {})
    cells = [wide.spelt(S4.cell(arch)) for arch in S4.everything()]
    others = [wide.parse(text) for text in ("o@0", "3@0-3@1-o@2")]
    archs = np.array([*cells, *others])
    rising = np.array([*(float((np.array(arch) == 1).sum()) for arch in S4.everything()), 9.0, 9.0])
    tables.write(Draft("toy", "nasbench101", archs, [(VAL, rising)]))
    data = ranked("--run", "a")
    assert (data["n"], data["distinct"], data["of"]) == (34, 34, 36)
    found = field(pipeline.bench("toy"), own=S4, sample=None)
    convolutions = [arch.count(1) for arch in found.archs]
    assert convolutions == found.truth.values.tolist()
    paper = ranked("--run", "a", "--protocol", "paper")
    assert paper["n"] == 255
    assert ranked()["n"] == 36


def test_runs_of_another_space_or_unfinished_are_refused(supernets: Path) -> None:
    toy()
    macro = SPACES.build("macro", {})
    tables.write(Draft("other", "macro", np.array(list(macro.everything())[:20]), [(VAL, np.arange(20.0))]))
    said = nas("rank", "--bench", "other", "--run", "a")
    assert said.code == 2
    assert "other holds networks of macro, not of mixpath-s4, the space of run a: give a run of macro" in said.error
    narrow = SPACES.build("mixpath-s4", {"m": 2})
    archs = np.array(list(narrow.everything()))
    tables.write(Draft("narrow", "mixpath-s4", archs, [(VAL, np.arange(9.0))], settings={"m": 2}))
    assert "narrow has 9 networks" in nas("rank", "--bench", "narrow", "--run", "a").error
    Run.open(supernets / "a").update(status="interrupted")
    said = nas("rank", "--bench", "toy", "--run", "a")
    assert said.code == 2
    assert "nas runs resume a` goes on with it" in said.error
    nas("rank", "--bench", "toy", "--estimator", "macs", "--out", supernets / "ranking")
    said = nas("rank", "--bench", "toy", "--run", "ranking")
    assert "is a rank run; --run takes trained supernets" in said.error


def test_a_supernet_that_was_trained_again_is_not_mixed_into_a_ranking(supernets: Path) -> None:
    toy()
    run = Run.open(runs_root() / ranked("--run", "a")["run"]["name"]).update(status="interrupted")
    shutil.rmtree(supernets / "a")
    shutil.copytree(supernets / "b", supernets / "a")
    said = nas("runs", "resume", run.name)
    assert said.code == 2
    assert "began with the weights of a" in said.error
    assert "rank the supernet anew" in said.error


def test_who_removes_a_supernet_is_told_of_its_rankings(supernets: Path) -> None:
    toy()
    ranking = ranked("--run", "a")["run"]["name"]
    said = nas("runs", "rm", "a", answer="n\n")
    assert f"used by {ranking}" in said.err
