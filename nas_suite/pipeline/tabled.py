"""The networks that a benchmark's table holds, as a space of their own: what searches of a benchmark choose from."""

import random
from abc import ABC
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from nas_suite.graph import Graph, GraphSpace
from nas_suite.pipeline.field import space_of_table
from nas_suite.space import Arch, Block, Path, SearchSpace, Sketch, Variable
from nas_suite.tables import Table


class Tabled(SearchSpace, ABC):
    """The part of a space that a table knows: `rows` says where each candidate stands in it.

    Of a network that the table has in several spellings the canonical one is the candidate; where they are `apart`, each of
    them is a network of its own, as in benchmarks that are searched as published.
    """

    def __init__(self, inner: SearchSpace, rows: Mapping[Arch, int], apart: bool) -> None:
        self.inner, self.rows, self.apart = inner, dict(sorted(rows.items())), apart
        self.archs = list(self.rows)
        self.image_size, self.channels, self.classes = inner.image_size, inner.channels, inner.classes

    @property
    def variables(self) -> tuple[Variable, ...]:
        return self.inner.variables

    @property
    def searched(self) -> Sequence[Sequence[int]]:
        return self.inner.searched

    def canonical(self, arch: Arch) -> Arch | None:
        """None for what is no candidate."""
        found = arch if self.apart else self.inner.canonical(arch)
        return found if found in self.rows else None

    def sample(self, rng: random.Random) -> Arch:
        """Uniform over the candidates."""
        return rng.choice(self.archs)

    def everything(self) -> Iterator[Arch]:
        return iter(self.archs)

    def size(self) -> int:
        return len(self.archs)

    def spellings(self) -> int:
        """How many candidates there are to go through: no other tuple spells one."""
        return len(self.archs)

    def network(self, arch: Arch) -> nn.Module:
        return self.inner.network(arch)

    def blocks(self, path: Path) -> Iterable[tuple[float | Tensor, Block]]:
        return self.inner.blocks(path)

    def describe(self, arch: Arch) -> str:
        return self.inner.describe(arch)

    def parse(self, text: str) -> Arch:
        return self.valid(self.inner.parse(text))

    def sketch(self, arch: Arch) -> Sketch:
        return self.inner.sketch(arch)

    def depth(self, arch: Arch) -> int:
        return self.inner.depth(arch)


class PlainTabled(Tabled):
    """Of a space that tells no graphs."""


class GraphTabled(Tabled, GraphSpace):
    """Of a space that tells its networks as graphs."""

    inner: GraphSpace

    @property
    def node_types(self) -> tuple[str, ...]:
        return self.inner.node_types

    @property
    def most_nodes(self) -> int:
        return self.inner.most_nodes

    def graph(self, arch: Arch) -> Graph:
        return self.inner.graph(arch)

    def spelt_graph(self, arch: Arch) -> Graph:
        return self.inner.spelt_graph(arch)


def tabled(table: Table, metric: str, apart: bool = False) -> Tabled:
    """The networks of a table that have this metric; the row of a canonical spelling answers for all others of its network."""
    space = space_of_table(table)
    rows: dict[Arch, int] = {}
    for row in np.flatnonzero(np.isfinite(table.means(metric))).tolist():
        spelt = table.arch(row)
        network = spelt if apart else space.canonical(spelt)
        if network is not None and (network == spelt or network not in rows):
            rows[network] = row
    return GraphTabled(space, rows, apart) if isinstance(space, GraphSpace) else PlainTabled(space, rows, apart)
