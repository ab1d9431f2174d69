"""The ways a request can fail that are not a fault of ours, their exit codes, and the near word for a wrong one."""

import difflib
import signal
from collections.abc import Iterable, Mapping
from typing import Any


class BadInput(ValueError):
    """What was given cannot be used; the message says what was given, what is known and what to do."""

    exit_code = 2


class Missing(BadInput):
    """Data or a benchmark is not on this machine; the message is the command that gets it."""

    exit_code = 3


class Unreachable(BadInput):
    """No network meets the target; the message names what can be reached."""

    exit_code = 4


class Interrupted(Exception):
    """A signal asked to stop. `run` is the folder of the run that was stopped; `whole` says whether everything up to the
    last step is saved, rather than up to the last checkpoint."""

    def __init__(self, number: int, run: str = "", whole: bool = True) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.run, self.whole = number, run, whole
        self.exit_code = 128 + number


def suggest(word: str, known: Iterable[str], most: int = 12) -> str:
    """The tail of an error message: the nearest known word, if one is near, and the known words."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    listed = ", ".join(words[:most]) + (f", … ({len(words)} in all)" if len(words) > most else "")
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" there are: {listed or 'none'}"


def fault(found: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words: where it is, what is there, what should be."""
    place, said = ".".join(map(str, found["loc"])) or "it", found["msg"].removeprefix("Value error, ")
    given = "" if isinstance(found["input"], (dict, list)) else f" is {found['input']!r}:"
    return f"{place}{given} {said.lower()}"
