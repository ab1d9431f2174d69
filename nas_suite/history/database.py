"""The database behind a history: opened, locked for writing, and what it refuses said in one line."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from nas_suite.disk import writing
from nas_suite.errors import BadInput, Missing
from nas_suite.history import schema
from nas_suite.history.place import VARIABLE, address

PATIENCE = 20.0  # seconds for which other processes that write are waited for
LOCK = 0x6E6173  # the number by which PostgreSQL knows that a history is being written
WRITES = "nas_writes"
DRIVERS = {"MySQLdb": "mysqlclient"}  # packages that are not called as what they bring
INSTEAD = f"set {VARIABLE} to another history, or to off"
POSTGRES = "postgresql+psycopg"
SAID = (
    (
        r"locked|busy|lock timeout|LockNotAvailable",
        "another process did not let go of it within {patience:g} seconds; try again",
    ),
    (r"readonly|read-only|permission denied|InsufficientPrivilege", f"it cannot be written to; permit it, or {INSTEAD}"),
    (r"not a database|malformed|file is encrypted", f"it is no history of ours, or is damaged; {INSTEAD}"),
    (r"unable to open", f"it cannot be opened: it is a folder, there is no such folder, or no permission; {INSTEAD}"),
    (r"is full|No space left", f"no space is left on its disk; make room, or {INSTEAD}"),
)
"""What databases say, and what that means."""


@dataclass(frozen=True)
class Database:
    """Where a history lies. Each use connects anew, so that processes may be forked in between."""

    engine: Engine

    @classmethod
    def open(cls, url: str = "", make: bool = False) -> "Database":
        """The database of an address (`place.address`), with its tables of the newest version; where there is none it is made
        if `make` says so, else Missing."""
        parsed = understood(address(url))
        name = str(parsed.database)
        file = Path(name) if parsed.get_backend_name() == "sqlite" and not name.startswith("file:") else None
        where = str(file or parsed.render_as_string())
        if file is not None and not file.exists():
            if not make:
                raise Missing(absent(where))
            with writing(file, INSTEAD):
                file.parent.mkdir(parents=True, exist_ok=True)
        found = cls(engine(parsed))
        with found.reading() as connection:
            now = schema.version(connection)
        schema.check(now, where)
        if now == 0 and not make:
            raise Missing(absent(where))
        if now < schema.newest():
            with found.writing() as connection:
                schema.bring_up(connection, where)
        return found

    @property
    def where(self) -> str:
        """Its file, or its URL without the password."""
        url = self.engine.url
        return url.database if url.get_backend_name() == "sqlite" and url.database else url.render_as_string()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Within: one state of the database, whatever others write."""
        with self.speaking(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Within: this process alone writes; all of it stands after, or nothing where something failed."""
        with self.speaking(), self.engine.connect() as connection:
            connection = connection.execution_options(**{WRITES: True})
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error)
            kind = type(getattr(error, "orig", None)).__name__
            meant = next((meaning for pattern, meaning in SAID if re.search(pattern, f"{kind} {said}")), "")
            first = " ".join((said.splitlines() or [kind])[0].split())
            meant = meant.format(patience=PATIENCE) or f"{first}; {INSTEAD}"
            raise BadInput(f"the history {self.where}: {meant}") from None


def absent(where: str) -> str:
    return f"there is no history in {where} yet: retrain, bench make and searches by training write one, or nas history import"


def understood(url: str) -> URL:
    """A URL as SQLAlchemy reads it; PostgreSQL's is of psycopg where it names no other driver."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise BadInput(
            f"{url.partition('://')[0]}://… is no URL of a database; examples: /folder/history.sqlite, "
            "sqlite:////folder/history.sqlite, postgresql://user@host/name"
        ) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise BadInput(
            f"{url} is a database in memory, which would be forgotten at once: name a file, sqlite:////folder/history.sqlite"
        )
    return parsed.set(drivername=POSTGRES) if parsed.drivername in ("postgres", "postgresql") else parsed


def engine(url: URL) -> Engine:
    backend = url.get_backend_name()
    waits = {"sqlite": {"timeout": PATIENCE}, "postgresql": {"connect_timeout": int(PATIENCE)}}
    try:
        made = create_engine(url, poolclass=NullPool, connect_args=waits.get(backend, {}))
    except ModuleNotFoundError as error:
        need = (
            "pip install 'nas-suite[postgres]'"
            if backend == "postgresql"
            else f"pip install {DRIVERS.get(name := error.name or '', name)}"
        )
        raise Missing(f"the history {url.render_as_string()} needs the package {error.name}: {need}") from None
    except (NoSuchModuleError, ArgumentError):
        raise BadInput(
            f"the history {url.render_as_string()} cannot be opened: no database is called {backend}; name a file, "
            "sqlite:////folder/history.sqlite, or postgresql://user@host/name"
        ) from None
    begins = {"sqlite": begin_sqlite, "postgresql": begin_postgres}
    if backend == "sqlite":
        event.listen(made, "connect", leave_transactions)
    if backend in begins:
        event.listen(made, "begin", begins[backend])
    return made


def leave_transactions(connection, _) -> None:  # type: ignore[no-untyped-def]  # the driver's own connection
    """Python's driver would begin transactions late, and as readers: two that write could then only fail."""
    connection.isolation_level = None


def begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES) else "BEGIN")


def begin_postgres(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(PATIENCE * 1000)}ms'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
