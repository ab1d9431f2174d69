"""A search by trainings, as a report reads it: how its best network came about, trial by trial, and its finalists."""

import math
from functools import cached_property
from itertools import accumulate
from typing import Any

from nas_suite.pipeline import ENDS, ranked
from nas_suite.report.chart import Axis, Chart, Series
from nas_suite.report.figures import broken
from nas_suite.report.story import entries, spent
from nas_suite.report.tables import ArchRow, Archs, Table
from nas_suite.report.words import Number, count, listed, objective, percent, points, seconds
from nas_suite.run import Run
from nas_suite.telling import ORIGINS
from nas_suite.words import plural


class Sought:
    """A run that searches by trainings, read once; trials in the order in which they were asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.trials = sorted(run.trials(), key=lambda trial: trial["trial"])
        self.fine = [trial for trial in self.trials if trial["status"] == "ok"]
        self.failed = [trial for trial in self.trials if trial["status"] != "ok"]
        self.recalled = [trial for trial in self.trials if trial.get("source") == "history"]
        self.result: dict[str, Any] = run.record.get("result") or {}
        self.finalists: list[dict[str, Any]] = self.result.get("finalists", [])
        self.settings: dict[str, Any] = run.record["plan"]["settings"].get("method", {})

    @cached_property
    def best(self) -> list[Number]:
        """The best validation accuracy after each trial; NaN before there is one."""
        return list(accumulate((accuracy(trial) for trial in self.trials), fmax, initial=math.nan))[1:]

    @cached_property
    def clock(self) -> list[Number]:
        """Seconds of training after each trial."""
        return list(accumulate(trial["seconds"] for trial in self.trials))

    @property
    def arch(self) -> str:
        """The winner, or the best so far; nothing before there is one."""
        found = ranked(self.run)
        return self.result.get("arch") or (found[0]["arch"] if found else "")


def accuracy(trial: dict[str, Any]) -> Number:
    return math.nan if trial["val"] is None else trial["val"]


def fmax(a: Number, b: Number) -> Number:
    """The greater of two; NaN counts for nothing."""
    return b if math.isnan(a) or b > a else a


def spread(found: dict[str, Any]) -> str:
    """A mean accuracy with its standard deviation over seeds."""
    if found["mean"] is None:
        return "failed"
    return percent(found["mean"]) + (f" ± {points(found['sd'])}" if found["sd"] is not None else "")


def title(found: Sought, of: int) -> str:
    return "The search by training" + (f" {found.run.name}" if of > 1 else "")


def lede(found: Sought) -> str:
    """What was trained at which fidelity, why it ended, and what became of the best."""
    said = [
        f"{plural(len(found.trials), 'network')} of at most {found.settings.get('budget', 0):,} evaluated, {cheaply(found)}."
    ]
    said.append(
        f"The first {len(found.run.record['design']):,} were chosen {ORIGINS[found.run.record.get('beginning', 'random')]}."
    )
    if checkpoint := found.run.record.get("checkpoint"):
        said.append(f"What the surrogate had learned before is in {checkpoint}.")
    if found.recalled:
        said.append(f"{plural(len(found.recalled), 'evaluation')} the history knew already.")
    if limits := found.run.record["limits"]:
        said.append(f"Within bounds: {listed([f'{objective(n)} at most {count(bound)}' for n, bound in limits.items()])}.")
    if "ended" in found.result:
        said.append(f"It ended because {ENDS[found.result['ended']]}.")
    if found.finalists:
        whole = f"{plural(len(found.finalists), 'finalist')} trained whole with {plural(seeds(found), 'seed')} each"
        said.append(f"{whole}; the best mean on the validation images wins, and of it alone the test images were seen, once.")
    return " ".join(said)


def seeds(found: Sought) -> int:
    one = found.finalists[0]
    return len(one["val"]) + one["failed"]


def cheaply(found: Sought) -> str:
    """At which fidelity the search trained, in words."""
    epochs, width = found.settings.get("search_epochs"), found.settings.get("search_width")
    recipe = found.run.record["plan"]["settings"].get("retrain", {})
    said = f"each trained for {plural(epochs or recipe.get('epochs', 0), 'epoch')}"
    return said + (f" at width {width:g}" if width is not None else "") + " and judged on the validation images"


def charts(found: Sought) -> list[Chart]:
    """Every trial, and the best so far; none before there is one."""
    if not found.fine:
        return []
    xs = [trial["trial"] + 1 for trial in found.fine]
    notes = [note(found, trial) for trial in found.fine]
    start = found.fine[0]["trial"]
    after = list(range(start + 1, len(found.trials) + 1))
    series = [
        Series("a training", xs, [accuracy(trial) for trial in found.fine], "dots", "grey", size=7, faint=True, notes=notes),
        Series(
            "best so far", after, found.best[start:], "steps", "blue",
            notes=[f"{percent(found.best[k - 1])} after {plural(k, 'network')}, {seconds(found.clock[k - 1])}" for k in after],
        ),
    ]  # fmt: skip
    alt = f"Best validation accuracy so far, by the number of trained networks: {percent(found.best[start])} after "
    alt += f"{plural(start + 1, 'network')}, {percent(found.best[-1])} after {plural(len(found.trials), 'network')}."
    about = "Each point is a network as the search trained it; pointing at one shows it, and what training took until then."
    y = Axis("validation accuracy", "percent")
    return [Chart(f"sought-{found.run.name}", "Best so far", Axis("network", "whole"), y, series, alt, about, wide=True)]


def note(found: Sought, trial: dict[str, Any]) -> str:
    """What hovering over a trial says."""
    took = "from the history" if trial.get("source") == "history" else f"trained in {seconds(trial['seconds'])}"
    return "<br>".join([f"network {trial['trial'] + 1}: {percent(accuracy(trial))}", took, *broken(trial["arch"])])


def finalists(found: Sought) -> Archs | None:
    """The finalists, the winner first."""
    rows = []
    for one in sorted(found.finalists, key=lambda one: -(one["mean"] or 0.0)):
        marks = ["winner"] if one["arch"] == found.result["arch"] else []
        marks += [f"{plural(one['failed'], 'training')} failed"] if one["failed"] else []
        search = next((accuracy(trial) for trial in found.fine if trial["arch"] == one["arch"]), math.nan)
        rows.append(ArchRow((spread(one), percent(search), seconds(one["seconds"])), one["arch"], marks))
    columns = ("validation accuracy", "in the search", "time")
    return (
        Archs("The finalists, means ± standard deviations over seeds", "validation accuracy", columns, rows) if rows else None
    )


def trials(found: Sought) -> Table | None:
    """Every trial in the order of asking, failed ones with the reason."""
    rows = [
        (
            str(trial["trial"] + 1),
            percent(accuracy(trial)) if trial["values"] else f"failed: {trial.get('error', 'no reason given')}",
            "–" if math.isnan(best) else percent(best),
            "history" if trial.get("source") == "history" else seconds(trial["seconds"]),
            seconds(clock),
            trial["arch"],
        )
        for trial, best, clock in zip(found.trials, found.best, found.clock, strict=True)
    ]
    columns = ("network", "validation accuracy", "best so far", "time", "time so far", "architecture")
    return Table(f"Trainings of {found.run.name}", columns, rows) if rows else None


def remarks(found: Sought) -> list[str]:
    """What failed, what all of it cost, and what is to be known of how it began."""
    said = []
    if found.failed:
        reasons = dict.fromkeys(trial.get("error", "no reason given") for trial in found.failed)
        said.append(f"{plural(len(found.failed), 'network')} could not be trained: {'; '.join(list(reasons)[:3])}.")
    trained = len(entries(found.run)) - len(found.recalled)
    said.append(f"{plural(trained, 'training')} took {seconds(spent(found.run))}.")
    said += [f"{note[0].upper()}{note[1:]}." for note in found.run.record.get("notes", ())]
    return said
