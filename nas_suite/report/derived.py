"""A search for a latency, as a report reads it: what was found for which target, in words and as tables."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from nas_suite.errors import BadInput
from nas_suite.latency.table import LatencyTable
from nas_suite.pipeline.deriving import CLOSE
from nas_suite.pipeline.setting import table_of
from nas_suite.report.story import space_of
from nas_suite.report.tables import ArchRow, Archs, Table
from nas_suite.report.words import Number, listed, percent
from nas_suite.run import Run
from nas_suite.space import ElasticSpace
from nas_suite.words import plural

MET = 0.02  # of the target: a network measured within it is said to meet it
NAMED = 6  # operations that are named


class Derived:
    """A run of a method that derives, read once: its epochs, those after the warm-up, and what it came to."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.log = run.epochs()
        self.choosing = [line for line in self.log if "latency" in line]
        self.result: dict[str, Any] = run.record.get("result") or {}
        self.target = float(run.record["plan"]["settings"]["method"]["latency"])
        self.rounds: list[dict[str, Any]] = self.result.get("rounds", [])

    @cached_property
    def space(self) -> ElasticSpace | None:
        """The space as networks are deployed; None where it is not at hand or has changed."""
        found = space_of(self.run)
        return found if isinstance(found, ElasticSpace) else None

    @property
    def last(self) -> dict[str, Any]:
        """What the last epoch wrote down; empty before the first after the warm-up."""
        return self.choosing[-1] if self.choosing else {}

    @cached_property
    def table(self) -> LatencyTable | None:
        """The latency table; None where it is gone."""
        try:
            return table_of(self.run)
        except (BadInput, OSError):
            return None

    @cached_property
    def device(self) -> str:
        """Whose latencies these are, and under which conditions; nothing where that is not known."""
        if self.table is None:
            return ""
        under = self.table.conditions
        about = [f"batch {under.batch}" if under.batch else "", plural(under.threads, "thread") if under.threads else ""]
        about += [under.dtype or "", f"{under.resolution} px" if under.resolution else ""]
        return f"{under.device} ({', '.join(filter(None, about))})"

    @property
    def nearest(self) -> dict[str, Any] | None:
        """The round whose network was measured nearest to the target."""
        return min(self.rounds, key=lambda one: abs(one["measured_ms"] - self.target), default=None)

    def apart(self, ms: Number) -> str:
        """How far a latency is from the target, in words."""
        share = ms / self.target - 1
        return f"{100 * abs(share):.2g} % {'above' if share > 0 else 'below'}" if abs(share) >= 5e-6 else "exactly there"

    def places(self) -> Iterator[tuple[int, int, str]]:
        """Of each block its number, its stage and its name."""
        if self.space:
            for stage, blocks in enumerate(self.space.stages):
                yield from ((at, stage, f"stage{stage}.{at - blocks.start}") for at in blocks)


def title(found: Derived, of: int) -> str:
    return "The search for a latency" + (f" {found.run.name}" if of > 1 else "")


def lede(found: Derived) -> str:
    """Target, device, and how near it the network is, by the table and measured."""
    said = [f"A network that takes {found.target:g} ms" + (f" on {found.device}." if found.device else ".")]
    result = found.result
    if not result:
        ahead = f"; the network of the last epoch takes {found.last['latency']:.3f} ms by the table" if found.choosing else ""
        said.append(f"{plural(len(found.log), 'epoch')} so far, {len(found.choosing):,} of them after the warm-up{ahead}.")
        return " ".join(said)
    if found.nearest is None:
        predicted = result["predicted_ms"]
        said.append(f"The one found takes {predicted:.3f} ms by the table, {found.apart(predicted)} the target.")
        return " ".join([*said, f"It was not measured: {result['unmeasured']}."])
    ms, spread = found.nearest["measured_ms"], found.nearest.get("spread_ms", 0.0)
    said.append(f"The one found was measured to take {ms:.3f} ms, {found.apart(ms)} the target.")
    if abs(ms / found.target - 1) > max(MET, spread / ms):
        said.append(
            f"That is more than 2 % and than the spread of its own runs ({percent(spread / ms)}): the target is not met."
        )
    total = result.get("table_ms", result["predicted_ms"])  # runs of before have one of them
    said.append(f"Its blocks add up to {total:.3f} ms in the table, which does not know of the measurements.")
    return " ".join(said)


def remarks(found: Derived) -> list[str]:
    """What a reader should know before believing the choice: operations that starved, targets out of reach, the loop."""
    said = []
    noise = found.table.noise if found.table else None
    if noise and noise.noisy:
        said.append(f"The table is noisy and not to be believed: {'; '.join(noise.reasons)}.")
    if starved := found.last.get("starved"):
        of = sum(map(len, found.last["trained"]))
        more = f" and {len(starved) - NAMED} more" if len(starved) > NAMED else ""
        said.append(
            f"{len(starved)} of {of} operations starved, trained far less than an equal share: "
            f"{', '.join(starved[:NAMED])}{more}."
        )
    beyond = [line["epoch"] + 1 for line in found.choosing if line.get("out_of_reach")]
    if beyond:
        said.append(
            f"After {plural(len(beyond), 'epoch')} of {len(found.choosing)} the likeliest operations could not meet the "
            f"target at any width; the last of these was epoch {beyond[-1]}."
        )
    if changed := unlikeliest(found):
        said.append(f"To meet the target, the network has {changed} other than the likeliest.")
    if len(found.rounds) > 1:
        ms = found.rounds[0]["measured_ms"]
        said.append(
            f"The first network measured {ms:.3f} ms, {found.apart(ms)} the target. After each measurement the table is "
            "corrected by it, and operations, depths and widths are fitted again, until the network is within "
            f"{100 * CLOSE:g} % of the target, five times at most."
        )
    return said


def split(found: Derived) -> tuple[Sequence[int], Sequence[int], Sequence[Sequence[int]]] | None:
    """Operations, depths and widths of the network that was found, or of that of the last epoch so far."""
    if found.space is None or not (arch := chosen(found)):
        return None
    try:
        return found.space.split(found.space.parse(arch))
    except BadInput:
        return None


def running(found: Derived, depths: Sequence[int]) -> set[int]:
    """The blocks that run at these depths."""
    stages = found.space.stages if found.space else ()
    return {at for blocks, depth in zip(stages, depths, strict=True) for at in blocks[: depth + 1]}


def top(shares: Sequence[Number]) -> int:
    """The place of the largest."""
    return max(range(len(shares)), key=lambda k: shares[k])


def unlikeliest(found: Derived) -> str:
    """How many operations and depths of the network others are likelier than; nothing where none are."""
    parts, held = split(found), found.last
    if parts is None or "operations" not in held:
        return ""
    operations = sum(parts[0][at] != top(held["operations"][at]) for at in running(found, parts[1]))
    depths = sum(len(p) > 1 and depth != top(p) for p, depth in zip(held["depths"], parts[1], strict=True))
    counted = ((operations, "operation"), (depths, "depth"))
    return listed([plural(n, thing) for n, thing in counted if n])


def rounds(found: Derived) -> Archs | None:
    """The measurements of the closed loop; None where there was none."""
    rows = []
    for one in found.rounds:
        spread = one.get("spread_ms", 0.0)
        values = (f"{one['predicted_ms']:.3f} ms", f"{one['measured_ms']:.3f} ms", f"{spread:.3f} ms")
        marks = ["nearest"] if one is found.nearest and len(found.rounds) > 1 else []
        rows.append(ArchRow((*values, found.apart(one["measured_ms"])), one["arch"], marks))
    columns = ("predicted", "measured", "spread", "from the target")
    return Archs("Measured, round by round", "time", columns, rows) if rows else None


def epochs(found: Derived) -> Table | None:
    """Latencies and entropies by epoch after the warm-up."""
    rows = []
    for line in found.choosing:
        shown = (line.get("expected_ms"), line.get("unscaled"), line["latency"])
        entropies = (f"{line[name]:.3f}" for name in ("operation_entropy", "depth_entropy"))
        values = ("–" if ms is None or not math.isfinite(ms) else f"{ms:.3f}" for ms in shown)
        rows.append((str(line["epoch"] + 1), *values, *entropies, str(len(line["starved"])), line["network"]))
    columns = ("epoch", "expected ms", "before scaling", "after", "entropy of α, nats", "of β", "starved", "network")
    return Table(f"Latency and choices of {found.run.name}", columns, rows) if rows else None


def steps(found: Derived) -> list[tuple[str, Number]]:
    """The elasticity trace of the last epoch: what each step changed, and the ms it came to."""
    trace: Sequence[Number] = found.last.get("trace") or ()
    if not trace:
        return []
    count = len(found.last["depths"])
    begun = found.last.get("unscaled")
    whole = "all stages shrink" if begun is not None and begun > found.target else "all stages expand"
    names = [whole, *(f"stages {first} to {count - 1} expand" for first in range(1, count - 1))]
    names += [f"stage {count - 1} expands", "widths go to their grid"]
    if len(trace) == 1:
        names = [f"{whole} to the end of their reach"]
    return [*([("as the epoch began", begun)] if begun is not None else []), *zip(names, trace, strict=False)]


def trace(found: Derived) -> Table | None:
    """The trace in numbers."""
    rows = [(name, f"{ms:.4f}", found.apart(ms)) for name, ms in steps(found)]
    return Table("Elasticity-scaling of the last epoch", ("step", "ms by the table", "from the target"), rows) if rows else None


def chosen(found: Derived) -> str:
    """The network that was found, or that of the last epoch so far, as text."""
    return found.result.get("arch") or found.last.get("network", "")
