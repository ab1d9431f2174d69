"""NAS-Bench-201's cells in plain words: operations on edges, how they are written, what flows, and which are one network."""

import itertools
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from nas_suite.errors import BadInput, suggest
from nas_suite.space import Arch

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""What an edge does, in the benchmark's order (NATS-Bench, api_topology.py, str2matrix)."""

NONE, SKIP, CONV1, CONV3, POOL = range(len(OPERATIONS))
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From which node to which, in the order in which an architecture lists them; node 0 is the cell's input, node 3 its output.
Every edge that leads to a node stands before every edge that leaves it."""

LAST = 3
INPUT = -1
"""The cell's input, where edges are named by their place."""

EXAMPLE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
FORM = re.compile(r"\+".join(r"\|" + "".join(rf"([^|~+]+)~{u}\|" for u in range(v)) for v in range(1, LAST + 1)))

Sources: TypeAlias = tuple[int, ...]
"""What is added: edges, or INPUT, each as often as it is added."""

Terms: TypeAlias = tuple[tuple[int, int], ...]
"""What is added: a convolution, or INPUT, and how often it is pooled before."""


def written(arch: Arch) -> str:
    """The benchmark's text of a cell."""
    names = iter(OPERATIONS[option] for option in arch)
    return "+".join("|" + "".join(f"{next(names)}~{u}|" for u in range(v)) for v in range(1, LAST + 1))


def parsed(text: str) -> Arch:
    """The cell of the benchmark's text, or of six digits, one an edge; BadInput says what does not fit."""
    text = text.strip()
    if re.fullmatch(r"[0-4]{6}", text):
        return tuple(int(digit) for digit in text)
    found = FORM.fullmatch(text)
    if not found:
        raise BadInput(
            f"architecture {text!r} is neither of the form |op~0|+|op~0|op~1|+|op~0|op~1|op~2| (in quotes on a command line) "
            f"nor six digits of 0 to 4; an example: '{EXAMPLE}', or 332131 for short"
        )
    for (u, v), name in zip(EDGES, found.groups(), strict=True):
        if name not in OPERATIONS:
            raise BadInput(f"edge {u}->{v} cannot be {name!r}{suggest(name, OPERATIONS)}")
    return tuple(OPERATIONS.index(name) for name in found.groups())


@dataclass(frozen=True)
class Flow:
    """What a cell computes: its output is the sum of `output`, edge e operates on the sum of `reads[e]`.

    Skips are contracted. Edges that no image reaches or from which nothing reaches the output are left out.
    """

    output: Sources
    reads: Mapping[int, Sources]

    @property
    def depth(self) -> int:
        """How many operations follow each other on the longest way from input to output."""
        depths = {INPUT: 0}
        for edge, sources in sorted(self.reads.items()):
            depths[edge] = 1 + max(depths[source] for source in sources)
        return max((depths[source] for source in self.output), default=0)


def flow(arch: Arch) -> Flow:
    nodes: list[Sources] = [(INPUT,), (), (), ()]
    reads: dict[int, Sources] = {}
    for edge, ((u, v), option) in enumerate(zip(EDGES, arch, strict=True)):
        if option == SKIP:
            nodes[v] += nodes[u]
        elif option != NONE and nodes[u]:
            reads[edge] = nodes[u]
            nodes[v] += (edge,)
    useful = set(nodes[LAST])
    for edge in sorted(reads, reverse=True):
        useful.update(reads[edge] if edge in useful else ())
    return Flow(nodes[LAST], {edge: sources for edge, sources in reads.items() if edge in useful})


@dataclass(frozen=True)
class Convolutions:
    """A cell as what counts of it: the kinds of its convolutions, what each reads, and what is added to the output."""

    kinds: Mapping[int, int]
    reads: Mapping[int, Terms]
    output: Terms

    @classmethod
    def of(cls, arch: Arch) -> "Convolutions":
        found = flow(arch)
        pools = {edge: sources for edge, sources in found.reads.items() if arch[edge] == POOL}
        reads = {edge: pooled(sources, pools) for edge, sources in found.reads.items() if edge not in pools}
        return cls({edge: arch[edge] for edge in reads}, reads, pooled(found.output, pools))

    def writings(self, numbers: Mapping[int, int], so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Each convolution by its kind and what it reads, then the output. `numbers` names those that are written; the next
        one is, of those whose sources are, one that is written least, every one in turn where several are."""
        ready = {
            edge: (self.kinds[edge], renamed(terms, numbers))
            for edge, terms in self.reads.items()
            if edge not in numbers and all(source in numbers for source, _ in terms)
        }
        if not ready:
            yield (*so_far, renamed(self.output, numbers))
        first = min(ready.values(), default=None)
        for edge, writing in ready.items():
            if writing == first:
                yield from self.writings({**numbers, edge: len(numbers)}, (*so_far, writing))


def pooled(sources: Sources, pools: Mapping[int, Sources]) -> Terms:
    """The sum of sources, each replaced by what it pools where it is a pooling."""
    terms = []
    for source in sources:
        if source in pools:
            terms += [(origin, times + 1) for origin, times in pooled(pools[source], pools)]
        else:
            terms.append((source, 0))
    return tuple(terms)


def renamed(terms: Terms, numbers: Mapping[int, int]) -> Terms:
    return tuple(sorted((numbers[source], times) for source, times in terms))


def signature(arch: Arch) -> tuple[Any, ...]:
    """Equal for two cells exactly where they compute the same function of the same convolutions.

    A convolution, with its batch norm, is known by its kernel and by what it reads, and never merged with another: each has
    weights of its own. Pooling is linear and has none: a pooling of a sum is the sum of the poolings, so that all that counts
    is how often a convolution's output, or the input, is pooled and added.
    """
    return min(Convolutions.of(arch).writings({INPUT: 0}))


def spellings() -> Iterator[Arch]:
    """All 15,625, in lexicographic order."""
    return itertools.product(range(len(OPERATIONS)), repeat=len(EDGES))


@cache
def numbered() -> tuple[Arch, ...]:
    """All cells in the benchmark's own order, by which its files number them: lexicographic, then shuffled with its seed
    (D-X-Y/AutoDL-Projects, exps/NAS-Bench-201/main.py, generate_meta_info)."""
    cells = list(spellings())
    random.Random(88).shuffle(cells)
    return tuple(cells)


@cache
def classes() -> Mapping[Arch, Arch]:
    """Of each of the 15,625 spellings, the lexicographically least one of the same network.

    What an unreachable convolution's batch norm adds, at most a constant per channel, does not count. The cells whose output
    no image reaches are one network, a constant, spelt with no operation at all: the benchmark trained it too.
    """
    firsts: dict[tuple[Any, ...], Arch] = {}
    return {arch: firsts.setdefault(signature(arch), arch) for arch in spellings()}
