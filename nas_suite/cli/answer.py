"""What a command says: one answer on stdout, as a JSON object or as text to read; notes on stderr."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from nas_suite.cli.layout import Table, folded, laid_out, terminal
from nas_suite.disk import finite
from nas_suite.errors import BadInput

SCHEMA = 1


def facts(pairs: Mapping[str, Any]) -> Table:
    """Names and values, without a heading."""
    words = {name: "–" if value is None else value for name, value in pairs.items()}
    return Table(("", ""), [(name, value if isinstance(value, str) else str(value)) for name, value in words.items()])


def answer(command: str, data: Any, as_json: bool, parts: Iterable[Table | str] = ()) -> None:
    """Prints the answer of a command: `data` as one JSON object, or the parts that say the same to a reader."""
    if as_json:
        parts = [json.dumps({"schema": SCHEMA, "command": command, "data": finite(data)}, allow_nan=False)]
    width = terminal()
    with printing():
        for part in parts:
            if isinstance(part, Table):
                sys.stdout.write(laid_out(part, width))
            else:
                sys.stdout.write("\n".join(folded(part, width)) + "\n")


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Within: what is printed stands on stdout after. A reader who has seen enough, as `head` has, may leave; BadInput where
    stdout refuses otherwise. Nothing is tried again when the process ends."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        drop(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise BadInput(
                f"cannot print the answer: {error.strerror}; what the command did is done, print elsewhere"
            ) from None


def drop(stream: TextIO) -> None:
    """Lets go of an output of this process and of what it did not take."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def note(text: str) -> None:
    """One line on stderr; work goes on where nobody reads it any more."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        drop(sys.stderr)


def short(number: int | float) -> str:
    """A count in four digits: 492.9 M, 5.314e+17."""
    if abs(number) >= 1e12:
        return f"{number:.4g}"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"


def percent(share: int | float) -> str:
    return f"{100 * share:z.2f} %"
