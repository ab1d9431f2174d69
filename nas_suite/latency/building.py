"""A table is measured: block by block in shuffled order, a reference block between, within a budget of time."""

import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from nas_suite.cost import counts
from nas_suite.engine import Progress, silent
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.journal import STARTS, Journal
from nas_suite.latency.planning import Points
from nas_suite.latency.table import Curve, LatencyTable, Point
from nas_suite.latency.timer import Reading
from nas_suite.registry import SpaceNote
from nas_suite.space import Block

TimeBlock: TypeAlias = Callable[[Block, float], Reading]
"""The latency of a block, in at most so many seconds of repeats."""
MOST_SECONDS, LEAST_SECONDS = 0.5, 0.02  # of a point's repeats
CANDIDATES = 15


def measure(points: Points, time_block: TimeBlock, journal: Journal, budget: float | None, progress: Progress = silent) -> None:
    """Measures until all points are there, or the coarse grid is and `budget` seconds are spent; goes on where the journal
    stopped. `progress` is told points, or with a budget tenths of seconds, as many as its share of the coarse grid at most."""
    reference = reference_of(points)
    total = len(points.blocks) if budget is None else round(10 * budget) + 1
    coarse = {block.key for block in points.coarse}
    seconds = MOST_SECONDS
    if budget is not None:
        seconds = min(MOST_SECONDS, max(LEAST_SECONDS, budget / 2 / len(coarse)))

    def over() -> bool:
        return budget is not None and journal.spent >= budget and coarse <= journal.readings.keys()

    def done() -> int:
        if budget is None:
            return len(journal.readings)
        return int(min(10 * journal.spent, total * len(coarse & journal.readings.keys()) / len(coarse)))

    def look() -> None:
        journal.look(time_block(reference, MOST_SECONDS).ms, patient=not over())

    if journal.leg:  # of a process that was killed
        look()
    while len(journal.looks) < STARTS:
        look()
    while not over() and (leg := points.leg(journal.ms, spare=budget is not None)):
        for block in leg:
            journal.add(block.key, time_block(block, seconds))
            progress(min(total - 1, done()), total, {})
            if over():
                break
        look()
    progress(total, total, {})


def reference_of(points: Points) -> Block:
    """A block of middling size, the same each time."""
    some = random.Random(0).sample(points.blocks, min(CANDIDATES, len(points.blocks)))
    return sorted(some, key=lambda block: (counts(block).macs, block.key))[len(some) // 2]


def table_of(
    points: Points, journal: Journal, conditions: Conditions, space: SpaceNote, source: Mapping[str, Any]
) -> LatencyTable:
    """The table of what a journal holds."""
    found, measured = journal.readings, journal.ms
    families = {
        name: curve([(block.width, found[block.key]) for block in family if block.key in found])
        for name, family in points.families.items()
    }
    alone = {
        block.key: Point((reading := found[block.key]).ms, reading.spread_ms, reading.runs)
        for block in points.blocks
        if not block.family
    }
    errors = [error for error, _ in points.gaps(measured)]
    grid = {"measured": len(found), "of": len(points.blocks), "interpolation_error_ms": max(errors, default=0.0)}
    more = {**source, "points": grid, "seconds": round(journal.spent, 1)}
    noise = journal.noise(reference_of(points).key)
    now = datetime.now().isoformat(timespec="seconds")
    return LatencyTable(conditions, now, families, alone, space, None, "iqr", noise, source=more)


def curve(readings: list[tuple[int, Reading]]) -> Curve:
    return Curve(
        tuple(width for width, _ in readings),
        tuple(reading.ms for _, reading in readings),
        tuple(reading.spread_ms for _, reading in readings),
        tuple(reading.runs for _, reading in readings),
    )
