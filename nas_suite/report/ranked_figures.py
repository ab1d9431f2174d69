"""The charts of a ranking: truth against scores, how tau settles with more networks, how regret falls with more choices."""

from collections.abc import Sequence
from dataclasses import replace

from markupsafe import escape

from nas_suite.errors import BadInput
from nas_suite.pipeline import bench
from nas_suite.report.chart import SAYS, Axis, Chart, Series
from nas_suite.report.figures import broken
from nas_suite.report.ranked import Judged, Ranked, metric
from nas_suite.report.words import Number, three
from nas_suite.words import plural

SCATTERED = 3  # estimators whose scores are drawn
FEW, MANY = 100, 500  # points up to which they are drawn full and large
GOLDEN = 0.618034  # steps of it fill an interval evenly
BASELINES = {"params": Axis("parameters", "count"), "macs": Axis("multiply-adds", "count"), "depth": Axis("depth", "whole")}


def charts(ranked: Ranked) -> list[Chart]:
    """All that there is to draw; the first one wide where the others would not pair."""
    scored = [e for e in ranked.judged if e.tau is not None and any(s is not None for s in e.drawn.get("scores") or ())]
    found = [scatter(ranked, e) for e in scored[:SCATTERED]] + settling(ranked) + falling(ranked)
    return [replace(found[0], wide=True), *found[1:]] if len(found) % 2 else found


def score_axis(e: Judged) -> Axis:
    if e.baseline:
        return BASELINES.get(e.name, Axis(e.name))
    if e.figures["kind"] == "column":
        return Axis(e.name, "percent" if of_shares(e.name) else "number")
    return Axis(e.name) if e.figures["kind"] == "proxy" else Axis("one-shot accuracy", "percent")


def of_shares(column: str) -> bool:
    """Whether a column `BENCH:METRIC` holds shares 0 … 1, such as accuracies; no where the benchmark is not at hand."""
    name, _, metric = column.partition(":")
    try:
        return bench(name).metric(metric).unit == "share"
    except BadInput:
        return False


def shown(ranked: Ranked, score: Number) -> Number:
    """A score as it was measured: where less of the metric is better, all are turned."""
    return ranked.sign * score


def scatter(ranked: Ranked, e: Judged) -> Chart:
    """The truth of each network against its score."""
    x, y = score_axis(e), Axis(metric(ranked.result, long=False), "percent" if ranked.share else "number")
    all_of = zip(e.drawn["scores"], ranked.drawn["truth"], ranked.drawn["archs"], strict=True)
    points = [(shown(ranked, score), ranked.sign * truth, arch) for score, truth, arch in all_of if score is not None]
    xs, ys = [a for a, _, _ in points], [b for _, b, _ in points]
    notes = ["<br>".join([*(str(escape(spoken(*of))) for of in ((x, a), (y, b))), *broken(arch)]) for a, b, arch in points]
    n, apart = ranked.result["n"], x.form == "whole"
    drawn = f"; drawn are {len(points):,} of them" if len(points) < n else ""
    tau = f"Tau {three(e.tau)} ({e.interval}) of {plural(n, 'network')}{drawn}"
    alt = f"{y.title} against {x.title}, the score of {e.name}. {tau}. {reach(y, ys)}; {reach(x, xs)}."
    about = tau + (f"; equal {x.title}s side by side." if apart else ".")
    size, faint = 8 if len(xs) <= FEW else 6 if len(xs) <= MANY else 4, len(xs) > FEW
    series = [Series("", aside(xs) if apart else xs, ys, "dots", e.colour, size=size, faint=faint, notes=notes)]
    key, title = f"score-{ranked.run.name}-{ranked.judged.index(e)}", f"Truth against {e.name}"
    return Chart(key, title, x, y, series, alt, about)


def aside(whole: Sequence[Number]) -> list[Number]:
    """Whole numbers moved a little, so that points at the same one are seen apart."""
    return [value + 0.6 * (at * GOLDEN % 1 - 0.5) for at, value in enumerate(whole)]


def spoken(axis: Axis, value: Number) -> str:
    return f"{axis.title} {SAYS[axis.form](value)}"


def reach(axis: Axis, values: Sequence[Number]) -> str:
    """From where to where values go, in words."""
    return f"{spoken(axis, min(values))} to {SAYS[axis.form](max(values))}"


def settling(ranked: Ranked) -> list[Chart]:
    """tau by the number of networks: mean and spread over random subsets, and the noise ceiling."""
    lines = [settled(e) for e in ranked.judged if e.drawn.get("growing") is not None and e.tau is not None]
    if not lines:
        return []
    ceiling, sizes = ranked.result["ceiling"], [x for line in lines for x in line.x]
    said = [f"{line.name}: {three(line.y[0])} for {line.x[0]:,}, {three(line.y[-1])} for {line.x[-1]:,}." for line in lines]
    series = list(lines)
    if ceiling is not None:
        said.append(f"Noise ceiling: {three(ceiling)}.")
        ends = [min(sizes), max(sizes)]
        series.append(Series("noise ceiling", ends, [ceiling, ceiling], colour="grey", size=0, dashed=True))
    about = "Mean over random subsets of the networks, and the span of 95 % of them."
    x, y = Axis("networks", "whole", log=True), Axis("tau")
    alt = f"Tau by the number of networks, mean over random subsets. {' '.join(said)}"
    return [Chart(f"growing-{ranked.run.name}", "Tau by the number of networks", x, y, series, alt, about)]


def settled(e: Judged) -> Series:
    """Up to all networks, of which there is one subset."""
    tau = e.figures["tau"]
    points = [*e.drawn["growing"], (e.figures["n"], tau, tau, tau)]
    xs, means = [size for size, *_ in points], [mean for _, mean, _, _ in points]
    return Series(e.name, xs, means, colour=e.colour, band=[(low, high) for _, _, low, high in points])


def falling(ranked: Ranked) -> list[Chart]:
    """Regret by how many of the best scores are looked at."""
    unit = "percentage points" if ranked.share else ranked.result["unit"]
    scale = 100 if ranked.share else 1
    lines = [
        Series(
            e.name, [top for top, _ in e.drawn["regret"]], [scale * regret for _, regret in e.drawn["regret"]], colour=e.colour
        )
        for e in ranked.judged
        if e.drawn.get("regret")
    ]
    if not lines:
        return []
    title = f"Regret in {unit}" if unit else "Regret"
    alt = f"{title} by the number of networks looked at. {' '.join(map(course, lines))}"
    about = f"How far the best of the k best by score is {ranked.worse} the best of all."
    x, y = Axis("k, networks looked at", "whole", log=True), Axis("regret")
    return [Chart(f"regret-{ranked.run.name}", title, x, y, lines, alt, about)]


def course(line: Series) -> str:
    """How regret falls, in words."""
    none = next((x for x, y in zip(line.x, line.y, strict=True) if y == 0), None)
    end = f", none from {none:,} on" if none is not None and none > line.x[0] else ""
    return f"{line.name}: {line.y[0]:.3g} for {line.x[0]:,}{end}."
