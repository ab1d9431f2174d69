"""Searching: searchers that ask and are told, the region within limits, and the drive that scores, writes down and resumes."""

import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from nas_suite.disk import repair_tail
from nas_suite.engine import Progress, Signals, silent
from nas_suite.errors import Unreachable
from nas_suite.objective import Objective
from nas_suite.run import LOG, TRIALS, Run
from nas_suite.space import Arch, SearchSpace

PATIENCE = 50  # asks in a row that bring nothing new before a space counts as searched
FAILED = 1e12  # the loss of an architecture whose evaluation failed


@dataclass(frozen=True)
class Limit:
    """An upper bound on a quick objective that is minimised, such as a cost."""

    cost: Objective
    bound: float

    def excess(self, arch: Arch) -> float:
        """How far above the bound, as a share of it; 0 where it holds."""
        return max(0.0, float(self.cost.score([arch])[0]) / self.bound - 1.0)


@dataclass(frozen=True)
class Region:
    """The architectures of a space within limits. Raises Unreachable where coordinate descent finds none."""

    space: SearchSpace
    limits: Sequence[Limit] = ()
    anchor: Arch = field(init=False)  # an architecture within all limits, towards which others are mended

    def __post_init__(self) -> None:
        rng = random.Random(0)
        lowest = min((descend(self.space, self.excess, rng) for _ in range(4)), key=lambda found: found[1])
        if lowest[1] > 0:
            raise Unreachable(self.refusal(rng))
        object.__setattr__(self, "anchor", lowest[0])

    def refusal(self, rng: random.Random) -> str:
        texts = []
        for limit in self.limits:
            least = descend(self.space, lambda arch, c=limit.cost: float(c.score([arch])[0]), rng)[1]
            texts.append(f"{limit.cost.name} <= {limit.bound:g} (this space reaches down to {least:g})")
        return f"no network of this space has {' and '.join(texts)}; raise the limit or choose a smaller space"

    def excess(self, arch: Arch) -> float:
        return sum((limit.excess(arch) for limit in self.limits), 0.0)

    def mend(self, arch: Arch, rng: random.Random) -> Arch:
        """The canonical spelling of `arch`, with variables set to the anchor's, in random order, until it is in the region;
        another sample where `arch` spells nothing."""
        mended = self.space.canonical(arch)
        mended = list(self.space.sample(rng) if mended is None else mended)
        order = rng.sample(range(len(mended)), len(mended))
        for at in order:
            canonical = self.space.canonical(tuple(mended))
            if canonical is not None and self.excess(canonical) == 0:
                return canonical
            mended[at] = self.anchor[at]
        return self.anchor

    def sample(self, rng: random.Random) -> Arch:
        """A random architecture of the region: uniform where that succeeds soon, else mended."""
        for _ in range(20):
            arch = self.space.sample(rng)
            if self.excess(arch) == 0:
                return arch
        return self.mend(arch, rng)

    def ends(self, objectives: Sequence[Objective], rng: random.Random) -> list[Arch]:
        """The architectures of the region that coordinate descent finds lowest and highest in quick objectives."""
        found: dict[Arch, None] = {}
        for objective in objectives:
            for sign in (1, -1):
                best = descend(
                    self.space, lambda a, o=objective, s=sign: s * o.losses([a])[0] if self.excess(a) == 0 else math.inf, rng
                )
                found[self.mend(best[0], rng)] = None
        return list(found)

    def samples(self, count: int, rng: random.Random, without: set[Arch]) -> list[Arch]:
        """Up to `count` distinct architectures not in `without`; fewer where the region seems to hold no more."""
        found: dict[Arch, None] = {}
        for _ in range(PATIENCE * count):
            if len(found) == count:
                break
            arch = self.sample(rng)
            if arch not in without:
                found[arch] = None
        return list(found)


def descend(space: SearchSpace, value: Callable[[Arch], float], rng: random.Random) -> tuple[Arch, float]:
    """The lowest value that coordinate descent from a random architecture finds, and where: exact where the variables'
    shares add up."""
    arch = space.sample(rng)
    best, former = value(arch), math.inf
    while best < former:
        former = best
        for at, options in enumerate(space.searched):
            for option in options:
                near = space.canonical((*arch[:at], option, *arch[at + 1 :]))
                if near is not None and (found := value(near)) < best:
                    best, arch = found, near
    return arch, best


class Searcher(ABC):
    """Proposes architectures and is told how they did; losses are minimised. Never asks for one it was told of."""

    @abstractmethod
    def ask(self) -> list[Arch]:
        """Canonical architectures to evaluate next; none: the search is over."""

    @abstractmethod
    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None: ...


@dataclass
class Random(Searcher):
    """Random search: the baseline to beat."""

    region: Region
    seed: int = 0
    batch: int = 16

    def __post_init__(self) -> None:
        self.rng, self.told = random.Random(self.seed), set[Arch]()

    def ask(self) -> list[Arch]:
        return self.region.samples(self.batch, self.rng, self.told)

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        self.told.update(archs)


@dataclass
class Fixed(Searcher):
    """No search: architectures that are known, each asked for once."""

    archs: Sequence[Arch]

    def __post_init__(self) -> None:
        self.told = set[Arch]()

    def ask(self) -> list[Arch]:
        return [arch for arch in self.archs if arch not in self.told]

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        self.told.update(archs)


@dataclass
class Evolution(Searcher):
    """Regularised evolution on the first objective (Real et al. 2019): the best of a sample is mutated, the oldest dies."""

    region: Region
    seed: int = 0
    population: int = 64
    sample: int = 16

    def __post_init__(self) -> None:
        self.rng, self.told, self.alive = random.Random(self.seed), set[Arch](), list[tuple[float, Arch]]()

    def ask(self) -> list[Arch]:
        if not self.alive:
            return self.region.samples(self.population, self.rng, self.told)
        parent = min(self.rng.sample(self.alive, min(self.sample, len(self.alive))))[1]
        for _ in range(PATIENCE):
            child = self.region.mend(mutated(self.region.space, parent, self.rng), self.rng)
            if child not in self.told:
                return [child]
        return self.region.samples(1, self.rng, self.told)

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        self.told.update(archs)
        self.alive = [*self.alive, *zip(losses[:, 0].tolist(), archs, strict=True)][-self.population :]


def mutated(space: SearchSpace, arch: Arch, rng: random.Random) -> Arch:
    """`arch` with one variable, that has a choice, set to another option; where that spells the same network or none, with
    one more, and so on: an edge to a vertex that nothing leaves changes no cell, but a second edge may."""
    free = [at for at, options in enumerate(space.searched) if len(options) > 1]
    spelt, same = arch, (None, space.canonical(arch))
    for _ in range(PATIENCE):
        at = rng.choice(free)
        others = [i for i in space.searched[at] if i != spelt[at]]
        spelt = (*spelt[:at], rng.choice(others), *spelt[at + 1 :])
        if space.canonical(spelt) not in same:
            break
    return spelt


class NSGA2(Searcher):
    """NSGA-II (Deb et al. 2002) by pymoo, on integers over the space's variables: uniform crossover, and mutation of each
    variable to a uniform option. Offspring that spell nothing, break a limit or are known are mended or drawn again. The
    first population holds the region's ends in the quick objectives, which a front of many networks reaches late."""

    def __init__(
        self,
        region: Region,
        objectives: Sequence[Objective],
        seed: int = 0,
        population: int = 64,
        crossover: float = 0.9,
        mutation: float = 0.0,
    ) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2 as Algorithm
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.ux import UniformCrossover

        self.told: set[Arch] = set()
        rng = random.Random(seed)
        top = [len(v.options) - 1 for v in region.space.variables]
        ends = region.ends([o for o in objectives if o.quick], rng)[:population]
        first = [*ends, *region.samples(population - len(ends), rng, set(ends))]
        operators = pymoo_operators(region, rng, mutation or 1 / len(top), self.told)
        self.algorithm = Algorithm(
            pop_size=population,
            sampling=np.array(first, dtype=int),  # type: ignore[arg-type]
            crossover=UniformCrossover(prob=crossover),  # type: ignore[arg-type]
            **operators,
        )
        problem = Problem(n_var=len(top), n_obj=len(objectives), xl=0, xu=np.array(top), vtype=int)
        self.algorithm.setup(problem, termination=("n_gen", 10**9), seed=seed)

    def ask(self) -> list[Arch]:
        self.asked = self.algorithm.ask()
        return [] if self.asked is None else [tuple(int(i) for i in x) for x in self.asked.get("X")]

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        self.told.update(archs)
        self.asked.set("F", losses)  # type: ignore[union-attr]
        self.algorithm.tell(infills=self.asked)


def pymoo_operators(region: Region, rng: random.Random, rate: float, told: set[Arch]) -> dict[str, Any]:
    """Mutation, repair and duplicate elimination that know the region and the networks already told of."""
    from pymoo.core.duplicate import DuplicateElimination
    from pymoo.core.mutation import Mutation
    from pymoo.core.repair import Repair

    class Reset(Mutation):
        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            draws = random_state.integers(0, [len(options) for options in region.space.searched], size=X.shape)
            fresh = np.array([[options[i] for options, i in zip(region.space.searched, row, strict=True)] for row in draws])
            return np.where(random_state.random(X.shape) < rate, fresh, X)

    class Mend(Repair):
        def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
            return np.array([region.mend(tuple(int(i) for i in x), rng) for x in X], dtype=int)

    class Unseen(DuplicateElimination):
        def _do(self, pop: Any, other: Any, is_duplicate: Any) -> Any:
            seen = set(told) if other is None else {tuple(x) for x in other.get("X")}
            for at, x in enumerate(pop.get("X")):
                is_duplicate[at] = tuple(x) in seen
                if other is None:
                    seen.add(tuple(x))
            return is_duplicate

    return {"mutation": Reset(), "repair": Mend(), "eliminate_duplicates": Unseen()}


def drive(
    searcher: Searcher, space: SearchSpace, objectives: Sequence[Objective], budget: int, run: Run, progress: Progress = silent
) -> None:
    """Asks, scores and tells until `budget` networks are evaluated or the searcher is done.

    Each evaluation is in trials.jsonl before the next begins; those that are there already are told, not scored again, so
    a search that was killed goes on to the same end.
    """
    repair_tail(run.path / TRIALS)
    recorded = {line["arch"]: line for line in run.trials()}
    book = Book(objectives, run)
    with Signals() as signals:
        while len(book.trials) < budget and (asked := searcher.ask()):
            told = []
            for arch in asked[: budget - len(book.trials)]:
                text = space.describe(arch)
                trial = recorded.get(text) or evaluate(arch, text, objectives, len(book.trials), run)
                told.append(book.enter(trial))
                progress(len(book.trials), budget, trial["values"] or {})
                signals.check()
            if len(told) == len(asked):
                searcher.tell(asked, np.array(told))
            book.close_generation()


def evaluate(arch: Arch, text: str, objectives: Sequence[Objective], number: int, run: Run) -> dict[str, Any]:
    """Scores one architecture and writes the trial down; running out of memory is a failed trial, not the end."""
    started = time.monotonic()
    values: dict[str, float] | None = None
    error = None
    try:
        values = {o.name: float(o.score([arch])[0]) for o in objectives}
        if not all(map(math.isfinite, values.values())):
            values, error = None, f"not finite: {values}"
    except (MemoryError, RuntimeError) as fault:
        if "memory" not in str(fault).lower():
            raise
        error = str(fault).splitlines()[0]
    trial = {"trial": number, "arch": text, "status": "ok" if error is None else "failed", "values": values}
    trial |= {"seconds": round(time.monotonic() - started, 3)} | ({"error": error} if error else {})
    run.append(TRIALS, trial)
    return trial


class Book:
    """The trials told so far, their front, and the hypervolume after each generation (in log.jsonl)."""

    def __init__(self, objectives: Sequence[Objective], run: Run) -> None:
        self.objectives, self.run = objectives, run
        self.trials: list[dict[str, Any]] = []
        self.fresh: list[list[float]] = []  # losses of this generation's trials that did not fail
        self.front = np.empty((0, len(objectives)))
        self.generation = 0
        self.box: tuple[np.ndarray, np.ndarray] | None = None
        self.written = {line.get("generation") for line in run.lines(LOG)}

    def enter(self, trial: dict[str, Any]) -> list[float]:
        """The losses of a trial."""
        self.trials.append(trial)
        losses = losses_of(trial, self.objectives)
        if trial["status"] == "ok":
            self.fresh.append(losses)
        return losses

    def close_generation(self) -> None:
        """Logs how much the archive dominates, as a share of the box that the first generation spanned."""
        losses = np.concatenate([self.front, np.array(self.fresh).reshape(-1, len(self.objectives))])
        if len(losses):
            self.box = self.box or spanned(losses)
            self.front, self.fresh = losses[pareto(losses)], []
            line: dict[str, float] = {"generation": self.generation, "evaluated": len(self.trials), "front": len(self.front)}
            line["hypervolume"] = hypervolume(self.front, *self.box)
            if self.generation not in self.written:
                self.run.append(LOG, line)
        self.generation += 1


def spanned(losses: Float[np.ndarray, "a m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """The best and, a tenth of the span further out, the worst of each column; a column of one value spans itself or 1."""
    best, worst = losses.min(0), losses.max(0)
    span = np.where(worst > best, worst - best, np.maximum(1.0, np.abs(worst)))
    return best, worst + 0.1 * span


def losses_of(trial: dict[str, Any], objectives: Sequence[Objective]) -> list[float]:
    if trial["values"] is None:
        return [FAILED] * len(objectives)
    return [trial["values"][o.name] * (1 if o.goal == "min" else -1) for o in objectives]


def pareto(losses: Float[np.ndarray, "a m"]) -> Int[np.ndarray, " f"]:
    """Indices of the rows that no other row dominates, by the first column; of equal rows the first counts."""
    front: list[int] = []
    kept = np.empty_like(losses)
    for at in np.lexsort(losses.T[::-1]):
        if not (kept[: len(front)] <= losses[at]).all(1).any():
            kept[len(front)] = losses[at]
            front.append(int(at))
    return np.array(front, dtype=int)


def hypervolume(front: Float[np.ndarray, "a m"], ideal: Float[np.ndarray, " m"], worst: Float[np.ndarray, " m"]) -> float:
    """The volume that `front` dominates below `worst`, in units of the box between `ideal` and `worst`."""
    from pymoo.indicators.hv import HV

    scaled = (front - ideal) / (worst - ideal)
    return float(HV(ref_point=np.ones(front.shape[1]))(scaled))  # type: ignore[arg-type]


def knee(front: Float[np.ndarray, "a m"]) -> int:
    """The row of a front (ascending in the first column) that lies furthest below the line between its ends,
    after scaling each column to 0 … 1."""
    span = np.ptp(front, axis=0)
    scaled = (front - front.min(0)) / np.where(span > 0, span, 1.0)
    return int(np.argmin(scaled.sum(1)))


def archive(trials: Sequence[dict[str, Any]], objectives: Sequence[Objective]) -> Iterator[dict[str, Any]]:
    """The non-dominated trials, best first in the first objective."""
    fine = [t for t in trials if t["status"] == "ok"]
    if fine:
        for at in pareto(np.array([losses_of(t, objectives) for t in fine])):
            yield fine[at]
