"""Searchers by name, as they are compared: each with its settings for budgets of about a hundred evaluations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from nas_suite.errors import BadInput, suggest
from nas_suite.search import Evolution, Random, Region, Searcher
from nas_suite.space import Arch

NAMES = ("random", "evolution")
DESIGN = 5  # networks of an initial design


def rival(name: str, region: Region, seed: int, first: Sequence[Arch] | None = None, learned: Any = None) -> Searcher:
    """A searcher that begins with the design `first`, where one is given."""
    check(name)
    inner = Random(region, seed) if name == "random" else Evolution(region, seed, population=10, sample=5)
    return inner if first is None else Begun(first, inner)


def check(name: str) -> None:
    if name not in NAMES:
        raise BadInput(f"unknown searcher {name!r}{suggest(name, NAMES, most=40)}")


class Begun(Searcher):
    """A searcher that is told of a design before it asks by itself."""

    def __init__(self, first: Sequence[Arch], inner: Searcher) -> None:
        self.first, self.inner = list(first), inner

    def ask(self) -> list[Arch]:
        return self.first or self.inner.ask()

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        self.first = []
        self.inner.tell(archs, losses)
