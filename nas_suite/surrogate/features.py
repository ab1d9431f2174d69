"""Architectures as rows of numbers: one-hot in any space, scaled so that two are at most 1 apart, and by their paths."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nas_suite.graph import Graph, GraphSpace
from nas_suite.space import Arch, SearchSpace, Variable

MANY = 16  # options above which numbers are read as numbers
PATHS, DRAWN = 64, 1000  # columns of paths, and the random networks that they are counted in


class OneHot:
    """One column for each option of each variable; one for a variable whose many options are ascending numbers, such as a
    width. The squared distance of two architectures is the share of variables in which they differ.

    The rows of the sequence last seen are kept: searches ask for the same candidates at every step.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.tables = [columns(variable) / np.sqrt(2 * len(space.variables)) for variable in space.variables]
        self.seen: tuple[Sequence[Arch], Tensor] | None = None

    def __call__(self, archs: Sequence[Arch]) -> Float[Tensor, "a d"]:
        if self.seen is not None and self.seen[0] is archs:
            return self.seen[1]
        chosen = np.asarray(archs, dtype=int).reshape(len(archs), len(self.tables))
        rows = torch.from_numpy(np.concatenate([table[chosen[:, at]] for at, table in enumerate(self.tables)], 1))
        if isinstance(archs, tuple):  # which nobody changes
            self.seen = archs, rows
        return rows


def columns(variable: Variable) -> Float[np.ndarray, "k d"]:
    options = variable.options
    if len(options) > MANY and all(isinstance(option, int | float) for option in options):
        values = np.array(options, dtype=float)
        if (np.diff(values) > 0).all():
            return (np.sqrt(2) * (values - values[0]) / (values[-1] - values[0]))[:, None]
    return np.eye(len(options))


class Paths:
    """Which paths from input to output a network has, as sequences of node types: one column for each of the `most` paths that
    are commonest among random networks (BANANAS' truncated path encoding)."""

    def __init__(self, space: GraphSpace, most: int = PATHS) -> None:
        self.space = space
        rng = random.Random(0)
        counts = Counter(path for _ in range(DRAWN) for path in paths(space.graph(space.sample(rng))))
        common = sorted(counts, key=lambda path: (-counts[path], path))[:most]
        self.columns = {path: at for at, path in enumerate(common)}
        self.rows: dict[Arch, list[int]] = {}  # the columns of each network that was ever asked for

    def __call__(self, archs: Sequence[Arch]) -> Float[Tensor, "a d"]:
        for arch in archs:
            if arch not in self.rows:
                found = paths(self.space.graph(arch))
                self.rows[arch] = [self.columns[path] for path in found if path in self.columns]
        rows = torch.zeros(len(archs), len(self.columns), dtype=torch.float64)
        for at, arch in enumerate(archs):
            rows[at, self.rows[arch]] = 1.0
        return rows


def paths(graph: Graph) -> set[tuple[int, ...]]:
    """Every way from input to output, as the types of the nodes between; none where nothing reaches the output."""
    ways: list[set[tuple[int, ...]]] = [{()}, *(set() for _ in graph.types[1:])]
    for u, v in sorted(graph.edges):  # sources are complete before they are read: edges lead to higher nodes
        ways[v] |= {(*way, *([graph.types[u]] if u else [])) for way in ways[u]}
    return ways[-1]


def branches(space: SearchSpace) -> bool:
    """Whether some of its networks have more than one path; those of chains have one, which tells little."""
    rng = random.Random(0)
    return isinstance(space, GraphSpace) and any(len(paths(space.graph(space.sample(rng)))) > 1 for _ in range(20))
