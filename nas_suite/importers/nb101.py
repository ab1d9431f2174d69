"""NAS-Bench-101: the official TFRecord files, of 108 epochs alone or of all four budgets, into a table."""

import binascii
import json
import math
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nas_suite import cellrows
from nas_suite.cells import INPUT, OPERATIONS, OUTPUT, cell_graph
from nas_suite.errors import BadInput
from nas_suite.importers import Progress
from nas_suite.importers.tfrecord import I64, LEN, VARINT, fields, records
from nas_suite.tables import Column, Draft, accuracy
from nas_suite.words import plural

DATA = "cifar10"
CELLS, REPEATS = 423_624, 3
BUDGETS = ((108,), (4, 12, 36, 108))
"""Epochs of training, of each of the official files."""

EVALUATION, PARAMETERS = 1 << 3 | LEN, 2 << 3 | VARINT
"""Fields of the protobuf message `ModelMetrics`; of the three evaluations the first is of the untrained network."""

TIME_TO_TEST = tuple(number << 3 | I64 for number in range(2, 6))
"""Fields of the message `EvaluationData`: training time [s], then the accuracies of training, validation and test images."""

FOUR = struct.Struct("<4d")
KEPT = ("halfway/time", "halfway/train", "halfway/val", "halfway/test", "time", "train", "val", "test")
"""What a table keeps of a repeat, in the order in which a record tells of it."""


class Record(NamedTuple):
    """One training of one module. `matrix` and `ops` are as the file spells them, `values` those that are `KEPT`."""

    name: bytes
    epochs: int
    matrix: str
    ops: str
    parameters: int
    values: tuple[float, ...]


def read(file: Path, partial: bool, progress: Progress) -> Draft:
    """The table that an official file holds; BadInput where the file is damaged or of another kind, or a cell does not have the
    hash that is stored, or, unless `partial`, modules or repeats are missing."""
    modules = Modules()
    for number, (at, data) in enumerate(records(file, progress), start=1):
        try:
            modules.add(decoded(data), number)
        except BadInput as error:
            raise BadInput(f"{file} is not NAS-Bench-101's: record {number:,} at byte {at:,}: {error}") from None
    try:
        whole = modules.whole(partial)
        archs = modules.archs()
    except BadInput as error:
        raise BadInput(f"{file} {error}") from None
    params = Column("params", "parameters", "trainable parameters of the network")
    names = Column("module_hash", "md5", "the benchmark's name of the cell, an MD5")
    columns = [*modules.metrics(), (params, np.array(modules.parameters)), (names, modules.names())]
    return Draft(
        "nb101", "nasbench101", archs, columns,
        version="+".join(str(epochs) for epochs in sorted(modules.values)) + " epochs",
        about="CIFAR-10 accuracies of NAS-Bench-101's cells, each trained three times for each number of epochs",
        source="https://github.com/google-research/nasbench", licence="Apache-2.0", partial=not whole,
    )  # fmt: skip


def decoded(data: bytes) -> Record:
    """What a record says; BadInput where it says something else than a record of the benchmark."""
    try:
        said = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise BadInput("it is no JSON text") from None
    if not isinstance(said, list) or [type(part) for part in said] != [str, int, str, str, str]:
        raise BadInput("it is no list of a hash, epochs, a matrix, operations and metrics")
    name, epochs, matrix, ops, metrics = said
    if epochs not in BUDGETS[-1]:
        raise BadInput(f"it tells of {plural(epochs, 'epoch')}; there are: {', '.join(map(str, BUDGETS[-1]))}")
    try:
        key, message = bytes.fromhex(name), binascii.a2b_base64(metrics.replace("\n", ""), strict_mode=True)
    except ValueError:
        raise BadInput(f"its hash {name[:40]!r} is not hexadecimal, or its metrics are not base64") from None
    if len(key) != 16:
        raise BadInput(f"its hash {name[:40]!r} does not have 32 hexadecimal digits")
    parameters, evaluations = 0, []
    for tag, value in fields(message):
        if tag == EVALUATION:
            evaluations.append(evaluation(message, *value))
        elif tag == PARAMETERS:
            parameters = value
    if len(evaluations) != 3:
        raise BadInput(f"it has {plural(len(evaluations), 'evaluation')}, not 3")
    if not 0 < parameters < 1 << 31:
        raise BadInput(f"its network has {plural(parameters, 'parameter')}")
    return Record(key, epochs, matrix, ops, parameters, evaluations[1] + evaluations[2])


def evaluation(message: bytes, at: int, end: int) -> tuple[float, ...]:
    """Seconds of training and three accuracies, a part of a message; BadInput where one is missing or cannot be."""
    found = dict(fields(message, at, end))
    try:
        seconds, train, val, test = FOUR.unpack(b"".join([found[tag] for tag in TIME_TO_TEST]))
    except KeyError:
        raise BadInput("an evaluation has no training time, or lacks one of three accuracies") from None
    if not (0.0 <= train <= 1.0 and 0.0 <= val <= 1.0 and 0.0 <= test <= 1.0 and 0.0 <= seconds < math.inf):
        raise BadInput(f"accuracies are 0 to 1 and times finite, got {train}, {val}, {test} and {seconds} s")
    return seconds, train, val, test


@dataclass
class Texts:
    """Distinct texts, numbered as they come, and what each one means."""

    numbers: dict[str, int] = field(default_factory=dict)
    meanings: list[tuple[int, ...]] = field(default_factory=list)

    def number(self, text: str, meaning: Callable[[str], tuple[int, ...]]) -> int:
        found = self.numbers.get(text)
        if found is None:
            self.meanings.append(meaning(text))
            found = self.numbers[text] = len(self.numbers)
        return found


def matrix_of(text: str) -> tuple[int, ...]:
    """Number of vertices and the edges of a row."""
    n = math.isqrt(len(text))
    if n * n != len(text) or not 2 <= n <= cellrows.PLACES or not set(text) <= {"0", "1"}:
        raise BadInput(f"its matrix {text[:60]!r} is not square, of 2 to 7 rows of digits 0 and 1")
    ops = (INPUT, *[OPERATIONS[0]] * (n - 2), OUTPUT)
    return n, *cellrows.row(cell_graph((text[at : at + n] for at in range(0, n * n, n)), ops))[: len(cellrows.EDGES)]


def ops_of(text: str) -> tuple[int, ...]:
    """Number of vertices and the operations of a row."""
    names = text.split(",")
    if not 2 <= len(names) <= cellrows.PLACES:
        raise BadInput(f"its operations {text[:60]!r} are not 2 to 7 names between commas")
    return len(names), *cellrows.row(cell_graph([[0] * len(names)] * len(names), names))[len(cellrows.EDGES) :]


@dataclass
class Modules:
    """What the records told so far. A module has the same place in every list."""

    places: dict[bytes, int] = field(default_factory=dict)
    """By hash."""
    parameters: array = field(default_factory=lambda: array("i"))
    first: array = field(default_factory=lambda: array("i"))
    """The number of the record that told of it first."""
    spelt: array = field(default_factory=lambda: array("i"))
    """The numbers of its matrix and its operations, two a module."""
    others: list[tuple[int, int, int]] = field(default_factory=list)
    """Place, matrix and operations where a record spells a module in another way than the first one."""
    matrices: Texts = field(default_factory=Texts)
    operations: Texts = field(default_factory=Texts)
    repeats: dict[int, bytearray] = field(default_factory=dict)
    """By epochs, how many there are of each module."""
    values: dict[int, array] = field(default_factory=dict)
    """By epochs, modules × repeats × `KEPT`, NaN where there is none."""

    def add(self, record: Record, number: int) -> None:
        """Takes in the record of this number; BadInput where it contradicts others or spells no matrix and operations."""
        matrix, ops = self.matrices.number(record.matrix, matrix_of), self.operations.number(record.ops, ops_of)
        if self.matrices.meanings[matrix][0] != self.operations.meanings[ops][0]:
            raise BadInput(f"its matrix {record.matrix} does not have as many vertices as {record.ops}")
        place = self.places.get(record.name)
        if place is None:
            place = self.places[record.name] = len(self.places)
            self.parameters.append(record.parameters)
            self.first.append(number)
            self.spelt.extend((matrix, ops))
        elif self.parameters[place] != record.parameters:
            said = f"of which record {self.first[place]:,} tells {self.parameters[place]:,} parameters"
            raise BadInput(f"it tells {record.parameters:,} parameters of module {record.name.hex()}, {said}")
        elif self.spelt[2 * place] != matrix or self.spelt[2 * place + 1] != ops:
            self.others.append((place, matrix, ops))
        self.put(place, record.epochs, record.values)

    def put(self, place: int, epochs: int, told: tuple[float, ...]) -> None:
        repeats, values = self.repeats.setdefault(epochs, bytearray()), self.values.setdefault(epochs, array("f"))
        self.reach(epochs, place + 1)
        repeat = repeats[place]
        if repeat == REPEATS:
            raise BadInput(f"its module has {REPEATS} repeats of {epochs} epochs before")
        repeats[place] = repeat + 1
        at = (place * REPEATS + repeat) * len(KEPT)
        values[at : at + len(KEPT)] = array("f", told)

    def reach(self, epochs: int, modules: int) -> None:
        """Gives the values of so many modules room."""
        lacking = modules - len(self.repeats[epochs])
        if lacking > 0:
            self.repeats[epochs].extend(bytes(lacking))
            self.values[epochs].extend(array("f", [math.nan]) * (lacking * REPEATS * len(KEPT)))

    def whole(self, partial: bool) -> bool:
        """Whether every module of the benchmark has all its repeats; BadInput where it has not and `partial` is not said, or
        where there is none at all."""
        told, budgets = sum(map(sum, self.repeats.values())), tuple(sorted(self.repeats))
        whole = len(self.places) == CELLS and budgets in BUDGETS and told == CELLS * REPEATS * len(budgets)
        if not told or not (whole or partial):
            found = f"is not all of NAS-Bench-101: modules {len(self.places):,}, records {told:,}"
            found += f", epochs {', '.join(map(str, budgets)) or 'none'}"
            known = f"there are {CELLS:,} modules, each trained three times for 108 epochs, or for 4, 12, 36 and 108 each"
            raise BadInput(f"{found}; {known}" + ("; --partial imports what there is" if told else ""))
        return whole

    def archs(self) -> UInt8[np.ndarray, "a 26"]:
        """The canonical architecture of every module; BadInput where a module's cell is none, or has another hash."""
        spelt, counts = cellrows.canonical(self.rows(np.array(self.spelt).reshape(-1, 2)))
        if not counts.all():
            at = int(np.argmin(counts))
            raise BadInput(f"{self.told(at)}, whose input does not reach its output or which has more than nine edges")
        hashes = cellrows.hashes(spelt, counts)
        wrong = np.flatnonzero((hashes != self.names()).any(1))
        if len(wrong):
            raise BadInput(f"{self.told(int(wrong[0]))}, but the hash of its cell is {hashes[wrong[0]].tobytes().hex()}")
        others = np.array(self.others, np.int64).reshape(-1, 3)
        differing = np.flatnonzero((cellrows.canonical(self.rows(others[:, 1:]))[0] != spelt[others[:, 0]]).any(1))
        if len(differing):
            raise BadInput(f"{self.told(int(others[differing[0], 0]))}, but a later record gives it another cell")
        return spelt

    def rows(self, spelt: np.ndarray) -> UInt8[np.ndarray, "_ 26"]:
        """Rows from numbers of matrices and operations."""
        parts = zip((self.matrices, self.operations), spelt.T, strict=True)
        return np.concatenate([np.array(texts.meanings, np.uint8)[which, 1:] for texts, which in parts], 1)

    def told(self, place: int) -> str:
        name = self.names()[place].tobytes().hex()
        return f"is not NAS-Bench-101's: its record {self.first[place]:,} is of a module {name}"

    def names(self) -> UInt8[np.ndarray, "a 16"]:
        return np.frombuffer(b"".join(self.places), np.uint8).reshape(-1, 16)

    def metrics(self) -> Iterator[tuple[Column, Float[np.ndarray, "a 3"]]]:
        """The columns of all repeats, of the most epochs first."""
        for epochs in sorted(self.values, reverse=True):
            self.reach(epochs, len(self.places))
            values = np.frombuffer(self.values[epochs], np.float32).reshape(-1, REPEATS, len(KEPT))
            for split in ("val", "test", "train"):
                yield accuracy(DATA, split, epochs), values[:, :, KEPT.index(split)]
            yield Column(f"time@{epochs}", "s", "time of training"), values[:, :, KEPT.index("time")]
            yield Column(f"halfway/time@{epochs}", "s", "time of the first half of training"), values[:, :, 0]
            for split in ("val", "test", "train"):
                about = f"{split} accuracy after half of {epochs} epochs"
                column = Column(f"halfway/{split}@{epochs}", "share", about, "max")
                yield column, values[:, :, KEPT.index(f"halfway/{split}")]
