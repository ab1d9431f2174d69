"""Zero-cost proxies through `nas rank`: which images they look at, what is written down, and what is refused."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import nas

from nas_suite import tables
from nas_suite.data import Digits
from nas_suite.data.place import data_folder
from nas_suite.pipeline import probing
from nas_suite.pipeline.estimating import estimator
from nas_suite.pipeline.field import bench, field
from nas_suite.proxies import IMAGES, PROXIES, objective
from nas_suite.run import Run
from nas_suite.spaces.nasbench201 import NasBench201

SETTINGS = {"width": 0.5, "cells": 1, "image_size": 8, "channels": 1}
ARCHS = [(0,) * 6, *itertools.islice(itertools.product((2, 3), repeat=6), 0, 60, 5)]
IMAGELESS = "proxies that need no images: synflow, zen, l2_norm"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs named by a word lie in the test's folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mnist() -> Callable[[Path], None]:
    """Writes a small MNIST of noise in the official format."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for split, n in (("train", 200), ("t10k", 20)):
            images, labels = rng.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % 10).astype(np.uint8)
            for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
                head = np.array([0x800 + array.ndim, *array.shape], ">u4").tobytes()
                (folder / f"{split}-{kind}-ubyte").write_bytes(head + array.tobytes())

    return write


def made(name: str = "toy", data: str = "digits", **more: Any) -> tables.Table:
    """A table of thirteen cells, one of which has no way through, under metrics of one data set."""
    values = np.linspace(0.1, 0.9, len(ARCHS)).astype(np.float32)
    columns = [(tables.accuracy(data, "val", 1), values), (tables.Column("params", "parameters"), np.arange(len(ARCHS)))]
    settings = {**SETTINGS, **more.pop("settings", {})}
    return tables.write(tables.Draft(name, "nasbench201", np.array(ARCHS, np.uint8), columns, settings=settings, more=more))


def plan(data: str, **settings: Any) -> dict[str, Any]:
    """What the manifest of a table that was made here says of its data."""
    return {"data": data, "settings": {"data": settings}}


def entries(said: Any) -> dict[str, Any]:
    return {e["name"]: e for e in said.data["estimators"]}


def test_proxies_are_judged_beside_the_baselines_and_a_network_without_a_score_counts_as_failed() -> None:
    made()
    asked = ("synflow", "naswot", "snip")
    found = entries(nas("rank", "--bench", "toy", "--json", *(word for name in asked for word in ("--estimator", name))))
    assert [*found] == [*asked, "params", "macs", "depth"]
    for name in asked:
        e = found[name]
        assert (e["kind"], e["n"], e["failed"]) == ("proxy", len(ARCHS), int(name != "snip"))
        assert ("nothing of an image reaches the output" in e["error"]) == (name != "snip")
        assert e["seconds"] > 0
    assert found["params"]["kind"] == "baseline"
    assert {estimator(name).kind for name in PROXIES} == {"proxy"}


def test_scores_are_those_of_the_benchmarks_networks_on_training_images_of_its_metric() -> None:
    made()
    assert nas("rank", "--bench", "toy", "--estimator", "naswot", "--seed", 3, "--out", "r", "--json").code == 0
    lines = {line["arch"]: line["score"] for line in Run.open(Path("r")).lines("scores.jsonl")}
    space, splits = NasBench201(**SETTINGS), Digits(size=8).splits()
    some = splits.train.take(IMAGES, 3)
    x = (some.x.float() / 255 - splits.mean[0]) / splits.std[0]
    for arch, value in zip(ARCHS[1:4], objective("naswot", space, (x, some.y), seed=3).score(ARCHS[1:4]), strict=True):
        assert lines[space.describe(arch)] == pytest.approx(value, rel=1e-4)


def test_a_ranking_that_was_cut_off_goes_on_with_the_scores_that_it_has() -> None:
    made()
    first = nas("rank", "--bench", "toy", "--estimator", "snip", "--estimator", "synflow", "--out", "r", "--json")
    run = Run.open(Path("r"))
    lines = run.lines("scores.jsonl")
    assert len(lines) == 2 * len(ARCHS)
    kept = [{**lines[0], "seconds": 1000.0}, *lines[1:5]]
    run.rewrite("scores.jsonl", kept)
    run.update(status="interrupted", result=None)
    assert nas("runs", "resume", "r").code == 0
    again = Run.open(Path("r"))
    assert again.lines("scores.jsonl")[:5] == kept
    known = {(line["source"], line["arch"]): line["score"] for line in lines}
    assert all(known[line["source"], line["arch"]] == line["score"] for line in again.lines("scores.jsonl"))
    taus = {e["name"]: e["tau"] for e in again.record["result"]["estimators"]}
    assert taus == {name: e["tau"] for name, e in entries(first).items()}
    assert again.record["result"]["estimators"][0]["seconds"] > 1000


def test_another_seed_draws_other_weights_and_images() -> None:
    made()
    for seed in (0, 1):
        assert nas("rank", "--bench", "toy", "--estimator", "l2_norm", "--seed", seed, "--out", f"r{seed}").code == 0
    one, other = (Run.open(Path(f"r{seed}")).lines("scores.jsonl") for seed in (0, 1))
    assert all(a["arch"] == b["arch"] and a["score"] != b["score"] for a, b in zip(one, other, strict=True))
    first, second = (probing.batch("snip", field(bench("toy"), seed=seed)) for seed in (0, 1))
    assert not torch.equal(first[0], second[0])


def test_images_have_the_settings_of_the_plan_that_made_the_table() -> None:
    clean, noisy = (
        probing.batch("snip", field(made(name, plan=plan("digits", size=8, noise=noise, limit=64))))
        for name, noise in (("clean", 0.0), ("noisy", 2.0))
    )
    assert clean[0].shape == noisy[0].shape == (IMAGES, 1, 8, 8)
    assert not torch.equal(clean[0], noisy[0])
    limited = Digits(size=8, limit=64).splits()
    assert torch.equal(clean[0].sort(0).values, probing.seen(limited, 5)[0].sort(0).values)  # all 64 that there are
    other = probing.batch("snip", field(made("other", plan=plan("mnist", size=8, limit=64))))
    assert torch.equal(other[0], probing.seen(Digits(size=8).splits(), 0)[0])  # a plan of other data says nothing


def test_without_a_plan_images_are_resized_to_the_networks() -> None:
    assert probing.batch("snip", field(made(settings={"image_size": 16})))[0].shape == (IMAGES, 1, 16, 16)
    assert probing.batch("synflow", field(bench("toy")))[0].shape == (IMAGES, 1, 16, 16)


def test_data_that_are_not_here_are_answered_with_the_command_that_gets_them_before_anything_is_written() -> None:
    made(data="mnist")
    said = nas("rank", "--bench", "toy", "--estimator", "synflow", "--estimator", "snip", "--out", "r")
    assert said.code == 3
    assert "nas data get mnist" in said.error
    assert not Path("r").exists()
    assert nas("rank", "--bench", "toy", "--estimator", "synflow", "--estimator", "l2_norm").code == 0


@pytest.mark.parametrize(
    ("data", "metric", "words"), [("ImageNet16-120", "", "of ImageNet16-120"), ("digits", "params", "of no data set")]
)
def test_a_metric_without_images_names_the_proxies_that_need_none(data: str, metric: str, words: str) -> None:
    made(data=data)
    said = nas("rank", "--bench", "toy", "--metric", metric, "--estimator", "naswot", "--out", "r")
    assert said.code == 2
    assert words in said.error
    assert said.error.endswith(IMAGELESS)
    assert not Path("r").exists()
    assert nas("rank", "--bench", "toy", "--metric", metric, "--estimator", "zen", "--estimator", "synflow").code == 0


@pytest.mark.parametrize("settings", [{"channels": 3}, {"classes": 7}])
def test_images_that_do_not_fit_the_networks_are_refused(settings: dict[str, int]) -> None:
    made(settings=settings)
    said = nas("rank", "--bench", "toy", "--estimator", "fisher")
    assert said.code == 2
    assert "the networks of toy are for" in said.error
    assert "digits has 10 of (1, 8, 8)" in said.error
    assert said.error.endswith(IMAGELESS)


def npz(path: Path) -> Path:
    """A data set of its own: 200 gray images of 8 pixels, ten classes."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=rng.integers(0, 256, (200, 8, 8), np.uint8), y=np.arange(200) % 10)
    return path


def test_a_table_of_ones_own_images_finds_them_where_its_plan_says(tmp_path: Path) -> None:
    path = npz(tmp_path / "images.npz")
    made(data="npz", plan=plan("npz", size=8, path=str(path)))
    assert nas("rank", "--bench", "toy", "--estimator", "jacov").code == 0
    path.unlink()
    said = nas("rank", "--bench", "toy", "--estimator", "jacov", "--out", "r")
    assert said.code == 2
    assert str(path) in said.error
    assert not Path("r").exists()


def test_a_ranking_goes_on_with_the_images_that_it_began_with_and_no_others(tmp_path: Path) -> None:
    path = npz(tmp_path / "images.npz")
    made(data="npz", plan=plan("npz", size=8, path=str(path)))
    nas("rank", "--bench", "toy", "--estimator", "jacov", "--out", "r")
    run = Run.open(Path("r"))
    run.rewrite("scores.jsonl", run.lines("scores.jsonl")[:3])
    run.update(status="interrupted", result=None)
    rng = np.random.default_rng(1)
    np.savez(path, x=rng.integers(0, 256, (200, 8, 8), np.uint8), y=np.arange(200) % 10)
    said = nas("runs", "resume", "r")
    assert said.code == 2
    assert "images of npz have changed" in said.error
    assert len(run.lines("scores.jsonl")) == 3
    npz(path)
    assert nas("runs", "resume", "r").code == 0


def test_a_table_that_travelled_finds_official_images_in_the_data_folder(mnist: Callable[[Path], None]) -> None:
    mnist(data_folder() / "mnist")
    made(data="mnist", plan=plan("mnist", size=8, path="/nowhere/mnist"))
    assert nas("rank", "--bench", "toy", "--estimator", "grad_norm").code == 0
    shutil.rmtree(data_folder() / "mnist")
    said = nas("rank", "--bench", "toy", "--estimator", "grad_norm")
    assert said.code == 3
    assert "/nowhere/mnist" in said.error


def test_a_wrong_name_is_answered_with_the_near_one() -> None:
    made()
    said = nas("rank", "--bench", "toy", "--estimator", "synflo")
    assert said.code == 2
    assert "did you mean 'synflow'?" in said.error
    assert all(name in said.error for name in (*PROXIES, "params", "BENCH:METRIC"))


def test_help_and_completion_know_every_proxy() -> None:
    from nas_suite.cli.rank import complete_estimator

    words = set(nas("rank", "--help").out.replace(",", " ").replace(";", " ").split())
    assert words.issuperset(PROXIES)
    assert complete_estimator("s") == ["synflow", "snip"]
    assert set(complete_estimator("")) == {*PROXIES, "params", "macs", "depth"}
