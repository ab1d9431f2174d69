"""Statistics of rankings: against scipy, by hand, and where there is nothing to rank."""

import csv
import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas_suite import rank
from nas_suite.errors import BadInput
from nas_suite.rank import Ranking, Truth, difference


def truth(n: int = 40, noise: float = 0.3, ties: bool = True) -> Truth:
    rng = np.random.default_rng(n)
    repeats = np.sort(rng.normal(size=n))[:, None] + noise * rng.normal(size=(n, 3))
    repeats = np.round(repeats, 1) if ties else repeats
    return Truth(repeats.mean(1), repeats)


def scores(of: Truth, noise: float, seed: int = 0) -> np.ndarray:
    return np.round(of.values + noise * np.random.default_rng(seed).normal(size=len(of.values)), 1)


def test_each_resample_has_the_tau_that_scipy_finds_of_it() -> None:
    of = truth()
    found = rank.bootstrap(scores(of, 0.5), of.values, of.weights[:50])
    rows = [np.repeat(np.arange(len(of.values)), w) for w in of.weights[:50]]
    wanted = [kendalltau(scores(of, 0.5)[r], of.values[r]).statistic for r in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_sorting_each_resample_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    of = truth()
    forms = rank.bootstrap(scores(of, 0.5), of.values, of.weights[:50])
    monkeypatch.setattr(rank, "FORMS", 10)
    np.testing.assert_allclose(rank.bootstrap(scores(of, 0.5), of.values, of.weights[:50]), forms, rtol=1e-12)


def test_the_parts_of_the_pair_matrix_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    of = truth()
    whole = rank.bootstrap(scores(of, 0.5), of.values, of.weights[:9])
    monkeypatch.setattr(rank, "BLOCK", 3 * len(of.values))
    np.testing.assert_array_equal(rank.bootstrap(scores(of, 0.5), of.values, of.weights[:9]), whole)


def test_intervals_hold_what_they_promise() -> None:
    """Of many samples of one population about 95 % have an interval with the population's tau in it."""
    rng = np.random.default_rng(0)
    big = rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=200 * 60)
    population = 2 / math.pi * math.asin(0.7)  # of a normal distribution
    held = 0
    for sample in np.split(big, 200):
        of = Truth(sample[:, 0].copy(), sample[:, :1].copy())
        estimate = Ranking(of, sample[:, 1].copy()).tau
        held += estimate.low <= population <= estimate.high
    assert 0.90 <= held / 200 <= 0.985


def test_spellings_of_one_network_are_drawn_together() -> None:
    """Rows that only say again what another row says tell nothing, and make no interval narrower."""
    of = truth(n=30)
    again = np.repeat(np.arange(30), np.arange(30) % 3 + 1)
    spelt = Truth(of.values[again], of.repeats[again], networks=again * 7)
    once, twice = Ranking(of, scores(of, 0.5)), Ranking(spelt, scores(of, 0.5)[again])
    assert (len(spelt.values), spelt.distinct) == (60, 30)
    np.testing.assert_array_equal(spelt.weights, of.weights[:, again])
    rows = [np.repeat(np.arange(60), w) for w in spelt.weights[:50]]
    wanted = [kendalltau(twice.filled[r], spelt.values[r]).statistic for r in rows]
    np.testing.assert_allclose(twice.draws[:50], wanted, rtol=1e-12)
    apart = Ranking(Truth(spelt.values, spelt.repeats), twice.scores)
    width = {name: one.tau.high - one.tau.low for name, one in (("once", once), ("twice", twice), ("apart", apart))}
    assert width["apart"] < 0.8 * min(width["once"], width["twice"])
    even = np.repeat(np.arange(30), 2)
    doubled = Ranking(Truth(of.values[even], of.repeats[even], networks=even), once.scores[even])
    assert (doubled.tau.low, doubled.tau.high) == pytest.approx((once.tau.low, once.tau.high), abs=1e-12)
    some = spelt.some(np.flatnonzero(again < 20))
    assert (len(some.values), some.distinct) == (int((again < 20).sum()), 20)


def test_large_samples_have_narrow_intervals_about_their_tau(monkeypatch: pytest.MonkeyPatch) -> None:
    of = truth(400, 1.0)
    exact = Ranking(of, scores(of, 1.0)).tau
    monkeypatch.setattr(rank, "WHOLE", 100)
    fewer = Ranking(truth(400, 1.0), scores(of, 1.0)).tau
    assert fewer.value == exact.value
    assert fewer.high - fewer.low == pytest.approx(exact.high - exact.low, rel=0.25)


def test_the_same_seed_gives_the_same_interval_and_another_gives_another() -> None:
    of = truth()
    other = Truth(of.values, of.repeats, seed=1)
    first, again, apart = (Ranking(t, scores(of, 0.5)).tau for t in (of, Truth(of.values, of.repeats), other))
    assert first == again
    assert first.value == apart.value
    assert (first.low, first.high) != (apart.low, apart.high)


def test_perfect_and_reversed_orders() -> None:
    of = truth(ties=False)
    right, wrong = Ranking(of, of.values), Ranking(of, -of.values)
    assert (right.tau.value, wrong.tau.value) == (pytest.approx(1), pytest.approx(-1))
    assert (right.spearman, right.weighted, right.precision(), right.regret(1)) == pytest.approx((1, 1, 1, 0))
    assert wrong.precision() == 0
    assert wrong.regret(1) == pytest.approx(np.ptp(of.values))
    assert wrong.regret(len(of.values)) == 0


def test_regret_counts_no_luck_among_equal_scores() -> None:
    values = np.arange(10.0)
    assert Ranking(Truth(values, values[:, None]), np.zeros(10)).regret(1) == 9
    assert Ranking(Truth(values, values[:, None]), (values >= 5).astype(float)).regret(1) == 4
    assert Ranking(Truth(values, values[:, None]), (values >= 5).astype(float)).regret(5) == 0


def test_equal_truths_at_the_edge_belong_to_the_top() -> None:
    values = np.array([3.0, 3.0, *[1.0] * 8])
    assert Ranking(Truth(values, values[:, None]), np.arange(10.0)[::-1].copy()).precision() == 1


def test_weighted_tau_punishes_faults_at_the_top_more() -> None:
    values = np.arange(30.0)
    top, bottom = values.copy(), values.copy()
    top[[28, 29]], bottom[[0, 1]] = [29, 28], [1, 0]
    of = Truth(values, values[:, None])
    assert Ranking(of, top).tau.value == Ranking(of, bottom).tau.value
    assert Ranking(of, top).weighted < Ranking(of, bottom).weighted


def test_missing_scores_count_as_the_lowest_and_constant_ones_as_no_order() -> None:
    of = truth()
    gap = scores(of, 0.2)
    gap[[3, 5]] = np.nan
    ranking = Ranking(of, gap)
    low = np.where(np.isfinite(gap), gap, np.nanmin(gap) - 5)
    assert ranking.failed == 2
    assert ranking.tau.value == Ranking(of, low).tau.value
    for none in (np.zeros(40), np.full(40, np.nan), np.where(np.arange(40) < 20, 1.0, np.nan)):
        empty = Ranking(of, none)
        assert empty.constant
        assert not empty.tau.known
        assert math.isnan(empty.spearman)


def test_the_ceiling_is_the_mean_tau_between_two_repeats() -> None:
    of = truth()
    pairs = [kendalltau(of.repeats[:, i], of.repeats[:, j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
    assert of.ceiling.value == pytest.approx(np.mean(pairs))
    gaps = of.repeats.copy()
    gaps[::2, 2] = np.nan
    assert Truth(of.values, gaps).ceiling.known
    assert not Truth(of.values, of.repeats[:, :1]).ceiling.known


def test_ties_are_counted_in_pairs() -> None:
    assert rank.ties(np.array([1.0, 1.0, 1.0, 2.0, 2.0, 3.0])) == 4


def test_a_difference_inside_the_noise_is_called_so() -> None:
    of = truth(100)
    good, like, bad = (Ranking(of, scores(of, *how)) for how in ((0.3, 1), (0.3, 2), (5.0, 3)))
    assert difference(good, bad).real
    assert not difference(good, like).real
    assert difference(good, bad).estimate.value == pytest.approx(good.tau.value - bad.tau.value)
    assert not difference(good, Ranking(of, np.zeros(100))).real
    with pytest.raises(ValueError, match="different networks"):
        difference(good, Ranking(truth(100), of.values))


@pytest.mark.parametrize("n", [0, 9])
def test_fewer_than_ten_networks_are_refused(n: int) -> None:
    with pytest.raises(BadInput, match=f"too few to rank: {n} network"):
        Truth(np.arange(float(n)), np.zeros((n, 1)))


def test_a_truth_with_gaps_is_refused() -> None:
    with pytest.raises(BadInput, match="truth of some networks is missing"):
        Truth(np.array([np.nan, *range(20)], float), np.zeros((21, 1)))


def test_tau_settles_with_more_networks() -> None:
    of = truth(200)
    grown = Ranking(of, scores(of, 0.5)).growing((20, 100))
    assert [size for size, *_ in grown] == [20, 100]
    assert grown[1][3] - grown[1][2] < grown[0][3] - grown[0][2]


def test_the_baselines_of_nas_bench_macro(shared_data: Path) -> None:
    """Recomputed from the published table: depth 0.693, multiply-adds 0.556, parameters 0.218, ceiling 0.88."""
    with lzma.open(shared_data / "macro" / "nas_bench_macro.csv.xz", "rt") as file:
        rows = list(csv.DictReader(file))
    repeats = np.array([[float(row[f"acc{i}"]) for i in range(3)] for row in rows])
    of = Truth(repeats.mean(1), repeats)
    depth = np.array([8.0 - row["arch"].count("0") for row in rows])
    found = [Ranking(of, depth), *(Ranking(of, np.array([float(row[key]) for row in rows])) for key in ("flops", "params"))]
    assert [ranking.tau.value for ranking in found] == pytest.approx([0.693, 0.556, 0.218], abs=0.005)
    assert of.ceiling.value == pytest.approx(0.88, abs=0.005)
    assert difference(found[0], found[1]).real
