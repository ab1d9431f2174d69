"""An ensemble of small networks as a surrogate (BANANAS): it believes what they agree on, and doubts where they differ."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nas_suite.space import Arch
from nas_suite.surrogate.model import Model
from nas_suite.surrogate.standard import CLIP, Standardiser

MEMBERS, WIDTH, HIDDEN = 5, 64, 2
STEPS, RATE, DECAY = 200, 1e-2, 1e-4  # of Adam, on all observations at once
LEAST_SD = 1e-6


class Ensemble(Model):
    """Perceptrons that read `features` and differ in their first weights, trained all at once on the squared error."""

    def __init__(
        self, features: Callable[[Sequence[Arch]], Float[Tensor, "a d"]], seed: int = 0, clip: float | None = CLIP
    ) -> None:
        self.features, self.seed, self.clip = features, seed, clip

    def fit(self, archs: Sequence[Arch], values: Float[np.ndarray, " a"]) -> None:
        self.standardiser = Standardiser.of(values, self.clip)
        y = torch.from_numpy(self.standardiser.to(values)).float().expand(MEMBERS, -1)
        x = self.features(archs).float()
        self.layers = fresh(x.shape[1], torch.Generator().manual_seed(self.seed))
        optimizer = torch.optim.Adam([p for layer in self.layers for p in layer], lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (predicted(self.layers, x) - y).square().mean(1).sum().backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def members(self, archs: Sequence[Arch]) -> Float[Tensor, "members a"]:
        return predicted(self.layers, self.features(archs).float()).double()

    def posterior(self, archs: Sequence[Arch]) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
        beliefs = self.members(archs)
        return beliefs.mean(0), beliefs.std(0).clamp_min(LEAST_SD)

    def covariance(self, archs: Sequence[Arch], others: Sequence[Arch]) -> Float[Tensor, "a b"]:
        left, right = (found - found.mean(0) for found in (self.members(archs), self.members(others)))
        return left.T @ right / (MEMBERS - 1)


def fresh(inputs: int, draws: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Weights (members, in, out), drawn as He et al. (2015) do, and biases (members, 1, out) of each layer."""
    sizes = [inputs, *[WIDTH] * HIDDEN, 1]
    layers = []
    for at, width in enumerate(sizes[1:]):
        weights = torch.randn(MEMBERS, sizes[at], width, generator=draws) * math.sqrt(2 / sizes[at])
        layers.append((weights.requires_grad_(), torch.zeros(MEMBERS, 1, width, requires_grad=True)))
    return layers


def predicted(layers: Sequence[tuple[Tensor, Tensor]], x: Float[Tensor, "a d"]) -> Float[Tensor, "members a"]:
    """What each member makes of the same inputs."""
    found = x.expand(MEMBERS, -1, -1)
    for at, (weights, biases) in enumerate(layers):
        found = torch.baddbmm(biases, found, weights)
        found = found.relu() if at < len(layers) - 1 else found
    return found[..., 0]
