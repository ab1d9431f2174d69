"""Trainings are remembered by themselves: what ends is written into the history, and no training fails because of it."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nas_suite.data.images import Splits
from nas_suite.errors import BadInput
from nas_suite.history.place import switched_off
from nas_suite.history.rows import Evaluation, Task
from nas_suite.pipeline.setting import Setting, settings_of
from nas_suite.registry import construct
from nas_suite.run import Run
from nas_suite.standalone import Recipe
from nas_suite.words import plural

if TYPE_CHECKING:
    from nas_suite.encoders.banks import Bank
    from nas_suite.encoders.features import Extractor
    from nas_suite.history import History

LOG = logging.getLogger(__name__)  # which Python writes to stderr where nobody says otherwise
SPLITS = ("val", "test")


def of_training(
    setting: Setting, arch: str, seed: int, values: Mapping[str, float | None], seconds: float | None, error: str, source: str
) -> list[Evaluation]:
    """What a training from scratch with the setting's recipe says of a network: accuracies 0 … 1 with the last epoch's weights
    on validation and test images; one that failed where there is none of validation."""
    space, plan = setting.space, setting.plan
    recipe = asdict(construct(Recipe, "retrain", plan.part("retrain")))
    epochs = recipe.pop("epochs")
    chosen = space.parse(arch)
    canonical, spelling = space.describe(space.canonical(chosen) or chosen), space.describe(chosen)
    failed = values.get("val") is None
    return [
        Evaluation(
            plan.space, canonical, task_of(setting).key, None if failed else values[split], split,
            settings=settings_of(space), recipe=recipe, fidelity={"epochs": epochs}, seed=seed,
            spelling="" if spelling == canonical else spelling, seconds=seconds, device=str(setting.compute).split(", ")[0],
            status="failed" if failed else "ok", error=error, source=source,
        )
        for split in (SPLITS[:1] if failed else SPLITS)
        if failed or values.get(split) is not None
    ]  # fmt: skip


def task_of(setting: Setting) -> Task:
    """The data set of a setting, by the fingerprint of its images."""
    splits = setting.splits
    channels, side, _ = splits.train.shape
    return Task.of(setting.plan.data, splits.fingerprint, splits.classes, side, channels)


@dataclass
class Memory:
    """The way of a run's trainings into the history. What that refuses waits for the end."""

    setting: Setting
    source: str
    waiting: list[Evaluation] = field(default_factory=list)
    refused: bool = False
    pictured: bool = False
    """Whether the history has features of the data set's images, by which it is compared with others."""

    @classmethod
    def of(cls, run: Run, setting: Setting) -> "Memory":
        return cls(setting, run.name)

    def note(
        self, arch: str, seed: int, values: Mapping[str, float | None], seconds: float | None = None, error: str = ""
    ) -> None:
        """One training, to be written next."""
        if not switched_off():
            self.waiting += of_training(self.setting, arch, seed, values, seconds, error, self.source)

    def write(self) -> None:
        """Writes what was noted. Where the history refuses, that is told, and nothing more is tried before the end."""
        if not self.refused and (said := self.refusal()):
            self.refused = True
            LOG.warning("warning: the history cannot be written, the training goes on: %s", said)

    def close(self) -> None:
        """Tries once more where something was refused."""
        if self.refused and (said := self.refusal()):
            LOG.warning("warning: %s of %s not remembered: %s", plural(len(self.waiting), "evaluation"), self.source, said)

    def refusal(self) -> str:
        """Writes what waits; why that cannot be, empty where it was done."""
        try:
            if self.waiting:
                from nas_suite.history import History

                history, task = History.open(make=True), task_of(self.setting)
                history.add(self.waiting, [task])
                self.waiting.clear()
                if not self.pictured:
                    self.pictured = True
                    self.picture(history, task)
        except Exception as error:  # whatever a database may answer: the training is worth more
            said = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
            return " ".join(said.split())
        return ""

    def picture(self, history: "History", task: Task) -> None:
        """Sees to it that the history has features of the data set's images. Where it cannot have them that is told; what was
        trained is remembered all the same."""
        from nas_suite.encoders.features import RandomConvolutions

        try:
            known = next((each for each in history.datasets() if each.content == task.content), task)
            if history.bank(known.key, RandomConvolutions.id) is None:
                seen(history, known, self.setting.splits, RandomConvolutions())
        except BadInput as error:
            LOG.warning("warning: %s cannot be compared with other data sets: %s", self.setting.plan.data, error)


def seen(history: "History", task: Task, splits: Splits, seer: "Extractor") -> "Bank":
    """The features of a data set, made and kept in the history."""
    from nas_suite.encoders.banks import bank

    made = bank(splits.train, splits.mean, splits.std, seer, len(splits.classes))
    history.put_bank(task.key, seer.id, [rows.astype(np.float16) for rows in made.classes])
    return made
