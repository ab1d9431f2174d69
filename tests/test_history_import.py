"""What comes into a history and leaves it: CSV, benchmarks, MetaD2A's records; fractions against percent, unknown networks."""

import json
import lzma
import pickle
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import nas

from nas_suite.edgecells import numbered, written
from nas_suite.errors import Missing
from nas_suite.history import Evaluation, History, Task
from nas_suite.importers import metad2a
from nas_suite.pipeline import histories
from nas_suite.pipeline.meta import Asked, gathered

HEAD = "data,space,arch,value"


def rows() -> list[Evaluation]:
    return History.open().evaluations()


def file(folder: Path, *lines: str, name: str = "h.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_least_that_a_file_must_say(tmp_path: Path) -> None:
    said = nas("history", "import", "csv", str(file(tmp_path, HEAD, "digits,mixpath-s4,331P,0.9")), "--json")
    assert said.data == {"added": 1, "known": 0}
    (row,) = rows()
    assert (row.data, row.space, row.value, row.split, row.metric, row.unit) == (
        "digits",
        "mixpath-s4",
        0.9,
        "val",
        "accuracy",
        "share",
    )
    assert row.settings["m"] == 4  # every setting is spelt out, so that one that is the default is no other space
    assert "classes" not in row.settings


def test_an_export_is_read_back_as_it_was(tmp_path: Path) -> None:
    history = History.open(make=True)
    space, arch = "mixpath-s4", "331P"
    task = Task.of("folder", "0123456789abcdef", ("a, b", 'c "d"', "é\n"), 32, 3)
    given = [
        Evaluation(space, arch, task.key, 1 / 3, recipe={"lr": 0.1}, fidelity={"epochs": 5}, seed=7, seconds=0.1, device="cpu"),
        Evaluation(space, arch, "digits", None, status="failed", error='Diverged: "inf", at\nstep 3', tags={"split": "x"}),
        Evaluation(space, arch, "digits", 2.5, "train", "loss", "min", "nats", source="by hand"),
    ]
    history.add(histories.spelt(given), [task])
    assert nas("history", "export", str(tmp_path / "e.csv"), "--json").data["rows"] == 3
    assert "is already there; remove it, or name another file" in nas("history", "export", str(tmp_path / "e.csv")).error
    assert "is already there" in nas("history", "export", history.where).error  # the history itself
    assert len(history.evaluations()) == 3
    other = str(tmp_path / "other.sqlite")
    assert nas("history", "import", "csv", str(tmp_path / "e.csv"), "--history", other, "--json").data["added"] == 3
    again = History.open(other)
    assert again.evaluations() == history.evaluations()
    assert again.datasets() == history.datasets()
    assert nas("history", "import", "csv", str(tmp_path / "e.csv"), "--json").data == {"added": 0, "known": 3}


@pytest.mark.slow
def test_networks_are_kept_in_their_canonical_text_and_as_they_were_spelt(tmp_path: Path) -> None:
    path = file(
        tmp_path, HEAD + ",seed", "d,nasbench201,003131,0.5,0", "d,nasbench201,001331,0.5,0", "d,nasbench201,1333,0.5,0"
    )
    assert nas("history", "import", "csv", str(path)).code == 2
    path = file(tmp_path, HEAD, "d,nasbench201,430000,0.5", f"d,nasbench201,{written((0,) * 6)},0.5")
    assert nas("history", "import", "csv", str(path), "--json").data["added"] == 2
    assert len({row.arch for row in rows()}) == 1  # none of them reaches the output
    assert [row.spelt for row in rows()] == [written((4, 3, 0, 0, 0, 0)), written((0,) * 6)]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["data,space,arch", "d,mixpath-s4,331P"], "has no column value"),
        ([HEAD + ",vlaue", "d,mixpath-s4,331P,0.5,1"], "column 'vlaue' that means nothing here; did you mean 'value'"),
        ([HEAD, "d,mixpath-s4,331P,0.5", "d,mixpath-s4,331P,nan"], "line 3: its value is nan"),
        ([HEAD, "d,mixpath-s4,331P,-inf"], "line 2: its value is -inf"),
        ([HEAD, "d,mixpath-s4,331P,good"], "line 2: value is 'good', no number"),
        ([HEAD, "d,mixpath-s4,331P"], "line 2: it does not have as many cells"),
        ([HEAD], "has a header and no evaluation"),
        ([HEAD, "d,mixpath-s4,331P,"], "line 2: its value is empty"),
        ([HEAD, "d,mixpath-s4,331P,1.0000001"], "line 2: its accuracy is 1.0000001, and a share"),
        ([HEAD + ",goal", "d,mixpath-s4,331P,0.5,min"], "line 2: it is an accuracy, a share of which more is better"),
        ([HEAD + ",unit", "d,mixpath-s4,331P,0.5,nats"], "line 2: it is an accuracy, a share of which more is better"),
        ([HEAD + ",time", "d,mixpath-s4,331P,0.5,yesterday"], "line 2: its time is 'yesterday'; write it as 2026-"),
        ([HEAD, "d,mixpath-s4,331P,93.5"], "line 2: its accuracy is 93.5, and a share lies between 0 and 1; are"),
        ([HEAD + ",unit", "d,mixpath-s4,331P,0.935,percent"], "no value is above 1 percent (the largest 0.935); shares?"),
        ([HEAD + ",unit", "d,mixpath-s4,331P,193.5,percent"], "line 2: its accuracy is 1.935"),
        ([HEAD, "d,mixpath-s5,331P,0.5"], "h.csv: unknown space 'mixpath-s5'; did you mean 'mixpath-s4'?"),
        ([HEAD, "d,mixpath-s4,331P,0.5", "d,mixpath-s4,33Q1,0.5"], "evaluation 2 of "),
        ([HEAD + ",settings", 'd,mixpath-s4,331P,0.5,"{""mm"": 3}"'], "has no setting 'mm'; did you mean 'm'?"),
        ([HEAD + ",settings", "d,mixpath-s4,331P,0.5,[1]"], "line 2: settings is '[1]', no object of JSON"),
        ([HEAD + ",status", "d,mixpath-s4,331P,,lost"], "its status is 'lost'; there are: ok, failed"),
        ([HEAD + ",data_classes", 'd,mixpath-s4,331P,0.5,"[""one""]"'], "it has one class alone"),
        ([HEAD + ",data_image_size", "d,mixpath-s4,331P,0.5,8", "d,mixpath-s4,331P,0.6,9"], "line 3: the data set"),
    ],
)  # fmt: skip
def test_what_a_file_says_wrongly_is_told_with_its_line_and_nothing_is_written(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    said = nas("history", "import", "csv", str(file(tmp_path, *lines)))
    assert said.code == 2
    assert words in said.error
    assert not (tmp_path / "history.sqlite").exists() or rows() == []


def test_percents_become_shares_where_they_are_stated(tmp_path: Path) -> None:
    mixed = file(
        tmp_path, HEAD + ",unit", "d,mixpath-s4,331P,93.5,percent", "d,mixpath-s4,3311,0.5,share", "d,mixpath-s4,3111,0.25,"
    )
    assert nas("history", "import", "csv", str(mixed), "--json").data["added"] == 3
    whole = file(tmp_path, HEAD, "e,mixpath-s4,331P,93.5", "e,mixpath-s4,3311,0.5")
    assert nas("history", "import", "csv", str(whole), "--unit", "percent", "--json").data["added"] == 2
    assert [(row.value, row.unit) for row in rows()] == [(v, "share") for v in (0.935, 0.5, 0.25, 0.935, 0.005)]


def test_a_benchmark_of_this_machine() -> None:
    assert nas("history", "import", "table", "s4-digits", "--json").data["added"] == 34 * 5
    found = History.open().select(space="mixpath-s4", data="digits")
    assert {row.seed for row in found} == set(range(5))
    assert found[0].fidelity == {"epochs": 25}
    from nas_suite.pipeline import bench

    table = bench("s4-digits")
    means = dict(zip(map(tuple, table.archs.tolist()), table.means("digits/val@25"), strict=True))
    from nas_suite.history import repeated
    from nas_suite.pipeline.field import space_of_table

    by_text = {space_of_table(table).describe(arch): mean for arch, mean in means.items()}
    learned = repeated(found)
    assert len(learned) == 34
    assert learned.means.tolist() == pytest.approx([by_text[arch] for arch in learned.archs])
    assert learned.noise is not None
    assert learned.noise > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("s4-digits", "--metric", "digits/test@25"), "must not guide a search; if that is what you mean, say --split test"),
        (("s4-digits", "--metric", "digits/val@25", "--split", "test"), "is of split val, not test"),
        (("s4-digits", "--metric", "params"), "params is no result of a training"),
        (("s4-digits", "--dataset", "cifar10"), "s4-digits has no data set 'cifar10'; there are: digits"),
        (("s4-digits", "--split", "tst"), "s4-digits has no split 'tst'; did you mean 'test'?"),
        (("s4-digit",), "unknown benchmark 's4-digit'; did you mean 's4-digits'?"),
        (("s4-digits", "--unit", "percent"), "--unit has no effect on table"),
    ],
)
def test_of_a_benchmark_no_test_values_and_no_costs_unless_asked(words: tuple[str, ...], message: str) -> None:
    assert message in nas("history", "import", "table", *words).error


def test_test_values_come_where_they_are_asked_for_and_are_not_given_to_learn_from() -> None:
    assert nas("history", "import", "table", "s4-digits", "--split", "test", "--json").data["added"] == 34 * 5
    said = nas("history", "import", "table", "s4-digits", "--json")
    assert said.data["added"] == 34 * 5
    assert {row.split for row in History.open().select()} == {"val"}


@pytest.mark.slow
def test_the_public_records(shared_data: Path) -> None:
    """Specs: 4,630 tuples, 400 of them validation, mean 71.57, sd 6.69, 3,031 tasks, 1,553 spellings of cells."""
    said = nas("history", "import", "metad2a", str(shared_data / "transfer"), "--json")
    assert said.data == {"added": 4630, "known": 0}
    history = History.open()
    found, tasks = history.select(), {task.key: task for task in history.datasets()}
    train = [100 * (row.value or 0) for row in found if row.tags["split"] == "train"]
    assert (len(train), sum(row.tags["split"] == "validation" for row in found)) == (4230, 400)
    assert (round(np.mean(train), 2), round(np.std(train), 2)) == (71.57, 6.69)
    assert len(tasks) == len({row.data for row in found}) == 3031
    assert len({row.spelt for row in found}) == 1553
    classes = np.load(shared_data / "transfer" / "metad2a_task_classes.npz")["classes"]
    assert tasks["metad2a-3890"].classes == tuple(map(str, classes[3890]))
    assert all(len(set(task.classes)) == 20 for task in tasks.values())
    best = sorted((row for row in found if row.tags["split"] == "train"), key=lambda row: -(row.value or 0))[:5]
    numbers = {written(arch): at for at, arch in enumerate(numbered())}
    assert [numbers[row.spelt] for row in best] == [12058, 8877, 9997, 9968, 3192]  # TNAS's own initial design
    again = nas("history", "import", "metad2a", str(shared_data / "transfer" / metad2a.RECORDS), "--json")
    assert again.data == {"added": 0, "known": 4630}


RECORDS = [(3, 0, 70.0, "validation"), (1, 9, 60.5, "train"), (3, 0, 71.0, "train"), (2, 15624, 86.0, "train")]
LISTS = np.arange(5 * 20).reshape(5, 20) + 1


def as_text(folder: Path) -> Path:
    lines = ["task,arch_index,acc,split", *(",".join(map(str, record)) for record in RECORDS)]
    path = folder / metad2a.RECORDS
    path.write_bytes(lzma.compress("\n".join(lines).encode()))
    np.savez(folder / metad2a.CLASSES, classes=LISTS)
    return path


class Igraph:
    """Pickles as igraph's graphs do: the class, what makes one anew, and its empty dict."""

    def __reduce__(self) -> Any:
        return (sys.modules["igraph"].Graph, (8, [(0, 1)], True, {}, {"type": [0, 1]}, {}), {})


def as_torch(folder: Path, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> Path:
    """The three files of torch in their published structure; they list records in another order than their indices say."""
    made = types.ModuleType("igraph")
    made.Graph = type("Graph", (), {"__module__": "igraph", "__init__": lambda self, *_: None})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "igraph", made)
    order = [2, 0, 3, 1]
    shelf: list[Any] = [None] * 4
    for place, record in zip(order, RECORDS, strict=True):
        shelf[place] = record
    content = {
        "acc": [acc for _, _, acc, _ in shelf], "task": [task for task, *_ in shelf], "g": [Igraph() for _ in shelf],
        "str": [written(numbered()[index]) for _, index, _, _ in shelf], "x": [torch.zeros(8, 7)] * 4, **changed,
    }  # fmt: skip
    torch.save(content, folder / metad2a.PREDICTOR)
    torch.save(torch.tensor(order), folder / metad2a.ORDER)
    torch.save(LISTS.tolist(), folder / metad2a.TASKS)
    monkeypatch.delitem(sys.modules, "igraph")
    return folder / metad2a.PREDICTOR


def test_the_files_of_torch_say_the_same_as_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metad2a, "VALIDATION", 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    text = metad2a.read(as_text(tmp_path / "a"), partial=True)
    official = as_torch(tmp_path / "b", monkeypatch)
    assert metad2a.read(official, partial=True) == metad2a.read(official.parent, partial=True) == text
    evaluations, tasks = text
    assert [(row.data, row.value, row.seed) for row in evaluations] == [
        ("metad2a-3", 0.7, 0), ("metad2a-1", 0.605, 0), ("metad2a-3", 0.71, 1), ("metad2a-2", 0.86, 0),
    ]  # fmt: skip
    assert [task.key for task in tasks] == ["metad2a-3", "metad2a-1", "metad2a-2"]
    assert tasks[0].classes == tuple(str(label) for label in range(61, 81))


def test_records_that_are_not_as_published_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(as_text(tmp_path))
    said = nas("history", "import", "metad2a", path)
    assert "is not as published: 4 records, 1 of them validation" in said.error
    assert nas("history", "import", "metad2a", path, "--partial", "--json").data["added"] == 4
    (tmp_path / metad2a.CLASSES).unlink()
    assert f"there is no {metad2a.CLASSES}" in nas("history", "import", "metad2a", path).error
    Path(path).write_bytes(b"garbage")
    assert "cannot be read" in nas("history", "import", "metad2a", path).error
    assert "there is no" in nas("history", "import", "metad2a", str(tmp_path / "none")).error
    np.savez(tmp_path / metad2a.CLASSES, classes=LISTS)
    Path(path).write_bytes(lzma.compress(b"task,arch_index,acc,split\n1,15625,70.0,train\n"))
    assert (
        "line 2, is no record of MetaD2A's: ValueError there is no cell 15625"
        in nas("history", "import", "metad2a", path).error
    )
    Path(path).write_bytes(lzma.compress(b"task,arch_index,acc,split\n7,1,70.0,train\n"))
    assert "records of task 7, of which no classes are known" in nas("history", "import", "metad2a", path, "--partial").error


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("owned"),))


def test_a_file_of_torch_that_asks_for_more_is_refused_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = as_torch(tmp_path, monkeypatch, g=[Evil()])
    assert "nothing of it was run" in nas("history", "import", "metad2a", str(path), "--partial").error
    assert not Path("owned").exists()


def test_one_evaluation_by_hand() -> None:
    words = ("history", "add", "--space", "mixpath-s4", "--arch", "331P", "--data", "digits")
    assert nas(*words, "--value", "95.5", "--unit", "percent", "--recipe", "mine", "--epochs", "25", "--set", "space.stacks=2",
               "--seconds", "3", "--json").data == {"added": 1, "known": 0}  # fmt: skip
    (row,) = rows()
    assert (row.value, row.recipe, row.fidelity, row.settings["stacks"], row.seconds, row.source) == (
        0.955, {"name": "mine"}, {"epochs": 25}, 2, 3.0, "by hand",
    )  # fmt: skip
    assert "are these percents?" in nas(*words, "--value", "95.5").error
    assert "shares? then their unit is share" in nas(*words, "--value", "0.955", "--unit", "percent").error
    assert "its value is nan" in nas(*words, "--value", "nan").error
    assert "its split is 'holdout'" in nas(*words, "--value", "0.5", "--split", "holdout").error


def test_listed_and_counted() -> None:
    for words in (("list",), ("stats",), ("dedupe",)):
        said = nas("history", *words)
        assert said.code == 3
        assert "there is no history in" in said.error
    History.open(make=True)
    assert nas("history", "list", "--json").data["rows"] == 0
    assert "is empty" in nas("history", "list").err
    nas("history", "import", "table", "s4-digits")
    said = nas("history", "list", "--limit", "2")
    assert said.out.count("\n") == 3
    assert "the newest 2 of 170 evaluations; --limit 170 shows all" in said.err
    listed = nas("history", "list", "--data", "digits", "--limit", "1", "--json").data
    assert (listed["rows"], len(listed["evaluations"]), listed["evaluations"][0]["space"]) == (170, 1, "mixpath-s4")
    json.dumps(listed)
    found = nas("history", "stats", "--json").data
    assert (found["evaluations"], found["networks"], found["datasets"], found["failed"]) == (170, 34, 1, 0)
    assert [kind["rows"] for kind in found["kinds"]] == [170]
    assert "mixpath-s4" in nas("history", "stats").out
    nas("history", "add", "--space", "mixpath-s4", "--arch", "331P", "--data", "digits", "--value", "0.5")
    nas("history", "add", "--space", "mixpath-s4", "--arch", "331P", "--data", "digits", "--value", "0.6")
    assert "would remove 1 evaluation of trainings that had another" in nas("history", "dedupe", "--dry-run").out
    assert nas("history", "dedupe", "--json").data["removed"] == 1


def as_features(folder: Path, **changed: Any) -> Path:
    """MetaD2A's file of features in its published structure: a class its number and noise, in seventy images."""
    generator = torch.Generator().manual_seed(0)
    found = {label: [label + torch.rand((70, 512), generator=generator)] for label in range(100)}
    path = folder / metad2a.FEATURES
    torch.save({**found, **{int(label): rows for label, rows in changed.items()}}, path)
    return path


def test_the_images_of_the_records_are_known_where_their_features_are_at_hand(tmp_path: Path) -> None:
    """Tasks are parts of the whole: they share its classes, as arrays, whether features come with the records or later."""
    path = as_text(tmp_path)
    assert nas("history", "import", "metad2a", path, "--partial").code == 0
    assert gathered(Asked()).extractor == "codes-1"
    as_features(tmp_path)
    said = nas("history", "import", "metad2a", path, "--partial")  # beside the records
    assert said.out == "added 0 evaluations, 4 were there already, and the features of images of their classes\n"
    assert nas("history", "import", "metad2a", tmp_path / metad2a.FEATURES).out == "added 0 evaluations\n"
    again = nas("history", "import", "metad2a", tmp_path, "--partial", "--json").data
    assert again == {"added": 0, "known": 4}
    bank = History.open().bank("metad2a", "resnet18-imagenet1k_v1")
    assert bank is not None
    assert [(len(rows), rows.shape[1]) for rows in bank] == [(64, 512)] * 100
    found = gathered(Asked())
    assert (found.extractor, found.sets) == ("resnet18-imagenet1k_v1", 3)
    shelf = found.shelf
    assert shelf is not None
    assert not shelf.names
    assert [[int(shelf.classes[at].min()) + 1 for at in members] for members in shelf.sets] == [
        [int(name) for name in task.classes] for task in History.open().datasets() if task.key in found.experience.names
    ]
    assert len(shelf.classes) == 60, "each class once"
    assert gathered(Asked(features="codes")).extractor == "codes-1"
    history = History.open()
    few = [np.full((1, 512), at, np.float16) for at in range(20)]
    history.put_bank("metad2a-3", "resnet18-imagenet1k_v1", few)  # what a data set has itself goes before
    own = gathered(Asked()).shelf
    assert own is not None
    assert [own.classes[at][0, 0] for at in own.sets[found.experience.names.index("metad2a-3")]] == list(range(20))


def test_features_that_are_not_as_published_are_refused_and_nothing_of_them_is_run(tmp_path: Path) -> None:
    as_text(tmp_path)
    for changed, line in (
        ({"3": torch.zeros(5, 511)}, r"label 3: features are a tensor \(images, 512\), not of shape \(5, 511\)"),
        ({"3": [torch.zeros(0, 512)]}, r"label 3: features are a tensor"),
        ({"3": "much"}, r"label 3: features are a tensor"),
        ({"3": torch.full((5, 512), float("nan"))}, "label 3: there are features that are not finite"),
    ):
        as_features(tmp_path, **changed)
        said = nas("history", "import", "metad2a", tmp_path, "--partial")
        assert (said.code, bool(re.search(line, said.error))) == (2, True), said.error
    torch.save([torch.zeros(5, 512)], tmp_path / metad2a.FEATURES)
    assert "is no dict from labels" in nas("history", "import", "metad2a", tmp_path, "--partial").error
    torch.save({0: [Path("/")], 1: [torch.zeros(5, 512)]}, tmp_path / metad2a.FEATURES)
    assert "nothing of it was run" in nas("history", "import", "metad2a", tmp_path, "--partial").error
    for damaged in (b"garbage", pickle.dumps({0: print})):
        (tmp_path / metad2a.FEATURES).write_bytes(damaged)
        said = nas("history", "import", "metad2a", tmp_path, "--partial")
        assert "weights_only" not in said.err
        assert "Warning" not in said.err
        assert said.error
    (tmp_path / metad2a.FEATURES).write_bytes(as_features(tmp_path).read_bytes()[:90_000])
    assert "is cut short" in nas("history", "import", "metad2a", tmp_path, "--partial").error
    with pytest.raises(Missing):
        History.open()
