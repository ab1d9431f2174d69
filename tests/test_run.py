"""Runs on disk: whole or absent, never half; damaged, foreign and cut-off files are told apart in one line."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_suite.errors import BadInput
from nas_suite.run import LOG, Run, repair_tail, write_atomic


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {"schema": 1, "kind": "supernet"})


def state(value: float) -> dict[str, Any]:
    return {"weights": {"w": torch.full((3, 2), value)}, "descent": {"taken": int(value), "m": torch.ones(2) * value}}


def test_a_checkpoint_comes_back_as_it_went(run: Run) -> None:
    run.save(7, state(7.0))
    step, back = run.load()  # type: ignore[misc]
    assert step == 7
    assert torch.equal(back["weights"]["w"], torch.full((3, 2), 7.0))
    assert back["descent"]["taken"] == 7
    assert torch.equal(back["descent"]["m"], torch.ones(2) * 7)


def test_weights_keep_the_order_of_their_memory(run: Run) -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    run.save(1, {"weights": {"w": weight}, "momentum": weight.clone()})
    _, back = run.load()  # type: ignore[misc]
    assert torch.equal(back["weights"]["w"], weight)
    assert back["momentum"].is_contiguous(memory_format=torch.channels_last)


def test_two_checkpoints_are_kept(run: Run) -> None:
    for step in (1, 2, 3, 10):
        run.save(step, state(step))
    assert [p.name[-2:] for p in run.checkpoints()] == ["10", "03"]


def test_nothing_saved_loads_as_nothing(run: Run) -> None:
    assert run.load() is None


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "garbage"])
def test_a_damaged_checkpoint_falls_back_on_the_one_before(run: Run, name: str, damage: str) -> None:
    run.save(1, state(1.0))
    run.save(2, state(2.0))
    file = run.checkpoints()[0] / name
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"\x80\x04garbage")
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    step, _ = run.load()  # type: ignore[misc]
    assert step == 1
    shutil.copy(file, run.checkpoints()[1] / name) if damage != "gone" else (run.checkpoints()[1] / name).unlink()
    with pytest.raises(BadInput, match="damaged"):
        run.load()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def test_a_foreign_pickle_is_not_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas_suite.run import digest

    monkeypatch.chdir(tmp_path)
    run.save(1, state(1.0))
    folder = run.checkpoints()[0]
    torch.save({"x": Evil()}, folder / "state.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["state.pt"] = digest(folder / "state.pt")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="no checkpoint of ours"):
        run.load()
    assert not (tmp_path / "pwned").exists()


def test_a_folder_that_is_in_use_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"already there.*--out"):
        Run.create(tmp_path / "full", {"schema": 1})
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["precious.txt"]
    with pytest.raises(BadInput, match="already there"):
        Run.create(tmp_path / "full" / "precious.txt", {"schema": 1})


def test_an_existing_run_is_offered_to_be_resumed(run: Run) -> None:
    with pytest.raises(BadInput, match="nas runs resume"):
        Run.create(run.path, {"schema": 1})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot write to /proc.*--out"):
        Run.create(Path("/proc/nas/run"), {"schema": 1})
    with pytest.raises(BadInput, match="no run"):
        Run.open(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"schema": 99}', "\x00\xff"])
def test_a_record_that_cannot_be_read_is_named(run: Run, text: str) -> None:
    (run.path / "run.json").write_text(text)
    with pytest.raises(BadInput, match=r"run\.json"):
        Run.open(run.path)


def test_a_line_that_a_kill_cut_off_does_not_count(run: Run) -> None:
    run.append(LOG, {"step": 1})
    with open(run.path / LOG, "a") as file:
        file.write('{"step": 2, "lo')
    assert run.lines(LOG) == [{"step": 1}]
    repair_tail(run.path / LOG)
    run.append(LOG, {"step": 2})
    assert run.lines(LOG) == [{"step": 1}, {"step": 2}]


def test_two_processes_do_not_write_one_run(run: Run) -> None:
    with run.locked():
        child = os.fork()
        if child == 0:
            try:
                with run.locked():
                    os._exit(0)
            except BadInput:
                os._exit(42)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def full(limit: int) -> None:
    """Makes this process's files fail to grow beyond `limit` bytes, as a full disk does."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_a_full_disk_loses_nothing_that_was_saved(run: Run) -> None:
    run.save(1, state(1.0))
    run.append(LOG, {"step": 1})
    child = os.fork()
    if child == 0:
        full(100)
        try:
            run.save(2, {"weights": {"w": torch.zeros(1000)}})
        except BadInput as error:
            os._exit(42 if "intact" in str(error) and "\n" not in str(error) else 43)
        os._exit(44)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    step, _ = run.load()  # type: ignore[misc]
    assert step == 1
    assert sorted(p.name for p in run.path.iterdir()) == ["checkpoint-000000001", "log.jsonl", "run.json"]


def test_a_full_disk_keeps_the_file_that_stood_there(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"before")
    child = os.fork()
    if child == 0:
        full(10)
        try:
            write_atomic(target, b"x" * 1000)
        except BadInput:
            os._exit(42)
        os._exit(43)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert target.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
