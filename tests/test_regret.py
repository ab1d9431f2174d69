"""What searches come to, by hand: regret of the incumbent, the optimum reached, ranks, intervals, paired differences."""

import math

import numpy as np
import pytest

from nas_suite.pipeline.regret import Ground, Search, differences, figures, marks, mean, middle, outcomes, places, ranked
from nas_suite.rank import resamples

GROUND = Ground(np.array([0.5, 0.9, 0.7, 0.8]), np.array([0.5, 0.8, 0.9, np.nan]))
"""Candidate 1 is the best by feedback, 2 the best in truth; of 3 the truth is not known."""


def test_regret_is_that_of_the_best_by_feedback_so_far() -> None:
    assert GROUND.regrets([0, 2, 1, 3], 6).tolist() == pytest.approx([0.4, 0.0, 0.1, 0.1, 0.1, 0.1])
    assert GROUND.regrets([3, 0], 2).tolist() == pytest.approx([0.4, 0.4])  # what is unknown counts as the worst
    assert GROUND.floor == pytest.approx(0.1)
    assert (GROUND.optimum, GROUND.best) == (2, 1)


def test_of_equal_feedback_the_first_stays() -> None:
    ground = Ground(np.array([0.7, 0.7]), np.array([0.1, 0.2]))
    assert ground.regrets([0, 1], 2).tolist() == pytest.approx([0.1, 0.1])
    assert ground.regrets([1, 0], 2).tolist() == pytest.approx([0.0, 0.0])


def test_the_optimum_is_reached_where_none_is_better_by_feedback() -> None:
    assert GROUND.reached([0, 2, 1, 3]) == 3
    assert GROUND.reached([0, 2, 3]) is None


@pytest.mark.parametrize(
    ("reached", "median"),
    [
        ([3, 5, 9], 5),
        ([3, 5, 9, 10], 7),
        ([3, 5, None], 5),
        ([3, 5, 9, None], 7),
        ([3, 5, None, None], None),  # no less than that of [3, 5, 9, None]
        ([3, None, None], None),
        ([None], None),
        ([8], 8),
    ],
)
def test_the_median_number_of_evaluations(reached: list[int | None], median: float | None) -> None:
    assert middle(reached) == median


def test_marks() -> None:
    assert marks(100) == [5, 10, 20, 30, 50, 100]
    assert marks(34) == [5, 10, 20, 30, 34]
    assert marks(5) == [5]


def searches(name: str, *asked: list[int]) -> list[Search]:
    return [Search(name, seed, some, 1.0 + seed) for seed, some in enumerate(asked)]


def test_equals_share_their_rank() -> None:
    ground = Ground(np.arange(4.0), np.arange(4.0))
    some = [*searches("a", [0, 3], [1, 3]), *searches("b", [0, 1], [2, 3]), *searches("c", [3, 0], [0, 1])]
    found = outcomes(ground, ["a", "b", "c"], some, 2, 0)
    first, second = np.array([[2.5, 2.5, 1.0], [2.0, 1.0, 3.0]]), np.array([[1.5, 3.0, 1.5], [1.5, 1.5, 3.0]])
    assert places(found).mean(1).T.tolist() == [first.mean(0).tolist(), second.mean(0).tolist()]


def test_searchers_are_ranked_over_the_seeds_that_all_of_them_have() -> None:
    ground = Ground(np.arange(4.0), np.arange(4.0))
    some = [*searches("a", [0], [1], [3]), *searches("b", [1], [0])]
    assert places(outcomes(ground, ["a", "b"], some, 1, 0)).mean(1).tolist() == [[1.5], [1.5]]
    apart = [Search("a", 0, [0], 0.0), Search("b", 1, [0], 0.0)]
    assert all(np.isnan(own.rank(1).value) for own in ranked(outcomes(ground, ["a", "b"], apart, 1, 0), 0))


def test_ranks_have_the_interval_of_their_mean_over_seeds() -> None:
    ground = Ground(np.arange(4.0), np.arange(4.0))
    some = [*searches("a", *([at % 4] for at in range(12))), *searches("b", *([1] for _ in range(12)))]
    a, b = ranked(outcomes(ground, ["a", "b"], some, 1, 0), 0)
    assert a.each[:4, 0].tolist() == [2.0, 1.5, 1.0, 1.0]
    found, other = a.rank(1), b.rank(1)
    assert found == mean(a.each[:, 0], resamples(12, 0))
    assert found.value == 1.375
    assert 1.0 < found.low < 1.375 < found.high < 1.7
    assert found.value + other.value == 3
    two = ranked(outcomes(ground, ["a"], some[:2], 1, 0), 0)[0].rank(1)
    assert math.isnan(two.low)
    same = [*searches("a", *([0] for _ in range(5))), *searches("b", *([1] for _ in range(5)))]
    assert all(math.isnan(own.rank(1).low) for own in ranked(outcomes(ground, ["a", "b"], same, 1, 0), 0))


def test_the_interval_of_a_mean_is_about_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(size=100)
    found = mean(values, resamples(100, 0))
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 10
    assert found.low == pytest.approx(found.value - half, abs=0.2 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.2 * half)
    alone = mean(values[:1], resamples(1, 0))
    assert (alone.value, math.isnan(alone.low), math.isnan(alone.high)) == (values[0], True, True)


def test_differences_are_paired_by_seed() -> None:
    """Both searchers do as their design does, one a step better: unpaired, the spread of designs would hide that."""
    worth = np.arange(40.0)
    ground = Ground(worth, worth)
    designs = np.random.default_rng(0).permutation(38)[:12].tolist()
    some = [*searches("one", *([at, at] for at in designs)), *searches("two", *([at, at + 1] for at in designs))]
    found = outcomes(ground, ["one", "two"], some, 2, 0)
    unpaired = [o.regret(2) for o in found]
    assert unpaired[0].low < unpaired[1].high
    (apart,) = differences(found, [1, 2])
    assert (apart["of"], apart["less"], apart["seeds"]) == ("two", "one", 12)
    assert apart["regret"]["2"] == {"mean": -1.0, "low": -1.0, "high": -1.0, "real": True}
    assert apart["regret"]["1"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "real": False}


def test_figures_of_a_searcher() -> None:
    ground = Ground(np.arange(4.0), np.arange(4.0))
    (found,) = outcomes(ground, ["a", "b"], searches("a", [0, 3], [1, 2], [0, 3]), 2, 0)
    told = figures(ground, found, *ranked([found], 0), [1, 2])
    assert (told["name"], told["seeds"], told["seconds"]) == ("a", 3, 2.0)
    assert told["regret"]["1"]["mean"] == pytest.approx(8 / 3)
    assert told["regret"]["2"] == {"mean": pytest.approx(1 / 3), "low": 0.0, "high": 1.0}
    assert told["rank"] == {"1": 1.0, "2": 1.0}
    assert told["rank_interval"] == {"1": {"low": 1.0, "high": 1.0}, "2": {"low": 1.0, "high": 1.0}}
    assert told["evaluations_to_optimum"] == {"median": 2.0, "reached": 2}
