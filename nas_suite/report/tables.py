"""The tables of a report: fronts, epochs, settings by part, environments, costs in time, runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from nas_suite.report.story import Network, Search, Story, calibration, entries, spent, statistics
from nas_suite.report.words import Number, count, number, percent, said, seconds
from nas_suite.run import Run
from nas_suite.telling import spelt
from nas_suite.words import plural

LOGGED: dict[str, tuple[str, Callable[[Number], str]]] = {
    "loss": ("loss", number),
    "accuracy": ("training accuracy", percent),
    "val_accuracy": ("validation accuracy", percent),
    "lr": ("learning rate", "{:.3g}".format),
    "seconds": ("seconds", "{:.1f}".format),
}
COUNTS = {
    "supernet": ("space", "data", "method"),
    "search": ("space", "data", "method"),
    "bilevel": ("space", "data", "method", "deploy"),
    "direct": ("space", "data", "method", "retrain"),
    "retrain": ("space", "data", "retrain"),
    "rank": ("space",),
    "table": ("space", "data", "retrain"),
    "compare": ("space",),
    "meta": ("space", "method"),
    "tune": ("space", "method"),
}
"""The parts of a plan that a run of a kind depends on."""

TITLES = {
    "supernet": "supernet training",
    "search": "search",
    "bilevel": "search for a latency",
    "direct": "search by training",
    "retrain": "retraining",
    "rank": "ranking",
    "table": "benchmark",
    "compare": "comparison",
    "meta": "meta-training",
    "tune": "tuning",
}
WORDS = {"retrain": "Retraining", "deploy": "Deployment"}
DID = {
    "search": ("network", "evaluated"),
    "direct": ("training", "done"),
    "rank": ("score", "found"),
    "table": ("training", "done"),
    "compare": ("search", "done", "searches"),
    "tune": ("trial", "done"),
}
"""What a run does piece by piece; others train epochs."""


@dataclass(frozen=True)
class Table:
    """Rows of text under column names."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ArchRow:
    """An architecture, its values in words, and what else there is to say of it."""

    values: Sequence[str]
    arch: str
    marks: Sequence[str]


@dataclass(frozen=True)
class Archs:
    """Architectures below each other; `order` says by what."""

    title: str
    order: str
    columns: Sequence[str]
    rows: Sequence[ArchRow]


def front(search: Search) -> Archs:
    """The front, with what stands out on it and what retraining came to."""
    rows = []
    for trial in search.front:
        network = search.retrained.get(trial["arch"])
        test = f": test {percent(network.test)}" if network and network.result else ""
        marks = [mark + (test if mark == "retrained" else "") for mark in search.marks.get(trial["arch"], [])]
        rows.append(ArchRow([said(name, trial["values"][name]) for name in search.objectives], trial["arch"], marks))
    return Archs("The front", search.title(search.objectives[0]), [search.title(name) for name in search.objectives], rows)


def trained(networks: Sequence[Network]) -> Archs:
    """Retrained networks: accuracies and costs."""
    rows = []
    for network in networks:
        costs = [count(network.costs[name]) if name in network.costs else "–" for name in ("macs", "params")]
        right = [percent(network.test), percent(network.result["val_accuracy"])] if network.result else ["–", "–"]
        state = [] if network.result else ["not finished"]
        rows.append(ArchRow([*right, *costs], network.arch, [network.run.name, *state]))
    columns = ("test accuracy", "validation accuracy", "multiply-adds", "parameters")
    return Archs("", "validation accuracy", columns, rows)


def epochs(run: Run) -> Table | None:
    """The figures of every epoch; None where there is none."""
    log = run.epochs()
    if not log:
        return None
    known = [name for name in LOGGED if name in log[0]]
    rows = [(str(line["epoch"] + 1), *(told(line.get(name), LOGGED[name][1]) for name in known)) for line in log]
    return Table(f"Epochs of {run.name}", ("epoch", *(LOGGED[name][0] for name in known)), rows)


def told(value: Number | None, say: Callable[[Number], str]) -> str:
    return "–" if value is None else say(value)


def generations(search: Search) -> Table | None:
    if not search.generations:
        return None
    keys = ("generation", "evaluated", "front")
    rows = [(*(str(line[key]) for key in keys), f"{line['hypervolume']:.4f}") for line in search.generations]
    return Table("Generations", (*keys, "hypervolume"), rows)


def by_paths(run: Run) -> Table | None:
    """Quantiles of the accuracies in a supernet's statistics."""
    rows = []
    for entry in statistics(run):
        values = sorted(entry["accuracies"])
        middle = (values[0], median(values), values[-1])
        rows.append((str(entry["paths"]), calibration(entry) or "–", str(len(values)), *map(percent, middle)))
    columns = ("active paths", "batch norms", "networks", "least", "median", "most")
    return Table(f"Random networks of {run.name}", columns, rows) if rows else None


@dataclass(frozen=True)
class Phase:
    """What a run cost: seconds of computing, as a share of all, and what was done with them."""

    title: str
    run: str
    seconds: Number
    share: Number
    did: str

    @property
    def time(self) -> str:
        return seconds(self.seconds)


def phases(told_of: Story) -> list[Phase]:
    times = [spent(run) for run in told_of.runs]
    total = sum(times) or 1.0
    return [
        Phase(TITLES[run.record["kind"]].capitalize(), run.name, time, time / total, did(run))
        for run, time in zip(told_of.runs, times, strict=True)
    ]


def did(run: Run) -> str:
    """How much a run did, and how fast."""
    kind, lines = run.record["kind"], entries(run)
    if kind == "rank" and (result := run.record.get("result")):
        return f"{plural(result['n'], 'network')} ranked by {plural(len(result['estimators']), 'estimator')}"
    if not lines:
        return "nothing to be trained" if kind == "meta" and run.record["status"] == "done" else "nothing finished yet"
    each = median(line.get("seconds") or 0.0 for line in lines)
    thing, deed, *things = DID.get(kind, ("epoch", "trained"))
    return f"{plural(len(lines), thing, *things)} {deed}, {seconds(each)} each"


@dataclass(frozen=True)
class Part:
    """A table of settings: rows of (name, values by run); one value under no name where all runs agree."""

    title: str
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


def settings(runs: Sequence[Run]) -> list[Part]:
    """What the runs were asked to do, by the part of the plan."""
    plans = [(run, run.record["plan"]) for run in runs]
    general = {
        run.name: {name: value for name, value in plan.items() if name != "settings" and value not in (None, "")}
        for run, plan in plans
    }
    parts = [compared("In general", general)]
    for kind, asked in ASKED.items():
        found = {run.name: asked(run.record) for run in runs if run.record["kind"] == kind}
        parts.append(compared(TITLES[kind].capitalize(), found))
    for title in ("method", "space", "data", "deploy", "retrain"):
        values = {run.name: plan["settings"].get(title, {}) for run, plan in plans if title in COUNTS[run.record["kind"]]}
        parts.append(compared(WORDS.get(title, title.capitalize()), values))
    return [part for part in parts if part.rows]


def of_search(record: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {f"{name} at most": count(bound) for name, bound in record["limits"].items()}
    return {"objectives": record["objectives"], **bounds}


def of_direct(record: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {f"{name} at most": count(bound) for name, bound in record["limits"].items()}
    named = {"checkpoint": record.get("checkpoint"), "initial design": record.get("beginning")}
    return {**{name: value for name, value in named.items() if value}, **bounds}


def of_ranking(record: Mapping[str, Any]) -> dict[str, Any]:
    metric, sample, protocol = (record.get("result") or record).get("metric"), record.get("sample"), record.get("protocol")
    about = {"benchmark": record["bench"], "metric": metric or "the first", "protocol": protocol}
    about |= {} if protocol == "paper" else {"sample": "all" if sample is None else sample}  # the paper's loop draws its own
    about |= {"protocol hash": record.get("protocol_hash")}
    named = {"estimators": record.get("estimators"), "supernets": [Path(entry["path"]).name for entry in record["runs"]]}
    return about | {name: values for name, values in named.items() if values}


def of_table(record: Mapping[str, Any]) -> dict[str, Any]:
    about = {"benchmark": record["bench"], "networks": len(record["archs"])}
    return {**about, "repeats": record["repeats"], "workers": record["workers"]}


def of_comparison(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("bench", "dataset", "searchers", "budget", "seeds", "feedback", "same_init", "init", "spellings", "workers")
    about = {name.replace("_", " "): record[name] for name in names if record.get(name) not in (None, [])}
    return about | ({"checkpoints": spelt(given)} if (given := record.get("checkpoints")) else {})


def of_learning(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was learned from and how, of a meta-training or a tuning."""
    names = ("history", "recipe", "settings", "fidelity", "metric", "split", "without", "features")
    asked, build = record["asked"], record["asked"].get("build", {})
    about = {name: asked[name] for name in names if asked.get(name)}
    about |= {"preset": asked["preset"]} if record["kind"] == "meta" else {}  # of a tuning, that is what is looked for
    return about | {name: build[name] for name in ("encoding", "datasets") if name in build}


ASKED: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "search": of_search,
    "direct": of_direct,
    "rank": of_ranking,
    "table": of_table,
    "compare": of_comparison,
    "meta": of_learning,
    "tune": of_learning,
}
"""What the record of a run says of a kind's own settings."""


def environment(runs: Sequence[Run]) -> Part:
    return compared("Environment", {run.name: run.record.get("environment", {}) for run in runs})


def compared(title: str, by_run: Mapping[str, Mapping[str, Any]]) -> Part:
    """One row a name: a single value where all runs agree, else one for each run."""
    names = dict.fromkeys(name for values in by_run.values() for name in values)
    return Part(title, [(name, agreed({run: plain(v[name]) for run, v in by_run.items() if name in v})) for name in names])


def agreed(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Values by run, joined where they are equal; no run's name where there is only one value."""
    if len(set(values.values())) == 1:
        return [("", next(iter(values.values())))]
    runs: dict[str, list[str]] = {}
    for run, value in values.items():
        runs.setdefault(value, []).append(run)
    return [(", ".join(names), value) for value, names in runs.items()]


def plain(value: Any) -> str:
    """A setting as a recipe spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(part) for part in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def listing(runs: Sequence[Run]) -> Table:
    columns = ("run", "kind", "status", "begun", "computing")
    begun = [run.record.get("created", "").replace("T", " ") for run in runs]
    rows = [(r.name, r.record["kind"], r.state, at, seconds(spent(r))) for r, at in zip(runs, begun, strict=True)]
    return Table("Runs", columns, rows)


def existing(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]
