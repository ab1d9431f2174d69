"""MixPath (Chu et al., ICCV 2023): several paths of a block at once, made comparable by shadow batch norms."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas_suite.engine import random_for
from nas_suite.oneshot import OneShot
from nas_suite.space import Arch


@dataclass
class MixPath(OneShot):
    """One multi-path architecture a step, drawn as the space's paper draws: uniform in the number of active paths."""

    def paths(self, step: int) -> Sequence[Arch]:
        return [self.problem.space.draw(random_for(self.problem.seed, step))]
