"""What trying a candidate would gain: BoTorch's acquisition functions, read from a list of beliefs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from botorch.acquisition import AcquisitionFunction, qLogExpectedImprovement, qUpperConfidenceBound
from botorch.acquisition.analytic import LogExpectedImprovement, UpperConfidenceBound
from botorch.models.model import Model as BotorchModel
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from torch import Tensor

from nas_suite.space import Arch
from nas_suite.surrogate.model import LEAST_VARIANCE, Model

Kind = Literal["logei", "ucb", "thompson"]
SAMPLES = 128  # of joint beliefs, in acquisitions that know what is pending
CHUNK = 2048  # candidates that BoTorch scores at once
JITTER = 1e-8  # variance given to candidates and pending ones, which may be nearly one
BETA = 4.0  # UCB is the mean plus sqrt(BETA) standard deviations
TIE = 1e-10  # share by which equal scores may differ: what rounding makes of them


@dataclass(frozen=True)
class Acquisition:
    """A rule by which candidates are scored, greater is better, given the beliefs of a fitted model.

    `logei` is the logarithm of the expected improvement on `best` (in standardised units), which stays comparable where the
    improvement itself would underflow; with pending architectures qLogEI, sampled. `ucb` is an upper confidence bound.
    `thompson` draws each candidate's value from its own belief, independently (BANANAS).
    """

    model: Model
    kind: Kind
    best: float
    seed: int = 0
    beta: float = BETA

    def scores(self, archs: Sequence[Arch], pending: Sequence[Arch] = ()) -> Float[Tensor, " a"]:
        mean, sd = self.model.posterior(archs)
        if self.kind == "thompson":
            draws = torch.Generator().manual_seed(self.seed + len(pending))
            return finite(mean + sd * torch.randn(len(mean), generator=draws, dtype=mean.dtype))
        places = torch.arange(len(mean) + len(pending), dtype=mean.dtype)[:, None]
        candidates, behind = places[: len(mean), None], places[len(mean) :]
        if pending:
            there, within = self.model.posterior(pending)[0], self.model.covariance(pending, pending)
            rule = self.sampled(
                Listed(mean, sd.square(), Pending(there, self.model.covariance(archs, pending), within)), behind
            )
        else:
            rule = self.exact(Listed(mean, sd.square()))
        with torch.no_grad():
            return finite(torch.cat([rule(candidates[at : at + CHUNK]) for at in range(0, len(candidates), CHUNK)]))

    def exact(self, listed: "Listed") -> AcquisitionFunction:
        if self.kind == "logei":
            return LogExpectedImprovement(listed, exactly(self.best))
        return UpperConfidenceBound(listed, exactly(self.beta))

    def sampled(self, listed: "Listed", behind: Float[Tensor, "p 1"]) -> AcquisitionFunction:
        sampler = SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=self.seed)
        if self.kind == "logei":
            return qLogExpectedImprovement(listed, exactly(self.best), sampler, X_pending=behind)
        return qUpperConfidenceBound(listed, self.beta, sampler, X_pending=behind)


class Pending(NamedTuple):
    """Beliefs about architectures that were asked for and not told of: among themselves, and across to candidates."""

    mean: Float[Tensor, " p"]
    cross: Float[Tensor, "a p"]
    within: Float[Tensor, "p p"]


class Listed(BotorchModel):
    """Beliefs about candidates in a list, and about pending architectures behind them, as a BoTorch model whose only input is
    a place in the list. All means and variances are then found at once, where BoTorch would ask for one candidate a time."""

    num_outputs = 1  # type: ignore[assignment]

    def __init__(self, mean: Float[Tensor, " a"], variance: Float[Tensor, " a"], pending: Pending | None = None) -> None:
        super().__init__()
        self.mean, self.variance, self.pending = mean, variance.clamp_min(LEAST_VARIANCE), pending

    def posterior(self, X: Float[Tensor, "b q 1"], *args: Any, **kwargs: Any) -> GPyTorchPosterior:
        """Of each row of `X`, a candidate's place and, behind it, those of all pending ones."""
        first = X[..., 0, 0].long()
        mean, covariance = self.mean[first][..., None], self.variance[first][..., None, None]
        if self.pending is not None:
            mean = torch.cat([mean, self.pending.mean.expand(*first.shape, -1)], -1)
            across = self.pending.cross[first][..., None, :]
            below = torch.cat([across.mT, self.pending.within.expand(*first.shape, -1, -1)], -1)
            covariance = torch.cat([torch.cat([covariance, across], -1), below], -2)
            covariance = covariance + JITTER * torch.eye(X.shape[-2], dtype=mean.dtype)
        return GPyTorchPosterior(MultivariateNormal(mean, covariance))


def exactly(value: float) -> Float[Tensor, ""]:
    """In float64: of a plain number BoTorch would make a float32."""
    return torch.tensor(value, dtype=torch.float64)


def finite(scores: Float[Tensor, " a"]) -> Float[Tensor, " a"]:
    """As they are; ArithmeticError where one is not a number, which no order could place."""
    if scores.isnan().any():
        raise ArithmeticError(f"{int(scores.isnan().sum())} of {len(scores)} candidates have no score: the surrogate broke")
    return scores


def leaders(scores: Float[Tensor, " a"]) -> list[int]:
    """The places of the greatest score, and of those that only rounding tells from it; all, where all are -inf."""
    top = float(scores.max())
    least = top if math.isinf(top) else top - TIE * max(1.0, abs(top))
    return (scores >= least).nonzero()[:, 0].tolist()
