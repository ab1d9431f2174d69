"""Baselines on the same supernets: SPOS (uniform sampling) and FairNAS (strict fairness)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas_suite.engine import random_for
from nas_suite.oneshot import OneShot
from nas_suite.space import Arch
from nas_suite.supernet import Norm

PATIENCE = 100  # draws of paths that all spell a network


@dataclass
class SPOS(OneShot):
    """Single path one-shot (Guo et al., ECCV 2020): one architecture a step, uniform over the space's spellings.

    Weights are shared as in the space's supernet, which has one batch norm where paths are summed.
    """

    single_path: ClassVar[bool] = True

    norm: Norm = "vanilla"

    def paths(self, step: int) -> Sequence[Arch]:
        return [self.problem.space.sample(random_for(self.problem.seed, step))]


@dataclass
class FairNAS(OneShot):
    """FairNAS (Chu et al., ICCV 2021), strict fairness: a step trains as many paths as a variable has options, in which
    every option of every variable is active equally often, and updates once. A path that spells nothing is left out where
    it cannot be avoided, as in a space of one position that may be empty."""

    single_path: ClassVar[bool] = True

    norm: Norm = "vanilla"

    def paths(self, step: int) -> Sequence[Arch]:
        rng = random_for(self.problem.seed, step)
        space = self.problem.space
        rows = max(len(v.options) for v in space.variables)
        paths: list[Arch] = []
        for _ in range(PATIENCE):
            columns = []
            for variable in space.variables:
                options = rng.sample(range(len(variable.options)), len(variable.options))
                columns.append(list(itertools.islice(itertools.cycle(options), rows)))
            paths = list(zip(*columns, strict=True))
            if all(space.canonical(path) is not None for path in paths):
                return paths
        return [path for path in paths if space.canonical(path) is not None]
