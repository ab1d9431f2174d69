"""Charts as still pictures: SVG for print and for readers without scripts."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from markupsafe import Markup, escape

from nas_suite.report.chart import SAYS, Axis, Chart, Series, decades, reach, side
from nas_suite.report.words import Number

LETTER = 6.6  # about the width of a letter, in units of the picture
MARKS = {
    "diamond": "M0,-1.25L1.25,0L0,1.25L-1.25,0Z",
    "triangle": "M0,-1.2L1.1,0.8L-1.1,0.8Z",
    "star": "M0,-1.5L.36,-.5L1.43,-.46L.58,.19L.88,1.21L0,.62L-.88,1.21L-.58,.19L-1.43,-.46L-.36,-.5Z",
}


@dataclass(frozen=True)
class Scale:
    """From values between `low` and `high` to places between `start` and `end`."""

    low: Number
    high: Number
    start: Number
    end: Number
    log: bool = False

    def __call__(self, value: Number) -> Number:
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def ticks(low: Number, high: Number, most: int, whole: bool = False) -> list[Number]:
    """Round values within a range, at steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def short(axis: Axis, values: Sequence[Number]) -> list[str]:
    """Tick labels: as values are written, without digits that none of them needs."""
    if axis.log and axis.form == "percent":
        return [f"{100 * value:.4g} %" for value in values]
    if axis.form != "percent":
        return [SAYS[axis.form](value) for value in values]
    digits = next((d for d in range(3) if all(abs(round(100 * v, d) - 100 * v) < 1e-6 for v in values)), 2)
    return [f"{100 * value:.{digits}f} %" for value in values]


def still(chart: Chart) -> Markup:
    """The chart as an SVG of 720 or 280 units' width."""
    width, height = (720, 330) if chart.wide else (280, 210)
    xs = [x for s in chart.series for x in s.x]
    ys = [y for s in chart.series for y in (*s.y, *itertools.chain(*s.band))]
    lines = legend(chart, width)
    top = 14 + 18 * len(lines)
    y_range, x_range = reach(chart.y, ys), reach(chart.x, xs)
    if any(s.look == "box" for s in chart.series):
        x_range = min(xs) - 0.5, max(xs) + 0.5
    most = 8 if chart.wide else 5
    marks = decades(*y_range, most) if chart.y.log else ticks(*y_range, most)
    names = short(chart.y, marks)
    left = 26 + LETTER * max(map(len, names), default=0)
    x = Scale(*x_range, left, width - 12, chart.x.log)
    y = Scale(*y_range, height - 46, top, chart.y.log)
    parts = [
        f'<svg class="still" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(chart.alt)}">',
        *(text for line in lines for text in line),
        *grid(chart, x, y, list(zip(marks, names, strict=True)), width, height),
        *(area(s, x, y) for s in chart.series if s.band),
        *(drawn for s in chart.series for drawn in series(chart, s, x, y)),
        "</svg>",
    ]
    return Markup("".join(parts))


def grid(chart: Chart, x: Scale, y: Scale, marks: list[tuple[Number, str]], width: Number, height: Number) -> list[str]:
    left, base = x.start, y.start
    parts = []
    for value, name in marks:
        at = f"{y(value):.1f}"
        parts.append(f'<path class="grid" d="M{left:.1f},{at}H{width - 12}"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{at}" dy=".35em" text-anchor="end">{name}</text>')
    parts.append(f'<path class="axis" d="M{left:.1f},{base}H{width - 12}"/>')
    most = 8 if chart.wide else 6
    values = decades(x.low, x.high, most) if x.log else ticks(x.low, x.high, most, chart.x.form == "whole")
    for value, name in zip(values, short(chart.x, values), strict=True):
        parts.append(f'<path class="axis" d="M{x(value):.1f},{base}v5"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{base + 18}" text-anchor="middle">{name}</text>')
    middle = (base + y.end) / 2
    parts.append(f'<text class="title" x="{(left + width - 12) / 2:.1f}" y="{height - 6}">{escape(chart.x.title)}</text>')
    parts.append(f'<text class="title" transform="translate(12 {middle:.1f}) rotate(-90)">{escape(chart.y.title)}</text>')
    return parts


def legend(chart: Chart, width: Number) -> list[list[str]]:
    """Lines of entries, as many in a line as fit."""
    lines: list[list[str]] = []
    at = width
    for s in chart.named:
        room = 30 + LETTER * len(s.name)
        if at + room > width - 4:
            lines.append([])
            at = 8.0
        y = 12 + 18 * (len(lines) - 1)
        sample = f'<path class="run {s.colour}{dashes(s)}" d="M{at:.1f},{y}h16"/>' if s.look in ("line", "steps") else ""
        sample = sample or symbol(s, at + 8, y)
        lines[-1].append(f'{sample}<text x="{at + 21:.1f}" y="{y}" dy=".35em">{escape(s.name)}</text>')
        at += room + 6
    return lines


def dashes(s: Series) -> str:
    return " dashed" if s.dashed else ""


def symbol(s: Series, x: Number, y: Number) -> str:
    look = f"mark {s.colour}{' faint' if s.faint else ''}"
    if s.symbol in MARKS:
        return f'<path class="{look}" d="{MARKS[s.symbol]}" transform="translate({x:.1f} {y:.1f}) scale({s.size / 2:.1f})"/>'
    return f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="{s.size / 2:.1f}"/>'


def area(s: Series, x: Scale, y: Scale) -> str:
    """The band of a line."""
    above = [(a, high) for a, (_, high) in zip(s.x, s.band, strict=True)]
    below = [(a, low) for a, (low, _) in zip(s.x, s.band, strict=True)]
    return f'<path class="band {s.colour}" d="M{"L".join(f"{x(a):.1f},{y(b):.1f}" for a, b in [*above, *reversed(below)])}Z"/>'


def series(chart: Chart, s: Series, x: Scale, y: Scale) -> list[str]:
    if s.look == "box":
        return boxes(s, [other for other in chart.series if other.look == "box"], x, y)
    places = [(x(a), y(b)) for a, b in zip(s.x, s.y, strict=True)]
    parts = []
    if s.look == "line":
        parts.append(f'<path class="run {s.colour}{dashes(s)}" d="M{"L".join(f"{a:.1f},{b:.1f}" for a, b in places)}"/>')
    if s.look == "steps":
        steps = "".join(f"H{a:.1f}V{b:.1f}" for a, b in places[1:])
        parts.append(f'<path class="run {s.colour}" d="M{places[0][0]:.1f},{places[0][1]:.1f}{steps}"/>')
    if s.look != "line" or len(places) == 1:
        parts += [symbol(s, a, b) for a, b in places]
    return parts + [label(chart, s, *at) for at in zip(s.x, places, strict=True)] if s.label else parts


def label(chart: Chart, s: Series, value: Number, place: tuple[Number, Number]) -> str:
    anchor, shift = ("start", 7) if side(chart, value) == "right" else ("end", -7)
    at = f'x="{place[0] + shift:.1f}" y="{place[1] - 8:.1f}" text-anchor="{anchor}"'
    return f'<text class="label {s.colour}" {at}>{escape(s.label)}</text>'


def boxes(s: Series, beside: Sequence[Series], x: Scale, y: Scale) -> list[str]:
    """At every distinct x, next to those of the other series: the range as a line, the middle half as a box, the median."""
    groups = sorted(set(s.x))
    gap = min((b - a for a, b in itertools.pairwise(groups)), default=1.0)
    half = min(24.0, 0.4 * abs(x(x.low + gap) - x(x.low)) / len(beside))
    aside = (2 * list(beside).index(s) - len(beside) + 1) * half * 1.1
    parts = []
    for group in groups:
        values = sorted(b for a, b in zip(s.x, s.y, strict=True) if a == group)
        low, middle, high = quantiles(values, method="inclusive") if len(values) > 1 else values * 3
        at = x(group) + aside
        parts.append(f'<path class="run {s.colour}" d="M{at:.1f},{y(values[0]):.1f}V{y(values[-1]):.1f}"/>')
        place = f'x="{at - half:.1f}" y="{y(high):.1f}" width="{2 * half:.1f}" height="{max(0.5, y(low) - y(high)):.1f}"'
        parts.append(f'<rect class="box {s.colour}" {place}/>')
        parts.append(f'<path class="run {s.colour}" d="M{at - half:.1f},{y(middle):.1f}h{2 * half:.1f}"/>')
    return parts
