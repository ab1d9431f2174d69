"""A benchmark that was made, as a report reads it: its trainings in words, as a chart and as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from nas_suite.report.chart import Axis, Chart, Series
from nas_suite.report.figures import broken
from nas_suite.report.story import entries
from nas_suite.report.tables import ArchRow, Archs
from nas_suite.report.words import Number, percent, points, seconds
from nas_suite.run import Run, handle
from nas_suite.words import plural

DRAWN = 2000  # networks that are drawn
SHOWN = 10  # networks that are listed


@dataclass(frozen=True)
class Trained:
    """A network and the accuracies 0 … 1 of its trainings that did not fail."""

    arch: str
    val: Sequence[Number]
    test: Sequence[Number]
    seconds: Sequence[Number]

    @property
    def mean(self) -> Number:
        return fmean(self.val)


class Made:
    """A run that makes a benchmark, read once: its networks, the best by mean validation accuracy first."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.bench: str = run.record["bench"]
        self.repeats: int = run.record["repeats"]
        self.asked = len(run.record["archs"]) * self.repeats
        self.rows = entries(run)
        self.failed = [row for row in self.rows if row.get("val") is None]
        fine: dict[str, list[dict[str, Number]]] = {}
        for row in self.rows:
            if row.get("val") is not None:
                fine.setdefault(row["arch"], []).append(row)
        found = [Trained(arch, *([row[k] for row in rows] for k in ("val", "test", "seconds"))) for arch, rows in fine.items()]
        self.networks = sorted(found, key=lambda network: -network.mean)

    @property
    def middle(self) -> Number:
        """The median of the networks' mean accuracies."""
        return median(network.mean for network in self.networks)

    @property
    def noise(self) -> Number:
        """By how much the trainings of one network differ at the median; NaN where none has two."""
        apart = [max(n.val) - min(n.val) for n in self.networks if len(n.val) > 1]
        return median(apart) if apart else math.nan


def lede(made: Made) -> str:
    """How many trainings are done, and how far apart the networks and their repeats are."""
    done = f"{len(made.rows):,} of {plural(made.asked, 'training')} done"
    said = [f"{done}: {plural(len(made.run.record['archs']), 'network')}, {plural(made.repeats, 'time')} each."]
    if made.failed:
        why = made.failed[0].get("error", "no reason given")
        said.append(f"{plural(len(made.failed), 'training')} failed ({why}).")
    if made.run.state not in ("running", "done"):
        said.append(f"To go on with it: nas runs resume {handle(made.run)}.")
    if made.networks:
        best, worst = made.networks[0], made.networks[-1]
        said.append(
            f"Mean validation accuracies reach from {percent(worst.mean)} to {percent(best.mean)}, with a median of "
            f"{percent(made.middle)}."
        )
    if math.isfinite(made.noise):
        said.append(f"Trainings of one network differ by {points(made.noise)} percentage points at the median.")
    return " ".join(said)


def charts(made: Made) -> list[Chart]:
    """The networks by their mean accuracy, with each of their trainings."""
    every = math.ceil(len(made.networks) / DRAWN) if made.networks else 1
    placed = list(enumerate(made.networks, 1))[::every]
    if not placed:
        return []
    each = [(place, network, value) for place, network in placed for value in network.val]
    trainings = Series(
        "a training", [place for place, _, _ in each], [value for _, _, value in each], "dots", "grey", size=5, faint=True,
        notes=[note(place, network) for place, network, _ in each],
    )  # fmt: skip
    means = Series(
        "mean of a network", [place for place, _ in placed], [n.mean for _, n in placed], "dots", "blue",
        notes=[note(place, network) for place, network in placed],
    )  # fmt: skip
    best, worst = made.networks[0], made.networks[-1]
    alt = f"Validation accuracy of {plural(len(made.networks), 'network')}, the best first: "
    alt += (
        f"{best.arch} with {percent(best.mean)}, median {percent(made.middle)}, last {worst.arch} with {percent(worst.mean)}."
    )
    x, y = Axis("place", "whole"), Axis("validation accuracy", "percent")
    drawn = f"; drawn are {len(placed):,} of {len(made.networks):,}" if every > 1 else ""
    about = f"Each network at its place{drawn}; pointing at one shows its trainings."
    series = [trainings, means] if made.repeats > 1 else [means]
    return [Chart(f"made-{made.run.name}", "Accuracy of the networks", x, y, series, alt, about, wide=True)]


def note(place: int, network: Trained) -> str:
    """What hovering over a network says."""
    each = ", ".join(map(percent, network.val))
    return "<br>".join([f"place {place}", f"mean {percent(network.mean)}", f"trainings {each}", *broken(network.arch)])


def best(made: Made) -> Archs | None:
    """The best networks; None where none is trained."""
    rows = []
    for network in made.networks[:SHOWN]:
        apart = points(max(network.val) - min(network.val)) if len(network.val) > 1 else "–"
        values = (percent(network.mean), apart, percent(fmean(network.test)), seconds(median(network.seconds)))
        rows.append(ArchRow(values, network.arch, []))
    columns = ("validation accuracy", "spread in points", "test accuracy", "time")
    return Archs("The best networks, means over their trainings", "validation accuracy", columns, rows) if rows else None
