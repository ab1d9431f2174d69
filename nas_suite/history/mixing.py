"""Which evaluations may stand in one column: those of one kind; and what repeats of one training tell of its noise."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from nas_suite.errors import BadInput
from nas_suite.history.rows import Evaluation
from nas_suite.words import plural

SHOWN = 4
CHOSEN = ("space", "settings", "split", "metric", "recipe", "fidelity")  # what can be asked of a history


class Kind(NamedTuple):
    """What must be equal for two values to be compared: what was measured, and how the network was trained."""

    space: str
    settings: str
    """The hash of the space's settings, as `recipe` is that of the recipe."""
    split: str
    metric: str
    goal: str
    unit: str
    recipe: str
    fidelity: str

    @classmethod
    def of(cls, row: Evaluation) -> "Kind":
        return cls(row.space, row.settings_hash, row.split, row.metric, row.goal, row.unit, row.recipe_hash, row.fidelity_text)


def kinds(rows: Sequence[Evaluation]) -> dict[Kind, int]:
    """How many of the evaluations are of each kind, the most frequent first."""
    return dict(Counter(Kind.of(row) for row in rows).most_common())


def one_kind(rows: Sequence[Evaluation]) -> None:
    """BadInput where evaluations are of several kinds, naming in what these differ and how to choose one."""
    found = kinds(rows)
    if len(found) < 2:
        return
    differing = [name for name in Kind._fields if len({getattr(kind, name) for kind in found}) > 1]
    said = [
        f"{', '.join(f'{name} {getattr(kind, name) or chr(8211)}' for name in differing)} ({plural(n, 'row')})"
        for kind, n in list(found.items())[:SHOWN]
    ]
    more = f"; … {plural(len(found), 'kind')} in all" if len(found) > SHOWN else ""
    chosen = [name for name in differing if name in CHOSEN]
    advice = f"choose by {' or '.join(chosen)}" if chosen else f"keep those of one {differing[0]} in a history of their own"
    raise BadInput(
        f"these {len(rows):,} evaluations are of {plural(len(found), 'kind')} that cannot be mixed: {'; '.join(said)}{more}: "
        f"{advice}"
    )


@dataclass(frozen=True)
class Repeated:
    """Evaluations by network and data set: the mean of each over its trainings, and how much one training scatters."""

    archs: tuple[str, ...]
    data: tuple[str, ...]
    means: Float[np.ndarray, " a"]
    counts: Int64[np.ndarray, " a"]
    noise: float | None
    """Standard deviation of one training's value about its network's mean, pooled; None where no training was repeated."""

    def __len__(self) -> int:
        return len(self.archs)


def repeated(rows: Sequence[Evaluation], spelt: bool = False) -> Repeated:
    """Means over repeats, in the order in which networks come first; failed trainings are left out. `spelt` keeps spellings of
    one network apart. The caller sees to it that rows are of one kind."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if row.value is not None:
            values[row.spelt if spelt else row.arch, row.data].append(row.value)
    spread = sum(float(np.var(some)) * len(some) for some in values.values())
    freedom = sum(len(some) - 1 for some in values.values())
    archs, data = zip(*values, strict=True) if values else ((), ())
    means = np.array([np.mean(some) for some in values.values()], np.float64)
    counts = np.array([len(some) for some in values.values()], np.int64)
    return Repeated(tuple(archs), tuple(data), means, counts, float(np.sqrt(spread / freedom)) if freedom else None)
