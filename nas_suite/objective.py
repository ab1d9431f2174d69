"""Objectives: named functions from architectures to numbers, all that a search or a ranking needs to know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from nas_suite.space import Arch


@dataclass(frozen=True)
class Objective:
    """What to look for, in which direction, and how to find it out.

    `score` never changes a method. `quick` says that it answers at once, so that searchers may ask as often as they like.
    """

    name: str
    goal: Literal["min", "max"]
    score: Callable[[Sequence[Arch]], Sequence[float]]
    quick: bool = False

    def losses(self, archs: Sequence[Arch]) -> Float[np.ndarray, " a"]:
        """Scores with the sign turned so that less is better."""
        scores = np.asarray(self.score(archs), dtype=float)
        return scores if self.goal == "min" else -scores
