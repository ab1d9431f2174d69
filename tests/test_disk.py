"""Where nothing can be written one line says which path, why, and what to do, whoever wanted to write."""

import errno
import os
from pathlib import Path

import pytest
import torch
from command import TINY, nas

from nas_suite.disk import PERMISSION, free, refusal, write_atomic
from nas_suite.errors import BadInput
from nas_suite.run import LOG, Run

RECORD = {"schema": 1, "kind": "supernet", "status": "done"}
STATE = {"weights": {"w": torch.zeros(30_000)}, "momentum": torch.zeros(30_000)}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "no permission to write in {there}; permit it, or choose another --out"),
        (errno.EPERM, "no permission to write in {there}; permit it, or choose another --out"),
        (errno.EROFS, "its file system is read-only; permit it, or choose another --out"),
        (errno.ENOSPC, "no space is left on its disk; make room there, or choose another --out"),
        (errno.EDQUOT, "the quota of its disk is used up; make room there, or choose another --out"),
        (errno.ENAMETOOLONG, "the name is too long; choose another --out"),
        (errno.ENOENT, "nothing can be made in {there}; choose another --out"),
        (errno.EIO, "input/output error; choose another --out"),
    ],
)
def test_a_refusal_says_which_path_and_why_and_what_to_do(number: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "no" / "run-1"
    said = str(refusal(path, OSError(number, os.strerror(number))))
    assert said == f"cannot write to {path}: {words.format(there=tmp_path)}"


def test_what_stands_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=f"cannot write to {tmp_path}/file/runs/a: {tmp_path}/file is a file; choose another"):
        Run.create(tmp_path / "file" / "runs" / "a", RECORD)
    Run.create(tmp_path / "runs" / "supernet", {**RECORD, "created": "", "plan": PLAN, "environment": {}})
    for out, words in (("file/report.html", f"{tmp_path}/file is a file"), ("folder", "it is a folder")):
        said = nas("report", "supernet", "--out", tmp_path / out).error
        assert said == f"cannot write to {tmp_path / out}: {words}; choose another --out"
    assert (tmp_path / "file").read_text() == "mine"


PLAN = {"method": "mixpath", "space": "mixpath-s1", "data": "digits", "settings": {}}


def test_devices_and_pipes_are_not_replaced_and_links_are_written_through(tmp_path: Path) -> None:
    pipe, file, link = tmp_path / "pipe", tmp_path / "file", tmp_path / "link"
    os.mkfifo(pipe)
    with pytest.raises(BadInput, match=r"pipe: it is no regular file; choose another --out"):
        write_atomic(pipe, b"x")
    assert pipe.is_fifo()
    with pytest.raises(BadInput, match=r"pipe is already there; choose another --out"):  # and no advice to remove it
        free(pipe)
    file.write_bytes(b"old")
    link.symlink_to(file)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    with pytest.raises(BadInput, match=r"link is already there; remove it, or name another file"):
        free(link, "name another file")


def test_a_folder_that_the_environment_named_is_named_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("in the way")
    words = ("train-supernet", "mixpath", "--data", "digits", *TINY)
    for root, told in ((str(tmp_path / "runs"), f"now {tmp_path}/runs"), ("", "not set, so runs go to ./runs")):
        monkeypatch.setenv("NAS_RUNS", root)
        said = nas(*words).error
        assert said == (
            f"cannot write to {Path(root or 'runs') / 'mixpath_mixpath-s1_digits-1'}: {tmp_path}/runs is a file; "
            f"set NAS_RUNS ({told}) to another folder, or give --out"
        )
    said = nas(*words, "--out", tmp_path / "runs" / "mine").error
    assert "NAS_RUNS" not in said
    assert "--out" in said


@pytest.mark.parametrize("limit", [1_000, 125_000])
def test_a_checkpoint_that_finds_no_room_says_so_in_no_librarys_words(limit: int, tmp_path: Path) -> None:
    """The first limit stops safetensors, the second torch."""
    run = Run.create(tmp_path / "runs" / "a-1", RECORD)
    run.save(1, {**STATE, "weights": {"w": torch.zeros(3)}, "momentum": 0})
    told, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            no_larger_than(limit)
            run.save(2, {**STATE, "momentum": torch.zeros(60_000)})
        except BadInput as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(told, 10_000).decode() == (
        f"cannot write to {run.path}/checkpoint-000000002: file too large; make room there, or set NAS_RUNS (now "
        f"{tmp_path}/runs) to another folder, or give --out; what was saved before is intact: "
        "nas runs resume a-1 goes on with it"
    )
    assert run.load()[0] == 1  # type: ignore[index]
    assert {p.name for p in run.path.iterdir()} == {"run.json", "checkpoint-000000001"}


def no_larger_than(limit: int) -> None:
    """Within this process files do not grow beyond `limit` bytes."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_what_is_no_matter_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECORD)
    with pytest.raises(AttributeError):
        run.save(1, {"weights": {"w": "no tensor"}})
    assert {p.name for p in run.path.iterdir()} == {"run.json"}


def test_every_file_of_a_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "run", RECORD)
    (run.path / LOG).mkdir()
    with pytest.raises(
        BadInput, match=rf"cannot write to {run.path}/log.jsonl: it is a folder; choose another --out; what was"
    ):
        run.append(LOG, {"epoch": 0})

    def closed(*_: object) -> None:
        raise OSError(next(iter(PERMISSION)), "no")

    monkeypatch.setattr(os, "replace", closed)
    with pytest.raises(BadInput, match=rf"cannot write to {run.path}/run.json: "):
        run.update(status="done")
