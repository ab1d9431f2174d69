"""Estimators: what guesses an order of networks: trained supernets, costs, depth, proxies, columns of benchmarks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from nas_suite.cost import COSTS, cost
from nas_suite.data import DATA
from nas_suite.data.download import SOURCES
from nas_suite.errors import BadInput, suggest
from nas_suite.ground import basis, check_basis, check_finished
from nas_suite.pipeline import probing
from nas_suite.pipeline.field import Field, bench, made_with, space_of_table, unlike
from nas_suite.pipeline.setting import lasting, space_of
from nas_suite.pipeline.training import trained
from nas_suite.plan import FIT, Plan
from nas_suite.proxies import PROXIES
from nas_suite.registry import defaults
from nas_suite.run import Run, all_runs, run_at
from nas_suite.space import SearchSpace
from nas_suite.spaces import SPACES
from nas_suite.tables import Column, Table

BASELINES = ("params", "macs", "depth")
"""What every estimator must beat to be worth its cost."""
NAMED = 5  # runs that a remark lists

Score: TypeAlias = Callable[[Sequence[int]], Sequence[float]]
"""Guesses of networks by their place in the field, NaN where there is none. All are read as guesses of the metric: the larger
the guess, the larger the metric, whether more of that is better or less."""


def fine(field: Field) -> None:
    """A check that finds nothing wrong."""


def void(_: object) -> None:
    """What comes of a check that is done by doing."""


@dataclass(frozen=True)
class Source:
    """One thing that scores: a run, a column, a count. `begin` makes it ready; a quick one answers at once for all. `check`
    says, before a ranking is begun, why it could not. `sees` says that it looks at images of the benchmark's data set; `gap`,
    what it means where a network has no score and nothing went wrong."""

    name: str
    begin: Callable[[Field], Score]
    quick: bool = True
    check: Callable[[Field], None] = fine
    sees: bool = False
    gap: str = ""


@dataclass(frozen=True)
class Estimator:
    """One entry of a ranking: the mean score of its sources, which are the seeds of one method where they are several.
    `accurate` says that it guesses how accurate a network is, and no count or cost."""

    name: str
    kind: str
    sources: tuple[Source, ...]
    training_seconds: float = 0.0
    accurate: bool = False


def estimator(name: str) -> Estimator:
    """A baseline, a zero-cost proxy, or a column of a benchmark as `BENCH:METRIC`; BadInput says what there is."""
    if name in BASELINES:
        return Estimator(name, "baseline", (Source(name, lambda field: baseline(name, field)),))
    if name in PROXIES:
        begin, check = partial(probing.probe, name), partial(probing.check, name)
        sees, gap = PROXIES[name].needs != "nothing", "no number for them, such as where nothing of an image reaches the output"
        source = Source(name, begin, quick=False, check=check, sees=sees, gap=gap)
        return Estimator(name, "proxy", (source,), accurate=True)
    if ":" in name:
        begin, (table, of) = partial(column, name), column_of(name)
        source = Source(name, begin, check=lambda field: void(begin(field)), gap=f"{table.name} has none of them")
        return Estimator(name, "column", (source,), accurate=of.goal == "max")
    known = suggest(name, [*BASELINES, *PROXIES, "BENCH:METRIC"], most=40)
    raise BadInput(f"unknown estimator {name!r}{known}; runs are given with --run")


def baseline(name: str, field: Field) -> Score:
    """The network's cost or depth."""
    count: Callable[[Any], float] = cost(name, field.space).total if name in COSTS else field.space.depth
    return lambda places: [float(count(field.native(at))) for at in places]


def column_of(name: str) -> tuple[Table, Column]:
    """What `BENCH:METRIC` means."""
    other, _, metric = name.partition(":")
    table = bench(other)
    return table, table.metric(metric)


def column(name: str, field: Field) -> Score:
    """What another benchmark, or another column of the same, says of the same networks."""
    table, of = column_of(name)
    if [v.labels for v in space_of_table(table).variables] != [v.labels for v in field.space.variables]:
        raise BadInput(f"{name}: {table.name} holds networks of {table.space}, not of {field.table.space}")
    means = table.means(of.name)

    def score(places: Sequence[int]) -> list[float]:
        rows = [table.find(field.native(at)) for at in places]
        return [float("nan") if row is None else float(means[row]) for row in rows]

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
        yield Estimator(name, group[0].record["plan"]["method"], tuple(map(source, group)), seconds, accurate=True)


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


def own_space(runs: Sequence[Run]) -> tuple[SearchSpace | None, str]:
    """The space that runs score in, None where there are none, and whose it is; BadInput where they are of several."""
    spaces = [space_of(Plan.from_record(run.record["plan"])) for run in runs]
    whose = [f"{run.record['plan']['space']}, the space of run {run.name}" for run in runs]
    for space, said in zip(spaces[1:], whose[1:], strict=True):
        if [v.labels for v in space.variables] != [v.labels for v in spaces[0].variables]:
            apart = unlike(space, spaces[0])
            raise BadInput(f"{said}, and {whose[0]}, are not one{apart}; rank their runs one after the other")
    return (spaces[0], whose[0]) if spaces else (None, "")


def fitting(table: Table, metric: Column) -> tuple[list[Run], str]:
    """The finished supernets under the folder of runs that a metric can judge: of the benchmark's space, and trained on the
    metric's data; none where it is a cost, for they guess accuracies. In words: which of that space were left out, and why."""
    labels = [v.labels for v in space_of_table(table).variables]
    found = []
    for run in all_runs():
        plan = run.record["plan"]
        if (run.record["kind"], run.record["status"], plan["space"]) == ("supernet", "done", table.space):
            try:
                if [v.labels for v in space_of(Plan.from_record(plan)).variables] == labels:
                    found.append(run)
            except BadInput:
                continue
    if metric.goal == "min":
        why, others = f"supernets guess accuracies, and {metric.name} is a cost", {run.name: run.name for run in found}
    else:
        why = f"trained on other data than {metric.name} is of ({judged_on(table, metric)})"
        others = {run.name: f"{run.name} ({data})" for run, data in strangers(found, table, metric)}
    damaged = [run.name for run in found if run.name not in others and not whole(run)]
    said = [f"left out, {why}: {listed([*others.values()])}; --run takes one all the same"] if others else []
    said += [f"left out, for no checkpoint of theirs is whole: {listed(damaged)}"] if damaged else []
    return [run for run in found if run.name not in others and run.name not in damaged], ". ".join(said)


def whole(run: Run) -> bool:
    """Whether there is a checkpoint that can be read."""
    try:
        return run.load() is not None
    except BadInput:
        return False


def strangers(runs: Sequence[Run], table: Table, metric: Column) -> list[tuple[Run, str]]:
    """The runs that were trained on other data than a metric's, each with its own; none where the metric is of no data."""
    wanted = judged_on(table, metric)
    pairs = [(run, images_of(run.record["plan"])) for run in runs]
    return [(run, data) for run, data in pairs if wanted and data != wanted]


def judged_on(table: Table, metric: Column) -> str:
    """The data of a metric, or else of its table's first accuracy, as `images_of` tells them."""
    data = metric.data or next((column.data for column in table.columns.values() if column.data), "")
    made = made_with(table, data)
    return images_of(made) if made else data


def images_of(plan: Mapping[str, Any]) -> str:
    """A plan's data set; of a user's own images also where they lie."""
    name, path = plan["data"], plan["settings"].get("data", {}).get("path")
    return name if name in SOURCES or not path else f"{name} {path}"


def cautions(runs: Sequence[Run], judged: Sequence[Estimator], table: Table, metric: Column) -> list[str]:
    """What is to be borne in mind of estimators: other data or settings, the truth itself, or guesses of accuracy of a cost."""
    of = judged_on(table, metric)
    said = [f"{run.name} was trained on {data}; {metric.name} is of {of}" for run, data in strangers(runs, table, metric)]
    said += otherwise(runs, table, metric)
    columns = {e.name: column_of(e.name) for e in judged if e.kind == "column"}
    said += [
        f"{name} is {metric.name} of {table.name}, the truth that it is judged by: its tau says nothing"
        for name, (of, column) in columns.items()
        if (of.path, column.name) == (table.path, metric.name)
    ]
    accurate = [e.name for e in judged if e.accurate]
    if metric.goal == "min" and accurate:
        said.append(
            f"{metric.name} is a cost, of which less is better, but guesses of accuracy are compared with it "
            f"({listed(accurate)}): a tau above 0 says that what they deem better costs more"
        )
    return said


def otherwise(runs: Sequence[Run], table: Table, metric: Column) -> list[str]:
    """The settings in which runs differ from what made the benchmark: of its data, where the metric is of these, and of its
    space. A line for those that differ alike."""
    groups = dict[str, list[str]]()
    for run in runs:
        plan = run.record["plan"]
        made = made_with(table, metric.data or plan["data"])
        found = []
        if made.get("data") == plan["data"]:
            own, theirs = (p["settings"].get("data", {}) for p in (plan, made))
            found += differences("data", DATA.load(plan["data"]), own, theirs, ("path",))  # which `strangers` looks at
        if plan["space"] == table.space:
            found += differences("space", SPACES.load(table.space), plan["settings"]["space"], table.settings, FIT)
        if found:
            groups.setdefault("; ".join(found), []).append(run.name)
    return [f"{listed(names)}: settings differ from those that made {table.name}: {what}" for what, names in groups.items()]


def differences(part: str, cls: type, own: Mapping[str, Any], theirs: Mapping[str, Any], but: Sequence[str]) -> list[str]:
    """The settings, defaults where they are not spelt out, that are not the same: `data.noise = 0.0, not 0.25`."""
    one, other = ({**{name: lasting(value) for name, value in defaults(cls).items()}, **values} for values in (own, theirs))
    return [
        f"{part}.{name} = {one[name]!r}, not {other[name]!r}"
        for name in one
        if name in other and name not in but and one[name] != other[name]
    ]


def listed(names: Sequence[str]) -> str:
    """Some names, and how many they are where these are not all."""
    return ", ".join(names[:NAMED]) + (f", … ({len(names)} in all)" if len(names) > NAMED else "")


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
