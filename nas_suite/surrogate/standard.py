"""The one standardiser: values in any unit become numbers of mean 0 and standard deviation 1, and come back."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nas_suite.errors import BadInput

DIGITS = 10  # to which standardised values are rounded: percent and fractions are then the same to the last bit
CLIP = -2.0  # standard deviations; networks that learn nothing lie far below (NAS-Bench-201 holds accuracies of 10 %)


@dataclass(frozen=True)
class Standardiser:
    """`standard = (value - mean) / deviation`. Its fields are numbers, so that a checkpoint can keep it.

    Values below `floor` count as `floor`: how bad a bad network is says little about good ones.
    """

    mean: float = 0.0
    deviation: float = 1.0
    floor: float = -np.inf

    @classmethod
    def of(cls, values: Float[np.ndarray, " a"], clip: float | None = CLIP) -> "Standardiser":
        """The standardiser of these values; with `clip`, those further below their mean are first raised to it. One value, or
        several equal ones, have deviation 1."""
        given = checked(values)
        floor = -np.inf if clip is None else float(given.mean() + clip * given.std())
        kept = np.maximum(given, floor)
        spread = float(kept.std())
        tiny = 1e-12 * float(np.abs(kept).max())  # what rounding makes of equal values
        return cls(float(kept.mean()), spread if spread > tiny else 1.0, floor)

    def to(self, values: Float[np.ndarray, " a"]) -> Float[np.ndarray, " a"]:
        return np.round((np.maximum(checked(values), self.floor) - self.mean) / self.deviation, DIGITS)

    def back(self, standard: Float[np.ndarray, " a"]) -> Float[np.ndarray, " a"]:
        return np.asarray(standard, dtype=float) * self.deviation + self.mean


def checked(values: Float[np.ndarray, " a"]) -> Float[np.ndarray, " a"]:
    """As float64; BadInput where there are none or one is not finite."""
    given = np.asarray(values, dtype=float)
    if not given.size:
        raise BadInput("a surrogate needs the value of at least one architecture, got none; evaluate some first")
    if not np.isfinite(given).all():
        at = int(np.flatnonzero(~np.isfinite(given))[0])
        raise BadInput(
            f"value {given[at]} of architecture {at} is not a number that a surrogate can learn from; leave it out, or give a "
            "failed evaluation the worst value seen"
        )
    return given
