"""What a disk is trusted with: files written whole or not at all, durable renames, checksums, lines cut off by a kill."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nas_suite.errors import BadInput

PART = ".part"  # the end of the name of a file that is not whole yet


def write_atomic(path: Path, data: bytes) -> None:
    """The whole of `data` stands at `path`, or what stood there before; BadInput where the disk refuses."""
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    with writing(path.parent):
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    sync(path.parent)


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
def writing(folder: Path) -> Iterator[None]:
    """Turns what a disk can refuse into one clear line; nothing that was saved before is touched."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"cannot write to {folder}: {error.strerror or error}; what was saved before is intact: "
            "make room or permit writing there, then resume, or choose another --out"
        ) from error


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
