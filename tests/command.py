"""Running `nas` in this process, and the tiny supernet that command-line tests share."""

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from nas_suite.cli import invoke

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    *("--set", "data.size=8", "--set", "data.limit=96"),
    *("--set", "space.width=0.125", "--set", "space.kernels=3,5", "--set", "space.m=2"),
    *(
        "--set",
        "method.pad=1",
        "--set",
        "method.cutout=0",
        "--set",
        "method.calib_images=64",
        "--set",
        "method.score_images=64",
    ),
    *("--set", "method.population=6", "--set", "method.budget=12"),
    *("--set", "retrain.pad=1", "--set", "retrain.cutout=0", "--set", "retrain.warmup_epochs=0"),
    *("--precision", "fp32"),
)


@dataclass(frozen=True)
class Said:
    """What a command line answered."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Of an answer in JSON, which must be alone on stdout."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        assert self.out.endswith("\n")
        found = json.loads(self.out)
        assert set(found) == {"schema", "command", "data"}
        assert found["schema"] == 1
        return found["data"]

    @property
    def error(self) -> str:
        """Of a command line that was refused: one line, nothing on stdout."""
        assert self.code != 0
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("error: ")


class Screen(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def nas(*words: object, answer: str = "", screen: int = 0) -> Said:
    """Runs `nas` with these words; `answer` is what stdin holds, `screen` how wide the terminal is that stdout is, if any."""
    out, err = Screen() if screen else io.StringIO(), io.StringIO()
    term = {"COLUMNS": str(screen), "TERM": "xterm"} if screen else {}
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "stdin", io.StringIO(answer)),
        patch.dict(os.environ, term),
    ):
        try:
            code = invoke([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return Said(code, out.getvalue(), err.getvalue())


def train(folder: Path, *words: object) -> Said:
    """Trains a tiny supernet on the digits."""
    return nas(
        "train-supernet", "mixpath", "--data", "digits", *TINY, "--epochs", 1, "--batch-size", 32, "--out", folder, *words
    )


def on_a_terminal(*words: str, **more: str) -> str:
    """What `nas` writes to a terminal."""
    here, there = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}
    child = subprocess.Popen([sys.executable, "-m", "nas_suite", *words], stdin=there, stdout=there, stderr=there, env=env)
    os.close(there)
    pieces = []
    while True:
        try:
            piece = os.read(here, 65536)
        except OSError:  # Linux says so at the end of a terminal
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(here)
    assert child.wait() == 0
    return b"".join(pieces).decode()


def forked(job: Callable[[], object]) -> int:
    """Runs a job in a process of its own; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            job()
        finally:
            os._exit(0)
    return child
