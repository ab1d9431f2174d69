"""The history in PostgreSQL: a throw-away server answers as SQLite does; skipped where none is installed."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from test_history import DIGITS, FULL, row
from test_history_database import ROWS

from nas_suite.errors import BadInput, Missing
from nas_suite.history import Added, History, database

ROOT = Path(__file__).resolve().parents[1]


def ours() -> dict[str, Any]:
    """As whom the server runs, which refuses to be root's."""
    import pwd

    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    who = names.get("postgres") or names.get("nobody")
    if who is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
    return {"user": who.pw_uid, "group": who.pw_gid}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server's first database, on a socket in a folder of its own."""
    pytest.importorskip("psycopg")
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("no PostgreSQL server is installed: initdb and pg_ctl are not there")
    who = ours()
    with tempfile.TemporaryDirectory(prefix="nas") as folder:
        if who:
            os.chown(folder, who["user"], who["group"])
        place = {**who, "cwd": folder, "capture_output": True, "text": True, "env": {**os.environ, "HOME": folder}}
        data = f"{folder}/data"
        made = subprocess.run(
            ["initdb", "-D", data, "-U", "nas", "-A", "trust", "-E", "UTF8", "--no-sync"], check=False, **place
        )
        if made.returncode:
            pytest.skip(f"initdb fails here: {made.stderr.strip().splitlines()[-1]}")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        log = f"{folder}/log"
        subprocess.run(["pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start"], check=True, **place)
        try:
            yield f"postgresql://nas@/postgres?host={folder}"
        finally:
            subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True, **place)


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """The same, with no history in it."""
    yield server
    with engine(server).begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


def engine(url: str) -> Any:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def test_it_answers_as_sqlite_does(url: str) -> None:
    with pytest.raises(Missing, match="no history in postgresql"):
        History.open(url)
    history = History.open(url, make=True)
    failed = row(None, status="failed", error="é\n", seed=1, time="2026-01-02T03:04:05+00:00")
    assert history.add([FULL, failed], [DIGITS]) == Added(2, 0)
    assert history.add([FULL, failed, row()]) == Added(1, 2)
    again = History.open(url)
    assert again.evaluations()[:2] == [FULL, failed]
    assert again.datasets() == [DIGITS]
    assert [r.value for r in again.select()] == [0.5]
    assert again.select(recipe=row().recipe_hash[:5], fidelity='{"epochs": 5}', data="digits") == again.select()
    bank = [np.arange(6, dtype=np.float16).reshape(2, 3)] * 10
    assert again.put_bank(DIGITS.key, "conv", bank)
    found = again.bank(DIGITS.key, "conv")
    assert found is not None
    assert np.array_equal(found, bank)
    again.add([row(0.75)])
    assert again.dedupe()[0] == 1
    stats = again.stats()
    assert (stats["schema"], stats["evaluations"], stats["banks"]) == (2, 3, 1)


def test_several_processes_that_write_at_once_lose_and_double_nothing(url: str) -> None:
    code = """
me, history, added = int(sys.argv[1]), History.open(sys.argv[2], make=True), 0
for i in range(10):
    added += history.add([row(1000 * me + i), row(i)]).added
print(added)
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", ROWS + code, str(me), url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for me in range(1, 4)
    ]
    said = [writer.communicate(timeout=300)[0] for writer in writers]
    seeds = [r.seed for r in History.open(url).evaluations()]
    assert sorted(seeds) == sorted([*range(10), *(1000 * me + i for me in range(1, 4) for i in range(10))])
    assert sum(map(int, said)) == len(seeds)


def test_a_kill_in_the_middle_of_a_write_leaves_what_was_written_before(url: str) -> None:
    code = """
from sqlalchemy import event
history = History.open(sys.argv[1], make=True)
history.add([row(i) for i in range(10)])
event.listen(history.database.engine, "commit", lambda _: os.kill(os.getpid(), 9))
history.add([row(100 + i) for i in range(10)])
"""
    killed = subprocess.run([sys.executable, "-c", ROWS + code, url], cwd=ROOT, check=False)
    assert killed.returncode == -9
    history = History.open(url)
    assert [r.seed for r in history.evaluations()] == list(range(10))
    assert history.add([row(seed=100)]) == Added(1, 0)


def test_the_first_schema_is_brought_up_and_a_newer_one_refused(url: str) -> None:
    History.open(url, make=True).add([row()])
    with engine(url).begin() as connection:
        connection.execute(text("DROP TABLE nas_feature_banks"))  # all that the second has more
        connection.execute(text("UPDATE nas_version SET version = 1"))
    history = History.open(url)
    assert [r.value for r in history.evaluations()] == [0.5]
    assert history.stats()["schema"] == 2
    assert history.bank(row().data, "conv") is None
    with engine(url).begin() as connection:
        connection.execute(text("UPDATE nas_version SET version = 3"))
    with pytest.raises(BadInput, match="newer nas-suite"):
        History.open(url)


def test_one_that_writes_is_waited_for_but_not_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History.open(url, make=True)
    monkeypatch.setattr(database, "PATIENCE", 1.0)
    with history.database.writing(), pytest.raises(BadInput, match="another process did not let go of it within 1 second"):
        history.add([row()])
    assert history.add([row()]) == Added(1, 0)


def test_who_may_not_write_is_told_so(url: str) -> None:
    History.open(url, make=True).add([row()])
    with engine(url).begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS reader"))
        connection.execute(text("CREATE ROLE reader LOGIN"))
        connection.execute(text("GRANT USAGE ON SCHEMA public TO reader"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    reader = History.open(url.replace("nas@", "reader@"))
    assert len(reader.evaluations()) == 1
    with pytest.raises(BadInput, match="cannot be written to; permit it"):
        reader.add([row(0.75)])


def test_a_server_that_is_not_there_is_told_in_one_line(server: str) -> None:
    with pytest.raises(BadInput, match="connection") as told:
        History.open("postgresql://nas:secret@/postgres?host=/nowhere")
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)
