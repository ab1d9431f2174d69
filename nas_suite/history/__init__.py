"""The history: every training that was done, by this suite or by others, in one SQL database."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_suite.history.keeping import Added, History
    from nas_suite.history.mixing import Kind, Repeated, kinds, one_kind, repeated
    from nas_suite.history.rows import Evaluation, Task

_HOMES = {
    "keeping": ("Added", "History"),
    "mixing": ("Kind", "Repeated", "kinds", "one_kind", "repeated"),
    "rows": ("Evaluation", "Task"),
}

__all__ = ["Added", "Evaluation", "History", "Kind", "Repeated", "Task", "kinds", "one_kind", "repeated"]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
