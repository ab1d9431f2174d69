"""Where latency tables lie on this machine, and which of them is meant."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nas_suite.data.place import data_folder
from nas_suite.disk import ELSEWHERE, writing
from nas_suite.errors import BadInput, Missing, suggest
from nas_suite.latency.conditions import Conditions, agreed
from nas_suite.registry import defaults, typed_as, values_of
from nas_suite.run import quoted

if TYPE_CHECKING:
    from nas_suite.latency.table import LatencyTable
    from nas_suite.space import SearchSpace

END = ".json"


def folder() -> Path:
    """Where the latency tables of this user live."""
    return data_folder() / "latency"


def made(place: Path) -> None:
    """Makes a folder for tables where it is not there; BadInput where that cannot be."""
    with writing(place, instead(place)):
        place.mkdir(parents=True, exist_ok=True)


def instead(place: Path) -> str:
    """Where else tables could go than into a folder, in words."""
    return f"set NAS_DATA to another folder than {data_folder()}, or {ELSEWHERE}" if place == folder() else ELSEWHERE


def names() -> list[str]:
    """The tables in the user's folder."""
    return sorted(path.name.removesuffix(END) for path in folder().glob(f"[!.]*{END}"))


def located(text: str) -> Path:
    """The file that a path, or a name in the user's folder, means."""
    for path in (Path(text).expanduser(), folder() / f"{text}{END}"):
        if path.is_file():
            return path
    raise BadInput(f"there is no latency table {text!r}, neither a file nor in {folder()}{suggest(text, names())}")


def numbered(space: str, conditions: Conditions) -> Iterator[Path]:
    """Files that are not there, for new tables of a space under these conditions."""
    c = conditions
    stem = f"{space}_{plain(c.device or '')}_{c.backend}_b{c.batch}_t{c.threads}_{c.dtype}_r{c.resolution}"
    paths = (folder() / f"{stem}-{number}{END}" for number in itertools.count(1))
    yield from (path for path in paths if not path.exists())


def plain(name: str) -> str:
    """A device's name as part of a file's: `Intel(R) Xeon(R) Processor` is `intel-xeon-processor`."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


def newest(name: str, space: "SearchSpace", asked: Conditions) -> "LatencyTable":
    """Of the user's tables that were measured as is asked and reach every block of a space, the one made last. Missing, with
    the command that measures one, where there is none."""
    from nas_suite.latency.table import LatencyTable

    found = []
    for path in folder().glob(f"[!.]*{END}"):
        try:
            table = LatencyTable.read(path)
        except BadInput:  # `nas latency list` tells of it
            continue
        if not asked.against(table.conditions) and not table.lacking(space):
            found.append(table)
    if not found:
        words = f"--batch {asked.batch} --threads {asked.threads} --dtype {asked.dtype} --resolution {asked.resolution}"
        words += " --backend onnxruntime" if asked.backend == "onnxruntime" else ""
        usual = defaults(type(space)) | {"image_size": asked.resolution}
        own = (f"space.{name}={typed_as(value)}" for name, value in values_of(space).items() if value != usual[name])
        words = " ".join([words, *(f"--set {quoted(setting)}" for setting in own)])
        raise Missing(
            f"no latency table in {folder()} has the blocks of {name} under: {asked}; nas latency build {name} {words}, "
            "or name one with --table"
        )
    return max(found, key=lambda table: table.created)


def chosen(name: str, space: "SearchSpace", table: str | None, asked: Conditions, here: Conditions) -> "LatencyTable":
    """The table that somebody named, which must not have been measured otherwise than is `asked` explicitly, nor at another
    resolution than the space's; where nobody did, the newest of what is asked, and of `here` where nothing is asked."""
    from nas_suite.latency.table import LatencyTable

    if table is None:
        return newest(name, space, asked.filled(here))
    found = LatencyTable.read(located(table))
    if found.conditions.resolution is not None:
        asked = asked.filled(Conditions(resolution=space.image_size))
    agreed(f"the latency table {found.where}", found.conditions, asked)
    return found
