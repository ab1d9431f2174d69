"""A meta-training, as a report reads it: what was learned from, and how well it predicts data sets that it has not seen."""

import math
from functools import cached_property
from typing import Any

from nas_suite.encoders.joint import preset
from nas_suite.report.chart import Axis, Chart
from nas_suite.report.figures import curve
from nas_suite.report.tables import Table, told
from nas_suite.report.words import Number, percent, seconds, three
from nas_suite.run import Run
from nas_suite.surrogate.experience import LEAST_ROWS, LEAST_SETS
from nas_suite.telling import doubt
from nas_suite.words import plural

NONE = "none"  # in place of a preset or an extractor: there is none
WHERE = {"val": "held-out data sets", "published": "published validation split"}
SEEN = {
    "codes": "by a random code for the name of each of their classes",
    "conv": "by what fixed random convolutions see in their images",
    "resnet18": "by what a ResNet-18 sees in their images",
}


class Learnt:
    """A run of meta-training, read once. Without a result it is not finished."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.result: dict[str, Any] = run.record.get("result") or {}

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """Its epochs, without what is no number: a correlation of values that are all the same, say."""
        return [{k: v for k, v in line.items() if finite(v) is not None} for line in self.run.epochs()]

    @property
    def plain(self) -> bool:
        """Whether the history was too small for a deep kernel."""
        return self.result.get("preset", self.run.record["asked"]["preset"]) == NONE

    @property
    def where(self) -> dict[str, str]:
        """Of what there are figures, and what that is called."""
        known = [self.result, *self.log]
        return {key: name for key, name in WHERE.items() if any(f"{key}_nlpd" in figures for figures in known)}

    def figure(self, name: str) -> Number | None:
        return finite(self.result.get(name))


def finite(value: Any) -> Number | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def lede(found: Learnt) -> str:
    """What was learned from, and with what."""
    history = found.run.record["history"]
    rows, sets = plural(history["rows"], "evaluation"), plural(history["datasets"], "data set")
    distinct = found.result.get("rows", history["rows"])
    means = f" ({distinct:,} where repeats are averaged)" if distinct != history["rows"] else ""
    said = f"Learned from {rows} on {sets}{means}."
    if found.plain:
        return (
            f"{said} That is too little for a deep kernel (at least {LEAST_SETS} data sets and {LEAST_ROWS} evaluations), so "
            "there is none: a search with this checkpoint uses a plain Gaussian process that begins with the best of them."
        )
    said += f" Data sets are told apart {seen(found)}."
    if not found.result:
        return f"{said} {len(found.log):,} of {plural(found.run.record['asked']['schedule']['epochs'], 'epoch')} done."
    return f"{said} Kept are the weights after epoch {found.result['best_epoch'] + 1} of {len(found.log)}."


def seen(found: Learnt) -> str:
    """What tells data sets apart, in words."""
    asked = found.run.record["asked"]
    made_by = found.result.get("extractor", asked["features"] if asked["build"]["datasets"] else NONE)
    way = SEEN.get(made_by.split("-")[0])
    if way is not None:
        return f"{way} ({made_by})"
    return "by nothing" + ("" if asked["build"]["datasets"] else ", as was asked (--no-datasets)")


def sizes(found: Learnt) -> str:
    """The deep kernel's preset and what that stands for."""
    name = found.result.get("preset", found.run.record["asked"]["preset"])
    spelt = preset(name).spelt
    return name if name == spelt else f"{name}: {spelt}"


def figures(found: Learnt) -> Table | None:
    """What the finished surrogate predicts how well; None where there is none."""
    says = {"pearson": three, "nlpd": nlpd, "covered": covered}
    known = [(key, name) for key, name in found.where.items() if f"{key}_nlpd" in found.result]
    rows = [(name, *(say(found.figure(f"{key}_{of}")) for of, say in says.items())) for key, name in known]
    return Table("How well it predicts", ("of", "Pearson", "NLPD", "within 90 % intervals"), rows) if rows else None


def nlpd(value: Number | None) -> str:
    return told(value, "{:.4f}".format)


def covered(value: Number | None) -> str:
    return told(value, percent)


def reading() -> str:
    """How to read that table."""
    return (
        "NLPD: the mean negative log predictive density, in units of standardised values; less is better. Held-out data sets "
        "are predicted without any evaluation of their own; they chose the epoch, and the noise within intervals and NLPD."
    )


def remarks(found: Learnt) -> list[str]:
    """Sizes, and what a search on an unknown data set gets."""
    if found.plain:
        return []
    said = [f"{little[0].upper()}{little[1:]}."] if (little := doubt(found.result)) else []
    said.append(f"Sizes of the deep kernel: {sizes(found)}.")
    if found.result.get("extractor", "").startswith("codes"):
        said.append("Unknown data sets get the mean of those known, for classes have random codes and no images were seen.")
    return said


def charts(found: Learnt) -> list[Chart]:
    """Pearson and NLPD by epoch; none where there is one epoch alone."""
    if len(found.log) < 2:
        return []
    drawn = []
    for name, title, axis in (("pearson", "Pearson", "correlation"), ("nlpd", "NLPD", "negative log density")):
        parts = {f"{key}_{name}": where for key, where in WHERE.items()}
        drawn.append(curve(f"learnt-{name}-{found.run.name}", title, Axis(axis), [(found.run, found.log)], parts))
    return [chart for chart in drawn if chart.series]


def epochs(found: Learnt) -> Table | None:
    """The figures of every epoch; None where there is none."""
    says = {"pearson": ("Pearson", three), "nlpd": ("NLPD", nlpd), "covered": ("within 90 %", covered)}
    columns = [
        (f"{key}_{name}", f"{title}, {where}", say) for key, where in found.where.items() for name, (title, say) in says.items()
    ]
    rows = [
        (
            *(str(line["epoch"] + 1), told(line.get("loss"), "{:.4g}".format)),
            *(say(line.get(name)) for name, _, say in columns), told(line.get("seconds"), seconds),
        )
        for line in found.log
    ]  # fmt: skip
    names = ("epoch", "loss", *(title for _, title, _ in columns), "time")
    return Table(f"Epochs of {found.run.name}", names, rows) if rows else None
