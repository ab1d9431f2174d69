"""Searchers compared on benchmarks: what they may see, seeds and designs, processes and kills, networks and spellings."""

import math
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import forked
from jaxtyping import Float

from nas_suite import bayes, pipeline, rivals, tables
from nas_suite.errors import BadInput, Interrupted
from nas_suite.importers import nb201
from nas_suite.pipeline import comparing
from nas_suite.pipeline.comparing import CURVES
from nas_suite.pipeline.contest import DESIGN, Contest
from nas_suite.pipeline.tabled import tabled
from nas_suite.run import JOBS, Run, run_at
from nas_suite.search import Fixed, Random, Region, Searcher
from nas_suite.space import Arch
from nas_suite.spaces import SPACES
from nas_suite.tables import Draft, Table, accuracy

BOTH = ("random", "evolution")
S4 = Contest("s4-digits", BOTH, budget=20, seeds=3)
TEST = "digits.test@25.npy"


def lines(run: Run) -> list[dict[str, Any]]:
    """What all searches did, but for their time."""
    found = [{k: v for k, v in line.items() if k != "seconds"} for line in run.lines(JOBS)]
    return sorted(found, key=lambda line: (line["searcher"], line["seed"]))


def timeless(value: Any) -> Any:
    """A result but for times."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k != "seconds"}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def told(run: Run) -> Any:
    return timeless(run.record["result"])


def replace(asked: Contest, **fields: Any) -> Contest:
    return Contest(**{**{name: getattr(asked, name) for name in Contest.__dataclass_fields__}, **fields})


def test_each_searcher_searches_once_a_seed_and_asks_for_no_network_twice() -> None:
    run = pipeline.compare(S4)
    found = lines(run)
    assert [(line["searcher"], line["seed"]) for line in found] == [(n, s) for n in sorted(BOTH) for s in range(3)]
    for line in found:
        assert len(line["rows"]) == len(set(line["rows"])) == 20
        assert all(0 <= row < 34 for row in line["rows"])
    assert run.record["status"] == "done"
    again = pipeline.compare(S4)
    assert lines(again) == found
    assert told(again) == told(run)
    other = pipeline.compare(replace(S4, seed=1))
    assert lines(other)[0]["rows"] == found[1]["rows"]  # seeds follow each other
    assert lines(other)[2]["rows"] not in [line["rows"] for line in found]


def test_the_metric_that_is_judged_is_read_when_all_searches_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    real, read, searches = Table.array, [], []
    search = comparing.searched

    def array(table: Table, file: str) -> np.ndarray:
        read.append(file)
        if file == TEST:
            assert len(searches) == 6, "the test column was opened before the last search had ended"
        return real(table, file)

    def counted(*args: Any, **more: Any) -> Any:
        found = search(*args, **more)
        searches.append(found)
        return found

    monkeypatch.setattr(Table, "array", array)
    monkeypatch.setattr(comparing, "searched", counted)
    run = pipeline.compare(S4)
    assert TEST in read
    assert run.record["result"]["metric"] == "digits/test@25"
    assert run.record["result"]["feedback"] == "digits/val@25"
    searches.clear()
    with pytest.raises(AssertionError, match="before the last search"):  # the published protocol does just that
        pipeline.compare(replace(S4, feedback="test"))


def test_searchers_are_told_the_feedback_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: dict[Arch, float] = {}

    class Listening(Searcher):
        def __init__(self, region: Region) -> None:
            self.inner = Random(region, 0)

        def ask(self) -> list[Arch]:
            return self.inner.ask()

        def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
            heard.update(zip(archs, losses[:, 0].tolist(), strict=True))
            self.inner.tell(archs, losses)

    monkeypatch.setattr(rivals, "rival", lambda name, region, *rest: Listening(region))
    table = pipeline.bench("s4-digits")
    for feedback in ("val", "test"):
        heard.clear()
        pipeline.compare(replace(S4, searchers=("random",), seeds=1, budget=34, feedback=feedback))
        values = table.means(f"digits/{feedback}@25")
        assert heard == {table.arch(row): -values[row] for row in range(34)}


def test_regrets_of_random_search_are_what_order_statistics_expect() -> None:
    """The best of k drawn from n is the i-th best with probability C(n - i, k - 1) / C(n, k), in closed form."""
    run = pipeline.compare(Contest("s4-digits", ("random",), budget=20, seeds=200, feedback="test"))
    worth = np.sort(pipeline.bench("s4-digits").means("digits/test@25"))[::-1]
    n = len(worth)
    for k in (5, 10, 20):
        chances = np.array([math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)])
        regrets = worth[0] - worth
        expected = float(chances @ regrets)
        spread = math.sqrt(float(chances @ regrets**2) - expected**2) / math.sqrt(200)
        found = run.record["result"]["searchers"][0]["regret"][str(k)]
        assert found["mean"] == pytest.approx(expected, abs=4 * spread)
        assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * spread, rel=0.25)


@pytest.mark.slow
def test_one_worker_and_two_come_to_the_same() -> None:
    one, two = pipeline.compare(S4), pipeline.compare(replace(S4, workers=2))
    assert lines(one) == lines(two)
    assert told(one) == told(two)
    assert (one.path / CURVES).read_bytes() == (two.path / CURVES).read_bytes()


def test_all_searchers_of_a_seed_begin_with_one_design() -> None:
    own, same = pipeline.compare(S4), pipeline.compare(replace(S4, same_init=True))
    begin = {(line["searcher"], line["seed"]): line["rows"][:DESIGN] for line in lines(same)}
    for seed in range(3):
        assert begin["random", seed] == begin["evolution", seed]
    assert len({tuple(rows) for rows in begin.values()}) == 3
    assert own.record["result"]["differences"] == []
    (apart,) = same.record["result"]["differences"]
    assert (apart["of"], apart["less"]) == ("evolution", "random")
    assert apart["regret"]["5"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "real": False}
    first, other = same.record["result"]["searchers"]
    assert apart["regret"]["20"]["mean"] == pytest.approx(other["regret"]["20"]["mean"] - first["regret"]["20"]["mean"])


def test_a_design_is_as_large_as_that_of_bayesian_optimisation() -> None:
    assert DESIGN == bayes.INITIAL


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local-search", "gp-ei", "gp-ucb", "bananas", "nasbowl"])
def test_every_rival_searches_a_table_and_does_the_same_twice(name: str) -> None:
    asked = Contest("s4-digits", (name,), budget=7, seeds=2, same_init=True)
    run = pipeline.compare(asked)
    assert run.record["result"]["notes"] == []
    assert lines(pipeline.compare(asked)) == lines(run)
    assert [len(set(line["rows"])) for line in lines(run)] == [7, 7]
    assert {tuple(line["rows"][:5]) for line in lines(run)} == {
        tuple(line["rows"][:5]) for line in lines(pipeline.compare(replace(S4, seeds=2, same_init=True)))
    }


def test_a_search_that_fails_is_told_of_and_no_end_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rivals.rival

    def rival(name: str, region: Region, seed: int, *rest: Any) -> Searcher:
        if (name, seed) == ("random", 1):
            raise ValueError("singular matrix")
        return real(name, region, seed, *rest)

    monkeypatch.setattr(rivals, "rival", rival)
    result = pipeline.compare(S4).record["result"]
    assert [s["seeds"] for s in result["searchers"]] == [2, 3]
    assert result["notes"] == ["random: 1 search failed (ValueError: singular matrix)"]
    monkeypatch.setattr(comparing.Arena, "design", lambda *args: 1 / 0)
    asked = replace(S4, same_init=True)
    with pytest.raises(BadInput, match="every search failed: ZeroDivisionError"):
        pipeline.compare(asked)


def test_a_searcher_that_ends_early_keeps_its_regret(monkeypatch: pytest.MonkeyPatch) -> None:
    space = tabled(pipeline.bench("s4-digits"), "digits/val@25")
    monkeypatch.setattr(rivals, "rival", lambda *args: Fixed(space.archs[:7]))
    result = pipeline.compare(replace(S4, searchers=("random",))).record["result"]
    regret = result["searchers"][0]["regret"]
    assert regret["10"] == regret["20"]
    assert result["notes"] == [
        "random: all 3 seeds made one and the same search, so that it has no interval",
        "random: 3 searches ended before the budget; their last regret stands",
    ]


def test_a_comparison_that_was_cut_off_goes_on_to_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pipeline.compare(S4)
    real, calls = comparing.searched, []

    def searched(*args: Any, **more: Any) -> Any:
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        calls.append(args)
        return real(*args, **more)

    monkeypatch.setattr(comparing, "searched", searched)
    with pytest.raises(Interrupted) as stop:
        pipeline.compare(S4)
    run = Run.open(Path(stop.value.run))
    assert run.record["status"] == "interrupted"
    assert len(run.lines(JOBS)) == 2
    with open(run.path / JOBS, "a") as file:
        file.write('{"searcher": "random", "seed": 2, "rows": [1,')  # what a kill cuts off
    resumed = pipeline.resume(run)
    assert len(calls) == 3 + 4  # the interrupted one is searched anew
    assert lines(resumed) == lines(whole)
    assert told(resumed) == told(whole)
    assert pipeline.resume(resumed).record == resumed.record  # a finished one is returned as it is


@pytest.mark.slow
def test_a_comparison_survives_kill_9(tmp_path: Path) -> None:
    asked = replace(S4, seeds=40, budget=34)
    started = time.monotonic()
    whole = pipeline.compare(asked, tmp_path / "whole")
    seconds = time.monotonic() - started
    rng, alive = random.Random(0), 0
    out = tmp_path / "runs" / "broken"
    for _ in range(5):
        there = (out / "run.json").exists()
        child = forked(lambda there=there: pipeline.resume(run_at("broken")) if there else pipeline.compare(asked, out))
        time.sleep(rng.uniform(0.05, 0.5) * seconds)
        os.kill(child, signal.SIGKILL)
        alive += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert alive
    found = pipeline.resume(run_at("broken"))
    assert lines(found) == lines(whole)
    assert told(found) == told(whole)


def toy(
    name: str, space: str, archs: Sequence[Arch], val: np.ndarray, test: np.ndarray | None = None, **settings: Any
) -> Table:
    columns = [(accuracy("digits", "val", 9), val.astype(np.float32))]
    columns += [] if test is None else [(accuracy("digits", "test", 9), test.astype(np.float32))]
    return tables.write(Draft(name, space, np.array(archs), columns, settings=settings))


def test_a_benchmark_that_changed_is_refused() -> None:
    space = SPACES.build("mixpath-s4", {})
    archs, rng = list(space.everything()), np.random.default_rng(0)
    toy("toy", "mixpath-s4", archs, rng.random(34), rng.random(34))
    run = pipeline.compare(replace(S4, bench="toy"))
    tables.remove("toy")
    toy("toy", "mixpath-s4", archs, rng.random(34), rng.random(34))
    run = run.update(status="interrupted")
    with pytest.raises(BadInput, match=f"benchmark toy has changed since {run.name} began; compare anew"):
        pipeline.resume(run)


def test_without_a_test_column_the_feedback_judges() -> None:
    space = SPACES.build("mixpath-s4", {})
    toy("toy", "mixpath-s4", list(space.everything()), np.random.default_rng(0).random(34))
    result = pipeline.compare(replace(S4, bench="toy")).record["result"]
    assert result["metric"] == result["feedback"] == "digits/val@9"


def test_networks_without_feedback_are_no_candidates_and_unknown_truth_is_no_luck() -> None:
    space = SPACES.build("mixpath-s4", {})
    val, test = np.linspace(0.1, 0.9, 34), np.linspace(0.1, 0.9, 34)
    val[:4], test[-1] = np.nan, np.nan
    toy("toy", "mixpath-s4", list(space.everything()), val, test)
    result = pipeline.compare(replace(S4, bench="toy", budget=30)).record["result"]
    assert result["candidates"] == 30
    assert result["optimum"]["value"] == pytest.approx(test[-2])
    assert result["floor"] == pytest.approx(test[-2] - test[4])  # the best by feedback failed when it was tested
    with pytest.raises(BadInput, match="--budget 31 is more than the 30 networks of toy"):
        pipeline.compare(replace(S4, bench="toy", budget=31))


def spelt() -> list[Arch]:
    """Some spellings of few networks of NAS-Bench-201."""
    space = SPACES.build("nasbench201", {})
    rng = random.Random(0)
    some = [space.sample(rng) for _ in range(12)]
    named = [tuple(rng.randrange(5) for _ in range(6)) for _ in range(3000)]
    return sorted({*some, *(arch for arch in named if space.canonical(arch) in some)})


def test_a_network_is_one_candidate_unless_spellings_are_apart() -> None:
    space, archs = SPACES.build("nasbench201", {}), spelt()
    networks = {space.canonical(arch) for arch in archs}
    assert len(archs) > len(networks) > 5
    table = toy("toy", "nasbench201", archs, np.linspace(0, 1, len(archs)))
    one, apart = tabled(table, "digits/val@9"), tabled(table, "digits/val@9", apart=True)
    assert set(one.archs) == networks
    assert all(table.arch(one.rows[arch]) == arch for arch in one.archs)  # its own row answers, not that of another spelling
    assert apart.archs == archs
    other = next(arch for arch in archs if space.canonical(arch) != arch)
    assert one.canonical(other) == space.canonical(other)
    assert apart.canonical(other) == other
    base = Contest("toy", BOTH, budget=5, seeds=2)
    assert pipeline.compare(base).record["result"]["candidates"] == len(networks)
    result = pipeline.compare(replace(base, spellings=True)).record["result"]
    assert (result["candidates"], result["spellings"]) == (len(archs), True)


def test_a_network_without_its_canonical_row_is_answered_by_another() -> None:
    space = SPACES.build("nasbench201", {})
    archs = [arch for arch in spelt() if space.canonical(arch) != arch]
    table = toy("toy", "nasbench201", archs, np.linspace(0, 1, len(archs)))
    one = tabled(table, "digits/val@9")
    assert set(one.archs) == {space.canonical(arch) for arch in archs}
    for arch, row in one.rows.items():
        assert row == min(at for at, other in enumerate(archs) if space.canonical(other) == arch)


def test_candidates_are_a_space_of_their_own() -> None:
    """Of a sample of a large space: nothing else is drawn, mutated into or gone through."""
    space, rng = SPACES.build("mixpath-s1", {"m": 2}), random.Random(0)
    archs = sorted({space.sample(rng) for _ in range(40)})
    table = toy("toy", "mixpath-s1", archs, np.linspace(0, 1, len(archs)), m=2)
    one = tabled(table, "digits/val@9")
    assert list(one.everything()) == archs
    assert one.size() == one.spellings() == len(archs)
    assert {one.sample(rng) for _ in range(600)} == set(archs)
    assert one.canonical(space.sample(random.Random(7))) is None
    assert one.parse(one.describe(archs[3])) == archs[3]
    with pytest.raises(BadInput, match="spells no network of this space"):
        one.parse(space.describe(space.sample(random.Random(7))))
    assert one.depth(archs[0]) == space.depth(archs[0])
    assert one.sketch(archs[0]) == space.sketch(archs[0])
    assert [w for w, _ in one.blocks(archs[0])] == [w for w, _ in space.blocks(archs[0])]
    assert type(one.network(archs[0])) is type(space.network(archs[0]))
    region = Region(one)
    found = region.samples(len(archs), rng, set())
    assert set(found) == set(archs)
    result = pipeline.compare(Contest("toy", BOTH, budget=len(archs), seeds=2)).record["result"]
    assert [s["evaluations_to_optimum"]["reached"] for s in result["searchers"]] == [2, 2]


@pytest.mark.slow
def test_nas_bench_201_as_published_and_by_networks(shared_data: Path) -> None:
    """The optima are those of the benchmark (94.373 and 73.513 %); random search's regrets those of the order statistics."""
    table = tables.write(nb201.read(shared_data / "nb201" / "nb201.npz", False, lambda *_: None))
    for data, best in (("cifar10", 0.94373), ("cifar100", 0.73513)):
        asked = Contest("nb201", ("random",), data, budget=50, seeds=200, feedback="test", spellings=True)
        result = pipeline.compare(asked).record["result"]
        assert result["candidates"] == 15625
        assert result["optimum"]["value"] == pytest.approx(best, abs=1e-5)
        worth = np.sort(table.means(result["metric"]))[::-1]
        n = len(worth)
        for k in (5, 20, 50):
            chances = np.array([math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)])
            expected = float(chances @ (worth[0] - worth))
            spread = math.sqrt(float(chances @ (worth[0] - worth - expected) ** 2) / 200)
            assert result["searchers"][0]["regret"][str(k)]["mean"] == pytest.approx(expected, abs=4 * spread)
        networks = pipeline.compare(replace(asked, spellings=False, seeds=1)).record["result"]
        assert networks["candidates"] == 5044
        assert networks["optimum"]["value"] == pytest.approx(best, abs=1e-5)
