"""MixPath's S4: the 34 NAS-Bench-101 cells of its ranking study, up to four parallel operations summed before a convolution."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.cellnet import CellNetwork, Place, Skeleton, operation, pool_block, pooling, projection
from nas_suite.cells import INPUT, OPERATIONS, OUTPUT, CellGraph
from nas_suite.chain import check_count, check_images, scaled
from nas_suite.errors import BadInput
from nas_suite.graph import Graph, GraphSpace
from nas_suite.layers import activation, conv_block, initialise
from nas_suite.space import Arch, Block, Path, Sketch, Stage, Supernet, SupernetSpace, Variable
from nas_suite.supernet import MultiPathNorm, PathSum, mix

STEM = 128
LETTERS = (".", "3", "1", "P")
"""How the options of a position are written: none, then the operations."""


@dataclass(frozen=True)
class MixPathS4(SupernetSpace, GraphSpace):
    """Settings: `width` multiplies all channels; `m` is the number of positions and so of paths (in the official code m also
    says which positions exist, nas_utils.py:101-116); `node5_bias` gives the supernet's 1×1 convolutions after the sums the
    bias of the official code, with which a sum of i paths no longer has i times the mean of one; `stacks` of `cells` cells.

    A variable is a position: none or one of three operations. An architecture is written as one letter a position, trailing
    `.` (none) left out: `331P`, `33`, and `.3.1` where operations stand in the second and the fourth position.
    """

    width: float = 1.0
    m: int = 4
    node5_bias: bool = False
    stacks: int = 3
    cells: int = 3
    image_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.m <= 4:
            raise ValueError(f"m must be 1 to 4 (a fifth path would need more edges than NAS-Bench-101 allows), got {self.m}")
        check_images(self.width, self.image_size, 1, self.channels, self.classes)
        check_count("stacks", self.stacks, 64)
        check_count("cells", self.cells, 64)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(Variable(f"position{at}", ("none", *OPERATIONS), LETTERS) for at in range(self.m))

    @cached_property
    def skeleton(self) -> Skeleton:
        stem = scaled(STEM, self.width)
        return Skeleton(stem, self.stacks, self.cells, self.image_size, self.channels, self.classes)

    def canonical(self, arch: Arch) -> Arch | None:
        """The operations in the order 3, 1, P, then none: positions are interchangeable. None where there is no operation."""
        present = sorted(option for option in self.check(arch) if option)
        return (*present, *[0] * (self.m - len(present))) if present else None

    def size(self) -> int:
        """The multisets of 1 to m of three operations: 3, 9, 19, 34 for m = 1 … 4."""
        return sum((i + 1) * (i + 2) // 2 for i in range(1, self.m + 1))

    def describe(self, arch: Arch) -> str:
        return "".join(LETTERS[option] for option in self.check(arch)).rstrip(".") or "."

    def parse(self, text: str) -> Arch:
        letters = text.strip().upper()
        if not 1 <= len(letters) <= self.m or not set(letters) <= set(LETTERS):
            raise BadInput(
                f"architecture {text!r} is not 1 to {self.m} letters, one a position, of 3 (conv3x3), 1 (conv1x1), "
                f"P (maxpool3x3) and . (none); an example: {'331P'[-self.m :]}"
            )
        return self.valid(tuple(LETTERS.index(letter) for letter in letters.ljust(self.m, ".")))

    def draw(self, rng: random.Random) -> Arch:
        """The number of paths, then their positions, then each one's operation, all uniformly (official nas_utils.py:101-116);
        all cells share them."""
        drawn = [0] * self.m
        for position in rng.sample(range(self.m), rng.randint(1, self.m)):
            drawn[position] = rng.randint(1, len(OPERATIONS))
        return tuple(drawn)

    def with_paths(self, rng: random.Random, paths: int) -> Arch:
        drawn = [rng.randint(1, len(OPERATIONS)) for _ in range(paths)]
        return (*sorted(drawn), *[0] * (self.m - paths))

    def cell(self, arch: Arch) -> CellGraph:
        """The architecture's cell in NAS-Bench-101: the operations in parallel, then a 1×1 convolution."""
        present = [OPERATIONS[option - 1] for option in self.canonical(self.valid(arch)) or () if option]
        branches = len(present)
        first = (0, *[1] * branches, 0, 0)
        between = tuple((*[0] * (branches + 1), 1, 0) for _ in present)
        ending = ((*[0] * (branches + 2), 1), (0,) * (branches + 3))
        return CellGraph((first, *between, *ending), (INPUT, *present, "conv1x1", OUTPUT))

    def spelt(self, cell: CellGraph) -> Arch | None:
        """The positions of a cell of parallel operations before a 1×1 convolution; None for any other cell."""
        branches = cell.targets[0]
        if not 1 <= len(branches) <= self.m or len(cell.ops) != len(branches) + 3:
            return None
        present = sorted(OPERATIONS.index(cell.ops[v]) + 1 for v in branches if cell.ops[v] in OPERATIONS)
        arch = (*present, *[0] * (self.m - len(present)))
        return arch if present and self.cell(arch).module_hash() == cell.module_hash() else None

    @property
    def node_types(self) -> tuple[str, ...]:
        return (INPUT, OUTPUT, *OPERATIONS)

    @property
    def most_nodes(self) -> int:
        return self.m + 3

    def graph(self, arch: Arch) -> Graph:
        cell = self.cell(arch)
        return Graph.of(self.node_types, cell.ops, ((u, v) for v, sources in enumerate(cell.sources) for u in sources))

    def depth(self, arch: Arch) -> int:
        """Every network of the space is as deep: an operation and a convolution in each cell, stem and classifier."""
        return 2 * self.stacks * self.cells + 2

    def sketch(self, arch: Arch) -> Sketch:
        cell = self.cell(arch)
        return self.skeleton.sketch(cell, len(cell.targets[0]))

    def network(self, arch: Arch) -> nn.Module:
        network = CellNetwork(self.cell(arch), self.skeleton)
        initialise(network)
        return network

    def blocks(self, path: Path) -> Iterator[tuple[float | Tensor, Block]]:
        yield 1.0, self.skeleton.stem_block()
        for place in self.skeleton.places():
            if place.pooled_from:
                yield 1.0, pool_block(place.c_in, place.pooled_from)
            for choice in path:
                options = [(1.0, choice)] if isinstance(choice, int) else [(choice[i], i) for i in range(len(choice))]
                yield from ((weight, branch_block(place, option)) for weight, option in options if option)
            yield 1.0, conv_block(place.c_out, place.c_out, 1, 1, place.side, "relu")
        yield 1.0, self.skeleton.head_block()

    def supernet(self, norm: str) -> Supernet:
        return CellSupernet(self.skeleton, self.m, self.node5_bias, norm)


def branch(place: Place, option: int) -> nn.Module:
    """What a position does under an option other than none: project the cell's input, then operate."""
    return nn.Sequential(projection(place.c_in, place.c_out), operation(OPERATIONS[option - 1], place.c_out))


def branch_block(place: Place, option: int) -> Block:
    key = f"branch_{OPERATIONS[option - 1]}_i{place.c_in}_o{place.c_out}_r{place.side}"
    return Block(key, (place.c_in, place.side, place.side), partial(branch, place, option))


class Position(nn.Module):
    """A position of a supernet's cell: all three operations, each with a projection of its own (MixPath, S4)."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branch(place, i) for i in range(1, len(OPERATIONS) + 1))

    def forward(self, x: Float[Tensor, "n c_in h w"], choice: int | Tensor) -> Float[Tensor, "n c_out h w"]:
        """`choice` is an option other than none, or the weights of all four."""
        return mix(list(self.branches), choice - 1 if isinstance(choice, int) else choice[1:], x)


class MultiPathCell(PathSum):
    """A cell of the supernet (MixPath, S4).

    The sum over positions passes a 1×1 convolution, the batch norm of sums and ReLU. The official code leaves that batch norm
    out by mistake (nas_model_search.py:63-72).
    """

    def __init__(self, place: Place, positions: int, bias: bool, norm: str) -> None:
        super().__init__()
        self.positions = nn.ModuleList(Position(place) for _ in range(positions))
        self.merge = nn.Conv2d(place.c_out, place.c_out, 1, bias=bias)
        self.norm = MultiPathNorm(place.c_out, positions, positions, norm)
        self.act = activation("relu")

    def forward(self, x: Float[Tensor, "n c_in h w"], path: Path, active: tuple[int, ...]) -> Float[Tensor, "n c_out h w"]:
        running = [i for i, choice in enumerate(path) if not isinstance(choice, int) or choice]
        parts = [self.positions[i](x, path[i]) for i in running]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return self.act(self.norm(self.merge(total), active))

    def each_path(self, x: Float[Tensor, "n c_in h w"]) -> Iterator[tuple[int, str, Tensor, Tensor]]:
        for at, position in enumerate(self.positions):
            for option in range(1, len(LETTERS)):
                feature = position(x, option)
                yield at, f"{at}:{LETTERS[option]}", feature, torch.conv2d(feature, self.merge.weight)

    def offset(self) -> Tensor | None:
        return self.merge.bias


class CellSupernet(Supernet):
    """Stem, cells and classifier; entry i of the path chooses at position i of every cell."""

    def __init__(self, skeleton: Skeleton, positions: int, bias: bool, norm: str) -> None:
        super().__init__()
        places = list(skeleton.places())
        self.stem = skeleton.stem_block().build()
        self.pools = nn.ModuleList(pooling() if place.pooled_from else nn.Identity() for place in places)
        self.cells = nn.ModuleList(MultiPathCell(place, positions, bias, norm) for place in places)
        self.head = skeleton.head_block().build()
        initialise(self)

    def stages(self, path: Path) -> list[Stage]:
        """Every cell runs by the whole path, so that two paths share the stem alone."""
        key, active = tuple(path), active_positions(path)
        cells = [(pool, partial(cell, path=path, active=active)) for pool, cell in zip(self.pools, self.cells, strict=True)]
        return [Stage("stem", self.stem), *(Stage(key, run) for pair in cells for run in pair), Stage("head", self.head)]


def active_positions(path: Path) -> tuple[int, ...]:
    """The positions not wholly on `none`. A soft position counts as soon as any operation has weight, so that weights all on
    one option choose the same batch norm as that option alone."""
    active = tuple(i for i, choice in enumerate(path) if (choice if isinstance(choice, int) else bool(torch.any(choice[1:]))))
    if not active:
        raise BadInput("a path needs an operation in at least one position")
    return active
