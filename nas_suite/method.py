"""What a user brings (Problem) and what every method answers (Method)."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from nas_suite.cost import Cost
from nas_suite.data.images import Images
from nas_suite.engine import PLAIN, Batches, Compute, Learner
from nas_suite.objective import Objective
from nas_suite.search import Limit, Searcher
from nas_suite.space import Arch, SearchSpace


@dataclass(frozen=True)
class Problem:
    """A space and the images to search it for. There are no test images here, so no method can see one.

    `latency` is that of networks in ms, over the space as it is to be deployed: the same decisions, perhaps for other images.
    """

    space: Any  # of the method's `needs`
    train: Images
    val: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]
    compute: Compute = PLAIN
    seed: int = 0
    latency: Cost | None = None


class Method(Learner):
    """A way to search. Implementations are dataclasses: `problem` first, then the settings with the paper's defaults.

    `single_path` says that it trains one path a block, where a space lets that be chosen and nobody says otherwise; `ground`
    names the settings that a trained method's weights hang on, `searching` those that a search of them takes; `derives` says
    that training is the search itself, from which a network is derived that meets a latency, rather than what a search then
    looks through; `direct` that networks are trained one by one, without a supernet.
    """

    needs: ClassVar[type[SearchSpace]]
    single_path: ClassVar[bool] = False
    derives: ClassVar[bool] = False
    direct: ClassVar[bool] = False
    ground: ClassVar[tuple[str, ...]] = ()
    searching: ClassVar[tuple[str, ...]] = ()
    problem: Problem
    epochs: int

    @abstractmethod
    def batches(self) -> Batches:
        """What its steps learn from."""

    @abstractmethod
    def scorer(self) -> Objective:
        """What the method, as trained, thinks of an architecture. Scoring leaves the method as it was."""

    @abstractmethod
    def accuracy(self, arch: Arch, images: Images) -> float:
        """Share of `images` that an architecture classifies rightly, judged as `scorer` judges it, 0 … 1."""

    @abstractmethod
    def searcher(self, objectives: Sequence[Objective], limits: Sequence[Limit]) -> Searcher:
        """How it looks for architectures that are good in all objectives and within all limits."""
