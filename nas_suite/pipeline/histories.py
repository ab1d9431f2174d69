"""The history as a user handles it: evaluations added by hand, imported from files and benchmarks, and exported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite.disk import free
from nas_suite.encoders.resnet import ResNet18
from nas_suite.errors import BadInput, suggest
from nas_suite.history import Added, Evaluation, History, Task, columns
from nas_suite.importers import metad2a
from nas_suite.pipeline.field import bench, space_of_table
from nas_suite.pipeline.setting import settings_of
from nas_suite.space import SearchSpace
from nas_suite.spaces import SPACES
from nas_suite.tables import Column, Table


def spelt(rows: Sequence[Evaluation], source: str = "") -> list[Evaluation]:
    """The evaluations with every setting of their spaces and their networks in canonical text, the text that was given beside
    it. BadInput names the evaluation of `source` whose space or network is unknown."""

    @cache
    def space_of(name: str, settings: str) -> tuple[SearchSpace, dict[str, Any]]:
        space = SPACES.build(name, by_text[settings])
        return space, settings_of(space)

    @cache
    def canonical(name: str, settings: str, text: str) -> tuple[str, str]:
        space, _ = space_of(name, settings)
        arch = space.valid(space.parse(text))
        return space.describe(space.canonical(arch) or arch), space.describe(arch)

    by_text = {row.settings_text: row.settings for row in rows}
    found = []
    for at, row in enumerate(rows):
        try:
            arch, spelling = canonical(row.space, row.settings_text, row.spelt)
        except BadInput as error:
            where = f"evaluation {at + 1}" + (f" of {source}" if source else "")
            raise BadInput(f"{where}: {error}; nothing was written") from None
        settings = space_of(row.space, row.settings_text)[1]
        found.append(replace(row, arch=arch, spelling="" if spelling == arch else spelling, settings=settings))
    return found


@dataclass(frozen=True)
class Wanted:
    """What of a file or a benchmark is imported. An empty word means what there is first; test values want to be asked for."""

    metric: str = ""
    dataset: str = ""
    split: str = ""
    unit: str = ""
    partial: bool = False


def take(format_: str, source: str, wanted: Wanted, url: str = "") -> Added:
    """Imports the evaluations of a file or a benchmark into a history, all or none of them; before them the features of images,
    where there are some."""
    rows, tasks = READERS[format_](source, wanted)
    rows = spelt(rows, source)
    seen = metad2a.features(Path(source)) if format_ == "metad2a" else None  # what is wrong with it is told before all else
    history = History.open(url, make=True)
    if seen is None:
        return history.add(rows, tasks)
    whole, features = seen
    history.add([], [whole])
    banks = int(history.put_bank(whole.key, ResNet18.id, features))
    return replace(history.add(rows, tasks), banks=banks)


def of_csv(source: str, wanted: Wanted) -> tuple[list[Evaluation], list[Task]]:
    only(wanted, "csv", "unit")
    return columns.read(Path(source), wanted.unit)


def of_metad2a(source: str, wanted: Wanted) -> tuple[list[Evaluation], list[Task]]:
    only(wanted, "metad2a", "partial")
    return metad2a.read(Path(source), wanted.partial)


def of_table(source: str, wanted: Wanted) -> tuple[list[Evaluation], list[Task]]:
    only(wanted, "table", "metric", "dataset", "split")
    table = bench(source)
    return evaluations(table, column_of(table, wanted)), []


READERS = {"csv": of_csv, "metad2a": of_metad2a, "table": of_table}


def only(wanted: Wanted, format_: str, *names: str) -> None:
    """BadInput where something is said that this format has no use for."""
    for name in wanted.__dataclass_fields__:
        if getattr(wanted, name) and name not in names:
            raise BadInput(f"--{name} has no effect on {format_}, which takes {', '.join(f'--{known}' for known in names)}")


def column_of(table: Table, wanted: Wanted) -> Column:
    """The column of a benchmark that is meant; BadInput where it holds test values that nobody asked for."""
    for name, said, there in (("data set", wanted.dataset, "data"), ("split", wanted.split, "split")):
        known = list(dict.fromkeys(value for one in table.columns.values() if (value := getattr(one, there))))
        if said and said not in known:
            raise BadInput(f"{table.name} has no {name} {said!r}{suggest(said, known)}")
    text = wanted.metric or "/".join(word for word in (wanted.dataset, wanted.split) if word)
    column = table.metric(text)
    if not column.split:
        raise BadInput(f"{table.name}: {column.name} is no result of a training; nas bench info {table.name} shows the others")
    for name, said, is_ in (("dataset", wanted.dataset, column.data), ("split", wanted.split, column.split)):
        if said and said != is_:
            raise BadInput(f"{table.name}: {column.name} is of {name} {is_}, not {said}")
    if column.split == "test" and wanted.split != "test":
        raise BadInput(
            f"{table.name}: {column.name} is of test images, which must not guide a search; "
            "if that is what you mean, say --split test"
        )
    return column


def evaluations(table: Table, column: Column) -> list[Evaluation]:
    """A column of a benchmark: of each network every repeat that there is."""
    space = space_of_table(table)
    settings, values = settings_of(space), table.repeats(column.name)
    recipe = {"bench": table.name, **({"version": table.manifest["version"]} if table.manifest.get("version") else {})}
    fidelity = {"epochs": column.epochs} if column.epochs else {}
    metric = "accuracy" if column.goal == "max" and column.unit == "share" else column.name
    return [
        Evaluation(
            table.space, space.describe(table.arch(int(at))), column.data, float(values[at, repeat]), column.split, metric,
            column.goal, column.unit, settings, recipe, fidelity, int(repeat), source=table.name,
        )
        for at, repeat in np.argwhere(np.isfinite(values))
    ]  # fmt: skip


def add(row: Evaluation, url: str = "") -> Added:
    """Writes one evaluation that somebody did elsewhere."""
    columns.check_percents("--value", [row])
    return History.open(url, make=True).add(spelt([columns.in_shares(row)]))


def export(file: Path, asked: Mapping[str, str], url: str = "") -> int:
    """Writes the evaluations that fit all that is asked for into a new CSV file; how many there were."""
    free(file, "name another file")
    history = History.open(url)
    rows = history.evaluations(**asked)
    if not rows:
        raise BadInput(f"nothing of the history {history.where} fits, so {file} was not written; see nas history stats")
    columns.write(file, rows, history.datasets())
    return len(rows)
