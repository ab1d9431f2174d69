"""Progress of long work, on stderr: one live line on a terminal, plain lines every ten seconds elsewhere."""

import contextlib
import os
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nas_suite.cli.answer import note

if TYPE_CHECKING:
    from nas_suite.engine import Progress

SPAN = 60.0  # seconds over which the pace is taken
APART = 10.0  # seconds between plain lines
DRAWN = 0.2  # seconds between changes of the live line


@dataclass
class Pace:
    """Steps a second over the last minute."""

    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def mark(self, now: float, done: int) -> None:
        """Notes how far the work is; marks closer than half a second replace each other."""
        if len(self.marks) > 1 and now - self.marks[-2][0] < 0.5:
            self.marks.pop()
        self.marks.append((now, done))
        while len(self.marks) > 2 and now - self.marks[1][0] > SPAN:
            self.marks.popleft()

    def rate(self) -> float | None:
        """None before there are two marks apart."""
        if len(self.marks) < 2:
            return None
        (then, first), (now, last) = self.marks[0], self.marks[-1]
        return (last - first) / (now - then) if now > then and last > first else None


class Shown(ABC):
    """A Progress: counts, takes the pace and shows now and then. `each` is how many `unit`s a step is; without a unit, steps
    are shown as a share alone."""

    def __init__(self, what: str, unit: str, each: int | float, apart: float) -> None:
        self.what, self.unit, self.each, self.apart = what, unit, each, apart
        self.pace = Pace()
        self.started = self.last = time.monotonic()
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def __call__(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        self.pace.mark(now, done)
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        if now - self.last >= self.apart or done >= total:
            self.show(done, total, self.text(now, done, total))
            self.sums, self.counts, self.last = {}, {}, now

    def text(self, now: float, done: int, total: int) -> str:
        """How far, how fast, how long still, and the mean figures since the last time."""
        parts = [f"{done / max(1, total):4.0%}"]
        if self.unit:
            parts.append(f"{done * self.each:,.0f}/{total * self.each:,.0f} {self.unit}")
        if (rate := self.pace.rate()) is not None:
            if self.unit:
                parts.append(f"{spoken(rate * self.each)} {self.unit}/s")
            parts.append(f"ETA {clock((total - done) / rate)}" if done < total else f"took {clock(now - self.started)}")
        return "  ".join((*parts, *(f"{name} {value / self.counts[name]:.4g}" for name, value in self.sums.items())))

    @abstractmethod
    def show(self, done: int, total: int, text: str) -> None: ...


class Lines(Shown):
    """Plain lines."""

    def show(self, done: int, total: int, text: str) -> None:
        note(f"{self.what}  {text}")


class Live(Shown):
    """One line that is drawn anew, by rich."""

    def __init__(self, what: str, unit: str, each: int | float, bar: Any) -> None:
        super().__init__(what, unit, each, DRAWN)
        self.bar = bar
        self.task = bar.add_task(what, total=None, text="")

    def show(self, done: int, total: int, text: str) -> None:
        self.bar.update(self.task, completed=done, total=total, text=text)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def spoken(rate: float) -> str:
    """Four digits, or all before the point."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


@contextlib.contextmanager
def watching(what: str, unit: str, each: int | float = 1) -> Iterator["Progress"]:
    """Within: a Progress that shows how `what` goes on, and whatever libraries print goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield Lines(what, unit, each, APART)
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        text = TextColumn("{task.description}  {task.fields[text]}", table_column=Column(overflow="fold"))
        with Bar(BarColumn(20), text, console=Console(stderr=True), refresh_per_second=4) as bar:
            yield Live(what, unit, each, bar)
