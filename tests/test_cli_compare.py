"""`nas compare` from the command line: its answer as a contract, its tables, its run among runs, what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import nas
from test_cli_layout import tokens

from nas_suite import tables
from nas_suite.pipeline.comparing import CURVES
from nas_suite.run import JOBS, Run, run_at, runs_root
from nas_suite.spaces import SPACES
from nas_suite.tables import Column, Draft, accuracy

BOTH = ("compare", "random", "evolution", "--bench", "s4-digits")
FEW = (*BOTH, "--budget", 12, "--seeds", 3)


def toy(*columns: Column, name: str = "toy") -> None:
    archs, rng = list(SPACES.build("mixpath-s4", {}).everything()), np.random.default_rng(0)
    tables.write(Draft(name, "mixpath-s4", np.array(archs), [(c, rng.random(34).astype(np.float32)) for c in columns]))


def test_the_answer_is_a_contract() -> None:
    data = nas(*FEW, "--same-init", "--json").data
    assert [s["name"] for s in data["searchers"]] == ["random", "evolution"]
    for s in data["searchers"]:
        assert set(s) == {"name", "seeds", "regret", "rank", "rank_interval", "evaluations_to_optimum", "seconds"}
        assert s["seeds"] == 3
        assert list(s["regret"]) == ["5", "10", "12"]
        for bounds in s["regret"].values():
            assert set(bounds) == {"mean", "low", "high"}
            assert 0 <= bounds["low"] <= bounds["mean"] <= bounds["high"] <= 1
        assert set(s["evaluations_to_optimum"]) == {"median", "reached"}
        assert s["seconds"] > 0
    names = ("bench", "space", "dataset", "feedback", "metric", "unit", "budget", "seeds", "seed", "same_init", "design", "at")
    assert [data[name] for name in names] == [
        *("s4-digits", "mixpath-s4", "digits", "digits/val@25", "digits/test@25", "share", 12, 3, 0, True, 5, [5, 10, 12])
    ]
    table = tables.Table.open(tables.there()["s4-digits"])
    values = table.means("digits/test@25")
    assert data["optimum"] == {"arch": "33", "value": pytest.approx(values.max())}
    assert data["floor"] == pytest.approx(values.max() - values[table.means("digits/val@25").argmax()])
    assert (data["candidates"], data["of"], data["spellings"]) == (34, 34, False)
    assert data["run"]["kind"] == "compare"
    assert (data["run"]["space"], data["run"]["data"]) == ("mixpath-s4", "digits")


def test_the_figures_are_those_of_the_trajectories() -> None:
    data = nas(*FEW, "--json").data
    run = Run.open(Path(data["run"]["path"]))
    table = tables.Table.open(tables.there()["s4-digits"])
    val, test = table.means("digits/val@25"), table.means("digits/test@25")
    drawn = json.loads((run.path / CURVES).read_text())["searchers"]
    for told, curve in zip(data["searchers"], drawn, strict=True):
        own = sorted((line for line in run.lines(JOBS) if line["searcher"] == told["name"]), key=lambda line: line["seed"])
        for line in own:
            best = [max(line["rows"][: k + 1], key=lambda row: val[row]) for k in range(12)]
            assert curve["seeds"][str(line["seed"])] == pytest.approx([test.max() - test[row] for row in best])
        for at in (5, 10, 12):
            by_seed = [curve["seeds"][str(line["seed"])][at - 1] for line in own]
            assert told["regret"][str(at)]["mean"] == pytest.approx(np.mean(by_seed))
            assert curve["mean"][at - 1] == pytest.approx(np.mean(by_seed))


def test_one_seed_has_no_interval() -> None:
    words = (*BOTH, "--budget", 12, "--seeds", 1)
    assert nas(*words, "--json").data["searchers"][0]["regret"]["12"]["low"] is None
    assert "95 % interval" not in nas(*words).out


def test_one_search_made_by_every_seed_has_no_interval_either(tmp_path: Path) -> None:
    file = tmp_path / "begin.txt"
    file.write_text("1\n3\n13\nPPP\n331\n")
    words = ("compare", "gp-ei", "random", "--bench", "s4-digits", "--budget", 8, "--seeds", 3, "--init", file)
    data = nas(*words, "--json").data
    ours, chance = (one["regret"]["8"] for one in data["searchers"])
    assert (ours["low"], ours["high"]) == (None, None)
    assert chance["low"] <= chance["mean"] <= chance["high"]
    said = "gp-ei: all 3 seeds made one and the same search, so that it has no interval"
    assert data["notes"] == [said]
    shown = nas("runs", "show", data["run"]["name"]).out
    assert "95 % interval" in shown
    two = nas(*BOTH, "--budget", 6, "--seeds", 2, "--init", file).out
    assert "inside the noise" not in two  # of which two seeds tell nothing
    assert "–" in two
    assert said in " ".join(shown.split())
    assert nas("report", data["run"]["name"], "--out", tmp_path / "r.html").code == 0


def test_seeds_feedback_and_a_searcher_named_twice() -> None:
    data = nas(
        "compare", "random", "random", "--bench", "s4-digits", "--budget", 6, "--seed", 4, "--feedback", "test", "--json"
    )
    data = data.data
    assert [s["name"] for s in data["searchers"]] == ["random"]
    assert (data["seed"], data["seeds"]) == (4, 8)
    assert data["feedback"] == data["metric"] == "digits/test@25"
    assert data["floor"] == 0
    assert {line["seed"] for line in run_at(data["run"]["name"]).lines(JOBS)} == set(range(4, 12))


def test_a_design_is_given(tmp_path: Path) -> None:
    file = tmp_path / "begin.txt"
    file.write_text("331P\n\n1\n33\nPPPP\n1\n3\n13\n")
    said = nas(*FEW, "--init", file)
    assert re.search(r"begin +all searchers of a seed with the same 6 networks, given by --init\n", said.out)
    run = run_at("compare_s4-digits-1")
    space = SPACES.build("mixpath-s4", {})
    table = tables.Table.open(tables.there()["s4-digits"])
    wanted = [table.find(space.canonical(space.parse(text)) or ()) for text in ("331P", "1", "33", "PPPP", "3", "13")]
    assert all(line["rows"][:6] == wanted for line in run.lines(JOBS))
    assert run.record["result"]["differences"]
    page = Path(nas("report", run.name, "--json").data["file"]).read_text()
    assert "begin with the same 6 networks, given by --init." in page
    assert nas(*BOTH, "--budget", 5, "--init", file).error.startswith(
        "--budget 5 is too few: at least 6, the networks of an initial"
    )
    assert nas(*FEW, "--init", tmp_path / "none.txt").error.startswith(f"--init {tmp_path / 'none.txt'} cannot be read")
    file.write_text("\n")
    assert nas(*FEW, "--init", file).error == f"--init {file} is empty; it has an architecture a line"
    file.write_text("331X\n")
    assert "X" in nas(*FEW, "--init", file).error


def test_a_dataset_is_named() -> None:
    toy(
        accuracy("digits", "val", 9),
        accuracy("letters", "val", 9),
        accuracy("letters", "val", 99),
        accuracy("letters", "test", 9),
    )
    words = ("compare", "random", "--bench", "toy", "--budget", 5, "--seeds", 2, "--json")
    assert nas(*words).data["feedback"] == "digits/val@9"
    data = nas(*words, "--dataset", "letters").data
    assert (data["feedback"], data["metric"], data["dataset"]) == ("letters/val@99", "letters/test@9", "letters")


def test_without_a_budget_a_small_benchmark_is_searched_whole() -> None:
    data = nas("compare", "random", "--bench", "s4-digits", "--seeds", 1, "--json").data
    assert (data["budget"], data["candidates"]) == (34, 34)
    assert "--budget 0 is too few" in nas("compare", "random", "--bench", "s4-digits", "--budget", 0).error


def test_text_says_what_was_compared_and_how() -> None:
    said = nas(*FEW, "--same-init").out
    assert re.search(r"candidates +34 distinct networks, each by its canonical spelling\n", said)
    assert re.search(r"judged by +digits/test@25; the searchers are told digits/val@25\n", said)
    assert re.search(r"begin +all searchers of a seed with the same 5 networks, drawn at random\n", said)
    assert re.search(r"effort +12 evaluations, 3 seeds\n", said)
    assert re.search(r"regret after +5 +10 +12 +optimum +s\n", said)
    assert re.search(r"95 % interval +5 +10 +12\n", said)
    assert re.search(r"mean rank +5 +10 +12\n", said)
    assert re.search(r"evolution +5 +\+0\.00 +\+0\.00 … \+0\.00 +inside the noise\n", said)
    spelt = nas(*FEW, "--spellings", "--feedback", "test").out
    assert re.search(r"candidates +34 spellings, each a candidate\n", spelt)
    assert re.search(r"judged by +digits/test@25; the searchers are told of it too\n", spelt)
    assert re.search(r"begin +each searcher's own\n", spelt)


def test_what_is_not_reached_is_said() -> None:
    toy(accuracy("digits", "val", 9))
    data = nas("compare", "random", "--bench", "toy", "--budget", 5, "--seeds", 3, "--json").data
    assert data["searchers"][0]["evaluations_to_optimum"]["median"] is None
    assert "not in 5" in nas("runs", "show", data["run"]["name"]).out


def test_a_terminal_of_80_characters_gets_it_all_on_its_lines() -> None:
    name = nas(*BOTH, "--budget", 33, "--same-init", "--json").data["run"]["name"]
    shown, piped = nas("runs", "show", name, screen=80).out, nas("runs", "show", name).out
    assert tokens(shown) == tokens(piped)
    long = [line for line in shown.splitlines() if len(line) > 80]
    assert all(line.startswith("run  ") for line in long), long  # its folder, which is to be pasted
    heading = next(line for line in shown.splitlines() if line.startswith("regret after"))
    assert heading.split() == ["regret", "after", "5", "10", "20", "30", "33", "optimum", "s"]


def test_a_comparison_is_a_run_among_runs(tmp_path: Path) -> None:
    said = nas(*FEW)
    assert said.err.splitlines()[-1] == "next: nas report compare_s4-digits-1"
    listed = nas("runs", "list").out
    assert re.search(r"compare_s4-digits-1 +compare +done .* 6 of 6 searches\n", listed)
    run = run_at("compare_s4-digits-1")
    run.rewrite(JOBS, run.lines(JOBS)[:4])
    run.update(status="interrupted", result=None)
    assert re.search(r"4 of 6 searches\n", nas("runs", "list").out)
    shown = nas("runs", "show", run.name)
    assert re.search(r"benchmark +s4-digits\n", shown.out)
    assert shown.err.splitlines()[-1] == "next: nas runs resume compare_s4-digits-1"
    assert nas("runs", "show", run.name, "--json").data["bench"] == "s4-digits"
    resumed = nas("runs", "resume", run.name)
    assert "6/6 searches" in resumed.err
    assert figures(resumed.out) == figures(said.out)
    assert nas("runs", "rm", run.name, "--yes").code == 0
    assert not run.path.exists()


def figures(out: str) -> list[str]:
    """The lines of intervals and ranks, in which no time stands."""
    lines = out.splitlines()
    return [*lines[lines.index(next(line for line in lines if line.startswith("95 % interval"))) :][:7]]


def test_an_example_of_the_help_runs() -> None:
    said = nas("compare", "--help").out
    assert "nas compare random evolution --bench s4-digits --budget 20" in said
    assert nas("compare", "random", "evolution", "--bench", "s4-digits", "--budget", 20).code == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("compare", "randm", "--bench", "s4-digits"), ("'randm'", "did you mean 'random'?", "evolution")),
        (("compare", "--bench", "s4-digits"), ("Missing argument 'SEARCHER...'", "nas compare --help")),
        (("compare", "random"), ("Missing option '--bench'",)),
        (("compare", "random", "--bench", "s4-digts"), ("unknown benchmark 's4-digts'", "did you mean 's4-digits'?")),
        ((*BOTH, "--dataset", "digit"), ("s4-digits has no data set 'digit'", "did you mean 'digits'?")),
        ((*BOTH, "--budget", 4), ("--budget 4 is too few: at least 5, the networks of an initial design",)),
        ((*BOTH, "--budget", 35), ("--budget 35 is more than the 34 networks of s4-digits",)),
        ((*BOTH, "--budget", 12, "--seeds", 0), ("--seeds 0 is too few: at least 1",)),
        ((*BOTH, "--budget", 12, "--workers", 0), ("--workers 0 is too few: at least 1",)),
        (("compare", "hebo", "--bench", "s4-digits", "--budget", 5), ("hebo", "cannot be installed", "gp-ei")),
        (
            ("compare", "tnas", "--bench", "s4-digits", "--budget", 5),
            ("tnas searches with a learned surrogate: give --checkpoint",),
        ),
        ((*BOTH, "--feedback", "train"), ("'--feedback'", "train")),
    ],
    ids=lambda value: " ".join(map(str, value))[:60],
)
def test_what_cannot_be_compared_is_refused_in_one_line(words: tuple[object, ...], parts: tuple[str, ...]) -> None:
    said = nas(*words)
    assert said.code == 2
    assert all(part in said.error for part in parts), said.error
    assert not runs_root().exists()


def test_a_benchmark_that_is_not_here_names_the_command_that_gets_it() -> None:
    said = nas("compare", "random", "--bench", "nb201")
    assert said.code == 3
    assert said.error == "benchmark nb201 is not on this machine: nas bench get nb201"


def test_a_benchmark_is_offered_where_the_rest_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("nas_suite.cli.compare.offered", asked.append)
    assert nas("compare", "randm", "--bench", "nb201").code == 2
    assert nas("compare", "random", "--bench", "nb201", "--seeds", 0).code == 2
    assert asked == []
    assert nas("compare", "random", "--bench", "nb201").code == 3
    assert asked == ["nb201"]


def test_columns_that_a_benchmark_lacks() -> None:
    words = ("compare", "random", "--budget", 5, "--bench")
    toy(accuracy("digits", "test", 9))
    assert nas(*words, "toy").error == "toy has no val accuracy on digits: --feedback test"
    assert nas(*words, "toy", "--feedback", "test").code == 0
    toy(accuracy("digits", "val", 9), name="valid")
    assert nas(*words, "valid", "--feedback", "test").error == "valid has no test accuracy on digits: --feedback val"
    toy(Column("latency", "ms"), name="costs")
    assert "costs holds no accuracies, so there is nothing to search for: nas bench info costs" in nas(*words, "costs").error
    toy(accuracy("digits", "train", 9), name="seen")
    assert nas(*words, "seen").error.startswith("seen has no val accuracy on digits, nor any other to search by")


def test_a_run_that_is_there_keeps_its_settings(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assert nas(*FEW, "--out", out).code == 0
    before = (out / "run.json").read_bytes()
    said = nas(*FEW, "--seeds", 5, "--out", out)
    assert said.code == 2
    assert f"{out} is already there; `nas runs resume {out}` goes on with it, --out names another folder" in said.error
    assert (out / "run.json").read_bytes() == before


def test_a_record_without_what_a_comparison_needs_is_refused(tmp_path: Path) -> None:
    nas(*FEW, "--out", tmp_path / "mine")
    record: dict[str, Any] = json.loads((tmp_path / "mine" / "run.json").read_text())
    del record["searchers"]
    (tmp_path / "mine" / "run.json").write_text(json.dumps(record))
    assert "it has no searchers, which a compare run needs" in nas("runs", "show", tmp_path / "mine").error
