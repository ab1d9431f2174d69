"""The command line's contract: names, help, JSON, exit codes, completion, progress, and the story from end to end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, TINY, nas, on_a_terminal, train
from typer.main import get_command

from nas_suite import cli
from nas_suite.cli import app, common, progress
from nas_suite.cli.answer import finite, short
from nas_suite.cli.layout import Table, laid_out
from nas_suite.run import TRIALS, Run, runs_root

SMALLEST = "-".join(["e3k3"] * 12)


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command below one, with its words."""
    for name, child in command.commands.items():
        if isinstance(child, common.Commands):
            yield from walk(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


COMMANDS = dict(walk(get_command(app), "nas"))


def python(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Another Python with this environment and more."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run([sys.executable, *words], env=env, text=True, capture_output=True, check=False)


def run_of(path: Path, **record: Any) -> Run:
    """A run on disk that nothing trained."""
    plan = {"method": "mixpath", "space": "mixpath-s1", "data": "digits", "settings": {}}
    return Run.create(
        path, {"schema": 1, "kind": "supernet", "status": "done", "created": "2026-01-01", "plan": plan, **record}
    )


# --- names, help, completion


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(COMMANDS) == {
        *("nas doctor", "nas spaces list", "nas spaces show", "nas spaces sample", "nas data list", "nas data info"),
        *("nas data get", "nas recipe ls", "nas recipe show", "nas recipe cp", "nas train-supernet", "nas search"),
        *("nas bench list", "nas bench info", "nas bench get", "nas bench import", "nas bench query", "nas bench verify"),
        *("nas bench rm", "nas bench make", "nas rank", "nas compare"),
        *("nas history list", "nas history stats", "nas history add", "nas history import", "nas history export"),
        *("nas history dedupe", "nas meta-train", "nas tune"),
        *("nas latency list", "nas latency build", "nas latency show", "nas latency check", "nas latency calibrate"),
        *("nas latency import", "nas latency export"),
        *("nas retrain", "nas evaluate", "nas runs list", "nas runs show", "nas runs resume", "nas runs rm", "nas report"),
    }


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help_with_an_example_of_itself_and_takes_json(path: str) -> None:
    command = COMMANDS[path]
    assert command.help
    assert re.search(rf"Examples?:\n\n(.*\n\n)?(\w+=\S+ )?{path}\b", command.epilog or "")
    assert "--json" in {option for param in command.params for option in param.opts}
    said = nas(*path.split()[1:], "--help")
    assert said.code == 0
    assert "Example" in said.out
    assert said.err == ""


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_stands_in_the_readme(path: str) -> None:
    assert path in (ROOT / "README.md").read_text()


def test_help_groups_the_commands_in_the_order_of_work() -> None:
    out = nas("--help").out.replace("│ ", "\n ")
    places = [
        out.index(f"\n {word} ")
        for word in ("doctor", "spaces", "recipe", "train-supernet", "search", "retrain", "runs", "report")
    ]
    assert places == sorted(places)
    assert all(title in out for title in ("Look around", "Train and search", "Results"))
    assert re.search(r"Exit codes: 0 done; 1 .*; 2 bad input; 3 .*; 4 target not", " ".join(out.split()))


def test_no_help_and_no_completion_imports_torch() -> None:
    helps = [[*path.split()[1:], "--help"] for path in ["nas", *COMMANDS]]
    code = f"import sys\nfrom nas_suite.cli import invoke\n[invoke(w) for w in {helps}]\nassert 'torch' not in sys.modules"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    code = "import sys\nfrom nas_suite.cli import invoke\ntry: invoke([])\nfinally: assert 'torch' not in sys.modules"
    done = python("-c", code, _NAS_COMPLETE="complete_bash", COMP_WORDS="nas train-supernet ", COMP_CWORD="2")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_help_takes_at_most_a_third_of_the_time_of_importing_torch() -> None:
    def seconds(*words: str) -> float:
        """Of a processor, the least of three: a busy machine must not count."""
        found = []
        for _ in range(3):
            before = os.times()
            assert python(*words).returncode == 0
            after = os.times()
            found.append(after.children_user + after.children_system - before.children_user - before.children_system)
        return min(found)

    assert seconds("-m", "nas_suite", "--help") <= seconds("-c", "import torch") / 3


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("nas train-supernet mix", {"mixpath"}),
        ("nas spaces show mixpath-s", {"mixpath-s1", "mixpath-s2", "mixpath-s3", "mixpath-s4"}),
        ("nas data get f", {"fashion-mnist", "folder"}),
        ("nas recipe show mixpath-d", {"mixpath-digits"}),
        ("nas search mixpath --run my", {"my-run"}),
        ("nas runs show my", {"my-run"}),
        ("nas train-supernet mixpath --space mixpath-s4", {"mixpath-s4"}),
        ("nas train-supernet mixpath --set re", {"retrain."}),
    ],
)
def test_shells_complete_names(words: str, found: set[str], tmp_path: Path) -> None:
    run_of(tmp_path / "runs" / "my-run")
    done = python(
        "-m", "nas_suite", _NAS_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1)
    )  # fmt: skip
    assert set(done.stdout.split()) == found, done.stderr


def test_the_version_is_printed() -> None:
    from nas_suite import __version__

    assert nas("--version").out == f"nas-suite {__version__}\n"


# --- answers


def test_a_space_is_shown_with_its_published_counts() -> None:
    data = nas("spaces", "show", "mixpath-s1", "--arch", SMALLEST, "--json").data
    assert data["name"] == "mixpath-s1"
    assert data["settings"]["width"] == 1.0
    assert data["size"] == 30**12
    assert [len(v["options"]) for v in data["variables"]] == [30] * 12
    assert data["variables"][0]["name"] == "block0"
    assert data["supernet"]["parameters"] == 10_474_602
    assert (data["arch"], data["parameters"], data["macs"]) == (SMALLEST, 2_887_434, 242_772_480)


def test_a_space_is_shown_with_settings_of_ones_own() -> None:
    said = nas("spaces", "show", "mixpath-s1", "--set", "space.m=1", "--set", "space.kernels=3,5")
    assert said.code == 0
    assert "4,096" not in said.out
    assert f"{4**12:,}" in said.out
    assert re.search(r"block0 … block11 +4  e3k3 e3k5 e6k3 e6k5", said.out)


def test_samples_are_repeatable_lines_that_show_takes_back() -> None:
    said = nas("spaces", "sample", "mixpath-s1", "-n", 3, "--seed", 5)
    lines = said.out.splitlines()
    assert len(lines) == 3
    assert lines == nas("spaces", "sample", "mixpath-s1", "-n", 3, "--seed", 5, "--json").data
    assert lines != nas("spaces", "sample", "mixpath-s1", "-n", 3, "--seed", 6, "--json").data
    assert said.err == f"next: nas spaces show mixpath-s1 --arch {lines[0]}\n"
    assert nas("spaces", "show", "mixpath-s1", "--arch", lines[0], "--json").data["arch"] == lines[0]


def test_lists_name_what_there_is() -> None:
    assert {s["name"] for s in nas("spaces", "list", "--json").data} >= {"mixpath-s1", "mixpath-s4"}
    data = {d["name"]: d["present"] for d in nas("data", "list", "--json").data}
    assert (data["digits"], data["cifar10"], data["folder"]) == (True, False, False)
    assert "mixpath-digits" in {r["name"] for r in nas("recipe", "ls", "--json").data}
    assert nas("runs", "list", "--json").data == []
    assert nas("runs", "list").out.startswith("no runs under ")


def test_data_are_described_without_their_test_images() -> None:
    data = nas("data", "info", "digits", "--set", "data.limit=100", "--set", "data.size=8", "--json").data
    assert (data["train"]["images"], data["val"]["images"], len(data["classes"])) == (100, 359, 10)
    assert data["image"]["height"] == 8
    assert "test" not in data
    absent = nas("data", "info", "cifar10")
    assert absent.code == 0
    assert absent.err == "next: nas data get cifar10\n"
    assert "data.path" in nas("data", "info", "folder").err


def test_getting_data_shows_megabytes_and_says_what_to_do_with_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def get(name: str, mirror: str | None = None, progress: Any = None) -> Path:
        assert (name, mirror) == ("mnist", "https://example.org/mnist")
        progress(11_600_000, 11_600_000)
        return tmp_path

    monkeypatch.setattr("nas_suite.data.download.get", get)
    said = nas("data", "get", "mnist", "--mirror", "https://example.org/mnist", "--json")
    assert said.data == {"name": "mnist", "folder": str(tmp_path)}
    assert said.err == "get mnist  100%  12/12 MB\nnext: nas train-supernet mixpath --data mnist\n"


def test_the_doctor_looks_and_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    checks = {check["check"]: check for check in nas("doctor", "--json").data["checks"]}
    assert checks["torch"]["ok"]
    assert {"python", "threads", "device", "bf16", "runs", "data digits", "google-crc32c", "benchmark s4-digits"} <= set(checks)
    assert checks["data cifar10"]["ok"] is checks["benchmark nb101"]["ok"] is None
    assert "threads" in nas("doctor").out


def test_recipes_are_shown_and_copied(tmp_path: Path) -> None:
    text = nas("recipe", "show", "mixpath-digits", "--json").data["text"]
    assert nas("recipe", "show", "mixpath-digits").out == text
    mine = tmp_path / "mine.toml"
    said = nas("recipe", "cp", "mixpath-digits", mine)
    assert mine.read_text() == text
    assert said.err == f"next: nas train-supernet mixpath --config {mine}\n"
    assert "already there" in nas("recipe", "cp", "mixpath-digits", mine).error


def test_what_json_has_no_number_for_becomes_null() -> None:
    assert finite({"a": (float("nan"), 1.5), "b": [float("inf")]}) == {"a": [None, 1.5], "b": [None]}


def test_plain_tables_are_aligned_with_numbers_to_the_right() -> None:
    table = Table(("name", "count"), [("a", "1"), ("long", "1,000")])
    assert laid_out(table) == "name  count\na         1\nlong  1,000\n"
    assert [short(n) for n in (34, 95_474, 4.461e8, 3e17)] == ["34", "95.47 K", "446.1 M", "3e+17"]


# --- terminals and pipes


def test_a_terminal_gets_colours_unless_told_otherwise() -> None:
    coloured = re.compile(r"\x1b\[(\d;)*[349]\d")
    assert coloured.search(on_a_terminal("--help"))
    assert not coloured.search(on_a_terminal("--help", NO_COLOR="1"))
    drawn = on_a_terminal("recipe", "ls")
    assert "mixpath-digits" in drawn
    assert "─" in drawn
    assert "\x1b" not in on_a_terminal("recipe", "ls", TERM="dumb")


@pytest.mark.parametrize("words", [("--help",), ("recipe", "ls"), ("serch",)])
def test_a_pipe_gets_no_control_codes(words: tuple[str, ...]) -> None:
    done = python("-m", "nas_suite", *words, GITHUB_ACTIONS="true", TERM="xterm-256color")
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout or done.stderr


def test_a_reader_may_leave_early() -> None:
    words = [sys.executable, "-m", "nas_suite", "recipe", "show", "mixpath-digits"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.stdout
    assert child.stderr
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 0
    child.stderr.close()


# --- progress


def test_progress_tells_pace_and_time_left_in_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress.watching("train", "images", 10) as told:
        for step in range(1, 31):
            now += 1.0
            told(step, 30, {"loss": float(step)})
            if step == 1:
                sys.stdout.write("a library talks\n")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "a library talks"
    assert lines[1:3] == [
        "train   33%  100/300 images  10 images/s  ETA 0:00:20  loss 5.5",
        "train   67%  200/300 images  10 images/s  ETA 0:00:10  loss 15.5",
    ]
    assert lines[3:] == ["train  100%  300/300 images  10 images/s  took 0:00:30  loss 25.5"]


def test_the_pace_is_that_of_the_last_minute_and_of_this_process() -> None:
    pace = progress.Pace()
    assert pace.rate() is None
    for second in range(1000):
        pace.mark(float(second), 5000 + (second if second < 900 else 900 + 10 * (second - 900)))
    assert pace.rate() == pytest.approx(10.0)
    assert progress.clock(3725.4) == "1:02:05"


@pytest.mark.slow
def test_a_terminal_gets_one_live_line(tmp_path: Path) -> None:
    text = on_a_terminal("train-supernet", "mixpath", "--data", "digits", *TINY, "--epochs", "3", "--out", str(tmp_path / "s"))
    assert "100%" in text
    assert "━" in text
    assert "images/s" in text


# --- words into values


@pytest.mark.parametrize(
    ("word", "bound"), [("macs=300M", 3e8), ("macs=1.5k", 1500), ("params = 2G", 2e9), ("macs=12", 12), ("macs=1e6", 1e6)]
)
def test_bounds_are_numbers_with_suffixes(word: str, bound: float) -> None:
    assert list(common.bounds([word]).values()) == [bound]


# --- exit codes of what is no bad input


def test_a_fault_of_ours_is_told_shortly_and_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("nas_suite.catalogue.spaces", broken)
    said = nas("spaces", "list", "--json")
    assert said.code == 1
    assert said.out == ""
    assert "ZeroDivisionError: deep inside" in said.err
    assert "fault of nas-suite" in said.err
    assert len(said.err.splitlines()) < 15


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_training_with_everything_saved_and_the_way_back(number: signal.Signals, tmp_path: Path) -> None:
    words = ["train-supernet", "mixpath", "--data", "digits", *TINY, "--epochs", "500", "--json"]
    child = subprocess.Popen(
        [sys.executable, "-m", "nas_suite", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    folder = tmp_path / "runs" / "mixpath_mixpath-s1_digits-1"
    while child.poll() is None and not list(folder.glob("checkpoint-*")):
        time.sleep(0.1)
    child.send_signal(number)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 128 + number
    assert out == ""
    assert err.splitlines()[-1] == f"resume with: nas runs resume {folder.name}"
    assert Run.open(folder).state == "interrupted"
    assert "next: nas runs resume" in nas("runs", "show", folder.name).err


# --- runs


def test_rm_asks_and_removes(tmp_path: Path) -> None:
    run = run_of(tmp_path / "runs" / "a")
    run_of(tmp_path / "runs" / "b", kind="search", supernet=str(run.path.resolve()), objectives=[], limits={})
    for reply in ("n\n", ""):
        refused = nas("runs", "rm", "a", answer=reply)
        assert "nothing was removed" in refused.error
        assert "used by b" in refused.err
        assert run.path.exists()
    assert nas("runs", "rm", "a", answer="y\n").code == 0
    assert not run.path.exists()
    assert nas("runs", "rm", tmp_path / "runs" / "b", "--yes", "--json").data == {"removed": [str(tmp_path / "runs" / "b")]}


def test_rm_keeps_a_run_that_is_at_work(tmp_path: Path) -> None:
    run = run_of(tmp_path / "runs" / "a", status="running")
    assert nas("runs", "list", "--json").data[0]["status"] == "stopped"
    with run.locked():
        assert nas("runs", "list", "--json").data[0]["status"] == "running"
        assert "another process" in nas("runs", "rm", "a", "--yes").error
    assert run.path.exists()


def test_a_report_is_written_by_the_reporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    def write(runs: list[Run], out: Path) -> Path:
        out.write_text(" ".join(run.name for run in runs))
        return out

    stub = types.ModuleType("nas_suite.report")
    monkeypatch.setattr(stub, "write", write, raising=False)
    monkeypatch.setitem(sys.modules, "nas_suite.report", stub)
    monkeypatch.setattr(sys.modules["nas_suite"], "report", stub, raising=False)
    for name in "ab":
        run_of(tmp_path / "runs" / name)
    data = nas("report", "a", "b", "--out", tmp_path / "r.html", "--json").data
    assert data["file"] == str(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "a b"
    assert nas("report", "a").out == f"{tmp_path / 'runs' / 'a' / 'report.html'}\n"


# --- the story


@pytest.mark.slow
def test_from_images_to_a_retrained_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_RUNS")
    words = ("train-supernet", "mixpath", "--data", "digits", *TINY, "--epochs", 1, "--batch-size", 32, "--seed", 3)
    supernet = nas(*words, "--json")
    assert supernet.data["run"]["path"] == "runs/mixpath_mixpath-s1_digits-1"
    assert (supernet.data["epochs"], supernet.data["last"]["step"]) == (1, 3)
    assert supernet.err.splitlines()[-1] == "next: nas search mixpath --run mixpath_mixpath-s1_digits-1"
    plan = nas("runs", "show", "mixpath_mixpath-s1_digits-1", "--json").data["plan"]
    assert (plan["seed"], plan["settings"]["method"]["batch_size"], plan["settings"]["method"]["budget"]) == (3, 32, 12)

    search = nas("search", "mixpath", "--max", "macs=1M", "--budget", 8, "--json")
    assert "searching the supernet mixpath_mixpath-s1_digits-1" in search.err
    assert search.data["evaluated"] == 8
    front = search.data["front"]
    assert sum(trial["knee"] for trial in front) == 1
    assert all(trial["values"]["macs"] <= 1e6 for trial in front)
    errors, macs = ([trial["values"][name] for trial in front] for name in ("error", "macs"))
    assert (errors, macs) == (sorted(errors), sorted(macs, reverse=True))
    name = search.data["run"]["name"]
    again = nas("search", "mixpath", "--run", "mixpath_mixpath-s1_digits-1", "--objective", "params", "--json")
    assert (again.data["objectives"], again.data["evaluated"]) == (["params"], 12)

    retrain = nas("retrain", name, "--knee", "--epochs", 1, "--batch-size", 32, "--json")
    assert retrain.data["arch"] == next(trial["arch"] for trial in front if trial["knee"])
    accuracy = retrain.data["result"]["test_accuracy"]
    assert set(accuracy) == {"last", "best"}
    assert all(Path(file).is_file() for file in retrain.data["files"])
    chosen = nas("retrain", name, "--best", len(front), "--epochs", 1, "--json")
    assert chosen.data["arch"] == front[-1]["arch"]

    found = nas("evaluate", retrain.data["run"]["name"], "--json").data
    assert found["test_accuracy"] == accuracy
    shot = nas("evaluate", "mixpath_mixpath-s1_digits-1", "--arch", front[0]["arch"], "--json").data
    assert 0 <= shot["test_accuracy"]["one_shot"] <= 1
    assert nas("runs", "resume", name, "--json").data["front"] == front
    kinds = [run["kind"] for run in nas("runs", "list", "--json").data]
    assert kinds == ["supernet", "search", "search", "retrain", "retrain"]
    assert nas("runs", "show", name).out.count("knee") == 1
    assert "test " in nas("runs", "list").out


@pytest.mark.parametrize("method", ["spos", "fairnas"])
def test_a_single_path_method_takes_one_path_in_every_space(method: str, tmp_path: Path) -> None:
    sets = ("data.size=8", "data.limit=32", "space.width=0.0625", "method.pad=1", "method.batch_size=16")
    sets += ("method.calib_images=16", "method.score_images=16", "space.cells=1")
    words = [word for said in sets for word in ("--set", said)]
    folder = tmp_path / "supernet"
    said = nas("train-supernet", method, "--space", "mixpath-s4", "--data", "digits", *words, "--epochs", 1, "--out", folder)
    assert said.code == 0, said.err
    assert Run.open(folder).record["plan"]["settings"]["space"]["m"] == 1
    found = nas("search", method, "--run", folder, "--budget", 9, "--json").data
    assert {trial["arch"] for trial in found["front"]} <= {"3", "1", "P"}


def test_calib_images_says_how_many_images_calibrate(tmp_path: Path) -> None:
    assert train(tmp_path / "supernet", "--calib-images", 40).code == 0
    assert Run.open(tmp_path / "supernet").record["plan"]["settings"]["method"]["calib_images"] == 40
    values = []
    for name, words in (("as trained", ()), ("few", ("--calib-images", 2))):
        assert nas("search", "mixpath", "--run", tmp_path / "supernet", *words, "--out", tmp_path / name).code == 0
        run = Run.open(tmp_path / name)
        assert run.record["plan"]["settings"]["method"]["calib_images"] == (words or (0, 40))[1]
        values.append([(t["arch"], t["values"]["error"]) for t in run.lines(TRIALS)][:6])
    assert [arch for arch, _ in values[0]] == [arch for arch, _ in values[1]]
    assert values[0] != values[1]


def test_flags_of_a_retraining_go_to_its_own_settings() -> None:
    from nas_suite.plan import Plan, compose

    plan = compose(Plan(), own="retrain", epochs=7, seed=2)
    assert (plan.part("retrain"), plan.part("method"), plan.seed) == ({"epochs": 7}, {}, 2)


def test_the_module_is_the_command() -> None:
    done = python("-m", "nas_suite", "--version")
    assert done.stdout.startswith("nas-suite ")
    assert cli.main.__doc__


def test_the_next_command_can_be_pasted_and_runs_may_lie_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    said = nas("spaces", "sample", "nasbench201", "-n", 1)
    assert f"--arch '{said.out.strip()}'" in said.err
    monkeypatch.setenv("NAS_RUNS", "~/runs")
    assert runs_root() == Path.home() / "runs"


def test_an_unknown_benchmark_is_answered_with_each_known_one_once() -> None:
    said = nas("rank", "--bench", "s4-digit").error
    assert said.partition("there are: ")[2].split(", ").count("s4-digits") == 1
