"""What a latency was measured under, and whether that is what is asked for."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, MinLen

from nas_suite.errors import BadInput, suggest

Dtype: TypeAlias = Literal["fp32", "bf16", "fp16"]
Backend: TypeAlias = Literal["torch", "onnxruntime"]
Count: TypeAlias = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Conditions:
    """Of a measurement; None is what a table does not know, or what nobody asks.

    `device` is the name of the processor or of the accelerator, `batch` the images of one run, `threads` those of the
    processor, `resolution` the pixels a side of an image.
    """

    device: Annotated[str, MinLen(1)] | None = None
    batch: Count | None = None
    threads: Count | None = None
    dtype: Dtype | None = None
    resolution: Count | None = None
    backend: Backend | None = None

    def __str__(self) -> str:
        return ", ".join(said(name, getattr(self, name)) for name in NAMES)

    def filled(self, others: "Conditions") -> "Conditions":
        """These, with those of `others` where nobody asks."""
        return replace(self, **{name: getattr(others, name) for name in NAMES if getattr(self, name) is None})

    def against(self, known: "Conditions") -> list[str]:
        """In words, what is asked here and is otherwise or unknown in `known`."""
        pairs = ((name, getattr(self, name), getattr(known, name)) for name in NAMES)
        return [
            f"{said(name, asked)} is asked, it has {said(name, has)}" for name, asked, has in pairs if asked not in (None, has)
        ]


ANY = Conditions()
"""What is asked where nobody asks anything."""

UNITS = {"s": 1000.0, "ms": 1.0, "us": 0.001}
"""Units of time, in ms."""


def in_ms(unit: str) -> float:
    """How many ms a unit of time is; BadInput where it is none."""
    if unit not in UNITS:
        raise BadInput(f"unknown unit {unit!r}{suggest(unit, UNITS)}")
    return UNITS[unit]


NAMES = tuple(field.name for field in fields(Conditions))


def said(name: str, value: object) -> str:
    """A condition in words: `batch 32`, `a device unknown`."""
    return f"{name} {'unknown' if value is None else value}"


def agreed(what: str, has: Conditions, asked: Conditions) -> Conditions:
    """The conditions of a table that somebody named: its own, which are then the asked ones. BadInput where one is asked
    explicitly that it does not have or does not tell; `what` names the table."""
    wrong = asked.against(has)
    if wrong:
        raise BadInput(
            f"{what} was measured otherwise: {'; '.join(wrong)}; leave that out, or name a table that was measured so"
        )
    return has
