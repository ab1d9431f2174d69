"""A history as a CSV file: written, and read back; every column is documented here."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from nas_suite.disk import write_atomic, writing
from nas_suite.errors import BadInput, suggest
from nas_suite.history.rows import PERCENT, SHARE, Evaluation, Task, plain

INSTEAD = "name another file"

NEEDED = ("data", "space", "arch", "value")
"""Key of the data set, name of the space, the network's text, and the value: what every row must say."""

TEXTS = ("split", "metric", "goal", "unit", "spelling", "device", "status", "error", "time", "source")
NUMBERS: Mapping[str, Callable[[str], Any]] = {"value": float, "seconds": float, "seed": int}
OBJECTS = ("settings", "recipe", "fidelity", "tags")
"""Written as JSON. `recipe` may also be a word that names how the networks were trained."""

ABOUT = {"data_name": "name", "data_content": "content", "data_classes": "classes", "data_image_size": "image_size"}
ABOUT |= {"data_channels": "channels", "data_tags": "tags"}
"""What a row may tell of its data set: column to field of `Task`. Classes are a list, tags an object, as JSON."""

HEADER = (*NEEDED, *TEXTS, "seed", "seconds", *OBJECTS, *ABOUT)
DEFAULTS = {f.name: f.default for f in fields(Evaluation) if f.default is not MISSING}


def write(file: Path, rows: Iterable[Evaluation], tasks: Iterable[Task]) -> None:
    """Writes evaluations and what is known of their data sets, whole or not at all."""
    known = {task.key: task for task in tasks}
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {name: getattr(row, name) for name in (*NEEDED, *TEXTS, "seed", "seconds")}
        cells |= {name: plain(getattr(row, name)) for name in OBJECTS}
        about = known.get(row.data, Task(row.data))
        cells |= {column: getattr(about, name) or "" for column, name in ABOUT.items()}
        cells |= {"data_classes": listed(about.classes), "data_tags": plain(about.tags)}
        writer.writerow({name: "" if value is None or value == "{}" else value for name, value in cells.items()})
    with writing(file, INSTEAD):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, text.getvalue().encode(), INSTEAD)


def listed(classes: Sequence[str]) -> str:
    return json.dumps(classes, ensure_ascii=False) if classes else ""


def read(file: Path, unit: str = "") -> tuple[list[Evaluation], list[Task]]:
    """The evaluations of a file, and their data sets. `unit` is that of rows that do not say it; percents become shares.
    BadInput names the line that cannot be read, or what the header lacks."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    reader = csv.DictReader(io.StringIO(text))
    check_header(file, list(reader.fieldnames or ()))
    rows: list[Evaluation] = []
    tasks: dict[str, Task] = {}
    try:
        for cells in reader:
            row = evaluation(cells, unit)
            rows.append(row)
            task = task_of(cells)
            if tasks.setdefault(task.key, task) != task:
                raise BadInput(f"the data set {task.key!r} is told of otherwise than before")
    except (csv.Error, BadInput) as error:
        raise BadInput(f"{file}, line {reader.line_num}: {error}") from None
    if not rows:
        raise BadInput(f"{file} has a header and no evaluation")
    check_percents(str(file), rows)
    return [in_shares(row) for row in rows], list(tasks.values())


def check_header(file: Path, header: Sequence[str]) -> None:
    lacking = [name for name in NEEDED if name not in header]
    if lacking:
        raise BadInput(f"{file} has no column {', '.join(lacking)}: its first line must name at least {','.join(NEEDED)}")
    for name in header:
        if name not in HEADER:
            raise BadInput(f"{file} has a column {name!r} that means nothing here{suggest(name, HEADER, most=40)}")
    if len(set(header)) < len(header):
        raise BadInput(f"{file} has two columns of one name")


def evaluation(cells: Mapping[str | None, Any], unit: str) -> Evaluation:
    """A row as it is written; what it leaves empty is as `Evaluation` has it."""
    if None in cells or None in cells.values():
        raise BadInput("it does not have as many cells as the header has names")
    given: dict[str, Any] = {name: text.strip() for name, text in cells.items() if name and text.strip()}
    for name, read_number in NUMBERS.items():
        try:
            given[name] = read_number(given[name]) if name in given else DEFAULTS.get(name)
        except ValueError:
            raise BadInput(f"{name} is {given[name]!r}, no number") from None
    for name in OBJECTS:
        given[name] = parsed(name, given.get(name, ""))
    if unit:
        given.setdefault("unit", unit)
    known = {name: value for name, value in given.items() if name not in ABOUT}
    empty: dict[str, Any] = {name: "" for name in NEEDED if name not in known}
    row = Evaluation(**empty | known)
    if fault := in_shares(row).fault():
        raise BadInput(fault)
    return row


def parsed(name: str, text: str) -> Mapping[str, Any]:
    """An object of JSON; for a recipe a word will do."""
    if name == "recipe" and text and not text.startswith("{"):
        return {"name": text}
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(f'{name} is {text!r}, no object of JSON such as {{"epochs": 12}}')
    return found


def task_of(cells: Mapping[str, str]) -> Task:
    about = {name: (cells.get(column) or "").strip() for column, name in ABOUT.items()}
    try:
        numbers = {name: int(about[name] or 0) for name in ("image_size", "channels")}
        classes = tuple(str(name) for name in json.loads(about["classes"] or "[]"))
    except (ValueError, TypeError):
        raise BadInput(
            'data_image_size and data_channels must be whole numbers, data_classes a list of JSON such as ["cat", "dog"]'
        ) from None
    tags = parsed("data_tags", about["tags"])
    return Task(cells["data"].strip(), about["name"], about["content"], classes, **numbers, tags=tags)


def in_shares(row: Evaluation) -> Evaluation:
    """The evaluation with percents as a share."""
    return row if row.unit != PERCENT else replace(row, unit=SHARE, value=None if row.value is None else row.value / 100)


def check_percents(what: str, rows: Iterable[Evaluation]) -> None:
    """BadInput where what is said to be percents looks like shares."""
    values = [row.value for row in rows if row.unit == PERCENT and row.value is not None]
    if values and max(values) <= 1:
        raise BadInput(f"{what}: no value is above 1 percent (the largest {max(values):g}); shares? then their unit is share")
