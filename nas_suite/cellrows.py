"""Many cells of NAS-Bench-101 at once, as rows of an array: their canonical spellings and the benchmark's hashes."""

import hashlib
import itertools
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from nas_suite.cells import INPUT, LABELS, MOST_EDGES, MOST_VERTICES, OPERATIONS, OUTPUT, CellGraph

PLACES = MOST_VERTICES
INNER = PLACES - 2
EDGES = tuple(itertools.combinations(range(PLACES), 2))
"""The pairs of places that a row's first entries are about, by rows of the matrix; operations of the inner places follow."""

SOURCE, TARGET = (np.array(ends) for ends in zip(*EDGES, strict=True))
CHUNK = 1 << 14
"""How many rows are worked on at a time, so that what is made on the way stays small."""


def row(cell: CellGraph) -> tuple[int, ...]:
    """A cell of at most seven vertices as it is spelt: its vertices stand first, its output in the last place, and the places
    between are unused, without edges and with the first operation."""
    at = (*range(cell.vertices - 1), PLACES - 1)
    used = {(at[u], at[v]) for v, sources in enumerate(cell.sources) for u in sources}
    ops = [OPERATIONS.index(name) for name in cell.ops[1:-1]]
    return (*(int(edge in used) for edge in EDGES), *ops, *[0] * (INNER - len(ops)))


def cell(row: tuple[int, ...], vertices: int) -> CellGraph:
    """The cell of so many vertices that a row spells."""
    at = (*range(vertices - 1), PLACES - 1)
    used = {edge for edge, there in zip(EDGES, row, strict=False) if there}
    ops = [OPERATIONS[i] for i in row[len(EDGES) : len(EDGES) + vertices - 2]]
    return CellGraph(tuple(tuple(int((u, v) in used) for v in at) for u in at), (INPUT, *ops, OUTPUT))


def canonical(rows: Shaped[np.ndarray, "a 26"]) -> tuple[UInt8[np.ndarray, "a 26"], Int[np.ndarray, " a"]]:
    """Of every row, the canonical spelling of its pruned cell and how many vertices that has; 0 where it spells none."""
    spelt, counts = np.zeros(rows.shape, np.uint8), np.zeros(len(rows), np.int64)
    for at in chunks(len(rows)):
        order, counts[at] = orders(rows[at])
        spelt[at] = ordered(rows[at], order, counts[at])
    return spelt, counts


def orders(rows: Shaped[np.ndarray, "a 26"]) -> tuple[Int[np.ndarray, "a 7"], Int[np.ndarray, " a"]]:
    """Of every row, the places in the order in which its pruned cell is canonical, unused ones before the output; and how many
    vertices the cell has, 0 where input does not reach output or more than nine edges remain."""
    edges = matrices(rows)
    kept = between(edges)
    remaining = (edges & kept[:, :, None] & kept[:, None, :]).sum((1, 2))
    counts = np.where(kept[:, 0] & (remaining <= MOST_EDGES), kept.sum(1), 0)
    order = np.tile(np.arange(PLACES), (len(rows), 1))
    order[:, 1:-1] = np.argsort(~kept[:, 1:-1], axis=1, kind="stable") + 1
    for vertices in np.unique(counts[counts > 3]).tolist():
        at = np.flatnonzero(counts == vertices)
        numbers, arrangements = ranks(vertices - 2)
        first = ordered(rows[at], order[at], counts[at]).astype(np.float64) @ numbers
        best = arrangements[first.argmin(1)]
        order[at] = np.take_along_axis(order[at], best, 1)
    return order, counts


def ordered(
    rows: Shaped[np.ndarray, "a 26"], order: Int[np.ndarray, "a 7"], counts: Int[np.ndarray, " a"]
) -> UInt8[np.ndarray, "a 26"]:
    """The rows with their places in another order; of each, what is not one of its first vertices or the output is cleared."""
    used = np.arange(PLACES) < counts[:, None] - 1
    used[:, -1] = counts > 0
    each = np.arange(len(rows))[:, None]
    edges = matrices(rows)[each, order[:, SOURCE], order[:, TARGET]] & used[:, SOURCE] & used[:, TARGET]
    ops = rows[:, len(EDGES) :][each, order[:, 1:-1] - 1] * used[:, 1:-1]
    return np.concatenate([edges, ops], 1, dtype=np.uint8, casting="unsafe")


def matrices(rows: Shaped[np.ndarray, "a _"]) -> Bool[np.ndarray, "a 7 7"]:
    edges = np.zeros((len(rows), PLACES, PLACES), bool)
    edges[:, SOURCE, TARGET] = rows[:, : len(EDGES)]
    return edges


def between(edges: Bool[np.ndarray, "a 7 7"]) -> Bool[np.ndarray, "a 7"]:
    """Which vertices lie on a way from input to output."""
    reached, useful = np.zeros(edges.shape[:2], bool), np.zeros(edges.shape[:2], bool)
    reached[:, 0] = useful[:, -1] = True
    for v in range(1, PLACES):
        reached[:, v] = (edges[:, :v, v] & reached[:, :v]).any(1)
    for u in range(PLACES - 2, -1, -1):
        useful[:, u] = (edges[:, u, u + 1 :] & useful[:, u + 1 :]).any(1)
    return reached & useful


@lru_cache
def ranks(inner: int) -> tuple[Float[np.ndarray, "26 p"], Int[np.ndarray, "p 7"]]:
    """All arrangements of so many inner vertices, and the matrix that turns a row into its rank under each of them, as
    `CellGraph.canonical` ranks spellings: beyond any rank where an edge would lead backwards. Exact in float64."""
    every = np.array(list(itertools.permutations(range(1, inner + 1))))
    arrangements = np.tile(np.arange(PLACES), (len(every), 1))
    arrangements[:, 1 : inner + 1] = every
    place = np.argsort(arrangements, 1)
    u, v = place[:, SOURCE], place[:, TARGET]
    labels = len(OPERATIONS) ** INNER
    edges = np.where(u < v, labels << (u + v * (v - 1) // 2), labels << len(EDGES))
    ops = len(OPERATIONS) ** (INNER - place[:, 1:-1])
    return np.concatenate([edges, ops], 1).T.astype(np.float64), arrangements


def hashes(rows: Shaped[np.ndarray, "a 26"], counts: Int[np.ndarray, " a"]) -> UInt8[np.ndarray, "a 16"]:
    """The module hashes of rows as `canonical` spells them, as `CellGraph.module_hash` computes one."""
    found = np.zeros((len(rows), 16), np.uint8)
    for vertices in np.unique(counts).tolist():
        here = np.flatnonzero(counts == vertices)
        for part in chunks(len(here)):
            found[here[part]] = hashes_of(rows[here[part]], vertices)
    return found


def hashes_of(rows: Shaped[np.ndarray, "a 26"], vertices: int) -> UInt8[np.ndarray, "a 16"]:
    """As `hashes`, of cells of so many vertices each. A colour is 32 hexadecimal digits, kept as bytes."""
    places = [*range(vertices - 1), PLACES - 1]
    edges = matrices(rows)[:, places][:, :, places]
    ends = np.tile(np.array([LABELS[INPUT], LABELS[OUTPUT]]), (len(rows), 1))
    labels = np.concatenate([ends[:, :1], rows[:, len(EDGES) :][:, : vertices - 2], ends[:, 1:]], 1, dtype=np.int64)
    colours = first_colours(edges.sum(2), edges.sum(1), labels)
    for _ in range(vertices):
        colours = next_colours(edges, colours)
    lists = np.sort(colours.view("S32")[..., 0], 1).tolist()
    names = "".join([md5(b"['%b']" % b"', '".join(several)) for several in lists])
    return np.frombuffer(bytes.fromhex(names), np.uint8).reshape(-1, 16)


def first_colours(
    outs: Int[np.ndarray, "a n"], ins: Int[np.ndarray, "a n"], labels: Int[np.ndarray, "a n"]
) -> UInt8[np.ndarray, "a n 32"]:
    kinds, which = np.unique(np.stack([outs, ins, labels], -1).reshape(-1, 3), axis=0, return_inverse=True)
    texts = "".join(md5(str(tuple(kind)).encode()) for kind in kinds.tolist())
    return as_bytes(texts)[which.reshape(labels.shape)]


def next_colours(edges: Bool[np.ndarray, "a n n"], colours: UInt8[np.ndarray, "a n 32"]) -> UInt8[np.ndarray, "a n 32"]:
    """Of every vertex, the colour of its sources' colours, its targets' and its own. Vertices with as many of both have
    texts of one length and are done together."""
    after = np.empty_like(colours)
    order = np.argsort(colours.view("S32")[..., 0], 1)
    ranked = np.take_along_axis(colours, order[..., None], 1)
    for v in range(edges.shape[1]):
        into, out_of = (np.take_along_axis(ends, order, 1) for ends in (edges[:, :, v], edges[:, v, :]))
        kinds = into.sum(1) * PLACES + out_of.sum(1)
        for kind in np.unique(kinds).tolist():
            at = np.flatnonzero(kinds == kind)
            bar = np.full((len(at), 1), ord("|"), np.uint8)
            near = ((into, kind // PLACES), (out_of, kind % PLACES))
            before, behind = (ranked[at][ends[at]].reshape(len(at), 32 * many) for ends, many in near)
            after[at, v] = digests(np.concatenate([before, bar, behind, bar, colours[at, v]], 1))
    return after


def digests(texts: UInt8[np.ndarray, "a c"]) -> UInt8[np.ndarray, "a 32"]:
    """The MD5 of each row, in hexadecimal digits."""
    data, length = texts.tobytes(), texts.shape[1]
    return as_bytes("".join([md5(data[at : at + length]) for at in range(0, len(data), length)]))


def as_bytes(text: str) -> UInt8[np.ndarray, "c 32"]:
    return np.frombuffer(text.encode(), np.uint8).reshape(-1, 32)


def md5(text: bytes) -> str:
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def chunks(length: int) -> Iterator[slice]:
    return (slice(at, at + CHUNK) for at in range(0, length, CHUNK))
