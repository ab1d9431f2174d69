"""Estimators: what guesses an order of networks: trained supernets, costs, depth, proxies, columns of benchmarks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from nas_suite.cost import COSTS, cost
from nas_suite.errors import BadInput, suggest
from nas_suite.ground import basis, check_basis, check_finished
from nas_suite.pipeline import probing
from nas_suite.pipeline.field import Field, bench, space_of_table
from nas_suite.pipeline.setting import space_of
from nas_suite.pipeline.training import trained
from nas_suite.plan import Plan
from nas_suite.proxies import PROXIES
from nas_suite.run import Run, all_runs, run_at
from nas_suite.space import SearchSpace

BASELINES = ("params", "macs", "depth")
"""What every estimator must beat to be worth its cost."""

Score: TypeAlias = Callable[[Sequence[int]], Sequence[float]]
"""Scores of networks by their place in the field; the higher the better, NaN where there is none."""


def fine(field: Field) -> None:
    """A check that finds nothing wrong."""


def void(_: object) -> None:
    """What comes of a check that is done by doing."""


@dataclass(frozen=True)
class Source:
    """One thing that scores: a run, a column, a count. `begin` makes it ready; a quick one answers at once for all. `check`
    says, before a ranking is begun, why it could not. `sees` says that it looks at images of the benchmark's data set."""

    name: str
    begin: Callable[[Field], Score]
    quick: bool = True
    check: Callable[[Field], None] = fine
    sees: bool = False


@dataclass(frozen=True)
class Estimator:
    """One entry of a ranking: the mean score of its sources, which are the seeds of one method where they are several."""

    name: str
    kind: str
    sources: tuple[Source, ...]
    training_seconds: float = 0.0


def estimator(name: str) -> Estimator:
    """A baseline, a zero-cost proxy, or a column of a benchmark as `BENCH:METRIC`; BadInput says what there is."""
    if name in BASELINES:
        return Estimator(name, "baseline", (Source(name, lambda field: baseline(name, field)),))
    if name in PROXIES:
        begin, check = partial(probing.probe, name), partial(probing.check, name)
        source = Source(name, begin, quick=False, check=check, sees=PROXIES[name].needs != "nothing")
        return Estimator(name, "proxy", (source,))
    if ":" in name:
        begin = partial(column, name)
        return Estimator(name, "column", (Source(name, begin, check=lambda field: void(begin(field))),))
    known = suggest(name, [*BASELINES, *PROXIES, "BENCH:METRIC"], most=40)
    raise BadInput(f"unknown estimator {name!r}{known}; runs are given with --run")


def baseline(name: str, field: Field) -> Score:
    """The network's cost or depth: larger is taken for better."""
    count: Callable[[Any], float] = cost(name, field.space).total if name in COSTS else field.space.depth
    return lambda places: [field.sign * float(count(field.native(at))) for at in places]


def column(name: str, field: Field) -> Score:
    """What another benchmark, or another column of the same, says of the same networks."""
    other, _, metric = name.partition(":")
    table = bench(other)
    if [v.labels for v in space_of_table(table).variables] != [v.labels for v in field.space.variables]:
        raise BadInput(f"{name}: {other} holds networks of {table.space}, not of {field.table.space}")
    means = table.means(table.metric(metric).name)

    def score(places: Sequence[int]) -> list[float]:
        rows = [table.find(field.native(at)) for at in places]
        return [float("nan") if row is None else field.sign * float(means[row]) for row in rows]

    return score


def of_runs(runs: Sequence[Run]) -> Iterator[Estimator]:
    """Supernets as estimators: runs that differ in nothing but their seed are one, named after the first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        check_supernet(run)
        plan = {key: value for key, value in run.record["plan"].items() if key != "seed"}
        groups.setdefault(repr(sorted(plan.items(), key=repr)), []).append(run)
    for group in groups.values():
        name = group[0].name if len(group) == 1 else f"{group[0].name} ×{len(group)}"
        seconds = sum(line.get("seconds", 0.0) for run in group for line in run.epochs())
        yield Estimator(name, group[0].record["plan"]["method"], tuple(map(source, group)), seconds)


def check_supernet(run: Run) -> None:
    if run.record["kind"] != "supernet":
        raise BadInput(f"{run.path} is a {run.record['kind']} run; --run takes trained supernets")
    check_finished(run)


def source(run: Run) -> Source:
    """One-shot accuracies of a supernet run, as its method scores them."""

    def begin(field: Field) -> Score:
        _, method = trained(run)
        objective = method.scorer()
        turn = (lambda score: score) if objective.goal == "max" else (lambda score: 1.0 - score)  # an error into an accuracy
        return lambda places: [turn(float(score)) for score in objective.score([field.archs[at] for at in places])]

    return Source(run.name, begin, quick=False)


def own_space(runs: Sequence[Run]) -> SearchSpace | None:
    """The space that runs score in; None where there are none. BadInput where they are of several."""
    spaces = [(run, space_of(Plan.from_record(run.record["plan"]))) for run in runs]
    for run, space in spaces[1:]:
        if [v.labels for v in space.variables] != [v.labels for v in spaces[0][1].variables]:
            raise BadInput(f"{run.name} is of another space than {spaces[0][0].name}; rank them one after the other")
    return spaces[0][1] if spaces else None


def fitting(table_space: str, space: SearchSpace) -> list[Run]:
    """The finished supernets under the folder of runs whose space is the benchmark's."""
    labels = [v.labels for v in space.variables]
    found = []
    for run in all_runs():
        plan = run.record["plan"]
        if (run.record["kind"], run.record["status"], plan["space"]) == ("supernet", "done", table_space):
            try:
                if [v.labels for v in space_of(Plan.from_record(plan)).variables] == labels:
                    found.append(run)
            except BadInput:
                continue
    return found


def recorded(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs as a record keeps them, with what names their weights."""
    return [{"path": str(run.path.resolve()), "basis": basis(run)} for run in runs]


def reopened(ranking: Run, entries: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Recorded runs; BadInput where one is gone or has other weights now."""
    found = []
    for entry in entries:
        run = run_at(str(Path(entry["path"])))
        check_supernet(run)
        check_basis(ranking, run, entry["basis"])
        found.append(run)
    return found
