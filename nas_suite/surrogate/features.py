"""Architectures as rows of numbers, of any space: one-hot, scaled so that two are at most 1 apart."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nas_suite.space import Arch, SearchSpace, Variable

MANY = 16  # options above which numbers are read as numbers


class OneHot:
    """One column for each option of each variable; one for a variable whose many options are ascending numbers, such as a
    width. The squared distance of two architectures is the share of variables in which they differ.

    The rows of the sequence last seen are kept: searches ask for the same candidates at every step.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.tables = [columns(variable) / np.sqrt(2 * len(space.variables)) for variable in space.variables]
        self.seen: tuple[Sequence[Arch], Tensor] | None = None

    def __call__(self, archs: Sequence[Arch]) -> Float[Tensor, "a d"]:
        if self.seen is not None and self.seen[0] is archs:
            return self.seen[1]
        chosen = np.asarray(archs, dtype=int).reshape(len(archs), len(self.tables))
        rows = torch.from_numpy(np.concatenate([table[chosen[:, at]] for at, table in enumerate(self.tables)], 1))
        if isinstance(archs, tuple):  # which nobody changes
            self.seen = archs, rows
        return rows


def columns(variable: Variable) -> Float[np.ndarray, "k d"]:
    options = variable.options
    if len(options) > MANY and all(isinstance(option, int | float) for option in options):
        values = np.array(options, dtype=float)
        if (np.diff(values) > 0).all():
            return (np.sqrt(2) * (values - values[0]) / (values[-1] - values[0]))[:, None]
    return np.eye(len(options))
