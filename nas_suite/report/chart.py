"""Charts as plain values, and the same as plotly reads them; colours are names that the page gives a meaning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nas_suite.report.words import Number, count, number, percent, whole

Look = Literal["line", "steps", "dots", "box"]
Form = Literal["number", "percent", "count", "whole"]
PALETTE = ("blue", "orange", "green", "purple", "sky", "red")
SAYS: dict[str, Callable[[Number], str]] = {"number": number, "percent": percent, "count": count, "whole": whole}
TICKS = {"number": "~g", "percent": "~%", "count": "~s", "whole": ",d"}
HOVERS = {"number": ".4g", "percent": ".2%", "count": ".4s", "whole": ",d"}
SYMBOLS = {"dot": "circle", "diamond": "diamond", "star": "star", "triangle": "triangle-up"}


@dataclass(frozen=True)
class Axis:
    """`form` says how its values are written; shares 0 … 1 are written in percent."""

    title: str
    form: Form = "number"


@dataclass(frozen=True)
class Series:
    """Points under one name. `notes` are what hovering over each says; `label` is written beside every point.

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
    return {"data": [trace(chart, s, unified) for s in chart.series], "layout": layout(chart, unified)}


def trace(chart: Chart, s: Series, unified: bool) -> dict[str, Any]:
    named = bool(chart.named) and bool(s.name)
    about = {"x": list(s.x), "y": list(s.y), "name": s.name, "showlegend": named}
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


def mode(s: Series) -> str:
    """Lines of few points show them, so that a line of one point is seen."""
    if s.look == "dots":
        return "markers+text" if s.label else "markers"
    return "lines+markers" if len(s.x) <= 40 or s.look == "steps" else "lines"


def side(chart: Chart, x: Number) -> str:
    """To which side of a point its label goes: left, where accuracy against cost leaves room, unless that is outside."""
    known = [value for s in chart.series for value in s.x]
    low, high = min(known), max(known)
    return "right" if high == low or (x - low) / (high - low) < 0.1 else "left"


def layout(chart: Chart, unified: bool) -> dict[str, Any]:
    def axis(of: Axis, values: list[Number]) -> dict[str, Any]:
        about = {"title": {"text": of.title, "standoff": 10}, "tickformat": TICKS[of.form], "automargin": True}
        about |= {"gridcolor": "@line", "zeroline": False, "linecolor": "@line", "tickcolor": "@line", "ticks": "outside"}
        if of.form == "whole" and max(values) - min(values) < 8:
            return about | {"dtick": 1}
        return about | ({} if chart.wide else {"nticks": 6})

    return {
        "xaxis": {**axis(chart.x, [x for s in chart.series for x in s.x]), "showgrid": False, "showline": True},
        "yaxis": axis(chart.y, [y for s in chart.series for y in s.y]),
        "hovermode": "x unified" if unified else "closest",
        "boxmode": "group",
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": {"color": "@ink"}},
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "font": {"color": "@soft", "size": 12},
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@line", "font": {"color": "@ink"}, "align": "left"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
