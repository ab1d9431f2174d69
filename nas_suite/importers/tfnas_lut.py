"""TF-NAS's own latency tables, pickles of every width, into a latency table: what a search can reach of them."""

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nas_suite.errors import BadInput
from nas_suite.foreign import ORDERED, unpickled
from nas_suite.importers.luts import Told
from nas_suite.latency.table import Constant, Curve
from nas_suite.spaces.tfnas import TFNAS

KEY = re.compile(r"MBInvertedResBlock_(\d+)_(\d+)_(\d+)_(\d+)_k(\d+)_s(\d+)_([a-z]+)")
BASE = "base"


def read(file: Path, factor: float, partial: bool) -> Told:
    """The constant and the families in ms, `factor` being the file's unit in ms.

    Entries that no search reaches are left out: below twice the input's channels some of the official ones are negative.
    BadInput names the first that is reached and is no latency, and a shape of the space that is missing unless `partial`.
    """
    base, found = tables(file)
    reached, alone = needed()
    for name in found:
        if name not in reached:
            raise BadInput(f"{file}: no block of TF-NAS's space is {name}; tables of other spaces are not known here")
    lacking = [name for name in reached if name not in found]
    if lacking and not partial:
        raise BadInput(
            f"{file} lacks {len(lacking)} of the {len(reached)} shapes of TF-NAS's space, such as {lacking[0]}; "
            "get the whole table, or give --partial"
        )
    if not 0 < base < math.inf:
        raise BadInput(f"{file}: {BASE} is {base}, not a latency above 0")
    families = {}
    for name, values in found.items():
        widths = reached[name]
        for width in widths:
            if width not in values or not 0 < values[width] < math.inf:
                given = f"{values[width]}, not a latency above 0" if width in values else "missing"
                raise BadInput(f"{file}: {name} at width {width} is {given}")
        families[name] = Curve(widths, tuple(factor * values[width] for width in widths))
    constant = Constant(factor * base, tuple(map(widened, alone)))
    return Told("TF-NAS (github.com/AberHu/TF-NAS), MIT", TFNAS.image_size, families, constant=constant)


@cache
def needed() -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """What networks of the space run: families with every width, and the keys of what is not searched."""
    reached: dict[str, set[int]] = {}
    alone = []
    for block in TFNAS(width_step=1).pieces():
        if block.family:
            reached.setdefault(block.family, set()).add(block.width)
        else:
            alone.append(block.key)
    return {name: tuple(sorted(widths)) for name, widths in reached.items()}, tuple(alone)


def tables(file: Path) -> tuple[float, dict[str, Mapping[int, float]]]:
    """`base`, which stands for all that is not searched, and by family the latency of each width, in the file's unit.
    BadInput where the pickle asks for anything but ordered dicts, or holds anything but such tables."""
    try:
        with open(file, "rb") as opened:
            found = unpickled(opened, str(file), ORDERED)
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror or error})") from None
    if not isinstance(found, dict) or not is_number(found.get(BASE)):
        raise BadInput(f"{file} is no latency table of TF-NAS: it has no number {BASE!r}")
    families = {}
    for key, values in found.items():
        if key != BASE:
            name = family(file, key)
            families[name] = checked(file, key, values)
    return float(found[BASE]), families


def family(file: Path, key: Any) -> str:
    """The name that the suite gives to what a key stands for."""
    told = KEY.fullmatch(key) if isinstance(key, str) else None
    if told is None:
        raise BadInput(f"{file} has a key {key!r}, which no latency table of TF-NAS has")
    side, c_in, hidden, c_out, kernel, stride, act = told.groups()
    return f"mb_i{c_in}_o{c_out}_k{kernel}_s{stride}_r{side}_se{hidden}_{act}"


def checked(file: Path, key: str, values: Any) -> Mapping[int, float]:
    if not isinstance(values, dict) or not values:
        raise BadInput(f"{file}: {key} is no table of widths")
    for width, value in values.items():
        if isinstance(width, bool) or not isinstance(width, int) or width < 1 or not is_number(value):
            raise BadInput(f"{file}: {key} has {value!r} for the width {width!r}, where two numbers are due")
    return values


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def widened(key: str) -> str:
    """The key of what the base stands for, of a head for any number of classes and of a stem with squeeze-excite or without:
    the base was measured with 1,000 classes and with it; searches among fewer, or without it, count it too."""
    return re.sub(r"(head_.*_c|separable_.*_se)\d+_", r"\1*_", key)
