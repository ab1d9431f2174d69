"""What a disk is trusted with: files written whole or not at all, durable renames, checksums, lines cut off by a kill."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nas_suite.errors import BadInput

PART = ".part"  # the end of the name of a file that is not whole yet
ELSEWHERE = "choose another --out"
ROOM, PERMISSION = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}, {errno.EACCES, errno.EPERM, errno.EROFS}
WORDS = {
    errno.ENOSPC: "no space is left on its disk",
    errno.EDQUOT: "the quota of its disk is used up",
    errno.EROFS: "its file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EISDIR: "it is a folder",
}


def write_atomic(path: Path, data: bytes, instead: str = ELSEWHERE) -> None:
    """The whole of `data` stands at `path`, or what stood there before; BadInput where the disk refuses (`refusal`), and
    where a device or a pipe stands, which would be replaced by a file. Where a link leads is written to."""
    place = Path(os.path.realpath(path))
    part = place.with_name(f".{place.name}.{os.getpid()}{PART}")
    with writing(path, instead):
        if place.exists() and not place.is_file() and not place.is_dir():
            raise BadInput(f"cannot write to {path}: it is no regular file; {instead}")
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)
    sync(place.parent)


def free(path: Path, instead: str = ELSEWHERE) -> None:
    """BadInput where something stands at a path."""
    if path.exists():
        first = "remove it, or " if path.is_file() or path.is_dir() else ""
        raise BadInput(f"{path} is already there; {first}{instead}")


def write_new(path: Path, data: bytes) -> bool:
    """As `write_atomic`, where nothing stands at `path` yet; False where something does, which stays."""
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links: here a kill can leave half a file
            with open(path, "xb") as file:
                file.write(data)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)
    return True


def as_json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()


def finite(data: Any) -> Any:
    """`data` with null for what JSON has no number for."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: finite(value) for key, value in data.items()}
    return [finite(value) for value in data] if isinstance(data, (list, tuple)) else data


def alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def sync(folder: Path) -> None:
    """Makes renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(path: Path, instead: str = ELSEWHERE) -> Iterator[None]:
    """Within: what the disk refuses becomes one clear line about `path`."""
    try:
        yield
    except OSError as error:
        raise refusal(path, error, instead) from error


def refusal(path: Path, error: OSError, instead: str = ELSEWHERE) -> BadInput:
    """What to say where the disk refuses to write: which path, why, and what to do; `instead` is what is left to do at last."""
    first = "make room there, or " if error.errno in ROOM else "permit it, or " if error.errno in PERMISSION else ""
    return BadInput(f"cannot write to {path}: {reason(path, error)}; {first}{instead}")


def reason(path: Path, error: OSError) -> str:
    """Why nothing can be written at a path, in words."""
    there = next((place for place in (path, *path.absolute().parents) if os.path.exists(place)), path)
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and os.path.isfile(there):
        return "it is a file" if there == path else f"{there} is a file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to write {'there' if there == path else f'in {there}'}"
    if error.errno == errno.ENOENT:
        return f"nothing can be made in {there}"
    said = error.strerror or str(error)
    plain = WORDS.get(error.errno, said) if error.errno and said == os.strerror(error.errno) else said
    return plain[:1].lower() + plain[1:]


def of_disk(error: Exception) -> OSError | None:
    """What the disk refused behind another library's error; None where it was not the disk."""
    for found in (error, error.__cause__, error.__context__):
        if isinstance(found, OSError):
            return found
    number = re.search(r"\(os error (\d+)\)", str(error))  # as Rust ends its messages
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repair_tail(path: Path) -> None:
    """Cuts a line that a kill left unfinished off the end of a .jsonl file."""
    if path.exists():
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            write_atomic(path, whole)
