"""Downloads: resumed where they broke off, checked, put in place whole or not at all; from a server on this machine."""

import gzip
import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from nas_suite.data import download
from nas_suite.data.download import Archive, Source, get
from nas_suite.data.sets import IDX
from nas_suite.errors import BadInput, Missing

CONTENT = np.random.default_rng(0).bytes(700_000)


@dataclass
class Server:
    """Files by name, and how they are served."""

    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    break_after: list[int] = field(default_factory=list)
    """For the next requests, one each: close the connection after so many bytes."""
    ranges: bool = True
    """Whether the header Range is honoured."""
    lengths: bool = True
    """Whether Content-Length is sent."""
    failures: int = 0
    """So many requests are answered with 503 first."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(file, Range) of every request."""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, asked = request.path.rsplit("/", 1)[-1], request.headers["Range"]
        self.asked.append((name, asked))
        if self.failures:
            self.failures -= 1
            request.send_error(503)
            return
        if name not in self.files:
            request.send_error(404)
            return
        body, start = self.files[name], 0
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        if self.lengths:
            request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        most = self.break_after.pop(0) if self.break_after else len(body)
        request.wfile.write(body[start : start + most])


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        served.url = f"http://127.0.0.1:{running.server_port}/files/"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        running.shutdown()
        thread.join()


def archive(name: str, content: bytes) -> Archive:
    return Archive(name, len(content), hashlib.md5(content).hexdigest())


@pytest.fixture
def one(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with one archive of 700,000 bytes, which `mnist` is made of."""
    server.files = {"one.gz": CONTENT}
    monkeypatch.setitem(download.SOURCES, "mnist", Source(server.url, (archive("one.gz", CONTENT),)))
    return server


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} - {".lock"}


def test_a_download_arrives_whole_and_tells_its_progress(one: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = get("mnist", progress=lambda done, total: told.append((done, total)))
    assert folder == tmp_path / "data" / "mnist"
    assert (folder / "one.gz").read_bytes() == CONTENT
    assert files(folder) == {"one.gz"}
    assert told[0] == (0, 700_000)
    assert told[-1] == (700_000, 700_000)
    assert sorted(told) == told
    assert len(told) > 3
    get("mnist")
    assert len(one.asked) == 1, "what is there is not fetched again"


def test_a_damaged_file_is_fetched_again(one: Server, tmp_path: Path) -> None:
    (tmp_path / "one.gz").write_bytes(b"damaged")
    get("mnist", tmp_path)
    assert (tmp_path / "one.gz").read_bytes() == CONTENT


def test_a_mirror_is_asked_instead(one: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(download.SOURCES, "mnist", Source("http://127.0.0.1:9/none", (archive("one.gz", CONTENT),)))
    get("mnist", tmp_path, mirror=one.url)
    assert files(tmp_path) == {"one.gz"}
    with pytest.raises(BadInput, match=r"mirror 'ftp://there' must be the http"):
        get("mnist", tmp_path, mirror="ftp://there")


@pytest.mark.parametrize("lengths", [True, False])
def test_a_broken_connection_is_taken_up_where_it_broke(one: Server, tmp_path: Path, lengths: bool) -> None:
    one.break_after, one.lengths = [300_000, 100_000], lengths
    get("mnist", tmp_path, wait=0.0)
    assert [asked for _, asked in one.asked] == [None, "bytes=300000-", "bytes=400000-"]
    assert (tmp_path / "one.gz").read_bytes() == CONTENT


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(one: Server, tmp_path: Path) -> None:
    one.break_after = [300_000, 0]
    with pytest.raises(
        Missing, match=r"cannot be fetched .* 300,000 of 700,000 bytes are kept in .*one.gz.part: the same command"
    ):
        get("mnist", tmp_path, tries=1, wait=0.0)
    assert files(tmp_path) == {"one.gz.part"}
    told: list[int] = []
    get("mnist", tmp_path, progress=lambda done, total: told.append(done))
    assert one.asked[-1] == ("one.gz", "bytes=300000-")
    assert told[:2] == [0, 300_000]
    assert (tmp_path / "one.gz").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_sends_all_anew(one: Server, tmp_path: Path) -> None:
    one.break_after, one.ranges = [300_000], False
    get("mnist", tmp_path, wait=0.0)
    assert [asked for _, asked in one.asked] == [None, "bytes=300000-"]
    assert (tmp_path / "one.gz").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_and_breaks_for_ever_is_given_up(one: Server, tmp_path: Path) -> None:
    one.break_after, one.ranges = [300_000] * 10, False
    with pytest.raises(Missing, match="cannot be fetched"):
        get("mnist", tmp_path, tries=3, wait=0.0)
    assert len(one.asked) == 4


def test_a_server_out_of_order_is_asked_again_and_then_given_up(one: Server, tmp_path: Path) -> None:
    one.failures = 2
    get("mnist", tmp_path, tries=3, wait=0.0)
    assert files(tmp_path) == {"one.gz"}
    one.failures = 9
    (tmp_path / "one.gz").unlink()
    with pytest.raises(Missing, match=r"cannot be fetched \(Service Unavailable\); 0 of 700,000"):
        get("mnist", tmp_path, tries=3, wait=0.0)
    assert len(one.asked) == 3 + 3


def test_wrong_bytes_are_not_kept(one: Server, tmp_path: Path) -> None:
    one.files["one.gz"] = bytes(700_000)
    with pytest.raises(Missing, match=r"has the md5 .*; it was not kept: try another server \(--mirror URL\)"):
        get("mnist", tmp_path)
    assert files(tmp_path) == set()


def test_a_wrong_beginning_of_an_earlier_call_is_thrown_away(one: Server, tmp_path: Path) -> None:
    (tmp_path / "one.gz.part").write_bytes(bytes(200_000))
    get("mnist", tmp_path)
    assert [asked for _, asked in one.asked] == ["bytes=200000-", None]
    assert (tmp_path / "one.gz").read_bytes() == CONTENT
    (tmp_path / "one.gz").rename(tmp_path / "one.gz.part")
    with (tmp_path / "one.gz.part").open("ab") as file:
        file.write(b"too much")
    get("mnist", tmp_path)
    assert (tmp_path / "one.gz").read_bytes() == CONTENT


def test_a_page_instead_of_the_file_is_refused_before_it_is_read(one: Server, tmp_path: Path) -> None:
    one.files["one.gz"] = b"<html>gone</html>"
    with pytest.raises(Missing, match=r"has 17 bytes, not 700,000"):
        get("mnist", tmp_path)
    del one.files["one.gz"]
    with pytest.raises(Missing, match=r"answers 404 .*--mirror URL"):
        get("mnist", tmp_path)
    assert len(one.asked) == 2


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"http://127.0.0.1:9/train-images.* cannot be fetched \(.*refused.*\)"):
        get("mnist", tmp_path, mirror="http://127.0.0.1:9", tries=1, wait=0.0)


@pytest.mark.parametrize(("name", "near"), [("digits", "there are: cifar10"), ("fashionmnist", "did you mean 'fashion-mnist'")])
def test_what_is_not_downloaded_is_answered_with_what_is(name: str, near: str) -> None:
    with pytest.raises(BadInput, match=f"'{name}' is not downloaded.*{near}"):
        get(name)


def test_a_folder_without_room_or_not_to_be_written_is_named(
    one: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match=r"cannot write to .*file: it is a file; set NAS_DATA"):
        get("mnist", tmp_path / "file")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 400_000}))
    with pytest.raises(BadInput, match=r"1 MB are needed and 0 MB free"):
        get("mnist", tmp_path)
    assert not one.asked
    (tmp_path / "one.gz.part").write_bytes(CONTENT[:350_000])
    get("mnist", tmp_path)


def test_a_disk_that_fills_up_midway_keeps_what_has_arrived(
    one: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("os.fsync", full)
        with pytest.raises(BadInput, match="no space is left on its disk"):
            get("mnist", tmp_path)
    assert files(tmp_path) == {"one.gz.part"}
    get("mnist", tmp_path)
    assert (tmp_path / "one.gz").read_bytes() == CONTENT


def tar(**members: bytes) -> bytes:
    """A gzipped tar archive with the folder `inner`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(f"inner/{name}")
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_a_tar_archive_is_unpacked_and_removed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tar(a=b"12", b=b"345")
    server.files = {"all.tar.gz": packed}
    whole = Archive("all.tar.gz", len(packed), hashlib.md5(packed).hexdigest(), "inner", {"a": 2, "b": 3})
    monkeypatch.setitem(download.SOURCES, "cifar10", Source(server.url, (whole,)))
    get("cifar10", tmp_path)
    assert files(tmp_path) == {"inner"}
    assert (tmp_path / "inner" / "b").read_bytes() == b"345"
    get("cifar10", tmp_path)
    assert len(server.asked) == 1
    (tmp_path / "inner" / "a").write_bytes(b"1")
    (tmp_path / "inner" / "mine").write_bytes(b"mine")
    get("cifar10", tmp_path)
    assert (tmp_path / "inner" / "a").read_bytes() == b"12"
    assert files(tmp_path / "inner") == {"a", "b", "mine"}


def test_an_archive_without_the_files_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tar(a=b"12")
    server.files = {"all.tar.gz": packed}
    whole = Archive("all.tar.gz", len(packed), hashlib.md5(packed).hexdigest(), "inner", {"a": 2, "b": 3})
    monkeypatch.setitem(download.SOURCES, "cifar10", Source(server.url, (whole,)))
    with pytest.raises(Missing, match="does not hold a, b"):
        get("cifar10", tmp_path)
    assert not (tmp_path / "inner").exists()


def test_what_get_brings_is_what_the_data_set_reads(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas_suite.data import FashionMnist, data_folder

    arrays = np.zeros((50, 28, 28), np.uint8), (np.arange(50) % 10).astype(np.uint8)
    for name, array in zip(IDX, (*arrays, *arrays), strict=True):
        raw = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
        server.files[f"{name}.gz"] = gzip.compress(raw)
    source = Source(server.url, tuple(archive(name, content) for name, content in server.files.items()))
    monkeypatch.setitem(download.SOURCES, "fashion-mnist", source)
    assert not FashionMnist().available()
    assert get("fashion-mnist") == data_folder() / "fashion-mnist"
    assert FashionMnist().available()
    assert len(FashionMnist().test()) == 50


@pytest.mark.parametrize("name", sorted(download.SOURCES))
def test_the_table_of_archives_brings_what_the_sets_are_made_of(name: str) -> None:
    from nas_suite.data.sets import BATCHES, FASHION_MNIST, MNIST

    files = {"cifar10": BATCHES.files, "mnist": MNIST.files, "fashion-mnist": FASHION_MNIST.files}[name]
    brought = [n for a in download.SOURCES[name].archives for n in (a.holds or (a.file.removesuffix(".gz"),))]
    assert sorted(brought) == sorted(files)
    assert all(re.fullmatch("[0-9a-f]{32}", a.sum) for a in download.SOURCES[name].archives)
