"""Comparing searchers on a benchmark: each searches it once a seed, in processes of their own, and is judged after."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite.disk import finite
from nas_suite.engine import Progress, Signals, silent
from nas_suite.errors import BadInput
from nas_suite.pipeline import learning, regret, sights
from nas_suite.pipeline.contest import DESIGN, PAPER, Arena, Contest, contest, opened, published, stood_on
from nas_suite.pipeline.setting import environment, settings_of, work
from nas_suite.plan import Plan
from nas_suite.run import JOBS, Run
from nas_suite.words import plural
from nas_suite.workers import Done, evaluate, unchecked

CURVES = "curves.json"


@dataclass(frozen=True)
class Job:
    """One search: what a worker needs to know."""

    run: str
    searcher: str
    seed: int


def compare(asked: Contest, out: Path | None = None, progress: Progress = silent) -> Run:
    """Compares searchers on a benchmark; returns the run."""
    arena, paper = opened(asked), asked.init == (PAPER,)
    if learning.heard(asked.searchers, asked.checkpoints) != asked.searchers and not (asked.same_init or paper):
        raise BadInput(
            f"--checkpoint has no effect on {', '.join(asked.searchers)}: tnas and its kin learn; with --same-init all begin "
            "as tnas would"
        )
    if paper:
        asked = replace(asked, init=published(arena))
        arena = opened(asked)
    arena = replace(arena, banks=arena.looked())
    for name in asked.searchers:
        arena.searcher(name, asked.seed, None)  # what it lacks is told before a run is made
    table = arena.table
    now = datetime.now().isoformat(timespec="milliseconds")
    data = arena.judged.data
    plan = Plan(method="", space=table.space, data=data, settings={"space": table.settings}, seed=asked.seed)
    record = {
        "schema": 1, "kind": "compare", "status": "running", "created": now, "plan": plan.record(), **asdict(asked),
        "dataset": data, "seen_by": sorted(arena.banks), "ground": stood_on(arena, asked), "environment": environment(),
    }  # fmt: skip
    run = Run.create(out, record) if out is not None else Run.numbered(f"compare_{table.name}", record)
    sights.keep(run, arena.banks)
    return continue_comparing(run, arena, progress)


def resume_comparing(run: Run, progress: Progress = silent) -> Run:
    """Goes on with a comparison; BadInput where its benchmark is not what it was."""
    asked = contest(run)
    arena = opened(asked)
    if changed := [name for name, sum_ in stood_on(arena, asked).items() if run.record["ground"].get(name) != sum_]:
        what = f"benchmark {asked.bench}" if changed[0] in arena.table.manifest["files"] else changed[0]
        raise BadInput(f"{what} has changed since {run.name} began; compare anew")
    if sorted(banks := sights.kept(run)) != (wanted := run.record.get("seen_by", [])):  # killed before they were written
        found = arena.looked()
        if lacking := [made_by for made_by in wanted if made_by not in found]:
            raise BadInput(
                f"{run.name} compares the images of {asked.dataset} by {lacking[0]}, and these or its weights are no longer "
                "here: get them back, or compare anew"
            )
        sights.keep(run, banks := {made_by: found[made_by] for made_by in wanted})
    return continue_comparing(run, replace(arena, banks=banks), progress)


def continue_comparing(run: Run, arena: Arena, progress: Progress) -> Run:
    asked = contest(run)

    def job() -> dict[str, Any]:
        lines = [line for line in run.lines(JOBS) if isinstance(line.get("searcher"), str)]
        run.rewrite(JOBS, lines)
        done = {(line["searcher"], line["seed"]) for line in lines}
        every = [Job(str(run.path), name, seed) for seed in seeds(asked) for name in asked.searchers]
        todo = [one for one in every if (one.searcher, one.seed) not in done]
        workers = min(asked.workers, max(1, len(todo)))
        with Signals() as signals:
            function = partial(searched, check=signals.check) if workers == 1 else searched
            for finished in evaluate(function, todo, workers, signals.check):
                line = line_of(finished)
                run.append(JOBS, line)
                lines.append(line)
                progress(len(lines), len(every), {})
                signals.check()
        return {"result": finite(judged(run, arena, asked, lines))}

    return work(run, job)


def seeds(asked: Contest) -> range:
    return range(asked.seed, asked.seed + asked.seeds)


def line_of(finished: Done[Job, dict[str, Any]]) -> dict[str, Any]:
    line = {"searcher": finished.task.searcher, "seed": finished.task.seed}
    return line | (finished.result or {"rows": [], "seconds": None, "error": finished.error})


@lru_cache(maxsize=1)
def arena_of(run: str) -> tuple[Contest, Arena]:
    """What a run is about; opened once a process."""
    made = Run.open(Path(run))
    asked = contest(made)
    return asked, replace(opened(asked), banks=sights.kept(made))


def searched(job: Job, check: Callable[[], None] = unchecked) -> dict[str, Any]:
    """One search to the end of its budget: the rows that were asked for in turn, and the seconds that the searcher took."""
    asked, arena = arena_of(job.run)
    value = dict(zip(arena.space.rows, arena.values.tolist(), strict=True))
    rows: list[int] = []
    watch = Watch()
    with one_thread():
        first = arena.design(job.seed) if asked.together else None  # which no searcher is charged with
        with watch:
            searcher = arena.searcher(job.searcher, job.seed, first)
        while len(rows) < asked.budget:
            with watch:
                archs = searcher.ask()[: asked.budget - len(rows)]
            if not archs:
                break
            rows += [arena.space.rows[arch] for arch in archs]
            with watch:
                searcher.tell(archs, np.array([[-value[arch]] for arch in archs]))
            check()
    return {"rows": rows, "seconds": round(watch.seconds, 6)}


class Watch:
    """Adds up the time that is spent within it."""

    seconds = 0.0

    def __enter__(self) -> None:
        self.begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.begun


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within: torch computes in one thread, so that sums do not depend on how many processes share a machine."""
    import torch

    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def judged(run: Run, arena: Arena, asked: Contest, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What all searches come to. Here, after the last of them, the metric that is judged is read for the first time."""
    rows = list(arena.space.rows.values())
    place = {row: at for at, row in enumerate(rows)}
    ground = regret.Ground(arena.values, arena.table.means(arena.judged.name)[rows])
    searches = [
        regret.Search(line["searcher"], line["seed"], [place[row] for row in line["rows"]], line["seconds"])
        for line in lines
        if line["rows"]
    ]
    found = regret.outcomes(ground, asked.searchers, searches, asked.budget, asked.seed)
    if not found:
        raise BadInput(f"every search failed: {lines[0].get('error', 'no reason given')}")
    at, ranked = regret.marks(asked.budget), regret.ranked(found, asked.seed)
    drawn = [regret.curves(ground, o, own) for o, own in zip(found, ranked, strict=True)]
    run.put(CURVES, (json.dumps(finite({"searchers": drawn})) + "\n").encode())
    return {
        **about(arena, asked, ground), "at": at, "notes": notes(arena, asked, lines),
        "searchers": [regret.figures(ground, o, own, at) for o, own in zip(found, ranked, strict=True)],
        "differences": regret.differences(found, at) if asked.together else [],
    }  # fmt: skip


def about(arena: Arena, asked: Contest, ground: regret.Ground) -> dict[str, Any]:
    """What the searchers were asked, and what there was to be found."""
    table, best, archs = arena.table, ground.optimum, list(arena.space.rows)
    return {
        "bench": table.name, "version": table.manifest["version"], "space": table.space, "dataset": arena.judged.data,
        "feedback": arena.feedback.name, "metric": arena.judged.name, "unit": arena.judged.unit,
        "budget": asked.budget, "seeds": asked.seeds, "seed": asked.seed, "same_init": asked.together,
        "design": (len(arena.given) or DESIGN) if asked.together else None, "init": list(asked.init),
        "candidates": len(archs), "of": len(table), "spellings": asked.spellings, "partial": table.manifest["partial"],
        "optimum": {"arch": arena.space.describe(archs[best]), "value": float(ground.judged[best])},
        "floor": ground.floor,
    }  # fmt: skip


def notes(arena: Arena, asked: Contest, lines: list[dict[str, Any]]) -> list[str]:
    """What figures alone do not say: what was not known of the data, searches that failed or ended early."""
    own = {name: arena.learned[name] for name in asked.searchers if name in arena.learned}
    learned = own or {f"the initial design of {name}": one for name, one in arena.learned.items()}
    told = learning.caution(learned, sights.unseeing(learned, arena.banks), arena.judged.data)
    settings = settings_of(arena.space.inner)
    told += [f"{name}: {said}" for name, one in learned.items() if (said := learning.unlike(one, settings))]
    for name in asked.searchers:
        own = [line for line in lines if line["searcher"] == name]
        if failed := [line for line in own if not line["rows"]]:
            told.append(f"{name}: {plural(len(failed), 'search', 'searches')} failed ({failed[0].get('error', '')})")
        if len(own) > 1 and len({tuple(line["rows"]) for line in own}) == 1:
            told.append(f"{name}: all {len(own)} seeds made one and the same search, so that it has no interval")
        early = [line for line in own if 0 < len(line["rows"]) < asked.budget]
        if early:
            told.append(f"{name}: {plural(len(early), 'search', 'searches')} ended before the budget; their last regret stands")
    return told
