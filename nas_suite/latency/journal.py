"""What was measured so far of a table: one line a point on the disk, so that a kill at any moment costs one point."""

import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from nas_suite.disk import PART, repair_tail, writing
from nas_suite.errors import BadInput
from nas_suite.latency.noise import MOVED, Noise
from nas_suite.latency.shelf import instead, made
from nas_suite.latency.timer import Reading

STARTS = 3
"""Looks at the reference block whose median is its latency."""
Verdict: TypeAlias = Literal["start", "steady", "again", "kept"]


def beside(table: Path) -> Path:
    """The journal of a table that is being measured."""
    return table.with_name(table.name + PART)


@dataclass
class Journal:
    """Points come in legs; a look at the reference block ends a leg and says whether it counts.

    `request` is what is being measured: a journal of another request is refused.
    """

    path: Path
    request: Mapping[str, Any]
    readings: dict[str, Reading] = field(default_factory=dict)
    leg: list[str] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    level: float = 0.0
    moved: float = 0.0
    again: int = 0
    kept: int = 0
    repeating: bool = False
    before: float = 0.0
    started: float = field(default_factory=lambda: time.monotonic())

    @classmethod
    def open(cls, path: Path, request: Mapping[str, Any]) -> "Journal":
        """A new journal, or the one that is there with all its points; BadInput where that is of another request."""
        journal = cls(path, request)
        repair_tail(path)
        if path.exists() and (lines := [*read(path)]):
            known = lines[0].get("request", {})
            for name, value in request.items():
                if known.get(name) != value:
                    raise BadInput(
                        f"{path} was begun with {name} {known.get(name)!r}, not {value!r}; "
                        "give the same, or remove it, or choose another --out"
                    )
            for line in lines[1:]:
                journal.apply(line)
                journal.before = line["spent"]
        else:
            with writing(path, instead(path.parent)):
                path.write_text(json.dumps({"request": request}) + "\n")
        return journal

    @property
    def spent(self) -> float:
        """Seconds of measuring, those of processes that were killed included."""
        return self.before + time.monotonic() - self.started

    @property
    def ms(self) -> dict[str, float]:
        return {key: reading.ms for key, reading in self.readings.items()}

    def add(self, key: str, reading: Reading) -> None:
        self.put({"key": key, **asdict(reading)}, durable=False)

    def look(self, ms: float, patient: bool) -> None:
        """Ends a leg: the reference block took `ms`. Where it has moved, the leg is measured again, once and if `patient`."""
        verdict: Verdict = "start" if len(self.looks) < STARTS else "steady"
        if verdict == "steady" and abs(ms / self.level - 1) > MOVED:
            verdict = "again" if patient and not self.repeating else "kept"
        self.put({"reference_ms": ms, "leg": verdict}, durable=True)

    def put(self, line: dict[str, Any], durable: bool) -> None:
        with writing(self.path, instead(self.path.parent)), open(self.path, "a") as file:
            file.write(json.dumps({**line, "spent": self.spent}) + "\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())
        self.apply(line)

    def apply(self, line: Mapping[str, Any]) -> None:
        """What a line means; the same when it is written and when it is read again."""
        if "key" in line:
            self.readings[line["key"]] = Reading(line["ms"], line["spread_ms"], line["runs"], line["waited"])
            self.leg.append(line["key"])
            return
        ms, verdict = line["reference_ms"], line["leg"]
        self.looks.append(ms)
        if verdict == "start":
            self.level = statistics.median(self.looks)
        self.moved = max(self.moved, abs(ms / self.level - 1))
        if verdict == "again":
            self.again += len(self.leg)
            for key in self.leg:
                del self.readings[key]
        elif verdict == "kept":
            self.kept += len(self.leg)
            self.level = ms  # the machine has another pace now; what follows is judged by that
        self.repeating = verdict == "again"
        self.leg = []

    def noise(self, reference: str) -> Noise:
        readings = self.readings.values()
        unsettled = sum(not reading.settled for reading in readings) / max(1, len(readings))
        waited = sum(reading.waited for reading in readings) / max(1, len(readings))
        return Noise(reference, self.level, self.moved, self.again, self.kept, unsettled, waited)

    def close(self) -> None:
        """Once its table stands."""
        self.path.unlink(missing_ok=True)


def begun(path: Path) -> Any:
    """The request of a journal that is there, None where there is none."""
    return next(read(path), {}).get("request") if path.exists() else None


def read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from map(json.loads, path.read_text().splitlines())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({error}); remove it to begin anew") from None


@contextlib.contextmanager
def held(table: Path) -> Iterator[None]:
    """Within: no other process measures this table; BadInput where one does."""
    from filelock import FileLock, Timeout

    made(table.parent)
    lock = table.with_name(f".{table.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            yield
            lock.unlink(missing_ok=True)
    except Timeout:
        raise BadInput(f"another process is measuring {table}; wait for it, or choose another --out") from None
