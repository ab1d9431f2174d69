"""The field of a ranking: which networks of a benchmark are ranked, by which metric, and what makes two rankings comparable."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int64

from nas_suite.cells import CellSpace
from nas_suite.data import DATA
from nas_suite.data.images import shuffled
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput, Missing, suggest
from nas_suite.importers import PUBLISHED
from nas_suite.plan import FIT
from nas_suite.rank import FEWEST, Truth
from nas_suite.registry import values_of
from nas_suite.space import Arch, SearchSpace, SupernetSpace
from nas_suite.spaces import SPACES
from nas_suite.tables import ARCHS, Column, Table, there
from nas_suite.words import plural

Protocol = Literal["clean", "paper"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
VERSION = 2  # of what is compared and how; another one makes another protocol hash
SAMPLE = 1000  # networks that are ranked where nobody says how many
DRAWS, DROPPED = 1000, 30  # of the published MixPath loop (official code, nas_train_search.py:81-84, 320-321)


def bench(name: str) -> Table:
    """A table of this machine by name; Missing says how to get a published one."""
    found = there()
    if name in found:
        return Table.open(found[name])
    if name in PUBLISHED:
        raise Missing(f"benchmark {name} is not on this machine: nas bench get {name}")
    raise BadInput(f"unknown benchmark {name!r}{suggest(name, list(dict.fromkeys((*found, *PUBLISHED))))}")


def space_of_table(table: Table) -> SearchSpace:
    """The space whose networks a table holds, under the settings that it was made with."""
    return SPACES.build(table.space, table.settings)


def made_with(table: Table, data: str) -> Mapping[str, Any]:
    """The plan that made a table of a data set; empty where none did, or one of another data set."""
    plan = table.manifest.get("plan", {})
    return plan if plan.get("data") == data else {}


def images_of(table: Table, data: str, side: int) -> DataSet:
    """A benchmark's data set: with the settings of the plan that made it, else at the size of its networks' images."""
    made = made_with(table, data)
    settings = made["settings"]["data"] if made else {"size": side}
    asked = DATA.build(data, settings)
    here = DATA.build(data, {key: value for key, value in settings.items() if key != "path"})
    return here if here.available() and not asked.available() else asked  # tables travel, the paths in their plans do not


@dataclass(frozen=True)
class Field:
    """Networks of a benchmark: `rows` of its table, and the same as `archs` of `own`, the space in which they are scored, each
    in its canonical spelling.

    Under the `paper` protocol the networks are draws of MixPath's published loop: spellings, of which several can mean one
    row, each with one random repeat for its truth.
    """

    table: Table
    metric: Column
    space: SearchSpace
    own: SearchSpace
    rows: Int64[np.ndarray, " a"]
    archs: Sequence[Arch]
    protocol: Protocol = "clean"
    seed: int = 0

    def __len__(self) -> int:
        return len(self.archs)

    def native(self, at: int) -> Arch:
        """A network as the benchmark spells it."""
        return self.table.arch(int(self.rows[at]))

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, else -1."""
        return 1 if self.metric.goal == "max" else -1

    @cached_property
    def truth(self) -> Truth:
        """The mean over repeats; under the paper's protocol one random repeat of each draw."""
        repeats = self.sign * self.table.repeats(self.metric.name)[self.rows]
        if self.protocol == "clean":
            return Truth(self.sign * self.table.means(self.metric.name)[self.rows], repeats, self.seed, self.networks)
        rng = random.Random(f"{self.seed} repeats")
        values = [rng.choice([value for value in row if np.isfinite(value)]) for row in repeats.tolist()]
        return Truth(np.array(values), repeats, self.seed, self.networks)

    @cached_property
    def networks(self) -> Int64[np.ndarray, " a"]:
        """Of each row a number, equal for those that spell the same network."""
        known: dict[Arch | None, int] = {}
        return np.array([known.setdefault(self.space.canonical(self.native(at)), len(known)) for at in range(len(self))])

    @property
    def distinct(self) -> int:
        """How many different networks there are, whatever their spelling."""
        return len(set(self.networks.tolist()))

    @cached_property
    def hash(self) -> str:
        """Equal for two rankings exactly where they are of the same networks with the same truth, judged the same way."""
        files = self.table.manifest["files"]
        about = {
            "version": VERSION, "bench": self.table.name, "metric": self.metric.name, "protocol": self.protocol,
            "truth": files[self.metric.file]["sha256"], "archs": files[ARCHS]["sha256"],
            "rows": hashlib.sha256(np.ascontiguousarray(self.rows, "<i8").tobytes()).hexdigest(),
        }  # fmt: skip
        about |= {} if self.metric.goal == "max" else {"goal": self.metric.goal}
        about |= {} if self.protocol == "clean" else {"spellings": [list(arch) for arch in self.archs], "seed": self.seed}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]

    def texts(self) -> list[str]:
        return [self.own.describe(arch) for arch in self.archs]


def field(
    table: Table, metric: str = "", own: SearchSpace | None = None, sample: int | None = SAMPLE,
    protocol: Protocol = "clean", seed: int = 0, whose: str = "",
) -> Field:  # fmt: skip
    """The networks of a table that have a truth and stand in `own` (None: the table's space): a seeded sample of them, all
    where `sample` is None; `whose` says whose space `own` is. BadInput where they are fewer than can be ranked."""
    column, space = table.metric(metric), space_of_table(table)
    spelt = correspondence(table, space, own or space, whose)
    known = np.isfinite(table.means(column.name))
    rows = np.flatnonzero(known) if spelt is None else np.array([row for row in spelt if known[row]], np.int64)
    if protocol == "paper":
        row_of = table.find if spelt is None else {arch: row for row, arch in spelt.items()}.get
        found = Field(
            table, column, space, own or space, *draws(own or space, row_of, set(rows.tolist()), seed), protocol, seed
        )
    else:
        if sample is not None and sample < len(rows):
            rows = np.sort(rows[shuffled(len(rows), seed)[:sample]])
        archs = [canonical(space, table.arch(row)) if spelt is None else spelt[row] for row in rows.tolist()]
        found = Field(table, column, space, own or space, rows, archs, protocol, seed)
    least = FEWEST + (DROPPED if protocol == "paper" else 0)
    if len(found) < least or found.distinct < FEWEST:
        raise too_few(found, least, sample is not None and sample == len(found))
    return found


def too_few(found: Field, least: int, sampled: bool) -> BadInput:
    """How many networks there are of how many that a ranking needs, and where more could come from. `sampled`: there are more,
    but no more were asked for."""
    table, n = found.table, len(found)
    known = int(np.isfinite(table.means(found.metric.name)).sum())
    what = f"{plural(n, 'network')}, {found.distinct} of them distinct," if n else "no network"
    what += f" with a {found.metric.name}"
    more = "a larger table (bench make with a larger --sample, bench import of a whole file)"
    if sampled and n < known:
        what, more = f"{what} among those of the {known:,} that were asked for", "a larger --sample"
    elif n < known:
        what += " among the spellings that were drawn" if found.protocol == "paper" else " in the space of the run"
    wanted = f"{least}, {FEWEST} of them distinct" if least > FEWEST else f"{FEWEST} distinct ones"
    return BadInput(f"{table.name} has {what}; a ranking needs {wanted}: {more}, or another --metric")


def canonical(space: SearchSpace, arch: Arch) -> Arch:
    """The spelling that methods train; the one of the table where its space knows none."""
    return space.canonical(arch) or arch


def unlike(space: SearchSpace, other: SearchSpace) -> str:
    """The settings in which two spaces of one name differ, in words; nothing where they are of different names."""
    if type(space) is not type(other):
        return ""
    pairs = {name: (value, values_of(other)[name]) for name, value in values_of(space).items()}
    apart = [f"{name} = {one!r}, not {two!r}" for name, (one, two) in pairs.items() if one != two and name not in FIT]
    return f" ({', '.join(apart)})" if apart else ""


def correspondence(table: Table, space: SearchSpace, own: SearchSpace, whose: str = "") -> Mapping[int, Arch] | None:
    """Row to architecture of `own`, by their cells where the spaces differ; None where both spell alike."""
    if [v.labels for v in space.variables] == [v.labels for v in own.variables]:
        return None
    if not (isinstance(space, CellSpace) and isinstance(own, CellSpace)):
        raise BadInput(
            f"{table.name} holds networks of {table.space}{unlike(space, own)}, not of {whose or type(own).__name__}: "
            f"give a run of {table.space}, or a benchmark of the run's space (nas bench list)"
        )
    found = {}
    for arch in own.everything():
        native = space.spelt(own.cell(arch))
        row = None if native is None else table.find(native)
        if row is not None:
            found[row] = arch
    return dict(sorted(found.items()))


def draws(
    own: SearchSpace, row_of: Callable[[Arch], int | None], known: set[int], seed: int
) -> tuple[Int64[np.ndarray, " a"], list[Arch]]:
    """Distinct spellings as MixPath's official loop draws them, with their rows; fewer where the space has no more."""
    rng = random.Random(f"{seed} draws")
    draw = own.draw if isinstance(own, SupernetSpace) else own.sample
    rows: dict[Arch, int] = {}
    for _ in range(100 * DRAWS):
        if len(rows) == DRAWS:
            break
        arch = draw(rng)
        canonical = own.canonical(arch)
        row = None if canonical is None else row_of(canonical)
        if row is not None and row in known:
            rows.setdefault(arch, row)
    return np.array(list(rows.values()), np.int64), list(rows)


def kept(scores: Float[np.ndarray, " a"], protocol: Protocol) -> Int64[np.ndarray, " _"]:
    """Which networks an estimator is judged by: all; under the paper's protocol all but its lowest scores."""
    if protocol == "clean":
        return np.arange(len(scores))
    return np.sort(np.argsort(np.nan_to_num(scores, nan=-np.inf), kind="stable")[DROPPED:])


def about(found: Field) -> dict[str, Any]:
    """What a ranking says of its networks."""
    t = found.truth
    ceiling = t.ceiling
    return {
        "bench": found.table.name, "version": found.table.manifest["version"], "space": found.table.space,
        "metric": found.metric.name, "unit": found.metric.unit, "goal": found.metric.goal,
        "n": len(found), "distinct": found.distinct, "of": len(found.table), "ties": t.ties, "repeats": t.repeats.shape[1],
        "ceiling": ceiling.value, "ceiling_low": ceiling.low, "ceiling_high": ceiling.high,
        "protocol": found.hash, "protocol_name": found.protocol, "seed": found.seed, "partial": found.table.manifest["partial"],
    }  # fmt: skip
