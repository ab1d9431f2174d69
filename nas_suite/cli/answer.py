"""What a command says: one answer on stdout, as a JSON object or as text to read; notes on stderr."""

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_suite.disk import finite

SCHEMA = 1
NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( ?[%KMG])?")


@dataclass(frozen=True)
class Table:
    """Rows of text under column names. Columns in `whole` are never broken over lines, so that they can be pasted."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    whole: Sequence[str] = ()


def facts(pairs: Mapping[str, Any]) -> Table:
    """Names and values, without a heading."""
    return Table(("", ""), [(name, "–" if value is None else str(value)) for name, value in pairs.items()])


def answer(command: str, data: Any, as_json: bool, parts: Iterable[Table | str] = ()) -> None:
    """Prints the answer of a command: `data` as one JSON object, or the parts that say the same to a reader."""
    if as_json:
        parts = [json.dumps({"schema": SCHEMA, "command": command, "data": finite(data)}, allow_nan=False)]
    try:
        for part in parts:
            show(part)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(part: Table | str) -> None:
    if isinstance(part, str):
        sys.stdout.write(part + "\n")
    elif on_terminal():
        draw(part)
    else:
        sys.stdout.write(aligned(part))


def note(text: str) -> None:
    """One line on stderr; work goes on where nobody reads it any more."""
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def on_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def aligned(table: Table) -> str:
    """A table as plain text: columns two spaces apart, numbers to the right."""
    lines = [list(table.columns), *map(list, table.rows)] if any(table.columns) else [list(row) for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [numeric(column) for column in zip(*table.rows, strict=True)] or [False] * len(widths)
    texts = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    ]
    return "".join(text + "\n" for text in texts)


def numeric(column: Sequence[str]) -> bool:
    return all(NUMBER.fullmatch(cell) or cell in ("", "–") for cell in column)


def draw(table: Table) -> None:
    """A table on a terminal, as wide as the columns that must stay whole need."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    headed = any(table.columns)
    drawn = Drawn(box=SIMPLE_HEAD if headed else None, show_header=headed, pad_edge=False)
    columns = [[row[at] for row in table.rows] for at in range(len(table.columns))]
    least = 0
    for name, cells in zip(table.columns, columns, strict=True):
        longest = max(map(len, [name, *cells]))
        keep = name in table.whole or longest <= 20
        drawn.add_column(name, justify="right" if cells and numeric(cells) else "left", no_wrap=keep)
        least += (longest if keep else 20) + 2
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    width = max(shutil.get_terminal_size().columns, least)
    Console(width=width, highlight=False).print(drawn, crop=False, soft_wrap=False)


def short(number: int | float) -> str:
    """A count in four digits: 492.9 M, 5.314e+17."""
    if abs(number) >= 1e12:
        return f"{number:.4g}"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"


def percent(share: int | float) -> str:
    return f"{100 * share:.2f} %"
