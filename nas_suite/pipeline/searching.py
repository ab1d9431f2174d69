"""Searching a trained supernet, the front that was found, and the choice of one network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas_suite.cost import COSTS, cost
from nas_suite.engine import Progress, silent
from nas_suite.errors import BadInput, suggest
from nas_suite.ground import basis, check_finished
from nas_suite.method import Method
from nas_suite.objective import Objective
from nas_suite.pipeline.setting import Setting, check_ground, new_run, space_of, work
from nas_suite.pipeline.training import trained
from nas_suite.plan import Plan
from nas_suite.run import Run, handle
from nas_suite.search import Limit, archive, drive, knee, losses_of
from nas_suite.space import SearchSpace


def objectives_for(names: Sequence[str], setting: Setting, method: Method) -> list[Objective]:
    """Objectives by name: `error` as the method scores it, and costs."""
    known = {"error": method.scorer, **{name: lambda n=name: cost(n, setting.space).objective() for name in COSTS}}
    for name in names:
        if name not in known:
            raise BadInput(f"unknown objective {name!r}{suggest(name, known)}")
    if len(set(names)) != len(names):
        raise BadInput(f"objectives {', '.join(names)} name one twice")
    return [known[name]() for name in names]


def limits_for(bounds: Mapping[str, float], space: SearchSpace) -> list[Limit]:
    for name in bounds:
        if name not in COSTS:
            raise BadInput(f"--max {name}: unknown cost{suggest(name, COSTS)}")
    return [Limit(cost(name, space).objective(), bound) for name, bound in bounds.items()]


def search_supernet(
    supernet: Run,
    plan: Plan,
    objectives: Sequence[str],
    bounds: Mapping[str, float],
    out: Path | None = None,
    progress: Progress = silent,
) -> Run:
    """Searches a trained supernet; `plan` is the supernet's with the search's settings changed. Returns the search's run."""
    check_ground(supernet, plan, "a search", ("method", "space", "data"))
    check_finished(supernet)
    setting, method = trained(supernet, plan)
    objectives_for(objectives, setting, method)
    method.searcher([], limits_for(bounds, setting.space))  # a limit that nothing meets is refused before a run is made
    run = new_run(
        "search", f"search_{plan.method}_{plan.space}_{plan.data}", setting, out,
        supernet=str(supernet.path.resolve()), basis=basis(supernet), objectives=list(objectives), limits=dict(bounds),
    )  # fmt: skip
    return continue_search(run, setting, method, progress)


def continue_search(run: Run, setting: Setting, method: Any, progress: Progress) -> Run:
    objectives = objectives_for(run.record["objectives"], setting, method)
    searcher = method.searcher(objectives, limits_for(run.record["limits"], setting.space))
    return work(run, lambda: drive(searcher, setting.space, objectives, method.budget, run, progress))


def front(run: Run) -> list[dict[str, Any]]:
    """The non-dominated trials of a search run, best first in the first objective."""
    return list(archive(run.trials(), signs(run)))


def signs(run: Run) -> list[Objective]:
    """The search's objectives by name alone; all of them are minimised."""
    return [Objective(name, "min", lambda archs: []) for name in run.record["objectives"]]


def choose(run: Run, best: int | None = None, at_knee: bool = False, arch: str | None = None) -> str:
    """The architecture to retrain: `arch` itself, the K-th best of the front in its first objective, or its knee."""
    if arch is not None:
        space = space_of(Plan.from_record(run.record["plan"]))
        return space.describe(space.parse(arch))
    if run.record["kind"] != "search":
        raise BadInput(f"{run.path} is a {run.record['kind']} run: name a search run, or an architecture with --arch")
    found = front(run)
    if not found:
        raise BadInput(f"{run.path} has no evaluated network yet; `nas runs resume {handle(run)}` goes on with it")
    if at_knee:
        import numpy as np

        return found[knee(np.array([losses_of(t, signs(run)) for t in found]))]["arch"]
    if best is not None and not 1 <= best <= len(found):
        raise BadInput(f"--best {best}: the front of {run.name} has {len(found)} networks, 1 is the most accurate")
    return found[(best or 1) - 1]["arch"]
