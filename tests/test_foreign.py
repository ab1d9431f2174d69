"""Files from outside: numbers and containers come through whole, everything else is refused and nothing is run."""

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_suite.errors import BadInput
from nas_suite.foreign import npz, torch_unpickled, unpickled, zip_names, zipped

FULL = {
    "numbers": [1, 2.5, True, None, 10**30],
    "text": {"é": (1, 2)},
    "bytes": b"\xff\x00",
    "set": {1, 2},
    "ordered": collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, {("cifar10", 777): [1.0]}),
    "scalar": np.float64(3.5),
    "whole": np.int32(-4),
    "truth": np.bool_(True),
}
ARRAYS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "text": np.array(["ab", "c"]),
    "empty": np.zeros((0, 2)),
    "objects": np.array([{"x": 1}, {"y": 2}, [3, 4]], object),
}


class Runs:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def pickled(found: Any, protocol: int = 4) -> io.BytesIO:
    return io.BytesIO(pickle.dumps(found, protocol))


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_and_containers_come_through_whole(protocol: int) -> None:
    found = unpickled(pickled({**FULL, "arrays": ARRAYS}, protocol), "file")
    arrays = found.pop("arrays")
    assert found == FULL
    assert type(found["scalar"]) is float
    for name, expected in ARRAYS.items():
        array = np.asarray(arrays[name])
        assert array.shape == expected.shape
        assert array.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (lambda place: Runs(os.mkdir, place), "posix.mkdir"),
        (lambda place: Runs(eval, f"__import__('os').mkdir({place!r})"), "eval"),
        (lambda place: Runs(getattr, "mkdir", "__class__"), "getattr"),
        (lambda place: {"deep": [Runs(os.mkdir, place)]}, "posix.mkdir"),
        (lambda place: Runs(np.load, place), "numpy.load"),
        (lambda place: Path(place), "pathlib"),
        (lambda place: np.array([1 + 2j]), "c16"),
    ],
)
def test_what_asks_for_more_is_refused_by_name_and_not_run(asked: Any, name: str, tmp_path: Path) -> None:
    place = str(tmp_path / "made")
    for protocol in (0, 2, 4):
        with pytest.raises(BadInput, match=rf"bad\.pkl is not read: it asks for .*{name}.* nothing of it was run") as caught:
            unpickled(pickled(asked(place), protocol), "bad.pkl")
        assert "\n" not in str(caught.value)
    assert not Path(place).exists()


@pytest.mark.parametrize("new", [True, False])
def test_files_of_torch_too(new: bool, tmp_path: Path) -> None:
    file = tmp_path / "some.pth"
    torch.save({"full": FULL, "arrays": ARRAYS, "tensor": torch.ones(2)}, file, _use_new_zipfile_serialization=new)
    found = torch_unpickled(file)
    assert found["full"] == FULL
    assert found["tensor"].tolist() == [1, 1]
    assert all(np.asarray(found["arrays"][name]).tolist() == expected.tolist() for name, expected in ARRAYS.items())
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadInput, match="cut short"):
        torch_unpickled(file)
    torch.save({"here": Runs(os.mkdir, str(tmp_path / "made"))}, file, _use_new_zipfile_serialization=new)
    with pytest.raises(BadInput, match=r"it asks for posix\.mkdir, .* nothing of it was run"):
        torch_unpickled(file)
    assert not (tmp_path / "made").exists()


def test_a_type_cannot_be_told_to_be_another() -> None:
    """Numpy believes the flags in the state of a type: objects without the flag that they are objects are bytes that the
    file chooses, taken for addresses."""
    forged = Runs(np._core.multiarray.scalar, Typed("O8", (4, "|", None, None, None, -1, -1, 0, {})), b"\x41" * 8)
    with pytest.raises(BadInput, match="Python objects in bytes"):
        unpickled(pickled(forged), "file")


class Typed:
    """Pickles as a type of numpy's with a state of choice."""

    def __init__(self, code: str, state: tuple[Any, ...]) -> None:
        self.code, self.state = code, state

    def __reduce__(self) -> Any:
        return np.dtype, (self.code, False, True), self.state


@pytest.mark.parametrize("data", [b"", b"hello", pickle.dumps([1, 2])[:-2], b"\x80\x04", b"\x80\x09N."])
def test_cut_or_foreign_pickles_are_refused_in_a_line(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"bad\.pkl is cut short, damaged or of another kind") as caught:
        unpickled(io.BytesIO(data), "bad.pkl")
    assert "\n" not in str(caught.value)


def test_a_pickle_that_goes_on_is_refused() -> None:
    with pytest.raises(BadInput, match="goes on after the end"):
        unpickled(io.BytesIO(pickle.dumps(1) + b"x"), "bad.pkl")


def test_npz_files_hold_no_objects_and_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez_compressed(file, a=np.arange(3), b=ARRAYS["float"])
    assert npz(file)["a"].tolist() == [0, 1, 2]
    np.savez_compressed(file, a=ARRAYS["objects"])
    with pytest.raises(BadInput, match="allow_pickle"):
        npz(file)
    np.savez_compressed(file, a=np.random.default_rng(0).random(1000))
    for harm in (lambda data: data[:-100], flipped):
        broken = tmp_path / "b.npz"
        broken.write_bytes(harm(file.read_bytes()))
        with pytest.raises(BadInput, match=r"b\.npz is cut short, damaged"):
            npz(broken)


def flipped(data: bytes) -> bytes:
    """With one bit in the middle changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_zip_archives_are_checked_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("one/a.pkl", b"a" * 1000)
        archive.writestr("b.txt", b"b")
    assert zip_names(file) == ["one/a.pkl", "b.txt"]
    assert [(name, data.read()) for name, data in zipped(file, lambda name: name.endswith(".pkl"))] == [
        ("one/a.pkl", b"a" * 1000)
    ]
    file.write_bytes(flipped(file.read_bytes()))
    with pytest.raises(BadInput, match="CRC"):
        list(zipped(file, lambda name: True))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(BadInput, match="cut short"):
        zip_names(file)
