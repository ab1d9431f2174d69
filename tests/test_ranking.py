"""Ranking a benchmark: which networks, by whom, how comparable, resumed, refused."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import nas
from scipy.stats import kendalltau

from nas_suite import pipeline, tables
from nas_suite.cost import cost
from nas_suite.engine import silent
from nas_suite.errors import BadInput, Missing
from nas_suite.pipeline import estimating, ranking
from nas_suite.pipeline.estimating import Source
from nas_suite.pipeline.field import field
from nas_suite.run import Run, runs_root
from nas_suite.spaces import SPACES
from nas_suite.tables import Column, Draft, Table, accuracy

S4 = SPACES.build("mixpath-s4", {})
VAL, TEST, OTHER = accuracy("digits", "val", 9), accuracy("digits", "test", 9), accuracy("letters", "val", 9)


def toy(name: str = "toy", gaps: int = 0, seed: int = 0, **more: Any) -> Table:
    """The 34 networks of S4 with made-up accuracies, that rise with the number of 3×3 convolutions."""
    rng = np.random.default_rng(seed)
    archs = np.array(list(S4.everything()))
    real = 0.5 + 0.1 * (archs == 1).sum(1) + 0.03 * (archs == 2).sum(1)
    val = np.round(real[:, None] + rng.normal(0, 0.03, (34, 3)), 3)
    val[:gaps] = np.nan
    columns = [(VAL, val), (TEST, val - 0.01), (OTHER, val**2), (Column("energy", "mJ"), 1 - real)]
    return tables.write(Draft(name, "mixpath-s4", archs, columns, **{"version": "1", **more}))


def ranked(*words: object) -> Any:
    return nas("rank", "--bench", "toy", *words, "--json").data


def test_the_contract_of_the_answer() -> None:
    table = toy()
    data = ranked()
    assert (data["bench"], data["n"], data["distinct"], data["metric"]) == ("toy", 34, 34, "digits/val@9")
    assert [e["name"] for e in data["estimators"]] == ["params", "macs", "depth"]
    keys = {"name", "tau", "tau_low", "tau_high", "spearman", "regret_at", "precision_top10", "seconds"}
    assert all(keys <= set(e) for e in data["estimators"])
    assert set(data["estimators"][0]["regret_at"]) == {"1", "5", "10"}
    params = [cost("params", S4).total(table.arch(row)) for row in range(34)]
    wanted = kendalltau(params, table.means("digits/val@9")).statistic
    assert data["estimators"][0]["tau"] == pytest.approx(wanted)
    assert data["estimators"][0]["tau_low"] < wanted < data["estimators"][0]["tau_high"]
    repeats = table.repeats("digits/val@9")
    pairs = [kendalltau(repeats[:, i], repeats[:, j]).statistic for i, j in itertools.combinations(range(3), 2)]
    assert data["ceiling"] == pytest.approx(np.mean(pairs))
    assert len(data["protocol"]) == 12


@pytest.mark.parametrize(
    ("name", "repeats", "ceiling"), [("s4-digits", 5, 0.727), ("s4-cifar10-mini", 3, 0.841)], ids=["digits", "cifar10"]
)
def test_benchmarks_in_the_package_are_whole_and_two_of_their_trainings_agree(name: str, repeats: int, ceiling: float) -> None:
    """34 networks each, of which an order can be asked: a noise ceiling of 0.6 at the least."""
    table = tables.Table.open(tables.shipped() / name)
    assert table.verify() == []
    assert not [value for part in table.manifest["plan"]["settings"].values() for value in part.values() if "/" in str(value)]
    data = nas("rank", "--bench", name, "--json").data
    assert (data["n"], data["distinct"]) == (34, 34)
    assert table.repeats(data["metric"]).shape == (34, repeats)
    assert data["ceiling"] == pytest.approx(ceiling, abs=5e-4)


def test_estimators_asked_for_come_first_and_in_order() -> None:
    toy()
    data = ranked("--estimator", "macs", "--estimator", "toy:test", "--estimator", "toy:energy")
    assert [e["name"] for e in data["estimators"]] == ["macs", "toy:test", "toy:energy", "params", "depth"]
    assert data["estimators"][1]["tau"] == pytest.approx(1)
    assert data["estimators"][2]["tau"] < 0


def test_a_column_of_another_benchmark_is_joined_by_architecture() -> None:
    toy()
    toy("other", gaps=4, seed=1)
    data = ranked("--estimator", "other:digits")
    assert data["estimators"][0]["failed"] == 4
    assert data["estimators"][0]["error"] == "other has none of them"
    assert 0.3 < data["estimators"][0]["tau"] < 1


def test_the_metric_as_an_estimator_of_itself_is_called_so() -> None:
    toy()
    toy("other", seed=1)
    data = ranked("--estimator", "toy:val", "--estimator", "toy:test", "--estimator", "other:val")
    assert data["notes"] == ["toy:val is digits/val@9 of toy, the truth that it is judged by: its tau says nothing"]
    assert ranked("--estimator", "toy:val", "--metric", "test")["notes"] == []


def test_constant_scores_order_nothing_and_say_so() -> None:
    toy()
    said = nas("rank", "--bench", "toy", "--estimator", "depth")
    assert said.code == 0
    assert "depth: the same score for all networks, so it orders nothing" in said.out
    depth = ranked("--estimator", "depth")["estimators"][0]
    assert depth["constant"]
    assert depth["tau"] is None


@pytest.mark.parametrize(
    ("words", "metric"), [(("--metric", "test"), "digits/test@9"), (("--metric", "letters"), "letters/val@9")]
)
def test_the_metric_is_chosen_and_named(words: tuple[str, ...], metric: str) -> None:
    toy()
    assert ranked(*words)["metric"] == metric


def test_a_metric_that_is_to_be_small_turns_everything_round() -> None:
    toy()
    data = ranked("--metric", "energy", "--estimator", "toy:energy")
    assert data["estimators"][0]["tau"] == pytest.approx(1)
    assert data["estimators"][0]["regret_at"]["1"] == pytest.approx(0)
    assert not any("is a cost" in note for note in data["notes"])
    params = [cost("params", S4).total(S4.parse(text)) for text in networks(data)["archs"]]
    wanted = kendalltau(params, -np.array(networks(data)["truth"])).statistic
    assert {e["name"]: e["tau"] for e in data["estimators"]}["params"] == pytest.approx(wanted)


def networks(data: Any) -> Any:
    """What a ranking wrote down of its networks."""
    return json.loads((Path(data["run"]["path"]) / "networks.json").read_text())


@pytest.mark.parametrize("name", ["slow", "toy:val"])
def test_every_estimator_is_read_as_a_guess_of_the_metric_and_accuracies_beside_a_cost_are_told(
    counted: list[int], name: str
) -> None:
    toy()
    data = ranked("--metric", "energy", "--estimator", name)
    drawn = networks(data)
    first = next(e for e in drawn["estimators"] if e["name"] == name)
    pairs = [(-score, -truth) for score, truth in zip(first["scores"], drawn["truth"], strict=True) if score is not None]
    assert all(score < 0 for score in first["scores"] if score is not None)  # turned so that more is better
    assert kendalltau(*zip(*pairs, strict=True)).statistic * data["estimators"][0]["tau"] > 0
    if name == "slow":
        assert data["notes"] == []
        return
    assert data["estimators"][0]["tau"] < 0
    said = "energy is a cost, of which less is better, but guesses of accuracy are compared with it (toy:val)"
    assert len(data["notes"]) == 1
    assert data["notes"][0].startswith(said)
    assert said in nas("rank", "--bench", "toy", "--metric", "energy", "--estimator", name).out


def test_a_proxy_is_read_as_a_guess_of_a_cost_too() -> None:
    toy()
    tables.write(Draft("sizes", "mixpath-s4", np.array(list(S4.everything())), [
        (Column("size", "parameters"), np.array([cost("params", S4).total(arch) for arch in S4.everything()])),
    ], settings={"width": 0.0625, "stacks": 1, "cells": 1, "image_size": 8, "channels": 1}))  # fmt: skip
    data = nas("rank", "--bench", "sizes", "--metric", "size", "--estimator", "l2_norm", "--json").data
    assert data["estimators"][0]["tau"] > 0.5
    assert data["notes"][0].endswith("(l2_norm): a tau above 0 says that what they deem better costs more")


def test_the_hash_is_equal_exactly_where_rankings_are_comparable() -> None:
    toy()
    first = ranked()["protocol"]
    assert ranked("--estimator", "macs")["protocol"] == first
    assert ranked("--sample", 34)["protocol"] == first
    other = [ranked(*w)["protocol"] for w in (("--metric", "test"), ("--sample", 20), ("--protocol", "paper"))]
    assert len({first, *other}) == 4
    assert ranked("--sample", 20, "--seed", 0)["protocol"] == other[1]
    assert ranked("--sample", 20, "--seed", 1)["protocol"] != other[1]
    tables.remove("toy")
    toy(seed=5)
    assert ranked()["protocol"] != first


def test_networks_without_a_truth_are_left_out() -> None:
    toy(gaps=5)
    assert ranked()["n"] == 29


def test_the_paper_protocol_draws_spellings_and_drops_the_lowest() -> None:
    toy()
    data = ranked("--protocol", "paper")
    assert data["protocol_name"] == "paper"
    assert (data["n"], data["distinct"]) == (255, 34)  # all spellings of up to four positions
    assert {e["n"] for e in data["estimators"]} == {225}
    assert data["differences"] == []
    said = nas("rank", "--bench", "toy", "--protocol", "paper")
    assert "1000 ordered draws, one random repeat, 30 lowest dropped" in said.out


def test_differences_are_paired_and_judged() -> None:
    toy()
    toy("noise", seed=9)
    data = ranked("--estimator", "toy:val", "--estimator", "toy:test", "--estimator", "macs")
    pairs = {(d["of"], d["and"]): d for d in data["differences"]}
    same = pairs["toy:val", "toy:test"]
    assert (same["tau"], same["real"]) == (pytest.approx(0), False)
    assert pairs["toy:val", "macs"]["real"]
    assert (
        "toy:val less toy:test: +0.000 (+0.000 … +0.000): inside the noise"
        in nas("rank", "--bench", "toy", "--estimator", "toy:val", "--estimator", "toy:test").out
    )


def test_a_benchmark_that_is_not_here_ends_with_3_and_the_command() -> None:
    said = nas("rank", "--bench", "macro")
    assert said.code == 3
    assert said.error == "benchmark macro is not on this machine: nas bench get macro"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bench", "tou"), "unknown benchmark 'tou'; did you mean 'toy'?"),
        (("--bench", "toy", "--estimator", "parms"), "unknown estimator 'parms'; did you mean 'params'?"),
        (("--bench", "toy", "--estimator", "toy:acc"), "table toy has no metric 'acc'"),
        (("--bench", "toy", "--estimator", "tou:val"), "unknown benchmark 'tou'"),
        (("--bench", "toy", "--metric", "val@10"), "table toy has no metric 'val@10'"),
        (("--bench", "toy", "--sample", "20", "--all"), "--sample and --all"),
        (("--bench", "toy", "--sample", "20", "--protocol", "paper"), "draws its own networks: leave out --sample"),
        (("--bench", "toy", "--all", "--protocol", "paper"), "draws its own networks: leave out --all"),
        (("--bench", "toy", "--run", "nothing"), "no run 'nothing'"),
        (("--bench", "few"), "few has 9 networks, 9 of them distinct"),
    ],
)
def test_bad_requests_are_refused_in_one_line_and_leave_no_run(words: tuple[str, ...], message: str) -> None:
    toy()
    small = SPACES.build("mixpath-s4", {"m": 2})
    archs = np.array(list(small.everything()))
    tables.write(Draft("few", "mixpath-s4", archs, [(VAL, np.arange(9.0))], settings={"m": 2}))
    said = nas("rank", *words)
    assert said.code == 2
    assert message in said.error
    assert not list(runs_root().glob("rank_*"))


def test_names_are_checked_before_a_benchmark_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("nas_suite.cli.rank.offered", asked.append)
    said = nas("rank", "--bench", "macro", "--estimator", "parms")
    assert said.code == 2
    assert "unknown estimator 'parms'" in said.error
    assert asked == []
    assert nas("rank", "--bench", "macro").code == 3
    assert asked == ["macro"]


def test_a_table_of_too_few_networks_says_what_would_help() -> None:
    toy()
    assert nas("rank", "--bench", "toy", "--sample", 10, "--metric", "energy").code == 0
    tables.remove("toy")
    one = np.array(list(S4.everything())[:1])
    tables.write(Draft("toy", "mixpath-s4", one, [(VAL, np.zeros(1))]))
    said = nas("rank", "--bench", "toy")
    assert "toy has 1 network, 1 of them distinct, with a digits/val@9; a ranking needs 10 distinct ones" in said.error
    assert "a larger table" in said.error


def test_a_flipped_bit_in_the_truth_is_found() -> None:
    table = toy()
    file = table.path / VAL.file
    data = bytearray(file.read_bytes())
    data[-9] ^= 4
    file.write_bytes(data)
    said = nas("rank", "--bench", "toy")
    assert said.code == 2
    assert "does not have the sha256 of the manifest; `nas bench rm toy`" in said.error


def counting(calls: list[int], stop_at: int | None = None) -> Any:
    """A slow source that counts the networks it scores and can be made to stop."""

    def begin(found: Any) -> Any:
        def score(places: Any) -> list[float]:
            for at in places:
                calls.append(at)
                if stop_at is not None and len(calls) > stop_at:
                    raise KeyboardInterrupt
                if found.archs[at] == (2, 0, 0, 0):
                    raise RuntimeError("this one\ncannot be scored")
            return [float(sum(found.archs[at])) if found.archs[at] != (3, 3, 3, 3) else float("nan") for at in places]

        return score

    return begin


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    real = estimating.estimator

    def estimator(name: str) -> Any:
        if name == "slow":
            return estimating.Estimator("slow", "proxy", (Source("slow", counting(calls), quick=False),))
        return real(name)

    monkeypatch.setattr(estimating, "estimator", estimator)
    return calls


def test_what_is_loaded_once_is_no_cost_of_a_quick_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    clock, calls = [0.0], list[int]()
    monkeypatch.setattr(ranking.time, "monotonic", lambda: clock[0])

    def score(places: Any) -> list[float]:
        clock[0] += 3.0 if calls else 100.0  # the first call loads
        calls.append(len(places))
        return [float(at) for at in places]

    quick = estimating.Estimator("quick", "baseline", (Source("quick", lambda found: score),))
    found = field(pipeline.bench("toy"))
    ledger = ranking.Ledger(Run.create(runs_root() / "r", {"schema": 1, "kind": "rank", "status": "running"}), found.texts())
    assert ranking.scored(found, quick.sources, ledger, silent)["quick"].seconds == 3.0
    assert calls[-1] == 34


def test_failures_of_single_networks_are_counted_as_the_lowest_and_told(counted: list[int]) -> None:
    toy()
    data = ranked("--estimator", "slow")
    slow = data["estimators"][0]
    assert slow["failed"] == 2
    assert slow["error"] == "RuntimeError: this one"
    assert (
        "slow: no score for 2 of 34 networks (RuntimeError: this one)"
        in nas("rank", "--bench", "toy", "--estimator", "slow").out
    )


def test_a_ranking_that_was_stopped_goes_on_and_ends_the_same(
    counted: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toy()
    whole = pipeline.rank_networks(pipeline.Request("toy", ("slow",)), out=tmp_path / "whole")
    assert set(counted) == set(range(34))
    scored = len(counted)
    monkeypatch.setattr(ranking, "PIECE", 0.0)  # pieces of one network after the first
    real, calls = ranking.Ledger.enter, [0]

    def enter(*args: Any) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        real(*args)

    with monkeypatch.context() as context:
        context.setattr(ranking.Ledger, "enter", enter)
        with pytest.raises(Exception, match="SIGINT"):
            pipeline.rank_networks(pipeline.Request("toy", ("slow",)), out=tmp_path / "broken")
    broken = Run.open(tmp_path / "broken")
    assert broken.state == "interrupted"
    lines = (broken.path / "scores.jsonl").read_text()
    assert 0 < lines.count("\n") < 34
    (broken.path / "scores.jsonl").write_text(lines + '{"source": "slow", "ar')  # a line that a kill cut off
    counted.clear()
    resumed = pipeline.resume(broken)
    assert len(counted) < scored
    for name, value in whole.record["result"].items():
        if name != "estimators":
            assert resumed.record["result"][name] == value
    times = ("seconds",)
    for one, other in zip(whole.record["result"]["estimators"], resumed.record["result"]["estimators"], strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in other.items() if k not in times}
    assert json.loads((broken.path / "networks.json").read_text()) == json.loads((whole.path / "networks.json").read_text())


def test_two_spellings_of_one_network_are_two_rows_and_scored_once(counted: list[int]) -> None:
    macro = SPACES.build("macro", {})
    rng = random.Random(0)
    texts = sorted({"".join(rng.choices("012", k=8)) for _ in range(40)} | {"00201000", "00210000"})
    archs = np.array([macro.parse(text) for text in texts])
    tables.write(Draft("rows", "macro", archs, [(TEST, np.arange(float(len(archs))))]))
    data = nas("rank", "--bench", "rows", "--estimator", "slow", "--json").data
    assert data["n"] == len(archs)
    assert data["distinct"] == len({macro.canonical(tuple(map(int, arch))) for arch in archs}) < data["n"]
    assert len(counted) == data["distinct"]


def test_a_ranking_whose_benchmark_changed_is_not_mixed(counted: list[int], tmp_path: Path) -> None:
    toy()
    run = pipeline.rank_networks(pipeline.Request("toy", ("slow",)), out=tmp_path / "run").update(status="interrupted")
    tables.remove("toy")
    toy(seed=3)
    with pytest.raises(BadInput, match="benchmark toy has changed since run began"):
        pipeline.resume(run)
    tables.remove("toy")
    with pytest.raises(BadInput, match="unknown benchmark"):
        pipeline.resume(run)


def test_a_table_of_another_space_than_the_networks_is_refused() -> None:
    table = toy()
    with pytest.raises(BadInput, match="toy holds networks of mixpath-s4, not of mixpath-s1, the space of run a: give a run"):
        field(table, own=SPACES.build("mixpath-s1", {}), whose="mixpath-s1, the space of run a")


def test_published_benchmarks_that_are_absent_name_the_command() -> None:
    with pytest.raises(Missing, match="nas bench get macro"):
        pipeline.rank_networks(pipeline.Request("macro"))


def test_runs_list_and_show_tell_of_rankings() -> None:
    toy()
    nas("rank", "--bench", "toy")
    listed = nas("runs", "list", "--json").data
    assert [(run["kind"], run["status"]) for run in listed] == [("rank", "done")]
    assert "34 networks" in nas("runs", "list").out
    shown = nas("runs", "show", listed[0]["name"])
    assert shown.code == 0, shown.err
    assert "noise ceiling" in shown.out
