"""Exact Gaussian processes in float64: GPyTorch's kernels and priors, evidence and posterior by one Cholesky factor."""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import gpytorch
import numpy as np
import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.priors import LogNormalPrior, NormalPrior
from jaxtyping import Float, Int64
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nas_suite.space import Arch
from nas_suite.surrogate.model import LEAST_VARIANCE, Model
from nas_suite.surrogate.standard import CLIP, Standardiser

CHUNK = 2048  # candidates whose covariances are in memory at once
JITTERS = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)  # of the mean diagonal, tried in turn
NOISE = (1e-4, 1.0)  # variances, in units of standardised values
STEPS, TOLERANCE = 60, 1e-7  # of L-BFGS: iterations at most, and the relative gain below which it stops

Features = Callable[[Sequence[Arch]], Float[Tensor, "a d"]]


class Bounded(Interval):
    """A positive number between two bounds, free in a logistic share of its logarithm, whatever optimiser moves it."""

    def transform(self, tensor: Tensor) -> Tensor:
        low, high = self.lower_bound.log(), self.upper_bound.log()
        return (low + (high - low) * torch.sigmoid(tensor)).exp()

    def inverse_transform(self, transformed_tensor: Tensor) -> Tensor:
        low, high = self.lower_bound.log(), self.upper_bound.log()
        return torch.logit((transformed_tensor.log() - low) / (high - low))


def matern(dimensions: int = 0, length: float = 0.6, variance: float = 1.0) -> Kernel:
    """Matérn-5/2 times a variance, for features of which two are at most about 1 apart. One length scale, with its prior's
    median at `length`; with `dimensions`, one for each (ARD)."""
    inner = MaternKernel(
        nu=2.5,
        ard_num_dims=dimensions or None,
        lengthscale_constraint=Bounded(0.03, 30.0),
        lengthscale_prior=LogNormalPrior(math.log(length), 0.75),
    )
    inner.initialize(lengthscale=length)
    return scaled(inner, variance)


def scaled(inner: Kernel, variance: float = 1.0) -> Kernel:
    """A kernel times a learned variance, about `variance` before anything is seen."""
    prior = LogNormalPrior(math.log(variance), 0.75)
    kernel = ScaleKernel(inner, outputscale_prior=prior, outputscale_constraint=Bounded(0.02, 50.0))
    kernel.initialize(outputscale=variance)
    return kernel


class Process(nn.Module):
    """A Gaussian process on rows of features, with a constant mean, and Gaussian noise within bounds.

    `offset` is a mean given for each row, such as what a history predicts; the process learns how much of it to believe, from
    a prior about 1. Nothing is cached: each answer follows from the parameters as they are.
    """

    def __init__(self, kernel: Kernel, noise: tuple[float, float] = NOISE) -> None:
        super().__init__()
        self.kernel = kernel
        self.likelihood = gpytorch.likelihoods.GaussianLikelihood(
            noise_constraint=Bounded(*noise), noise_prior=LogNormalPrior(-4.0, 1.5)
        )
        self.likelihood.initialize(noise=math.sqrt(noise[0] * noise[1]))
        self.mean = gpytorch.means.ConstantMean(constant_prior=NormalPrior(0.0, 1.0))
        self.trust = nn.Parameter(torch.ones(()))
        self.double()

    def prior_mean(self, z: Float[Tensor, "n d"], offset: Float[Tensor, " n"] | None) -> Float[Tensor, " n"]:
        constant = torch.as_tensor(self.mean(z))
        return constant if offset is None else constant + self.trust * offset

    def factor(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
        """The Cholesky factor of the covariance of noisy observations."""
        return cholesky(dense(self.kernel, z, z) + self.likelihood.noise * torch.eye(len(z), dtype=z.dtype))

    def evidence(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, " n"], offset: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, ""]:
        """The log marginal likelihood of all observations together; differentiable in the parameters and in `z`."""
        root = self.factor(z)
        white = torch.linalg.solve_triangular(root, (y - self.prior_mean(z, offset))[:, None], upper=False)
        return -0.5 * (white.square().sum() + len(y) * math.log(2 * math.pi)) - root.diagonal().log().sum()

    def loss(
        self,
        z: Float[Tensor, "n d"],
        y: Float[Tensor, " n"],
        offset: Float[Tensor, " n"] | None = None,
        blocks: Sequence[Int64[Tensor, " _"]] = (),
    ) -> Float[Tensor, ""]:
        """What fitting lowers: minus evidence and log priors of the parameters, for each observation. Of `blocks`, places of
        observations, the evidences are added up, as if no block told anything of another."""
        priors = sum(prior.log_prob(closure(module)).sum() for _, module, prior, closure, _ in self.named_priors())
        believed = 0.0 if offset is None else -2.0 * (self.trust - 1.0).square()  # a deviation of 0.5
        parts = [self.evidence(z[at], y[at], None if offset is None else offset[at]) for at in blocks or [slice(None)]]
        return -(torch.stack(parts).sum() + priors + believed) / len(y)

    def named_priors(self) -> Iterator[tuple]:
        for part in (self.kernel, self.likelihood, self.mean):
            yield from part.named_priors()

    def fit(
        self,
        z: Float[Tensor, "n d"],
        y: Float[Tensor, " n"],
        offset: Float[Tensor, " n"] | None = None,
        steps: int = STEPS,
        blocks: Sequence[Int64[Tensor, " _"]] = (),
    ) -> None:
        """Lowers the loss over all parameters by L-BFGS from where they are; they stay there if nothing lower is found."""
        moved = [p for p in self.parameters() if p.requires_grad and (offset is not None or p is not self.trust)]
        start = parameters_to_vector(moved).detach().numpy().copy()

        def downhill(vector: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
            vector_to_parameters(torch.from_numpy(vector), moved)
            loss = self.loss(z, y, offset, blocks)
            return loss.item(), parameters_to_vector(torch.autograd.grad(loss, moved)).numpy()

        options = {"maxiter": steps, "ftol": TOLERANCE, "gtol": 1e-5}
        found = minimize(downhill, start, jac=True, method="L-BFGS-B", options=options)
        vector_to_parameters(torch.from_numpy(found.x if np.isfinite(found.fun) else start), moved)

    @torch.no_grad()
    def given(self, z: Float[Tensor, "n d"], y: Float[Tensor, " n"], offset: Float[Tensor, " n"] | None = None) -> "Posterior":
        root = self.factor(z)
        white = torch.linalg.solve_triangular(root, (y - self.prior_mean(z, offset))[:, None], upper=False)
        return Posterior(self, z, root, white[:, 0])


@dataclass(frozen=True)
class Posterior:
    """A process given observations at rows `z`: the factor of their covariance, and the residuals whitened by it."""

    process: Process
    z: Float[Tensor, "n d"]
    root: Float[Tensor, "n n"]
    white: Float[Tensor, " n"]

    @torch.no_grad()
    def moments(
        self, z: Float[Tensor, "a d"], offset: Float[Tensor, " a"] | None = None
    ) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
        """Mean and variance of the function itself at each row, without noise: only diagonals, in chunks."""
        means, variances = [], []
        for at in range(0, len(z), CHUNK):
            rows = z[at : at + CHUNK]
            near = self.whitened(rows)
            means.append(self.process.prior_mean(rows, None if offset is None else offset[at : at + CHUNK]) + self.white @ near)
            variances.append(self.process.kernel(rows, diag=True) - near.square().sum(0))
        return torch.cat(means), torch.cat(variances).clamp_min(LEAST_VARIANCE)

    @torch.no_grad()
    def covariance(self, z: Float[Tensor, "a d"], others: Float[Tensor, "b d"]) -> Float[Tensor, "a b"]:
        return dense(self.process.kernel, z, others) - self.whitened(z).T @ self.whitened(others)

    def whitened(self, z: Float[Tensor, "a d"]) -> Float[Tensor, "n a"]:
        return torch.linalg.solve_triangular(self.root, dense(self.process.kernel, self.z, z), upper=False)


def dense(kernel: Kernel, z: Float[Tensor, "n d"], others: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return kernel(z, others).to_dense()


def cholesky(matrix: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The lower factor, of a matrix with as little added to its diagonal as it takes; ArithmeticError where nothing helps."""
    for jitter in JITTERS:
        root, failed = torch.linalg.cholesky_ex(matrix + jitter * matrix.diagonal().mean() * torch.eye(len(matrix)).to(matrix))
        if not failed:
            return root
    low = "has entries that are not finite" if not matrix.isfinite().all() else "is not positive definite"
    raise ArithmeticError(
        f"a covariance of {len(matrix)} architectures {low}, even with {JITTERS[-1]:g} of its mean diagonal added"
    )


class GP(Model):
    """A Gaussian process on features of architectures. Of several kernels it takes the one of the greatest evidence.

    `prior` predicts standardised values, such as from a history. `fixed` keeps the kernels' parameters as they are.
    """

    def __init__(
        self,
        features: Features,
        kernels: Sequence[Kernel] = (),
        prior: Callable[[Sequence[Arch]], Float[np.ndarray, " a"]] | None = None,
        noise: tuple[float, float] = NOISE,
        clip: float | None = CLIP,
        fixed: bool = False,
    ) -> None:
        self.features, self.prior, self.clip, self.fixed = features, prior, clip, fixed
        self.processes = [Process(kernel, noise) for kernel in kernels or [matern()]]

    def fit(self, archs: Sequence[Arch], values: Float[np.ndarray, " a"]) -> None:
        self.standardiser = Standardiser.of(values, self.clip)
        y = torch.from_numpy(self.standardiser.to(values))
        z, offset = self.features(archs), self.offset(archs)
        fitted = [deepcopy(process) for process in self.processes]  # from the same start, whatever was fitted before
        for process in fitted if not self.fixed else ():
            process.fit(z, y, offset)
        with torch.no_grad():
            self.best = max(fitted, key=lambda process: process.evidence(z, y, offset).item())
        self.given = self.best.given(z, y, offset)

    def offset(self, archs: Sequence[Arch]) -> Float[Tensor, " a"] | None:
        return None if self.prior is None else torch.from_numpy(np.asarray(self.prior(archs), dtype=float))

    def posterior(self, archs: Sequence[Arch]) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
        mean, variance = self.given.moments(self.features(archs), self.offset(archs))
        return mean, variance.sqrt()

    def covariance(self, archs: Sequence[Arch], others: Sequence[Arch]) -> Float[Tensor, "a b"]:
        return self.given.covariance(self.features(archs), self.features(others))
