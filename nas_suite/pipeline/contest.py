"""A contest of searchers: who searches which benchmark how, and the arena in which they do, with what judges them closed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nas_suite.disk import digest
from nas_suite.errors import BadInput, suggest
from nas_suite.pipeline import learning, sights
from nas_suite.pipeline.field import bench
from nas_suite.pipeline.tabled import Tabled, tabled
from nas_suite.run import Run
from nas_suite.search import Region, Searcher
from nas_suite.space import Arch
from nas_suite.tables import ARCHS, SPLITS, Column, Table
from nas_suite.words import plural

Feedback = Literal["val", "test"]
PAPER = "paper"  # in place of networks to begin with: those that published TNAS begins with
BUDGET = 100  # networks that a search may evaluate
DESIGN = 5  # networks of an initial design (bayes.INITIAL, which a test holds against it)


@dataclass(frozen=True)
class Contest:
    """Who searches what, as a record keeps it. `init` are the networks that all searches begin with; where there are none and
    `same_init`, a random design a seed."""

    bench: str
    searchers: tuple[str, ...]
    dataset: str = ""
    budget: int = BUDGET
    seeds: int = 8
    seed: int = 0
    feedback: Feedback = "val"
    same_init: bool = False
    init: tuple[str, ...] = ()
    spellings: bool = False
    workers: int = 1
    checkpoints: Mapping[str, str] = field(default_factory=dict)

    @property
    def together(self) -> bool:
        """Whether all searchers of a seed begin with the same networks."""
        return self.same_init or bool(self.init)

    @property
    def design(self) -> int:
        """How many networks a search begins with."""
        return DESIGN if self.init == (PAPER,) else len(self.init) or DESIGN


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
    learned: Mapping[str, Any] = field(default_factory=dict)
    banks: Mapping[str, Any] = field(default_factory=dict)
    """By extractor, features of the data set's training images."""

    def design(self, seed: int) -> list[Arch]:
        """The initial design that all searchers of a seed are given: the networks that were named, or what one of them believes
        to be the best, or a random one."""
        if not self.given and self.learned:
            return self.warm_start(self.first_learned, seed)
        return list(self.given) or self.region.samples(DESIGN, random.Random(f"{seed} design"), set())

    def searcher(self, name: str, seed: int, first: Sequence[Arch] | None) -> Searcher:
        from nas_suite.rivals import rival  # gpytorch and botorch, which no other work of a pipeline needs

        learned = self.learned.get(name)
        if learned is None:
            return rival(name, self.region, seed, first)
        if learned.kernel is None and first is None and name != "tnas:random-init":
            first = self.warm_start(learned, seed)
        return rival(name, self.region, seed, first, learning.surrogate(name, learned, sights.bank_for(learned, self.banks)))

    def warm_start(self, learned: Any, seed: int) -> list[Arch]:
        return learning.warm_start(learned, sights.bank_for(learned, self.banks), self.region, DESIGN, seed)

    def looked(self) -> dict[str, Any]:
        """What learned searchers see of the data set's images, where these are on this machine."""
        return sights.taken(self.table, self.judged.data, self.space.image_size, self.learned)

    @property
    def first_learned(self) -> Any:
        """What TNAS has learned, or else the first of its kin."""
        return self.learned.get("tnas") or next(iter(self.learned.values()))


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


def within_candidates(asked: Contest) -> Contest:
    """With a budget of all candidates where there are fewer."""
    table = bench(asked.bench)
    return replace(asked, budget=min(asked.budget, tabled(table, columns(table, asked)[0].name, asked.spellings).size()))


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
    begin = () if asked.init == (PAPER,) else asked.init
    given = list(dict.fromkeys(space.canonical(space.parse(text)) or () for text in begin))
    learned = learning.loaded(learning.heard(asked.searchers, asked.checkpoints), asked.checkpoints, table.space, space)
    return Arena(table, feedback, judged, space, Region(space), values, given, learned)


def published(arena: Arena) -> tuple[str, ...]:
    """The published initial design, as text."""
    if not arena.learned:
        raise BadInput("--init paper takes the best networks of a history: give --checkpoint CKPT, or --init FILE in its place")
    return tuple(map(arena.space.describe, learning.published(arena.first_learned, arena.region, DESIGN)))


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


def stood_on(arena: Arena, asked: Contest) -> dict[str, str]:
    """What a comparison's table must still be when it goes on: the checksums of what it reads."""
    files = arena.table.manifest["files"]
    found = {name: files[name]["sha256"] for name in (ARCHS, arena.feedback.file, arena.judged.file)}
    folders = sorted(set(asked.checkpoints.values()))
    return found | {
        str(path): digest(path) for folder in folders for name in learning.FILES if (path := Path(folder) / name).exists()
    }
