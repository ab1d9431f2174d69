"""All searchers that can be compared, by name: the learned ones and their rivals, from one initial design if asked."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nas_suite.bayes import INITIAL, Bayes, check_losses, design
from nas_suite.candidates import Candidates
from nas_suite.errors import BadInput, suggest
from nas_suite.graph import GraphSpace
from nas_suite.local import LocalSearch
from nas_suite.search import Evolution, Fixed, Random, Region, Searcher
from nas_suite.space import Arch
from nas_suite.surrogate.ensemble import Ensemble
from nas_suite.surrogate.features import OneHot, Paths, branches
from nas_suite.surrogate.gp import GP, scaled
from nas_suite.surrogate.model import Model
from nas_suite.surrogate.wl import LEVELS, Histograms, WeisfeilerLehman

LEARNED = ("tnas", "metad2a", "tnas:no-dataset", "tnas:no-graph", "tnas:no-meta", "tnas:random-init")
NAMES = (
    "tnas", "random", "evolution", "local-search", "gp-ei", "gp-ucb", "bananas", "nasbowl", "hebo", "metad2a",
)  # fmt: skip
FOREMOST = 20  # candidates believed best, of which a learned initial design is drawn
APART = 2  # variables, at least, in which architectures of a learned initial design differ
MUTANTS = 100  # random candidates of BANANAS, beside mutations of the best


def rival(
    name: str,
    region: Region,
    seed: int = 0,
    first: Sequence[Arch] | None = None,
    learned: Model | None = None,
    parallel: int = 1,
) -> Searcher:
    """A fresh searcher. `first` is its initial design: of none, each has its own. `learned` is the model that `tnas`, its
    ablations and `metad2a` search with, which has beliefs before it is fitted. Raises BadInput for an unknown name, a design
    outside of the region, and for what a rival lacks."""
    given = design(region, first or ())
    if name in LEARNED:
        return with_learned(name, region, seed, given, learned, parallel)
    known = {**plain(region, seed, given), **surrogates(region, seed, given, parallel)}
    if name == "hebo":
        raise BadInput(
            "hebo 0.3.6 cannot be installed beside this suite: it asks for numpy below 1.25 and pymoo 0.6.0; "
            f"choose among {', '.join(known)}"
        )
    if name not in known:
        raise BadInput(f"there is no searcher {name!r}{suggest(name, (*NAMES, *LEARNED[2:]), 16)}")
    return known[name]()


def plain(region: Region, seed: int, given: Sequence[Arch]) -> dict[str, Callable[[], Searcher]]:
    """Searchers that believe nothing."""
    return {
        "random": lambda: Begun(region, given, Random(region, seed)),
        "evolution": lambda: Begun(region, given, Evolution(region, seed, population=30, sample=10)),
        "local-search": lambda: Begun(region, given, LocalSearch(region, seed)),
    }


def surrogates(region: Region, seed: int, given: Sequence[Arch], parallel: int) -> dict[str, Callable[[], Searcher]]:
    space = region.space

    def nasbowl() -> Searcher:
        if not isinstance(space, GraphSpace):
            raise BadInput(f"nasbowl compares graphs, and {type(space).__name__} tells none; gp-ei searches any space")
        histograms = Histograms(space)
        kernels = [scaled(WeisfeilerLehman(histograms, level)) for level in LEVELS]
        return Bayes(region, GP(histograms, kernels), given, seed, parallel=parallel)

    def bananas() -> Searcher:
        features = Paths(space) if isinstance(space, GraphSpace) and branches(space) else OneHot(space)
        near = Candidates(region, MUTANTS, everything=False)
        return Bayes(region, Ensemble(features, seed), given, seed, "thompson", parallel, candidates=near)

    return {
        "gp-ei": lambda: Bayes(region, GP(OneHot(space)), given, seed, parallel=parallel),
        "gp-ucb": lambda: Bayes(region, GP(OneHot(space)), given, seed, "ucb", parallel),
        "bananas": bananas,
        "nasbowl": nasbowl,
    }


def with_learned(name: str, region: Region, seed: int, given: Sequence[Arch], learned: Model | None, parallel: int) -> Searcher:
    """Searchers with a model that was learned from a history; its ablations differ in the model, but for `random-init`."""
    if learned is None:
        raise BadInput(f"{name} searches with a learned surrogate: give --checkpoint CKPT, made by `nas meta-train tnas`")
    if name == "metad2a":
        return Begun(region, given, Fixed(ranked(region, learned)))
    warm = given or ([] if name == "tnas:random-init" else opening(region, learned, seed))
    return Bayes(region, learned, warm, seed, parallel=parallel)


def ranked(region: Region, learned: Model) -> list[Arch]:
    """Candidates of the region, the highest believed value first; a sample where the region is large."""
    candidates = Candidates(region)
    archs = candidates.all or candidates.around((), (), random.Random(0))
    order = np.argsort(-learned.posterior(archs)[0].numpy(), kind="stable")
    return [archs[at] for at in order]


def opening(region: Region, learned: Model, seed: int, count: int = INITIAL) -> list[Arch]:
    """The initial design of a learned searcher: what it believes to be best, and of the `FOREMOST` behind that some that the
    seed draws, apart from each other. Beliefs of networks that are nearly as good differ by less than their errors."""
    best, *others = ranked(region, learned)
    near = others[: FOREMOST - 1]
    random.Random(f"{seed} opening").shuffle(near)
    return diverse([best, *near, *others[FOREMOST - 1 :]], count)


def diverse(archs: Sequence[Arch], count: int = INITIAL) -> list[Arch]:
    """The first architectures that differ from each other in several variables; as many as there are of those."""
    found: list[Arch] = []
    for arch in archs:
        if len(found) == count:
            break
        if all(sum(a != b for a, b in zip(arch, other, strict=True)) >= APART for other in found):
            found.append(arch)
    return found


@dataclass
class Begun(Searcher):
    """A searcher that is first told of an initial design."""

    region: Region
    first: Sequence[Arch]
    then: Searcher

    def __post_init__(self) -> None:
        self.told: set[Arch] = set()

    def ask(self) -> list[Arch]:
        return [arch for arch in self.first if arch not in self.told] or self.then.ask()

    def tell(self, archs: Sequence[Arch], losses: Float[np.ndarray, "a m"]) -> None:
        check_losses(self.region, archs, losses)
        self.told.update(archs)
        self.then.tell(archs, losses)
