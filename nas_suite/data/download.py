"""Official archives from the network: resumed where they broke off, checked, put in place whole or not at all."""

import errno
import hashlib
import http.client
import os
import shutil
import ssl
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from filelock import FileLock

from nas_suite.data.place import data_folder
from nas_suite.disk import refusal
from nas_suite.errors import BadInput, Missing, suggest

NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
CHUNK = 1 << 18
TIMEOUT = 30
"""Seconds without an answer after which a connection counts as broken."""

Progress = Callable[[int, int], None]
"""Told (bytes that are there, bytes in all)."""


@dataclass(frozen=True)
class Archive:
    """One file on a server; `sum` is its md5 or sha256. A tar archive `holds` files (name to bytes) in its folder `inner`;
    they are unpacked."""

    file: str
    bytes: int
    sum: str
    inner: str = ""
    holds: Mapping[str, int] = field(default_factory=dict)

    def there(self, folder: Path) -> bool:
        """Whether `folder` already has what this brings."""
        if self.holds:
            return whole(folder / self.inner, self.holds)
        return (folder / self.file).is_file() and self.checksum(folder / self.file) == self.sum

    @property
    def kind(self) -> str:
        return {32: "md5", 64: "sha256"}[len(self.sum)]

    def checksum(self, file: Path) -> str:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, self.kind).hexdigest()


@dataclass(frozen=True)
class Source:
    """A folder on a server and the archives in it."""

    url: str
    archives: tuple[Archive, ...]


SOURCES = {
    "cifar10": Source(
        "https://www.cs.toronto.edu/~kriz",
        (
            Archive(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c32a1d4ab5d03f1284b67883e8d87530",
                "cifar-10-batches-bin",
                dict.fromkeys((*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"), 30_730_000),
            ),
        ),
    ),
    "fashion-mnist": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        (
            Archive("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            Archive("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            Archive("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            Archive("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        (
            Archive("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            Archive("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            Archive("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            Archive("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
}

WEIGHTS = {
    "resnet18": Source(  # torchvision's IMAGENET1K_V1
        "https://download.pytorch.org/models",
        (Archive("resnet18-f37072fd.pth", 46_830_571, "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"),),
    )
}
"""No data sets, but networks that see what is in them."""


def get(
    name: str,
    folder: Path | None = None,
    mirror: str | None = None,
    progress: Progress = lambda done, total: None,
    tries: int = 5,
    wait: float = 1.0,
) -> Path:
    """Download a data set's official files, or a network's weights, into `folder` (None: its folder in the data folder).

    What is there already and whole is left alone. `mirror` is the URL of another folder with the same files. A broken
    connection is taken up again, after `wait` seconds at first and twice as many each time, until `tries` attempts in
    a row brought nothing; what has arrived is kept for the next call. Missing says why it failed, BadInput that
    `folder` cannot be used.
    """
    known = SOURCES | WEIGHTS
    if name not in known:
        raise BadInput(f"{name!r} is not downloaded{suggest(name, sorted(known))}")
    place = data_folder() / name if folder is None else folder
    return bring(name, known[name], place, mirror, progress, Attempts(tries, wait))


@dataclass(frozen=True)
class Attempts:
    """How often in a row a connection may bring nothing, and the first pause in seconds."""

    tries: int = 5
    wait: float = 1.0


def bring(name: str, source: Source, place: Path, mirror: str | None, progress: Progress, attempts: Attempts) -> Path:
    """Downloads a source's archives into `place`, as `get` does, and returns that."""
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise BadInput(f"mirror {mirror!r} must be the http:// or https:// address of the folder that holds the files")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            fill(place, source, mirror, attempts, progress)
    except OSError as error:
        raise refusal(place, error, "set NAS_DATA to another folder") from None
    return place


def fill(place: Path, source: Source, mirror: str | None, attempts: Attempts, progress: Progress) -> None:
    """Bring every archive that is not there; `place` is this process's alone."""
    lacking = [archive for archive in source.archives if not archive.there(place)]
    check_room(place, lacking)
    total = sum(archive.bytes for archive in source.archives)
    done = total - sum(archive.bytes for archive in lacking)
    progress(done, total)
    for archive in lacking:
        url = f"{(mirror or source.url).rstrip('/')}/{archive.file}"
        part = place / f"{archive.file}.part"
        fetch(url, part, archive, attempts, partial(shifted, progress, done, total))
        if archive.holds:
            unpack(part, place, archive)
        else:
            os.replace(part, place / archive.file)
        done += archive.bytes


def shifted(progress: Progress, done: int, total: int, more: int) -> None:
    progress(done + more, total)


def check_room(place: Path, archives: list[Archive]) -> None:
    """OSError where the disk has no room for what is still to come."""
    parts = [place / f"{archive.file}.part" for archive in archives]
    needed = sum(archive.bytes + sum(archive.holds.values()) for archive in archives)
    needed -= sum(part.stat().st_size for part in parts if part.is_file())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB free")


def fetch(url: str, part: Path, archive: Archive, attempts: Attempts, progress: Callable[[int], None]) -> None:
    """Complete `part` and check it; a file that was begun before and turns out wrong is fetched once more, whole."""
    begun_before = part.is_file()
    complete(url, part, archive.bytes, attempts, progress)
    found = archive.checksum(part)
    if found == archive.sum:
        return
    part.unlink()
    if not begun_before:
        raise Missing(
            f"{url} has the {archive.kind} {found}, not {archive.sum}; it was not kept: try another server (--mirror URL)"
        )
    fetch(url, part, archive, attempts, progress)


def complete(url: str, part: Path, size: int, attempts: Attempts, progress: Callable[[int], None]) -> None:
    """Receive until `part` has `size` bytes."""
    if bytes_of(part) > size:
        part.unlink()
    furthest, idle = bytes_of(part), 0
    while bytes_of(part) != size:
        reason = "the connection broke off"
        try:
            receive(url, part, size, progress)
        except NETWORK as error:
            if isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500 and error.code not in (408, 416, 429):
                raise Missing(f"{url} answers {error.code} {error.reason}: try another server (--mirror URL)") from None
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        idle = 0 if bytes_of(part) > furthest else idle + 1
        furthest = max(furthest, bytes_of(part))
        if idle >= attempts.tries:
            raise Missing(
                f"{url} cannot be fetched ({reason}); {bytes_of(part):,} of {size:,} bytes are kept in {part}: "
                "the same command goes on from there, --mirror URL tries another server"
            )
        if idle:
            time.sleep(attempts.wait * 2 ** (idle - 1))


def receive(url: str, part: Path, size: int, progress: Callable[[int], None]) -> None:
    """One connection: append what `part` lacks, or write it anew where the server does not send parts of files."""
    have = bytes_of(part)
    headers = {"User-Agent": "nas-suite", **({"Range": f"bytes={have}-"} if have else {})}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError(f"asked for bytes from {have}, got {answer.headers.get('Content-Range')}")
        have = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        if length is not None and have + int(length) != size:
            raise Missing(f"{url} has {have + int(length):,} bytes, not {size:,}: try another server (--mirror URL)")
        with part.open("ab" if have else "wb") as file:
            progress(have)
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(have)
            file.flush()
            os.fsync(file.fileno())


def size_at(url: str) -> int:
    """How many bytes a server says that a file has; Missing where it does not answer."""
    request = urllib.request.Request(url, headers={"User-Agent": "nas-suite"}, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return int(answer.headers["Content-Length"])
    except (*NETWORK, TypeError, ValueError) as error:
        raise Missing(f"{url} cannot be asked for ({getattr(error, 'reason', error)})") from None


def unpack(file: Path, place: Path, archive: Archive) -> None:
    """Unpack a tar archive beside its target, put each file in place whole, and remove the archive."""
    with tempfile.TemporaryDirectory(dir=place, prefix=".unpack-") as folder:
        with tarfile.open(file) as tar:
            tar.extractall(folder, filter="data")
        if not whole(Path(folder) / archive.inner, archive.holds):
            raise Missing(f"{file} does not hold {', '.join(archive.holds)} as expected: try another server (--mirror URL)")
        (place / archive.inner).mkdir(exist_ok=True)
        for name in archive.holds:
            os.replace(Path(folder) / archive.inner / name, place / archive.inner / name)
    file.unlink()


def whole(folder: Path, files: Mapping[str, int]) -> bool:
    """Whether all files are there with as many bytes."""
    return all(bytes_of(folder / name) == size for name, size in files.items())


def bytes_of(file: Path) -> int:
    """The size of a file in bytes, 0 where there is none."""
    return file.stat().st_size if file.is_file() else 0
