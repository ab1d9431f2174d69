"""The database of a history: many writers, kills, older and newer schemas, and what it refuses."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas_suite.errors import BadInput
from nas_suite.history import Added, Evaluation, History, Task, database

ROOT = Path(__file__).resolve().parents[1]
ROWS = """
import os, sys
from nas_suite.history import Evaluation, History
def row(seed, value=0.5, **more):
    return Evaluation("s", "a", "digits", value, seed=seed, **more)
"""


def row(seed: int, value: float = 0.5) -> Evaluation:
    return Evaluation("s", "a", "digits", value, seed=seed)


def child(code: str, *args: str, **more: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", ROWS + code, *args]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,  # type: ignore[call-overload]
    )


def here() -> Path:
    return Path(os.environ["NAS_HISTORY"])


def sound(file: Path) -> bool:
    with sqlite3.connect(file) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
def test_eight_processes_that_write_at_once_lose_and_double_nothing() -> None:
    code = """
me, history, added = int(sys.argv[1]), History.open(make=True), 0
for i in range(10):
    added += history.add([row(1000 * me + i), row(i)]).added
print(added)
"""
    writers = [child(code, str(me)) for me in range(1, 9)]
    said = [writer.communicate(timeout=300)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8, said
    seeds = [r.seed for r in History.open().evaluations()]
    assert sorted(seeds) == sorted([*range(10), *(1000 * me + i for me in range(1, 9) for i in range(10))])
    assert sum(map(int, said)) == len(seeds)


def test_a_kill_in_the_middle_of_a_write_leaves_what_was_written_before() -> None:
    """5,000 rows of 2 kB are more than SQLite holds back in memory, so that half of them lie in the file when it is killed."""
    code = """
from sqlalchemy import event
history = History.open(make=True)
history.add([row(i) for i in range(100)])
size = os.path.getsize(history.where)
def die(connection):
    print(os.path.getsize(history.where) > size, flush=True)
    os.kill(os.getpid(), 9)
event.listen(history.database.engine, "commit", die)
history.add([row(100 + i, None, status="failed", error="x" * 2000) for i in range(5000)])
"""
    writer = child(code)
    said, _ = writer.communicate(timeout=300)
    assert (writer.returncode, said.strip()) == (-signal.SIGKILL, "True")
    assert here().with_name(here().name + "-journal").exists()  # what the next one that opens it undoes
    history = History.open()
    assert sorted(r.seed for r in history.evaluations()) == list(range(100))
    assert sound(here())
    assert history.add([row(100), row(5)]) == Added(1, 1)


@pytest.mark.parametrize("after", [1, 7])
def test_a_kill_at_any_time_loses_no_row_that_was_acknowledged(after: int) -> None:
    code = """
history = History.open(make=True)
for i in range(10_000):
    history.add([row(10 * i + j) for j in range(10)])
    print(i, flush=True)
"""
    writer = child(code)
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(after)]
    writer.kill()
    told += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    history = History.open()
    seeds = sorted(r.seed for r in history.evaluations())
    assert len(seeds) in (10 * len(told), 10 * len(told) + 10)  # the last write may have ended, and was not told of
    assert seeds == list(range(len(seeds)))
    assert sound(here())
    assert history.add([row(999_999)]) == Added(1, 0)


FIRST_SCHEMA = """
CREATE TABLE nas_version (version INTEGER NOT NULL);
CREATE TABLE nas_data_sets (id INTEGER NOT NULL, "key" VARCHAR(200) NOT NULL, name VARCHAR(200) NOT NULL,
  content VARCHAR(200), classes TEXT NOT NULL, image_size INTEGER NOT NULL, channels INTEGER NOT NULL, tags TEXT NOT NULL,
  PRIMARY KEY (id), UNIQUE ("key"), UNIQUE (content));
CREATE TABLE nas_recipes (hash VARCHAR(12) NOT NULL, text TEXT NOT NULL, PRIMARY KEY (hash));
CREATE TABLE nas_evaluations (id INTEGER NOT NULL, identity VARCHAR(40) NOT NULL, data_id INTEGER NOT NULL,
  recipe VARCHAR(12) NOT NULL, space VARCHAR(200) NOT NULL, settings TEXT NOT NULL, arch TEXT NOT NULL,
  spelling TEXT NOT NULL, split VARCHAR(8) NOT NULL, metric VARCHAR(200) NOT NULL, goal VARCHAR(8) NOT NULL,
  unit VARCHAR(200) NOT NULL, value DOUBLE, fidelity TEXT NOT NULL, seed BIGINT NOT NULL, seconds DOUBLE,
  device VARCHAR(200) NOT NULL, status VARCHAR(8) NOT NULL, error TEXT NOT NULL, time VARCHAR(40) NOT NULL,
  source TEXT NOT NULL, tags TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (identity),
  FOREIGN KEY(data_id) REFERENCES nas_data_sets (id), FOREIGN KEY(recipe) REFERENCES nas_recipes (hash));
CREATE INDEX nas_evaluations_of ON nas_evaluations (space, data_id, split);
INSERT INTO nas_version VALUES (1);
INSERT INTO nas_data_sets VALUES (1, 'digits', '', NULL, '["0","1"]', 8, 1, '{}');
INSERT INTO nas_recipes VALUES ('44136fa355b3', '{}');
INSERT INTO nas_evaluations VALUES (1, 'bff8f6a0ea1dd87cba5d3a4fcd6db4e2b6e3d1c9', 1, '44136fa355b3', 's', '{}', 'a', '', 'val',
  'accuracy', 'max', 'share', 0.5, '{}', 3, 1.5, 'cpu', 'ok', '', '2026-11-28T00:00:00+00:00', '', '{}');
"""


def first_schema(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.executescript(FIRST_SCHEMA)


def test_a_history_of_the_first_schema_is_brought_up_with_its_rows() -> None:
    first_schema(here())
    history = History.open()
    assert [(r.seed, r.value, r.data, r.seconds) for r in history.evaluations()] == [(3, 0.5, "digits", 1.5)]
    assert history.stats()["schema"] == 2
    assert history.datasets() == [Task("digits", classes=("0", "1"), image_size=8, channels=1)]
    assert history.put_bank("digits", "conv", [np.ones((2, 3), np.float16)] * 2)


def test_a_step_that_fails_leaves_the_older_schema_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas_suite.history import schema

    def fails(connection: object) -> None:
        raise BadInput("no")

    first_schema(here())
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, fails))
    with pytest.raises(BadInput, match="no"):
        History.open()
    with sqlite3.connect(here()) as connection:
        assert connection.execute("SELECT version FROM nas_version").fetchall() == [(1,)]
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'nas_feature_banks'").fetchall() == []


def test_a_newer_schema_is_refused_and_left_alone() -> None:
    History.open(make=True).add([row(0)])
    with sqlite3.connect(here()) as connection:
        connection.execute("UPDATE nas_version SET version = 3")
    before = here().read_bytes()
    with pytest.raises(BadInput, match=r"newer nas-suite \(its schema is 3, this version knows 2\): update"):
        History.open(make=True)
    assert here().read_bytes() == before


def test_a_history_that_another_process_holds_is_told_after_a_bounded_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    history = History.open(make=True)
    history.add([row(0)])
    with sqlite3.connect(here(), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(history.evaluations()) == 1
        with pytest.raises(BadInput, match=r"another process did not let go of it within 0.2 seconds; try again") as told:
            history.add([row(1)])
        assert "\n" not in str(told.value)
        other.execute("ROLLBACK")
    assert history.add([row(1)]) == Added(1, 0)


def test_a_read_only_history_is_read_and_refuses_to_be_written() -> None:
    History.open(make=True).add([row(0)])
    history = History.open(f"sqlite:///file:{here()}?mode=ro&uri=true")
    assert [r.seed for r in history.evaluations()] == [0]
    with pytest.raises(BadInput, match="cannot be written to; permit it, or set NAS_HISTORY"):
        history.add([row(1)])


def test_a_file_without_permission_is_read_and_refuses_to_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        file = Path(folder) / "h.sqlite"
        History.open(str(file), make=True).add([row(0)])
        file.chmod(0o444)
        assert said_by_nobody(lambda: str([r.seed for r in History.open(str(file)).evaluations()])) == "[0]"
        said = said_by_nobody(lambda: str(History.open(str(file)).add([row(1)])))
        assert "cannot be written to; permit it, or set NAS_HISTORY" in said


def said_by_nobody(question: Callable[[], str]) -> str:
    """What is answered, or what error, by a process that may not do everything, as root may."""
    there, here = os.pipe()
    if os.fork() == 0:
        try:
            os.setuid(65534 if os.geteuid() == 0 else os.geteuid())
            os.write(here, question().encode())
        except BaseException as error:
            os.write(here, str(error).encode())
        os._exit(0)
    os.wait()
    os.close(here)
    with os.fdopen(there) as answer:
        return answer.read()


def test_a_file_that_is_no_database_is_refused_and_left_alone() -> None:
    here().write_bytes(b"garbage, more than a page of it\n" * 1000)
    before = here().read_bytes()
    for make in (False, True):
        with pytest.raises(BadInput, match="it is no history of ours, or is damaged"):
            History.open(make=make)
    assert here().read_bytes() == before


def test_a_damaged_history_is_told_in_one_line() -> None:
    history = History.open(make=True)
    history.add([row(i) for i in range(500)])
    with open(here(), "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    with pytest.raises(BadInput, match="is damaged"):
        history.evaluations()


def test_an_empty_file_is_a_history_that_a_kill_left_unmade() -> None:
    here().touch()
    assert History.open(make=True).add([row(0)]) == Added(1, 0)


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"file is a file; set NAS_HISTORY"):
        History.open(str(tmp_path / "file" / "h.sqlite"), make=True)
    with pytest.raises(BadInput, match="cannot be opened"):
        History.open(str(tmp_path), make=True)
