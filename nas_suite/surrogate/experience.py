"""Experience: a history as a surrogate learns from it: networks, data sets, and how well the one did on the other."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nas_suite.encoders.banks import USED, Bank
from nas_suite.errors import BadInput
from nas_suite.space import Arch
from nas_suite.words import plural

LEAST_SETS, LEAST_ROWS = 3, 50
"""Data sets and evaluations below which nothing about data sets can be learned."""
TELLING = 8  # evaluations of a data set that tell its mean and deviation


@dataclass(frozen=True, eq=False)
class Shelf:
    """Data sets as an encoder reads them: each distinct class once, and the places of each data set's classes."""

    classes: tuple[Float[np.ndarray, "_ f"], ...]
    sets: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()
    """Of the classes, where they have codes."""

    @classmethod
    def of(cls, banks: Sequence[Bank]) -> "Shelf":
        """BadInput where banks are of several extractors."""
        if len(found := {bank.extractor for bank in banks}) > 1:
            raise BadInput(f"features of several extractors cannot be compared: {', '.join(sorted(found))}; choose one")
        classes = tuple({id(rows): rows for bank in banks for rows in bank.classes}.values())
        places = {id(rows): at for at, rows in enumerate(classes)}
        sets = tuple(tuple(places[id(rows)] for rows in bank.classes) for bank in banks)
        called = {id(rows): name for bank in banks for rows, name in zip(bank.classes, bank.names, strict=False)}
        return cls(classes, sets, tuple(called[id(rows)] for rows in classes) if called else ())

    @cached_property
    def means(self) -> Float[Tensor, "d f"]:
        """What data sets are compared by: the mean feature of each one's classes; where these have codes, which of them it has,
        for random codes of hundreds of classes are not orthogonal enough to tell how many two data sets share."""
        if self.names:
            return torch.stack([membership(self.names, [self.names[at] for at in members]) for members in self.sets])
        each = torch.from_numpy(np.stack([rows.mean(0, dtype=np.float64) for rows in self.classes]))
        return torch.stack([each[list(members)].mean(0) for members in self.sets])

    def drawn(self, which: Sequence[int], seed: Sequence[int] | None) -> tuple[list[Float[Tensor, "_ f"]], list[list[int]]]:
        """Classes and data sets, as `DataEncoder` takes them, of some of the sets; of each class up to `USED` images, drawn by
        the seed, or without one the first."""
        needed = sorted({place for at in which for place in self.sets[at]})
        at_place = {place: at for at, place in enumerate(needed)}
        images = [torch.from_numpy(picked(self.classes[place], None if seed is None else (*seed, place))) for place in needed]
        return images, [[at_place[place] for place in self.sets[at]] for at in which]


def membership(known: Sequence[str], names: Sequence[str]) -> Float[Tensor, " f"]:
    """Which of the known classes a data set has, at length 1 where it has no others: inner products are shares of classes."""
    own = set(names)
    return torch.tensor([name in own for name in known], dtype=torch.float64) / max(1, len(own)) ** 0.5


def picked(rows: Float[np.ndarray, "n f"], seed: Sequence[int] | None) -> Float[np.ndarray, "s f"]:
    if len(rows) <= USED or seed is None:
        return rows[:USED]
    raw = np.random.PCG64(np.random.SeedSequence(list(seed))).random_raw(len(rows))
    return rows[np.sort(np.argsort(raw, kind="stable")[:USED])]


@dataclass(frozen=True, eq=False)
class Experience:
    """Row i: network `archs[arch[i]]`, as it was spelt, did `values[i]` on data set `names[data[i]]`; greater is better.
    `published` marks rows that are never learned from: a published validation split."""

    archs: tuple[Arch, ...]
    names: tuple[str, ...]
    arch: Int64[np.ndarray, " n"]
    data: Int64[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]
    published: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def learnable(self) -> tuple[int, int]:
        """How many data sets, and rows, there are to learn from."""
        own = self.data[~self.published]
        return len(set(own.tolist())), len(own)

    @property
    def there(self) -> str:
        """The same in words."""
        sets, rows = self.learnable
        return f"{plural(sets, 'data set')} and {plural(rows, 'evaluated network')}"

    @property
    def enough(self) -> bool:
        """Whether anything about data sets can be learned from it."""
        sets, rows = self.learnable
        return sets >= LEAST_SETS and rows >= LEAST_ROWS

    def held_out(self, share: float, seed: int) -> Bool[np.ndarray, " n"]:
        """The rows of that share of the data sets, at least of one and never of all."""
        sets = np.unique(self.data[~self.published])
        raw = np.random.PCG64(np.random.SeedSequence((seed, 17))).random_raw(len(sets))
        count = min(max(1, round(share * len(sets))), len(sets) - 1)
        return np.isin(self.data, sets[np.argsort(raw, kind="stable")[:count]]) & ~self.published

    def floored(self, deviations: float) -> "Experience":
        """The same, but that no value is further below its data set's mean than so many standard deviations; where a data set
        has too few evaluations to tell, below that of all such. What bad networks do is not known then, nor asked for."""
        values = self.values.copy()
        counts = np.bincount(self.data[~self.published], minlength=len(self.names))
        few = counts[self.data] < TELLING
        groups = [few] + [self.data == at for at in np.flatnonzero(counts >= TELLING)]
        for group in groups:
            if (known := self.values[group & ~self.published]).size:
                values[group] = np.maximum(self.values[group], known.mean() + deviations * known.std())
        return replace(self, values=values)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits that any other row or value changes."""
        text = hashlib.sha256(repr((self.archs, self.names)).encode())
        for column in (self.arch, self.data, self.values, self.published):
            text.update(np.ascontiguousarray(column).tobytes())
        return text.hexdigest()[:16]

    def raw_best(self, count: int) -> list[Arch]:
        """The networks of the rows with the highest values, whatever their data sets, each once: the published first design."""
        order = np.flatnonzero(~self.published)[np.argsort(-self.values[~self.published], kind="stable")]
        return list(dict.fromkeys(self.archs[at] for at in self.arch[order]))[:count]

    def scores(self) -> Float[np.ndarray, " a"]:
        """How far each network is above the others of its data sets, in standard deviations. Data sets with one row alone have
        no others: such rows are compared with each other."""
        totals, counts = np.zeros(len(self.archs)), np.zeros(len(self.archs))
        alone = np.bincount(self.data, minlength=len(self.names)) == 1
        for rows in (alone[self.data], *(self.data == at for at in np.flatnonzero(~alone))):
            if rows.any() and (spread := self.values[rows].std()) > 0:
                np.add.at(totals, self.arch[rows], (self.values[rows] - self.values[rows].mean()) / spread)
                np.add.at(counts, self.arch[rows], 1)
        return totals / np.maximum(counts, 1)
