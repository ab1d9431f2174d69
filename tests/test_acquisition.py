"""Acquisition: expected improvement against sampling, its logarithm far down, and ties (spec check 4)."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from nas_suite.space import Arch
from nas_suite.surrogate.acquisition import Acquisition, Kind, leaders
from nas_suite.surrogate.model import Model


class Known(Model):
    """Beliefs that are given: architecture (i,) has mean, variance and covariances of row i."""

    def __init__(self, mean: Sequence[float], covariance: np.ndarray) -> None:
        self.mean, self.all = torch.tensor(mean, dtype=torch.float64), torch.from_numpy(covariance)

    def fit(self, archs: Sequence[Arch], values: np.ndarray) -> None: ...

    def posterior(self, archs: Sequence[Arch]) -> tuple[Tensor, Tensor]:
        at = [arch[0] for arch in archs]
        return self.mean[at], self.all.diagonal()[at].sqrt()

    def covariance(self, archs: Sequence[Arch], others: Sequence[Arch]) -> Tensor:
        return self.all[[a[0] for a in archs]][:, [b[0] for b in others]]


def apart(mean: Sequence[float], sd: Sequence[float]) -> Known:
    return Known(mean, np.diag(np.square(sd)))


def listed(n: int) -> list[Arch]:
    return [(i,) for i in range(n)]


def closed(mean: np.ndarray, sd: np.ndarray, best: float) -> np.ndarray:
    u = (mean - best) / sd
    return (mean - best) * norm.cdf(u) + sd * norm.pdf(u)


def test_log_expected_improvement_is_the_logarithm_of_the_expected_improvement() -> None:
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(size=200), rng.uniform(0.1, 2, 200)
    mean = np.maximum(mean, 0.7 - 4.9 * sd)  # u > -5
    scores = Acquisition(apart(mean, sd), "logei", 0.7).scores(listed(200)).numpy()
    np.testing.assert_allclose(np.exp(scores), closed(mean, sd, 0.7), rtol=1e-9, atol=1e-10)


def test_expected_improvement_agrees_with_a_million_samples() -> None:
    rng = np.random.default_rng(1)
    mean, sd = np.array([-1.0, 0.0, 0.5, 2.0]), np.array([0.7, 0.3, 1.5, 0.2])
    scores = Acquisition(apart(mean, sd), "logei", 0.4).scores(listed(4)).exp().numpy()
    gains = np.maximum(mean + sd * rng.normal(size=(10**6, 4)) - 0.4, 0.0)
    assert (np.abs(gains.mean(0) - scores) < 3 * gains.std(0) / 1000).all()


def test_it_rises_strictly_and_stays_finite_far_below_the_incumbent() -> None:
    means = -np.logspace(-2, 4, 400)[::-1]  # u down to -1e4, where the improvement itself is 0
    scores = Acquisition(apart(means, np.ones(400)), "logei", 0.0).scores(listed(400))
    assert scores.isfinite().all()
    assert (scores.diff() > 0).all()
    assert math.exp(scores[0].item()) == 0.0
    assert scores[0].item() == pytest.approx(-0.5e8, rel=1e-6)


def test_upper_confidence_bounds_and_thompson_draws() -> None:
    known = apart([0.0, 1.0], [2.0, 0.5])
    np.testing.assert_allclose(Acquisition(known, "ucb", 0.0, beta=4.0).scores(listed(2)), [4.0, 2.0])
    np.testing.assert_allclose(Acquisition(known, "ucb", 0.0, beta=0.25).scores(listed(2)), [1.0, 1.25])
    draws = torch.stack([Acquisition(known, "thompson", 0.0, seed).scores(listed(2)) for seed in range(2000)])
    np.testing.assert_allclose(draws.mean(0), [0.0, 1.0], atol=0.15)
    np.testing.assert_allclose(draws.std(0), [2.0, 0.5], rtol=0.06)
    assert abs(float(torch.corrcoef(draws.T)[0, 1])) < 0.08, "of each candidate its own"
    again = Acquisition(known, "thompson", 0.0, 7)
    assert torch.equal(again.scores(listed(2)), draws[7])
    assert not torch.equal(again.scores(listed(2), [(0,)]), draws[7])


@pytest.mark.parametrize("kind", ["logei", "ucb"])
def test_what_is_pending_counts_as_tried(kind: Kind) -> None:
    """Candidate 1 is nearly the pending one, candidate 2 is independent of it and as good."""
    covariance = np.array([[1.0, 0.999, 0.0], [0.999, 1.0, 0.0], [0.0, 0.0, 1.0]])
    rule = Acquisition(Known([0.0, 0.0, 0.0], covariance), kind, 0.5)
    scores = rule.scores(listed(3), [(0,)])
    assert scores[2] > scores[1] + 0.1
    assert scores[1] == pytest.approx(scores[0].item(), abs=0.1)
    if kind == "logei":
        draws = np.random.default_rng(0).multivariate_normal(np.zeros(3), covariance, 10**6)
        together = np.maximum(draws[:, [0, 2]].max(1) - 0.5, 0).mean()
        assert scores[2].exp().item() == pytest.approx(together, rel=0.05)


def test_many_candidates_are_scored_as_few_are() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5000, 6))
    known = Known(rng.normal(size=5000), root @ root.T + 0.1 * np.eye(5000))
    for pending in ([], [(4,), (9,)]):
        rule = Acquisition(known, "logei", 1.0, 3)
        whole = rule.scores(listed(5000), pending)
        torch.testing.assert_close(whole[4000:4010], rule.scores(listed(5000)[4000:4010], pending), atol=1e-10, rtol=0)


def test_leaders_are_ties_and_nothing_else() -> None:
    assert leaders(torch.tensor([1.0, 3.0, 3.0 + 1e-13, 2.9], dtype=torch.float64)) == [1, 2]
    assert leaders(torch.tensor([-5e7, -5e7 - 1.0], dtype=torch.float64)) == [0]
    assert leaders(torch.tensor([-torch.inf, -torch.inf])) == [0, 1]
    assert leaders(torch.tensor([-torch.inf, -1e300], dtype=torch.float64)) == [1]


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ArithmeticError, match="1 of 3 candidates"):
        Acquisition(apart([0.0, np.nan, 1.0], [1.0, 1.0, 1.0]), "logei", 0.0).scores(listed(3))
