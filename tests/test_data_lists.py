"""Pictures that lists name: official lists, splits, and what is wrong with a list, in one line."""

import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import nas
from pictures import refused, rows
from PIL import Image

from nas_suite.data import Lists
from nas_suite.data.images import cut
from nas_suite.data.lists import read_list
from nas_suite.errors import BadInput, Missing
from nas_suite.pipeline.setting import deployed, prepare
from nas_suite.plan import Plan, compose
from nas_suite.registry import values_of

Make = Callable[..., Lists]


def write(file: Path, lines: list[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The pictures of a list: 20 for training, 6 for validation, 4 for a test, of two classes in turn."""
    rng = np.random.default_rng(0)
    for number in range(30):
        file = tmp_path / "images" / ("n01", "n02")[number % 2] / f"{number}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(file, "PNG")
    return tmp_path / "images"


@pytest.fixture
def make(images: Path, tmp_path: Path) -> Make:
    """Lists of these pictures; `train`, `val` and `test` are other lines than theirs."""

    def lines(numbers: range) -> list[str]:
        return [f"{('n01', 'n02')[n % 2]}/{n}.JPEG {n % 2}" for n in numbers]

    usual = {"train": lines(range(20)), "val": lines(range(20, 26)), "test": lines(range(26, 30))}

    def made(without: str = "", **changed: list[str]) -> Lists:
        files = {k: write(tmp_path / f"{k}.txt", v) for k, v in {**usual, **changed}.items() if k not in without.split()}
        return Lists(8, path=images, **{f"{split}_list": file for split, file in files.items()})

    return made


def test_lists_are_the_splits_that_they_name(make: Make, images: Path) -> None:
    data = make()
    splits, test = data.splits(), data.test()
    assert (len(splits.train), len(splits.val), len(test)) == (20, 6, 4)
    assert splits.classes == ("n01", "n02")
    assert splits.train.shape == (3, 8, 8)
    for part in (splits.train, splits.val, test):
        assert part.y.bincount().tolist() == [len(part) // 2] * 2
    assert not rows(splits.train) & rows(splits.val)
    assert not rows(test) & (rows(splits.train) | rows(splits.val))
    file = images / "n02" / "21.JPEG"
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(file, "PNG")
    assert [y for x, y in zip(data.splits().val.x, data.splits().val.y.tolist(), strict=True) if (x == 7).all()] == [1]


def test_validation_is_cut_from_the_training_list_where_it_has_no_list(make: Make) -> None:
    splits = make(without="val").splits()
    assert (len(splits.train), len(splits.val)) == (16, 4)
    assert splits.val.y.bincount().tolist() == [2, 2]
    assert not rows(splits.train) & rows(splits.val)
    assert make(without="val").splits().fingerprint == splits.fingerprint


def test_without_a_list_of_test_images_nothing_is_tested(make: Make) -> None:
    data = make(without="test")
    whole = make()
    assert (len(data.splits().train), data.splits().fingerprint) == (20, whole.splits().fingerprint)
    with pytest.raises(BadInput, match=r"no test images: set data\.test_list"):
        data.test()


def test_test_images_may_lie_in_a_folder_of_their_own(make: Make, images: Path, tmp_path: Path) -> None:
    before = rows(make().test())
    moved = tmp_path / "elsewhere"
    for number in range(26, 30):
        file = images / ("n01", "n02")[number % 2] / f"{number}.JPEG"
        (moved / file.parent.name).mkdir(parents=True, exist_ok=True)
        file.rename(moved / file.parent.name / file.name)
    with pytest.raises(Missing, match=r"4 of 30 images"):
        make().splits()
    data = make()
    data = Lists(8, path=data.path, train_list=data.train_list, test_list=data.test_list, test_path=moved)
    assert rows(data.test()) == before


def test_classes_without_a_folder_each_are_named_by_their_numbers(make: Make) -> None:
    crossed = [f"{('n01', 'n02')[n % 2]}/{n}.JPEG {n // 2 % 2}" for n in range(20)]
    assert make(train=crossed).splits().classes == ("0", "1")


def test_another_label_is_other_data(make: Make) -> None:
    one = make()
    first = one.splits().fingerprint
    turned = [f"{('n01', 'n02')[n % 2]}/{n}.JPEG {1 - n % 2}" for n in range(20, 26)]
    assert make(val=turned).splits().fingerprint != first


def test_paths_may_hold_spaces_and_lines_may_be_empty_or_end_otherwise(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes("\ufeffa b/c d.png  3\r\n\n\te.png\t0  \n".encode())
    assert read_list(tmp_path / "list") == [(1, "a b/c d.png", 3), (3, "e.png", 0)]


GOOD = [f"{('n01', 'n02')[n % 2]}/{n}.JPEG {n % 2}" for n in range(20)]
BAD = {
    "no label": ({"train": [*GOOD, "n01/0.JPEG"]}, "train.txt, line 21: 'n01/0.JPEG' is not … (1 such line of 21)"),
    "a word": ({"train": ["n01/0.JPEG cat", *GOOD, "x"]}, "train.txt, line 1: 'n01/0.JPEG cat' … (2 such lines of 22)"),
    "negative": ({"val": ["n01/0.JPEG -1"]}, "val.txt, line 1: 'n01/0.JPEG -1' … labels 0, 1, 2, …"),
    "a fraction": ({"val": ["n01/0.JPEG 1.0"]}, "line 1: 'n01/0.JPEG 1.0'"),
    "huge": ({"val": ["n01/0.JPEG 99999999999999999999"]}, "line 1: 'n01/0.JPEG 9999"),
    "empty": ({"val": []}, "val.txt names no image"),
    "a gap": ({"train": [line.replace("JPEG 1", "JPEG 2") for line in GOOD]}, "train.txt holds labels up to 2 but no 1"),
    "one class": ({"train": GOOD[::2]}, "train.txt has one class"),
    "beyond": ({"val": ["n01/20.JPEG 0", "n02/21.JPEG 2"]}, "val.txt, line 2: label 2 is none … 0 … 1 (1 such lines)"),
    "beyond, test": ({"test": ["n01/26.JPEG 5"]}, "test.txt, line 1: label 5 is none"),
    "twice": ({"train": [*GOOD, GOOD[3]]}, "train.txt, line 21 names n02/3.JPEG, as … train.txt, line 4 does"),
    "in two lists": ({"test": [GOOD[0]]}, "test.txt, line 1 names n01/0.JPEG, as … train.txt, line 1 does"),
    "missing": ({"train": [*GOOD, "n01/x.JPEG 0", "n02/y.JPEG 1"]}, "2 of 32 images … n01/x.JPEG ( … train.txt, line 21)"),
    "a folder": ({"train": [*GOOD, "n01 0"]}, "1 of 31 images … line 21"),
}


@pytest.mark.parametrize(("changed", "said"), BAD.values(), ids=BAD.keys())
def test_bad_lists_are_refused_by_line_and_nothing_is_left(
    make: Make, changed: dict[str, list[str]], said: str, tmp_path: Path
) -> None:
    refused(said, make(**changed))
    assert not (tmp_path / "data" / "stores").exists()


def test_files_that_are_no_lists_and_settings_that_lack_are_named(make: Make, images: Path, tmp_path: Path) -> None:
    data = make()
    refused("needs data.path", Lists())
    refused("nowhere, which is no folder", Lists(path=tmp_path / "nowhere"))
    refused("needs data.train_list", Lists(path=images))
    refused("none.txt cannot be read", Lists(path=images, train_list=tmp_path / "none.txt"))
    refused("cannot be read", Lists(path=images, train_list=next(images.rglob("*.JPEG"))))
    (images / "n01" / "0.JPEG").write_bytes(b"no image")
    refused("1 of 30 images … 0.JPEG", data)


def spoken(data: Lists) -> list[str]:
    given = {"path": data.path, "train_list": data.train_list, "val_list": data.val_list, "test_list": data.test_list}
    return [f"--set=data.{name}={value}" for name, value in given.items() if value is not None]


def test_the_command_shows_lists_and_their_faults_with_their_exit_codes(make: Make, images: Path) -> None:
    data = make()
    assert "lists" in {entry["name"] for entry in nas("data", "list", "--json").data}
    shown = nas("data", "info", "lists", *spoken(data), "--set=data.size=8", "--json").data
    assert (shown["present"], shown["classes"], shown["train"]["images"]) == (True, ["n01", "n02"], 20)
    assert "data.path and data.train_list, which are not set" in nas("data", "info", "lists").out
    make(val=["n01/20.JPEG nought"])
    bad = nas("data", "info", "lists", *spoken(data))
    assert (bad.code, "val.txt, line 1: 'n01/20.JPEG nought'" in bad.error) == (2, True)
    make()
    (images / "n01" / "0.JPEG").unlink()
    bad = nas("data", "info", "lists", *spoken(data))
    assert (bad.code, "1 of 30 images" in bad.error) == (3, True)


def test_fewer_classes_in_the_space_than_labels_are_refused_before_anything_is_made(make: Make, tmp_path: Path) -> None:
    words = ("--data", "lists", *spoken(make()), "--set=data.size=8", "--set=space.classes=1", "--out", tmp_path / "run")
    said = nas("search", "tfnas", "--latency", 15, *words)
    assert (said.code, said.error.startswith("space.classes is 1, but lists has 2")) == (2, True)
    assert not (tmp_path / "run").exists()


def test_the_recipes_of_imagenet_read_lists(make: Make) -> None:
    words = spoken(make())
    for recipe in ("tfnas-imagenet100", "tfnas-retrain-imagenet"):
        plan = compose(Plan(), recipe, sets=[word.removeprefix("--set=") for word in words])
        setting = prepare(plan.with_settings("data", {"size": 32}))
        assert isinstance(setting.data, Lists)
        assert (len(setting.splits.train), len(setting.splits.val), len(setting.data.test())) == (20, 6, 4)
    plan = compose(Plan(), "tfnas-imagenet100", sets=["data.size=32", *(word.removeprefix("--set=") for word in words)])
    classes = [dict(values_of(space))["classes"] for space in (prepare(plan).space, deployed(prepare(plan)))]
    assert classes == [2, 1000]


def test_imagenets_official_lists_are_four_fifths_and_one(shared_data: Path, tmp_path: Path) -> None:
    packed = {split: shared_data / "luts" / f"imagenet100_{split}_list.txt.xz" for split in ("train", "val")}
    if not all(file.is_file() for file in packed.values()):
        pytest.skip("the lists are not on this machine")
    lists = {}
    for split, file in packed.items():
        (tmp_path / split).write_bytes(lzma.decompress(file.read_bytes()))
        lists[split] = read_list(tmp_path / split)
    assert (len(lists["train"]), len(lists["val"])) == (102_170, 25_550)  # the official repository
    train, val = ({line.file for line in lists[split]} for split in ("train", "val"))
    assert not train & val
    every = [*lists["train"], *lists["val"]]
    synsets = sorted({line.file.split("/")[0] for line in every})
    assert all(synsets[line.label] == line.file.split("/")[0] for line in every)
    counts = {split: np.bincount([line.label for line in lines], minlength=100) for split, lines in lists.items()}
    assert np.all(np.abs(counts["train"] / (counts["train"] + counts["val"]) - 0.8) < 1e-3)
    y = np.array([line.label for line in every])
    mine = [np.bincount(y[part], minlength=100) for part in cut(y, synsets, 0.2, 1, 0)]
    assert np.all(np.abs(mine[0] / (mine[0] + mine[1]) - 0.8) < 1e-3)
