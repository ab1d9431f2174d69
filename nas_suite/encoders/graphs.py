"""Networks into vectors: a gated recurrent unit that runs along a graph and back, for many graphs at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nas_suite.graph import Graph

CHUNK = 256  # nodes that are computed at once: what they take stays in a cache


@dataclass(frozen=True)
class GraphBatch:
    """Graphs as tensors of one size: node types as one-hot rows, zero beyond a graph's last node; how often v reads u."""

    types: Float[Tensor, "g v t"]
    reads: Float[Tensor, "g v v"]
    sizes: Int64[Tensor, " g"]

    @classmethod
    def of(cls, graphs: Sequence[Graph], node_types: int, nodes: int = 0) -> "GraphBatch":
        """`nodes` to pad to, at least the largest graph's number."""
        nodes = max(nodes, *(len(graph.types) for graph in graphs))
        sizes = torch.tensor([len(graph.types) for graph in graphs])
        rows = [at for at, graph in enumerate(graphs) for _ in graph.types]
        places = [v for graph in graphs for v in range(len(graph.types))]
        types = torch.zeros(len(graphs), nodes, node_types)
        types[rows, places, [t for graph in graphs for t in graph.types]] = 1.0
        reads = torch.zeros(len(graphs), nodes, nodes)
        if edges := [(at, u, v) for at, graph in enumerate(graphs) for u, v in graph.edges]:
            reads.index_put_(tuple(torch.tensor(edges).T), torch.ones(len(edges)), accumulate=True)
        return cls(types, reads, sizes)

    def pick(self, which: Int64[Tensor, " k"]) -> "GraphBatch":
        return GraphBatch(self.types[which], self.reads[which], self.sizes[which])

    def to(self, like: Tensor) -> "GraphBatch":
        return GraphBatch(self.types.to(like), self.reads.to(like), self.sizes.to(like.device))


class Direction(nn.Module):
    """One way through a graph: a node's state is that of a GRU cell, whose input is the node's type and whose hidden state the
    sum of what the nodes that it reads tell, each gated (D-VAE, Zhang et al. 2019; muhanzhang/D-VAE, models.py:536-605)."""

    def __init__(self, types: int, hidden: int, ids: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(types, hidden)
        self.gate = nn.Linear(hidden + ids, hidden)
        self.mapper = nn.Linear(hidden + ids, hidden, bias=False)  # without a bias, so that nothing tells nothing

    def forward(
        self, types: Float[Tensor, "g v t"], reads: Float[Tensor, "g v v"], ids: Float[Tensor, "v i"]
    ) -> Float[Tensor, "g v h"]:
        """The states of graphs whose nodes come in the order in which they are gone through."""
        graphs, nodes = types.shape[:2]
        heard = types.new_zeros(graphs, self.cell.hidden_size)
        states: list[Tensor] = []
        told: list[Tensor] = []
        for v in range(nodes):
            if v:
                known = torch.cat((states[-1], ids[v - 1].expand(graphs, -1)), 1)
                told.append(torch.sigmoid(self.gate(known)) * self.mapper(known))
                heard = torch.einsum("gu,guh->gh", reads[:, :v, v], torch.stack(told, 1))
            states.append(self.cell(types[:, v], heard))
        return torch.stack(states, 1)

    def shared(self, graphs: Sequence[Graph], ids: int) -> Float[Tensor, "g h"]:
        """The last nodes' states. Nodes of one type that read the same are one; with `ids` also of one place, from the end
        where it is negative. Sources come before what reads them, so that level after level is computed at once."""
        known: dict[tuple[int, ...], int] = {}
        levels: list[int] = []
        ends = []
        for graph in graphs:
            count = len(graph.types)
            sources: list[list[int]] = [[] for _ in graph.types]
            numbers: list[int] = []
            for u, v in graph.edges:
                sources[v].append(u)
            for v, kind in enumerate(graph.types):
                place = (v if ids > 0 else count - 1 - v) if ids else 0
                read = sorted(numbers[u] for u in sources[v])
                number = known.setdefault((kind, place, *read), len(known))
                if number == len(levels):
                    levels.append(1 + max((levels[r] for r in read), default=-1))
                numbers.append(number)
            ends.append(numbers[-1])
        return self.computed(list(known), torch.tensor(levels), abs(ids))[ends]

    def computed(self, nodes: Sequence[tuple[int, ...]], levels: Int64[Tensor, " n"], ids: int) -> Float[Tensor, "n h"]:
        """The states of nodes (type, place, what they read), level by level; ends, which none reads, tell nothing."""
        like = self.mapper.weight
        heeded = torch.zeros(len(nodes), dtype=torch.bool)
        heeded[[read for node in nodes for read in node[2:]]] = True
        states, told = (like.new_zeros(len(nodes), self.cell.hidden_size) for _ in range(2))
        order = (torch.nonzero(levels == level)[:, 0] for level in range(int(levels.max()) + 1))
        for which in (part for level in order for part in level.split(CHUNK)):
            mine = [nodes[at] for at in which.tolist()]
            heard = like.new_zeros(len(mine), self.cell.hidden_size)
            if pairs := [(at, read) for at, node in enumerate(mine) for read in node[2:]]:
                into, read = torch.tensor(pairs).T
                heard.index_add_(0, into, told[read])
            one_hot = torch.eye(self.cell.input_size).to(like)[[node[0] for node in mine]]
            states[which] = state = self.cell(one_hot, heard)
            telling = heeded[which]
            places = torch.eye(max(ids, 1), ids).to(like)[[node[1] if ids else 0 for node in mine]]
            known = torch.cat((state, places), 1)[telling]
            told[which[telling]] = torch.sigmoid(self.gate(known)) * self.mapper(known)
        return states


class GraphEncoder(nn.Module):
    """ψ: graphs into vectors of `out` numbers.

    Forwards, then with other weights backwards; the states of the output and of the input are joined, 2 · hidden to hidden,
    hidden to out, nothing non-linear between (TNAS-DCS, encoder_FSBO.py:78-131 and 318-416, whose unused heads are left out).
    With `ids` each node also tells its place, a number below `ids`, as the published encoder does, which then tells apart two
    numberings of one graph; with 0 nothing depends on how nodes are numbered.
    """

    def __init__(self, types: int, hidden: int, out: int, ids: int = 0) -> None:
        super().__init__()
        self.types, self.ids = types, ids
        self.forwards, self.backwards = Direction(types, hidden, ids), Direction(types, hidden, ids)
        self.join, self.head = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, out)

    def forward(self, batch: GraphBatch) -> Float[Tensor, "g out"]:
        batch = batch.to(self.head.weight)
        ids = torch.eye(batch.types.shape[1], self.ids).to(batch.types)
        there = self.forwards(batch.types, batch.reads, ids)[torch.arange(len(batch.sizes)), batch.sizes - 1]
        back = self.backwards(batch.types.flip(1), batch.reads.flip(1, 2).transpose(1, 2), ids.flip(0))[:, -1]
        return self.head(self.join(torch.cat((there, back), 1)))

    @torch.no_grad()
    def encode(self, graphs: Sequence[Graph]) -> Float[Tensor, "g out"]:
        """Vectors without gradients. What several graphs begin with, or end with, is computed once: all 15,625 cells of
        NAS-Bench-201 have 125,000 nodes, of which a few thousand differ in anything that their states depend on."""
        there = self.forwards.shared(graphs, self.ids)
        back = self.backwards.shared([graph.turned() for graph in graphs], -self.ids)
        return self.head(self.join(torch.cat((there, back), 1)))
