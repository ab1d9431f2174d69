"""Data sets: parts of images that share nothing, published formats read, or refused in one line."""

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import pictures, refused, rows
from PIL import Image

from nas_suite.data import (
    DATA,
    Cifar10,
    DataSet,
    Digits,
    FashionMnist,
    Images,
    Mnist,
)
from nas_suite.data.formats import RECORD
from nas_suite.data.images import cut, moments, resized, shuffled
from nas_suite.data.sets import IDX
from nas_suite.errors import BadInput, Missing
from nas_suite.registry import settable


def test_images_lie_channels_last_and_are_picked_in_the_order_asked() -> None:
    images = Images(torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5), torch.tensor([7, 8]))
    assert images.x.is_contiguous(memory_format=torch.channels_last)
    assert images.shape == (3, 4, 5)
    picked = images.pick(torch.tensor([1, 0, 1]))
    assert picked.y.tolist() == [8, 7, 8]
    assert torch.equal(picked.x, images.x[[1, 0, 1]])


def test_a_permutation_is_a_fixed_function_of_its_seeds() -> None:
    assert shuffled(8, 1, 2).tolist() == [5, 6, 3, 2, 1, 0, 4, 7]
    assert sorted(shuffled(100, 3)) == list(range(100))
    assert shuffled(100, 3).tolist() != shuffled(100, 4).tolist()


@pytest.mark.parametrize("n", [1, 7, 20, 33])
def test_a_taken_part_has_of_every_class_its_share_and_grows_by_adding(n: int) -> None:
    y = np.repeat([0, 1, 2], [20, 10, 5])
    images = Images.of(np.arange(35, dtype=np.uint8).reshape(35, 1, 1, 1), y)
    part = images.take(n, seed=3)
    counts = np.bincount(part.y.numpy(), minlength=3)
    assert len(part) == len(rows(part)) == n
    assert np.all(np.abs(counts - n * np.array([20, 10, 5]) / 35) <= 1)
    assert torch.equal(images.take(n, seed=3).x, part.x)
    assert torch.equal(images.take(n + 1, seed=3).x[:n], part.x)
    assert n in (1, 33) or rows(images.take(n, seed=4)) != rows(part)


def test_taking_all_images_gives_the_images_themselves_and_taking_none_is_refused() -> None:
    images = pictures(6)
    assert images.take(6, 0) is images
    with pytest.raises(BadInput, match="0 images"):
        images.take(0, 0)


def test_cut_parts_are_disjoint_whole_and_balanced_and_follow_the_seed() -> None:
    y = np.repeat([0, 1, 2], [50, 30, 5])
    train, val, test = cut(y, "abc", 0.2, 2, 0)
    assert sorted([*train, *val, *test]) == list(range(85))
    for part in (val, test):
        assert np.bincount(y[part]).tolist() == [10, 6, 1]
    assert np.any(np.diff(y[train]) < 0), "the order must not be that of the classes"
    assert set(cut(y, "abc", 0.2, 2, 1)[1]) != set(val)


def test_cutting_names_the_class_that_is_too_small() -> None:
    with pytest.raises(BadInput, match="class 'rare' has 2 images, too few to cut 2 parts"):
        cut(np.array([0] * 9 + [1] * 2), ["many", "rare"], 0.2, 2, 0)


def test_moments_are_those_of_numpy_and_a_constant_channel_divides_by_one() -> None:
    images = pictures(10)
    mean, std = moments(images)
    x = images.x.numpy() / 255
    assert mean == pytest.approx(x.mean((0, 2, 3)))
    assert std == pytest.approx(x.std((0, 2, 3)))
    assert moments(Images(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8), torch.zeros(2, dtype=torch.long))) == (
        (0.2,),
        (1.0,),
    )


def test_resizing_crops_the_centre_and_blends() -> None:
    x = np.zeros((1, 4, 6, 1), np.uint8)
    x[:, :, 1:5] = 200
    assert np.all(resized(x, 4) == 200)
    assert np.all(resized(x, 2) == 200)
    assert resized(x, None) is x
    ramp = np.array([0, 100], np.uint8).repeat(2).reshape(1, 2, 2, 1).transpose(0, 2, 1, 3)
    assert resized(np.ascontiguousarray(ramp), 4)[0, 0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize("name", DATA.names())
def test_a_registered_set_is_all_settings_and_says_where_it_is(name: str) -> None:
    data = DATA.build(name, {})
    assert isinstance(data, DataSet)
    assert {"size", "val_fraction", "seed", "limit"} <= settable(type(data)).keys()
    assert data.where()
    assert data.available() == (name == "digits")


@pytest.mark.parametrize(
    ("name", "value"), [("size", 0), ("val_fraction", 0.5), ("val_fraction", 0.0), ("seed", -1), ("limit", 0)]
)
def test_a_setting_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(BadInput, match=rf"data\.{name} = {value}"):
        DATA.build("digits", {name: value})


def test_listing_and_fetching_data_import_no_torch() -> None:
    code = "import sys; from nas_suite.data import DATA, get; DATA.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_are_split_60_20_20_and_the_splits_share_nothing() -> None:
    splits, test = Digits().splits(), Digits().test()
    assert [len(splits.train), len(splits.val), len(test)] == [1079, 359, 359]
    assert splits.train.shape == splits.val.shape == test.shape == (1, 32, 32)
    assert not rows(splits.train) & rows(splits.val) | rows(test) & (rows(splits.train) | rows(splits.val))
    for part in (splits.train, splits.val, test):
        assert np.all(np.abs(np.bincount(part.y.numpy()) / len(part) - 0.1) < 0.005)
    assert splits.train.x.max() == 255
    assert splits.mean == pytest.approx([(splits.train.x / 255).mean().item()])
    assert splits.classes == tuple("0123456789")


def test_noise_is_added_once_and_to_all_splits_alike() -> None:
    plain, noisy, again = Digits(size=8), Digits(size=8, noise=0.25), Digits(size=8, noise=0.25)
    for one, other, same in zip(plain.parts(), noisy.parts(), again.parts(), strict=True):
        assert torch.equal(one.y, other.y)
        assert torch.equal(other.x, same.x)
        bright = (one.x > 80) & (one.x < 180)  # where clipping changes little
        apart = (other.x.float() - one.x.float())[bright]
        assert 50 < apart.std() < 66
    with pytest.raises(BadInput, match="noise"):
        DATA.build("digits", {"noise": -0.1})


def test_settings_of_digits_do_what_they_say() -> None:
    plain = Digits(size=8).splits()
    assert plain.train.shape == (1, 8, 8)
    assert len(Digits(size=8, val_fraction=0.1).splits().val) == 179
    assert rows(Digits(size=8, seed=1).test()) != rows(Digits(size=8).test())
    few = Digits(size=8, limit=100).splits()
    assert np.bincount(few.train.y.numpy()).tolist() == [10] * 10
    assert rows(few.train) < rows(plain.train)
    assert rows(few.val) == rows(plain.val)
    assert few.mean != plain.mean


def test_the_fingerprint_follows_the_images_and_nothing_else() -> None:
    assert Digits(size=8).splits().fingerprint == Digits(size=8).splits().fingerprint
    others = {Digits(size=8, **setting).splits().fingerprint for setting in ({}, {"seed": 1}, {"limit": 100})}
    assert len(others) == 3


def write_cifar(folder: Path, x: np.ndarray, y: np.ndarray, files: int = 5, name: str = "data_batch_{}.bin") -> None:
    """Official binary batches of images (n, 32, 32, 3)."""
    folder.mkdir(parents=True, exist_ok=True)
    records = np.concatenate([y[:, None].astype(np.uint8), x.transpose(0, 3, 1, 2).reshape(len(x), -1)], axis=1)
    for number, part in enumerate(np.split(records, files), 1):
        part.tofile(folder / name.format(number))


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """A small CIFAR-10 of noise in the official format: 100 training and 20 test images."""
    images = pictures(120, 32, 32, classes=10)
    x, y = images.x.permute(0, 2, 3, 1).numpy(), images.y.numpy()
    write_cifar(tmp_path / "c", x[:100], y[:100])
    write_cifar(tmp_path / "c", x[100:], y[100:], 1, "test_batch.bin")
    return tmp_path / "c"


def test_real_cifar_images_come_back_from_the_official_format(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "cifar10" / "cifar10_subset_webp.npz"
    if not source.is_file():
        pytest.skip("the shared CIFAR-10 images are not on this machine")
    with np.load(source) as z:
        sheet = np.asarray(Image.open(io.BytesIO(z["x_train_00"].tobytes())).convert("RGB"))
        x = sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
        y = z["y_train"][: len(x)]
    write_cifar(tmp_path / "cifar-10-batches-bin", x, y)
    write_cifar(tmp_path / "cifar-10-batches-bin", x[:20], y[:20], 1, "test_batch.bin")
    splits = Cifar10(path=tmp_path).splits()
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    left = {image.tobytes(): label for image, label in zip(planes, y.tolist(), strict=True)}
    for part in (splits.train, splits.val):
        for image, label in zip(part.x, part.y.tolist(), strict=True):
            assert left.pop(image.contiguous().numpy().tobytes()) == label
    assert not left
    assert torch.equal(Cifar10(path=tmp_path).test().x, torch.from_numpy(planes[:20]))


def test_cifar_keeps_a_tenth_for_validation_and_has_the_published_moments(cifar: Path) -> None:
    splits = Cifar10(path=cifar).splits()
    assert (len(splits.train), len(splits.val)) == (90, 10)
    assert splits.val.y.sort().values.tolist() == list(range(10))
    assert splits.mean == (0.49139968, 0.48215827, 0.44653124)
    assert splits.std == (0.24703233, 0.24348505, 0.26158768)
    assert splits.classes[3] == "cat"
    assert not rows(Cifar10(path=cifar).test()) & (rows(splits.train) | rows(splits.val))
    assert Cifar10(path=cifar, size=16).test().shape == (3, 16, 16)


def test_training_needs_no_look_into_the_test_file(cifar: Path) -> None:
    (cifar / "test_batch.bin").write_bytes(b"")
    assert len(Cifar10(path=cifar).splits().train) == 90
    with pytest.raises(BadInput, match="has 0 bytes"):
        Cifar10(path=cifar).test()


@pytest.mark.parametrize("inner", ["cifar10", "cifar10/cifar-10-batches-bin", "cifar-10-batches-bin"])
def test_official_files_are_found_in_the_data_folder(cifar: Path, inner: str, tmp_path: Path) -> None:
    place = tmp_path / "data" / inner
    place.parent.mkdir(parents=True)
    cifar.rename(place)
    assert Cifar10().available()
    assert Cifar10().where() == str(place)
    assert len(Cifar10().test()) == 20


@pytest.mark.parametrize("name", ["cifar10", "mnist", "fashion-mnist"])
def test_data_that_are_not_here_are_answered_with_the_command_that_gets_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=f"{name} is not on this machine: looked in {tmp_path}/data/{name}: nas data get {name}"):
        DATA.build(name, {}).splits()
    elsewhere = DATA.build(name, {"path": tmp_path / "elsewhere"})
    refused(f"looked in {tmp_path}/elsewhere: nas data get {name} and leave data.path out", elsewhere)


def test_a_missing_file_is_named(cifar: Path) -> None:
    (cifar / "data_batch_3.bin").unlink()
    assert not Cifar10(path=cifar).available()
    refused(
        f"cifar10 is not whole: no data_batch_3.bin in {cifar}: nas data get cifar10",
        Cifar10(path=cifar),
    )


@pytest.mark.parametrize("left", [10, 5 * RECORD, 20 * RECORD - 1])
def test_a_batch_file_cut_short_is_named_with_its_bytes(cifar: Path, left: int) -> None:
    os.truncate(cifar / "data_batch_3.bin", left)
    refused(f"data_batch_3.bin has {left:,} bytes … {20 * RECORD:,} … cut short", Cifar10(path=cifar))


def test_a_label_out_of_range_is_named_with_its_file(cifar: Path) -> None:
    data = bytearray((cifar / "data_batch_2.bin").read_bytes())
    data[RECORD] = 10
    (cifar / "data_batch_2.bin").write_bytes(data)
    refused("data_batch_2.bin holds label 10 … 0 … 9", Cifar10(path=cifar))


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture(params=["", ".gz"], ids=["plain", "gzipped"])
def mnist(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small MNIST of noise: 50 training and 10 test images."""
    folder = tmp_path / "m"
    folder.mkdir()
    images = pictures(60, 28, 28, 1, classes=10)
    x, y = images.x[:, 0].numpy(), images.y.numpy().astype(np.uint8)
    for name, array in zip(IDX, (x[:50], y[:50], x[50:], y[50:]), strict=True):
        data = idx(array)
        (folder / f"{name}{request.param}").write_bytes(gzip.compress(data) if request.param else data)
    return folder


@pytest.mark.parametrize(("kind", "third"), [(Mnist, "3"), (FashionMnist, "Dress")])
def test_idx_files_are_read_gzipped_or_not(mnist: Path, kind: type[Mnist] | type[FashionMnist], third: str) -> None:
    splits, test = kind(path=mnist).splits(), kind(path=mnist).test()
    assert (len(splits.train), len(splits.val), len(test)) == (40, 10, 10)
    assert splits.classes[3] == third
    original = pictures(60, 28, 28, 1, classes=10)
    assert torch.equal(test.x, original.x[50:])
    assert torch.equal(test.y, original.y[50:])
    assert rows(splits.train) | rows(splits.val) == rows(Images(original.x[:50], original.y[:50]))
    assert kind(path=mnist, size=32).splits().train.shape == (1, 32, 32)


def damage(mnist: Path, which: int, change) -> Path:
    """Change the contents of one of the four files."""
    [file] = mnist.glob(f"{IDX[which]}*")
    packed = file.suffix == ".gz"
    data = change(bytearray(gzip.decompress(file.read_bytes()) if packed else file.read_bytes()))
    file.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
    return file


def test_an_idx_file_cut_short_or_of_another_kind_is_named_with_what_was_expected(mnist: Path) -> None:
    file = damage(mnist, 0, lambda data: data[:-1])
    refused(f"{file} has 39,215 bytes, not 39,216 … cut short", Mnist(path=mnist))
    damage(mnist, 0, lambda data: data[:3])
    refused(f"{file} starts with 000008, not with 00000803", Mnist(path=mnist))
    damage(mnist, 0, lambda data: idx(np.zeros(5, np.uint8)))
    refused(f"{file} starts with 00000801, not with 00000803", Mnist(path=mnist))


def test_idx_labels_that_do_not_fit_are_named(mnist: Path) -> None:
    file = damage(mnist, 1, lambda data: data[:-1] + b"\x0b")
    refused(f"{file} holds label 11 … 0 … 9", Mnist(path=mnist))
    damage(mnist, 1, lambda data: idx(np.zeros(7, np.uint8)))
    refused("holds 50 images … 7 labels", Mnist(path=mnist))


def test_a_gzipped_file_cut_short_is_named(mnist: Path) -> None:
    [file] = mnist.glob(f"{IDX[0]}*")
    if file.suffix != ".gz":
        pytest.skip("this one is about the gzipped files")
    os.truncate(file, 5000)
    refused(f"{file} is damaged … get it again", Mnist(path=mnist))
