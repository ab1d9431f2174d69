"""How well scores order networks: Kendall's tau with interval, ties, regret, precision, noise ceiling, paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped

from nas_suite.errors import BadInput
from nas_suite.words import plural

RESAMPLES = 1000
FEWEST = 10  # networks of which an order says anything
WHOLE = 20_000  # pairs up to which every resample is as large as the sample
LEVEL = 0.95
TOPS = (1, 5, 10)
FORMS = 2000  # networks up to which quadratic forms are faster than sorting each resample (benchmarks/speed_tables.py)
BLOCK = 1 << 22  # pairs of networks compared at a time


@dataclass(frozen=True)
class Estimate:
    """A statistic and the bounds of its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def tau(x: Shaped[np.ndarray, " a"], y: Shaped[np.ndarray, " a"]) -> float:
    """Kendall's tau-b; NaN where one of them is constant."""
    from scipy.stats import kendalltau

    return statistic(kendalltau(x, y))


def statistic(result: Any) -> float:
    """Of a test of scipy's, whose results share no type."""
    return float(result.statistic)


def resamples(n: int, seed: int, count: int = RESAMPLES) -> Int64[np.ndarray, "r a"]:
    """How often each of n networks stands in each bootstrap resample: the same for everything that is compared.

    A resample of more than `WHOLE` networks holds `WHOLE` of them (m out of n bootstrap); `interval` makes up for it.
    """
    rng = np.random.default_rng((seed, n))
    return rng.multinomial(min(n, WHOLE), np.full(n, 1 / n), size=count)


def bootstrap(
    x: Float[np.ndarray, " a"], y: Float[np.ndarray, " a"], weights: Int64[np.ndarray, "r a"]
) -> Float[np.ndarray, " r"]:
    """tau-b of (x, y) in each resample; NaN where a resample is constant."""
    if len(x) <= FORMS:
        return by_forms(codes(x), codes(y), weights)
    a, b, places = codes(x), codes(y), np.arange(len(x))
    rows = (np.repeat(places, w) for w in weights)
    return np.array([tau(a[row], b[row]) for row in rows])


def by_forms(a: np.ndarray, b: np.ndarray, weights: Int64[np.ndarray, "r a"]) -> Float[np.ndarray, " r"]:
    """With w_i copies of network i the sums over pairs are quadratic forms: Σ w_i w_j s_ij with s_ij = sign(a_i - a_j) ·
    sign(b_i - b_j), for all resamples one matrix product; ties by the weights of each group of equals."""
    n = len(a)
    w = weights.astype(np.float32).T  # exact: sums stay below 2^24
    agreement = np.zeros(weights.shape[0])
    rows = max(1, BLOCK // n)
    for start in range(0, n, rows):
        some = slice(start, min(n, start + rows))
        signs = np.sign(a[some, None] - a[None]) * np.sign(b[some, None] - b[None])
        agreement += ((signs.astype(np.float32) @ w) * w[some]).sum(0, dtype=np.float64)
    size = weights.sum(1, dtype=np.float64) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return agreement / np.sqrt((size - tied(a, weights)) * (size - tied(b, weights)))


def codes(x: Float[np.ndarray, " a"]) -> np.ndarray:
    """The rank of each value among the distinct ones: equal where values are."""
    return np.unique(x, return_inverse=True)[1].astype(np.int32)


def tied(code: np.ndarray, weights: Int64[np.ndarray, "r a"]) -> Float[np.ndarray, " r"]:
    """Σ over groups of equal values of the squared weight of the group."""
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    return (np.add.reduceat(weights[:, order], starts, axis=1).astype(np.float64) ** 2).sum(1)


def interval(value: float, draws: Float[np.ndarray, " r"], n: int) -> Estimate:
    """Percentile interval of bootstrap draws; where they were of `WHOLE` out of n, narrowed about the value by √(WHOLE / n)."""
    draws = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not len(draws):
        return UNKNOWN
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if n > WHOLE:
        shrink = math.sqrt(WHOLE / n)
        low, high = value + (low - value) * shrink, value + (high - value) * shrink
    return Estimate(value, float(low), float(high))


@dataclass(frozen=True)
class Truth:
    """What is known of the networks that are ranked: values (higher is better) and, where there are some, repeats.

    `networks` says by equal numbers which rows spell one and the same network; without it each is a network of its own.
    """

    values: Float[np.ndarray, " a"]
    repeats: Float[np.ndarray, "a r"]
    seed: int = 0
    networks: Int64[np.ndarray, " a"] | None = None

    def __post_init__(self) -> None:
        if len(self.values) < FEWEST:
            raise BadInput(f"too few to rank: {plural(len(self.values), 'network')}; at least {FEWEST} are needed")
        if not np.isfinite(self.values).all():
            raise BadInput("the truth of some networks is missing: rank those that have one")

    @cached_property
    def places(self) -> Int64[np.ndarray, " a"]:
        """Of each row the place of its network among the distinct ones."""
        return np.arange(len(self.values)) if self.networks is None else np.unique(self.networks, return_inverse=True)[1]

    @cached_property
    def distinct(self) -> int:
        return int(self.places.max()) + 1

    @cached_property
    def weights(self) -> Int64[np.ndarray, "r a"]:
        """How often each row stands in each resample. Networks are drawn, each with all its rows: spellings of one network tell
        no more than it does, and intervals of rows drawn one by one would be too narrow."""
        return resamples(self.distinct, self.seed)[:, self.places]

    def some(self, which: Int64[np.ndarray, " k"]) -> "Truth":
        """That of these rows alone."""
        networks = None if self.networks is None else self.networks[which]
        return Truth(self.values[which], self.repeats[which], self.seed, networks)

    @cached_property
    def ceiling(self) -> Estimate:
        """The mean tau between two repeats, over the networks that have both: no estimator can be expected above it by
        more than averaging repeats brings. Unknown where there is one repeat."""
        pairs = []
        for i in range(self.repeats.shape[1]):
            for j in range(i):
                both = np.isfinite(self.repeats[:, i]) & np.isfinite(self.repeats[:, j])
                if both.sum() >= FEWEST:
                    pairs.append(tau(self.repeats[both, i], self.repeats[both, j]))
        return Estimate(float(np.mean(pairs)), min(pairs), max(pairs)) if pairs else UNKNOWN

    @cached_property
    def best(self) -> float:
        return float(self.values.max())

    @cached_property
    def ties(self) -> int:
        """Pairs of networks whose values are equal."""
        return ties(self.values)


def ties(x: Float[np.ndarray, " a"]) -> int:
    _, counts = np.unique(x, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


@dataclass(frozen=True)
class Ranking:
    """How scores (higher is better) order the networks of a truth. A score that is missing counts as below all others."""

    truth: Truth
    scores: Float[np.ndarray, " a"]

    @cached_property
    def failed(self) -> int:
        """How many scores are missing."""
        return int((~np.isfinite(self.scores)).sum())

    @cached_property
    def filled(self) -> Float[np.ndarray, " a"]:
        found = self.scores[np.isfinite(self.scores)]
        return np.where(np.isfinite(self.scores), self.scores, found.min() - 1 if len(found) else 0.0)

    @cached_property
    def constant(self) -> bool:
        """Whether there is no order to speak of."""
        return self.failed == len(self.scores) or bool(np.ptp(self.scores[np.isfinite(self.scores)]) == 0)

    @cached_property
    def draws(self) -> Float[np.ndarray, " r"]:
        return bootstrap(self.filled, self.truth.values, self.truth.weights)

    @cached_property
    def tau(self) -> Estimate:
        if self.constant:
            return UNKNOWN
        return interval(tau(self.filled, self.truth.values), self.draws, self.truth.distinct)

    @cached_property
    def spearman(self) -> float:
        from scipy.stats import spearmanr

        return math.nan if self.constant else statistic(spearmanr(self.filled, self.truth.values))

    @cached_property
    def weighted(self) -> float:
        """Weighted tau (Vigna 2015): exchanges among the truly best count most, by hyperbolic weights."""
        from scipy.stats import weightedtau

        by_truth: Any = None  # the larger the first argument, the higher the rank
        return math.nan if self.constant else statistic(weightedtau(self.truth.values, self.filled, rank=by_truth))

    @cached_property
    def order(self) -> Int64[np.ndarray, " a"]:
        """Networks, the best scores first; of equal scores the one that is truly worse, so that no luck is counted."""
        return np.lexsort((self.truth.values, -self.filled))

    def regret(self, top: int) -> float:
        """How far the truly best of the `top` best scores is below the best of all."""
        return self.truth.best - float(self.truth.values[self.order[:top]].max())

    def precision(self, share: float = 0.1) -> float:
        """The part of the best `share` by score that truly belongs to it; equal truths at the edge belong to it."""
        count = max(1, round(share * len(self.scores)))
        edge = np.sort(self.truth.values)[-count]
        return float((self.truth.values[self.order[:count]] >= edge).mean())

    @cached_property
    def top_tau(self) -> float:
        """tau among the truly best tenth; NaN where these are too few or constant."""
        count = round(0.1 * len(self.scores))
        if count < FEWEST or self.constant:
            return math.nan
        top = np.argsort(-self.truth.values, kind="stable")[:count]
        return tau(self.filled[top], self.truth.values[top])

    def growing(self, sizes: Sequence[int], draws: int = 40) -> list[tuple[int, float, float, float]]:
        """How tau settles with more networks: size, and the mean, 2.5 % and 97.5 % of tau over random subsets of it, all drawn
        from at most `WHOLE` networks."""
        rng = np.random.default_rng((self.truth.seed, 1))
        some = np.sort(rng.permutation(len(self.scores))[:WHOLE])
        subsets = [rng.permutation(len(some)) < size for size in sizes for _ in range(draws)]
        if not subsets:
            return []
        taus = bootstrap(self.filled[some], self.truth.values[some], np.array(subsets, dtype=np.int64)).reshape(-1, draws)
        found = [(size, row[np.isfinite(row)]) for size, row in zip(sizes, taus, strict=True)]
        spans = [(n, float(t.mean()), np.quantile(t, [0.025, 0.975])) for n, t in found if len(t)]
        return [(n, mean, float(low), float(high)) for n, mean, (low, high) in spans]


@dataclass(frozen=True)
class Difference:
    """tau of one ranking less that of another on the same networks, with its paired bootstrap interval."""

    estimate: Estimate

    @property
    def real(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.estimate.known and not self.estimate.low <= 0 <= self.estimate.high


def difference(one: Ranking, other: Ranking) -> Difference:
    """Both rankings are of one truth, so that each resample holds the same networks."""
    if one.truth is not other.truth:
        raise ValueError("rankings of different networks are not compared")
    if not (one.tau.known and other.tau.known):
        return Difference(UNKNOWN)
    return Difference(interval(one.tau.value - other.tau.value, one.draws - other.draws, one.truth.distinct))
