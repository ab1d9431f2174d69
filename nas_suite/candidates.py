"""What a search that learns chooses from: every network of a small region, or in a large one those worth a look."""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nas_suite.search import Region, mutated
from nas_suite.space import Arch

ENUMERABLE = 50_000  # networks, at most, that are all scored at each step
SPELLINGS = 10**6  # that are gone through to find them
BEST, STEPS, PAIRS = 10, 40, 100  # architectures to start from, mutations of each, and crossovers of them
NEAR = 200  # neighbours, at most, that are all looked at
CLIMBERS, CLIMB = 3, 20  # candidates that climb, and their steps at most


@dataclass(frozen=True)
class Candidates:
    """A small region is gone through, if `everything` may be; in others `drawn` random architectures are looked at each step,
    beside those near the best."""

    region: Region
    drawn: int = 500
    everything: bool = True
    known: dict[Arch, bool] = field(default_factory=dict)  # whether an architecture is in the region, of those asked about

    @cached_property
    def all(self) -> tuple[Arch, ...]:
        """Every network of the region, canonical; none where the space is too large, or is not to be gone through."""
        space = self.region.space
        if not self.everything or space.spellings() > SPELLINGS or space.size() > ENUMERABLE:
            return ()
        return tuple(arch for arch in space.everything() if self.region.excess(arch) == 0)

    def around(self, best: Sequence[Arch], without: Collection[Arch], rng: random.Random) -> tuple[Arch, ...]:
        """Random architectures, one- and two-step mutations of the best, and crossovers of them: all of the region, distinct,
        none of `without`."""
        space = self.region.space
        found = dict.fromkeys(self.region.sample(rng) for _ in range(self.drawn))
        for parent in best[:BEST]:
            found.update(dict.fromkeys(self.neighbours(parent, rng)))
            twice = (mutated(space, mutated(space, parent, rng), rng) for _ in range(STEPS))
            found.update(dict.fromkeys(self.inside(twice)))
        if len(best) > 1:
            pairs = (rng.sample(best[:BEST], 2) for _ in range(PAIRS))
            mixed = (tuple(rng.choice(genes) for genes in zip(*pair, strict=True)) for pair in pairs)
            found.update(dict.fromkeys(self.inside(mixed)))
        return tuple(arch for arch in found if arch not in without)

    def neighbours(self, arch: Arch, rng: random.Random) -> list[Arch]:
        """The architectures of the region one step away; a sample where there are many."""
        space = self.region.space
        if sum(len(options) - 1 for options in space.searched) <= NEAR:
            return [near for near in space.neighbours(arch) if self.holds(near)]
        return self.inside(mutated(space, arch, rng) for _ in range(STEPS))

    def inside(self, spelt: Iterable[Arch]) -> list[Arch]:
        """Of spellings those that are networks of the region, canonical."""
        canonical = (self.region.space.canonical(arch) for arch in spelt)
        return [arch for arch in canonical if arch is not None and self.holds(arch)]

    def holds(self, arch: Arch) -> bool:
        """Whether a canonical architecture is in the region."""
        if arch not in self.known:
            self.known[arch] = self.region.excess(arch) == 0
        return self.known[arch]

    def climbed(
        self,
        archs: Sequence[Arch],
        score: Callable[[Sequence[Arch]], Sequence[float]],
        without: Collection[Arch],
        rng: random.Random,
    ) -> tuple[Arch, ...]:
        """The candidates, and what the foremost of them reach by steps that raise the score: each to the best neighbour."""
        scores = score(archs)
        found = dict.fromkeys(archs)
        for at in sorted(range(len(archs)), key=lambda i: -scores[i])[:CLIMBERS]:
            arch, height = archs[at], scores[at]
            for _ in range(CLIMB):
                near = [a for a in self.neighbours(arch, rng) if a not in without]
                heights = score(near) if near else []
                if not near or max(heights) <= height:
                    break
                height = max(heights)
                arch = near[heights.index(height)]
                found[arch] = None
        return tuple(found)
