"""NAS-Bench-101's space: the benchmark's own spellings, hashes and parameter counts, and what soft choices cost."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_suite import cellrows
from nas_suite.cellrows import EDGES
from nas_suite.cells import INPUT, OPERATIONS, OUTPUT, CellGraph, cell_graph, unique_cells
from nas_suite.cost import cost
from nas_suite.errors import BadInput
from nas_suite.space import Arch
from nas_suite.spaces.mixpath_s4 import MixPathS4
from nas_suite.spaces.nasbench101 import NasBench101

SPACE, S4 = NasBench101(), MixPathS4()


def spelling(rng: random.Random, edge: float = 0.4) -> Arch:
    """A random spelling, which may spell no cell."""
    return (*(int(rng.random() < edge) for _ in EDGES), *(rng.randrange(3) for _ in range(5)))


def whole(arch: Arch) -> CellGraph:
    """All seven vertices of an architecture, unpruned."""
    there = {edge for edge, chosen in zip(EDGES, arch, strict=False) if chosen}
    matrix = tuple(tuple(int((u, v) in there) for v in range(7)) for u in range(7))
    return CellGraph(matrix, (INPUT, *(OPERATIONS[i] for i in arch[len(EDGES) :]), OUTPUT))


def shuffled(graph: CellGraph, rng: random.Random) -> CellGraph:
    """The same graph with its inner vertices in another order that leads no edge backwards."""
    order, rest = [0], list(range(1, graph.vertices - 1))
    while rest:
        order.append(rng.choice([v for v in rest if not set(graph.sources[v]) & set(rest)]))
        rest.remove(order[-1])
    return graph.relabelled([*order, graph.vertices - 1])


@pytest.fixture(scope="module")
def sample(shared_data: Path):
    """15,001 cells of the benchmark, and their spellings as rows."""
    found = dict(np.load(shared_data / "nb101" / "nb101_sample.npz"))
    names = {-1: INPUT, -2: OUTPUT, **dict(enumerate(OPERATIONS))}
    graphs = [
        cell_graph(matrix[:n, :n].tolist(), [names[label] for label in labels[:n].tolist()])
        for n, matrix, labels in zip(found["n_vertices"].tolist(), found["adjacency"], found["operations"], strict=True)
    ]
    return found, np.array([cellrows.row(graph) for graph in graphs], np.uint8)


def test_the_official_records_are_spelt_and_counted_as_they_are_stored(shared_data: Path) -> None:
    records = json.loads((shared_data / "nb101" / "nb101_official_records52.json").read_text())
    params = cost("params", SPACE)
    assert len(records) == 52
    for name, record in records.items():
        graph = cell_graph(record["module_adjacency"], record["module_operations"])
        arch = SPACE.spelt(graph)
        assert arch is not None
        assert SPACE.cell(arch) == graph
        assert SPACE.parse(SPACE.describe(arch)) == arch
        assert (SPACE.cell(arch).module_hash(), params.total(arch)) == (name, record["trainable_parameters"])


def test_sampled_cells_of_the_benchmark_are_spelt_as_they_are_stored(sample) -> None:
    found, rows = sample
    spelt, counts = cellrows.canonical(rows)
    assert len(rows) == 15_001
    assert np.array_equal(spelt, rows)
    assert np.array_equal(counts, found["n_vertices"])
    assert np.array_equal(cellrows.hashes(spelt, counts), found["module_hash"])


@pytest.mark.slow
def test_parameters_of_the_sampled_cells(sample) -> None:
    found, rows = sample
    params = cost("params", SPACE)
    assert [params.total(tuple(row)) for row in rows.tolist()] == found["trainable_parameters"].tolist()


def test_canonical_is_the_same_for_all_relabellings_and_tells_cells_apart() -> None:
    rng, seen = random.Random(0), dict[str, Arch]()
    for _ in range(400):
        graph = whole(spelling(rng))
        pruned = graph.pruned()
        if pruned is None or pruned.edges > 9:
            assert SPACE.spelt(graph) is None
            assert SPACE.canonical(cellrows.row(graph)) is None
            continue
        arch = SPACE.spelt(graph)
        assert arch is not None
        assert SPACE.canonical(arch) == arch == SPACE.canonical(cellrows.row(shuffled(graph, rng)))
        assert SPACE.cell(arch) == pruned.canonical()
        assert seen.setdefault(pruned.module_hash(), arch) == arch
    assert len(set(seen.values())) == len(seen) > 100


def test_many_cells_at_once_are_each_as_if_alone() -> None:
    rng = random.Random(1)
    spellings = [spelling(rng, 0.35) for _ in range(1500)]
    rows, counts = cellrows.canonical(np.array(spellings, np.uint8))
    hashes = cellrows.hashes(rows[counts > 0], counts[counts > 0])
    assert [tuple(row) if n else None for row, n in zip(rows.tolist(), counts, strict=True)] == [
        *map(SPACE.canonical, spellings)
    ]
    graphs = [whole(arch).pruned() for arch, n in zip(spellings, counts, strict=True) if n]
    assert [bytes(each).hex() for each in hashes] == [graph.module_hash() for graph in graphs if graph]
    assert {graph.vertices for graph in graphs if graph} == set(counts[counts > 0].tolist()) >= {3, 4, 5, 6, 7}


def test_unused_vertices_stand_before_the_output_and_do_not_count() -> None:
    arch = SPACE.parse("3@0-P@0-1@0-o@3")
    assert SPACE.describe(SPACE.canonical(arch) or ()) == "1@0-o@1"
    edges = tuple(int(edge in ((0, 1), (1, 6))) for edge in EDGES)
    assert SPACE.canonical(arch) == (*edges, 1, 0, 0, 0, 0)


def test_what_spells_no_cell() -> None:
    assert SPACE.canonical((0,) * 26) is None
    assert SPACE.canonical((1,) * 26) is None
    with pytest.raises(BadInput, match="spells no network"):
        SPACE.network((0,) * 26)


def test_cells_of_other_spaces_that_are_too_large_are_none() -> None:
    chain = tuple(tuple(int(v == u + 1) for v in range(8)) for u in range(8))
    assert SPACE.spelt(CellGraph(chain, (INPUT, *["conv3x3"] * 6, OUTPUT))) is None


@pytest.mark.parametrize(("vertices", "cells"), [(2, 1), (3, 7), (4, 91), (5, 2532)])
def test_cells_up_to_five_vertices(vertices: int, cells: int) -> None:
    """The counts of specs/mixpath.md 5.1."""
    found = {SPACE.spelt(cell) for n in range(2, vertices + 1) for cell in unique_cells(n)}
    assert None not in found
    assert len(found) == cells


@pytest.mark.slow
def test_everything() -> None:
    """Counts of specs/mixpath.md 5.1; the rows are in the order of the tables, each its own canonical spelling."""
    archs = list(SPACE.everything())
    assert archs == sorted(set(archs))
    assert len(archs) == SPACE.size() == 423_624
    rows = np.array(archs, np.uint8)
    spelt, counts = cellrows.canonical(rows)
    assert np.array_equal(rows, spelt)
    assert np.bincount(counts).tolist()[2:] == [1, 6, 84, 2_441, 62_010, 359_082]
    small = counts <= 6
    assert small.sum() == 64_542 == len(np.unique(cellrows.hashes(rows[small], counts[small]), axis=0))


def test_the_cells_of_s4_are_found_with_their_parameters() -> None:
    params, cells = cost("params", SPACE), set()
    for arch in S4.everything():
        found = SPACE.spelt(S4.cell(arch))
        assert found is not None
        assert S4.spelt(SPACE.cell(found)) == arch
        assert params.total(found) == cost("params", S4).total(arch)
        assert SPACE.depth(found) == S4.depth(arch)
        cells.add(found)
    assert len(cells) == 34


@pytest.mark.parametrize(
    "text", ["o@0", "3@0-o@1", "3@0-P@01-o@12", "1@0-1@-o@01", "3@-3@-3@-3@-1@-o@0", "P@0-3@0-1@012-3@2-o@134"]
)
def test_text_returns_as_it_was_spelt(text: str) -> None:
    arch = SPACE.parse(f" {text.lower()} ")
    assert SPACE.describe(arch) == text
    assert len(arch) == 26


def test_text_returns_for_any_spelling() -> None:
    rng = random.Random(2)
    for arch in (spelling(rng, 0.3) for _ in range(300)):
        if SPACE.canonical(arch) is not None:
            assert SPACE.parse(SPACE.describe(arch)) == arch


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"vertex 1 cannot be '': it is last, so it is o"),
        ("3@0-o@1-o@12", r"vertex 2 cannot be 'o@1': it is 3 \(conv3x3\), 1 \(conv1x1\) or P"),
        ("3@0-5@1-o@12", r"vertex 2 cannot be '5@1'.*; an example: 3@0-P@01-o@12"),
        ("3@0-1@2-o@12", r"vertex 2 cannot be '1@2'.*sources, of 0 to 1"),
        ("3@0-1@00-o@2", r"vertex 2 cannot be '1@00'"),
        ("3@0-1@1", r"vertex 2 cannot be '1@1': it is last"),
        ("30-o@1", r"vertex 1 cannot be '30'"),
        ("-".join(["3@0"] * 6 + ["o@1"]), r"has 7 tokens.*at most 6"),
        ("3@0-o@", "spells no network"),
        ("3@0-3@01-3@012-3@0123-o@1234", "spells no network"),
    ],
)
def test_text_that_is_no_architecture(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        SPACE.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "operations"), [("o@0", 0), ("3@0-o@1", 1), ("3@0-P@01-o@012", 2), ("3@0-3@0-1@1-1@3-o@24", 3)]
)
def test_depth_is_the_longest_way_through_operations(text: str, operations: int) -> None:
    assert SPACE.depth(SPACE.parse(text)) == 9 * operations + 2
    assert NasBench101(stacks=2, cells=1).depth(SPACE.parse(text)) == 2 * operations + 2


def test_soft_operations_cost_their_exact_expectation() -> None:
    arch = SPACE.parse("3@0-P@0-1@1-o@023")
    macs, rng = cost("macs", SPACE), np.random.default_rng(0)
    weights = [rng.dirichlet((1, 1, 1)) for _ in range(3)]
    soft = (*arch[:21], *(torch.tensor(w) for w in weights), *arch[24:])
    terms = [
        float(np.prod([w[i] for w, i in zip(weights, ops, strict=True)])) * macs.total((*arch[:21], *ops, 0, 0))
        for ops in itertools.product(range(3), repeat=3)
    ]
    assert float(macs(soft)) == pytest.approx(sum(terms), rel=1e-12)


def test_a_soft_edge_weighs_its_projection_and_soft_choices_follow_their_vertices() -> None:
    """The spelling is not canonical: its operations are the fourth vertex's and the second's."""
    arch = SPACE.parse("3@-P@0-1@-3@0-o@24")
    params = cost("params", SPACE)
    edge = torch.tensor([0.25, 0.75], dtype=torch.float64, requires_grad=True)
    kinds = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64, requires_grad=True)
    at = EDGES.index((0, 2))
    path = (*arch[:at], edge, *arch[at + 1 : 24], kinds, arch[25])
    params(path).backward()
    assert float(params(arch)) == params.total(SPACE.canonical(arch) or ())
    assert edge.grad is not None
    assert kinds.grad is not None
    widths = [
        (c_in, c_out // 2)
        for c_in, c_out in [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 2 + [(256, 512)] + [(512, 512)] * 2
    ]
    assert edge.grad.tolist() == [0, sum(c_in * width + 2 * width for c_in, width in widths)]
    assert kinds.grad.tolist() == [sum(k * width**2 + 2 * width for _, width in widths) for k in (9, 1)] + [0]


def test_a_soft_path_whose_heaviest_options_spell_no_cell_is_refused() -> None:
    weak = torch.tensor([0.6, 0.4], dtype=torch.float64)
    with pytest.raises(BadInput, match="spells no network"):
        cost("macs", SPACE)((weak, *SPACE.parse("3@0-o@1")[1:]))


@pytest.mark.parametrize("settings", [{"stacks": 0}, {"cells": 65}, {"image_size": 4}, {"width": -1.0}])
def test_settings_that_make_no_space(settings) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(settings))} must be .*, got {next(iter(settings.values()))}$"):
        NasBench101(**settings)


@pytest.mark.parametrize(("stacks", "cells"), [(1, 1), (2, 3), (4, 1)])
def test_stacks_and_cells(stacks: int, cells: int) -> None:
    space = NasBench101(width=0.0625, stacks=stacks, cells=cells, image_size=9, channels=1, classes=4)
    arch = space.parse("3@0-P@01-o@12")
    assert space.network(arch)(torch.randn(2, 1, 9, 9)).shape == (2, 4)
    assert sum(block.key.startswith("maxpool3") for _, block in space.blocks(arch)) == stacks * cells
    assert sum(part.repeats for part in space.sketch(arch).parts[1:-1]) == stacks * cells
    assert space.sketch(arch).nodes == ("input", "conv3x3", "maxpool3x3", "output")
    assert space.sketch(arch).edges == ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))
