"""NAS-Bench-101's network: a stem, stacks of equal cells with pooling between them, a linear classifier."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.cells import OPERATIONS, CellGraph
from nas_suite.errors import suggest
from nas_suite.layers import GlobalPool, conv_block, conv_bn
from nas_suite.space import Block, Part, Sketch


def operation(name: str, channels: int) -> nn.Module:
    """What an interior vertex computes; shapes stay (nasbench base_ops.py)."""
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, 1, 1)
    if name not in OPERATIONS:
        raise ValueError(f"unknown cell operation {name!r}{suggest(name, OPERATIONS)}")
    return conv_bn(channels, channels, 3 if name == "conv3x3" else 1, act="relu")


def operation_block(name: str, channels: int, side: int) -> Block:
    """An interior vertex's operation by itself."""
    if name == "maxpool3x3":
        return Block(f"maxpool3_i{channels}_r{side}", (channels, side, side), partial(operation, name, channels))
    return conv_block(channels, channels, 3 if name == "conv3x3" else 1, 1, side, "relu")


def projection(c_in: int, c_out: int) -> nn.Module:
    """What stands on every edge that leaves the cell's input."""
    return conv_bn(c_in, c_out, act="relu")


class Cell(nn.Module):
    """One cell of a pruned graph (nasbench model_builder.py:161-280).

    An interior vertex applies its operation to the sum of its sources' outputs, each cut to the vertex's channels, and of the
    cell's input, projected. The output is the concatenation of its interior sources, plus the projected input where that
    edge exists.
    """

    def __init__(self, graph: CellGraph, c_in: int, c_out: int) -> None:
        super().__init__()
        self.last = graph.vertices - 1
        self.widths = graph.vertex_channels(c_in, c_out)
        self.sources = graph.sources
        projected = [v for v in range(1, graph.vertices) if 0 in self.sources[v]]
        self.projections = nn.ModuleDict({str(v): projection(c_in, self.widths[v]) for v in projected})
        self.operations = nn.ModuleList(operation(graph.ops[v], self.widths[v]) for v in range(1, self.last))

    def forward(self, x: Float[Tensor, "n c_in h w"]) -> Float[Tensor, "n c_out h w"]:
        outputs = [x]
        for vertex, run in enumerate(self.operations, start=1):
            width = self.widths[vertex]
            outputs.append(run(self.plus_input(x, vertex, [outputs[u][:, :width] for u in self.sources[vertex] if u])))
        feeding = [outputs[u] for u in self.sources[self.last] if u]
        return self.plus_input(x, self.last, [torch.cat(feeding, 1)] if feeding else [])

    def plus_input(self, x: Tensor, vertex: int, parts: list[Tensor]) -> Tensor:
        """The sum of what enters a vertex: `parts`, and the projected input if the vertex has that edge."""
        if 0 in self.sources[vertex]:
            parts = [*parts, self.projections[str(vertex)](x)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


@dataclass(frozen=True)
class Place:
    """Where a cell stands: its channels, the side of its features, and the side before the pooling that comes first, if any."""

    c_in: int
    c_out: int
    side: int
    pooled_from: int | None


@dataclass(frozen=True)
class Skeleton:
    """What stands around the cells: channels double and sides halve (rounded up) from stack to stack. The defaults are
    NAS-Bench-101's (nasbench config.py:25-33): 3 stacks of 3 cells, a stem of 128 channels, 32-px images, 10 classes."""

    stem: int = 128
    stacks: int = 3
    cells: int = 3
    image_size: int = 32
    channels: int = 3
    classes: int = 10

    def places(self) -> Iterator[Place]:
        c_in, side = self.stem, self.image_size
        for stack in range(self.stacks):
            before, side = side, -(-side // 2) if stack else side
            for cell in range(self.cells):
                yield Place(c_in, self.stem << stack, side, before if stack and not cell else None)
                c_in = self.stem << stack

    def stem_block(self) -> Block:
        return conv_block(self.channels, self.stem, 3, 1, self.image_size, "relu")

    def head_block(self) -> Block:
        *_, last = self.places()
        key = f"classify_i{last.c_out}_c{self.classes}_r{last.side}"
        return Block(key, (last.c_out, last.side, last.side), partial(classifier, last.c_out, self.classes))

    def sketch(self, cell: CellGraph, paths: int = 0) -> Sketch:
        """What a drawing shows of the network of a cell: its stacks, and the cell."""
        stem, head = self.stem_block().input, self.head_block().input
        sides = [(place.c_in, place.pooled_from or place.side) for place in [*self.places()][:: self.cells]]
        firsts = [(channels, side, side) for channels, side in sides]
        row = itertools.pairwise([*firsts, head])
        stacks = [Part(f"stack{at}", before, after, repeats=self.cells) for at, (before, after) in enumerate(row)]
        parts = (Part("stem", stem, firsts[0]), *stacks, Part("head", head, (self.classes, 1, 1)))
        return Sketch(parts, cell.ops, tuple((u, v) for u, targets in enumerate(cell.targets) for v in targets), paths)


def pooling() -> nn.Module:
    """2×2 max-pooling with stride 2 that keeps the last row and column of odd sides."""
    return nn.MaxPool2d(2, 2, ceil_mode=True)


def pool_block(channels: int, side: int) -> Block:
    """The pooling between stacks, of features of `side` pixels."""
    return Block(f"pool2_i{channels}_r{side}", (channels, side, side), pooling)


def classifier(c_in: int, classes: int) -> nn.Module:
    """Global average pool and linear layer."""
    return nn.Sequential(GlobalPool(), nn.Dropout(0.0), nn.Linear(c_in, classes))


class CellNetwork(nn.Sequential):
    """The stand-alone network of a cell, uninitialised: images (n, channels, h, w) to logits (n, classes)."""

    def __init__(self, graph: CellGraph, skeleton: Skeleton) -> None:
        layers = [skeleton.stem_block().build()]
        for place in skeleton.places():
            layers += [pooling()] if place.pooled_from else []
            layers.append(Cell(graph, place.c_in, place.c_out))
        super().__init__(*layers, skeleton.head_block().build())
