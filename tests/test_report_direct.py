"""The report of a search by trainings: its course, its failures, its finalists, and the one look at the test images."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from command import nas
from test_direct import few, search

from nas_suite import pipeline, report
from nas_suite.pipeline import trying
from nas_suite.pipeline.trying import Outcome, Task
from nas_suite.plan import Plan
from nas_suite.report.page import page
from nas_suite.report.sought import Sought
from nas_suite.report.story import story
from nas_suite.report.words import percent
from nas_suite.run import ROWS, Run, run_at


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A search of a space of three networks, of which the second cannot be trained."""
    real = trying.attempt

    def attempt(task: Task) -> Outcome:
        return Outcome(None, 0.5, "RuntimeError: it would not") if task.number == "1" else real(task)

    monkeypatch.setattr(trying, "attempt", attempt)
    return search(few("method.budget=3"))


def test_a_report_tells_how_the_winner_came_about(run: Run) -> None:
    found = page(story([run]))
    section = next(s for s in found.sections if s.title == "The search by training")
    trials, result = run.trials(), run.record["result"]
    assert section.lede.startswith("3 networks of at most 3 evaluated, each trained for 2 epochs")
    assert "The first 3 were chosen at random." in section.lede
    assert "2 finalists trained whole with 2 seeds each" in section.lede
    (chart,) = section.charts
    assert [list(s.x) for s in chart.series] == [[1, 3], [1, 2, 3]]
    first, last = trials[0]["val"], trials[2]["val"]
    assert list(chart.series[1].y) == [first, first, max(first, last)]
    (table,) = section.numbers
    assert table.rows[1][1:3] == ("failed: RuntimeError: it would not", percent(first))
    assert [row[-1] for row in table.rows] == [trial["arch"] for trial in trials]
    assert section.archs is not None
    assert section.archs.rows[0].arch == result["arch"]
    assert section.archs.rows[0].marks == ["winner"]
    assert section.archs.rows[0].values[0].startswith(percent(result["val_accuracy"]))
    assert section.remarks[0] == "1 network could not be trained: RuntimeError: it would not."
    assert section.remarks[1].startswith("7 trainings took ")
    assert found.headline.title.startswith(f"{percent(result['test_accuracy']['mean'])} of the test images right, with ")
    assert found.headline.arch == result["arch"]
    assert found.headline.following == f"nas retrain {run.name}"
    assert found.notices == []
    (phase,) = found.phases
    spent = sum(line["seconds"] for line in [*trials, *run.lines(ROWS)] if "seconds" in line)
    assert phase.seconds == pytest.approx(spent)


def test_what_is_not_done_yet_is_told_so_far(run: Run) -> None:
    (run.path / ROWS).unlink()
    record = {name: value for name, value in run.record.items() if name not in ("result", "sha256")}
    broken = Run(run.path, {**record, "status": "interrupted"})
    found = page(story([broken]))
    best = max(trial["val"] for trial in run.trials() if trial["val"] is not None)
    assert found.headline.title == f"{percent(best)} of the validation images right, the best of 3 networks"
    assert any("interrupted" in notice.text for notice in found.notices)
    (run.path / "trials.jsonl").unlink()
    assert page(story([broken])).headline.title == "Search by training: no training done yet"
    assert Sought(broken).arch == ""


def test_the_checkpoint_that_a_search_began_with_is_named(run: Run, tmp_path: Path) -> None:
    assert "learned before" not in report.render([run])
    assert not re.search(r"^checkpoint ", nas("runs", "show", run.name).out, re.M)
    named = run.update(checkpoint=str(tmp_path / "ckpt"), beginning="surrogate", notes=["nothing is known of digits"])
    (section,) = (s for s in page(story([named])).sections if s.title == "The search by training")
    assert "were chosen of what the learned surrogate believes." in section.lede
    assert f"What the surrogate had learned before is in {tmp_path / 'ckpt'}." in section.lede
    assert section.remarks[-1] == "Nothing is known of digits."
    assert re.search(rf"checkpoint +{tmp_path / 'ckpt'}\n", nas("runs", "show", run.name).out)
    assert nas("runs", "show", run.name, "--json").data["checkpoint"] == str(tmp_path / "ckpt")


def test_the_next_command_of_a_run_elsewhere_finds_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder it is given in."""
    shutil.copytree(run.path, tmp_path / "a b")
    monkeypatch.chdir(tmp_path)
    command = page(story([run_at("a b")])).headline.following
    assert command == f"nas retrain '{tmp_path}/a b'"
    monkeypatch.chdir("/")
    assert run_at(shlex.split(command)[-1]).record == run.record


def test_a_retraining_of_the_winner_knows_its_search(run: Run, tmp_path: Path) -> None:
    arch = pipeline.choose(run)
    again = pipeline.retrain(run, Plan.from_record(run.record["plan"]), arch, tmp_path / "again")
    told = story([again])
    assert [r.record["kind"] for r in told.runs] == ["direct", "retrain"]
    html = report.render([again])
    assert "The search by training" in html
    assert "Training from scratch" in html
