"""History: what is added to it, and what it is asked."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Float16
from sqlalchemy import Connection, delete, func, insert, select

from nas_suite.errors import BadInput, suggest
from nas_suite.history.database import Database
from nas_suite.history.mixing import one_kind
from nas_suite.history.rows import LONGEST, Evaluation, Task, plain, short
from nas_suite.history.schema import BANKS, DATA, EVALUATIONS, RECIPES, version
from nas_suite.words import plural

AT_ONCE = 500  # values in one question; SQLite of 2020 takes 999
MOST_IMAGES = 64  # of a class in a bank of features
SAME = ("space", "arch", "spelling", "split", "metric", "goal", "unit", "value", "seed", "seconds", "device")
SAME += ("status", "error", "time", "source")  # columns that are fields as they are

WHOLE = (
    select(EVALUATIONS, DATA.c.key.label("data"), RECIPES.c.text.label("recipe_text"))
    .join(DATA, EVALUATIONS.c.data_id == DATA.c.id)
    .join(RECIPES, EVALUATIONS.c.recipe == RECIPES.c.hash)
)
"""Evaluations with all that is theirs."""


@dataclass(frozen=True)
class Added:
    """What became of evaluations that were given: `added` are new, `known` were there already; `banks` of features are new."""

    added: int
    known: int
    banks: int = 0


@dataclass(frozen=True)
class History:
    """All that was ever trained, as a database keeps it. Rows are only added; several processes may add at once."""

    database: Database

    @classmethod
    def open(cls, url: str = "", make: bool = False) -> "History":
        """The history of an address: a URL of SQLAlchemy's or the path of a SQLite file; where nothing is given, NAS_HISTORY or
        else the user's own. Missing where there is none, unless `make` says to make it; BadInput where it cannot be used."""
        return cls(Database.open(url, make))

    @property
    def where(self) -> str:
        return self.database.where

    def add(self, evaluations: Iterable[Evaluation], tasks: Iterable[Task] = ()) -> Added:
        """Writes evaluations, all or none of them. One that is there already is left as it is. `tasks` tell of their data sets;
        one whose images are known under another key is that one. BadInput names the evaluation that cannot be kept."""
        rows, told = list(evaluations), list(tasks)
        for at, row in enumerate(rows):
            if fault := row.fault():
                raise BadInput(f"evaluation {at + 1}, {row.spelt or '?'} on {row.data or '?'}: {fault}; nothing was written")
        for task in told:
            if fault := task.fault():
                raise BadInput(f"data set {task.key!r}: {fault}; nothing was written")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self.database.writing() as connection:
            keys = know(connection, ({row.data: Task(row.data) for row in rows} | {task.key: task for task in told}).values())
            rows = [replace(row, data=keys[row.data][1], time=row.time or now) for row in rows]
            fresh = {row.identity: row for row in rows}
            for identity in there(connection, EVALUATIONS.c.identity, list(fresh)):
                del fresh[identity]
            recipes = {row.recipe_hash: row.recipe_text for row in fresh.values()}
            for known in there(connection, RECIPES.c.hash, list(recipes)):
                del recipes[known]
            if recipes:
                connection.execute(insert(RECIPES), [{"hash": hash_, "text": text} for hash_, text in recipes.items()])
            if fresh:
                connection.execute(insert(EVALUATIONS), [record(row, keys[row.data][0]) for row in fresh.values()])
        return Added(len(fresh), len(rows) - len(fresh))

    def put_bank(self, data: str, extractor: str, features: Sequence[Float16[np.ndarray, "_ f"]]) -> bool:
        """Keeps the features of some images of each class of a data set, as the extractor of this id makes them: per class an
        array of at most 64 images. False where such a bank is there already, which stays; BadInput where it does not fit."""
        check_bank(extractor, features)
        with self.database.writing() as connection:
            number, task = known_task(connection, data)
            if task.classes and len(features) != len(task.classes):
                raise BadInput(f"{data} has {len(task.classes)} classes, a bank of features of {len(features)} was given")
            if connection.execute(bank_query(number, extractor)).first():
                return False
            images, width = json.dumps([len(some) for some in features]), features[0].shape[1]
            values = np.concatenate(features).astype("<f2").tobytes()
            about = {"data_id": number, "extractor": extractor, "images": images, "features": width, "values": values}
            connection.execute(insert(BANKS).values(about))
        return True

    def bank(self, data: str, extractor: str) -> list[Float16[np.ndarray, "_ f"]] | None:
        """The features of a data set's images, a class an array (images, features); None where this extractor made none."""
        with self.database.reading() as connection:
            number, _ = known_task(connection, data)
            found = connection.execute(bank_query(number, extractor)).mappings().first()
        if found is None:
            return None
        values = np.frombuffer(found["values"], "<f2").astype(np.float16).reshape(-1, found["features"])
        return np.split(values, np.cumsum(json.loads(found["images"]))[:-1])

    def datasets(self) -> list[Task]:
        """Every data set that was heard of, in the order in which they came."""
        with self.database.reading() as connection:
            return [task_of(row) for row in connection.execute(select(DATA).order_by(DATA.c.id)).mappings()]

    def evaluations(
        self,
        space: str = "",
        data: str = "",
        split: str = "",
        metric: str = "",
        recipe: str = "",
        settings: str = "",
        fidelity: str = "",
        status: str = "",
    ) -> list[Evaluation]:
        """The evaluations that fit all that is given, in the order in which they came, whatever their kinds.

        `data` is a key or a name of data sets; `recipe` and `settings` are hashes or their beginnings; `fidelity` is its
        JSON, or its settings as `epochs=12,width=0.5`.
        """
        query = WHOLE
        for column, wanted in (("space", space), ("split", split), ("metric", metric), ("status", status)):
            query = query.where(EVALUATIONS.c[column] == wanted) if wanted else query
        if data:
            query = query.where((DATA.c.key == data) | (DATA.c.name == data))
        if recipe:
            query = query.where(EVALUATIONS.c.recipe.startswith(recipe, autoescape=True))
        if fidelity:
            query = query.where(EVALUATIONS.c.fidelity == fidelity_text(fidelity))
        with self.database.reading() as connection:
            rows = [evaluation_of(row) for row in connection.execute(query.order_by(EVALUATIONS.c.id)).mappings()]
        return [row for row in rows if row.settings_hash.startswith(settings)]

    def select(
        self,
        space: str = "",
        data: str = "",
        split: str = "val",
        metric: str = "",
        recipe: str = "",
        settings: str = "",
        fidelity: str = "",
        mixed: bool = False,
        without: Sequence[str] = (),
        most: int | None = None,
    ) -> list[Evaluation]:
        """The values to learn from: as `evaluations`, of trainings that did not fail, of one kind unless `mixed`. Test values
        are given only where `split` asks for them. Data sets of `without`, by key or name, are left out; of what is then there
        come the first `most`. BadInput where there are none, or several kinds, which it names, or no such data set."""
        rows = self.evaluations(space, data, split, metric, recipe, settings, fidelity, "ok")
        if not rows:
            raise BadInput(self.lacking(space, data))
        if left_out := self.called(without):
            rows = [row for row in rows if row.data not in left_out]
            if not rows:
                raise BadInput(f"every evaluation of {space or 'the history'} is of {', '.join(without)}, which is left out")
        rows = rows[:most]
        if not mixed:
            one_kind(rows)
        return rows

    def called(self, names: Sequence[str]) -> set[str]:
        """The keys of data sets, each by its key or its name. BadInput where the history knows none of a name."""
        if not names:
            return set()
        tasks = self.datasets()
        known = dict.fromkeys(name for task in tasks for name in (task.key, task.name) if name)
        for name in names:
            if name not in known:
                raise BadInput(f"the history {self.where} has no data set {name!r}{suggest(name, list(known))}")
        return {task.key for task in tasks if {task.key, task.name} & set(names)}

    def lacking(self, space: str, data: str) -> str:
        """Why nothing was found."""
        every = self.evaluations(status="ok")
        if not every:
            return f"the history {self.where} is empty: `nas bench make`, `nas retrain` or `nas history import` fill it"
        for word, wanted, known in (
            ("space", space, {row.space for row in every}),
            ("data set", data, {name for task in self.datasets() for name in (task.key, task.name) if name}),
        ):
            if wanted and wanted not in known:
                return f"the history {self.where} has no {word} {wanted!r}{suggest(wanted, sorted(known))}"
        return f"no evaluation of the history {self.where} fits all that was asked for; `nas history stats` shows what there is"

    def stats(self) -> dict[str, Any]:
        """What the history holds: how many rows, by status and by kind, how many networks, data sets and banks of features."""
        names = ("space", "settings", "split", "metric", "goal", "unit", "recipe", "fidelity")
        columns, count = [EVALUATIONS.c[name] for name in names], func.count()
        every = select(count).select_from
        networks = select(EVALUATIONS.c.space, EVALUATIONS.c.arch).distinct().subquery()
        with self.database.reading() as connection:
            found = connection.execute(select(*columns, count).group_by(*columns).order_by(count.desc(), *columns)).all()
            failed = connection.scalar(every(EVALUATIONS).where(EVALUATIONS.c.status == "failed"))
            about = {name: connection.scalar(every(table)) for name, table in (("datasets", DATA), ("banks", BANKS))}
            about |= {"schema": version(connection), "failed": failed, "networks": connection.scalar(every(networks))}
        kinds = [{**dict(zip(names, kind, strict=True)), "settings": short(kind[1]), "rows": n} for *kind, n in found]
        return {"where": self.where, **about, "evaluations": sum(kind["rows"] for kind in kinds), "kinds": kinds}

    def dedupe(self, dry: bool = False) -> tuple[int, int]:
        """Leaves one evaluation of each training: of those that did not fail the first, else the first. Returns how many were
        removed, with `dry` would be, and how many of them had another value. Repeats with other seeds are other trainings and
        stay."""
        with self.database.reading() if dry else self.database.writing() as connection:
            kept: dict[tuple[Any, ...], tuple[int, float | None]] = {}
            others = 0
            rows = [(evaluation_of(row), row["id"]) for row in connection.execute(WHOLE.order_by(EVALUATIONS.c.id)).mappings()]
            for row, number in sorted(rows, key=lambda pair: pair[0].status == "failed"):
                first, value = kept.setdefault(row.training, (number, row.value))
                others += number != first and row.value not in (None, value)
            gone = sorted({number for _, number in rows} - {number for number, _ in kept.values()})
            for at in range(0, 0 if dry else len(gone), AT_ONCE):
                connection.execute(delete(EVALUATIONS).where(EVALUATIONS.c.id.in_(gone[at : at + AT_ONCE])))
        return len(gone), others


def fidelity_text(given: str) -> str:
    """A fidelity as it is kept, of its JSON or of settings such as `epochs=12,width=0.5`. BadInput where it is neither."""
    try:
        if given.lstrip().startswith("{"):
            return plain(json.loads(given))
        pairs = [part.split("=", 1) for part in given.split(",")]
        return plain({name.strip(): json.loads(value) for name, value in pairs})
    except ValueError:
        raise BadInput(f"fidelity {given!r} is neither of the form epochs=12,width=0.5 nor an object of JSON") from None


def there(connection: Connection, column: Any, values: Sequence[str]) -> list[str]:
    """Of these values, those that a column has."""
    found: list[str] = []
    for at in range(0, len(values), AT_ONCE):
        found += connection.scalars(select(column).where(column.in_(values[at : at + AT_ONCE])))
    return found


def know(connection: Connection, tasks: Iterable[Task]) -> dict[str, tuple[int, str]]:
    """Number and key under which each data set is known, by the key it is given; those that are new are written."""
    tasks, query = list(tasks), select(DATA)
    if len(tasks) <= AT_ONCE:  # of which more than a few are told only by an import
        images = [task.content for task in tasks if task.content]
        query = query.where(DATA.c.key.in_([task.key for task in tasks]) | DATA.c.content.in_(images))
    known = {row["key"]: (row["id"], task_of(row)) for row in connection.execute(query).mappings()}
    contents = {task.content: key for key, (_, task) in known.items() if task.content}
    found: dict[str, tuple[int, str]] = {}
    for task in tasks:
        key = task.key if task.key in known else contents.get(task.content, task.key)
        if key not in known:
            number = connection.execute(insert(DATA).values(**task_record(task))).inserted_primary_key
            assert number is not None
            known[key] = (number[0], task)
            contents |= {task.content: key} if task.content else {}
        number, former = known[key]
        check_same(former, task)
        found[task.key] = found[key] = (number, key)
    return found


def known_task(connection: Connection, key: str) -> tuple[int, Task]:
    """Number and facts of a data set that the history knows; BadInput where it knows none of this key."""
    row = connection.execute(select(DATA).where(DATA.c.key == key)).mappings().first()
    if row is None:
        raise BadInput(f"the history knows no data set {key!r}{suggest(key, connection.scalars(select(DATA.c.key)))}")
    return row["id"], task_of(row)


def bank_query(number: int, extractor: str) -> Any:
    return select(BANKS).where(BANKS.c.data_id == number, BANKS.c.extractor == extractor)


def check_bank(extractor: str, features: Sequence[np.ndarray]) -> None:
    if not extractor or len(extractor) > LONGEST:
        raise BadInput(f"a bank of features needs the id of its extractor, 1 to {LONGEST} characters")
    if not features or len({some.shape[1] for some in features}) != 1 or not features[0].shape[1]:
        raise BadInput("a bank needs an array (images, features) for each class, all of one number of features")
    for at, some in enumerate(features):
        if not 1 <= len(some) <= MOST_IMAGES:
            raise BadInput(f"class {at} has the features of {plural(len(some), 'image')}; a bank keeps 1 to {MOST_IMAGES}")
        if not np.isfinite(some).all():
            raise BadInput(f"class {at} has features that are not finite")


def check_same(former: Task, task: Task) -> None:
    """BadInput where a data set is told of otherwise than it is known."""
    for name, what in (("content", "images"), ("classes", "classes"), ("image_size", "image size"), ("channels", "channels")):
        was, now = getattr(former, name), getattr(task, name)
        if was and now and was != now:
            raise BadInput(f"the data set {former.key!r} is known with other {what} ({was}, not {now}): give it another name")


def record(row: Evaluation, data_id: int) -> dict[str, Any]:
    texts = {"settings": row.settings_text, "fidelity": row.fidelity_text, "tags": plain(row.tags)}
    same = {name: getattr(row, name) for name in SAME}
    return {**same, **texts, "identity": row.identity, "data_id": data_id, "recipe": row.recipe_hash}


def evaluation_of(row: Mapping[Any, Any]) -> Evaluation:
    read = {"settings": row["settings"], "recipe": row["recipe_text"], "fidelity": row["fidelity"], "tags": row["tags"]}
    return Evaluation(
        data=row["data"], **{name: row[name] for name in SAME}, **{name: json.loads(text) for name, text in read.items()}
    )


def task_record(task: Task) -> dict[str, Any]:
    texts = {"classes": json.dumps(task.classes), "tags": plain(task.tags), "content": task.content or None}
    return {**{name: getattr(task, name) for name in ("key", "name", "image_size", "channels")}, **texts}


def task_of(row: Mapping[Any, Any]) -> Task:
    classes, tags = tuple(json.loads(row["classes"])), json.loads(row["tags"])
    return Task(row["key"], row["name"], row["content"] or "", classes, row["image_size"], row["channels"], tags)
