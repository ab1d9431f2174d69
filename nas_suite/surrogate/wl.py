"""The Weisfeiler-Lehman kernel of NASBOWL: two networks are alike where their graphs have the same neighbourhoods in common."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from gpytorch.kernels import Kernel
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from nas_suite.graph import Graph, GraphSpace
from nas_suite.space import Arch

LEVELS = (1, 2, 3)  # how far neighbourhoods reach; the evidence chooses

Row: TypeAlias = tuple[Int[np.ndarray, " labels"], Float[np.ndarray, " labels"]]


class Histograms:
    """How often each neighbourhood occurs in each network that was ever asked for; counted once, and only ever added to.

    A label of level 0 is a node's type; of the next one, its label and those of the nodes that it reads and that read it.
    """

    def __init__(self, space: GraphSpace, levels: int = max(LEVELS)) -> None:
        self.space, self.levels = space, levels
        self.labels: dict[Any, int] = {}
        self.places: dict[Arch, int] = {}
        self.counted: list[list[Row]] = []  # of each network, one row a level
        self.matrices: dict[int, tuple[int, csr_matrix]] = {}  # of each level, and of how many networks

    def __deepcopy__(self, memo: dict[int, Any]) -> "Histograms":
        return self  # copies of a kernel share what was counted

    def __call__(self, archs: Sequence[Arch]) -> Float[Tensor, "a 1"]:
        """The features that the kernel reads: the place of each network among those counted."""
        for arch in archs:
            if arch not in self.places:
                self.places[arch] = len(self.counted)
                self.counted.append(list(self.count(self.space.graph(arch))))
        return torch.tensor([[float(self.places[arch])] for arch in archs], dtype=torch.float64)

    def count(self, graph: Graph) -> Iterator[Row]:
        """Labels up to each level, with how often they occur as a vector of length 1."""
        reads: list[list[int]] = [[] for _ in graph.types]
        read_by: list[list[int]] = [[] for _ in graph.types]
        for u, v in graph.edges:
            reads[v].append(u)
            read_by[u].append(v)
        labels = [self.number(kind) for kind in graph.types]
        counts = Counter(labels)
        yield row(counts)
        for _ in range(self.levels):
            around = zip(labels, reads, read_by, strict=True)
            labels = [
                self.number((own, tuple(sorted(labels[u] for u in before)), tuple(sorted(labels[v] for v in behind))))
                for own, before, behind in around
            ]
            counts.update(labels)
            yield row(counts)

    def number(self, label: Any) -> int:
        return self.labels.setdefault(label, len(self.labels))

    def matrix(self, level: int) -> csr_matrix:
        """The rows of all networks at a level."""
        known, found = self.matrices.get(level, (0, None))
        if found is None or known < len(self.counted):
            rows = [levels[level] for levels in self.counted]
            ends = np.cumsum([0, *(len(labels) for labels, _ in rows)])
            labels, shares = (np.concatenate(parts) for parts in zip(*rows, strict=True))
            found = csr_matrix((shares, labels, ends), shape=(len(rows), len(self.labels)))
            self.matrices[level] = len(rows), found
        return found


def row(counts: Counter[int]) -> Row:
    shares = np.fromiter(counts.values(), dtype=float)
    return np.fromiter(counts, dtype=np.int32), shares / np.linalg.norm(shares)


class WeisfeilerLehman(Kernel):
    """The cosine of two networks' histograms up to a level; its inputs are places that `Histograms` gives."""

    has_lengthscale = False

    def __init__(self, histograms: Histograms, level: int) -> None:
        super().__init__()
        self.histograms, self.level = histograms, level

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        if diag:
            return torch.ones(len(x1), dtype=x1.dtype)
        rows = self.histograms.matrix(self.level)
        left, right = (rows[x[:, 0].long().numpy()] for x in (x1, x2))
        return torch.from_numpy((left @ right.T).toarray())
