"""Searchers that have learned, compared: their checkpoints, what they begin with, ablations, and what is refused."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import nas
from test_comparing import lines, toy
from test_deep import SPACE, experience, kernel

from nas_suite import pipeline
from nas_suite.bayes import Bayes
from nas_suite.data import DATA
from nas_suite.encoders.banks import Bank, bank
from nas_suite.encoders.features import RandomConvolutions
from nas_suite.errors import BadInput, Missing
from nas_suite.pipeline import comparing, sights
from nas_suite.pipeline.comparing import arena_of
from nas_suite.pipeline.contest import Arena, Contest, opened
from nas_suite.rivals import opening, ranked
from nas_suite.run import JOBS, WRITTEN, run_at
from nas_suite.space import Arch
from nas_suite.surrogate.deep import Build, DeepKernel, Networks
from nas_suite.surrogate.experience import Shelf
from nas_suite.surrogate.learned import Learned
from nas_suite.surrogate.standard import Standardiser
from nas_suite.surrogate.transfer import Transfer, warm
from nas_suite.telling import beginning


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of deep kernels that nothing trained: whole, without a graph, without data sets, and of a small history."""
    root = tmp_path_factory.mktemp("learned")
    told = experience()
    builds = {"whole": Build("tiny"), "flat": Build("tiny", "one-hot"), "blind": Build("tiny", datasets=False)}
    for name, build in {**builds, "small": None}.items():
        made, shelf = kernel(build) if build else (None, None)
        standardiser = Standardiser.of(told.values)
        (root / name).mkdir()
        Learned.of("nasbench201", SPACE, told, standardiser, "codes-1", shelf, made).save(root / name, {})
    return root


@pytest.fixture(autouse=True)
def bench(saved: Path, apart: None) -> list[Arch]:
    """A benchmark of some networks of NAS-Bench-201, half of which the history knows."""
    rng = random.Random(3)
    archs = sorted({*(SPACE.sample(rng) for _ in range(30)), *experience().archs[:30]})
    worth = np.array([sum(option in (2, 3) for option in arch) for arch in archs]) / 10 + np.linspace(0, 0.05, len(archs))
    toy("toy", "nasbench201", archs, worth)
    return archs


def asked(saved: Path, *names: str, folder: str = "whole", **more: Any) -> Contest:
    return Contest("toy", names, budget=7, seeds=1, **{"checkpoints": {"": str(saved / folder)}, **more})


def rows(contest: Contest) -> dict[str, list[int]]:
    return {line["searcher"]: line["rows"] for line in lines(pipeline.compare(contest))}


def believed(contest: Contest, saved: Path) -> list[int]:
    """Rows by what was learned, the best first."""
    arena = opened(contest)
    order = ranked(arena.region, Transfer(Learned.load(saved / "whole", "nasbench201", SPACE)))
    return [arena.space.rows[arch] for arch in order]


def test_learned_searchers_begin_with_what_they_believe(saved: Path) -> None:
    contest = asked(saved, "tnas", "metad2a", "tnas:no-meta", "tnas:random-init")
    found, arena = rows(contest), opened(contest)
    order = believed(contest, saved)
    whole = Transfer(Learned.load(saved / "whole", "nasbench201", SPACE))
    warm_start = [arena.space.rows[arch] for arch in opening(arena.region, whole, contest.seed)]
    assert warm_start[0] == order[0]
    assert set(warm_start) <= set(order[:20])
    assert found["metad2a"] == order[:7]
    assert found["tnas"][:5] == found["tnas:no-meta"][:5] == warm_start
    assert found["tnas:random-init"][:5] != warm_start


def test_another_seed_draws_another_design_of_the_best(saved: Path) -> None:
    whole = Transfer(Learned.load(saved / "whole", "nasbench201", SPACE))
    region = opened(asked(saved, "tnas")).region
    designs = [opening(region, whole, seed) for seed in range(4)]
    assert designs == [opening(region, whole, seed) for seed in range(4)]
    assert len({arch for one in designs for arch in one}) > 5
    assert len({one[0] for one in designs}) == 1, "what is believed best is tried whatever the seed"


def test_rivals_can_be_given_the_design_of_tnas(saved: Path) -> None:
    found = rows(asked(saved, "gp-ei", "tnas", "random", same_init=True))
    own = rows(asked(saved, "tnas"))["tnas"]
    assert found["gp-ei"][:5] == found["random"][:5] == found["tnas"][:5] == own[:5]
    assert found["tnas"] == own


def test_the_published_design_is_the_best_of_the_history(saved: Path) -> None:
    contest = asked(saved, "random", "tnas", init=("paper",))
    run, arena = pipeline.compare(contest), opened(contest)
    told = experience()
    best = [told.archs[at] for at in told.arch[np.argsort(-told.values, kind="stable")]]
    wanted = [arch for arch in dict.fromkeys(best) if arch in arena.space.rows][:5]
    texts = [SPACE.describe(arch) for arch in wanted]
    assert run.record["result"]["init"] == list(run.record["init"]) == texts
    for line in run.lines(JOBS):
        assert line["rows"][:5] == [arena.space.rows[arch] for arch in wanted]


def test_a_history_too_small_to_learn_from_begins_with_the_best_in_it(saved: Path) -> None:
    contest = asked(saved, "tnas", folder="small")
    arena, told = opened(contest), experience()
    wanted = [arena.space.rows[arch] for arch in warm(told, len(told.archs)) if arch in arena.space.rows][:5]
    run = pipeline.compare(contest)
    assert run.lines(JOBS)[0]["rows"][:5] == wanted
    assert "too little for a deep kernel, and a plain Gaussian process searches" in run.record["result"]["notes"][0]
    found = rows(asked(saved, "tnas:random-init", "tnas:no-meta", folder="small"))
    assert found["tnas:random-init"][:5] != wanted
    assert found["tnas:no-meta"][:5] == wanted


def test_a_checkpoint_of_other_widths_and_a_design_that_nobody_is_charged_with(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Learned.load(saved / "whole", "nasbench201", SPACE)
    (tmp_path / "narrow").mkdir()
    small.save(tmp_path / "narrow", {"settings": {"width": 0.25, "cells": 5}})
    real, clock = Arena.design, [0.0]

    def slow(arena: Arena, seed: int) -> list[Arch]:
        clock[0] += 100
        return real(arena, seed)

    monkeypatch.setattr(Arena, "design", slow)
    monkeypatch.setattr(comparing.time, "perf_counter", lambda: clock[0])
    contest = asked(saved, "random", "tnas", checkpoints={"": str(tmp_path / "narrow")}, same_init=True)
    run = pipeline.compare(contest)
    assert "tnas: learned of nasbench201 with width 0.25, here 1.0" in run.record["result"]["notes"]
    assert next(line for line in run.lines(JOBS) if line["searcher"] == "random")["seconds"] == 0.0


def test_rivals_alone_can_begin_as_tnas_would(saved: Path) -> None:
    own = rows(asked(saved, "tnas"))["tnas"]
    contest = asked(saved, "gp-ei", "random", same_init=True)
    run = pipeline.compare(contest)
    assert all(line["rows"][:5] == own[:5] for line in run.lines(JOBS))
    assert beginning(run.record) == "the best by what tnas has learned"


def test_what_is_not_known_of_a_data_set_is_said(saved: Path) -> None:
    names = {"tnas": "whole", "tnas:no-dataset": "blind", "tnas:no-graph": "flat"}
    places = {name: str(saved / folder) for name, folder in names.items()}
    result = pipeline.compare(asked(saved, *names, "random", checkpoints=places)).record["result"]
    said = "no features of digits are at hand, so that it has the neutral code of no data set"
    assert result["notes"] == [f"tnas, tnas:no-graph: {said}"]
    assert pipeline.compare(asked(saved, "random", same_init=True)).record["result"]["notes"] == [
        f"the initial design of tnas: {said}"
    ]


def forgotten(*_: object) -> None:
    raise Missing("not on this machine")


class Nowhere:
    """A data set that is not on this machine."""

    def available(self) -> bool:
        return False


def test_a_data_set_whose_images_are_at_hand_is_seen_and_stays_so(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that compares images searches by those of the benchmark's data set, its training images alone; a comparison
    that goes on elsewhere still has their features."""
    told, rng, splits = experience(), np.random.default_rng(0), DATA.build("digits", {}).splits()
    images = bank(splits.train, splits.mean, splits.std, RandomConvolutions(), 10)
    banks = [Bank("conv-1", tuple(rng.random((3, 512), np.float32) for _ in range(4))) for _ in told.names]
    shelf = Shelf.of([images if at in (1, 3) else one for at, one in enumerate(banks)])  # where convolutions do harm
    torch.manual_seed(0)
    made = DeepKernel(Build("tiny"), Networks(SPACE, "canonical"), 512, shelf.means)
    (tmp_path / "seer").mkdir()
    seer = Learned.of("nasbench201", SPACE, told, Standardiser.of(told.values), "conv-1", shelf, made)
    seer.save(tmp_path / "seer", {})
    contest = asked(saved, "tnas", "metad2a", "tnas:no-meta", checkpoints={"": str(tmp_path / "seer")})
    run = pipeline.compare(contest)
    assert run.record["seen_by"] == ["conv-1"]
    assert run.record["result"]["notes"] == []
    assert all(np.array_equal(a, b) for a, b in zip(sights.kept(run)["conv-1"].classes, images.classes, strict=True))
    arena = replace(opened(contest), banks=sights.kept(run))
    knowing, neutral = (Transfer(Learned.load(tmp_path / "seer", "nasbench201", SPACE), one) for one in (images, None))
    searcher = arena.searcher("tnas", 0, None)
    assert isinstance(searcher, Bayes)
    wanted, other, got = (model.posterior(arena.space.archs)[0] for model in (knowing, neutral, searcher.model))
    assert torch.equal(got, wanted)
    assert (wanted - other).abs().max() > 0.01
    found = {line["searcher"]: line["rows"] for line in run.lines(JOBS)}
    assert found["metad2a"] == [arena.space.rows[arch] for arch in ranked(arena.region, knowing)][:7]
    with monkeypatch.context() as elsewhere:
        (run.path / sights.FILE).unlink()  # killed before they were written
        run.rewrite(JOBS, [])
        arena_of.cache_clear()
        again = pipeline.resume(run.update(status="interrupted"))
        assert {line["searcher"]: line["rows"] for line in again.lines(JOBS)} == found
        elsewhere.setattr(sights, "extractor", forgotten)  # and never looked at anew where they are there
        run.rewrite(JOBS, [])
        arena_of.cache_clear()
        again = pipeline.resume(run.update(status="interrupted"))
        assert {line["searcher"]: line["rows"] for line in again.lines(JOBS)} == found
    (run.path / sights.FILE).write_bytes(b"garbage")
    with pytest.raises(BadInput, match=r"images\.safetensors is damaged"):
        pipeline.resume(run.update(status="interrupted"))
    assert WRITTEN.fullmatch(sights.FILE)
    far = replace(arena.table, manifest={"plan": {"data": "folder", "settings": {"data": {"path": "/nowhere"}}}})
    assert sights.taken(far, "folder", 8, arena.learned) == {}
    few = replace(arena.table, manifest={"plan": {"data": "digits", "settings": {"data": {"limit": 5}}}})
    assert sights.taken(few, "digits", 8, arena.learned) == {}, "of a class nothing is left to train on"
    monkeypatch.setattr(sights, "images_of", lambda *_: Nowhere())
    (run.path / sights.FILE).unlink()
    with pytest.raises(BadInput, match="compares the images of digits by conv-1, and these or its weights are no longer here"):
        pipeline.resume(run.update(status="interrupted"))
    blind = pipeline.compare(contest)
    assert "no features of digits are at hand" in blind.record["result"]["notes"][0]


def test_checkpoints_are_named_on_the_command_line(saved: Path) -> None:
    words = ("--bench", "toy", "--budget", 6, "--seeds", 1, "--json")
    blind = f"tnas:no-dataset={saved / 'blind'}"
    data = nas("compare", "tnas", "tnas:no-dataset", *words, "--checkpoint", saved / "whole", "--checkpoint", blind).data
    assert [s["name"] for s in data["searchers"]] == ["tnas", "tnas:no-dataset"]
    record = run_at(data["run"]["name"]).record
    assert record["checkpoints"] == {"": str(saved / "whole"), "tnas:no-dataset": str(saved / "blind")}
    said = nas("compare", "tnas", *words, "--checkpoint", "a", "--checkpoint", "b")
    assert said.error.startswith("no run 'a'")
    for word, message in (
        (f"random={saved / 'whole'}", "random goes by no checkpoint"),
        (f"tnass={saved / 'whole'}", "tnass goes by no checkpoint; did you mean 'tnas'"),
        (f"metad2a={saved / 'whole'}", "metad2a is not among those that are compared, tnas, random"),
        (__file__, "is a file: name the folder or the run that nas meta-train made"),
        (data["run"]["name"], "is a run of another kind (compare): nas meta-train makes checkpoints"),
    ):
        assert message in nas("compare", "tnas", "random", *words, "--checkpoint", word).error
    whole = saved / "whole" / "learned.safetensors"
    assert nas("compare", "tnas", *words, "--checkpoint", whole).data["searchers"]
    said = nas("compare", "tnas", *words, "--checkpoint", saved / "whole", "--checkpoint", saved / "flat")
    assert said.error.startswith("--checkpoint is given twice for all searchers")
    said = nas("compare", "random", *words, "--init", "paper")
    assert "--init paper takes the best networks of a history: give --checkpoint CKPT" in said.error


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("tnas:no-graph", "whole", "tnas:no-graph has learned otherwise: give --checkpoint tnas:no-graph=CKPT, made by"),
        ("tnas:no-dataset", "whole", r"made by `nas meta-train tnas --no-datasets`"),
        ("tnas", "nothing", "nothing holds nothing learned"),
        ("metad2a", "small", "too little for a deep kernel, without which metad2a is nothing"),
        ("random", "whole", "--checkpoint has no effect on random: .* with --same-init all begin as tnas would"),
    ],
)
def test_checkpoints_that_do_not_do_are_refused(saved: Path, name: str, folder: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        pipeline.compare(asked(saved, name, folder=folder))


def test_an_ablation_must_leave_out_what_it_is_named_after(saved: Path) -> None:
    for name in ("tnas:no-graph", "tnas:no-dataset"):
        with pytest.raises(BadInput, match=f"without which {name} is nothing"):
            pipeline.compare(asked(saved, name, checkpoints={name: str(saved / "small")}))
        with pytest.raises(BadInput, match=f"leaves out nothing, which {name} is to do"):
            pipeline.compare(asked(saved, name, checkpoints={name: str(saved / "whole")}))


def test_a_checkpoint_of_another_space_or_another_than_it_was_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="was learned on nasbench201, not on mixpath-s4"):
        pipeline.compare(replace(asked(saved, "tnas"), bench="s4-digits"))
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in (saved / "whole").iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    run = pipeline.compare(asked(saved, "tnas", checkpoints={"": str(mine)})).update(status="interrupted")
    for file in (saved / "flat").iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BadInput, match=r"learned\.json has changed since .* began; compare anew"):
        pipeline.resume(run)
