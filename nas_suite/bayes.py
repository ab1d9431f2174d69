"""Bayesian optimisation: a surrogate is fitted to all that was told, and what it thinks worth trying is asked for next."""

import random
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from nas_suite.candidates import BEST, Candidates
from nas_suite.errors import BadInput
from nas_suite.search import FAILED, Region, Searcher
from nas_suite.space import Arch
from nas_suite.surrogate.acquisition import BETA, Acquisition, Kind, leaders
from nas_suite.surrogate.model import Model

INITIAL = 5  # architectures drawn before the surrogate has a say


class Bayes(Searcher):
    """Asks for the initial design `first`, or for `initial` random architectures, then for the `parallel` best by the
    acquisition. What it asks is a function of the seed and of what it was told.

    Evaluations that failed count as the worst that did not. The incumbent is the highest believed value among those
    evaluated. Raises BadInput where a loss is not a number, or an architecture of `first` is not in the region.
    """

    def __init__(
        self,
        region: Region,
        model: Model,
        first: Sequence[Arch] = (),
        seed: int = 0,
        acquisition: Kind = "logei",
        parallel: int = 1,
        initial: int = INITIAL,
        beta: float = BETA,
        candidates: Candidates | None = None,
    ) -> None:
        self.region, self.model, self.seed, self.parallel, self.beta = region, model, seed, parallel, beta
        self.acquisition: Kind = acquisition
        self.candidates = candidates or Candidates(region)
        self.first = design(region, first) or region.samples(initial, self.draws("first"), set())
        self.told: dict[Arch, float] = {}

    def draws(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}:{name}")

    def ask(self) -> list[Arch]:
        if waiting := [arch for arch in self.first if arch not in self.told]:
            return waiting
        rng = self.draws(str(len(self.told)))
        worst = max((loss for loss in self.told.values() if loss < FAILED), default=None)
        if worst is None:  # nothing to learn from
            return self.region.samples(self.parallel, rng, set(self.told))
        self.model.fit(list(self.told), -np.minimum(list(self.told.values()), worst))
        return self.proposals(rng)

    def proposals(self, rng: random.Random) -> list[Arch]:
        fine = [arch for arch, loss in self.told.items() if loss < FAILED]
        best = float(self.model.posterior(fine)[0].max())
        rule = Acquisition(self.model, self.acquisition, best, rng.getrandbits(32), self.beta)
        archs = self.candidates.all or self.looked_at(rule, rng)
        asked: list[Arch] = []
        open_ = [at for at, arch in enumerate(archs) if arch not in self.told]
        while open_ and len(asked) < self.parallel:
            scores = rule.scores(archs, asked)[open_]
            chosen = open_.pop(rng.choice(leaders(scores)))
            asked.append(archs[chosen])
        return asked or self.region.samples(1, rng, set(self.told))

    def looked_at(self, rule: Acquisition, rng: random.Random) -> tuple[Arch, ...]:
        """The candidates of a region that is too large to go through."""
        best = sorted(self.told, key=lambda arch: self.told[arch])[:BEST]
        archs = self.candidates.around(best, self.told, rng)
        if not archs or self.acquisition == "thompson":  # whose scores are noise, not a hill
            return archs
        return self.candidates.climbed(archs, lambda near: rule.scores(near).tolist(), self.told, rng)

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        check_losses(self.region, archs, losses)
        self.told.update(zip(archs, losses[:, 0].tolist(), strict=True))


def check_losses(region: Region, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
    """BadInput where a loss that counts is not a number."""
    for arch, loss in zip(archs, losses[:, 0].tolist(), strict=True):
        if not np.isfinite(loss):
            text = region.space.describe(arch)
            raise BadInput(f"the loss of {text} is {loss}; tell a number, or {FAILED:g} where the evaluation failed")


def design(region: Region, archs: Sequence[Arch]) -> list[Arch]:
    """An initial design: canonical, each once; BadInput where an architecture is not in the region."""
    found: dict[Arch, None] = {}
    for arch in archs:
        canonical = region.space.canonical(region.space.valid(arch))
        if canonical is None or region.excess(canonical) > 0:
            names = " and ".join(f"{limit.cost.name} <= {limit.bound:g}" for limit in region.limits)
            raise BadInput(
                f"{region.space.describe(arch)} of the initial design breaks a limit ({names}); leave it out or raise the limit"
            )
        found[canonical] = None
    return list(found)
