"""What searches of a benchmark come to: regret and rank over evaluations with their intervals, evaluations to the optimum."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from nas_suite.rank import RESAMPLES, Estimate, interval, resamples

LEAST = 3  # seeds of which an interval can be told: of two a bootstrap knows the two alone
MARKS = (5, 10, 20, 30, 50, 100)  # evaluations after which regret is told, and after the last


@dataclass(frozen=True)
class Ground:
    """What there was to be found: of each candidate its feedback and its worth, in the metric judged; more is better."""

    feedback: Float[np.ndarray, " a"]
    worth: Float[np.ndarray, " a"]

    @cached_property
    def judged(self) -> Float[np.ndarray, " a"]:
        """Worths; one that is missing counts as the least known."""
        return np.where(np.isfinite(self.worth), self.worth, np.nanmin(self.worth))

    @cached_property
    def optimum(self) -> int:
        return int(np.argmax(self.judged))

    @cached_property
    def best(self) -> int:
        """The candidate that feedback leads to in the end."""
        return int(np.argmax(self.feedback))

    @property
    def floor(self) -> float:
        """The regret of the best by feedback: that of a search which tried everything."""
        return float(self.judged[self.optimum] - self.judged[self.best])

    def regrets(self, asked: Sequence[int], budget: int) -> Float[np.ndarray, " e"]:
        """After each evaluation, how far the best by feedback so far is below the optimum; a search that ended early stays."""
        best = np.maximum.accumulate(self.feedback[asked])
        leads = np.flatnonzero(np.diff(best, prepend=-np.inf) > 0)
        leader = np.asarray(asked)[leads[np.searchsorted(leads, np.arange(len(asked)), side="right") - 1]]
        found = self.judged[self.optimum] - self.judged[leader]
        return np.concatenate([found, np.full(budget - len(found), found[-1])])

    def reached(self, asked: Sequence[int]) -> int | None:
        """How many evaluations it took until none is better by feedback; None where that did not come about."""
        there = np.flatnonzero(self.feedback[asked] >= self.feedback[self.best])
        return int(there[0]) + 1 if len(there) else None


@dataclass(frozen=True)
class Search:
    """A finished search: candidates in the order in which they were evaluated, and the seconds that the searcher took."""

    searcher: str
    seed: int
    asked: Sequence[int]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """All searches of one searcher: regrets by seed and evaluation."""

    name: str
    searches: Sequence[Search]
    regrets: Float[np.ndarray, "s e"]
    weights: Int64[np.ndarray, "r s"]

    def regret(self, at: int) -> Estimate:
        """The mean over seeds; searches that are all one and the same tell nothing of chance."""
        return mean(self.regrets[:, at - 1], self.weights, self.alike)

    @property
    def alike(self) -> bool:
        """Whether its seeds all asked for the same networks in the same order."""
        return len({tuple(search.asked) for search in self.searches}) == 1


def marks(budget: int) -> list[int]:
    return sorted({*(mark for mark in MARKS if mark < budget), budget})


def mean(values: Float[np.ndarray, " s"], weights: Int64[np.ndarray, "r s"], alike: bool = False) -> Estimate:
    """The mean over seeds with its bootstrap interval; unknown bounds where seeds are too few or all alike."""
    value = float(values.mean())
    if alike or len(values) < LEAST:
        return Estimate(value, float("nan"), float("nan"))
    return interval(value, weights @ values / weights.sum(1), len(values))


def outcomes(ground: Ground, names: Sequence[str], searches: Sequence[Search], budget: int, seed: int) -> list[Outcome]:
    """By searcher, those that have a search; seeds in order, resampled alike where searchers have the same ones."""
    found = []
    for name in names:
        own = sorted((s for s in searches if s.searcher == name), key=lambda s: s.seed)
        if own:
            regrets = np.array([ground.regrets(s.asked, budget) for s in own])
            found.append(Outcome(name, own, regrets, resamples(len(own), seed, RESAMPLES)))
    return found


def places(found: Sequence[Outcome]) -> Float[np.ndarray, "n s e"]:
    """The rank of each searcher by regret after each evaluation, of each seed that all of them have; 1 is the best, equals
    share theirs."""
    from scipy.stats import rankdata

    common = set.intersection(*({s.seed for s in o.searches} for o in found))
    stacked = np.array([o.regrets[[s.seed in common for s in o.searches]] for o in found])
    return rankdata(stacked.round(12), axis=0)


@dataclass(frozen=True)
class Ranked:
    """A searcher's ranks, by seed and evaluation; `alike` where all searchers' seeds made one and the same search."""

    each: Float[np.ndarray, "s e"]
    weights: Int64[np.ndarray, "r s"]
    alike: bool

    def rank(self, at: int) -> Estimate:
        """The mean over seeds; unknown where no seed is all searchers'."""
        if not len(self.each):
            return Estimate(*[float("nan")] * 3)
        return mean(self.each[:, at - 1], self.weights, self.alike)


def ranked(found: Sequence[Outcome], seed: int) -> list[Ranked]:
    """Each searcher's ranks, their seeds resampled alike."""
    each, alike = places(found), all(o.alike for o in found)
    weights = resamples(each.shape[1], seed, RESAMPLES) if each.shape[1] else np.zeros((1, 0), np.int64)
    return [Ranked(own, weights, alike) for own in each]


def figures(ground: Ground, o: Outcome, own: Ranked, at: Sequence[int]) -> dict[str, Any]:
    """What is told of one searcher, whose ranks are its `own`."""
    reached = [ground.reached(s.asked) for s in o.searches]
    ranks = {str(mark): own.rank(mark) for mark in at}
    return {
        "name": o.name, "seeds": len(o.searches),
        "regret": {str(mark): bounds(o.regret(mark)) for mark in at},
        "rank": {mark: e.value for mark, e in ranks.items()},
        "rank_interval": {mark: {"low": e.low, "high": e.high} for mark, e in ranks.items()},
        "evaluations_to_optimum": {"median": middle(reached), "reached": sum(n is not None for n in reached)},
        "seconds": float(np.mean([s.seconds for s in o.searches])),
    }  # fmt: skip


def middle(reached: Sequence[int | None]) -> float | None:
    """The median number of evaluations, where searches that did not come there would have needed more than any; None where
    that is not known, as half of them or fewer came there."""
    median = float(np.median([np.inf if n is None else n for n in reached]))
    return median if np.isfinite(median) else None


def bounds(e: Estimate) -> dict[str, float]:
    return {"mean": e.value, "low": e.low, "high": e.high}


def differences(found: Sequence[Outcome], at: Sequence[int]) -> list[dict[str, Any]]:
    """Of each other searcher, its regret less that of the first, over the seeds that both have, resampled in pairs."""
    told = []
    first = found[0] if found else None
    for other in found[1:]:
        assert first is not None
        common = sorted({s.seed for s in first.searches} & {s.seed for s in other.searches})
        if len(common) < 2:
            continue
        pairs = [o.regrets[[s.seed in common for s in o.searches]] for o in (other, first)]
        weights = resamples(len(common), 0)
        by_mark = {}
        for mark in at:
            less = pairs[0][:, mark - 1] - pairs[1][:, mark - 1]
            e = mean(less, weights, other.alike and first.alike)
            by_mark[str(mark)] = {**bounds(e), "real": e.low > 0 or e.high < 0}
        told.append({"of": other.name, "less": first.name, "seeds": len(common), "regret": by_mark})
    return told


def curves(ground: Ground, o: Outcome, own: Ranked) -> dict[str, Any]:
    """What a report draws of a searcher: after each evaluation the mean regret and the mean rank with their intervals; each
    seed's own regrets, and after how many evaluations it reached the optimum."""
    every = range(1, o.regrets.shape[1] + 1)
    each, ranks = [o.regret(at) for at in every], [own.rank(at) for at in every]
    return {
        "name": o.name, "mean": [e.value for e in each], "low": [e.low for e in each], "high": [e.high for e in each],
        "rank": [e.value for e in ranks], "rank_low": [e.low for e in ranks], "rank_high": [e.high for e in ranks],
        "reached": [ground.reached(s.asked) for s in o.searches],
        "seeds": {str(s.seed): regrets.tolist() for s, regrets in zip(o.searches, o.regrets, strict=True)},
    }  # fmt: skip
