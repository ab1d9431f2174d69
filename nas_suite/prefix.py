"""Sets of paths scored as a tree: what paths begin with in common runs once a batch, bit for bit as if each ran alone."""

import contextlib
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from nas_suite.data.batches import AnyBatch
from nas_suite.engine import Compute, Progress, silent
from nas_suite.space import Arch, Supernet

HELD = 2048  # bytes that one batch norm's statistics take besides their values
Statistics: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Of a batch norm: mean, variance, how many batches they are of."""
Row: TypeAlias = tuple[tuple[int, ...], Arch]
"""The keys of an architecture's stages, numbered, and the architecture."""
Found: TypeAlias = Callable[[Mapping[Arch, float]], None]
"""Told the accuracies of a part of a set as soon as they are known."""


def unheard(part: Mapping[Arch, float]) -> None:
    """A Found that does nothing."""


@runtime_checkable
class Rounds(Protocol):
    """Batches that can be gone through again and again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[AnyBatch]: ...


@dataclass(eq=False)
class Node:
    """A stage behind one beginning of a path, with the statistics that the batch norms in it have there."""

    run: Callable[[Tensor], Tensor]
    statistics: dict[nn.BatchNorm2d, Statistics] = field(default_factory=dict)


@dataclass(eq=False)
class Branch:
    """A path: as many stages as are `shared` with the branch before it, then `nodes`; `right` counts images."""

    arch: Arch
    shared: int
    nodes: list[Node]
    right: int = 0


@dataclass(eq=False)
class Tree:
    """A part of a set that grows on `supernet` while its first batch walks it. `bytes` is what all its statistics take;
    `tick` is called whenever a batch has passed a branch."""

    supernet: Supernet
    compute: Compute
    tick: Callable[[], None]
    branches: list[Branch] = field(default_factory=list)
    bytes: int = 0
    node: Node = field(default_factory=lambda: Node(nn.Identity()))

    def walk(self, x: Tensor, branches: Iterable[Branch]) -> Iterator[tuple[Branch, Tensor]]:
        """Every branch with what leaves it, depth first; features are kept along one path only."""
        features = [x]
        for branch in branches:
            del features[branch.shared + 1 :]
            for node in branch.nodes:
                self.node = node
                features.append(node.run(features[-1]))
            self.tick()
            yield branch, features[-1]

    def lend(self, norm: nn.BatchNorm2d, _: object) -> None:
        """The hook before a batch norm runs: it gets the node's statistics, in training mode fresh ones if there are none,
        else, where nothing was calibrated, keeps its own."""
        if norm.training and norm not in self.node.statistics:
            mean, variance, count = of(norm)
            self.node.statistics[norm] = torch.zeros_like(mean), torch.ones_like(variance), torch.zeros_like(count)
            self.bytes += HELD + mean.nbytes + variance.nbytes
        if norm in self.node.statistics:
            give(norm, self.node.statistics[norm])

    def grow(self, rows: Sequence[Row], calibration: Rounds, memory: int) -> None:
        """Takes rows from the first on, all or until their statistics exceed `memory`, and calibrates their batch norms."""
        self.supernet.train()
        with torch.no_grad(), self.compute.autocast():
            for x, _ in calibration:
                growing = not self.branches
                for branch, _ in self.walk(x, branches(self.supernet, rows) if growing else self.branches):
                    if growing:
                        self.branches.append(branch)
                        if self.bytes > memory:
                            break
        self.branches = self.branches or list(branches(self.supernet, rows))

    def accuracies(self, val: Rounds) -> dict[Arch, float]:
        """Share of images that each branch classifies rightly, 0 … 1."""
        self.supernet.eval()
        total = 0
        with torch.inference_mode(), self.compute.autocast():
            for x, y in val:
                for branch, logits in self.walk(x, self.branches):
                    branch.right += int((logits.argmax(1) == y).sum())
                total += len(y)
        return {branch.arch: branch.right / total if total else math.nan for branch in self.branches}


def accuracies(
    supernet: Supernet,
    compute: Compute,
    calibration: Rounds,
    val: Rounds,
    archs: Iterable[Arch],
    memory: int,
    progress: Progress = silent,
) -> Iterator[dict[Arch, float]]:
    """Of each architecture what `oneshot.Scoring.accuracy` gives, a part of the set at a time.

    A part is as many as have `memory` bytes of statistics. Each calibration batch walks its tree in training mode, and every
    node averages the statistics of its own batch norms; then each validation batch walks it with those. `progress` counts
    architectures' worth of work.
    """
    rows = sorted_by_stages(supernet, archs)
    walked, rounds = itertools.count(1), len(calibration) + len(val)
    done = 0
    while done < len(rows):
        with lending(Tree(supernet, compute, lambda: progress(next(walked) // rounds, len(rows), {}))) as tree:
            tree.grow(rows[done:], calibration, memory)
            found = tree.accuracies(val)
        done += len(found)
        yield found


@contextlib.contextmanager
def lending(tree: Tree) -> Iterator[Tree]:
    """Within: batch norms that track statistics run with those of the tree's nodes, cumulative ones. After: the supernet is as
    it was."""
    norms = [part for part in tree.supernet.modules() if isinstance(part, nn.BatchNorm2d) and part.track_running_stats]
    former = [(of(norm), norm.momentum) for norm in norms]
    training = tree.supernet.training
    hooks = [norm.register_forward_pre_hook(tree.lend) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = None
        yield tree
    finally:
        for hook in hooks:
            hook.remove()
        tree.supernet.train(training)
        for norm, (statistics, momentum) in zip(norms, former, strict=True):
            give(norm, statistics)
            norm.momentum = momentum


def of(norm: nn.BatchNorm2d) -> Statistics:
    return norm.running_mean, norm.running_var, norm.num_batches_tracked  # type: ignore[return-value]


def give(norm: nn.BatchNorm2d, statistics: Statistics) -> None:
    """Replaces a batch norm's statistics; nothing is copied."""
    norm.running_mean, norm.running_var, norm.num_batches_tracked = statistics


def sorted_by_stages(supernet: Supernet, archs: Iterable[Arch]) -> list[Row]:
    """Each architecture once, those that begin alike together."""
    numbers: dict[Hashable, int] = {}
    keys = {arch: tuple(stage.key for stage in supernet.stages(arch)) for arch in sorted(set(archs))}
    return sorted((tuple(numbers.setdefault(key, len(numbers)) for key in row), arch) for arch, row in keys.items())


def branches(supernet: Supernet, rows: Sequence[Row]) -> Iterator[Branch]:
    """The rows as branches of one tree."""
    for (before, _), (keys, arch) in itertools.pairwise([((), ()), *rows]):
        shared = sum(1 for _ in itertools.takewhile(bool, map(int.__eq__, before, keys)))
        yield Branch(arch, shared, [Node(stage.run) for stage in supernet.stages(arch)[shared:]])
