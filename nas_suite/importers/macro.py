"""NAS-Bench-Macro's published file, or a CSV of the same: test accuracies, parameters and multiply-adds of 6,561 networks."""

import csv
import json
import lzma
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite.errors import BadInput
from nas_suite.importers import Progress
from nas_suite.space import Arch
from nas_suite.spaces.macro import Macro
from nas_suite.tables import Column, Draft, accuracy
from nas_suite.words import plural

EPOCHS = 50  # of each training (train/train.py)
REPEATS = 3
FIELDS = ("test_acc", "mean_acc", "params", "flops")
REPEATED = tuple(f"acc{at}" for at in range(REPEATS))
CSV = ("arch", *REPEATED, *FIELDS[1:])
XZ = b"\xfd7zXZ\0"
CLOSE = 0.01  # percentage points; between a mean and what a file that rounds says it is
ACCURACY = accuracy("cifar10", "test", EPOCHS, "three trainings, of each the best test accuracy of an epoch")
PARAMS = Column("params", "parameters")
MACS = Column("macs", "multiply-adds", "of convolutions and linear layers; `flops` in the file")
Told = tuple[str, str, Mapping[str, Any]]
"""Where a row stands, how its network is spelt, its fields as the file names them."""


def read(file: Path, partial: bool, progress: Progress) -> Draft:
    """The table of a file, which may be compressed by xz; rows keep their spelling. `partial` takes a file that lacks some.

    BadInput says which row or key is wrong and how, or that the file is cut short or another's.
    """
    space = Macro()
    rows = list(told(file, content(file)))
    found: dict[Arch, list[float]] = {}
    for number, (at, text, fields) in enumerate(rows, start=1):
        try:
            arch = space.parse(text)
            if arch in found:
                raise BadInput(f"architecture {text} has a row already")
            found[arch] = figures(fields)
        except BadInput as error:
            raise BadInput(f"{file}, {at}: {error}") from None
        progress(number, len(rows))
    if len(found) < space.spellings() and not partial:
        raise BadInput(
            f"{file} has {len(found):,} of the {space.spellings():,} architectures of NAS-Bench-Macro; "
            "get the whole file, or give --partial"
        )
    values = np.array(list(found.values())).reshape(-1, REPEATS + 2)
    costs = values[:, REPEATS:].astype(np.int64)
    return Draft(
        name="macro",
        space="macro",
        archs=np.array(list(found), np.uint8).reshape(-1, len(space.variables)),
        columns=[(ACCURACY, values[:, :REPEATS] / 100), (PARAMS, costs[:, 0]), (MACS, costs[:, 1])],
        about="NAS-Bench-Macro (Su et al., CVPR 2021): networks of eight layers on CIFAR-10",
        source="github.com/xiusu/NAS-Bench-Macro",
        licence="Apache-2.0",
        partial=len(found) < space.spellings(),
    )


def content(file: Path) -> str:
    """The text of a file, unpacked where it is compressed."""
    try:
        data = file.read_bytes()
        return (lzma.decompress(data) if data.startswith(XZ) else data).decode()
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror or error}") from None
    except lzma.LZMAError as error:
        raise BadInput(f"{file} is cut short or damaged ({error}); get it again") from None
    except UnicodeDecodeError:
        raise BadInput(f"{file} is not text, and no file of NAS-Bench-Macro; that is nas-bench-macro_cifar10.json") from None


def told(file: Path, text: str) -> Iterator[Told]:
    """The rows of a JSON or CSV text."""
    yield from (from_json if text.lstrip().startswith("{") else from_csv)(file, text)


def from_json(file: Path, text: str) -> Iterator[Told]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)  # lists, for a dict would hide keys that come twice
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is cut short or damaged ({error}); get it again") from None
    for key, fields in pairs:
        if not isinstance(fields, list) or not all(isinstance(field, tuple) for field in fields):
            raise foreign(file, f"key {key!r} is no object")
        if lacking := [name for name in FIELDS if name not in dict(fields)]:
            raise foreign(file, f"key {key!r} has no {lacking[0]}")
        yield f"key {key!r}", key, dict(fields)


def from_csv(file: Path, text: str) -> Iterator[Told]:
    try:
        header, *lines = csv.reader(text.splitlines()) if text.strip() else [[]]
    except csv.Error as error:
        raise BadInput(f"{file} is damaged or no CSV ({error}); get it again") from None
    if lacking := [name for name in CSV if name not in header]:
        raise foreign(file, f"it is neither a JSON object nor a CSV with a column {lacking[0]}")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise BadInput(
                f"{file}, line {number}: {plural(len(line), 'field')}, not {len(header)}; it is cut short or damaged"
            )
        fields = dict(zip(header, line, strict=True))
        yield f"line {number}", fields["arch"], fields


def figures(fields: Mapping[str, Any]) -> list[float]:
    """The accuracies in percent, parameters and multiply-adds of a row; BadInput where they cannot be."""
    told = accuracies(fields)
    values = [number(name, value) for name, value in told]
    for (name, _), value in zip(told, values, strict=True):
        if not 0 <= value <= 100:
            raise BadInput(f"{name} has {value:g}, which is no percentage")
    mean = number("mean_acc", fields["mean_acc"])
    if abs(mean - sum(values) / REPEATS) > CLOSE:
        raise BadInput(f"mean_acc is {mean:g}, but the mean of its accuracies is {sum(values) / REPEATS:g}")
    costs = [number(name, fields[name]) for name in FIELDS[2:]]
    if not all(cost > 0 and cost.is_integer() for cost in costs):
        raise BadInput(f"params and flops are {costs[0]:g} and {costs[1]:g}, not positive whole numbers")
    return [*values, *costs]


def accuracies(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The accuracies of a row as its file names them: columns of a CSV, one list in JSON."""
    if REPEATED[0] in fields:
        return [(name, fields[name]) for name in REPEATED]
    found = fields[FIELDS[0]]
    if not isinstance(found, list) or len(found) != REPEATS:
        raise BadInput(f"{FIELDS[0]} is {found!r}, not {REPEATS} accuracies")
    return [(FIELDS[0], value) for value in found]


def number(name: str, value: Any) -> float:
    """A finite number that JSON or text gives."""
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise BadInput(f"{name} has {value!r}, which is no finite number")
    return result


def foreign(file: Path, why: str) -> BadInput:
    return BadInput(f"{file} is no file of NAS-Bench-Macro: {why}; that is nas-bench-macro_cifar10.json")
