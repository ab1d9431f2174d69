"""The least and the most that a network of a space can cost, exactly."""

import itertools
import random
from collections.abc import Iterator

import torch

from nas_suite.cost import Cost
from nas_suite.space import Block, ElasticSpace

MOST = 20_000
"""Spellings up to which networks are gone through one by one."""


def reachable(cost: Cost) -> tuple[float, float] | None:
    """The least and the most that a network costs; None where it is not known how to find them.

    Of an elastic space stage by stage, of one whose decisions add up decision by decision, of a small one network by network.
    In an elastic space a block's cost must not fall with its width.
    """
    if isinstance(cost.space, ElasticSpace):
        return by_stages(cost, cost.space)
    return by_decisions(cost) or one_by_one(cost)


def by_stages(cost: Cost, space: ElasticSpace) -> tuple[float, float]:
    arch = space.sample(random.Random(0))
    low = high = cost.total(arch) - sum(cost.of(block) for block in chosen(space, arch))
    blocks = space.stages[-1].stop
    for stage, depths in zip(space.stages, space.variables[blocks:], strict=False):
        ends = [extremes(cost, space, at) for at in stage]
        least, most = (list(itertools.accumulate(some)) for some in zip(*ends, strict=True))
        low += min(least[depth - 1] for depth in depths.options)
        high += max(most[depth - 1] for depth in depths.options)
    return low, high


def chosen(space: ElasticSpace, arch: tuple[int, ...]) -> Iterator[Block]:
    """The blocks of the stages that an architecture runs."""
    operations, depths, widths = space.split(arch)
    for stage, depth in zip(space.stages, depths, strict=True):
        for at in stage[: depth + 1]:
            block = space.option(at, operations[at], widths[at][operations[at]])
            if block is not None:
                yield block


def extremes(cost: Cost, space: ElasticSpace, at: int) -> tuple[float, float]:
    """The least and the most that a block costs: each operation that it is offered, at its least and its greatest width."""
    options = [
        space.option(at, operation, width)
        for operation in range(len(space.variables[at].options))
        for width in {*space.widths(at, operation)[:1], *space.widths(at, operation)[-1:]} or {0}
    ]
    costs = [cost.of(block) if block else 0.0 for block in options]
    return min(costs), max(costs)


def by_decisions(cost: Cost) -> tuple[float, float] | None:
    """Where every spelling is a network of its own and the cost is a sum over decisions: that is where its gradient by the
    weights of a soft path, a polynomial, is the same at two random places."""
    space = cost.space
    if space.size() != space.spellings():
        return None
    generator = torch.Generator().manual_seed(0)
    slopes = []
    for _ in range(2):
        path = [torch.rand(len(v.options), generator=generator, dtype=torch.float64) for v in space.variables]
        total = cost([weights.requires_grad_() for weights in path])
        slopes.append(torch.autograd.grad(total, path, allow_unused=True, materialize_grads=True))
    first, last = slopes
    if not all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(first, last, strict=True)):
        return None
    rest = float(total.detach()) - sum(
        float((slope * weights.detach()).sum()) for slope, weights in zip(last, path, strict=True)
    )
    return rest + sum(float(slope.min()) for slope in last), rest + sum(float(slope.max()) for slope in last)


def one_by_one(cost: Cost) -> tuple[float, float] | None:
    if cost.space.spellings() > MOST:
        return None
    totals = [cost.total(arch) for arch in cost.space.everything()]
    return min(totals), max(totals)
