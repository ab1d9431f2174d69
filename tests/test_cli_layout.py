"""Tables on terminals of 80 characters: nothing cut, nothing broken that is to be pasted; outputs that refuse."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, nas, on_a_terminal
from test_cli import run_of

from nas_suite import pipeline
from nas_suite.cli import rankings
from nas_suite.cli.bench import counted
from nas_suite.cli.layout import Prose, Table, folded, laid_out
from nas_suite.run import Run

ARCH = "-".join(["e6k3579"] * 12)  # 95 characters
SHORT = "-".join(["e3k3"] * 12)
NAME = "a-rather-long-name-that-somebody-gave-to-a-run-of-theirs-1"


def tokens(text: str) -> list[str]:
    return sorted(text.replace("─", " ").split())


@pytest.mark.parametrize(
    "words",
    [
        ("spaces", "list"),
        ("spaces", "show", "nasbench201"),
        ("spaces", "show", "tfnas"),
        ("data", "list"),
        ("data", "info", "digits"),
        ("recipe", "ls"),
        ("bench", "list"),
        ("bench", "info", "s4-digits"),
        ("bench", "query", "s4-digits", "--arch", "331P"),
        ("doctor",),
        ("runs", "list"),
        ("runs", "show", NAME),
    ],
    ids=" ".join,
)
def test_a_narrow_terminal_gets_every_word_that_a_pipe_gets(words: tuple[str, ...], tmp_path: Path) -> None:
    search(tmp_path / "runs" / NAME)
    shown, piped = nas(*words, screen=80).out, nas(*words).out
    free = re.compile(r"[\d.,]+ GB|\d+ of \d+ processors")  # other processes take of these between the two
    assert tokens(free.sub("", shown)) == tokens(free.sub("", piped))
    whole = [line for line in shown.splitlines() if len(line) > 80]
    assert all(re.search(r"\S{60}| (nas|/)", line) for line in whole), whole  # what is longer by itself, or is to be pasted


def search(path: Path) -> Run:
    """A finished search whose front has two networks."""
    supernet = str(path.parent / "supernet")
    found = run_of(path, kind="search", supernet=supernet, objectives=["error", "macs", "params"], limits={}, environment={})
    for arch, error in ((ARCH, 0.25), (SHORT, 0.5)):
        values = {"error": error, "macs": 1e6 / error, "params": 1e5 / error}
        found.append("trials.jsonl", {"arch": arch, "status": "ok", "values": values})
    return found


def test_architectures_and_figures_of_a_front_stay_whole(tmp_path: Path) -> None:
    search(tmp_path / "runs" / NAME)
    out = on_a_terminal("runs", "show", NAME, COLUMNS="80").replace("\r\n", "\n")
    assert ARCH in out
    assert SHORT in out
    assert re.search(r"1 +25\.00 % +4 M +400 K", out)


def test_prose_folds_before_columns_do_and_columns_before_anything_is_cut() -> None:
    table = Table(("name", "about", "count"), [("a" * 30, Prose("one two " * 10), "1,000"), ("b", Prose("x"), "2")])
    assert laid_out(table).count("\n") == 3
    lines = laid_out(table, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["name", "about", "count"]
    assert lines[1] == "─" * max(map(len, [lines[0], *lines[2:]]))
    assert len(lines) == 2 + 2 + 1
    lines = laid_out(table, 40).splitlines()
    assert lines[:3] == ["name", "  about", "  count"]
    assert max(map(len, lines)) <= 40
    assert sorted(" ".join(lines[4:]).split()) == sorted(" ".join(map(" ".join, table.rows)).split())


def test_a_text_wider_than_the_terminal_is_neither_cut_nor_broken() -> None:
    assert f"  {'x' * 100}\n" in laid_out(Table(("n", "text"), [("1", "x" * 100)]), 80)
    assert folded("word " * 40, 80) == ["word " * 40]
    assert all(len(line) <= 80 for line in folded(Prose("word " * 40), 80))
    assert folded(Prose("word " * 40), math.inf) == ["word " * 40]


def test_wide_characters_take_two_places() -> None:
    assert laid_out(Table(("class", "n"), [("花", "1"), ("rose", "20")])) == "class   n\n花      1\nrose   20\n"


# --- outputs that refuse


def refused(*words: str, buffered: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": buffered}
    with open("/dev/full", "w") as full:
        return subprocess.run(
            [sys.executable, "-m", "nas_suite", *words], env=env, text=True, stdout=full, stderr=subprocess.PIPE, check=False
        )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no file that is always full")
@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "at once"])
@pytest.mark.parametrize("words", [("recipe", "ls"), ("recipe", "ls", "--json"), ("--version",), ("spaces", "--help")])
def test_a_full_output_is_told_in_one_line(words: tuple[str, ...], buffered: str) -> None:
    done = refused(*words, buffered=buffered)
    assert done.returncode == 2
    assert re.fullmatch(r"error: cannot (print|write).*: No space left on device; .*\n", done.stderr)


# --- what figures mean


def test_sizes_that_differ_say_why() -> None:
    assert "5,044 distinct, of 15,625 spellings" in nas("spaces", "show", "nasbench201").out
    assert re.search(r"networks +34,480,447,193,088,000$", nas("spaces", "show", "tfnas").out, re.M)
    assert counted(15_625, 5_044).startswith("15,625: the space has 5,044 distinct networks")
    assert counted(200, 5_044) == "200, of the 5.044 K networks of its space"
    assert counted(34, 34) == "34"
    assert re.search(r"rows +34$", nas("bench", "info", "s4-digits").out, re.M)


def test_the_columns_of_a_ranking_have_units_and_a_legend() -> None:
    entry = {"name": "params", "regret_at": {"1": 0.02}, "precision_top10": 0.5, "seconds": 2.0}
    entry |= dict.fromkeys(("tau", "tau_low", "tau_high", "spearman", "weighted_tau", "tau_top10"), 0.5)
    shares, times = ({"unit": unit, "estimators": [entry]} for unit in ("share", "ms"))
    assert {"regret@1, %", "cost, s"} <= set(rankings.table(shares).columns)
    assert "regret@1, ms" in rankings.table(times).columns
    assert "in percentage points;" in rankings.legend("share")
    assert "in ms;" in rankings.legend("ms")


def test_a_retrained_network_is_told_of_in_the_same_words_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = {"last": 0.9, "best": 0.92}
    result = {"test_accuracy": test, "best_epoch": 4, "val_accuracy": 0.9, "params": 1e4, "macs": 1e6}
    run = run_of(tmp_path / "runs" / "mine", kind="retrain", arch=SHORT, result=result, environment={})
    monkeypatch.setattr(pipeline, "evaluate", lambda run, plan, arch: {"arch": SHORT, "test_accuracy": test})
    lines = [line for line in nas("runs", "show", run.path).out.splitlines() if line.startswith("test accuracy")]
    told = [line for line in nas("evaluate", run.path).out.splitlines() if line.startswith("test accuracy")]
    assert [line.split() for line in told] == [line.split() for line in lines]
    assert len(told) == 2
