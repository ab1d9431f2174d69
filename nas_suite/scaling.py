"""Elasticity-scaling: the widths at which chosen blocks meet a latency target, by arithmetic on their latency curves alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from nas_suite.errors import Unreachable

CLOSE = 2e-4  # of the target: as near below it as widths on a grid are brought
ROUNDING = 1e-12  # of sums that are taken in another order
PATIENCE = 8  # exchanges of two widths; one is the rule


@dataclass(frozen=True)
class Elastic:
    """A chosen block: its stage, its inner channels, those that it may have, and its latency in ms at each of these, which
    never falls as they grow."""

    stage: int
    width: int
    widths: Int[np.ndarray, " w"]
    latency: Float[np.ndarray, " w"]

    def __post_init__(self) -> None:
        if not len(self.widths) or (np.diff(self.widths) < 1).any():
            raise ValueError(f"widths must ascend, got {self.widths.tolist()}")
        if (np.diff(self.latency) < 0).any():
            raise ValueError(
                f"a block takes less time where it is wider: {self.latency.round(4).tolist()} ms at {self.widths.tolist()}"
            )


@dataclass(frozen=True)
class Scaled:
    """A width for each block, and the latencies in ms after the global shrink or expand, after each later expand, and, where
    widths lie on a grid, after they were brought to it: the last one is that of the widths."""

    widths: tuple[int, ...]
    trace: tuple[float, ...]

    @property
    def latency(self) -> float:
        return self.trace[-1]


def reach(blocks: Sequence[Elastic], constant: float) -> tuple[float, float]:
    """The least and the most ms that these operations take, at their least and most widths; `constant` is all else's."""
    return constant + sum(float(b.latency[0]) for b in blocks), constant + sum(float(b.latency[-1]) for b in blocks)


def scaled(blocks: Sequence[Elastic], target: float, constant: float = 0.0) -> Scaled:
    """Widths whose latency, with `constant` for all that is not elastic, is at most `target` ms and near it.

    First the whole network shrinks or expands, then the stages after the first expand, then those after the second, and so
    on: widths change in proportion, by as much a step as each exceeds the narrowest, rounded (official code
    train_search.py: 261-307, 478-532; its widths are single channels). Where the widths lie on a grid, that is done between
    its points on straight lines; then each goes down to the grid, those that lost most go up again while there is room, and
    pairs are exchanged, the nearest first, until at most 0.02 % of the target is left. Unreachable where no widths do.
    """
    low, high = reach(blocks, constant)
    if not low * (1 - ROUNDING) <= target <= high * (1 + ROUNDING):
        raise Unreachable(
            f"these operations take {low:.2f} to {high:.2f} ms at any width they may have; {target:g} ms is outside"
        )
    prices = Prices(blocks, constant)
    widths = np.array([np.clip(b.width, b.widths[0], b.widths[-1]) for b in blocks])
    stage = np.array([b.stage for b in blocks])
    now = prices(widths)
    if now != target:
        widths = proportional(prices, widths, np.full(len(blocks), True), -1 if now > target else 1, target)
    trace = [prices(widths)]
    for first in range(1, int(stage.max()) + 1):
        widths = proportional(prices, widths, stage >= first, 1, target)
        trace.append(prices(widths))
    if any((np.diff(b.widths) > 1).any() for b in blocks):
        at = exchanged(blocks, *to_grid(blocks, widths, target - constant), CLOSE * target)
        widths = np.array([b.widths[i] for b, i in zip(blocks, at, strict=True)])
        trace.append(prices(widths))
    return Scaled(tuple(widths.tolist()), tuple(trace))


class Prices:
    """The latency of all blocks at any whole widths within their bounds, on straight lines between those of the grid."""

    def __init__(self, blocks: Sequence[Elastic], constant: float) -> None:
        self.least = np.array([b.widths[0] for b in blocks])
        self.most = np.array([b.widths[-1] for b in blocks])
        spans = self.most - self.least + 1
        self.first = np.cumsum(spans) - spans
        self.ms = np.concatenate([np.interp(np.arange(b.widths[0], b.widths[-1] + 1), b.widths, b.latency) for b in blocks])
        self.constant = constant

    def of(self, widths: Int[np.ndarray, "t b"]) -> Float[np.ndarray, " t"]:
        return self.constant + self.ms[self.first + widths - self.least].sum(-1)

    def __call__(self, widths: Int[np.ndarray, " b"]) -> float:
        return float(self.of(widths[None])[0])


def proportional(
    prices: Prices, widths: Int[np.ndarray, " b"], chosen: Bool[np.ndarray, " b"], sign: int, target: float
) -> Int[np.ndarray, " b"]:
    """`widths` with the chosen ones stepped down to the first state not above the target (sign -1), or up to the last that is
    not above it (+1). A step is one channel of the narrowest; all steps are priced at once."""
    if not chosen.any():
        return widths
    rates = np.where(chosen, np.rint(widths / widths[chosen].min()).astype(int), 0)
    room = prices.most - widths if sign > 0 else widths - prices.least
    steps = int(np.max(-(-room[chosen] // rates[chosen])))
    states = np.clip(widths + sign * rates * np.arange(steps + 1)[:, None], prices.least, prices.most)
    below = np.flatnonzero(prices.of(states) <= target * (1 + ROUNDING))
    if not len(below):
        return states[-1] if sign < 0 else widths
    return states[below[0] if sign < 0 else below[-1]]


def to_grid(blocks: Sequence[Elastic], widths: Int[np.ndarray, " b"], target: float) -> tuple[Int[np.ndarray, " b"], float]:
    """The place of each width on its grid, and the ms left below the target: rounded down, then up again one step, those first
    that lost most of a step, as far as that fits."""
    exact = np.array([np.interp(w, b.widths, np.arange(len(b.widths))) for b, w in zip(blocks, widths, strict=True)])
    at = exact.astype(int)
    left = target - sum(float(b.latency[i]) for b, i in zip(blocks, at, strict=True))
    for k in np.argsort(at - exact, kind="stable"):
        if exact[k] > at[k] and (more := float(blocks[k].latency[at[k] + 1] - blocks[k].latency[at[k]])) <= left:
            at[k] += 1
            left -= more
    return at, left


def exchanged(blocks: Sequence[Elastic], at: Int[np.ndarray, " b"], left: float, close: float) -> Int[np.ndarray, " b"]:
    """`at` with pairs of widths chosen anew until at most `close` ms are left, each time the pair that changes them least (in
    logarithms), or, where none comes so close, the one that leaves least. For every width of one block all others' widths
    are searched at once, on their curves lifted above each other."""
    sizes = np.array([len(b.widths) for b in blocks])
    first, owner = np.cumsum(sizes) - sizes, np.repeat(np.arange(len(blocks)), sizes)
    ms, width = np.concatenate([b.latency for b in blocks]), np.concatenate([b.widths for b in blocks])
    lift = 4.0 * (float(ms.sum()) + abs(left) + 1.0)
    lifted = ms + lift * owner
    at = at.copy()
    for _ in range(PATIENCE):
        if left <= close:
            break
        now = first + at
        budget = (left + ms[now][owner] - ms)[:, None] + ms[now]
        found = np.searchsorted(lifted, np.minimum(budget, lift / 2) + lift * np.arange(len(blocks)), "right") - 1
        apart = (found >= first) & (owner[:, None] != np.arange(len(blocks)))
        leaves = np.where(apart, budget - ms[found], np.inf)
        moves = np.abs(np.log(width / width[now][owner]))
        order = np.where(leaves <= close, moves[:, None] + moves[found], 1e3 + leaves)
        one, other = np.unravel_index(np.argmin(order), order.shape)
        if leaves[one, other] >= left:
            break
        left = float(leaves[one, other])
        at[owner[one]], at[other] = one - first[owner[one]], found[one, other] - first[other]
    return at
