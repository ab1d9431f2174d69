"""NAS-Bench-201's space: a cell of four nodes and six edges, each with one of five operations, fifteen times in a row."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.chain import check_count, check_images, scaled
from nas_suite.edgecells import (
    CONV1,
    EDGES,
    INPUT,
    LAST,
    NONE,
    OPERATIONS,
    POOL,
    SKIP,
    Flow,
    classes,
    flow,
    parsed,
    written,
)
from nas_suite.graph import INPUT as ENTRY
from nas_suite.graph import OUTPUT, Graph, GraphSpace
from nas_suite.layers import activation, conv_block, conv_bn
from nas_suite.space import Arch, Block, Part, Path, Sketch, Stage, Supernet, SupernetSpace, Variable
from nas_suite.supernet import mix

STEM, STAGES = 16, 3
TYPES = (ENTRY, OUTPUT, *OPERATIONS)
"""Of nodes, in MetaD2A's order (HayeonLee/MetaD2A, utils.py)."""

PUBLISHED = ((0, 1), (1, 2), (1, 3), (1, 5), (2, 3), (2, 6), (3, 4), (3, 6), (4, 5), (5, 6), (6, 7))
"""The edges that MetaD2A, and TNAS after it, give every cell, whatever flows in it (HayeonLee/MetaD2A, utils.py:37-50: a chain
of all nodes and some more); only the types of nodes 1 to 6, the operations, tell cells apart."""

SHORT = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")


@dataclass(frozen=True)
class NasBench201(SupernetSpace, GraphSpace):
    """Settings: `width` multiplies all channels, 16, 32 and 64; `cells` of each of the three stages. The defaults are the
    networks of the benchmark (Dong and Yang, ICLR 2020; D-X-Y/AutoDL-Projects, cell_infers/tiny_network.py).

    A variable is an edge. An architecture is written as the benchmark writes it, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, and
    read from six digits too, one an edge in the order 0->1, 0->2, 1->2, 0->3, 1->3, 2->3. Each of the 15,625 spellings is
    built, costed and tabled as it is spelt, with operations that change nothing; `canonical` tells which are one network.
    """

    width: float = 1.0
    cells: int = 5
    image_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        check_images(self.width, self.image_size, 1, self.channels, self.classes)
        check_count("cells", self.cells, 64)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(Variable(f"edge{u}{v}", OPERATIONS) for u, v in EDGES)

    @cached_property
    def stacks(self) -> tuple["Stack", ...]:
        """Channels double and sides halve, rounded up, from stage to stage."""
        stem = scaled(STEM, self.width)
        return tuple(Stack(stem << at, -(-self.image_size >> at)) for at in range(STAGES))

    def canonical(self, arch: Arch) -> Arch:
        """The lexicographically least spelling of the same function of the same convolutions (`edgecells.signature`)."""
        return classes()[self.check(arch)]

    def size(self) -> int:
        """5,044. The benchmark's own rule, for which two convolutions that read the same are one, counts 6,466 strings."""
        return len(set(classes().values()))

    def describe(self, arch: Arch) -> str:
        return written(self.check(arch))

    def parse(self, text: str) -> Arch:
        return parsed(text)

    def draw(self, rng: random.Random) -> Arch:
        """A spelling, uniformly among those that are no constant: of a constant nothing could be learned."""
        while True:
            drawn = tuple(rng.randrange(len(OPERATIONS)) for _ in EDGES)
            if flow(drawn).output:
                return drawn

    @property
    def node_types(self) -> tuple[str, ...]:
        return TYPES

    @property
    def most_nodes(self) -> int:
        return len(EDGES) + 2

    def graph(self, arch: Arch) -> Graph:
        """The data flow of the canonical spelling: skips contracted, nothing that does not change the output."""
        spelt = self.canonical(arch)
        places, edges = flowing(flow(spelt))
        return Graph.of(TYPES, (ENTRY, *(OPERATIONS[spelt[at]] for at in places), OUTPUT), edges)

    def spelt_graph(self, arch: Arch) -> Graph:
        """All six operations, none and skip among them, with MetaD2A's edges."""
        return Graph.of(TYPES, (ENTRY, *(OPERATIONS[option] for option in self.check(arch)), OUTPUT), PUBLISHED)

    def depth(self, arch: Arch) -> int:
        """Convolutions and poolings on the longest way: those of a cell in every cell, two of each block between stages, stem
        and classifier."""
        return STAGES * self.cells * flow(self.check(arch)).depth + 2 * (STAGES - 1) + 2

    def sketch(self, arch: Arch) -> Sketch:
        shapes = [stage.shape for stage in self.stacks]
        parts = [Part("stem", self.stem_block().input, shapes[0])]
        for at, shape in enumerate(shapes):
            parts += [Part(f"reduce{at}", shapes[at - 1], shape, residual=True)] if at else []
            parts.append(Part(f"stage{at}", shape, shape, repeats=self.cells))
        operations, edges = flowing(flow(self.check(arch)))
        nodes = (ENTRY, *(SHORT[arch[edge]] for edge in operations), OUTPUT)
        return Sketch((*parts, Part("head", shapes[-1], (self.classes, 1, 1))), nodes, edges)

    def stem_block(self) -> Block:
        """A 3×3 convolution with its batch norm; the cells' operations begin with a ReLU."""
        return conv_block(self.channels, self.stacks[0].channels, 3, 1, self.image_size, "none")

    def head_block(self) -> Block:
        last = self.stacks[-1]
        key = f"norm_classify_i{last.channels}_c{self.classes}_r{last.side}"
        return Block(key, last.shape, partial(classifier, last.channels, self.classes))

    def blocks(self, path: Path) -> Iterator[tuple[float | Tensor, Block]]:
        yield 1.0, self.stem_block()
        for at, stage in enumerate(self.stacks):
            if at:
                yield 1.0, reduction_block(self.stacks[at - 1])
            for choice in itertools.chain.from_iterable(itertools.repeat(path, self.cells)):
                options = [(1.0, choice)] if isinstance(choice, int) else [(choice[i], i) for i in range(len(choice))]
                yield from ((weight, operation_block(option, stage)) for weight, option in options if option > SKIP)
        yield 1.0, self.head_block()

    def network(self, arch: Arch) -> nn.Module:
        """Initialised as torch does, as the benchmark's networks were."""
        return nn.Sequential(*self.assembled([partial(Cell, self.check(arch), stage.channels) for stage in self.stacks]))

    def supernet(self, norm: str) -> Supernet:
        return CellSupernet(self.assembled([partial(SuperCell, stage.channels) for stage in self.stacks]))

    def assembled(self, cell: Sequence[Callable[[], nn.Module]]) -> list[nn.Module]:
        """The layers of a network whose stage i repeats `cell[i]`."""
        layers = [self.stem_block().build()]
        for at in range(STAGES):
            layers += [reduction_block(self.stacks[at - 1]).build()] if at else []
            layers += [cell[at]() for _ in range(self.cells)]
        return [*layers, self.head_block().build()]


@dataclass(frozen=True)
class Stack:
    """A stage of the benchmark, cells in a row: their channels and the side of their features."""

    channels: int
    side: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.side, self.side


def flowing(found: Flow) -> tuple[list[int], tuple[tuple[int, int], ...]]:
    """The cell with its operations as nodes 1, 2, …, between input and output: which edge of the cell each is, and what each
    reads, as often as it is added; nothing that does not change the output."""
    operations = sorted(found.reads)
    places = {INPUT: 0, **{edge: at for at, edge in enumerate(operations, start=1)}}
    inner = [(places[source], places[edge]) for edge in operations for source in found.reads[edge]]
    return operations, (*inner, *((places[source], len(places)) for source in found.output))


def relu_conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Module:
    """ReLU, which leaves its input to other edges, convolution, batch norm."""
    return nn.Sequential(nn.ReLU(), conv_bn(c_in, c_out, kernel, stride))


def operation(option: int, channels: int) -> nn.Module:
    """What an edge other than none does; shapes stay."""
    if option == SKIP:
        return nn.Identity()
    if option == POOL:
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return relu_conv_bn(channels, channels, 1 if option == CONV1 else 3)


def operation_block(option: int, stack: Stack) -> Block:
    key = f"{OPERATIONS[option]}_i{stack.channels}_r{stack.side}"
    return Block(key, stack.shape, partial(operation, option, stack.channels))


class Reduction(nn.Module):
    """The residual block between stages: two 3×3 convolutions, the first with stride 2, beside a 2×2 average pool and a 1×1
    convolution without batch norm. It doubles the channels and halves the sides, rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(relu_conv_bn(channels, 2 * channels, 3, 2), relu_conv_bn(2 * channels, 2 * channels, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(channels, 2 * channels, 1, bias=False))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c_out h_out w_out"]:
        return self.shortcut(x) + self.body(x)


def reduction_block(stack: Stack) -> Block:
    """The reduction behind a stage."""
    return Block(f"reduce_i{stack.channels}_r{stack.side}", stack.shape, partial(Reduction, stack.channels))


def classifier(channels: int, classes: int) -> nn.Module:
    """Batch norm, ReLU, global average pool, linear layer."""
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Flatten(), nn.Dropout(0.0))]
    return nn.Sequential(nn.BatchNorm2d(channels), activation("relu"), *pooled, nn.Linear(channels, classes))


def through(x: Tensor, operations: Sequence[Callable[[Tensor], Tensor] | None]) -> Tensor:
    """A cell's output: a node is the sum of what the edges to it make of their sources, zero where there is none (None)."""
    nodes = {0: x}
    for (u, v), run in zip(EDGES, operations, strict=True):
        if run is not None:
            y = run(nodes[u] if u in nodes else x * 0.0)
            nodes[v] = nodes[v] + y if v in nodes else y
    return nodes[LAST] if LAST in nodes else x * 0.0


class Cell(nn.Module):
    """A cell of a stand-alone network, with all that its spelling names."""

    def __init__(self, arch: Arch, channels: int) -> None:
        super().__init__()
        self.arch = arch
        self.operations = nn.ModuleList(operation(option, channels) for option in arch if option != NONE)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        operations = iter(self.operations)
        return through(x, [None if option == NONE else next(operations) for option in self.arch])


class SuperEdge(nn.Module):
    """An edge of a supernet's cell: all operations but none."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(operation(option, channels) for option in range(SKIP, len(OPERATIONS)))

    def forward(self, x: Float[Tensor, "n c h w"], choice: int | Tensor) -> Float[Tensor, "n c h w"]:
        """`choice` is an option other than none, or the weights of all five."""
        return mix(list(self.branches), choice - SKIP if isinstance(choice, int) else choice[SKIP:], x)


class SuperCell(nn.Module):
    """A cell of a supernet; entry i of the path chooses on edge i."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(SuperEdge(channels) for _ in EDGES)

    def forward(self, x: Float[Tensor, "n c h w"], path: Path) -> Float[Tensor, "n c h w"]:
        chosen = zip(self.edges, path, strict=True)
        runs = [None if isinstance(choice, int) and choice == NONE else partial(edge, choice=choice) for edge, choice in chosen]
        return through(x, runs)


class CellSupernet(Supernet):
    """Stem, stages of cells with reductions between them, classifier; all cells share the path."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def stages(self, path: Path) -> list[Stage]:
        """Every cell runs by the whole path, so that two paths share the stem alone."""
        key = tuple(path)
        return [
            Stage(key, partial(layer, path=path)) if isinstance(layer, SuperCell) else Stage(at, layer)
            for at, layer in enumerate(self.layers)
        ]
