"""The charts of a search for a latency: the way to the target, how decided the choices are, and how deep the stages."""

import math
from collections.abc import Sequence
from typing import Any

from nas_suite.pipeline.deriving import CLOSE
from nas_suite.report.chart import PALETTE, Axis, Chart, Series
from nas_suite.report.derived import Derived, steps
from nas_suite.report.figures import EPOCH
from nas_suite.report.words import Number, percent

LEAST = 1e-6  # of the target: nearer is not told apart
MS = Axis("ms")


def charts(found: Derived) -> list[Chart]:
    """All that there is to draw."""
    return [*by_epoch(found), *by_round(found), *scaling(found), *entropies(found), *depths(found)]


def target(found: Derived, xs: Sequence[Number]) -> Series:
    """The line of the target with its band."""
    ends, ms = [min(xs), max(xs)], found.target
    band = [(ms * (1 - CLOSE), ms * (1 + CLOSE))] * 2
    return Series(f"target ± {100 * CLOSE:g} %", ends, [ms, ms], colour="green", size=0, dashed=True, band=band)


def line(name: str, key: str, lines: Sequence[dict[str, Any]], colour: str, dashed: bool = False) -> list[Series]:
    """A figure of the log by epoch; nothing where no epoch has it."""
    known = [(one["epoch"] + 1, one[key]) for one in lines if one.get(key) is not None]
    return [Series(name, [x for x, _ in known], [y for _, y in known], colour=colour, dashed=dashed)] if known else []


def by_epoch(found: Derived) -> list[Chart]:
    """The latency of the likeliest network by the table, before and after its widths were scaled, and what is expected of all
    operations mixed."""
    if not found.choosing:
        return []
    series = [
        *line("expected of the mixture", "expected_ms", found.choosing, "orange"),
        *line("likeliest network", "unscaled", found.choosing, "grey", dashed=True),
        *line("scaled", "latency", found.choosing, "blue"),
    ]
    series.append(target(found, [x for s in series for x in s.x]))
    last = found.last
    alt = f"Latency by epoch, of a target of {found.target:g} ms: after epoch {last['epoch'] + 1} {last['latency']:.3f} ms."
    about = "By the table. The choices are pulled towards the target, scaling the widths brings the network to it."
    return [Chart(f"latency-{found.run.name}", "Latency by epoch", EPOCH, MS, series, alt, about, wide=not found.rounds)]


def by_round(found: Derived) -> list[Chart]:
    """Predicted and measured latency of each round."""
    if not found.rounds:
        return []
    xs = list(range(1, len(found.rounds) + 1))
    predicted, measured = ([one[key] for one in found.rounds] for key in ("predicted_ms", "measured_ms"))
    spreads = [one.get("spread_ms", 0.0) for one in found.rounds]
    band = [(ms - spread / 2, ms + spread / 2) for ms, spread in zip(measured, spreads, strict=True)]
    notes = [f"measured {ms:.3f} ms<br>spread {spread:.3f} ms" for ms, spread in zip(measured, spreads, strict=True)]
    series = [
        Series("predicted", xs, predicted, colour="blue", notes=[f"predicted {ms:.3f} ms" for ms in predicted]),
        Series("measured", xs, measured, colour="orange", band=band, notes=notes),
        target(found, [min(xs) - 0.3, max(xs) + 0.3]),
    ]
    alt = f"Latency by round, target {found.target:g} ms. " + " ".join(
        f"Round {x}: predicted {p:.3f}, measured {m:.3f} ms." for x, p, m in zip(xs, predicted, measured, strict=True)
    )
    about = "The whole network on the table’s device, with the middle half of its runs; each round corrects the table."
    return [Chart(f"rounds-{found.run.name}", "Predicted and measured", Axis("round", "whole"), MS, series, alt, about)]


def scaling(found: Derived) -> list[Chart]:
    """How far each step of the last epoch's elasticity-scaling is from the target."""
    taken = steps(found)
    if len(taken) < 2:
        return []
    gaps = [max(LEAST, abs(ms / found.target - 1)) for _, ms in taken]
    notes = [f"{name}<br>{ms:.4f} ms, {found.apart(ms)} the target" for name, ms in taken]
    alt = "Distance to the target by step of the elasticity-scaling: " + "; ".join(
        f"{name} {found.apart(ms)}" for name, ms in taken
    )
    x, y = Axis("step", "whole"), Axis("from the target", "percent", log=True)
    about = "Of the last epoch: all stages are scaled, then the later ones up again, ever fewer; at the end to measured widths."
    series = [Series("", list(range(len(taken))), gaps, notes=notes)]
    return [Chart(f"scaling-{found.run.name}", "Elasticity-scaling, step by step", x, y, series, alt + ".", about)]


def undecided(shares: Sequence[Number]) -> Number:
    """The entropy of a choice as a share of the most it can be."""
    return sum(-p * math.log(p) for p in shares if p > 0) / math.log(len(shares))


def entropies(found: Derived) -> list[Chart]:
    """How undecided operations and depths are, on average, with the most and the least decided."""
    if not found.choosing or "operations" not in found.last:
        return []
    series = []
    for name, key, colour in (("operations, α", "operations", "blue"), ("depths, β", "depths", "orange")):
        held = [[undecided(shares) for shares in one[key] if len(shares) > 1] for one in found.choosing]
        if held[0]:
            xs = [one["epoch"] + 1 for one in found.choosing]
            band = [(min(values), max(values)) for values in held]
            series.append(Series(name, xs, [sum(v) / len(v) for v in held], colour=colour, band=band))
    alt = "Entropy as a share of the most there can be. " + " ".join(
        f"{s.name}: {percent(s.y[0])} after epoch {s.x[0]}, {percent(s.y[-1])} after epoch {s.x[-1]}." for s in series
    )
    about = "Entropy, 100 % where all are as likely; the mean, and from the most to the least decided."
    y = Axis("entropy", "percent")
    return [Chart(f"entropy-{found.run.name}", "How undecided the choices are", EPOCH, y, series, alt, about)] if series else []


def depths(found: Derived) -> list[Chart]:
    """The blocks that each stage is expected to run."""
    xs = [one["epoch"] + 1 for one in found.choosing]
    series = []
    for stage, last in enumerate(found.last.get("depths", ())):
        if len(last) > 1:
            ys = [sum((k + 1) * p for k, p in enumerate(one["depths"][stage])) for one in found.choosing]
            series.append(Series(f"stage{stage}", xs, ys, colour=PALETTE[stage % len(PALETTE)]))
    if not series:
        return []
    alt = "Expected blocks by epoch. " + " ".join(f"{s.name}: {s.y[0]:.2f} to {s.y[-1]:.2f}." for s in series)
    about = "By β: how many blocks of a stage are expected to run."
    return [Chart(f"depth-{found.run.name}", "Depth of the stages", EPOCH, Axis("blocks"), series, alt, about)]
