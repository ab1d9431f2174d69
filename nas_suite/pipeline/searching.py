"""Searching a trained supernet, the front that was found, and the choice of one network."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas_suite.cost import COSTS, Cost, cost
from nas_suite.engine import Progress, silent
from nas_suite.errors import BadInput, suggest
from nas_suite.ground import basis, check_finished
from nas_suite.latency.conditions import ANY, Conditions
from nas_suite.latency.table import LatencyTable
from nas_suite.method import Method
from nas_suite.objective import Objective
from nas_suite.pipeline.latencies import table_for
from nas_suite.pipeline.setting import TABLE, Setting, check_ground, deployed, new_run, priced, space_of, table_of, work
from nas_suite.pipeline.training import trained
from nas_suite.plan import Plan
from nas_suite.run import Run, handle
from nas_suite.search import Limit, archive, drive, knee, losses_of
from nas_suite.words import plural

LATENCY = "latency"


def objectives_for(names: Sequence[str], setting: Setting, method: Method) -> list[Objective]:
    """Objectives by name: `error` as the method scores it, and costs."""
    known = {"error": method.scorer, **{name: found.objective for name, found in costs_of(setting).items()}}
    for name in names:
        if name not in known:
            raise BadInput(f"unknown objective {name!r}{suggest(name, known)}")
    if len(set(names)) != len(names):
        raise BadInput(f"objectives {', '.join(names)} name one twice")
    return [known[name]() for name in names]


def costs_of(setting: Setting) -> dict[str, Cost]:
    """The costs of the setting's networks by name: those that are counted, and the latency where a table was found for it."""
    latency = {} if setting.latency is None else {LATENCY: setting.latency}
    return {**{name: cost(name, setting.space) for name in COSTS}, **latency}


def limits_for(bounds: Mapping[str, float], setting: Setting) -> list[Limit]:
    known = costs_of(setting)
    for name in bounds:
        if name not in known:
            raise BadInput(f"--max {name}: unknown cost{suggest(name, known)}")
    return [Limit(known[name].objective(), bound) for name, bound in bounds.items()]


def search_supernet(
    supernet: Run,
    plan: Plan,
    objectives: Sequence[str],
    bounds: Mapping[str, float],
    out: Path | None = None,
    progress: Progress = silent,
    table: str | None = None,
    asked: Conditions = ANY,
) -> Run:
    """Searches a trained supernet; `plan` is the supernet's with the search's settings changed. Returns the search's run.

    Where the latency is an objective or bounded, it is that of the networks as they are deployed, by a latency `table`: a file,
    a name in the user's folder, or the newest that fits this machine, which must have been measured as is `asked`.
    """
    check_ground(supernet, plan, "a search", ("method", "space", "data"))
    check_finished(supernet)
    setting, method = trained(supernet, plan)
    setting, found = with_latency(setting, (*objectives, *bounds), table, asked)
    objectives_for(objectives, setting, method)
    method.searcher([], limits_for(bounds, setting))  # a limit that nothing meets is refused before a run is made
    run = new_run(
        "search", f"search_{plan.method}_{plan.space}_{plan.data}", setting, out,
        supernet=str(supernet.path.resolve()), basis=basis(supernet), objectives=list(objectives), limits=dict(bounds),
        table=str(Path(found.where).resolve()) if found else "",
    )  # fmt: skip
    if found is not None:
        found.write(run.path / TABLE)
    return continue_search(run, setting, method, progress)


def with_latency(
    setting: Setting, names: Iterable[str], table: str | None, asked: Conditions
) -> tuple[Setting, LatencyTable | None]:
    """The setting with the latency of its networks as they are deployed, and the table that it goes by, where the latency is
    among the objectives and costs named."""
    if LATENCY in names:
        found = table_for(setting.plan.space, deployed(setting), table, asked)
        return priced(setting, found), found
    if table is not None or asked != ANY:
        raise BadInput(
            "--table, --batch, --dtype and --resolution have no effect without --objective latency or --max latency=MS"
        )
    return setting, None


def continue_search(run: Run, setting: Setting, method: Any, progress: Progress) -> Run:
    if setting.latency is None and run.record.get("table"):
        setting = priced(setting, table_of(run))
    objectives = objectives_for(run.record["objectives"], setting, method)
    searcher = method.searcher(objectives, limits_for(run.record["limits"], setting))
    return work(run, lambda: drive(searcher, setting.space, objectives, method.budget, run, progress))


def front(run: Run) -> list[dict[str, Any]]:
    """The non-dominated trials of a search run, best first in the first objective."""
    return list(archive(run.trials(), signs(run)))


def signs(run: Run) -> list[Objective]:
    """The search's objectives by name alone; all of them are minimised."""
    return [Objective(name, "min", lambda archs: []) for name in run.record["objectives"]]


def derived(run: Run, ranked: bool) -> str:
    """The one network that a bi-level search came to."""
    if ranked:
        raise BadInput(f"{run.name} came to one network, not to a front: leave --best and --knee out")
    if "result" not in run.record:
        raise BadInput(f"{run.path} has not come to a network yet; `nas runs resume {handle(run)}` goes on with it")
    return run.record["result"]["arch"]


def chosen(run: Run, best: int | None, at_knee: bool) -> str:
    """The winner of a search by trainings, or its K-th best network as the search trained it."""
    if at_knee:
        raise BadInput(f"{run.name} looked for accuracy alone, so it has no knee: leave --knee out")
    if best is None and "result" in run.record:
        return run.record["result"]["arch"]
    found = ranked(run)
    if not found:
        raise BadInput(f"{run.path} has no trained network yet; `nas runs resume {handle(run)}` goes on with it")
    if not 1 <= (best or 1) <= len(found):
        raise BadInput(f"--best {best}: {run.name} trained {plural(len(found), 'network')}, 1 is the most accurate")
    return found[(best or 1) - 1]["arch"]


def ranked(run: Run) -> list[dict[str, Any]]:
    """The networks that a search trained, the most accurate first; of equals the one that was asked for first."""
    fine = [trial for trial in run.trials() if trial["status"] == "ok"]
    return sorted(fine, key=lambda trial: (trial["values"]["error"], trial["trial"]))


def choose(run: Run, best: int | None = None, at_knee: bool = False, arch: str | None = None) -> str:
    """The architecture to retrain: `arch` itself, the K-th best of the front in its first objective, or its knee."""
    if arch is not None:
        space = space_of(Plan.from_record(run.record["plan"]).as_deployed())
        return space.describe(space.parse(arch))
    if run.record["kind"] == "bilevel":
        return derived(run, best is not None or at_knee)
    if run.record["kind"] == "direct":
        return chosen(run, best, at_knee)
    if run.record["kind"] != "search":
        raise BadInput(f"{run.path} is a {run.record['kind']} run: name a search run, or an architecture with --arch")
    found = front(run)
    if not found:
        raise BadInput(f"{run.path} has no evaluated network yet; `nas runs resume {handle(run)}` goes on with it")
    if at_knee:
        import numpy as np

        return found[knee(np.array([losses_of(t, signs(run)) for t in found]))]["arch"]
    if best is not None and not 1 <= best <= len(found):
        raise BadInput(f"--best {best}: the front of {run.name} has {plural(len(found), 'network')}, 1 is the most accurate")
    return found[(best or 1) - 1]["arch"]
