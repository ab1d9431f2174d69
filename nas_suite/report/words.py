"""Figures as a report says them: counts, shares, seconds, and the names of objectives."""

import math
from collections.abc import Sequence
from typing import TypeAlias

Number: TypeAlias = float | int
SIZES = ((1e9, " G"), (1e6, " M"), (1e3, " K"))
OBJECTIVES = {"error": "accuracy", "macs": "multiply-adds", "params": "parameters"}


def number(value: Number) -> str:
    return f"{value:.4g}"


def whole(value: Number) -> str:
    return f"{value:,.0f}"


def count(value: Number) -> str:
    """A count in at most four digits: 492.9 M, 5.314e+17."""
    if abs(value) < 1e12:
        for size, unit in SIZES:
            if abs(value) >= size:
                return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def size(octets: int) -> str:
    """The size of a file: 623 B, 644.3 KB."""
    return f"{octets} B" if octets < 1000 else f"{count(octets)}B"


def many(value: int) -> str:
    """The size of a space: 2,560, or 2.2 × 10⁹."""
    if value < 10**6:
        return f"{value:,}"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits} × 10{str(int(power)).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def percent(share: Number) -> str:
    return f"{100 * share:z.2f} %"


def points(share: Number) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:z.2f}"


def three(value: Number | None) -> str:
    """A correlation in three digits; – where it is unknown."""
    return "–" if value is None else f"{value:z.3f}".replace("-", "−")


def signed(value: Number) -> str:
    """A difference of correlations."""
    return f"{value:+z.3f}".replace("-", "−")


def seconds(value: Number) -> str:
    """A duration in its two largest units: 41 s, 3 min 20 s, 2 h 5 min."""
    if value < 10:
        return f"{value:.2g} s"
    left = round(value)
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size or parts:
            parts.append((left // size, unit))
            left %= size
    return " ".join(f"{n} {unit}" for n, unit in parts[:2] if n)


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def objective(name: str) -> str:
    """An objective as it is shown: errors are shown as accuracies."""
    return OBJECTIVES.get(name, name)


def shown(name: str, value: Number) -> Number:
    """An objective's value as it is shown."""
    return 1.0 - value if name == "error" else value


def said(name: str, value: Number) -> str:
    """An objective's value in words."""
    if not math.isfinite(value):
        return "–"
    return percent(1.0 - value) if name == "error" else count(value)
