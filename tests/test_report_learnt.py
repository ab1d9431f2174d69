"""Reports of what was learned from a history: figures, curves, too small a history, and the commands that follow."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from command import nas
from test_meta import fill
from test_report import Reader

from nas_suite.encoders.joint import PRESETS
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.report import render
from nas_suite.report.learnt import Learnt, charts
from nas_suite.report.page import page
from nas_suite.report.story import story
from nas_suite.run import LOG, TRIALS, Run
from nas_suite.surrogate.deep import Build
from nas_suite.surrogate.meta import Schedule
from nas_suite.tuning import Tried

FEW = Asked(build=Build(encoding="one-hot"), schedule=Schedule(optimizer="adam", epochs=2, steps=2, batch=24))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two epochs on a history with a published split."""
    fill()
    fill(tags={"split": "validation"}, seed=1000)
    return meta_train(FEW)


def test_a_report_of_meta_training_tells_what_was_learned_and_how_well(run: Run) -> None:
    result, history = run.record["result"], run.record["history"]
    assert history["rows"] == result["rows"] == 160
    html = render([run])
    read = Reader(html)
    assert f"Pearson {minus(result['val_pearson'])} on data sets that it has not seen" in read.text
    assert "Learned from 160 evaluations on 4 data sets." in read.text
    assert "told apart by a random code for the name of each of their classes (codes-1)." in read.text
    assert f"Kept are the weights after epoch {result['best_epoch'] + 1} of 2." in read.text
    assert "Sizes of the deep kernel: tiny: hidden=32,said=8,layers=32-16." in read.text
    for key, name in (("val", "held-out data sets"), ("published", "published validation split")):
        row = f"{minus(result[f'{key}_pearson'])} {result[f'{key}_nlpd']:.4f} {100 * result[f'{key}_covered']:.2f} %"
        assert f"{name} {row}" in read.text
    assert f"Next: nas search tnas --data digits --checkpoint {run.name} What was learned" in read.text
    assert "features codes preset tiny encoding one-hot datasets true" in read.text
    assert "2 epochs trained" in read.text
    assert len(html) > 2_000_000  # the script that draws the charts
    chance = "What it learned orders the networks of held-out data sets hardly better than chance."
    for pearson in (0.05, 0.15):
        assert (chance in Reader(render([run.update(result={**result, "val_pearson": pearson})])).text) == (pearson < 0.1)


def minus(correlation: float) -> str:
    return f"{correlation:z.3f}".replace("-", "−")


def test_curves_go_by_epoch_and_there_are_none_of_one(run: Run) -> None:
    log = run.epochs()
    pearson, nlpd = charts(Learnt(run))
    for chart, name in ((pearson, "pearson"), (nlpd, "nlpd")):
        assert [series.name for series in chart.series] == ["held-out data sets", "published validation split"]
        for series, key in zip(chart.series, ("val", "published"), strict=True):
            assert list(series.x) == [1, 2]
            assert list(series.y) == [line[f"{key}_{name}"] for line in log]
    (section,) = page(story([run])).sections
    (table,) = section.numbers
    assert [row[3] for row in table.rows] == [f"{line['val_nlpd']:.4f}" for line in log]
    run.rewrite(LOG, [{**log[0], "val_pearson": float("nan")}, log[1]])  # of values that are all the same
    pearson, _ = charts(Learnt(run))
    assert list(pearson.series[0].x) == [2]
    assert all(json.loads(json.dumps(chart, allow_nan=False)) for chart in Reader(render([run])).charts)
    run.rewrite(LOG, log[:1])
    assert charts(Learnt(run)) == []


def test_a_meta_training_that_was_stopped_tells_how_far_it_is(run: Run) -> None:
    run.rewrite(LOG, run.epochs()[:1])
    record = {key: value for key, value in run.record.items() if key != "result"}
    broken = Run(run.path, {**record, "status": "interrupted"})
    text = Reader(render([broken])).text
    assert "Meta-training: 1 epoch" in text
    assert "(codes). 1 of 2 epochs done." in text
    assert f"Next: nas runs resume {run.name}" in text
    assert "How well it predicts" not in text


def test_a_history_too_small_is_told_and_a_page_without_a_chart_holds_no_script(tmp_path: Path) -> None:
    fill(rows=20, sets=2)
    run = meta_train(FEW, tmp_path / "small")
    html = render([run])
    text = Reader(html).text
    assert "Too small a history for a deep kernel" in text
    assert "Learned from 20 evaluations on 2 data sets. That is too little for a deep kernel (at least 3 data sets" in text
    assert "small: nothing to be trained" in text
    assert "Pearson" not in text
    assert len(html) < 100_000
    assert html.count("<script>") == 1  # which copies architectures


def test_without_data_sets_it_says_so(tmp_path: Path) -> None:
    fill()
    run = meta_train(replace(FEW, build=replace(FEW.build, datasets=False)), tmp_path / "blind")
    assert "Data sets are told apart by nothing, as was asked (--no-datasets)." in Reader(render([run])).text


def elsewhere(tmp_path: Path) -> Run:
    """A meta-training in another folder than that of runs, of another space than searches take by themselves."""
    fill(rows=20, sets=2)
    run = meta_train(FEW, tmp_path / "ckpt")
    return run.update(plan={**run.record["plan"], "space": "mixpath-s1"})


def tuning(tmp_path: Path) -> Run:
    """A tuning in another folder than that of runs."""
    asked = replace(FEW, history=str(tmp_path / "h.sqlite"))
    plan = {"method": "tnas", "space": "nasbench201", "data": "history", "settings": {"method": {}}, "seed": 0}
    record = {"schema": 1, "kind": "tune", "status": "done", "created": "", "plan": plan, "asked": asdict(asked)}
    run = Run.create(tmp_path / "tu", {**record, "history": {"rows": 80, "datasets": 4}, "trials": 3, "result": {}})
    run.append(TRIALS, Tried(0, PRESETS["tiny"], "ok", (1.0,), (0.5,)).line())
    return run


@pytest.mark.parametrize(
    ("make", "command"),
    [
        (elsewhere, "nas search tnas --space mixpath-s1 --data digits --checkpoint {0}/ckpt"),
        (
            tuning,
            "nas meta-train tnas --preset {0}/tu --history {0}/h.sqlite --encoding one-hot --meta-optimizer adam --epochs 2",
        ),
    ],
)
def test_the_next_command_is_that_of_the_command_line(tmp_path: Path, make: Callable[[Path], Run], command: str) -> None:
    run = make(tmp_path)
    assert page(story([run])).headline.following == command.format(tmp_path)
    assert f"next: {command.format(tmp_path)}\n" in nas("runs", "show", run.path).err
