"""The tables of a history, the version of their schema, and the steps from older versions."""

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)

from nas_suite.errors import BadInput
from nas_suite.history.rows import LONGEST

META = MetaData()
NUMBER = BigInteger().with_variant(Integer, "sqlite")  # which numbers its rows by that type alone
VERSIONS = Table("nas_version", META, Column("version", Integer, nullable=False))
DATA = Table(
    "nas_data_sets",
    META,
    Column("id", NUMBER, primary_key=True),
    Column("key", String(LONGEST), nullable=False, unique=True),
    Column("name", String(LONGEST), nullable=False),
    Column("content", String(LONGEST), unique=True),  # NULL where the images are not known
    Column("classes", Text, nullable=False),
    Column("image_size", Integer, nullable=False),
    Column("channels", Integer, nullable=False),
    Column("tags", Text, nullable=False),
)
RECIPES = Table("nas_recipes", META, Column("hash", String(12), primary_key=True), Column("text", Text, nullable=False))
EVALUATIONS = Table(
    "nas_evaluations",
    META,
    Column("id", NUMBER, primary_key=True),
    Column("identity", String(40), nullable=False, unique=True),
    Column("data_id", NUMBER, ForeignKey("nas_data_sets.id"), nullable=False),
    Column("recipe", String(12), ForeignKey("nas_recipes.hash"), nullable=False),
    Column("space", String(LONGEST), nullable=False),
    Column("settings", Text, nullable=False),
    Column("arch", Text, nullable=False),
    Column("spelling", Text, nullable=False),
    Column("split", String(8), nullable=False),
    Column("metric", String(LONGEST), nullable=False),
    Column("goal", String(8), nullable=False),
    Column("unit", String(LONGEST), nullable=False),
    Column("value", Double),
    Column("fidelity", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("seconds", Double),
    Column("device", String(LONGEST), nullable=False),
    Column("status", String(8), nullable=False),
    Column("error", Text, nullable=False),
    Column("time", String(40), nullable=False),
    Column("source", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Index("nas_evaluations_of", "space", "data_id", "split"),
)

BANKS = Table(
    "nas_feature_banks",
    META,
    Column("data_id", NUMBER, ForeignKey("nas_data_sets.id"), primary_key=True),
    Column("extractor", String(LONGEST), primary_key=True),
    Column("images", Text, nullable=False),  # of each class, a list of JSON
    Column("features", Integer, nullable=False),
    Column("values", LargeBinary, nullable=False),  # float16, little-endian, class after class
)


def add_banks(connection: Connection) -> None:
    BANKS.create(connection)


STEPS: Sequence[Callable[[Connection], None]] = (add_banks,)
"""From version 1 to 2, from 2 to 3, and so on."""


def version(connection: Connection) -> int:
    """The version of a database's schema, 0 where it holds no history."""
    if not inspect(connection).has_table(VERSIONS.name):
        return 0
    return connection.execute(select(VERSIONS.c.version)).scalar() or 0


def newest() -> int:
    return 1 + len(STEPS)


def check(found: int, where: str) -> None:
    """BadInput where a schema is newer than this version of the suite knows."""
    if found > newest():
        raise BadInput(
            f"the history {where} was written by a newer nas-suite (its schema is {found}, this version knows {newest()}): "
            "update nas-suite, or set NAS_HISTORY to another history"
        )


def bring_up(connection: Connection, where: str) -> None:
    """Makes the tables, or brings older ones to the newest version; within the caller's transaction, so whole or not at all."""
    found = version(connection)
    check(found, where)
    if found == 0:
        META.create_all(connection)
        connection.execute(insert(VERSIONS).values(version=newest()))
        return
    for step in STEPS[found - 1 :]:
        step(connection)
    connection.execute(update(VERSIONS).values(version=newest()))
