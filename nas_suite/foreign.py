"""Files from outside, read as numbers, text and containers: whatever else a pickle asks for is refused and never run."""

import io
import pickle
import re
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from nas_suite.errors import BadInput

DAMAGE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)
"""What readers say of files that are cut short or damaged."""


class Refused(pickle.UnpicklingError):
    """A pickle asks for what is not known here; the message says what."""


class Kind:
    """A type of numpy's as a pickle tells of it, first its code, then in its state the byte order. Numpy itself believes
    such a state without asking, which can be used to run what the file says."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biufSUO]\d{1,4}", code):
            raise Refused(f"numpy's type {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">", "|") else "="

    def numbers(self, raw: object) -> Shaped[np.ndarray, " n"]:
        """Bytes as numbers or text of this type."""
        if self.code.startswith("O"):
            raise Refused("Python objects in bytes")
        return np.frombuffer(raw, np.dtype(self.order + self.code))  # type: ignore[call-overload]


class Array:
    """An array of numpy's as a pickle tells of it; `numpy.asarray` makes it one."""

    def __init__(self, *_: object) -> None:
        self.values: np.ndarray = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        values = np.array([*raw, None], object)[:-1] if isinstance(raw, list) else kind.numbers(raw)
        self.values = values.reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype)  # type: ignore[call-overload]


def scalar(kind: Kind, raw: bytes) -> Any:
    """A number of numpy's, as Python's own."""
    return kind.numbers(raw)[0].item()


def from_buffer(raw: object, kind: Kind, shape: tuple[int, ...], order: str) -> np.ndarray:
    return kind.numbers(raw).reshape(shape, order="F" if order == "F" else "C")


def plain_dict(*_: object) -> dict[Any, Any]:
    """In the place of a dict that knows what to put where nothing is."""
    return {}


def latin(text: str, _: str = "latin1") -> bytes:
    """Bytes that an old pickle spells as text."""
    return text.encode("latin1")


@cache
def known() -> Mapping[tuple[str, str], Callable[..., Any]]:
    """What stands for the names that numbers and containers need in a pickle."""
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): plain_dict,
        ("_codecs", "encode"): latin,
        ("numpy", "dtype"): Kind,
        ("numpy", "ndarray"): Array,
    }
    for module in ("builtins", "__builtin__"):
        names |= {(module, kind.__name__): kind for kind in (list, dict, set, bytes, int, float)}
    for core in ("numpy.core", "numpy._core"):
        names |= {
            (f"{core}.multiarray", "_reconstruct"): Array,
            (f"{core}.multiarray", "scalar"): scalar,
            (f"{core}.numeric", "_frombuffer"): from_buffer,
        }
    return names


ORDERED: Mapping[tuple[str, str], Callable[..., Any]] = {("collections", "OrderedDict"): OrderedDict}
"""All that a pickle of plain numbers in order needs."""


class Unpickler(pickle.Unpickler):
    """Python's own, which is told only of some names."""

    def __init__(self, file: io.BufferedIOBase, names: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
        super().__init__(file, encoding="latin1")
        self.names = names

    def find_class(self, module: str, name: str) -> Any:
        found = self.names.get((module, name))
        if found is None:
            raise Refused(f"{module}.{name}")
        return found


def unpickled(file: io.BufferedIOBase, name: str, names: Mapping[tuple[str, str], Callable[..., Any]] | None = None) -> Any:
    """What a pickle holds; `name` is what a message calls it. BadInput where it asks for anything but numbers, text and
    containers (or but `names`), is cut short or goes on after its end."""
    try:
        found = Unpickler(file, known() if names is None else names).load()
        rest = file.read(1)
    except Refused as error:
        raise refused(name, str(error)) from None
    except Exception as error:  # whatever a damaged or foreign file makes the reader say
        raise damaged(name, error) from None
    if rest:
        raise BadInput(f"{name} goes on after the end of its pickle, so it is not what it was published as; get it again")
    return found


def torch_unpickled(file: Path, more: Mapping[tuple[str, str], Callable[..., Any]] | None = None, mapped: bool = False) -> Any:
    """What a file of `torch.save` holds, as `unpickled`; tensors are read by torch, with `mapped` not before they are looked
    at, where the file is an archive. `more` names are known beside the usual."""
    import torch

    every = {**known(), **(more or {})}
    names = [(stand_in, f"{module}.{name}") for (module, name), stand_in in every.items() if stand_in is not OrderedDict]
    try:
        with torch.serialization.safe_globals(names), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.simplefilter("ignore")  # what it says of a file is in its error
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(file))
    except Exception as error:  # whatever a damaged or foreign file makes torch say
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is None and "weights_only" in str(error):  # its advice is to run what the file says
            error = ValueError("it holds something else than tensors, numbers, text and containers, or is no file of torch")
        raise (refused(str(file), asked[1]) if asked else damaged(str(file), error)) from None


def refused(name: str, what: str) -> BadInput:
    return BadInput(
        f"{name} is not read: it asks for {what}, which no table needs, and nothing of it was run; "
        "get it again from where it was published"
    )


def damaged(name: str, error: Exception) -> BadInput:
    said = " ".join(str(error).split()) or type(error).__name__
    return BadInput(f"{name} is cut short, damaged or of another kind ({said[:200]}); get it again from where it was published")


def npz(file: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of an npz file; BadInput where it is none, is damaged or holds Python objects."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except DAMAGE as error:
        raise damaged(str(file), error) from None


def zipped(file: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, io.BufferedIOBase]]:
    """The files of a zip archive that are wanted, each checked whole before it is given."""
    try:
        with zipfile.ZipFile(file) as archive:
            for name in filter(wanted, archive.namelist()):
                yield name, io.BytesIO(archive.read(name))
    except DAMAGE as error:
        raise error if isinstance(error, BadInput) else damaged(str(file), error) from None


def zip_names(file: Path) -> list[str]:
    """The names in a zip archive; BadInput where it is none or cut short."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except DAMAGE as error:
        raise damaged(str(file), error) from None
