"""The networks of a benchmark that searches choose from, as a space of their own: its table's rows and nothing else."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from nas_suite.pipeline.field import space_of_table
from nas_suite.space import Arch, Block, Path, SearchSpace, Sketch, Variable
from nas_suite.tables import Table


class Candidates(SearchSpace):
    """The part of a space that a table knows. Of a network that the table has in several spellings, the canonical one is asked
    for; with `spellings`, each of them is a candidate by itself, as where benchmarks are searched as published."""

    def __init__(self, inner: SearchSpace, rows: Mapping[Arch, int], spellings: bool) -> None:
        self.inner, self.rows, self.spelt = inner, dict(sorted(rows.items())), spellings
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
        found = arch if self.spelt else self.inner.canonical(arch)
        return found if found in self.rows else None

    def sample(self, rng: random.Random) -> Arch:
        """Uniform over the candidates."""
        return rng.choice(self.archs)

    def everything(self) -> Iterator[Arch]:
        return iter(self.archs)

    def size(self) -> int:
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


def candidates(table: Table, metric: str, spellings: bool = False) -> Candidates:
    """The networks of a table that have this metric; a canonical spelling answers for all others that the table has of it."""
    space = space_of_table(table)
    rows: dict[Arch, int] = {}
    for row in np.flatnonzero(np.isfinite(table.means(metric))).tolist():
        spelt = table.arch(row)
        network = spelt if spellings else space.canonical(spelt)
        if network is not None and (network == spelt or network not in rows):
            rows[network] = row
    return Candidates(space, rows, spellings)
