"""The catalogue: what spaces and data sets there are and what they hold, as plain values; nothing is trained."""

import inspect
import math
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nas_suite.cost import cost
from nas_suite.data import DATA
from nas_suite.data.images import Images
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput
from nas_suite.registry import values_of
from nas_suite.space import SearchSpace, SupernetSpace, Variable
from nas_suite.spaces import SPACES


def spaces() -> list[dict[str, Any]]:
    """Every registered space with its default settings."""
    return [described(name) for name in SPACES.names()]


def described(name: str) -> dict[str, Any]:
    """One space; where its package is broken, the reason instead of counts."""
    try:
        cls, space = SPACES.load(name), SPACES.build(name, {})
    except BadInput as error:
        return {"name": name, "about": str(error), "size": None, "variables": None}
    about = inspect.getdoc(sys.modules[cls.__module__]) or ""
    return {"name": name, "about": about.split("\n")[0], "size": space.size(), "variables": len(space.variables)}


def space(name: str, settings: Mapping[str, Any], arch: str | None = None) -> dict[str, Any]:
    """A space with its settings: its size, variables and supernet, and one architecture's text and counts."""
    built: SearchSpace = SPACES.build(name, settings)
    chosen = None if arch is None else built.parse(arch)
    about: dict[str, Any] = {
        "name": name,
        "settings": settings_of(built),
        "size": built.size(),
        "spellings": spellings(built),
        "variables": [variable(v) for v in built.variables],
        "supernet": supernet(built),
    }
    if chosen is not None:
        counts = {"parameters": int(cost("params", built).total(chosen)), "macs": int(cost("macs", built).total(chosen))}
        about |= {"arch": built.describe(chosen), **counts}
    return about


def spellings(space: SearchSpace) -> int | None:
    """How many combinations of options there are; None where nobody would count so far."""
    found = math.prod(len(v.options) for v in space.variables)
    return found if found < 10**12 else None


def settings_of(thing: Any) -> dict[str, Any]:
    """The settings of a space or data set, as JSON keeps them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in values_of(thing).items()}


def variable(v: Variable) -> dict[str, Any]:
    """`options` as an architecture's text spells them, `values` what they mean."""
    return {"name": v.name, "options": list(v.labels), "values": [plain(option) for option in v.options]}


def plain(option: Any) -> Any:
    """An option as JSON can say it; its text where it cannot."""
    if isinstance(option, (tuple, list)):
        return [plain(part) for part in option]
    return option if isinstance(option, (int, float, str, bool)) else str(option)


def supernet(space: SearchSpace) -> dict[str, Any] | None:
    """Trainable parameters of the supernet with linear shadow batch norms; None where a space has no supernet."""
    if not isinstance(space, SupernetSpace):
        return None
    with torch.device("meta"):
        network = space.supernet("linear")
    return {"norm": "linear", "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad)}


def samples(name: str, settings: Mapping[str, Any], count: int, seed: int) -> list[str]:
    """`count` random architectures of a space, one line each; draws are independent, so one may come twice."""
    built: SearchSpace = SPACES.build(name, settings)
    rng = random.Random(seed)
    return [built.describe(built.sample(rng)) for _ in range(count)]


def data_sets() -> list[dict[str, Any]]:
    """Every registered data set: what it is, whether it is on this machine, and where."""
    found = []
    for name in DATA.names():
        try:
            data: DataSet = DATA.build(name, {})
        except BadInput as error:
            found.append({"name": name, "about": str(error), "present": False, "where": None})
            continue
        about = (inspect.getdoc(type(data)) or "").split("\n")[0]
        found.append({"name": name, "about": about, "present": data.available(), "where": data.where()})
    return found


def data_set(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A data set with its settings; where it is present, also its classes and what training sees of it.

    BadInput or Missing where a path is named at which it is not.
    """
    data: DataSet = DATA.build(name, settings)
    about: dict[str, Any] = {"name": name, "about": inspect.getdoc(type(data)), "settings": settings_of(data)}
    about |= {"present": data.available(), "where": data.where()}
    if not data.available() and about["settings"].get("path") is None:
        return about
    splits = data.splits()
    channels, height, width = splits.train.shape
    return about | {
        "classes": list(splits.classes),
        "image": {"channels": channels, "height": height, "width": width, "mean": splits.mean, "std": splits.std},
        "train": split(splits.train, len(splits.classes)),
        "val": split(splits.val, len(splits.classes)),
        "fingerprint": splits.fingerprint,
    }


def split(images: Images, classes: int) -> dict[str, Any]:
    """How many images there are, in all and of each class."""
    return {"images": len(images), "by_class": torch.bincount(images.y, minlength=classes).tolist()}
