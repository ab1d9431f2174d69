"""Encoders against slow references, and what they must not depend on."""

import random

import pytest
import torch
from torch import nn

from nas_suite.edgecells import spellings
from nas_suite.encoders.graphs import Direction, GraphBatch, GraphEncoder
from nas_suite.encoders.joint import PRESETS, Fusion, JointEncoder, preset
from nas_suite.encoders.sets import Attention, DataEncoder
from nas_suite.errors import BadInput
from nas_suite.graph import Graph
from nas_suite.spaces import SPACES

TYPES = 7


def random_graph(rng: random.Random, nodes: int) -> Graph:
    types = (0, *(rng.randrange(2, TYPES) for _ in range(nodes - 2)), 1)
    edges = [(u, v) for v in range(1, nodes) for u in range(v) if rng.random() < 0.5]
    return Graph(types, tuple(edges))


def graphs(n: int, seed: int = 0) -> list[Graph]:
    rng = random.Random(seed)
    return [random_graph(rng, rng.randint(2, 8)) for _ in range(n)]


def encoder(ids: int = 0, dtype: torch.dtype = torch.float64) -> GraphEncoder:
    torch.manual_seed(0)
    return GraphEncoder(TYPES, hidden=12, out=5, ids=ids).to(dtype)


def slow_states(direction: Direction, graph: Graph, backwards: bool, ids: int) -> dict[int, torch.Tensor]:
    """Node by node, as the definition reads (specs of TNAS, 1.1)."""
    weight = direction.cell.weight_ih
    states: dict[int, torch.Tensor] = {}
    nodes = range(len(graph.types))
    for v in reversed(nodes) if backwards else nodes:
        sources = [b if backwards else a for a, b in graph.edges if (a if backwards else b) == v]
        heard = weight.new_zeros(direction.cell.hidden_size)
        for u in sources:
            known = torch.cat([states[u], torch.eye(max(ids, 1))[u].to(weight)]) if ids else states[u]
            gate = torch.sigmoid(direction.gate.weight @ known + direction.gate.bias)
            heard = heard + gate * (direction.mapper.weight @ known)
        one_hot = torch.eye(TYPES).to(weight)[graph.types[v]]
        states[v] = direction.cell(one_hot[None], heard[None])[0]
    return states


@pytest.mark.parametrize("ids", [0, 8])
def test_networks_encode_as_the_slow_reference_says(ids: int) -> None:
    model = encoder(ids)
    some = graphs(25)
    with torch.no_grad():
        fast = model(GraphBatch.of(some, TYPES))
        for graph, vector in zip(some, fast, strict=True):
            there = slow_states(model.forwards, graph, False, ids)
            back = slow_states(model.backwards, graph, True, ids)
            slow = model.head(model.join(torch.cat([there[len(graph.types) - 1], back[0]])))
            assert torch.allclose(vector, slow, rtol=0, atol=1e-12)


def test_states_of_every_node_are_those_of_the_slow_reference() -> None:
    model, graph = encoder(), random_graph(random.Random(5), 7)
    batch = GraphBatch.of([graph], TYPES)
    with torch.no_grad():
        fast = model.forwards(batch.types.double(), batch.reads.double(), torch.zeros(7, 0, dtype=torch.float64))
        slow = slow_states(model.forwards, graph, False, 0)
    assert all(torch.allclose(fast[0, v], slow[v], atol=1e-12) for v in range(7))


@pytest.mark.parametrize("ids", [0, 12])
def test_a_batch_padded_or_not_encodes_as_graph_by_graph(ids: int) -> None:
    model, some = encoder(ids, torch.float32), graphs(60)
    with torch.no_grad():
        batched, padded = model(GraphBatch.of(some, TYPES)), model(GraphBatch.of(some, TYPES, nodes=12))
        singly = torch.cat([model(GraphBatch.of([graph], TYPES)) for graph in some])
    assert (batched - singly).abs().max() < 1e-6
    assert (padded - singly).abs().max() < 1e-6
    assert (model.encode(some) - singly).abs().max() < 1e-6


def orders(graph: Graph, rng: random.Random, n: int) -> list[list[int]]:
    """Topological orders, input first and output last."""
    found = []
    for _ in range(n):
        order, rest = [0], list(range(1, len(graph.types) - 1))
        while rest:
            ready = [v for v in rest if not any((u, v) in graph.edges for u in rest)]
            order.append(rng.choice(ready))
            rest.remove(order[-1])
        found.append([*order, len(graph.types) - 1])
    return found


def test_without_ids_nothing_depends_on_the_numbering_and_with_ids_it_does() -> None:
    rng = random.Random(2)
    free, bound = encoder(), encoder(ids=8)
    free_moved, bound_moved = 0.0, 0.0
    for graph in graphs(30, seed=3):
        again = [graph.relabelled(order) for order in orders(graph, rng, 4)]
        free_moved = max(free_moved, float((free.encode(again) - free.encode([graph])).abs().max()))
        bound_moved = max(bound_moved, float((bound.encode(again) - bound.encode([graph])).abs().max()))
    assert free_moved < 1e-12
    assert bound_moved > 1e-3


def test_an_edge_that_is_added_twice_counts_twice() -> None:
    model = encoder()
    once, twice = Graph((0, 3, 1), ((0, 1), (1, 2))), Graph((0, 3, 1), ((0, 1), (0, 1), (1, 2)))
    assert (model.encode([once]) - model.encode([twice])).abs().max() > 1e-4


def test_cells_of_nasbench201_that_compute_the_same_encode_the_same() -> None:
    space = SPACES.build("nasbench201", {})
    model = GraphEncoder(len(space.node_types), 8, 4)
    archs = list(spellings())
    vectors = model.encode([space.graph(arch) for arch in archs])
    by_network: dict[tuple[int, ...], int] = {}
    for at, arch in enumerate(archs):
        first = by_network.setdefault(space.canonical(arch), at)
        assert torch.equal(vectors[first], vectors[at])
    assert len(by_network) == 5044
    paper = GraphEncoder(len(space.node_types), 8, 4, ids=space.most_nodes)
    spelt = paper.encode([space.spelt_graph(arch) for arch in archs])
    assert len({tuple(v) for v in spelt.tolist()}) > 15_000, "the published encoder tells spellings apart"


def naive_attention(layer: Attention, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One set, one head after the other, one query after the other."""
    out = layer.query.out_features
    q, k, v = layer.query(x), layer.key(y), layer.value(y)
    heads = []
    for h in range(4):
        part = slice(h * out // 4, (h + 1) * out // 4)
        rows = []
        for row in q[:, part]:
            scores = torch.stack([(row * key).sum() for key in k[:, part]]) / out**0.5
            shares = scores.exp() / scores.exp().sum()
            rows.append(row + sum(share * value for share, value in zip(shares, v[:, part], strict=True)))
        heads.append(torch.stack(rows))
    joined = torch.cat(heads, 1)
    return joined + torch.relu(layer.after(joined))


def test_attention_is_what_a_loop_over_heads_computes() -> None:
    torch.manual_seed(0)
    layer = Attention(6, 5, 8).double()
    x, y = torch.randn(3, 6).double(), torch.randn(4, 5).double()
    with torch.no_grad():
        assert torch.allclose(layer(x[None], y[None])[0], naive_attention(layer, x, y), atol=1e-12)
    with pytest.raises(ValueError, match="heads"):
        Attention(4, 4, 6)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_the_order_of_images_and_of_classes_does_not_count(dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    model = DataEncoder(features=10, out=8).to(dtype)
    classes = [torch.randn(s, 10, dtype=dtype) for s in (5, 3, 5, 1)]
    with torch.no_grad():
        plain = model(classes, [range(4)])
        shuffled = model([c[torch.randperm(len(c))] for c in classes], [[2, 0, 3, 1]])
        moved = [torch.cat([classes[0], classes[1][:1]]), classes[1][1:], *classes[2:]]
        other = model(moved, [range(4)])
    assert (plain - shuffled).abs().max() < bound
    assert (plain - other).abs().max() > 1e-4, "an image moved to another class"


def test_data_sets_of_any_size_encode_as_one_by_one() -> None:
    torch.manual_seed(0)
    model = DataEncoder(features=6, out=4).double()
    classes = [torch.randn(s, 6).double() for s in (1, 7, 2, 7, 20)]
    sets = [[0], [1, 3], [4, 2, 0], [1, 2]]
    with torch.no_grad():
        together = model(classes, sets)
        singly = torch.cat([model([classes[c] for c in members], [range(len(members))]) for members in sets])
    assert torch.allclose(together, singly, atol=1e-12)


def test_every_weight_is_used() -> None:
    model = JointEncoder(PRESETS["tiny"], TYPES, features=6, ids=8)
    data = model.data([torch.randn(3, 6), torch.randn(2, 6)], [[0, 1], [1]])
    networks = model.networks(GraphBatch.of(graphs(2), TYPES))
    model.fusion(data, networks).square().mul(torch.rand(2, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_full_preset_has_the_published_size() -> None:
    """3.28 M parameters at hs 512 and nz 16, the data encoder and ξ among them (specs of TNAS, 2)."""
    model = JointEncoder(PRESETS["full"], node_types=7, features=512, ids=8)
    assert [layer.out_features for layer in model.fusion.layers if isinstance(layer, nn.Linear)] == [99, 50, 179, 194]
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 3.28


def test_the_sphere_bounds_what_the_kernel_sees_and_none_does_not() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(50, 8), torch.randn(50, 8)
    sphere, free = Fusion(16, (12, 10), "sphere"), Fusion(16, (12, 10), "none")
    assert torch.allclose(sphere(1e3 * x, y).norm(dim=1), torch.ones(50), atol=1e-4)
    assert free(1e3 * x, y).norm(dim=1).max() > 10


def test_an_unknown_preset_is_answered_with_the_near_word() -> None:
    with pytest.raises(BadInput, match="did you mean 'fast'"):
        preset("fats")
