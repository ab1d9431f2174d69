"""What a history knows of the images of its data sets, as features of some extractor, or by their classes alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from nas_suite.data import DATA
from nas_suite.data.images import Splits
from nas_suite.encoders.banks import CODES, NONE, Bank, coded
from nas_suite.encoders.features import NAMES, RandomConvolutions, extractor
from nas_suite.encoders.resnet import ResNet18
from nas_suite.errors import BadInput, Missing, suggest
from nas_suite.history import History, Task
from nas_suite.pipeline.remembering import seen

FEATURES = ("auto", *NAMES, "codes")
IDS = {"conv": RandomConvolutions.id, "resnet18": ResNet18.id}


def featured(history: History, tasks: Sequence[Task], features: str) -> tuple[list[Bank], str]:
    """The banks of data sets and what made them; none where nothing is known of some of them. `auto` takes images where all
    have been seen, else what ResNet-18 saw where that is kept of all, else codes of classes where all are known."""
    if features not in FEATURES:
        raise BadInput(f"unknown features {features!r}{suggest(features, FEATURES)}")
    kept = Kept(history)
    if features == "auto":
        if all(task.content for task in tasks):
            features = "conv"
        elif all(kept.bank(task, IDS["resnet18"]) for task in tasks):
            features = "resnet18"
        elif all(task.classes for task in tasks):
            features = "codes"
        else:
            return [], NONE
    if features == "codes":
        if lacking := [task.key for task in tasks if not task.classes]:
            raise BadInput(f"the classes of {lacking[0]} are not known, so that it has no codes: leave it out (--without)")
        return [coded(task.classes) for task in tasks], CODES
    banks = {task.key: bank for task in tasks if (bank := kept.bank(task, IDS[features])) is not None}
    lacking = [task for task in tasks if task.key not in banks]
    images = [(task, images_at_hand(task, features, len(lacking))) for task in lacking]
    if images:
        seer = extractor(features)
        banks |= {task.key: seen(history, task, splits, seer) for task, splits in images}
    return [banks[task.key] for task in tasks], IDS[features]


@dataclass
class Kept:
    """The banks that a history keeps. A data set `a-b` whose classes are all among those of a data set `a` is a part of it: its
    classes are those, the very arrays."""

    history: History
    wholes: dict[tuple[str, str], dict[str, Float[np.ndarray, "_ f"]]] = field(default_factory=dict)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        return {task.key: task for task in self.history.datasets()}

    def bank(self, task: Task, made_by: str) -> Bank | None:
        """What an extractor made of a data set; None where that is not kept."""
        own, whole = self.of(task.key, made_by), task.key.rpartition("-")[0]
        if not own and not task.content and whole in self.tasks:
            known = self.of(whole, made_by)
            own = {name: known[name] for name in task.classes} if set(task.classes) <= set(known) else {}
        return Bank(made_by, tuple(own.values())) if own else None

    def of(self, key: str, made_by: str) -> dict[str, Float[np.ndarray, "_ f"]]:
        """The features of a data set's classes, each under its name or place."""
        if (key, made_by) not in self.wholes:
            found = self.history.bank(key, made_by) or []
            names = self.tasks[key].classes or tuple(map(str, range(len(found))))
            self.wholes[key, made_by] = dict(zip(names, (rows.astype(np.float32) for rows in found), strict=False))
        return self.wholes[key, made_by]


def images_at_hand(task: Task, features: str, lacking: int) -> Splits:
    """A data set's images, under their plain name; BadInput where they are not at hand, of one of so many without features."""
    if task.content and task.name in DATA.names():
        try:
            splits = DATA.build(task.name, {}).splits()
        except Missing:
            splits = None
        if splits is not None and splits.fingerprint == task.content:
            return splits
    raise BadInput(
        f"the images of {task.key} are not at hand, so that {IDS[features]} has no features of it: "
        + (
            f"give --features codes, or leave it out (--without {task.key})"
            if lacking == 1
            else f"give --features codes ({lacking:,} data sets have none)"
        )
    )


def features_word(made_by: str) -> str:
    """How the features that an extractor made are asked for."""
    return "auto" if made_by == NONE else made_by.split("-")[0]
