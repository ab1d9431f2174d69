"""NAS-Bench-101's cells and network: against the benchmark's own hashes, widths and parameter counts."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_suite.cellnet import Cell, CellNetwork, Skeleton
from nas_suite.cells import INPUT, OPERATIONS, OUTPUT, CellGraph, cell_graph, unique_cells
from nas_suite.cost import count
from nas_suite.errors import BadInput

NAMES = {-1: INPUT, -2: OUTPUT, **dict(enumerate(OPERATIONS))}

RECORD = "0100110001000000010010000010000001000000010000000"
# The record in the test of sile/nasbench-rs, src/dataset.rs; the Inception-like cell of google-research/nasbench's README.
GOLDEN = cell_graph(
    [RECORD[row : row + 7] for row in range(0, 49, 7)],
    [INPUT, "conv3x3-bn-relu", "maxpool3x3", "conv3x3-bn-relu", "conv3x3-bn-relu", "conv1x1-bn-relu", OUTPUT],
)
INCEPTION = cell_graph(
    ["0111010", "0000001", "0000001", "0000100", "0000001", "0000001", "0000000"],
    [INPUT, "conv1x1-bn-relu", "conv3x3-bn-relu", "conv3x3-bn-relu", "conv3x3-bn-relu", "maxpool3x3", OUTPUT],
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def cell(edges: str, *ops: str) -> CellGraph:
    """A cell from edges like `01 12` and its interior operations."""
    n = len(ops) + 2
    pairs = {(int(a), int(b)) for a, b in edges.split()}
    return CellGraph(tuple(tuple(int((u, v) in pairs) for v in range(n)) for u in range(n)), (INPUT, *ops, OUTPUT))


def parameters(graph: CellGraph) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in CellNetwork(graph, Skeleton()).parameters())


@pytest.fixture(scope="module")
def sample(shared_data: Path):
    """15,001 cells of the benchmark."""
    return dict(np.load(shared_data / "nb101" / "nb101_sample.npz"))


def random_cell(rng: random.Random, vertices: int = 7) -> CellGraph:
    """A pruned cell of at most so many vertices."""
    while True:
        rows = tuple(tuple(int(v > u and rng.random() < 0.4) for v in range(vertices)) for u in range(vertices))
        graph = CellGraph(rows, (INPUT, *rng.choices(OPERATIONS, k=vertices - 2), OUTPUT)).pruned()
        if graph is not None:
            return graph


def random_order(graph: CellGraph, rng: random.Random) -> list[int]:
    """An order of the vertices that leads no edge backwards, input first and output last."""
    order, rest = [0], list(range(1, graph.vertices - 1))
    while rest:
        order.append(rng.choice([v for v in rest if not set(graph.sources[v]) & set(rest)]))
        rest.remove(order[-1])
    return [*order, graph.vertices - 1]


def test_hash_of_the_golden_record():
    assert GOLDEN.module_hash() == "00005c142e6f48ac74fdcf73e3439874"


def test_hash_of_the_inception_like_cell():
    assert INCEPTION.module_hash() == "28cfc7874f6d200472e1a9dcd8650aa0"


def test_hash_from_numpy_integers():
    again = cell_graph(np.array(GOLDEN.adjacency, dtype=np.int8), GOLDEN.ops)
    assert again == GOLDEN
    assert again.module_hash() == GOLDEN.module_hash()


def test_hash_is_of_the_pruned_cell():
    dangling = cell("01 13 02", "conv3x3", "conv1x1")
    assert dangling.module_hash() == cell("01 12", "conv3x3").module_hash()


def test_hash_and_canonical_spelling_survive_a_thousand_relabellings():
    rng, moved = random.Random(0), 0
    for _ in range(1000):
        graph = random_cell(rng)
        other = graph.relabelled(random_order(graph, rng))
        moved += other != graph
        assert other.module_hash() == graph.module_hash()
        assert other.canonical() == graph.canonical()
    assert moved > 100


def test_canonical_spellings_differ_where_cells_do():
    assert len({graph.canonical() for graph in unique_cells(5)}) == 2441


def test_pruning_keeps_what_lies_between_input_and_output():
    unused = cell("01 15 02 35", "conv3x3", "conv1x1", "maxpool3x3", "conv1x1")
    assert unused.pruned() == cell("01 12", "conv3x3")


def test_pruning_finds_no_way():
    assert cell("01 23", "conv3x3", "conv1x1").pruned() is None
    with pytest.raises(BadInput, match="no way leads"):
        cell("01 23", "conv3x3", "conv1x1").module_hash()


@pytest.mark.parametrize(
    ("adjacency", "ops", "message"),
    [
        (((0, 1), (0, 0)), (INPUT, "conv3x3"), "begin with"),
        (((0, 1, 0), (0, 0, 1), (0, 0, 0)), (INPUT, "conv5x5", OUTPUT), "unknown cell operation 'conv5x5'; did you mean"),
        (((0, 1), (1, 0)), (INPUT, OUTPUT), "above the diagonal"),
        (((0, 2), (0, 0)), (INPUT, OUTPUT), "0 or 1"),
        (((0, 1),), (INPUT, OUTPUT), "an adjacency of 2 × 2"),
    ],
)
def test_what_is_no_cell_is_refused(adjacency, ops, message):
    with pytest.raises(BadInput, match=message):
        CellGraph(adjacency, ops)


@pytest.mark.parametrize(("vertices", "cells"), [(2, 1), (3, 6), (4, 84), (5, 2441)])
def test_unique_cells(vertices, cells):
    """Counts of specs/mixpath.md 5.1: 1, 7, 91, 2,532 in all."""
    found = list(unique_cells(vertices))
    assert len(found) == cells == len({graph.module_hash() for graph in found})
    assert all(graph.pruned() is graph and graph.edges <= 9 for graph in found)


@pytest.mark.slow
def test_unique_cells_of_six_vertices():
    assert len({graph.module_hash() for graph in unique_cells(6)}) == 62_010 == 64_542 - 2_532


@pytest.mark.slow
def test_unique_cells_of_seven_vertices():
    """The benchmark has 423,624 cells in all."""
    assert sum(1 for _ in unique_cells(7)) == 359_082 == 423_624 - 64_542


@pytest.mark.parametrize(
    ("graph", "c_in", "c_out", "widths"),
    [
        (cell("01 12 23 34", "conv3x3", "conv1x1", "conv3x3"), 8, 16, (8, 16, 16, 16, 16)),
        (cell("01 02 13 23", "conv3x3", "conv1x1"), 8, 15, (8, 8, 7, 15)),
        (cell("01 02 03 14 24 34", "conv3x3", "conv1x1", "conv1x1"), 8, 8, (8, 3, 3, 2, 8)),
        (cell("01 02 13 23 34", "conv3x3", "conv1x1", "conv1x1"), 8, 16, (8, 16, 16, 16, 16)),
    ],
    ids=["chain", "two parallel", "three parallel", "parallel, then merged"],
)
def test_vertex_channels(graph, c_in, c_out, widths):
    """The vectors of the benchmark's model_builder_test.py."""
    assert graph.vertex_channels(c_in, c_out) == widths


def test_vertex_channels_refuses_too_narrow_a_network():
    with pytest.raises(BadInput, match="3 vertices cannot share 2"):
        cell("01 02 03 14 24 34", *["conv1x1"] * 3).vertex_channels(8, 2)


def test_parameters_of_the_golden_record():
    assert parameters(GOLDEN) == 8_555_530


def test_parameters_of_the_inception_like_cell():
    """From the output of the benchmark's NASBench.ipynb."""
    assert parameters(INCEPTION) == 2_694_282


def test_the_official_records(shared_data):
    records = json.loads((shared_data / "nb101" / "nb101_official_records52.json").read_text())
    for name, record in records.items():
        graph = cell_graph(record["module_adjacency"], record["module_operations"])
        assert (graph.module_hash(), parameters(graph)) == (name, record["trainable_parameters"])


def test_hashes_of_the_sample(sample):
    for at in range(0, len(sample["n_vertices"]), 15):
        assert sampled(sample, at).module_hash() == sample["module_hash"][at].tobytes().hex()


def test_parameters_of_the_sample(sample):
    for at in range(0, len(sample["n_vertices"]), 75):
        assert parameters(sampled(sample, at)) == sample["trainable_parameters"][at]


def sampled(sample, at: int) -> CellGraph:
    n = int(sample["n_vertices"][at])
    return cell_graph(sample["adjacency"][at, :n, :n], [NAMES[int(label)] for label in sample["operations"][at, :n]])


def test_a_cell_cuts_projects_adds_and_concatenates():
    """Vertices 1 and 2 share seven channels as 4 and 3; the input also feeds the output."""
    run = Cell(cell("01 12 13 23 03", "conv1x1", "maxpool3x3"), 5, 7).eval()
    x = torch.randn(2, 5, 6, 6)
    first = run.operations[0](run.projections["1"](x))
    second = torch.nn.functional.max_pool2d(first[:, :3], 3, 1, 1)
    assert first.shape[1] == 4
    assert set(run.projections) == {"1", "3"}
    assert torch.equal(run(x), torch.cat([first, second], 1) + run.projections["3"](x))


def test_a_cell_of_one_edge_is_a_projection():
    run = Cell(cell("01"), 5, 7).eval()
    x = torch.randn(2, 5, 6, 6)
    assert torch.equal(run(x), run.projections["1"](x))


def test_the_network_halves_sides_and_doubles_channels():
    shapes = []
    network = CellNetwork(INCEPTION, Skeleton(stem=16, image_size=9)).eval()
    for part in network:
        part.register_forward_hook(lambda part, _, out: shapes.append(tuple(out.shape[1:])) if isinstance(part, Cell) else None)
    assert network(torch.randn(2, 3, 9, 9)).shape == (2, 10)
    assert shapes == [(16, 9, 9)] * 3 + [(32, 5, 5)] * 3 + [(64, 3, 3)] * 3


def test_multiply_adds_of_a_chain():
    """By hand: one 1×1 projection and one 3×3 convolution a cell."""
    with torch.device("meta"):
        network = CellNetwork(cell("01 12", "conv3x3"), Skeleton())
    stem, side, c_in, total = 27 * 128 * 32**2, 32, 128, 0
    for stack in range(3):
        c_out = 128 << stack
        total += side**2 * (c_in * c_out + 9 * c_out**2) + 2 * side**2 * (c_out**2 + 9 * c_out**2)
        side, c_in = side // 2, c_out
    assert count(network, (3, 32, 32)).macs == stem + total + 512 * 10
