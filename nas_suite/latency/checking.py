"""Whole networks against the table: how noisy the machine is, how far sums of blocks are off, and what an affine fit mends."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from nas_suite.cost import Cost
from nas_suite.engine import Progress, silent
from nas_suite.errors import BadInput
from nas_suite.latency.noise import BELIEVED
from nas_suite.rank import tau
from nas_suite.space import Arch
from nas_suite.words import plural

TimeNetwork: TypeAlias = Callable[[Arch], float]
"""The latency of a whole network, ms."""
FEWEST = 20
"""Networks that a fit is judged by."""
FIRST = 5
"""Measurements of one network before all others, from which the noise is known first."""
PASSES = 3
"""Measurements of each network, far apart."""


@dataclass(frozen=True)
class Network:
    """What the table says of a network, without any fit, and what was measured: the median of `passes`."""

    arch: str
    table_ms: float
    passes_ms: tuple[float, ...]

    @property
    def measured_ms(self) -> float:
        return statistics.median(self.passes_ms)


@dataclass(frozen=True)
class Check:
    """Errors are mean absolute shares of the measured latency: `before` of the table's sums, `bias` the same with its sign,
    `after` of a × sum + b fitted to all other networks. `noise` is that between two measurements of one network, `first` of
    the one that was measured before all others."""

    networks: tuple[Network, ...]
    seed: int
    first: float
    noise: float
    before: float
    bias: float
    after: float
    a: float
    b: float
    tau: float
    held_out_ms: tuple[float, ...]

    @property
    def believed(self) -> bool:
        return max(self.first, self.noise) <= BELIEVED

    @property
    def verdict(self) -> str:
        """In one line, why nothing here can be believed; empty where it can."""
        worst = max(self.first, self.noise)
        return (
            ""
            if self.believed
            else f"two measurements of one network differ by {worst:.1%} here, which is more than {BELIEVED:.0%}"
        )


def check(cost: Cost, time_network: TimeNetwork, networks: int, seed: int, strict: bool, progress: Progress = silent) -> Check:
    """Measures random networks of the cost's space, each several times and all in shuffled order. `cost` is the table's without
    its fit. Where `strict`, a machine that is too noisy is refused before they are measured."""
    if networks < FEWEST:
        raise BadInput(f"too few to judge a fit by: {plural(networks, 'network')}; at least {FEWEST} are measured")
    space, rng = cost.space, random.Random(seed)
    archs: list[Arch] = []
    while len(archs) < networks:
        if (arch := space.sample(rng)) not in archs or space.size() <= networks:
            archs.append(arch)
    total = FIRST + PASSES * networks
    firsts = []
    for done in range(FIRST):
        firsts.append(time_network(archs[0]))
        progress(done + 1, total, {})
    first = repeat_noise(firsts)
    if strict and first > BELIEVED:
        raise BadInput(too_noisy(first))
    passes: list[list[float]] = [[] for _ in archs]
    for turn in range(PASSES):
        for at, place in enumerate(rng.sample(range(networks), networks)):
            passes[place].append(time_network(archs[place]))
            progress(FIRST + turn * networks + at + 1, total, {})
    found = [Network(space.describe(arch), cost.total(arch), tuple(times)) for arch, times in zip(archs, passes, strict=True)]
    return judged(found, seed, first)


def judged(networks: Sequence[Network], seed: int, first: float) -> Check:
    """What the measurements of networks tell of the table."""
    sums = np.array([network.table_ms for network in networks])
    truth = np.array([network.measured_ms for network in networks])
    a, b = affine(sums, truth)
    held = np.array([left_out(sums, truth, at) for at in range(len(networks))])
    shares = sums / truth - 1
    return Check(
        tuple(networks), seed, first, statistics.fmean(repeat_noise(network.passes_ms) for network in networks),
        float(np.abs(shares).mean()), float(shares.mean()), float(np.abs(held / truth - 1).mean()), a, b,
        tau(sums, truth), tuple(held.tolist()),
    )  # fmt: skip


def affine(sums: Float[np.ndarray, " a"], truth: Float[np.ndarray, " a"]) -> tuple[float, float]:
    """`a` and `b` for which a × sum + b is nearest to the truth, by least squares of the relative error."""
    (a, b), *_ = np.linalg.lstsq(np.stack([sums / truth, 1 / truth], 1), np.ones(len(sums)), rcond=None)
    return float(a), float(b)


def left_out(sums: Float[np.ndarray, " a"], truth: Float[np.ndarray, " a"], at: int) -> float:
    """What a fit to all other networks says of one."""
    others = np.arange(len(sums)) != at
    a, b = affine(sums[others], truth[others])
    return a * float(sums[at]) + b


def repeat_noise(times: Sequence[float]) -> float:
    """By which share of their median two measurements of the same differ, on average."""
    return statistics.fmean(abs(x - y) for x, y in combinations(times, 2)) / statistics.median(times)


def too_noisy(noise: float) -> str:
    return (
        f"this machine is too noisy to be believed: two measurements of one network differ by {noise:.1%}, which is more than "
        f"{BELIEVED:.0%}, so no fit is kept; let it come to rest and try again, or give --force"
    )
