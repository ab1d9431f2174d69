"""What a report tells of: runs with those that they came from, what a search found, the networks that were trained."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nas_suite import pipeline
from nas_suite.artefact import check_network
from nas_suite.cost import COSTS, cost
from nas_suite.errors import BadInput
from nas_suite.pipeline.ranking import SCORES
from nas_suite.plan import Plan
from nas_suite.report.words import Number, objective
from nas_suite.run import JOBS, LOG, ROWS, TRIALS, Run
from nas_suite.space import SearchSpace, Sketch

KINDS = ("table", "tune", "meta", "supernet", "rank", "compare", "search", "bilevel", "direct", "retrain")
SOURCES = ("supernet", "origin", "checkpoint")
LINES = {"rank": (SCORES, "arch"), "table": (ROWS, "arch"), "compare": (JOBS, "searcher"), "tune": (TRIALS, "status")}
"""Where runs write their pieces of work, and which text each of these has."""
STATISTICS = "statistics.json"


@dataclass(frozen=True)
class Story:
    """Runs in the order of work, oldest first within a kind, and the folders of sources that are no longer there."""

    runs: list[Run]
    lost: list[str]

    def of(self, kind: str) -> list[Run]:
        return [run for run in self.runs if run.record["kind"] == kind]

    def source(self, run: Run) -> Run | None:
        """The run that this one came from."""
        sought = {place(path) for path in sources(run)}
        return next((other for other in self.runs if place(str(other.path)) in sought), None)


def story(runs: Iterable[Run]) -> Story:
    """`runs` and all that they came from: a search's supernet, a ranking's, a retraining's search.

    BadInput where the network of a retraining is not the one that it wrote.
    """
    found: dict[str, Run] = {}
    lost: dict[str, None] = {}
    waiting = [Run(run.path.absolute(), run.record) for run in runs]  # for a page is read in any folder
    while waiting:
        run = waiting.pop(0)
        if place(str(run.path)) in found:
            continue
        found[place(str(run.path))] = run
        check_network(run)
        for path in sources(run):
            try:
                waiting.append(Run.open(Path(path)))
            except BadInput:
                lost[path] = None
    order = sorted(found.values(), key=lambda r: (KINDS.index(r.record["kind"]), r.record.get("created", ""), r.name))
    return Story(order, list(lost))


def place(path: str) -> str:
    return str(Path(path).resolve())


def sources(run: Run) -> list[str]:
    """The folders of the runs that a run came from. Where a folder was moved with its neighbours, the one beside the run."""
    found = []
    paths = [run.record[key] for key in SOURCES if key in run.record]
    for named in map(Path, [*paths, *(entry["path"] for entry in run.record.get("runs", ()))]):
        beside = run.path.resolve().parent / named.name
        found.append(str(beside if not named.exists() and beside.exists() else named))
    return found


def space_of(run: Run) -> SearchSpace | None:
    """The space of a run; None where it is not on this machine or has changed."""
    try:
        plan = Plan.from_record(run.record["plan"])
        return pipeline.space_of(plan.with_settings("space", plan.part("deploy")) if run.record["kind"] == "bilevel" else plan)
    except BadInput:
        return None


@dataclass(frozen=True)
class Network:
    """An architecture of a run's space. `result` is what retraining it came to, None where that was not done or finished."""

    arch: str
    run: Run
    result: Mapping[str, Any] | None = None

    @cached_property
    def space(self) -> SearchSpace | None:
        return space_of(self.run)

    @cached_property
    def sketch(self) -> Sketch | None:
        """None where the space is not at hand or has changed."""
        try:
            return self.space.sketch(self.space.parse(self.arch)) if self.space else None
        except BadInput:
            return None

    @property
    def test(self) -> Number:
        """Test accuracy, 0 … 1, of the weights that were best by validation."""
        return self.result["test_accuracy"]["best"] if self.result else math.nan

    @cached_property
    def costs(self) -> dict[str, Number]:
        """Multiply-adds and parameters; empty where the space is not at hand."""
        if self.result:
            return {name: self.result[name] for name in COSTS if name in self.result}
        if self.space is None or self.sketch is None:
            return {}
        arch = self.space.parse(self.arch)
        return {name: cost(name, self.space).total(arch) for name in COSTS}


def networks(told: Story) -> list[Network]:
    """What retraining runs trained, the best by validation first, unfinished ones last."""
    found = [Network(run.record["arch"], run, run.record.get("result")) for run in told.of("retrain")]
    return sorted(found, key=lambda n: -n.result["val_accuracy"] if n.result else 1.0)


class Search:
    """A search run, read once: its trials, its front and what stands out on it."""

    def __init__(self, run: Run, told: Story) -> None:
        self.run = run
        self.objectives: list[str] = list(run.record["objectives"])
        self.limits: dict[str, Number] = dict(run.record.get("limits", {}))
        self.trials = run.trials()
        self.fine = [trial for trial in self.trials if trial["status"] == "ok"]
        self.failed = [trial for trial in self.trials if trial["status"] != "ok"]
        self.generations = [line for line in run.lines(LOG) if "hypervolume" in line]
        self.front = pipeline.front(run)
        self.retrained = {n.arch: n for n in reversed(networks(told)) if told.source(n.run) is run}

    def title(self, name: str) -> str:
        """What an objective is called where its values stand."""
        return ("one-shot " if name == "error" and "supernet" in self.run.record else "") + objective(name)

    @cached_property
    def marks(self) -> dict[str, list[str]]:
        """Why an architecture stands out, by its text: the most accurate, the knee, chosen, retrained."""
        found: dict[str, list[str]] = {}
        if self.front:
            best = "most accurate" if self.objectives[0] == "error" else f"best {self.objectives[0]}"
            found.setdefault(self.front[0]["arch"], []).append(best)
            if len(self.objectives) > 1:
                found.setdefault(pipeline.choose(self.run, at_knee=True), []).append("knee")
        for arch, network in self.retrained.items():
            found.setdefault(arch, []).append("retrained" if network.result else "chosen")
        return found

    @cached_property
    def paths(self) -> list[int]:
        """How many active paths each evaluated network has; none where the space is not at hand or has changed."""
        space = space_of(self.run)
        try:
            return [space.sketch(space.parse(trial["arch"])).paths for trial in self.fine] if space else []
        except BadInput:
            return []

    def value(self, arch: str, objective: str) -> Number | None:
        """What the search found an architecture to have; None where it did not evaluate it."""
        return next((trial["values"][objective] for trial in self.fine if trial["arch"] == arch), None)


def statistics(run: Run) -> list[dict[str, Any]]:
    """Accuracies of random networks by their number of active paths, from the run's statistics; none where there are none."""
    try:
        entries = json.loads((run.path / STATISTICS).read_text())["by_paths"]
        return [entry for entry in entries if entry["accuracies"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def calibration(entry: Mapping[str, Any]) -> str:
    """Whether an entry of the statistics was scored with calibrated batch norms, in words; none where it does not say."""
    return {True: "calibrated", False: "not calibrated"}[entry["calibrated"]] if "calibrated" in entry else ""


def entries(run: Run) -> list[dict[str, Any]]:
    """What a run wrote down as it went, a line a piece of work: epochs, evaluations, scores, trainings or searches."""
    kind = run.record["kind"]
    if kind in LINES:
        file, named = LINES[kind]
        return [line for line in run.lines(file) if isinstance(line.get(named), str)]
    if kind == "direct":
        return [*run.trials(), *(line for line in run.lines(ROWS) if "val" in line)]
    return run.trials() if kind == "search" else run.epochs()


def spent(run: Run) -> Number:
    """Seconds of computing that a run wrote down; what of a ranking is too quick to be written down counts when it is done."""
    result = run.record.get("result") if run.record["kind"] == "rank" else None
    return sum(line.get("seconds") or 0.0 for line in (result["estimators"] if result else entries(run)))
