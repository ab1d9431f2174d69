"""The charts of a comparison: regret over evaluations, mean rank, and how many searches have found the optimum."""

from collections.abc import Sequence
from dataclasses import replace

from nas_suite.report.chart import Axis, Chart, Series
from nas_suite.report.compared import Compared, Contender
from nas_suite.report.words import Number, percent
from nas_suite.words import plural

LEAST = 0.01  # percentage points: less regret is drawn here, for an axis of ratios has no zero
EVALUATIONS = Axis("evaluations", "whole")


def charts(found: Compared) -> list[Chart]:
    """All that there is to draw: regret across the page above the others, beside one alone."""
    known = [c for c in found.contenders if c.drawn]
    if not known:
        return []
    regret, reached = falling(found, known), reaching(found, known)
    return [replace(regret, wide=True), placing(found, known), reached] if len(known) > 1 else [regret, reached]


def curve(c: Contender, ys: Sequence[Number], band: Sequence[tuple[Number, Number]] = ()) -> Series:
    """A value after each evaluation."""
    return Series(c.name, range(1, len(ys) + 1), ys, colour=c.colour, size=0, dashed=c.dashed, band=band)


def falling(found: Compared, known: Sequence[Contender]) -> Chart:
    """Mean regret over evaluations with its interval."""
    series, said = [], []
    for c in known:
        low, high = (c.drawn[name] for name in ("low", "high"))
        band = [(drawn(a), drawn(b)) for a, b in zip(low, high, strict=True)] if None not in (*low, *high) else []
        series.append(curve(c, [drawn(value) for value in c.drawn["mean"]], band))
        said.append(f"{c.name}: {100 * c.drawn['mean'][0]:.3g} after 1, {100 * c.last['mean']:.3g} after {c.budget:,}.")
    below = any(value < LEAST / 100 for c in known for value in c.drawn["mean"])
    about = "Mean over seeds, and its 95 % bootstrap interval." if series[0].band else "One seed."
    about += f" What is below {LEAST} is drawn at {LEAST}." if below else ""
    alt = f"Regret in percentage points by the number of evaluations. {' '.join(said)}"
    y = Axis("regret", log=True)
    return Chart(f"contest-{found.run.name}", "Regret in percentage points", EVALUATIONS, y, series, alt, about)


def drawn(regret: Number) -> Number:
    """A regret in percentage points, as an axis of ratios can show it."""
    return max(LEAST, 100 * regret)


def placing(found: Compared, known: Sequence[Contender]) -> Chart:
    """Mean rank over evaluations with its interval."""

    def band(c: Contender) -> Sequence[tuple[Number, Number]]:
        low, high = (c.drawn.get(name, [None]) for name in ("rank_low", "rank_high"))
        return [] if None in (*low, *high) else list(zip(low, high, strict=True))

    ranked = [c for c in known if None not in c.drawn["rank"]]
    said = " ".join(f"{c.name}: {c.drawn['rank'][-1]:.2f} after {c.budget:,}." for c in ranked)
    series = [curve(c, c.drawn["rank"], band(c)) for c in ranked]
    alt = f"Mean rank by regret, by the number of evaluations. {said}"
    spread = ", and its 95 % bootstrap interval" if any(one.band for one in series) else ""
    about = f"Mean over the seeds that all have{spread}; 1 is the best of {len(known)}, equals share theirs."
    return Chart(f"places-{found.run.name}", "Mean rank", EVALUATIONS, Axis("rank"), series, alt, about)


def reaching(found: Compared, known: Sequence[Contender]) -> Chart:
    """The share of searches that have found the optimum, over evaluations."""
    series, said = [], []
    for c in known:
        reached = c.drawn["reached"]
        shares = [sum(n is not None and n <= at for n in reached) / len(reached) for at in range(1, c.budget + 1)]
        series.append(curve(c, shares))
        said.append(f"{c.name}: {percent(shares[-1])} of {plural(len(reached), 'search', 'searches')} after {c.budget:,}.")
    alt = f"Searches that have found the optimum, by the number of evaluations. {' '.join(said)}"
    about = "The optimum is the best network by what the searchers are told."
    y = Axis("searches", "percent")
    return Chart(f"reached-{found.run.name}", "Optimum found", EVALUATIONS, y, series, alt, about)
