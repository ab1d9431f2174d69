"""The seam of all surrogates: fitted to values of architectures, asked for what it believes of others."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from nas_suite.space import Arch
from nas_suite.surrogate.standard import Standardiser

LEAST_VARIANCE = 1e-9  # of a belief, relative to standardised values; GPyTorch warns of less


class Model(ABC):
    """What a searcher believes about architectures. Values are told in any unit, greater is better; beliefs are in units of
    `standardiser`, the only one there is, and of the value itself rather than of a noisy observation of it. float64."""

    standardiser: Standardiser
    """Of the values last fitted to; absent before."""

    @abstractmethod
    def fit(self, archs: Sequence[Arch], values: Float[np.ndarray, " a"]) -> None:
        """Forgets what it was fitted to before. The same values give the same beliefs, whatever came between. Raises BadInput
        where a value is not finite."""

    @abstractmethod
    def posterior(self, archs: Sequence[Arch]) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
        """Mean and standard deviation of each."""

    @abstractmethod
    def covariance(self, archs: Sequence[Arch], others: Sequence[Arch]) -> Float[Tensor, "a b"]:
        """How beliefs of two sets of architectures vary together; for sets of which one is small."""
