"""Networks as graphs: what holds of every space that tells them, and the cells of NAS-Bench-201 by hand."""

import random
from typing import Any

import pytest
import tiny

from nas_suite.edgecells import classes, spellings
from nas_suite.graph import Graph, GraphSpace
from nas_suite.spaces import SPACES
from nas_suite.spaces.tfnas import TFNAS

SPACES_WITH_GRAPHS = [
    "macro", "mixpath-s1", "mixpath-s2", "mixpath-s3", "mixpath-s4", "mobilenetv3", "nasbench101", "nasbench201", "tfnas",
]  # fmt: skip


@pytest.fixture(params=SPACES.names())
def space(request: pytest.FixtureRequest) -> Any:
    built = SPACES.build(request.param, tiny.SPACES.get(request.param, {}))
    if not isinstance(built, GraphSpace):
        assert request.param not in SPACES_WITH_GRAPHS
        pytest.skip("tells no graphs")
    return built


def sample(space: Any, n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(n)]


def test_a_graph_leads_from_its_one_input_to_its_one_output(space: Any) -> None:
    assert space.node_types[:2] == ("input", "output")
    assert len(set(space.node_types)) == len(space.node_types)
    for arch in sample(space, 40):
        for graph in (space.graph(arch), space.spelt_graph(arch)):
            assert graph.types[0] == 0
            assert graph.types[-1] == 1
            assert not {0, 1} & set(graph.types[1:-1])
            assert max(graph.types) < len(space.node_types)
            assert len(graph.types) <= space.most_nodes
        graph = space.graph(arch)
        if graph.edges:
            inner = set(range(1, len(graph.types) - 1))
            assert {u for u, _ in graph.edges} - {0} == inner, "every node is read"
            assert {v for _, v in graph.edges} - {len(graph.types) - 1} == inner, "every node reads"


def test_every_spelling_of_a_network_has_its_graph(space: Any) -> None:
    rng = random.Random(1)
    spelt = [tuple(rng.choice(options) for options in space.searched) for _ in range(300)]
    seen = 0
    for arch in spelt:
        canonical = space.canonical(arch)
        if canonical is not None:
            seen += canonical != arch
            assert space.graph(arch) == space.graph(canonical)
    if space.spellings() > space.size():
        assert seen, "some spelling was not canonical"


def test_networks_that_differ_have_different_graphs(space: Any) -> None:
    archs = list(dict.fromkeys(sample(space, 200)))
    graphs = {space.graph(arch) for arch in archs}
    alike = 0.1 if isinstance(space, TFNAS) else 0.0  # its widths of one level look alike
    assert len(graphs) >= (1 - alike) * len(archs)


def test_a_cell_of_nasbench201_by_hand() -> None:
    space = SPACES.build("nasbench201", {})
    # 0->1 conv3x3, 0->2 skip, 1->2 conv1x1, 0->3 none, 1->3 none, 2->3 conv3x3: the last reads the input and the 1x1.
    graph = space.graph((3, 1, 2, 0, 0, 3))
    assert [space.node_types[t] for t in graph.types] == ["input", "nor_conv_3x3", "nor_conv_1x1", "nor_conv_3x3", "output"]
    assert sorted(graph.edges) == [(0, 1), (0, 3), (1, 2), (2, 3), (3, 4)]
    doubled = space.graph((1, 1, 1, 3, 0, 0))  # one convolution of the input
    assert sorted(doubled.edges) == [(0, 1), (1, 2)]
    assert sorted(space.graph((1, 1, 1, 0, 0, 3)).edges) == [(0, 1), (0, 1), (1, 2)], "the input, added twice"
    assert space.graph((0, 0, 0, 0, 0, 0)) == Graph((0, 1), ())


def test_published_edges_are_the_same_for_every_cell_of_nasbench201() -> None:
    space = SPACES.build("nasbench201", {})
    one, other = space.spelt_graph((3, 1, 2, 0, 0, 3)), space.spelt_graph((0, 0, 0, 0, 0, 0))
    # MetaD2A, utils.py:37-50, as found in the public records: 8 nodes, 11 edges
    published = {(0, 1), (1, 2), (1, 3), (1, 5), (2, 3), (2, 6), (3, 4), (3, 6), (4, 5), (5, 6), (6, 7)}
    assert set(one.edges) == set(other.edges) == published
    assert one.types == (0, 5, 3, 4, 2, 2, 5, 1)
    assert other.types == (0, 2, 2, 2, 2, 2, 2, 1)


def test_the_15625_cells_of_nasbench201_are_5044_graphs() -> None:
    space = SPACES.build("nasbench201", {})
    graphs = {arch: space.graph(arch) for arch in spellings()}
    assert len(set(graphs.values())) == len(set(classes().values())) == space.size() == 5044


def test_a_graph_refuses_edges_that_lead_backwards() -> None:
    with pytest.raises(ValueError, match="lower to higher"):
        Graph((0, 2, 1), ((2, 1),))
    with pytest.raises(ValueError, match="lower to higher"):
        Graph((0, 2, 2, 1), ((0, 1), (1, 2), (2, 3))).relabelled((0, 2, 1, 3))
