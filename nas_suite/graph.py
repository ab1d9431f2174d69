"""Networks as graphs: typed nodes in topological order and the edges between them, and the spaces that tell them."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_suite.space import Arch, SearchSpace

INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True)
class Graph:
    """A network: `types[v]` is the type of node v, a place in its space's `node_types`; (u, v) in `edges` says that v reads u.

    Node 0 is the input, the last one the output, and every edge leads from a lower to a higher node. An edge that stands there
    n times is added n times. Two graphs of one network need not be equal: nodes may be numbered in another topological order.
    """

    types: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(self.types) < 2 or any(not 0 <= u < v < len(self.types) for u, v in self.edges):
            raise ValueError(f"edges of {len(self.types)} nodes must lead from lower to higher ones, got {self.edges}")

    @classmethod
    def of(cls, known: Sequence[str], names: Iterable[str], edges: Iterable[tuple[int, int]]) -> "Graph":
        """A graph from the names of its nodes; `known` are the space's."""
        return cls(tuple(known.index(name) for name in names), tuple(edges))

    @classmethod
    def chain(cls, known: Sequence[str], names: Sequence[str]) -> "Graph":
        """Nodes in a row between input and output."""
        return cls.of(known, (INPUT, *names, OUTPUT), ((v, v + 1) for v in range(len(names) + 1)))

    def relabelled(self, order: Sequence[int]) -> "Graph":
        """The graph whose node i is node order[i] of this one; ValueError where an edge would lead backwards."""
        places = {node: at for at, node in enumerate(order)}
        return Graph(tuple(self.types[v] for v in order), tuple((places[u], places[v]) for u, v in self.edges))

    def turned(self) -> "Graph":
        """The graph read backwards, from the output to the input."""
        last = len(self.types) - 1
        return Graph(self.types[::-1], tuple((last - v, last - u) for u, v in self.edges))


class GraphSpace(SearchSpace):
    """A space that tells its networks as graphs."""

    @property
    @abstractmethod
    def node_types(self) -> tuple[str, ...]:
        """What a node can be; the first two are input and output."""

    @property
    @abstractmethod
    def most_nodes(self) -> int:
        """How many nodes a graph of this space has at most."""

    @abstractmethod
    def graph(self, arch: Arch) -> Graph:
        """What the network computes: one and the same for all its spellings."""

    def spelt_graph(self, arch: Arch) -> Graph:
        """The graph that published encoders read for this spelling; as `graph` where none is published."""
        return self.graph(arch)
