"""NAS-Bench-101's cells as plain graphs: pruning, module hash, vertex widths, and every distinct cell of a size."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, SupportsInt, TypeAlias, runtime_checkable

from nas_suite.errors import BadInput, suggest
from nas_suite.space import Arch
from nas_suite.words import plural

INPUT, OUTPUT = "input", "output"
OPERATIONS = ("conv3x3", "conv1x1", "maxpool3x3")
"""What an interior vertex computes, in the benchmark's order (nasbench config.py:52)."""

LABELS = {INPUT: -1, OUTPUT: -2, **{name: index for index, name in enumerate(OPERATIONS)}}
"""The numbers that stand for operations in the benchmark's hashes and files (nasbench model_spec.py:128-140)."""

MOST_VERTICES, MOST_EDGES = 7, 9
"""The benchmark's limits, which hold for pruned cells (nasbench config.py:45-53)."""

Matrix: TypeAlias = tuple[tuple[int, ...], ...]
"""`matrix[u][v]` is 1 where an edge leads from vertex u to vertex v, else 0; strictly upper-triangular."""


@dataclass(frozen=True)
class CellGraph:
    """A cell: vertex 0 is its input, the last one its output, edges lead from lower to higher vertices."""

    adjacency: Matrix
    ops: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.ops)
        if n < 2 or self.ops[0] != INPUT or self.ops[-1] != OUTPUT:
            raise BadInput(f"a cell's operations begin with {INPUT!r} and end with {OUTPUT!r}, got {self.ops}")
        for name in self.ops[1:-1]:
            if name not in OPERATIONS:
                raise BadInput(f"unknown cell operation {name!r}{suggest(name, OPERATIONS)}")
        if len(self.adjacency) != n or any(len(row) != n for row in self.adjacency):
            raise BadInput(f"a cell of {plural(n, 'operation')} needs an adjacency of {n} × {n}, got {self.adjacency}")
        if any(row[v] not in ((0, 1) if u < v else (0,)) for u, row in enumerate(self.adjacency) for v in range(n)):
            raise BadInput(f"a cell's adjacency is 0 or 1 above the diagonal and 0 elsewhere, got {self.adjacency}")

    @property
    def vertices(self) -> int:
        return len(self.ops)

    @property
    def edges(self) -> int:
        return sum(map(sum, self.adjacency))

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """Of every vertex, those with an edge to it, ascending."""
        return tuple(tuple(u for u in range(v) if self.adjacency[u][v]) for v in range(self.vertices))

    @cached_property
    def targets(self) -> tuple[tuple[int, ...], ...]:
        """Of every vertex, those that it has an edge to, ascending."""
        return tuple(tuple(v for v in range(u + 1, self.vertices) if row[v]) for u, row in enumerate(self.adjacency))

    def pruned(self) -> "CellGraph | None":
        """The vertices that lie on a way from input to output; None where there is no way (nasbench model_spec.py:77-126)."""
        n = self.vertices
        reached, useful = {0}, {n - 1}
        for v in range(1, n):
            reached |= {v} if reached.intersection(self.sources[v]) else set()
        for v in range(n - 2, -1, -1):
            useful |= {v} if useful.intersection(self.targets[v]) else set()
        if n - 1 not in reached:
            return None
        kept = sorted(reached & useful)
        return self if len(kept) == n else self.relabelled(kept)

    def relabelled(self, order: Sequence[int]) -> "CellGraph":
        """The cell whose vertex i is vertex order[i] of this one; BadInput where an edge would lead backwards."""
        return CellGraph(_permuted(self.adjacency, order), tuple(self.ops[v] for v in order))

    def canonical(self) -> "CellGraph":
        """The spelling that the benchmark stores: equal for two pruned cells exactly where they are isomorphic.

        It is the first in the benchmark's enumeration, which counts matrices up as binary numbers that end with edge 0→1 and
        begin with the last column's lowest entry, and operations in their order (nasbench generate_graphs.py)."""
        return min((self.relabelled(order) for order in _orders(self.adjacency)), key=CellGraph._rank)

    def _rank(self) -> tuple[int, ...]:
        digits = (self.adjacency[u][v] for v in range(self.vertices - 1, 0, -1) for u in range(v - 1, -1, -1))
        return (*digits, *(LABELS[name] for name in self.ops))

    def module_hash(self) -> str:
        """The benchmark's 32-digit name of the pruned cell, the same for isomorphic cells (nasbench graph_util.py:95-127)."""
        cell = self.pruned()
        if cell is None:
            raise BadInput(f"no way leads from input to output in {self.adjacency}, so the cell has no hash")
        numbers = zip(cell.targets, cell.sources, cell.ops, strict=True)
        colours = _md5([f"({len(outs)}, {len(ins)}, {LABELS[name]})" for outs, ins, name in numbers])
        for _ in range(cell.vertices):
            before = ["".join(sorted(colours[u] for u in ins)) for ins in cell.sources]
            after = ["".join(sorted(colours[u] for u in outs)) for outs in cell.targets]
            colours = _md5([f"{a}|{b}|{own}" for a, b, own in zip(before, after, colours, strict=True)])
        return _md5([str(sorted(colours))])[0]

    def vertex_channels(self, c_in: int, c_out: int) -> tuple[int, ...]:
        """The channels of every vertex's output, c_in for the input (nasbench model_builder.py:369-434).

        The vertices that feed the output share its channels, the first ones taking the surplus; any other is as wide as its
        widest target. For a pruned cell."""
        last = self.vertices - 1
        feeding = [v for v in self.sources[last] if v > 0]
        if c_out < len(feeding):
            raise BadInput(f"{len(feeding)} vertices cannot share {c_out} output channels; make the network wider")
        share, surplus = divmod(c_out, len(feeding) or 1)
        widths = [c_in, *[0] * (last - 1), c_out]
        for i, v in enumerate(feeding):
            widths[v] = share + (i < surplus)
        for v in range(last - 1, 0, -1):
            widths[v] = widths[v] or max(widths[target] for target in self.targets[v])
        return tuple(widths)


@runtime_checkable
class CellSpace(Protocol):
    """A space whose networks repeat one cell of NAS-Bench-101's kind, by which they are found again in other such spaces."""

    def cell(self, arch: Arch) -> CellGraph:
        """The pruned cell of an architecture."""
        ...

    def spelt(self, cell: CellGraph) -> Arch | None:
        """The canonical architecture with this pruned cell, None where the space has none."""
        ...


def cell_graph(adjacency: Iterable[Iterable[SupportsInt | str]], names: Iterable[str]) -> CellGraph:
    """A cell from rows of integers or digits and the benchmark's names (`conv3x3-bn-relu`) or ours (`conv3x3`)."""
    matrix = tuple(tuple(int(edge) for edge in row) for row in adjacency)
    return CellGraph(matrix, tuple(name.removesuffix("-bn-relu") for name in names))


def unique_cells(vertices: int, most_edges: int = MOST_EDGES) -> Iterator[CellGraph]:
    """One spelling of every pruned cell of exactly so many vertices: 1, 6, 84, 2,441, 62,010 and 359,082 for 2 to 7."""
    for matrix, symmetries in _topologies(vertices, most_edges):
        for ops in itertools.product(OPERATIONS, repeat=vertices - 2):
            labels = (INPUT, *ops, OUTPUT)
            if all(labels <= tuple(labels[v] for v in order) for order in symmetries):
                yield CellGraph(matrix, labels)


def _topologies(vertices: int, most_edges: int) -> Iterator[tuple[Matrix, list[tuple[int, ...]]]]:
    """One matrix of every pruned graph without labels, with the orders of vertices that leave it as it is."""
    seen: set[Matrix] = set()
    for matrix in _pruned_matrices(vertices, most_edges):
        if matrix not in seen:
            images = [(_permuted(matrix, order), order) for order in _orders(matrix)]
            seen.update(image for image, _ in images)
            yield matrix, [order for image, order in images if image == matrix]


def _pruned_matrices(vertices: int, most_edges: int) -> Iterator[Matrix]:
    """All matrices of pruned graphs. Edges only lead upwards, so that every vertex lies on a way from input to output
    exactly if each but the last has a target and each but the first has a source."""
    places = range(vertices - 1, -1, -1)
    everyone = (1 << (vertices - 1)) - 1
    for rows in itertools.product(*(range(1, 1 << k) for k in range(vertices - 1, 0, -1))):
        if sum(row.bit_count() for row in rows) <= most_edges:
            reached = 0
            for row in rows:
                reached |= row
            if reached == everyone:
                yield tuple(tuple(row >> place & 1 for place in places) for row in (*rows, 0))


def _orders(matrix: Matrix) -> Iterator[tuple[int, ...]]:
    """The orders of vertices, input first and output last, in which every edge leads from a lower to a higher place."""
    last = len(matrix) - 1

    def grow(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        rest = [v for v in range(1, last) if v not in order]
        if not rest:
            yield (*order, last)
        for v in rest:
            if not any(matrix[u][v] for u in rest):
                yield from grow((*order, v))

    return grow((0,))


def _permuted(matrix: Matrix, order: Sequence[int]) -> Matrix:
    return tuple(tuple(matrix[u][v] for v in order) for u in order)


def _md5(texts: list[str]) -> list[str]:
    return [hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in texts]
