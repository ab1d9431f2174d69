"""NAS-Bench-101: every cell of at most seven vertices and nine edges, in the benchmark's network."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import UInt8
from torch import Tensor, nn

from nas_suite import cellrows
from nas_suite.cellnet import CellNetwork, Skeleton, operation_block, pool_block
from nas_suite.cellrows import EDGES, INNER, PLACES
from nas_suite.cells import INPUT, MOST_EDGES, MOST_VERTICES, OPERATIONS, OUTPUT, CellGraph, unique_cells
from nas_suite.chain import check_count, check_images, scaled
from nas_suite.errors import BadInput
from nas_suite.graph import Graph, GraphSpace
from nas_suite.layers import conv_block, initialise
from nas_suite.space import Arch, Block, Path, Sketch, Variable
from nas_suite.words import plural

STEM = 128
CELLS = 423_624
"""Distinct cells of the benchmark (its README)."""

LETTERS = ("3", "1", "P")
"""How the operations are written."""

LIKE = "an example: 3@0-P@01-o@12"


@dataclass(frozen=True)
class NasBench101(GraphSpace):
    """Settings: `width` multiplies all channels; `stacks` of `cells` cells.

    Variables are the 21 edges among seven vertices, by rows of the matrix, then the operations of the five inner vertices.
    Isomorphic cells are one network, the one of the spelling that the benchmark stores: which of several vertices takes a
    surplus channel depends on their order. A canonical architecture has it in its first vertices and the output.

    An architecture is written as one token a vertex after the input: its operation, 3, 1 or P, or o for the output, then
    @ and its sources, of which 0 is the input: `3@0-P@01-o@12`. Unused vertices before the output are left out.
    """

    width: float = 1.0
    stacks: int = 3
    cells: int = 3
    image_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        check_images(self.width, self.image_size, 1, self.channels, self.classes)
        check_count("stacks", self.stacks, 64)
        check_count("cells", self.cells, 64)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        edges = (Variable(f"edge{u}{v}", (0, 1)) for u, v in EDGES)
        return (*edges, *(Variable(f"vertex{v}", OPERATIONS, LETTERS) for v in range(1, PLACES - 1)))

    @cached_property
    def skeleton(self) -> Skeleton:
        stem = scaled(STEM, self.width)
        return Skeleton(stem, self.stacks, self.cells, self.image_size, self.channels, self.classes)

    def canonical(self, arch: Arch) -> Arch | None:
        """The benchmark's spelling of the pruned cell; None where no way leads from input to output or more than nine edges
        remain."""
        placed = placing(self.check(arch))
        return placed.arch if placed else None

    def size(self) -> int:
        return CELLS

    def everything(self) -> Iterator[Arch]:
        return (tuple(row) for row in every_cell().tolist())

    def describe(self, arch: Arch) -> str:
        edges, ops = chosen(self.check(arch)), arch[len(EDGES) :]
        last = max((v for v in range(1, PLACES - 1) if ops[v - 1] or any(v in edge for edge in edges)), default=0)
        letters = {**{v: LETTERS[ops[v - 1]] for v in range(1, last + 1)}, PLACES - 1: "o"}
        return "-".join(f"{letter}@{''.join(str(u) for u, v in edges if v == at)}" for at, letter in letters.items())

    def parse(self, text: str) -> Arch:
        tokens = text.strip().split("-")
        if len(tokens) >= PLACES:
            raise BadInput(
                f"architecture {text!r} has {plural(len(tokens), 'token')}, one a vertex after the input; at most 6 fit, {LIKE}"
            )
        edges, ops = set(), [0] * INNER
        for vertex, token in enumerate(tokens, start=1):
            ends = vertex == len(tokens)
            letter, sources = vertex_of(token, vertex, ends)
            edges |= {(int(u), PLACES - 1 if ends else vertex) for u in sources}
            if not ends:
                ops[vertex - 1] = LETTERS.index(letter)
        return self.valid((*(int(edge in edges) for edge in EDGES), *ops))

    def cell(self, arch: Arch) -> CellGraph:
        return self.placed(arch).cell

    def spelt(self, cell: CellGraph) -> Arch | None:
        pruned = cell.pruned()
        if pruned is None or pruned.vertices > MOST_VERTICES or pruned.edges > MOST_EDGES:
            return None
        return self.canonical(cellrows.row(pruned))

    def placed(self, arch: Arch) -> "Placed":
        """The canonical cell of an architecture; BadInput where it spells none."""
        return placing(self.valid(arch))  # type: ignore[return-value]

    @property
    def node_types(self) -> tuple[str, ...]:
        return (INPUT, OUTPUT, *OPERATIONS)

    @property
    def most_nodes(self) -> int:
        return MOST_VERTICES

    def graph(self, arch: Arch) -> Graph:
        cell = self.cell(arch)
        return Graph.of(self.node_types, cell.ops, ((u, v) for v, sources in enumerate(cell.sources) for u in sources))

    def depth(self, arch: Arch) -> int:
        """The operations on the longest way through each cell, stem and classifier."""
        cell, longest = self.cell(arch), [0]
        for vertex, sources in enumerate(cell.sources[1:], start=1):
            longest.append(max(longest[u] for u in sources) + (vertex < cell.vertices - 1))
        return longest[-1] * self.stacks * self.cells + 2

    def sketch(self, arch: Arch) -> Sketch:
        return self.skeleton.sketch(self.cell(arch))

    def network(self, arch: Arch) -> nn.Module:
        network = CellNetwork(self.cell(arch), self.skeleton)
        initialise(network)
        return network

    def pieces(self) -> Iterator[Block]:
        raise BadInput(
            "a cell of nasbench101 sets its blocks' channels by its edges, so its blocks cannot be listed one by one"
        )

    def blocks(self, path: Path) -> Iterator[tuple[float | Tensor, Block]]:
        """The cell's vertices and channels are those of the path's heaviest options. Its operations weigh as in the path, which
        is the exact expectation where no edge is soft; the projection on an edge from the input weighs as that edge. BadInput
        where the heaviest options spell no cell."""
        placed = self.placed(tuple(choice if isinstance(choice, int) else int(choice.argmax()) for choice in path))
        cell = placed.cell
        yield 1.0, self.skeleton.stem_block()
        for place in self.skeleton.places():
            if place.pooled_from:
                yield 1.0, pool_block(place.c_in, place.pooled_from)
            widths = cell.vertex_channels(place.c_in, place.c_out)
            for vertex, origin in enumerate(placed.origins[1:], start=1):
                if 0 in cell.sources[vertex]:
                    edge = path[EDGES.index((0, origin))]
                    weight = 1.0 if isinstance(edge, int) else edge[1]
                    yield weight, conv_block(place.c_in, widths[vertex], 1, 1, place.side, "relu")
                if vertex < cell.vertices - 1:
                    choice = path[len(EDGES) + origin - 1]
                    options = [(1.0, choice)] if isinstance(choice, int) else [(choice[i], i) for i in range(len(choice))]
                    for weight, option in options:
                        yield weight, operation_block(OPERATIONS[option], widths[vertex], place.side)
        yield 1.0, self.skeleton.head_block()


@dataclass(frozen=True)
class Placed:
    """A canonical cell, the architecture that spells it, and the place in the original one of each of its vertices."""

    cell: CellGraph
    arch: Arch
    origins: tuple[int, ...]


@lru_cache(maxsize=1 << 14)
def placing(arch: Arch) -> Placed | None:
    """The canonical cell of an architecture; None where it spells none."""
    row = np.array([arch], np.uint8)
    order, counts = cellrows.orders(row)
    vertices = int(counts[0])
    if not vertices:
        return None
    spelt = tuple(cellrows.ordered(row, order, counts)[0].tolist())
    return Placed(cellrows.cell(spelt, vertices), spelt, (*order[0, : vertices - 1].tolist(), PLACES - 1))


@lru_cache(maxsize=1)
def every_cell() -> UInt8[np.ndarray, "a 26"]:
    """All canonical architectures, in lexicographic order."""
    found = []
    for vertices in range(2, MOST_VERTICES + 1):
        cells = unique_cells(vertices)
        while rows := [cellrows.row(cell) for cell in itertools.islice(cells, cellrows.CHUNK)]:
            found.append(cellrows.canonical(np.array(rows, np.uint8))[0])
    rows = np.concatenate(found)
    return rows[np.lexsort(rows.T[::-1])]


def chosen(arch: Arch) -> list[tuple[int, int]]:
    """The edges of an architecture."""
    return [edge for edge, there in zip(EDGES, arch, strict=False) if there]


def vertex_of(token: str, vertex: int, ends: bool) -> tuple[str, str]:
    """Letter and sources of a vertex, of which the last one is the output; BadInput where the token says something else."""
    known = "Oo" if ends else "31Pp"
    match = re.fullmatch(f"([{known}])@([0-{vertex - 1}]*)", token)
    if not match or len(set(match[2])) < len(match[2]):
        is_ = "last, so it is o (output)" if ends else "3 (conv3x3), 1 (conv1x1) or P (maxpool3x3)"
        raise BadInput(
            f"vertex {vertex} cannot be {token!r}: it is {is_}, then @ and its sources, of 0 to {vertex - 1}; {LIKE}"
        )
    return match[1].upper(), match[2]
