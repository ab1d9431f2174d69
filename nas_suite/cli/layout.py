"""Tables as text: columns beside each other, within a terminal's width where they can be, and nothing cut."""

import itertools
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rich.cells import cell_len

NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( ?[%KMG])?")
GAP = INDENT = 2  # spaces between columns, and before the further lines of a row
READABLE = 24  # characters of a line in which prose can still be read


class Prose(str):
    """Text that may go on in a further line, between two words. All other text stays whole, so that it can be pasted."""


@dataclass(frozen=True)
class Table:
    """Rows of text under column names; without a heading where these are all empty."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Column:
    """A column as it is drawn, `width` characters wide: `most` with every cell on one line, `least` with its prose folded.
    Prose keeps within `fold`, which is less where another cell is wider than the room."""

    name: str
    cells: Sequence[str]
    most: int = field(init=False)
    least: int = field(init=False)
    width: int = field(init=False)
    fold: int = field(init=False)
    right: bool = field(init=False)

    def __post_init__(self) -> None:
        tokens = [token for cell in self.cells for token in (cell.split() if isinstance(cell, Prose) else [cell])]
        self.fold = self.width = self.most = widest([self.name, *self.cells])
        self.least = max(widest([self.name, *tokens]), min(READABLE, self.most))
        self.right = bool(self.cells) and all(NUMBER.fullmatch(cell) or cell in ("", "–") for cell in self.cells)

    def padded(self, text: str) -> str:
        space = " " * (self.width - cell_len(text))
        return space + text if self.right else text + space


Deck: TypeAlias = Sequence[Column]
"""The columns that share a line."""


def widest(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts), default=0)


def needed(widths: Sequence[int]) -> int:
    """How wide a line of columns is."""
    return sum(widths) + GAP * (len(widths) - 1)


def terminal() -> int | float:
    """How many characters a line of stdout holds; without end where it is no terminal."""
    drawn = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return shutil.get_terminal_size().columns if drawn else math.inf


def laid_out(table: Table, room: int | float = math.inf) -> str:
    """A table as plain text: columns two spaces apart, numbers to the right, the heading underlined on a terminal.

    Where a line has no `room` for all columns, prose goes on in further lines; where that is not enough columns do, and each
    row takes the lines that the heading takes. A text that is wider than the room by itself is left to the terminal.
    """
    columns = [Column(name, [row[at] for row in table.rows]) for at, name in enumerate(table.columns)]
    headed = any(table.columns)
    decks = stacked(columns, room) if headed else [columns]
    for at, deck in enumerate(decks):
        fit(deck, room - (INDENT if at else 0))
    lines = [line for at in range(len(table.rows)) for line in drawn([[(c, c.cells[at]) for c in deck] for deck in decks])]
    if headed:
        head = list(drawn([[(c, c.name) for c in deck] for deck in decks]))
        rule = ["─" * int(min(room, widest(head + lines)))] if room < math.inf else []
        lines = [*head, *rule, *lines]
    return "".join(line + "\n" for line in lines)


def stacked(columns: Deck, room: int | float) -> list[Deck]:
    """The columns by the line of a row that they stand on: one line where that can be."""
    if needed([c.least for c in columns]) <= room:
        return [columns]
    decks: list[list[Column]] = [[]]
    for column in columns:
        widths = [max(c.least, min(c.most, int(room) - INDENT)) for c in (*decks[-1], column)]
        if decks[-1] and needed(widths) + (INDENT if decks[1:] else 0) > room:
            decks.append([])
        decks[-1].append(column)
    return list(decks)


def fit(deck: Deck, room: int | float) -> None:
    """Narrows columns of prose, the widest first, until a line has room for all or none can be narrower."""
    while needed([c.width for c in deck]) > room and (loose := [c for c in deck if c.width > c.least]):
        max(loose, key=lambda c: c.width).width -= 1
    over = max(0, needed([c.width for c in deck]) - room)
    for column in deck:
        column.fold = max(READABLE, int(column.width - over))


def drawn(row: Sequence[Sequence[tuple[Column, str]]]) -> Iterator[str]:
    """The lines of one row, given by deck."""
    for at, deck in enumerate(row):
        for texts in itertools.zip_longest(*(folded(text, column.fold) for column, text in deck), fillvalue=""):
            cells = (column.padded(text) for (column, _), text in zip(deck, texts, strict=True))
            yield (" " * (INDENT if at else 0) + (" " * GAP).join(cells)).rstrip()


def folded(text: str, room: int | float) -> list[str]:
    """A text in lines: prose between words, other text in one."""
    if not isinstance(text, Prose) or cell_len(text) <= room:
        return [text]
    return textwrap.wrap(text, int(room), break_long_words=False, break_on_hyphens=False)
