"""Searches by stand-alone trainings: how many of them, how they begin, at which fidelity, and what becomes of the best."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from nas_suite.space import SearchSpace

Init = Literal["posterior", "paper", "random"]
Tune = Literal["process", "fusion"]


@dataclass(frozen=True)
class Direct:
    """The settings that all searchers share which look at networks by training them one by one.

    `budget` counts trainings at the search's fidelity, the initial design of `init_size` among them: `posterior` takes what the
    learned surrogate, or the history where there is none, believes to be good and that is diverse; `paper` the most accurate
    of the history as they stand (TNAS's released code); `random` neither. None: posterior for searchers that learn from other
    data sets, random for others. `search_epochs` and `search_width` stand for
    retrain.epochs and space.width while it searches, if given: TNAS's variants (e) and (n). The best `finalists` by validation
    are trained whole with `finalist_seeds` seeds each. It trains `parallel` networks at a time; ends early where `patience`
    evaluations brought nothing better, or once trainings took `max_seconds`; 0: neither. What follows the evaluations of `tnas`
    with a checkpoint is the Gaussian process alone, or by `tune` = fusion the last layers of its deep kernel too.
    """

    needs: ClassVar[type[SearchSpace]] = SearchSpace
    single_path: ClassVar[bool] = False
    derives: ClassVar[bool] = False
    direct: ClassVar[bool] = True
    ground: ClassVar[tuple[str, ...]] = ()
    searching: ClassVar[tuple[str, ...]] = ()

    budget: Annotated[int, Ge(1)] = 20
    init_size: Annotated[int, Ge(1)] = 5
    init: Init | None = None
    search_epochs: Annotated[int, Ge(1)] | None = None
    search_width: Annotated[float, Gt(0)] | None = None
    finalists: Annotated[int, Ge(0)] = 3
    finalist_seeds: Annotated[int, Ge(1)] = 3
    parallel: Annotated[int, Ge(1)] = 1
    patience: Annotated[int, Ge(0)] = 0
    max_seconds: Annotated[float, Ge(0)] = 0.0
    tune: Tune = "process"
