"""Comparing searchers on a benchmark: each searches it once a seed, in processes of their own, and is judged after."""

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nas_suite.disk import finite
from nas_suite.engine import Progress, Signals, silent
from nas_suite.errors import BadInput, suggest
from nas_suite.pipeline import regret
from nas_suite.pipeline.field import bench
from nas_suite.pipeline.setting import environment, work
from nas_suite.pipeline.tabled import Tabled, tabled
from nas_suite.plan import Plan
from nas_suite.run import JOBS, Run
from nas_suite.search import Region, Searcher
from nas_suite.space import Arch
from nas_suite.tables import ARCHS, SPLITS, Column, Table
from nas_suite.words import plural
from nas_suite.workers import Done, evaluate, unchecked

Feedback = Literal["val", "test"]
CURVES = "curves.json"
DESIGN = 5  # networks of an initial design (bayes.INITIAL, which a test holds against it)


@dataclass(frozen=True)
class Contest:
    """Who searches what, as a record keeps it. `init` are the networks that all searches begin with; where there are none and
    `same_init`, a random design a seed."""

    bench: str
    searchers: tuple[str, ...]
    dataset: str = ""
    budget: int = 100
    seeds: int = 8
    seed: int = 0
    feedback: Feedback = "val"
    same_init: bool = False
    init: tuple[str, ...] = ()
    spellings: bool = False
    workers: int = 1

    @property
    def together(self) -> bool:
        """Whether all searchers of a seed begin with the same networks."""
        return self.same_init or bool(self.init)

    @property
    def design(self) -> int:
        """How many networks a search begins with."""
        return len(self.init) or DESIGN


@dataclass(frozen=True)
class Arena:
    """A benchmark as a searcher meets it: its candidates, and what it is told of each. The metric that is judged stays closed
    until all searches are over."""

    table: Table
    feedback: Column
    judged: Column
    space: Tabled
    region: Region
    values: np.ndarray
    given: Sequence[Arch] = ()

    def design(self, seed: int) -> list[Arch]:
        """The initial design that all searchers of a seed are given."""
        return list(self.given) or self.region.samples(DESIGN, random.Random(f"{seed} design"), set())

    def searcher(self, name: str, seed: int, first: Sequence[Arch] | None) -> Searcher:
        from nas_suite.rivals import rival  # gpytorch and botorch, which no other work of a pipeline needs

        return rival(name, self.region, seed, first)


@dataclass(frozen=True)
class Job:
    """One search: what a worker needs to know."""

    run: str
    searcher: str
    seed: int


def compare(asked: Contest, out: Path | None = None, progress: Progress = silent) -> Run:
    """Compares searchers on a benchmark; returns the run."""
    arena = opened(asked)
    for name in asked.searchers:
        arena.searcher(name, asked.seed, None)  # what it lacks is told before a run is made
    table = arena.table
    now = datetime.now().isoformat(timespec="milliseconds")
    data = arena.judged.data
    plan = Plan(method="", space=table.space, data=data, settings={"space": table.settings}, seed=asked.seed)
    record = {
        "schema": 1, "kind": "compare", "status": "running", "created": now, "plan": plan.record(), **asdict(asked),
        "dataset": data, "ground": stood_on(arena), "environment": environment(),
    }  # fmt: skip
    run = Run.create(out, record) if out is not None else Run.numbered(f"compare_{table.name}", record)
    return continue_comparing(run, arena, progress)


def resume_comparing(run: Run, progress: Progress = silent) -> Run:
    """Goes on with a comparison; BadInput where its benchmark is not what it was."""
    arena = opened(contest(run))
    if stood_on(arena) != run.record["ground"]:
        raise BadInput(f"benchmark {run.record['bench']} has changed since {run.name} began; compare anew")
    return continue_comparing(run, arena, progress)


def contest(run: Run) -> Contest:
    fields = {name: run.record[name] for name in Contest.__dataclass_fields__}
    return Contest(**{**fields, **{name: tuple(fields[name]) for name in ("searchers", "init")}})


def check(asked: Contest) -> None:
    """BadInput where a searcher or a number is not as it can be, whatever the benchmark."""
    from nas_suite.rivals import LEARNED, NAMES

    known = list(dict.fromkeys((*NAMES, *LEARNED)))
    for name in asked.searchers:
        if name not in known:
            raise BadInput(f"unknown searcher {name!r}{suggest(name, known, most=40)}")
    for name, least in (("seeds", 1), ("workers", 1), ("budget", asked.design)):
        if getattr(asked, name) < least:
            why = ", the networks of an initial design" if name == "budget" else ""
            raise BadInput(f"--{name} {getattr(asked, name)} is too few: at least {least}{why}")


def opened(asked: Contest) -> Arena:
    check(asked)
    table = bench(asked.bench)
    feedback, judged = columns(table, asked)
    space = tabled(table, feedback.name, asked.spellings)
    if asked.budget > space.size():
        raise BadInput(
            f"--budget {asked.budget} is more than the {plural(space.size(), 'network')} of {table.name}: give no more"
        )
    values = table.means(feedback.name)[list(space.rows.values())]
    given = list(dict.fromkeys(space.canonical(space.parse(text)) or () for text in asked.init))
    return Arena(table, feedback, judged, space, Region(space), values, given)


def columns(table: Table, asked: Contest) -> tuple[Column, Column]:
    """The accuracies that searchers are told, and that they are judged by: of one data set, after the most epochs."""
    found = [column for column in table.columns.values() if column.split]
    known = list(dict.fromkeys(column.data for column in found))
    if not known:
        raise BadInput(f"{table.name} holds no accuracies, so there is nothing to search for: nas bench info {table.name}")
    data = asked.dataset or known[0]
    if data not in known:
        raise BadInput(f"{table.name} has no data set {data!r}{suggest(data, known)}")
    by_split: dict[str, Column] = {}
    for column in sorted((c for c in found if c.data == data), key=lambda c: c.epochs):
        by_split[column.split] = column
    if asked.feedback not in by_split:
        there = [f"--feedback {split}" for split in SPLITS[:2] if split in by_split]
        remedy = f": {there[0]}" if there else ", nor any other to search by"
        raise BadInput(f"{table.name} has no {asked.feedback} accuracy on {data}{remedy}")
    return by_split[asked.feedback], by_split.get("test", by_split[asked.feedback])


def stood_on(arena: Arena) -> dict[str, str]:
    """What a comparison's table must still be when it goes on: the checksums of what it reads."""
    files = arena.table.manifest["files"]
    return {name: files[name]["sha256"] for name in (ARCHS, arena.feedback.file, arena.judged.file)}


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
    asked = contest(Run.open(Path(run)))
    return asked, opened(asked)


def searched(job: Job, check: Callable[[], None] = unchecked) -> dict[str, Any]:
    """One search to the end of its budget: the rows that were asked for in turn, and the seconds that the searcher took."""
    asked, arena = arena_of(job.run)
    value = dict(zip(arena.space.rows, arena.values.tolist(), strict=True))
    rows: list[int] = []
    watch = Watch()
    with one_thread():
        with watch:
            first = arena.design(job.seed) if asked.together else None
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
    at, ranks = regret.marks(asked.budget), regret.ranks(found)
    drawn = [regret.curves(ground, o, rank) for o, rank in zip(found, ranks, strict=True)]
    run.put(CURVES, (json.dumps(finite({"searchers": drawn})) + "\n").encode())
    return {
        **about(arena, asked, ground), "at": at, "notes": notes(asked, lines),
        "searchers": [regret.figures(ground, o, rank, at) for o, rank in zip(found, ranks, strict=True)],
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


def notes(asked: Contest, lines: list[dict[str, Any]]) -> list[str]:
    """What figures alone do not say: searches that failed or ended early."""
    told = []
    for name in asked.searchers:
        own = [line for line in lines if line["searcher"] == name]
        if failed := [line for line in own if not line["rows"]]:
            told.append(f"{name}: {plural(len(failed), 'search', 'searches')} failed ({failed[0].get('error', '')})")
        early = [line for line in own if 0 < len(line["rows"]) < asked.budget]
        if early:
            told.append(f"{name}: {plural(len(early), 'search', 'searches')} ended before the budget; their last regret stands")
    return told
