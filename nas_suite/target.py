"""A latency that networks of an elastic space are to meet: what they reach, the choice that can, and the widths that do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int

from nas_suite.cost import Cost
from nas_suite.errors import Unreachable
from nas_suite.latency.reach import by_stages
from nas_suite.scaling import Elastic, Scaled, scaled
from nas_suite.space import Arch, ElasticSpace

Widths: TypeAlias = tuple[tuple[int, ...], ...]
"""For each block the inner channels of each operation."""


class Choice(NamedTuple):
    """An operation for each block, and how many blocks of each stage run, less one."""

    operations: tuple[int, ...]
    depths: tuple[int, ...]


@dataclass(frozen=True)
class Beliefs:
    """How good each operation of each block and each depth of each stage is held to be, as logarithms of probabilities."""

    operations: Sequence[Float[np.ndarray, " _"]]
    depths: Sequence[Float[np.ndarray, " _"]]


@dataclass(frozen=True)
class Target:
    """At most `ms` by `cost`, and as near below as widths at steps of the space's `width_step` come.

    Costs must not fall as a block grows wider.
    """

    cost: Cost
    ms: float
    priced: dict[tuple[int, int], tuple[Int[np.ndarray, " w"], Float[np.ndarray, " w"]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def space(self) -> ElasticSpace:
        return self.cost.space  # type: ignore[return-value]

    @cached_property
    def start(self) -> Widths:
        """The widths with which a search begins."""
        s = self.space
        return tuple(tuple(s.start(at, op) for op in range(len(s.operations))) for at in range(s.stages[-1].stop))

    @cached_property
    def constant(self) -> float:
        """Ms of all that every network runs."""
        offered = [torch.zeros(len(v.options), dtype=torch.float64) for v in self.space.variables[: len(self.start)]]
        return float(self.cost(self.space.join(offered, [len(stage) - 1 for stage in self.space.stages], self.start)))

    def offered(self, at: int) -> range:
        """The operations of a block."""
        return range(len(self.space.variables[at].options))

    def depths(self, stage: int) -> list[int]:
        """How many blocks of a stage may run, less one."""
        return [blocks - 1 for blocks in self.space.variables[len(self.start) + stage].options]

    def curve(self, at: int, operation: int) -> tuple[Int[np.ndarray, " w"], Float[np.ndarray, " w"]]:
        """The widths that a search looks at, and ms at each; where an operation has none, one width 0."""
        if (at, operation) not in self.priced:
            widths = self.space.grid(at, operation) or [0]
            blocks = [self.space.option(at, operation, width) for width in widths]
            self.priced[at, operation] = (
                np.array(widths),
                np.array([self.cost.of(b) if b else 0.0 for b in blocks], dtype=float),
            )
        return self.priced[at, operation]

    def ends(self, at: int, operation: int) -> tuple[float, float]:
        """Ms of an operation at its least and at its most width."""
        ms = self.curve(at, operation)[1]
        return float(ms[0]), float(ms[-1])

    @cached_property
    def span(self) -> tuple[float, float]:
        """The least and the most ms that a network of the space takes."""
        return by_stages(self.cost, self.space)

    def check(self) -> None:
        """Unreachable where the target lies outside of what the space's networks take."""
        low, high = self.span
        if not low <= self.ms <= high:
            raise Unreachable(
                f"no network of this space has a latency of {self.ms:g} ms: they take {low:.2f} to {high:.2f} ms; "
                "name a target within, or another table or space"
            )

    def running(self, choice: Choice) -> Iterator[tuple[int, int, int]]:
        """Stage, block and operation of each block that runs."""
        for number, (stage, depth) in enumerate(zip(self.space.stages, choice.depths, strict=True)):
            for at in stage[: depth + 1]:
                yield number, at, choice.operations[at]

    def reach(self, choice: Choice) -> tuple[float, float]:
        """The least and the most ms that a choice takes, over all widths."""
        ends = [self.ends(at, operation) for _, at, operation in self.running(choice)]
        return self.constant + sum(low for low, _ in ends), self.constant + sum(high for _, high in ends)

    def miss(self, choice: Choice) -> float:
        """How many ms the target lies outside of what a choice reaches."""
        low, high = self.reach(choice)
        return max(0.0, low - self.ms, self.ms - high)

    def arch(self, choice: Choice, widths: Widths) -> Arch:
        """The network, in its one spelling."""
        path: Arch = tuple(self.space.join(choice.operations, choice.depths, widths))  # type: ignore[arg-type]
        return self.space.canonical(path) or path

    def scaled(self, choice: Choice, widths: Widths) -> tuple[Widths, Scaled]:
        """`widths` with those of the blocks that run changed to meet the target. A choice that does not reach it gets its least
        widths, or its most, whichever is nearer (the official code saturates so)."""
        running = list(self.running(choice))
        blocks = [(stage, at, op) for stage, at, op in running if self.space.widths(at, op)]
        low, high = self.reach(choice)
        if self.miss(choice) or not blocks:
            end, ms = (0, low) if low > self.ms else (-1, high)
            found = Scaled(tuple(int(self.curve(at, op)[0][end]) for _, at, op in blocks), (ms,))
        else:
            elastic = [Elastic(stage, widths[at][op], *self.curve(at, op)) for stage, at, op in blocks]
            fixed = sum(self.ends(at, op)[0] for _, at, op in running if not self.space.widths(at, op))
            found = scaled(elastic, self.ms, self.constant + fixed)
        return with_widths(widths, {(at, op): w for (_, at, op), w in zip(blocks, found.widths, strict=True)}), found

    def likeliest(self, beliefs: Beliefs) -> Choice:
        """What is held to be best, block by block and stage by stage, whatever it costs."""
        depths = (self.depths(s)[int(np.argmax(found))] for s, found in enumerate(beliefs.depths))
        return Choice(tuple(int(np.argmax(found)) for found in beliefs.operations), tuple(depths))

    def nearest(self, beliefs: Beliefs) -> Choice:
        """The likeliest choice, changed one decision at a time until it reaches the target, each time the one that costs least
        probability (in logarithms) for each ms that it brings nearer. Unreachable where that leads nowhere."""
        choice = self.likeliest(beliefs)
        while miss := self.miss(choice):
            prices = {
                other: loss / (miss - left)
                for other, loss in self.changes(choice, beliefs)
                if (left := self.miss(other)) < miss
            }
            if not prices:
                low, high = self.reach(choice)
                raise Unreachable(f"no network near the one found has {self.ms:g} ms: it takes {low:.2f} to {high:.2f} ms")
            choice = min(prices, key=lambda other: prices[other])
        return choice

    def changes(self, choice: Choice, beliefs: Beliefs) -> Iterator[tuple[Choice, float]]:
        """Choices that differ in one operation that runs or in one depth, and what that loses of the logarithm."""
        operations, depths = choice
        for _, at, operation in self.running(choice):
            held = beliefs.operations[at]
            for other in self.offered(at):
                if other != operation:
                    yield Choice((*operations[:at], other, *operations[at + 1 :]), depths), float(held[operation] - held[other])
        for stage, depth in enumerate(depths):
            there, held = self.depths(stage), beliefs.depths[stage]
            for k, other in enumerate(there):
                if other != depth:
                    changed = (*depths[:stage], other, *depths[stage + 1 :])
                    yield Choice(operations, changed), float(held[there.index(depth)] - held[k])


def with_widths(widths: Widths, changed: dict[tuple[int, int], int]) -> Widths:
    return tuple(tuple(changed.get((at, op), w) for op, w in enumerate(row)) for at, row in enumerate(widths))
