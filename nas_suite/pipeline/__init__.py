"""The story in order: plan, problem, train a supernet, rank, search it, retrain what was found, evaluate, resume."""

from pathlib import Path
from typing import Any

from torch import nn

from nas_suite.artefact import load_network, whole_network
from nas_suite.engine import Progress, silent
from nas_suite.ground import check_basis, check_finished, intact
from nas_suite.pipeline.comparing import compare, resume_comparing
from nas_suite.pipeline.contest import BUDGET, Contest, within_candidates
from nas_suite.pipeline.contest import check as check_contest
from nas_suite.pipeline.deriving import Round, continue_deriving, derive, latency_table, target_ms
from nas_suite.pipeline.direct import ENDS, continue_directly, search_directly
from nas_suite.pipeline.field import bench
from nas_suite.pipeline.making import make, resume_making, unfinished
from nas_suite.pipeline.ranking import Request, check, check_estimators, rank_networks, resume_ranking
from nas_suite.pipeline.retraining import continue_retrain, evaluate, retrain, standalone
from nas_suite.pipeline.searching import choose, continue_search, front, ranked, search_supernet
from nas_suite.pipeline.setting import build, check_ground, environment, prepare, prepare_on, priced, space_of, table_of, typed
from nas_suite.pipeline.training import continue_supernet, train_supernet, trained
from nas_suite.plan import Plan
from nas_suite.run import Run
from nas_suite.spaces import SPACES
from nas_suite.tables import there

__all__ = [
    "BUDGET",
    "ENDS",
    "Contest",
    "Request",
    "Round",
    "bench",
    "build",
    "check",
    "check_contest",
    "check_estimators",
    "check_ground",
    "choose",
    "compare",
    "derive",
    "environment",
    "evaluate",
    "front",
    "latency_table",
    "load",
    "make",
    "prepare",
    "prepare_on",
    "rank_networks",
    "ranked",
    "resume",
    "retrain",
    "search_directly",
    "search_supernet",
    "space_of",
    "target_ms",
    "train_supernet",
    "trained",
    "typed",
    "unfinished",
    "within_candidates",
]


def resume(run: Run, progress: Progress = silent) -> Run:
    """Goes on with a run of any kind from its last saved state; a finished one that is whole is returned as it is, a table
    that was removed is written again from the rows of its run."""
    kind = run.record["kind"]
    if kind == "meta":
        from nas_suite.pipeline.meta import continue_meta, whole  # gpytorch and SQLAlchemy take half a second to import

        return run if run.record["status"] == "done" and whole(run) else continue_meta(run, progress)
    if kind == "tune":
        from nas_suite.pipeline.tuning import continue_tuning, kept  # as above

        return run if run.record["status"] == "done" and kept(run) else continue_tuning(run, progress)
    there_still = kind != "table" or run.record["bench"] in there()
    if run.record["status"] == "done" and intact(run) and whole_network(run) and there_still:
        return run
    if kind == "rank":
        return resume_ranking(run, progress)
    if kind == "compare":
        return resume_comparing(run, progress)
    plan = Plan.from_record(run.record["plan"])
    if kind == "search":
        supernet = Run.open(Path(run.record["supernet"]))
        check_finished(supernet)
        setting, method = trained(supernet, plan)
        check_basis(run, supernet)
        return continue_search(run, setting, method, progress)
    if kind == "table":
        return resume_making(run, progress)
    setting = prepare_on(run, plan)
    if kind == "bilevel":
        setting = priced(setting, table_of(run))
        return continue_deriving(run, setting, build(setting), progress)
    if kind == "direct":
        return continue_directly(run, setting, progress)
    if kind == "supernet":
        return continue_supernet(run, setting, build(setting), progress)
    return continue_retrain(run, setting, standalone(setting, run.record["arch"]), progress)


def load(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network that `retrain` wrote into a folder, in evaluation mode, and what its arch.json says."""
    return load_network(Path(folder), SPACES)
