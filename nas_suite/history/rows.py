"""What the history remembers, as plain values: data sets, and evaluations of networks on them."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from nas_suite.errors import BadInput

SPLITS, GOALS, STATUSES = ("train", "val", "test"), ("max", "min"), ("ok", "failed")
SHARE, PERCENT = "share", "percent"
LARGEST_SEED = 1 << 63
LONGEST = 200  # characters of a name: what columns of a database that knows no endless text hold


@dataclass(frozen=True)
class Task:
    """A data set as the history knows it. What is not known is left empty, or 0."""

    key: str
    """Its one name in a history."""
    name: str = ""
    """What it is called where that is not its key: several keys have one name where a data set was cut or sized otherwise."""
    content: str = ""
    """The fingerprint of its images and labels (`data.images.fingerprint`)."""
    classes: tuple[str, ...] = ()
    image_size: int = 0
    channels: int = 0
    tags: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, content: str, classes: tuple[str, ...], image_size: int, channels: int) -> "Task":
        """A data set whose images are at hand."""
        return cls(f"{name}-{content}", name, content, classes, image_size, channels)

    def fault(self) -> str:
        """Why this can be no data set, empty where it can."""
        if not self.key or max(map(len, (self.key, self.name, self.content))) > LONGEST:
            return f"its name must have 1 to {LONGEST} characters"
        if len(self.classes) == 1:
            return f"it has one class alone, {self.classes[0]!r}, so every network is right; at least two are needed"
        if len(set(self.classes)) < len(self.classes):
            return "two of its classes have one name"
        return "" if min(self.image_size, self.channels) >= 0 else "image size and channels cannot be negative"


@dataclass(frozen=True)
class Evaluation:
    """One value of one network. An accuracy is a share, 0 … 1; `value` is None where the training failed."""

    space: str
    arch: str
    """The network's canonical text."""
    data: str
    """The key of its data set."""
    value: float | None
    split: str = "val"
    metric: str = "accuracy"
    goal: str = "max"
    unit: str = SHARE
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the space, without those that the images decide."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained, but for what `fidelity` says."""
    fidelity: Mapping[str, Any] = field(default_factory=dict)
    """How far it was trained: epochs, and whatever else makes a training cheaper."""
    seed: int = 0
    spelling: str = ""
    """The text under which it was trained, where that is not the canonical one."""
    seconds: float | None = None
    device: str = ""
    status: str = "ok"
    error: str = ""
    time: str = ""
    """When it was written down, ISO 8601 in UTC; left empty, the history fills it in."""
    source: str = ""
    """The run, the table or the file that it comes from."""
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spelt(self) -> str:
        return self.spelling or self.arch

    @cached_property
    def settings_text(self) -> str:
        return plain(self.settings)

    @cached_property
    def recipe_text(self) -> str:
        return plain(self.recipe)

    @cached_property
    def fidelity_text(self) -> str:
        return plain(self.fidelity)

    @cached_property
    def recipe_hash(self) -> str:
        return short(self.recipe_text)

    @cached_property
    def settings_hash(self) -> str:
        return short(self.settings_text)

    @property
    def training(self) -> tuple[Any, ...]:
        """What decides the value but for chance: two evaluations that are equal in it are of one training."""
        kind = (self.space, self.settings_text, self.spelt, self.data, self.split, self.metric, self.goal, self.unit)
        return (*kind, self.recipe_hash, self.fidelity_text, self.seed)

    @property
    def identity(self) -> str:
        """Equal for an evaluation that is written twice: the same training with the same outcome."""
        return hashlib.sha256(repr((*self.training, self.status, self.value)).encode()).hexdigest()[:40]

    def fault(self) -> str:
        """Why this can be no evaluation, empty where it can."""
        for name in ("space", "arch", "data", "metric"):
            if not getattr(self, name):
                return f"its {name} is empty"
        for name, known in (("split", SPLITS), ("goal", GOALS), ("status", STATUSES)):
            if getattr(self, name) not in known:
                return f"its {name} is {getattr(self, name)!r}; there are: {', '.join(known)}"
        if max(map(len, (self.space, self.data, self.metric, self.unit, self.device))) > LONGEST:
            return f"a name in it is longer than {LONGEST} characters"
        if not 0 <= self.seed < LARGEST_SEED:
            return f"its seed is {self.seed}; seeds are whole numbers from 0 to below 2**63"
        if self.seconds is not None and not 0 <= self.seconds < math.inf:
            return f"its seconds are {self.seconds}; they must be a finite number from 0"
        if self.metric == "accuracy" and (self.goal == "min" or self.unit not in (SHARE, PERCENT)):
            given = f"goal {self.goal} and unit {self.unit!r}: it wants max, and {SHARE} or {PERCENT}"
            return f"it is an accuracy, a share of which more is better, with {given}"
        if self.time and not is_time(self.time):
            return f"its time is {self.time!r}; write it as 2026-11-29T12:00:00"
        return self.fault_of_value()

    def fault_of_value(self) -> str:
        value = self.value
        if self.status == "failed":
            return "" if value is None else f"it failed, and yet has the value {value}; leave the value out"
        if value is None or not math.isfinite(value):
            said = "empty" if value is None else value
            return f"its value is {said}; a training without a finite value is one with status failed"
        if self.unit == PERCENT:
            return f"its unit is percent; the history keeps shares: {value / 100:g}"
        if self.unit == SHARE and not 0 <= value <= 1:
            hint = "; are these percents? say unit percent (--unit percent)" if 1 < value <= 100 else ""
            return f"its {self.metric} is {value!r}, and a share lies between 0 and 1{hint}"
        return ""


def is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def plain(settings: Mapping[str, Any]) -> str:
    """Settings as one line of JSON, the same for equal settings. Whole numbers are written as such."""
    try:
        return json.dumps(whole(settings), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"settings {dict(settings)!r} cannot be kept as JSON: {error}") from None


def whole(value: Any) -> Any:
    """`value` with 1 for 1.0, so that a setting is the same whichever way it was typed."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, (list, tuple)) else value


def short(text: str) -> str:
    """Twelve hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
