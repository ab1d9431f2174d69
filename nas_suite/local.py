"""Local search: from network to better neighbour, and from a random one again where no neighbour is better."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nas_suite.search import Region, Searcher
from nas_suite.space import Arch


@dataclass
class LocalSearch(Searcher):
    """Evaluates the neighbours of the best network since the last start, in random order, and goes to the first that is better;
    `steepest` evaluates all of them and goes to the best (White et al. 2021 call it hill climbing)."""

    region: Region
    seed: int = 0
    steepest: bool = False

    def __post_init__(self) -> None:
        self.told: set[Arch] = set()
        self.centre: tuple[float, Arch] | None = None
        self.open: list[Arch] = []  # neighbours of the centre that are still to be evaluated

    def ask(self) -> list[Arch]:
        if self.open:
            return list(self.open) if self.steepest else self.open[:1]
        return self.region.samples(1, random.Random(f"{self.seed}:{len(self.told)}"), self.told)

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        best = min(zip(losses[:, 0].tolist(), archs, strict=True))
        self.told.update(archs)
        if self.centre is None or not self.open or best < self.centre:
            self.centre = best
            near = [arch for arch in self.region.space.neighbours(best[1]) if self.region.excess(arch) == 0]
            random.Random(f"{self.seed}:{best[1]}").shuffle(near)
            self.open = near
        self.open = [arch for arch in self.open if arch not in self.told]
