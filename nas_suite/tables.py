"""Tables: a benchmark's ground truth as memory-mapped columns beside a manifest; one format for all benchmarks."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped

from nas_suite.data.place import data_folder
from nas_suite.disk import as_json, digest, refusal, sync
from nas_suite.errors import BadInput, fault, suggest
from nas_suite.registry import SpaceNote
from nas_suite.words import plural

Arch: TypeAlias = tuple[int, ...]  # as space.Arch; a table is opened without torch
MANIFEST, ARCHS = "manifest.json", "archs.npy"
SCHEMA = 1
SPLITS = ("val", "test", "train")
"""Of an accuracy, the one that is meant first where nobody says."""


@dataclass(frozen=True)
class Column:
    """What a table holds of every row: an array (rows,) or (rows, repeats), NaN where a value is missing.

    Of an accuracy, a share 0 … 1, `data`, `split` and `epochs` say which; other columns, such as costs, have no `split`.
    """

    name: str
    unit: str = ""
    about: str = ""
    goal: Literal["min", "max"] = "min"
    data: str = ""
    split: Literal["", "train", "val", "test"] = ""
    epochs: int = 0

    @property
    def file(self) -> str:
        return self.name.replace("/", ".") + ".npy"


def accuracy(data: str, split: Literal["train", "val", "test"], epochs: int, about: str = "") -> Column:
    """The column of accuracies after so many epochs of training, `cifar10/val@108`."""
    return Column(f"{data}/{split}@{epochs}", "share", about, "max", data, split, epochs)


@dataclass(frozen=True)
class Kept:
    """A file of a table, as its manifest has it."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a manifest must say for its table to be read."""

    schema: int
    name: str
    version: str
    about: str
    space: SpaceNote
    rows: int
    partial: bool
    source: str
    licence: str
    columns: list[Column]
    files: dict[str, Kept]
    plan: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """A table before it is written. Rows are architectures of `space` under `settings`, in any order, each once."""

    name: str
    space: str
    archs: Shaped[np.ndarray, "a v"]
    columns: Sequence[tuple[Column, Shaped[np.ndarray, "_ ..."]]]
    version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""
    source: str = ""
    licence: str = ""
    partial: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else the manifest says, such as the command that made the table."""


@dataclass(frozen=True)
class Table:
    """A table on disk, read-only. Columns are mapped, not read, and checked against their sha256 when first used; many
    processes share one copy."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def space(self) -> str:
        return self.manifest["space"]["name"]

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.manifest["space"]["settings"])

    def __len__(self) -> int:
        return self.manifest["rows"]

    @cached_property
    def columns(self) -> dict[str, Column]:
        fields = Column.__dataclass_fields__
        return {c["name"]: Column(**{k: v for k, v in c.items() if k in fields}) for c in self.manifest["columns"]}

    @classmethod
    def open(cls, path: Path) -> "Table":
        """The table in a folder; BadInput where it is none, or is cut short or of another version."""
        from pydantic import TypeAdapter, ValidationError

        try:
            data = (path / MANIFEST).read_bytes()
            manifest = json.loads(data)
            if isinstance(manifest, dict) and (schema := manifest.get("schema")) != SCHEMA:
                raise damaged(path, f"its schema is {schema!r}, this version reads {SCHEMA}")
            said = TypeAdapter(Manifest).validate_json(data, strict=True)
            if said.name != path.name:
                raise damaged(path, f"{MANIFEST} is that of {said.name!r}, which the folder should be called then")
            if lacking := [file for file in (ARCHS, *(column.file for column in said.columns)) if file not in said.files]:
                raise damaged(path, f"{MANIFEST} has no {lacking[0]}")
            for name, kept in said.files.items():
                if (size := (path / name).stat().st_size) != kept.bytes:
                    raise damaged(path, f"{name} has {size} bytes, not {kept.bytes}")
                if kept.shape[:1] != (said.rows,):
                    raise damaged(path, f"{name} is of shape {kept.shape}, not of {plural(said.rows, 'row')}")
        except ValidationError as error:
            raise damaged(path, f"{MANIFEST}: {fault(error.errors()[0])}") from None
        except OSError as error:
            raise damaged(path, f"{error.filename}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise error if isinstance(error, BadInput) else damaged(path, f"{MANIFEST} is cut short ({error})") from None
        return cls(path, manifest)

    def array(self, file: str) -> np.ndarray:
        """A file of the table, mapped; its sha256 is checked once a process."""
        about = self.manifest["files"][file]
        if file not in self.checked:
            if digest(self.path / file) != about["sha256"]:
                raise damaged(self.path, f"{file} does not have the sha256 of the manifest")
            self.checked[file] = np.load(self.path / file, mmap_mode="r", allow_pickle=False)
        return self.checked[file]

    @cached_property
    def checked(self) -> dict[str, np.ndarray]:
        return {}

    def verify(self) -> list[str]:
        """Checks every file against its sha256; what is wrong, nothing where all is well."""
        return [name for name, about in self.manifest["files"].items() if digest(self.path / name) != about["sha256"]]

    def arch(self, row: int) -> Arch:
        return tuple(int(i) for i in self.archs[row])

    @cached_property
    def archs(self) -> np.ndarray:
        """Option indices (rows, variables), rows in lexicographic order."""
        return self.array(ARCHS)

    @cached_property
    def keys(self) -> np.ndarray:
        return keys(self.archs)

    def find(self, arch: Arch) -> int | None:
        """The row of an architecture as it is spelt, None where there is none."""
        key = bytes(arch) if self.archs.itemsize == 1 else np.array(arch, self.archs.dtype).tobytes()
        row = int(self.keys.searchsorted(key))
        return row if row < len(self) and self.keys[row] == key.rstrip(b"\0") else None

    def values(self, name: str) -> Shaped[np.ndarray, "a ..."]:
        """A column, mapped; BadInput where there is none of this name."""
        if name not in self.columns:
            raise BadInput(f"table {self.name} has no column {name!r}{suggest(name, self.columns, most=40)}")
        return self.array(self.columns[name].file)

    def repeats(self, name: str) -> Float[np.ndarray, "a r"]:
        """A column by repeats; one repeat where it has no others."""
        values = np.asarray(self.values(name), dtype=np.float64)
        return values.reshape(len(values), -1)

    def means(self, name: str) -> Float[np.ndarray, " a"]:
        """A column's mean over the repeats that there are, NaN where there is none."""
        values = self.repeats(name)
        there = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            return np.where(there, values, 0.0).sum(1) / there.sum(1)

    def metric(self, text: str = "") -> Column:
        """The column that a text means: its name, or what tells it apart: `cifar100`, `test`, `val@12`, `cifar10/test`.

        Left open, the data set is the table's first, the split validation before test, the epochs the most. BadInput names
        what there is.
        """
        if text in self.columns:
            return self.columns[text]
        fitting = [c for c in self.columns.values() if c.split and fits(c, text)]
        if not fitting and not text:
            raise BadInput(f"table {self.name} holds no accuracies: name the column that is meant{suggest('', self.columns)}")
        if not fitting:
            words = (word for c in self.columns.values() if c.split for word in (c.data, c.split))
            known = dict.fromkeys((*self.columns, *words))
            raise BadInput(f"table {self.name} has no metric {text!r}{suggest(text, known, most=40)}")
        first = fitting[0].data
        return min(fitting, key=lambda c: (c.data != first, SPLITS.index(c.split), -c.epochs))


def fits(column: Column, text: str) -> bool:
    """Whether each word of `DATA/SPLIT@EPOCHS`, of which any may be left out, is this accuracy's."""
    rest, _, epochs = text.partition("@")
    words = [word for word in rest.split("/") if word]
    return all(word in (column.data, column.split) for word in words) and epochs in ("", str(column.epochs))


def keys(archs: np.ndarray) -> np.ndarray:
    """One byte string a row, in the order of the rows."""
    return np.ascontiguousarray(archs).view(f"S{archs.shape[1] * archs.itemsize}")[:, 0]


def damaged(path: Path, what: str) -> BadInput:
    return BadInput(f"the table in {path} is damaged or not of ours: {what}; `nas bench rm {path.name}`, then get it again")


def tables_folder() -> Path:
    """Where the tables of this user live."""
    return data_folder() / "benchmarks"


def shipped() -> Path:
    """Where the tables live that come with the package."""
    return Path(str(files("nas_suite"))) / "benchmarks"


def there() -> dict[str, Path]:
    """The tables on this machine: name to folder, shipped ones first."""
    found = {}
    for root in (shipped(), tables_folder()):
        for manifest in sorted(root.glob(f"*/{MANIFEST}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def write(draft: Draft) -> Table:
    """Puts a table into the user's folder, whole or not at all; BadInput where its name is taken, another process is writing
    it, rows do not fit or the disk refuses."""
    with writing(draft.name) as folder:
        files: dict[str, np.ndarray] = {}
        most = int(draft.archs.max(initial=0))
        archs = draft.archs.astype(np.uint8 if most < 256 else ">u2")
        order = np.argsort(keys(archs), kind="stable")
        files[ARCHS] = archs[order]
        if len(archs) > 1 and (np.diff(files[ARCHS].astype(np.int32), axis=0) == 0).all(1).any():
            raise BadInput(f"table {draft.name}: an architecture has two rows")
        for column, values in draft.columns:
            if len(values) != len(archs):
                raise BadInput(f"table {draft.name}: column {column.name} has {plural(len(values), 'row')}, not {len(archs)}")
            files[column.file] = values[order]
        about = {}
        for name, values in files.items():
            save(folder / name, values)
            size = (folder / name).stat().st_size
            about[name] = {
                "shape": list(values.shape),
                "dtype": values.dtype.str,
                "bytes": size,
                "sha256": digest(folder / name),
            }
        columns = [asdict(column) for column, _ in draft.columns]
        manifest = {
            "schema": SCHEMA, "name": draft.name, "version": draft.version, "about": draft.about,
            "space": {"name": draft.space, "settings": dict(draft.settings)}, "rows": len(archs), "partial": draft.partial,
            "source": draft.source, "licence": draft.licence, **draft.more, "columns": columns, "files": about,
        }  # fmt: skip
        (folder / MANIFEST).write_bytes(as_json(manifest))
    return Table.open(tables_folder() / draft.name)


def save(path: Path, values: Shaped[np.ndarray, "_ ..."]) -> None:
    """Writes what np.save does, but by Python's own write: its error says what the disk refuses, that of numpy does not."""
    whole = np.ascontiguousarray(values)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def writing(name: str) -> Iterator[Path]:
    """Within: a folder for a new table that stands under its name after, or is gone where something failed."""
    from filelock import FileLock, Timeout

    root = tables_folder()
    target, part = root / name, root / f".part-{name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock", timeout=0):
            free(name)
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                yield part
                sync(part)
                shutil.rmtree(target, ignore_errors=True)  # what a kill left of a table that was being removed
                os.replace(part, target)
                sync(root)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except Timeout:
        raise BadInput(f"another process is writing the table {name}; wait for it to end") from None
    except OSError as error:
        raise refusal(target, error, "set NAS_DATA to another folder") from error


def free(name: str) -> None:
    """BadInput where a table of this name is there."""
    if (shipped() / name / MANIFEST).exists():
        raise BadInput(f"the table {name} comes with the package; choose another name")
    if (tables_folder() / name / MANIFEST).exists():
        raise BadInput(f"the table {name} is already there ({tables_folder() / name}); `nas bench rm {name}` removes it")


def remove(name: str) -> Path:
    """Deletes a table of the user's; its folder."""
    path = there().get(name)
    if path is None or path.parent == shipped():
        known = [n for n, p in there().items() if p.parent != shipped()]
        said = "comes with the package and stays" if path else f"is not on this machine{suggest(name, known)}"
        raise BadInput(f"the table {name} {said}")
    (path / MANIFEST).unlink()  # first: what a kill leaves of it is no table any more
    shutil.rmtree(path)
    return path
