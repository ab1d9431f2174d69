"""MetaD2A's meta-training records into evaluations: cells of NAS-Bench-201, each trained on 20 classes of ImageNet-32."""

import csv
import io
import lzma
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16

from nas_suite.edgecells import numbered, parsed, written
from nas_suite.errors import BadInput
from nas_suite.foreign import npz, torch_unpickled
from nas_suite.history.rows import Evaluation, Task

PREDICTOR, ORDER, TASKS = "meta_train_tasks_predictor.pt", "meta_train_tasks_predictor_idx.pt", "meta_train_task_lst.pt"
RECORDS, CLASSES = "metad2a_meta_train_records.csv.xz", "metad2a_task_classes.npz"
FEATURES = "imgnet32bylabel.pt"
WHOLE = "metad2a"  # the data set of all classes, of which tasks are parts
IMAGES, WIDTH = 64, 512  # of a class that are kept, of MetaD2A's several hundreds; features of each
TUPLES, VALIDATION, MEAN, SD = 4630, 400, 71.57, 6.69  # of the published split; mean and deviation of the rest, in percent
WANTED = f"{PREDICTOR} with {ORDER} and {TASKS} beside it, or {RECORDS} with {CLASSES}"
HOME = "https://github.com/HayeonLee/MetaD2A"
RECIPE = {"published": "metad2a"}


class Graph:
    """In the place of igraph's graphs, which the file holds beside each cell's text."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


@dataclass(frozen=True)
class Record:
    """One training: which task, which cell, validation accuracy in percent, and on which side of the published split."""

    task: int
    cell: tuple[int, ...]
    percent: float
    split: str


def read(file: Path, partial: bool = False) -> tuple[list[Evaluation], list[Task]]:
    """The records of one of the published files, or of the folder that has them, with their data sets. BadInput where they are
    not as published, unless `partial` takes what there is."""
    folder = file if file.is_dir() else file.parent
    if not file.exists():
        raise BadInput(f"there is no {file}; MetaD2A's records come as {WANTED}, from {HOME}")
    if file.name == FEATURES:
        return [], []
    if file.name in (PREDICTOR, ORDER, TASKS) or (file.is_dir() and (file / PREDICTOR).exists()):
        records, classes = of_torch(folder)
    else:
        records = of_text(beside(folder, RECORDS) if file.is_dir() else file)
        classes = npz(beside(folder, CLASSES)).get("classes", np.zeros((0, 0), np.int64)).tolist()
    check(str(file), records, classes, partial)
    times: Counter[tuple[int, tuple[int, ...]]] = Counter()
    evaluations = []
    for record in records:
        seed = times[record.task, record.cell]
        times[record.task, record.cell] += 1
        evaluations.append(
            Evaluation(
                "nasbench201", written(record.cell), key(record.task), record.percent / 100, recipe=RECIPE, seed=seed,
                source="metad2a", tags={"split": record.split},
            )
        )  # fmt: skip
    tasks = dict.fromkeys(record.task for record in records)
    return evaluations, [Task(key(task), classes=tuple(map(str, classes[task])), image_size=32, channels=3) for task in tasks]


def key(task: int) -> str:
    return f"{WHOLE}-{task}"


def features(file: Path) -> tuple[Task, list[Float16[np.ndarray, "_ 512"]]] | None:
    """Of MetaD2A's file of features, in the folder of any of its files: all classes as one data set, and of each the features
    of up to 64 images, drawn by its label alone; None where there is no such file. It is a dict from label − 1 to a tensor
    (images, 512), or a list of one, by an ImageNet-trained ResNet-18 on images of 32 px. BadInput where it is not so."""
    path = (file if file.is_dir() else file.parent) / FEATURES
    if not path.exists():
        return None
    found = torch_unpickled(path, mapped=True)
    if not isinstance(found, dict) or len(found) < 2 or not all(isinstance(label, int) and label >= 0 for label in found):
        raise BadInput(f"{path} is no dict from labels, 0 and up, to features; MetaD2A's is, from {HOME}")
    kept = [some_of(path, label, found[label]) for label in sorted(found)]
    return Task(WHOLE, classes=tuple(str(label + 1) for label in sorted(found)), image_size=32, channels=3), kept


def some_of(file: Path, label: int, given: Any) -> Float16[np.ndarray, "_ 512"]:
    """Features of some images of a class, always the same ones."""
    rows = given[0] if isinstance(given, (list, tuple)) and len(given) == 1 else given
    shape = tuple(getattr(rows, "shape", ()))
    if len(shape) != 2 or shape[1] != WIDTH or not shape[0]:
        raise BadInput(f"{file}, label {label}: features are a tensor (images, {WIDTH}), not of shape {shape}")
    raw = np.random.PCG64(np.random.SeedSequence((label, 23))).random_raw(shape[0])
    chosen = np.sort(np.argsort(raw, kind="stable")[:IMAGES])
    values = rows[chosen].detach().float().numpy().astype(np.float16)
    if not np.isfinite(values).all():
        raise BadInput(f"{file}, label {label}: there are features that are not finite")
    return values


def beside(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise BadInput(f"there is no {name} in {folder}; MetaD2A's records come as {WANTED}, from {HOME}")
    return folder / name


def of_text(file: Path) -> list[Record]:
    """Records of a CSV file: task, arch_index, acc and split a row."""
    try:
        data = file.read_bytes()
        text = (lzma.decompress(data) if file.suffix == ".xz" else data).decode()
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read ({error}); MetaD2A's records come as {WANTED}") from None
    reader, records, cells = csv.DictReader(io.StringIO(text)), [], numbered()
    for row in reader:
        try:
            index = int(row["arch_index"])
            if not 0 <= index < len(cells):
                raise ValueError(f"there is no cell {index}")
            records.append(Record(int(row["task"]), cells[index], float(row["acc"]), row["split"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"{file}, line {reader.line_num}, is no record of MetaD2A's: {type(error).__name__} {error}"
            ) from None
    return records


def of_torch(folder: Path) -> tuple[list[Record], list[list[int]]]:
    """Records and classes of the three files of torch that MetaD2A publishes; the first 400 of its order validate."""
    names = {("igraph", "Graph"): Graph}
    found, order, tasks = (torch_unpickled(beside(folder, name), names) for name in (PREDICTOR, ORDER, TASKS))
    try:
        places = [int(at) for at in order]
        validation = set(places[:VALIDATION])
        columns = (found["task"], found["str"], found["acc"])
        if {len(column) for column in columns} != {len(places)} or sorted(places) != list(range(len(places))):
            raise ValueError("its lists are of several lengths")
        records = [
            Record(int(task), parsed(text), float(acc), "validation" if at in validation else "train")
            for at, (task, text, acc) in enumerate(zip(*columns, strict=True))
        ]
        return [records[at] for at in places], [[int(label) for label in labels] for labels in tasks]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(f"the files in {folder} are not as MetaD2A publishes them: {type(error).__name__} {error}") from None


def check(file: str, records: Sequence[Record], classes: Sequence[Any], partial: bool) -> None:
    """BadInput unless the records are those that were published."""
    if not records:
        raise BadInput(f"{file} holds no record")
    outside = [record.task for record in records if not 0 <= record.task < len(classes)]
    if outside:
        raise BadInput(f"{file} has records of task {outside[0]}, of which no classes are known ({len(classes):,} tasks are)")
    train = [record.percent for record in records if record.split == "train"]
    validation = sum(record.split == "validation" for record in records)
    mean, sd = (float(np.mean(train)), float(np.std(train))) if train else (np.nan, np.nan)
    found = (len(records), validation, round(mean, 2), round(sd, 2))
    if not partial and found != (TUPLES, VALIDATION, MEAN, SD):
        raise BadInput(
            f"{file} is not as published: {found[0]:,} records, {found[1]} of them validation, the others of mean {mean:.2f} "
            f"and deviation {sd:.2f} percent, not {TUPLES:,}, {VALIDATION}, {MEAN} and {SD}; --partial takes what there is"
        )
