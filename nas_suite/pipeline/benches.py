"""Benchmarks as a user handles them: listed, looked into, downloaded, imported, asked and removed."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_suite import tables
from nas_suite.data.download import Archive, Attempts, Source, bring, size_at
from nas_suite.errors import BadInput, Missing, suggest
from nas_suite.importers import PUBLISHED, Progress, Published, published
from nas_suite.pipeline.field import bench, field, space_of_table
from nas_suite.run import quoted
from nas_suite.space import Arch
from nas_suite.tables import Table
from nas_suite.words import plural


def unseen(done: int, total: int) -> None:
    """A Progress that shows nothing."""


def listed() -> list[dict[str, Any]]:
    """The tables of this machine and the published ones that are not on it."""
    found = []
    for name, path in tables.there().items():
        entry: dict[str, Any] = {"name": name, "present": True, "where": str(path)}
        try:
            table = Table.open(path)
            manifest = table.manifest
            entry |= {"rows": len(table), "space": table.space, "about": manifest["about"], "partial": manifest["partial"]}
        except BadInput as error:
            entry |= {"rows": None, "space": None, "about": str(error), "partial": None}
        found.append(entry)
    for name, about in PUBLISHED.items():
        if name not in tables.there():
            entry = {"name": name, "present": False, "where": None, "rows": None, "space": about.space}
            found.append({**entry, "about": about.about, "partial": None})
    return found


def described(name: str) -> dict[str, Any]:
    """What a table holds, which column is meant where no metric is named, and the columns of tables beside it."""
    table = bench(name)
    about = {key: value for key, value in table.manifest.items() if key not in ("files", "columns")}
    columns = [
        {**column, "repeats": (table.manifest["files"][table.columns[column["name"]].file]["shape"] + [1])[1]}
        for column in table.manifest["columns"]
    ]
    networks = space_of_table(table).size()
    about |= {"where": str(table.path), "metric": default(table), "columns": columns, "space_size": networks}
    return {**about, **beside(table, lambda other: [*other.columns])}


def beside(table: Table, ask: Callable[[Table], Any]) -> dict[str, dict[str, Any]]:
    """What is answered by the tables of this machine that measure the networks of this one, as HW-NAS-Bench those of
    NAS-Bench-201, where they have an answer; and what is wrong with those that are damaged."""
    answers, damaged = {}, {}
    for name in (name for name, about in PUBLISHED.items() if about.beside == table.name and name in tables.there()):
        try:
            if (answer := ask(bench(name))) is not None:
                answers[name] = answer
        except BadInput as error:
            damaged[name] = str(error)
    return {"beside": answers, "damaged": damaged}


def default(table: Table) -> str | None:
    try:
        return table.metric().name
    except BadInput:
        return None


def following(table: Table) -> tuple[str, str]:
    """What a table lacks to be ranked, nothing where it can be; and the command that goes on with it: its ranking by the
    metric that is meant first, or else by the first that can be ranked, or a look into it."""
    name, lacking = quoted(table.name), ""
    for metric in ([""] if default(table) else []) + [*table.columns]:
        try:
            field(table, metric)
        except BadInput as error:
            lacking = lacking or str(error)
            continue
        return "", f"nas rank --bench {name}" + (f" --metric {quoted(metric)}" if metric else "")
    return lacking, f"nas bench info {name}"


@dataclass(frozen=True)
class Download:
    """A published file that is to be brought: from where, and how large it is."""

    about: Published
    source: Source

    @property
    def archive(self) -> Archive:
        return self.source.archives[0]

    @property
    def folder(self) -> Path:
        """Where it lies until its table stands."""
        return tables.tables_folder() / f".official-{self.about.name}"

    @property
    def room(self) -> str:
        """What it needs and the disk has, in words."""
        place = tables.tables_folder()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        return f"{self.archive.file}: {self.archive.bytes / 1e6:,.0f} MB to download, {free / 1e6:,.0f} MB free in {place}"


def download(name: str, file: str | None = None, mirror: str | None = None) -> Download:
    """What `get` would bring: the preferred file, or the one that is named. Missing says what to bring by hand where there is
    no way to it."""
    about = official(name)
    if not about.downloads:
        raise Missing(f"{name} cannot be downloaded by itself: bring {by_hand(about)}")
    if file is not None and file not in about.downloads:
        raise BadInput(f"{name} has no file {file!r} to download{suggest(file, about.downloads)}")
    original = about.downloads[file] if file else next(iter(about.downloads.values()))
    folder, _, last = original.url.rpartition("/")
    try:
        size = original.bytes or size_at(f"{(mirror or folder).rstrip('/')}/{last}")
    except Missing as error:
        raise Missing(f"{error}; bring {by_hand(about)}") from None
    return Download(about, Source(mirror or folder, (Archive(last, size, original.sha256),)))


def get(wanted: Download, progress: Progress = unseen, attempts: Attempts | None = None) -> Table:
    """Downloads a published file and imports it; the file is removed once its table stands. Missing says what to bring by hand
    where it cannot be had."""
    name = wanted.about.name
    try:
        bring(name, wanted.source, wanted.folder, None, progress, attempts or Attempts())
    except Missing as error:
        raise Missing(f"{error}; or bring {by_hand(wanted.about)}") from None
    table = take(name, wanted.folder / wanted.archive.file, False, progress)
    shutil.rmtree(wanted.folder, ignore_errors=True)
    return table


def official(name: str) -> Published:
    """A published benchmark that is to be brought; BadInput where it is none, or where its table is here already."""
    if name in tables.there() and name not in PUBLISHED:
        path = tables.there()[name]
        how = "comes with the package" if path.parent == tables.shipped() else f"was made on this machine ({path})"
        raise BadInput(f"{name} {how} and needs neither get nor import: nas bench info {quoted(name)} shows it")
    about = published(name)
    tables.free(name)
    return about


def by_hand(about: Published) -> str:
    """Which files to bring, from where, and the command that imports one."""
    whence = [original.url for original in about.files if original.url]
    others = " or ".join(original.file for original in about.files if not (original.url or original.copy))
    whence += [f"{others} from {about.home}"] if others else []
    return f"{' or '.join(whence)}, then: nas bench import {about.name} FILE"


def take(name: str, file: Path, partial: bool = False, progress: Progress = unseen) -> Table:
    """Imports a published benchmark's file; BadInput where it is none of them, and no table is left behind."""
    about = official(name)
    if not file.exists():
        raise BadInput(f"there is no {file}; bring {by_hand(about)}")
    return tables.write(about.read(file, partial, progress))


def queried(name: str, text: str) -> dict[str, Any]:
    """All that a table, and those beside it, hold of one architecture, as it is spelt or else of its canonical spelling."""
    table = bench(name)
    space = space_of_table(table)
    arch = space.parse(text)
    spellings = [a for a in (arch, space.canonical(arch)) if a is not None]
    row = row_of(table, spellings)
    if row is None:
        raise BadInput(f"{name} has no {space.describe(arch)}: it holds {plural(len(table), 'network')} of {table.space}")

    def answer(other: Table) -> dict[str, Any] | None:
        return None if (at := row_of(other, spellings)) is None else at_row(other, at)

    return {"bench": name, "arch": space.describe(table.arch(row)), **at_row(table, row), **beside(table, answer)}


def row_of(table: Table, spellings: Iterable[Arch]) -> int | None:
    """The row of the first spelling that a table has, None where it has none."""
    return next((row for arch in spellings if (row := table.find(arch)) is not None), None)


def at_row(table: Table, row: int) -> dict[str, Any]:
    """The columns of a row, each a value or its repeats, and their units."""
    read = [(column, table.values(column.name)[row]) for column in table.columns.values()]
    values = {column.name: value.tobytes().hex() if column.unit == "md5" else value.tolist() for column, value in read}
    return {"row": row, "values": values, "units": {column.name: column.unit for column, _ in read}}


def verified(name: str) -> dict[str, Any]:
    """Checks every file of a table; BadInput names what is damaged."""
    table = bench(name)
    wrong = table.verify()
    if wrong:
        raise BadInput(
            f"the table {name} is damaged ({', '.join(wrong)} in {table.path}): nas bench rm {name}, then get it again"
        )
    return {"bench": name, "files": len(table.manifest["files"]), "where": str(table.path)}


def known(incomplete: str = "") -> list[str]:
    """Names of benchmarks, here or published, for completion."""
    return [name for name in dict.fromkeys((*tables.there(), *PUBLISHED)) if name.startswith(incomplete)]
