"""Charts as plain values, and the same as plotly reads them; colours are names that the page gives a meaning."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import escape

from nas_suite.report.words import Number, count, number, percent, whole

Look = Literal["line", "steps", "dots", "box"]
Form = Literal["number", "percent", "count", "whole"]
PALETTE = ("blue", "orange", "green", "purple", "sky", "red")
MANY = ("blue", "orange", "green", "purple", "red", "olive", "pink", "brown", "violet", "sky")  # where lines are many
SAYS: dict[str, Callable[[Number], str]] = {"number": number, "percent": percent, "count": count, "whole": whole}
TICKS = {"number": "~g", "percent": "~%", "count": "~s", "whole": ",d"}
HOVERS = {"number": ".4g", "percent": ".2%", "count": ".4s", "whole": ",d"}
SYMBOLS = {"dot": "circle", "diamond": "diamond", "star": "star", "triangle": "triangle-up"}


@dataclass(frozen=True)
class Axis:
    """`form` says how its values are written; shares 0 … 1 are written in percent. On a `log` one equal ratios are equally
    far apart; its values are positive."""

    title: str
    form: Form = "number"
    log: bool = False


@dataclass(frozen=True)
class Series:
    """Points under one name. `notes` are what hovering over each says; `label` is written beside every point, `band` is the
    low and high of each point of a line.

    Boxes stand at the distinct values of `x` and span the `y` of each.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    look: Look = "line"
    colour: str = "blue"
    symbol: str = "dot"
    size: Number = 7
    faint: bool = False
    dashed: bool = False
    notes: Sequence[str] = ()
    label: str = ""
    band: Sequence[tuple[Number, Number]] = ()


@dataclass(frozen=True)
class Chart:
    """A figure with its two axes. `alt` says in words what it shows, `about` how to read it; `wide` ones span the page."""

    key: str
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series] = field(repr=False)
    alt: str
    about: str = ""
    wide: bool = False

    @property
    def named(self) -> list[Series]:
        """The series that a legend lists; none where there is only one to tell apart."""
        series = [s for s in self.series if s.name]
        return series if len(series) > 1 else []


def plotly(chart: Chart) -> dict[str, Any]:
    """Traces and layout; `@blue` and the like are colours that the page replaces."""
    unified = all(s.look == "line" for s in chart.series)
    bands = [band(s) for s in chart.series if s.band]
    return {"data": [*bands, *(trace(chart, s, unified) for s in chart.series)], "layout": layout(chart, unified)}


def band(s: Series) -> dict[str, Any]:
    """The area between the low and the high of a line's points, shown and hidden with the line."""
    about = {"x": [*s.x, *reversed(s.x)], "y": [*(high for _, high in s.band), *(low for low, _ in reversed(s.band))]}
    look = {"type": "scatter", "mode": "none", "fill": "toself", "fillcolor": f"@{s.colour}", "opacity": 0.12}
    return {**about, **look, "hoverinfo": "skip", "showlegend": False, "legendgroup": text(s.name), "name": text(s.name)}


def trace(chart: Chart, s: Series, unified: bool) -> dict[str, Any]:
    named = bool(chart.named) and bool(s.name)
    about: dict[str, Any] = {"x": list(s.x), "y": list(s.y), "name": text(s.name), "showlegend": named}
    about |= {"legendgroup": text(s.name)} if s.band else {}
    if s.look == "box":
        marker = {"color": f"@{s.colour}", "size": 4, "opacity": 0.55}
        box = {"type": "box", "boxpoints": "all", "jitter": 0.6, "pointpos": 0, "fillcolor": "@wash", "hoveron": "boxes"}
        return {**about, **box, "marker": marker, "line": {"color": f"@{s.colour}", "width": 1.5}}
    marker = {"color": f"@{s.colour}", "size": s.size, "symbol": SYMBOLS[s.symbol], "opacity": 0.45 if s.faint else 1.0}
    if not s.faint and s.look == "dots":
        marker["line"] = {"color": "@card", "width": 1}
    more: dict[str, Any] = {"type": "scatter", "mode": mode(s), "marker": marker, "cliponaxis": False}
    if s.look != "dots":
        shape = "hv" if s.look == "steps" else "linear"
        more["line"] = {"color": f"@{s.colour}", "width": 2, "dash": "dot" if s.dashed else "solid", "shape": shape}
    if s.label:
        more |= {"text": [s.label] * len(s.x), "textfont": {"color": f"@{s.colour}", "weight": 600}}
        more["textposition"] = [f"top {side(chart, x)}" for x in s.x]
    if s.notes:
        more |= {"hovertext": list(s.notes), "hoverinfo": "text"}
    else:
        point = f"%{{y:{HOVERS[chart.y.form]}}}" if unified else f"%{{x}}: %{{y:{HOVERS[chart.y.form]}}}"
        more["hovertemplate"] = point + ("" if unified and named else "<extra></extra>")
    return {**about, **more}


def text(words: str) -> str:
    """As plotly reads it, which takes tags and entities for what they are in HTML."""
    return str(escape(words))


def mode(s: Series) -> str:
    """Lines of few points show them, so that a line of one point is seen, unless these have no size."""
    if s.look == "dots":
        return "markers+text" if s.label else "markers"
    return "lines+markers" if s.size and (len(s.x) <= 40 or s.look == "steps") else "lines"


def side(chart: Chart, x: Number) -> str:
    """To which side of a point its label goes: left, where accuracy against cost leaves room, unless that is outside."""
    known = [value for s in chart.series for value in s.x]
    low, high = min(known), max(known)
    return "right" if high == low or (x - low) / (high - low) < 0.1 else "left"


def decades(low: Number, high: Number, most: int) -> list[Number]:
    """Round values within a positive range: all digits times powers of ten, 1, 2 and 5 times, or the powers, as room is."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[Number] = []
    for digits in (range(1, 10), (1, 2, 5), (1,)):
        found = [value for p in powers for d in digits if low <= (value := d * 10**p) <= high]
        if len(found) <= most:
            break
    return found


def reach(of: Axis, values: Sequence[Number]) -> tuple[Number, Number]:
    """The range of an axis: that of the values with a margin, or something around a single one."""
    low, high = min(values), max(values)
    if of.log:
        ratio = (high / low) ** 0.03 if high > low else 1.2
        return low / ratio, high * ratio
    margin = 0.05 * (high - low) or (0.5 if of.form == "whole" else abs(low) * 0.05 or 0.05)
    return low - margin, high + margin


def layout(chart: Chart, unified: bool) -> dict[str, Any]:
    def axis(of: Axis, values: list[Number]) -> dict[str, Any]:
        about = {"title": {"text": text(of.title), "standoff": 10}, "tickformat": TICKS[of.form], "automargin": True}
        about |= {"gridcolor": "@line", "zeroline": False, "linecolor": "@line", "tickcolor": "@line", "ticks": "outside"}
        if of.log:
            return about | {"type": "log", "tickvals": decades(min(values), max(values), 8)}
        if min(values) == max(values):  # of which plotly makes 1 to either side, whatever 1 means there
            return about | {"range": [*reach(of, values)], "nticks": 3, **({"dtick": 1} if of.form == "whole" else {})}
        if of.form == "whole" and max(values) - min(values) < 8:
            return about | {"dtick": 1}
        return about | ({} if chart.wide else {"nticks": 6})

    return {
        "xaxis": {**axis(chart.x, [x for s in chart.series for x in s.x]), "showgrid": False, "showline": True},
        "yaxis": axis(chart.y, [y for s in chart.series for y in (*s.y, *itertools.chain(*s.band))]),
        "hovermode": "x unified" if unified else "closest",
        "boxmode": "group",
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": {"color": "@ink"}},
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "font": {"color": "@soft", "size": 12},
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@line", "font": {"color": "@ink"}, "align": "left"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
