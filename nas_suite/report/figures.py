"""The charts of a report: training curves, fronts, hypervolume, accuracy by the number of active paths."""

import re
from collections.abc import Sequence
from statistics import median
from typing import Any

from markupsafe import escape

from nas_suite.report.chart import PALETTE, Axis, Chart, Series
from nas_suite.report.story import Search, calibration, statistics
from nas_suite.report.words import percent, said, shown
from nas_suite.run import Run
from nas_suite.words import plural

ROW = 30  # letters of an architecture in one line of a hover
EPOCH = Axis("epoch", "whole")
STANDING_OUT = (
    ("retrained", "star", "red", 13),
    ("chosen", "star", "purple", 13),
    ("knee", "diamond", "orange", 11),
    ("", "triangle", "green", 13),
)
"""Words, symbols, colours and sizes of what stands out; a network takes the first that fits."""


def curves(key: str, runs: Sequence[Run]) -> list[Chart]:
    """Loss, accuracy and learning rate by epoch, a line a run; none where no epoch is finished."""
    logs = [(run, log) for run in runs if (log := run.epochs())]
    charts = (
        curve(f"{key}-loss", "Loss", Axis("loss"), logs, {"loss": "training"}),
        curve(
            f"{key}-accuracy", "Accuracy", Axis("accuracy", "percent"), logs,
            {"accuracy": "training", "val_accuracy": "validation"},
        ),
        curve(f"{key}-lr", "Learning rate", Axis("learning rate"), logs, {"lr": ""}),
    )  # fmt: skip
    return [chart for chart in charts if chart.series]


def curve(key: str, title: str, y: Axis, logs: Sequence[tuple[Run, list[dict[str, Any]]]], parts: dict[str, str]) -> Chart:
    """One figure by epoch; `parts` are the log's entries to draw and what they are called. The last of several is solid."""
    lines = []
    for at, (run, log) in enumerate(logs):
        present = [part for part in parts if any(part in line for line in log)]
        for part in present:
            known = [(line["epoch"] + 1, line[part]) for line in log if line.get(part) is not None]
            name = " ".join(([run.name] if len(logs) > 1 else []) + ([parts[part]] if len(present) > 1 else []))
            colour = PALETTE[(at if len(logs) > 1 else present.index(part)) % len(PALETTE)]
            dashed = len(logs) > 1 and part != present[-1]
            lines.append(Series(name, [x for x, _ in known], [v for _, v in known], colour=colour, dashed=dashed))
    return Chart(key, title, EPOCH, y, lines, " ".join(course(title, y, line) for line in lines))


def course(title: str, y: Axis, line: Series) -> str:
    """How a line runs, in words."""
    say = percent if y.form == "percent" else "{:.4g}".format
    name = f" ({line.name})" if line.name else ""
    return f"{title}{name}: {say(line.y[0])} after epoch {line.x[0]}, {say(line.y[-1])} after epoch {line.x[-1]}."


def axis(search: Search, name: str) -> Axis:
    return Axis(search.title(name), "percent" if name == "error" else "count")


def fronts(search: Search) -> list[Chart]:
    """The first objective against each other one; with one objective alone, its best so far."""
    first, *others = search.objectives
    if not search.fine:
        return []
    return [front(search, other, first) for other in others] or [progress(search, first)]


def front(search: Search, across: str, up: str) -> Chart:
    """All evaluated networks, the front before them, what stands out on top."""

    def points(name: str, trials: Sequence[dict[str, Any]], **look: Any) -> Series:
        xs, ys = ([shown(o, t["values"][o]) for t in trials] for o in (across, up))
        return Series(name, xs, ys, notes=[note(search, t) for t in trials], **look)

    edge = sorted(search.front, key=lambda t: (t["values"][across], t["values"][up]))
    flat = len(search.objectives) == 2
    series = [
        points("evaluated", search.fine, look="dots", colour="grey", faint=True, size=6),
        points("front", edge, look="steps" if flat else "dots", colour="blue", size=8),
        *(points(mark.pop("name"), trials, look="dots", **mark) for mark, trials in standing_out(search)),
    ]
    x, y = axis(search, across), axis(search, up)
    alt = f"{y.title} against {x.title} of {plural(len(search.fine), 'network')}; the front has {len(search.front)}: "
    ends = [said(up, t["values"][up]) + " at " + said(across, t["values"][across]) for t in (edge[0], edge[-1])]
    title = f"{y.title.capitalize()} against {x.title}"
    about = "Each point is a network; pointing at one shows its values and its architecture."
    return Chart(f"front-{search.run.name}-{across}", title, x, y, series, alt + " to ".join(ends) + ".", about, wide=True)


def standing_out(search: Search) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The marked networks that the search evaluated, gathered by their words, and the look of each group."""
    known = {trial["arch"]: trial for trial in search.fine}
    groups: dict[str, list[dict[str, Any]]] = {}
    for arch, words in search.marks.items():
        if arch in known:
            groups.setdefault(", ".join(words), []).append(known[arch])
    found = []
    for name, trials in groups.items():
        _, symbol, colour, size = next(look for look in STANDING_OUT if look[0] in name)
        found.append(({"name": name, "label": name, "symbol": symbol, "colour": colour, "size": size}, trials))
    return found


def note(search: Search, trial: dict[str, Any]) -> str:
    """What hovering over a network says, as plotly reads it."""
    lines = [f"{search.title(name)} {said(name, value)}" for name, value in trial["values"].items()]
    network = search.retrained.get(trial["arch"])
    if network and network.result:
        lines.append(f"retrained: test accuracy {percent(network.test)}")
    marks = search.marks.get(trial["arch"], [])
    head = [f"<b>{', '.join(marks)}</b>"] if marks else []
    return "<br>".join([*head, *lines, *broken(trial["arch"])])


def broken(arch: str) -> list[str]:
    """An architecture's text in lines that fit a hover."""
    lines = [""]
    for token in re.split(r"(?<=[-+])", arch):
        if lines[-1] and len(lines[-1]) + len(token.rstrip("-")) > ROW:
            lines.append("")
        lines[-1] += token
    return [str(escape(line)) for line in lines]


def progress(search: Search, name: str) -> Chart:
    """A search for one objective: every evaluation, and the best so far."""
    values = [trial["values"][name] for trial in search.fine]
    numbers = [trial["trial"] + 1 for trial in search.fine]
    best = [min(values[: at + 1]) for at in range(len(values))]
    notes = [note(search, trial) for trial in search.fine]
    series = [
        Series("evaluated", numbers, [shown(name, v) for v in values], "dots", "grey", size=6, faint=True, notes=notes),
        Series("best so far", numbers, [shown(name, v) for v in best], "line", "blue"),
    ]
    y = axis(search, name)
    alt = f"Best {y.title} so far, by the number of evaluated networks: {said(name, best[0])} to {said(name, best[-1])}."
    return Chart(f"progress-{search.run.name}", f"Best {y.title} so far", Axis("network", "whole"), y, series, alt, wide=True)


def hypervolume(search: Search) -> list[Chart]:
    """The share of the first generation's box that the front dominates; above 1 once it has left that box. One generation
    shows no course."""
    if len(search.objectives) < 2 or len(search.generations) < 2:
        return []
    xs, ys = ([line[k] for line in search.generations] for k in ("generation", "hypervolume"))
    notes = [
        f"generation {line['generation']}<br>hypervolume {line['hypervolume']:.4f}<br>"
        f"{plural(line['evaluated'], 'network')} evaluated, {line['front']} on the front"
        for line in search.generations
    ]
    alt = f"Hypervolume by generation: {ys[0]:.3f} after generation {xs[0]}, {ys[-1]:.3f} after generation {xs[-1]}."
    x, y = Axis("generation", "whole"), Axis("hypervolume")
    about = "What the front dominates, in units of the box that the first generation spanned."
    return [
        Chart(f"volume-{search.run.name}", "Hypervolume by generation", x, y, [Series("", xs, ys, notes=notes)], alt, about)
    ]


def paths_of_trials(search: Search) -> list[Chart]:
    """Accuracy of the evaluated networks by how many active paths they have; none where the space sums no paths."""
    if "error" not in search.objectives:
        return []
    counted = list(zip(search.paths, search.fine, strict=False))
    groups: dict[int, list[float]] = {}
    for paths, trial in counted:
        groups.setdefault(paths, []).append(1.0 - trial["values"]["error"])
    if len(groups) < 2:
        return []
    xs, notes = [paths for paths, _ in counted], [f"{plural(paths, 'path')}<br>{note(search, t)}" for paths, t in counted]
    accuracies = [1.0 - trial["values"]["error"] for _, trial in counted]
    known = sorted(groups)
    medians = [median(groups[paths]) for paths in known]
    series = [
        Series("networks", xs, accuracies, "dots", "blue", faint=True, size=6, notes=notes),
        Series(
            "median",
            known,
            medians,
            "line",
            "orange",
            notes=[f"{plural(p, 'path')}: median {percent(m)}" for p, m in zip(known, medians, strict=True)],
        ),
    ]
    alt = f"One-shot accuracy by active paths in the whole network: median {percent(medians[0])} of networks with {known[0]}, "
    alt += f"{percent(medians[-1])} of those with {known[-1]}."
    x, y = Axis("active paths in the whole network", "whole"), axis(search, "error")
    about = "The networks that the search evaluated, by how many operations they sum."
    return [Chart(f"paths-{search.run.name}", "Accuracy by active paths", x, y, series, alt, about)]


def paths_of_statistics(runs: Sequence[Run]) -> list[Chart]:
    """Accuracy of random networks by the number of active paths, a chart a supernet whose statistics were taken."""
    found = []
    for run in runs:
        entries = statistics(run)
        if entries:
            groups = {word: [e for e in entries if calibration(e) == word] for word in map(calibration, entries)}
            series = [box(word, group, colour) for (word, group), colour in zip(groups.items(), PALETTE, strict=False)]
            middles = [f"{e['paths']} {calibration(e)}: {percent(median(e['accuracies']))}" for e in entries]
            alt = f"One-shot accuracy of random networks by active paths in every block, medians: {', '.join(middles)}."
            title = "Random networks by active paths" + (f", {run.name}" if len(runs) > 1 else "")
            x, y = Axis("active paths in every block", "whole"), Axis("one-shot accuracy", "percent")
            found.append(Chart(f"statistics-{run.name}", title, x, y, series, alt, wide=len(runs) == 1))
    return found


def box(name: str, entries: Sequence[dict[str, Any]], colour: str) -> Series:
    xs = [entry["paths"] for entry in entries for _ in entry["accuracies"]]
    ys = [value for entry in entries for value in entry["accuracies"]]
    return Series(name, xs, ys, "box", colour)
