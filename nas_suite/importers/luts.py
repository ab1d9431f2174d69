"""Latency tables of others: which module reads a file, and what its user must say because the file does not."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from nas_suite.disk import digest
from nas_suite.errors import BadInput
from nas_suite.latency.conditions import Conditions, in_ms
from nas_suite.latency.table import Constant, Curve, LatencyTable, Point

PICKLE, JSON = b"\x80", b"{"
READERS = {True: "nas_suite.importers.tfnas_lut", False: "nas_suite.importers.ofa_lut"}
"""By whether a file is a pickle: modules with `read(file, factor, partial)`, a `Told`; `factor` is the file's unit in ms."""


@dataclass(frozen=True)
class Told:
    """What a file tells, in ms."""

    origin: str
    resolution: int
    families: Mapping[str, Curve]
    blocks: Mapping[str, Point] = field(default_factory=dict)
    constant: Constant | None = None
    spread: Literal["iqr", "std"] | None = None


def read(file: Path, unit: str, said: Conditions, partial: bool = False) -> LatencyTable:
    """The table of TF-NAS's pickle or of once-for-all's YAML. The files tell neither `unit` (s, ms or us) nor device and batch,
    which `said` must; of what else it says, a resolution that is not the file's is refused. `partial` takes a file that lacks
    shapes."""
    factor = in_ms(unit)
    if said.device is None or said.batch is None:
        raise BadInput(f"{file} does not tell its device and batch; give --device and --batch")
    if (first := beginning(file)) == JSON:
        raise BadInput(f"{file} is JSON: a latency table of this suite is not imported, its file is named where one is wanted")
    told: Told = importlib.import_module(READERS[first == PICKLE]).read(file, factor, partial)
    if not told.families and not told.blocks:
        raise BadInput(f"{file} has no block's latency")
    if said.resolution not in (None, told.resolution):
        raise BadInput(f"{file} is of images of {told.resolution} px, not {said.resolution}; leave --resolution out")
    source = {"origin": told.origin, "file": file.name, "sha256": digest(file), "unit": unit}
    return LatencyTable(
        replace(said, resolution=told.resolution), datetime.now().isoformat(timespec="seconds"), told.families, told.blocks,
        constant=told.constant, spread=told.spread, source=source,
    )  # fmt: skip


def beginning(file: Path) -> bytes:
    """The first byte of a file."""
    try:
        with open(file, "rb") as opened:
            return opened.read(1)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from None
