"""Runs on disk: whole or absent, never half; damaged, foreign and cut-off files are told apart in one line."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command import nas

from nas_suite.disk import repair_tail, write_atomic
from nas_suite.errors import BadInput
from nas_suite.run import LOG, Run, all_runs, handle, run_at, runs_root


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


def test_a_run_that_a_full_disk_refuses_leaves_no_folder() -> None:
    child = os.fork()
    if child == 0:
        full(10)
        try:
            Run.numbered("rank_toy", {"schema": 1, "kind": "rank", "status": "running"})
        except BadInput:
            os._exit(42)
        os._exit(43)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert list(runs_root().iterdir()) == []


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


PLAN = {"method": "mixpath", "space": "mixpath-s1", "data": "digits", "settings": {}}
RECORD = {"schema": 1, "kind": "supernet", "status": "done", "created": "2026-01-01", "plan": PLAN, "environment": {}}


def at_once(job: Any, processes: int = 8) -> list[int]:
    """Exit codes of processes that all begin a job at the same moment: 0, or 42 for BadInput."""
    start = time.time() + 0.2
    children = []
    for _ in range(processes):
        if (child := os.fork()) == 0:
            try:
                time.sleep(max(0.0, start - time.time()))
                job()
                os._exit(0)
            except BadInput:
                os._exit(42)
            finally:
                os._exit(1)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_processes_that_begin_at_once_get_a_number_each(tmp_path: Path) -> None:
    assert at_once(lambda: [Run.numbered("train", {**RECORD, "pid": os.getpid()}) for _ in range(5)]) == [0] * 8
    runs = all_runs()
    assert {run.name for run in runs} == {f"train-{number}" for number in range(1, 41)}
    assert all(sum(run.record["pid"] == other.record["pid"] for other in runs) == 5 for run in runs)


def test_of_processes_that_ask_for_one_folder_one_gets_it(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"one{attempt}"
        codes = at_once(lambda path=path: Run.create(path, {**RECORD, "pid": os.getpid()}))
        assert sorted(codes) == [0] + [42] * 7
        assert [p.name for p in path.iterdir()] == ["run.json"]


def test_what_a_kill_left_half_written_is_removed_but_not_what_is_being_written(run: Run) -> None:
    (run.path / ".part-000000003").mkdir()
    (run.path / ".part-000000003" / "weights.safetensors").write_text("half")
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    for pid in (dead, os.getpid(), os.getppid()):
        (run.path / f".run.json.{pid}.part").write_text("half")
    run.tidy()
    assert {p.name for p in run.path.iterdir()} == {"run.json", f".run.json.{os.getppid()}.part"}


def test_a_look_at_its_state_does_not_stop_a_run_from_going_on(run: Run) -> None:
    ready, told = os.pipe()
    looker = os.fork()
    if looker == 0:
        with run.locked():
            os.write(told, b"x")
            time.sleep(0.3)
        os._exit(0)
    os.read(ready, 1)
    began = time.monotonic()
    assert run.update(status="running").state == "running"
    assert time.monotonic() - began < 0.2
    with run.locked():
        pass
    os.waitpid(looker, 0)


@pytest.mark.parametrize(
    "change",
    [{"kind": "foo"}, {"status": 3}, {"created": None}, {"plan": {}}, {"plan": {**PLAN, "settings": 1}}, {"kind": "search"}],
)
def test_a_foreign_record_is_named_and_nothing_works_with_it(change: dict[str, Any], tmp_path: Path) -> None:
    Run.create(tmp_path / "runs" / "good", RECORD)
    Run.create(tmp_path / "runs" / "foreign", {**RECORD, **change})
    Run.create(tmp_path / "runs" / "bare", {"schema": 1})
    assert [run.name for run in all_runs()] == ["good"]
    listed = {run["name"]: (run["status"], run["fault"] is None) for run in nas("runs", "list", "--json").data}
    assert listed == {"good": ("done", True), "bare": ("unreadable", False), "foreign": ("unreadable", False)}
    for name in ("foreign", "bare"):
        for words in (("runs", "show"), ("runs", "resume"), ("report",)):
            assert "is not a run record of ours" in nas(*words, name).error


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no JSON"), ('{"schema": 1, "kind": "sup', "no JSON"), ("\x00\xff", "no JSON"), ("[" * 10**5, "no JSON"),
     ("[1]", "schema 1"), ('{"schema": 99}', "schema 1"), ('{"schema": 1, "kind": []}', "kind is []"), (None, "directory")],
    ids=["empty", "cut", "bytes", "deep", "list", "newer", "kind", "folder"],
)  # fmt: skip
def test_a_run_with_a_broken_record_is_listed_named_and_can_be_removed(text: str | None, why: str, tmp_path: Path) -> None:
    Run.create(tmp_path / "runs" / "good", RECORD)
    broken = Run.create(tmp_path / "runs" / "broken", RECORD)
    broken.append(LOG, {"epoch": 0})
    broken.save(1, state(1.0))
    (broken.path / "run.json").unlink()
    (broken.path / "run.json").mkdir() if text is None else (broken.path / "run.json").write_text(text)
    rows = nas("runs", "list").out.splitlines()
    assert len(rows) == 3
    assert "unreadable" in rows[2]
    assert why in rows[2]
    [good, bad] = nas("runs", "list", "--json").data
    assert (good["name"], good["fault"]) == ("good", None)
    assert good.keys() == bad.keys()
    assert (bad["name"], bad["status"], bad["path"]) == ("broken", "unreadable", str(broken.path))
    assert why in bad["fault"]
    for words in (("runs", "show"), ("runs", "resume"), ("report",), ("evaluate",), ("retrain",)):
        said = nas(*words, "broken")
        assert said.code == 2
        assert why in said.error
        assert "nas runs rm broken" in said.error
    if text is None:  # no run writes a folder of this name
        assert "by hand" in nas("runs", "rm", "broken", "--yes").error
        return
    assert nas("runs", "rm", "broken").code == 2
    assert broken.path.exists()
    said = nas("runs", "rm", "broken", "good", str(broken.path), "--yes", "--json")
    assert said.data["removed"] == [str(broken.path), str(tmp_path / "runs" / "good")]
    assert "unreadable" in said.err
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_that_is_not_evidently_a_run_is_not_removed(tmp_path: Path) -> None:
    """Outside of the folder of runs, with something in it that no run writes, or only linked to."""
    outside, mixed = tmp_path / "outside", tmp_path / "runs" / "mixed"
    for folder in (outside, mixed):
        folder.mkdir(parents=True)
        (folder / "run.json").write_text('{"version": 3}')
    (mixed / "thesis.tex").write_text("mine")
    (tmp_path / "runs" / "link").symlink_to(outside)
    assert "thesis.tex" in nas("runs", "rm", "mixed", "--yes").error
    for name in ("mixed", "link", outside, "../outside"):
        assert nas("runs", "rm", name, "--yes").code == 2
    assert (outside / "run.json").exists()
    assert {p.name for p in mixed.iterdir()} == {"run.json", "thesis.tex"}


def test_lines_of_a_log_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "supernet", RECORD)
    run.append(LOG, {"epoch": 0, "step": 4, "loss": 2.0})
    with open(run.path / LOG, "ab") as file:
        file.write(b"\xff\xfe\x00garbage\n[1]\n" + b'{"note": "\xff"}\n{"epoch": "x"}\n{"epoch": 1}\n')
    assert [line["epoch"] for line in run.epochs()] == [0, 1]
    for words in (("runs", "list"), ("runs", "show", "supernet"), ("report", "supernet")):
        said = nas(*words)
        assert said.code == 0, said.err


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot write to .*--out"):
        Run.create(tmp_path / ("x" * 280), RECORD)
    with pytest.raises(BadInput, match="no run"):
        run_at("x" * 280)


def test_a_run_is_named_as_a_shell_takes_it(tmp_path: Path) -> None:
    assert handle(Run(tmp_path / "runs" / "plain-1", {})) == "plain-1"
    assert handle(Run(tmp_path / "a b; rm", {})) == f"'{tmp_path}/a b; rm'"
    Run.create(tmp_path / "runs" / "-x", RECORD)
    assert handle(run_at("./-x")) == "./-x"
