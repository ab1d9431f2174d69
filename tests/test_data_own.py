"""Your own data, arrays and folders: read, split and stored, or refused in one line."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from command import nas
from pictures import mapped, refused, rows
from PIL import Image

from nas_suite.data import Folder, Images, Npz, store


def savez(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path / "own.npz", **arrays)  # pyright: ignore[reportArgumentType]
    return path / "own.npz"


def test_npz_with_its_own_splits(tmp_path: Path) -> None:
    x, y = np.random.default_rng(1).integers(0, 256, (30, 6, 6, 3), np.uint8), np.arange(30) % 3
    names = np.array(["cat", "dog", "eel"])
    whole = savez(
        tmp_path, x_train=x[:15], y_train=y[:15], x_val=x[15:21], y_val=y[15:21], x_test=x[21:], y_test=y[21:], classes=names
    )
    splits = Npz(path=whole).splits()
    assert splits.classes == ("cat", "dog", "eel")
    for images, part in ((splits.train, slice(0, 15)), (splits.val, slice(15, 21)), (Npz(path=whole).test(), slice(21, 30))):
        assert np.array_equal(images.x.permute(0, 2, 3, 1), x[part])
        assert images.y.tolist() == y[part].tolist()
    two = savez(tmp_path, x_train=x[:21], y_train=y[:21], x_test=x[21:], y_test=y[21:])
    splits = Npz(path=two, val_fraction=0.3).splits()
    assert (len(splits.train), len(splits.val), len(Npz(path=two).test())) == (15, 6, 9)
    assert splits.classes == ("0", "1", "2")


def test_npz_of_x_and_y_is_split_60_20_20(tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 256, (30, 6, 4), np.uint8)
    path = savez(tmp_path, x=x, y=np.arange(30) % 3)
    splits, test = Npz(path=path).splits(), Npz(path=path).test()
    assert (len(splits.train), len(splits.val), len(test)) == (18, 6, 6)
    assert splits.train.shape == (1, 6, 4)
    assert rows(splits.train) | rows(splits.val) | rows(test) == rows(Images.of(x[..., None], np.zeros(30, np.int64)))
    assert Npz(path=path, size=4).splits().train.shape == (1, 4, 4)


X, Y = np.zeros((30, 4, 4), np.uint8), np.arange(30) % 3
BAD_ARRAYS = {
    "lacking": ({"x_train": X, "y_train": Y}, "holds x_train, y_train, but no x_test, y_test … must hold"),
    "half a validation": ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x_val": X}, "but no y_val"),
    "none known": ({"pictures": X}, "holds pictures, but no x, y"),
    "objects": ({"x": X, "y": np.array([{}] * 30, object)}, "y holds Python objects"),
    "floats": ({"x": X.astype(np.float32), "y": Y}, "x in … float32 … must be uint8"),
    "channels": ({"x": np.zeros((30, 4, 4, 2), np.uint8), "y": Y}, "(30, 4, 4, 2) … 1 or 3"),
    "sizes": ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "x_test (2, 4, 1) … set data.size"),
    "too few labels": ({"x": X, "y": Y[:-1]}, "y in … each of 30 images, not int64 of shape (29,)"),
    "float labels": ({"x": X, "y": Y * 1.0}, "y in … not float64"),
    "negative": ({"x": X, "y": Y - 1}, "holds label -1 … 0, 1, 2, …"),
    "a gap": ({"x": X, "y": Y * 2}, "labels up to 4 but no 1"),
    "beyond the names": ({"x": X, "y": Y, "classes": np.array(["a", "b"])}, "holds label 2 … 0 … 1"),
    "names": ({"x": X, "y": Y, "classes": np.array(["a", "a", "b"])}, "classes in … distinct names"),
    "test label": ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "y_test in … label 3 … 0 … 2"),
    "small class": ({"x": X, "y": np.array([0] * 28 + [1] * 2)}, "class '1' has 2 images, too few"),
}


@pytest.mark.parametrize(("arrays", "said"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    refused(said, Npz(path=savez(tmp_path, **arrays)))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("names", [None, ["one"], ["one", "two"]])
def test_npz_of_one_class_is_refused_where_it_is_looked_at(split: bool, names: list[str] | None, tmp_path: Path) -> None:
    arrays = {"x": np.zeros((9, 8, 8), np.uint8), "y": np.zeros(9, int)}
    if split:
        arrays = {f"{name}_{part}": array for name, array in arrays.items() for part in ("train", "test")}
    file = savez(tmp_path, **arrays, **({} if names is None else {"classes": np.array(names)}))
    said = nas("data", "info", "npz", "--set", f"data.path={file}")
    assert said.code == 2
    array = "y_train" if split else "y"
    assert said.error == f"{array} in {file} holds one class, '{names[0] if names else 0}'; a network needs two at least"


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    refused("needs data.path", Npz())
    refused("nowhere.npz, which is no file", Npz(path=tmp_path / "nowhere.npz"))
    (tmp_path / "text.npz").write_text("hello")
    refused("text.npz is no npz file", Npz(path=tmp_path / "text.npz"))
    path = savez(tmp_path, x=np.random.default_rng(0).integers(0, 256, (30, 64, 64), np.uint8), y=Y)
    data = bytearray(path.read_bytes())
    data[100_000] ^= 255
    path.write_bytes(data)
    refused("x in … cannot be read", Npz(path=path))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are read from /proc")
def test_large_arrays_are_mapped_and_are_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = savez(tmp_path, x=np.random.default_rng(1).integers(0, 256, (30, 6, 4), np.uint8), y=Y)
    small, small_test = Npz(path=path, size=4).splits(), Npz(path=path, size=4).test()
    monkeypatch.setattr(store, "LARGE", 100)
    large, large_test = Npz(path=path, size=4).splits(), Npz(path=path, size=4).test()
    assert mapped("pixels.npy")
    assert large.fingerprint == small.fingerprint
    assert (large.mean, large.std, large.classes) == (small.mean, small.std, small.classes)
    assert torch.equal(large_test.x, small_test.x)
    assert len(Npz(path=path, size=4, limit=9).splits().train) == 9


def save(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", seed: int = 0) -> None:
    """A picture of noise; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Ten pictures each of cats and dogs."""
    for number in range(20):
        save(tmp_path / "album" / ("cats", "dogs")[number % 2] / f"{number}.png", seed=number)
    return tmp_path / "album"


def test_a_folder_is_split_60_20_20_and_decoded_exactly(album: Path) -> None:
    (album / "dogs" / "notes.txt").write_text("not an image")
    (album / ".hidden").mkdir()
    splits, test = Folder(path=album).splits(), Folder(path=album).test()
    assert splits.classes == ("cats", "dogs")
    assert (len(splits.train), len(splits.val), len(test)) == (12, 4, 4)
    assert Counter(test.y.tolist()) == {0: 2, 1: 2}
    source = {np.asarray(Image.open(f)).transpose(2, 0, 1).tobytes(): f.parent.name for f in album.glob("*/*.png")}
    for part in (splits.train, splits.val, test):
        for x, y in zip(part.x, part.y.tolist(), strict=True):
            assert source.pop(bytes(x.contiguous().numpy().data)) == splits.classes[y]
    assert not source
    assert splits.mean == pytest.approx((splits.train.x / 255).mean((0, 2, 3)).tolist())
    assert len(Folder(path=album, limit=4).splits().train) == 4


def test_a_folder_with_given_splits_keeps_them(tmp_path: Path) -> None:
    root = tmp_path / "apart"
    for number in range(12):
        split = ("train", "train", "val", "test")[number // 2 % 4]
        save(root / split / ("cats", "dogs")[number % 2] / f"{number}.png", seed=number)
    splits, test = Folder(path=root).splits(), Folder(path=root).test()
    assert (len(splits.train), len(splits.val), len(test)) == (8, 2, 2)
    wanted = {np.asarray(Image.open(f)).transpose(2, 0, 1).tobytes() for f in (root / "val").glob("*/*.png")}
    assert rows(splits.val) == wanted
    for number in range(20, 24):
        save(root / "train" / ("cats", "dogs")[number % 2] / f"{number}.png", seed=number)
    (root / "test" / "cats" / "6.png").rename(tmp_path / "6.png")
    refused("class 'cats' in … test has no images", Folder(path=root))


def test_what_a_folder_does_not_give_is_cut_from_training(tmp_path: Path) -> None:
    root = tmp_path / "apart"
    for number in range(24):
        save(root / ("train" if number < 20 else "test") / ("cats", "dogs")[number % 2] / f"{number}.png", seed=number)
    splits = Folder(path=root).splits()
    assert (len(splits.train), len(splits.val), len(Folder(path=root).test())) == (16, 4, 4)


def test_pictures_of_all_sizes_and_modes_are_cropped_and_resized(tmp_path: Path) -> None:
    modes = ("RGB", "L", "P", "RGBA", "1", "I;16")
    for number in range(12):
        save(tmp_path / "many" / ("a", "b")[number % 2] / f"{number}.png", (9 + number, 20 - number), "RGB", number)
    for number, mode in enumerate(modes):
        if mode == "I;16":
            Image.fromarray(np.full((9, 9), 0x80FF, np.uint16)).save(tmp_path / "many" / "a" / "deep.png")
        else:
            save(tmp_path / "many" / "a" / f"{mode}.png", (10, 12), mode, number)
    refused("images in … sizes … set data.size", Folder(path=tmp_path / "many"))
    splits = Folder(path=tmp_path / "many", size=6).splits()
    assert splits.train.shape == (3, 6, 6)
    every = [*splits.train.x, *splits.val.x, *Folder(path=tmp_path / "many", size=6).test().x]
    assert any(bool((x == 0x80).all()) for x in every), "16 bits keep their upper half"


def test_gray_pictures_stay_gray_and_turned_ones_are_set_upright(tmp_path: Path) -> None:
    for number in range(12):
        picture = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 5, 1))
        file = tmp_path / "gray" / ("a", "b")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(file, exif=exif)
    splits = Folder(path=tmp_path / "gray").splits()
    assert splits.train.shape == (1, 5, 2)
    assert splits.train.x[0, 0].tolist() == [[255, 0]] * 5


def test_the_second_opening_decodes_nothing_until_a_file_changes(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Folder(path=album).splits()
    with monkeypatch.context() as context:
        context.setattr("nas_suite.data.pictures.pixels", None)
        assert Folder(path=album).splits().fingerprint == first.fingerprint
        assert len(Folder(path=album).test()) == 4
    save(album / "cats" / "0.png", seed=99)
    assert Folder(path=album).splits().fingerprint != first.fingerprint
    assert Folder(path=album, seed=1).splits().fingerprint != first.fingerprint


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are read from /proc")
def test_a_large_folder_is_mapped(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LARGE", 0)
    splits = Folder(path=album).splits()
    assert mapped("pixels.npy")
    before = sorted(rows(splits.train))
    splits.train.x.zero_()
    assert sorted(rows(Folder(path=album).splits().train)) == before, "the file must not be written through"


def test_folders_that_cannot_be_learned_from_are_refused(album: Path, tmp_path: Path) -> None:
    refused("needs data.path", Folder())
    refused("nowhere, which is no folder", Folder(path=tmp_path / "nowhere"))
    (album / "eels").mkdir()
    refused("class 'eels' in … has no images", Folder(path=album))
    (album / "eels").rmdir()
    save(album / "birds" / "only.png")
    refused("class 'birds' has 1 image, too few", Folder(path=album))
    (album / "birds" / "only.png").unlink()
    (album / "birds").rmdir()
    for file in (album / "cats").iterdir():
        file.unlink()
    (album / "cats").rmdir()
    refused("holds one class, 'dogs'", Folder(path=album))


def test_a_class_of_another_name_in_a_split_is_named(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "a" / "train" / ("cats", "dogs")[number % 2] / f"{number}.png", seed=number)
    save(tmp_path / "a" / "val" / "cat" / "0.png")
    refused("class 'cat' in … val … did you mean 'cats'?", Folder(path=tmp_path / "a"))


def test_broken_pictures_are_counted_and_one_is_named_and_nothing_is_left(album: Path, tmp_path: Path) -> None:
    (album / "cats" / "0.png").write_bytes(b"no image")
    whole = (album / "dogs" / "1.png").read_bytes()
    (album / "dogs" / "1.png").write_bytes(whole[: len(whole) // 2])
    refused("2 of 20 images in … such as cats/0.png (cannot identify image file 'cats/0.png'): ", Folder(path=album))
    assert [f.name for f in (tmp_path / "data" / "stores").iterdir() if f.suffix != ".lock"] == []
    (album / "cats" / "0.png").unlink()
    (album / "dogs" / "1.png").write_bytes(whole)
    assert len(Folder(path=album).splits().train) == 11


def test_a_disk_that_is_full_or_closed_is_named_and_nothing_half_is_left(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        refused("cannot write to … no space is left on its disk; make room there, or set NAS_DATA", Folder(path=album))
    with monkeypatch.context() as context:
        context.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
        refused("3,840 bytes are needed and 100 free", Folder(path=album))
    assert [f.name for f in (tmp_path / "data" / "stores").iterdir() if f.suffix != ".lock"] == []
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "file"))
    refused("cannot write to", Folder(path=album))


def test_what_a_killed_process_left_is_taken_over(album: Path, tmp_path: Path) -> None:
    Folder(path=album).splits()
    [made] = [f for f in (tmp_path / "data" / "stores").iterdir() if f.is_dir()]
    made.rename(made.with_name(f"{made.name}.part"))
    (made.with_name(f"{made.name}.part") / "pixels.npy").write_bytes(b"half")
    assert len(Folder(path=album).splits().train) == 12
    assert not made.with_name(f"{made.name}.part").exists()
