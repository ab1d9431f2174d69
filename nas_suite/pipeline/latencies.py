"""Latency tables as a user handles them: measured, shown, checked, calibrated, imported, exported, listed, and found."""

import csv
import io
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nas_suite.disk import free, write_atomic
from nas_suite.engine import Progress, silent
from nas_suite.errors import BadInput
from nas_suite.importers import luts
from nas_suite.latency import backends, checking, machine, shelf
from nas_suite.latency.building import measure, table_of
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.journal import Journal, begun, beside, held
from nas_suite.latency.planning import Points
from nas_suite.latency.reach import reachable
from nas_suite.latency.table import Fit, LatencyTable
from nas_suite.latency.timer import Reading
from nas_suite.registry import SpaceNote, values_of
from nas_suite.space import Arch, SearchSpace
from nas_suite.spaces import SPACES

PLAIN = Conditions(batch=1, threads=1, dtype="fp32", backend="torch")
"""What is measured, and looked for, where nobody says otherwise."""
NETWORK_SECONDS = 2.0  # of a whole network's repeats at most


def build(
    name: str,
    settings: Mapping[str, Any],
    asked: Conditions,
    device: str,
    budget: float | None,
    seed: int,
    out: Path | None,
    progress: Progress = silent,
) -> LatencyTable:
    """Measures every block that networks of a space run, or as many as `budget` seconds allow. Goes on with what a process that
    was killed had measured of the same. `asked.device` is not: it is what `device` is called."""
    space = space_at(name, settings, asked.resolution)
    place = machine.place(device)
    under = replace(asked, device=machine.called(place), resolution=space.image_size).filled(PLAIN)
    backends.check(under)
    note = SpaceNote(name, settings_of(space))
    request = {"space": asdict(note), "conditions": asdict(under), "seed": seed, "versions": machine.versions()}
    path = out or unfinished(name, under, request)
    free(path)
    points = Points.of(space.pieces(), seed)
    with held(path):
        journal = Journal.open(beside(path), request)
        source = machine.described(place)
        measure(
            points,
            lambda block, most: backends.timed(block.build(), block.input, under, place, most),
            journal,
            budget,
            progress,
        )
        table = table_of(points, journal, under, note, source).write(path)
        journal.close()
    return table


def unfinished(name: str, under: Conditions, request: Mapping[str, Any]) -> Path:
    """Where a new table goes: to one of the same request that was not finished, or to a new file."""
    return next(path for path in shelf.numbered(name, under) if begun(beside(path)) in (None, request))


def space_at(name: str, settings: Mapping[str, Any], resolution: int | None) -> SearchSpace:
    """A space for images of a resolution; BadInput where its settings say another."""
    said = {} if resolution is None or "image_size" in settings else {"image_size": resolution}
    space: SearchSpace = SPACES.build(name, {**settings, **said})
    if resolution not in (None, space.image_size):
        raise BadInput(f"--resolution {resolution} is not space.image_size = {space.image_size}; leave one of them out")
    return space


def settings_of(space: SearchSpace) -> dict[str, Any]:
    """All settings, as JSON keeps them."""
    return json.loads(json.dumps(values_of(space)))


def opened(table: str) -> LatencyTable:
    """A table by its file or by its name in the user's folder."""
    return LatencyTable.read(shelf.located(table))


def space_for(table: LatencyTable, name: str | None, settings: Mapping[str, Any]) -> SearchSpace | None:
    """The space that is named, or the table's own; settings that nobody gives are those that the table was made with."""
    if name is None and table.space is None:
        if settings:
            raise BadInput("--set space.… needs --space: the table was made for none")
        return None
    own = table.space if table.space is not None and name in (None, table.space.name) else None
    return SPACES.build(own.name if own else str(name), {**(own.settings if own else {}), **settings})


def facts_of(table: LatencyTable) -> dict[str, Any]:
    """What a table is, without its latencies."""
    return {
        "table": table.where,
        "space": asdict(table.space) if table.space else None,
        "unit": table.unit,
        "conditions": asdict(table.conditions),
        "points": len(table),
        "families": len(table.families),
        "typical_ms": table.typical,
        "created": table.created,
        "constant_ms": table.constant.ms if table.constant else 0.0,
        "noisy": table.noisy,
        "reasons": table.noise.reasons if table.noise else [],
        "noise": asdict(table.noise) if table.noise else None,
        "fit": asdict(table.fit) if table.fit else None,
        "source": dict(table.source),
    }


def shown(table: str, name: str | None, settings: Mapping[str, Any], arch: str | None) -> dict[str, Any]:
    """What a table is; with a space, what its networks can reach; with an architecture, its latency. In ms, with the fit."""
    found = opened(table)
    about = facts_of(found)
    space = space_for(found, name, settings)
    if space is None:
        if arch is not None:
            raise BadInput(f"an architecture needs its space, and {found.where} was made for none: say --space")
        return about
    cost = found.cost(space)
    about["reachable_ms"] = reachable(cost)
    if arch is not None:
        chosen = space.parse(arch)
        about |= {"arch": space.describe(chosen), "latency_ms": cost.total(chosen)}
    return about


@dataclass(frozen=True)
class Checked:
    """A table that was held against whole networks; `kept` is the error of the fit that it had, None where it had none."""

    table: LatencyTable
    check: checking.Check
    kept: float | None


def check(
    table: str,
    name: str | None,
    settings: Mapping[str, Any],
    networks: int,
    seed: int,
    strict: bool = False,
    progress: Progress = silent,
) -> Checked:
    """Measures random networks of a space and holds them against the sums of a table. BadInput where the table is another
    device's, or does not tell how it was measured; where `strict`, also where the machine is too noisy."""
    found = opened(table)
    space = space_for(found, name, settings)
    if space is None:
        raise BadInput(f"{found.where} was made for no space: say --space")
    read = network_timer(found, space)
    cost = found.cost(space, fitted=False)
    checked = checking.check(cost, lambda arch: read(arch).ms, networks, seed, strict, progress)
    return Checked(found, checked, None if found.fit is None else error_of(found.fit, checked))


def network_timer(table: LatencyTable, space: SearchSpace) -> Callable[[Arch], Reading]:
    """What measures whole networks of a space as a table's blocks were; BadInput says why this machine cannot."""
    under = table.conditions
    place = machine.having(under.device or "")
    if place is None:
        here = machine.called(machine.place("auto"))
        raise BadInput(f"the table was measured on {under.device}, which is not here: this machine has {here}")
    if unknown := [field for field in ("threads", "dtype", "backend") if getattr(under, field) is None]:
        raise BadInput(f"the table does not tell its {', '.join(unknown)}, so nothing can be measured alike")
    if space.image_size != under.resolution:
        raise BadInput(
            f"the table is of images of {under.resolution} px, the space of {space.image_size}: set the space's image_size"
        )
    backends.check(under)
    shape = (space.channels, space.image_size, space.image_size)
    return lambda arch: backends.timed(space.network(arch), shape, under, place, NETWORK_SECONDS)


def judgement(found: Checked) -> dict[str, Any]:
    """What a check says, as plain values: shares of 1, latencies in ms."""
    seen = found.check
    held = seen.held_out_ms
    networks = [
        {**asdict(n), "measured_ms": n.measured_ms, "held_out_ms": ms} for n, ms in zip(seen.networks, held, strict=True)
    ]
    names = ("seed", "first", "noise", "before", "bias", "after", "a", "b", "tau", "believed")
    figures = {name: getattr(seen, name) for name in names}
    return {
        "table": found.table.where,
        **figures,
        "kept": found.kept,
        "networks": networks,
        "fit": facts_of(found.table)["fit"],
    }


def error_of(fit: Fit, check: checking.Check) -> float:
    """Of a fit, the mean absolute share by which it is off."""
    return statistics.fmean(abs((fit.a * n.table_ms + fit.b) / n.measured_ms - 1) for n in check.networks)


def calibrate(
    table: str,
    name: str | None,
    settings: Mapping[str, Any],
    networks: int,
    seed: int,
    force: bool,
    progress: Progress = silent,
) -> Checked:
    """As `check`, and keeps the fit in the table. BadInput, and nothing is kept, where the machine is too noisy unless `force`,
    and where the fit says that a network takes no time."""
    found = check(table, name, settings, networks, seed, not force, progress)
    seen = found.check
    if not force and not seen.believed:
        raise BadInput(checking.too_noisy(max(seen.first, seen.noise)))
    space = space_for(found.table, name, settings)
    assert space is not None
    span = reachable(found.table.cost(space, fitted=False))
    least = span[0] if span else min(network.table_ms for network in seen.networks)
    if seen.a <= 0 or seen.a * least + seen.b <= 0:
        raise BadInput(
            f"the fit {seen.a:.3g} × sum + {seen.b:.3g} ms makes no sense, the fastest network would take "
            f"{seen.a * least + seen.b:.3g} ms: nothing is kept; measure the table again on a quiet machine"
        )
    fit = Fit(
        seen.a, seen.b, len(seen.networks), space_name(found.table, name), seed, seen.before, seen.after,
        max(seen.first, seen.noise), datetime.now().isoformat(timespec="seconds"), not seen.believed,
    )  # fmt: skip
    path = Path(found.table.where)
    with held(path):
        return replace(found, table=replace(found.table, fit=fit).write(path))


def space_name(table: LatencyTable, name: str | None) -> str:
    return name or (table.space.name if table.space else "")


def take(file: Path, unit: str, said: Conditions, partial: bool, out: Path | None) -> LatencyTable:
    """Imports a latency table of others."""
    path = out or shelf.folder() / f"{shelf.plain(file.stem)}_{shelf.plain(said.device or '')}_b{said.batch}{shelf.END}"
    free(path)
    table = luts.read(file, unit, said, partial)
    shelf.made(path.parent)
    return table.write(path)


def exported(table: str, out: Path) -> Path:
    """Writes a table to another file: whole as .json, or its latencies a row each as .csv."""
    found = opened(table)
    free(out)
    if out.suffix not in (".json", ".csv"):
        raise BadInput(f"{out} must end in .json, for the whole table, or in .csv, for its latencies a row each")
    shelf.made(out.parent)
    if out.suffix == ".json":
        found.write(out)
    else:
        write_atomic(out, rows(found).encode())
    return out


def rows(table: LatencyTable) -> str:
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(("key", "family", "width", "ms", "spread_ms", "runs"))
    for key, point in table.blocks.items():
        write((key, "", "", point.ms, point.spread_ms, point.runs))
    for family, curve in table.families.items():
        blank = [None] * len(curve.widths)
        for width, ms, spread, runs in zip(curve.widths, curve.ms, curve.spread_ms or blank, curve.runs or blank, strict=True):
            write((f"{family}_w{width}", family, width, ms, spread, runs))
    return text.getvalue()


def listed() -> list[dict[str, Any]]:
    """The tables in the user's folder; of one that cannot be read, the reason."""
    found = []
    for name in shelf.names():
        try:
            found.append({"name": name, "fault": None, **facts_of(opened(name))})
        except BadInput as error:
            found.append({"name": name, "fault": str(error)})
    return found


def table_for(name: str, space: SearchSpace, table: str | None, asked: Conditions, device: str = "auto") -> LatencyTable:
    """The latency table that a search of a space means: the one that is named, unless something else is `asked` explicitly than
    it was measured under (BadInput tells the difference); else the newest that was measured on `device` of this machine as is
    asked, by default batch 1, one thread, fp32, torch (Missing tells how to measure one)."""
    here = Conditions() if table else replace(PLAIN, device=machine.called(machine.place(device)), resolution=space.image_size)
    return shelf.chosen(name, space, table, asked, here)
