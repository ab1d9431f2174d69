"""`nas tune tnas`: sizes by TPE and Hyperband, through kills, and as presets of a meta-training."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from command import forked, nas
from test_meta import fill, learned

from nas_suite import pipeline
from nas_suite.encoders.joint import PRESETS, Preset, preset
from nas_suite.engine import Progress
from nas_suite.errors import BadInput, Interrupted
from nas_suite.history import History
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.pipeline.tuning import SIZES, outcome, preset_of, tune
from nas_suite.run import TRIALS, Run
from nas_suite.surrogate.deep import Build
from nas_suite.surrogate.meta import MetaLearner, Schedule
from nas_suite.telling import again
from nas_suite.tuning import DEPTH, FIRST, HIDDEN, SAID, WIDTH, Study, Tried, tried

EPOCHS = 9
SHORT = Asked(
    build=Build(encoding="one-hot"), schedule=Schedule(optimizer="adam", epochs=2, steps=2, batch=24)
)  # of which a trial is 4 steps


def curve(sizes: Preset) -> list[float]:
    """What a toy loses, epoch by epoch: 128 hidden states and said = 32 are best, and layers do not matter."""
    loss = abs(sizes.hidden - 128) / 128 + abs(sizes.said - 32) / 32
    return [loss + 1 / (1 + epoch) for epoch in range(EPOCHS)]


def tuned(study: Study, before: Sequence[Tried], trials: int) -> list[Tried]:
    """A study of the toy, told what was tried before, to its end."""
    done = list(before)
    for one in done:
        study.again(one)
    for number in range(len(done), trials):
        sizes = study.begin(PRESETS[FIRST[number]] if number < len(FIRST) else None)
        losses, figures = curve(sizes), []
        for epoch, loss in enumerate(losses, 1):
            figures.append(loss)
            if study.hopeless(loss) and number >= len(FIRST) and epoch < EPOCHS:
                break
        status = "ok" if len(figures) == EPOCHS else "stopped"
        done.append(Tried(number, sizes, status, tuple(figures), tuple(figures)))
        study.end(done[-1])
    return done


def test_a_study_that_is_told_the_same_goes_on_alike_from_any_trial() -> None:
    """Also from trials as lines of JSON; another seed asks something else after the presets."""
    whole = tuned(Study(EPOCHS, 3), [], 24)
    lines = [json.loads(json.dumps(one.line())) for one in whole]
    assert [Tried.of(line) for line in lines] == whole
    for cut in (1, 2, 11, 23):
        assert tuned(Study(EPOCHS, 3), [Tried.of(line) for line in lines[:cut]], 24) == whole
    assert [one.sizes for one in whole[:2]] == [PRESETS[name] for name in FIRST]
    other = tuned(Study(EPOCHS, 4), [], 4)
    assert other[:2] == whole[:2]
    assert other[2].sizes != whole[2].sizes


def test_sizes_are_within_their_bounds_and_hyperband_stops_most_trials_but_no_preset() -> None:
    whole = tuned(Study(EPOCHS, 0), [], 40)
    for one in whole:
        assert SAID[0] <= one.sizes.said <= SAID[1]
        assert one.sizes.said % 4 == 0
        assert HIDDEN[0] <= one.sizes.hidden <= HIDDEN[1]
        assert DEPTH[0] <= len(one.sizes.layers) <= DEPTH[1]
        assert all(WIDTH[0] <= width <= WIDTH[1] for width in one.sizes.layers)
    stopped = [one for one in whole if one.status == "stopped"]
    assert 15 < len(stopped) < 35
    assert {len(one.nlpd) for one in stopped} <= {1, 3}, "the rungs of 9 epochs by thirds"
    assert [one.status for one in whole[:2]] == ["ok", "ok"]
    assert outcome(whole)["nlpd"] < min(whole[1].nlpd)


def test_tpe_asks_near_what_did_well() -> None:
    """The median loss of the last 20 of 60 trials is less than half of that of the first ten, which are random."""
    whole = tuned(Study(EPOCHS, 1), [], 60)
    losses = [curve(one.sizes)[-1] - 1 / EPOCHS for one in whole[2:]]
    early, late = sorted(losses[:10]), sorted(losses[-20:])
    assert late[10] < 0.5 * early[5]


# --- the run


def strip(run: Run) -> list[dict[str, Any]]:
    return [{**line, "seconds": 0.0} for line in run.lines(TRIALS)]


def test_tuned_sizes_are_a_preset_whose_training_comes_to_just_their_figure(tmp_path: Path) -> None:
    """The checkpoint keeps the sizes: it needs neither the run nor its file."""
    fill()
    run = tune(SHORT, 4, tmp_path / "tuned")
    result = run.record["result"]
    assert sum(result["counts"].values()) == 4
    assert list(result["presets"]) == ["tiny", "fast"]
    assert all(result["nlpd"] <= found["nlpd"] for found in result["presets"].values())
    assert run.record["environment"]["optuna"]
    best = tried(run)[result["trial"]]
    assert asdict(best.sizes) == {**result["sizes"], "layers": tuple(result["sizes"]["layers"])}
    words = [preset_of(str(place)) for place in (run.path, run.path / SIZES)]
    assert words == [best.sizes.spelt] * 2
    trained = meta_train(Asked(build=SHORT.build, schedule=SHORT.schedule, preset=words[0]), tmp_path / "ckpt")
    log = trained.epochs()
    assert min(line["val_nlpd"] for line in log) == result["nlpd"]
    assert log[result["epoch"]]["val_pearson"] == result["pearson"]
    shutil.rmtree(run.path)
    kernel = learned(trained).kernel
    assert kernel is not None
    assert (kernel.said, kernel.width) == (best.sizes.said, best.sizes.layers[-1])


def dying(at: int) -> Progress:
    """A process that is killed in its `at`-th step."""

    def progress(done: int, total: int, figures: Any) -> None:
        if done == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def killed(job: Callable[[], object]) -> bool:
    return os.WIFSIGNALED(os.waitpid(forked(job), 0)[1])


def test_killed_in_any_trial_it_comes_to_the_same_end(tmp_path: Path) -> None:
    """In the first trial, of which no line is there; in the third; and with a line that the kill cut off."""
    fill()
    whole = tune(SHORT, 4, tmp_path / "whole")
    out = tmp_path / "broken"
    assert killed(lambda: tune(SHORT, 4, out, dying(3)))
    assert tried(Run.open(out)) == []
    assert killed(lambda: pipeline.resume(Run.open(out), dying(10)))
    assert len(tried(Run.open(out))) == 2
    with open(out / TRIALS, "a") as file:
        file.write('{"trial": 2, "sizes": {"hid')
    broken = pipeline.resume(Run.open(out))
    assert strip(broken) == strip(whole)
    assert broken.record["result"] == whole.record["result"]
    assert (broken.path / SIZES).read_bytes() == (whole.path / SIZES).read_bytes()
    (broken.path / SIZES).unlink()
    assert (pipeline.resume(broken).path / SIZES).is_file(), "a finished run writes it again"


def test_a_signal_stops_it_within_a_trial_that_is_begun_again(tmp_path: Path) -> None:
    fill()

    def stopping(done: int, total: int, figures: Any) -> None:
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as stop:
        tune(SHORT, 3, tmp_path / "run", stopping)
    assert not stop.value.whole
    run = Run.open(tmp_path / "run")
    assert run.record["status"] == "interrupted"
    assert len(tried(run)) == 1
    with pytest.raises(BadInput, match="nas runs resume"):
        preset_of(str(run.path))
    assert len(tried(pipeline.resume(run))) == 3


def test_lines_that_are_no_trials_end_what_was_tried(tmp_path: Path) -> None:
    one = Tried(0, PRESETS["tiny"], "ok", (1.0, 0.5), (0.1, 0.2), 3.0)
    plan = {"method": "tnas", "space": "nasbench201", "data": "history", "settings": {}}
    record = {"schema": 1, "kind": "tune", "status": "running", "created": "", "plan": plan}
    run = Run.create(tmp_path / "run", {**record, "asked": {}, "history": {}, "trials": 9})
    second = {**one.line(), "trial": 1}
    for odd in (
        {**second, "trial": 2}, {**second, "nlpd": "low"}, {**second, "pearson": [0.1]}, {**second, "status": "fine"},
        {**second, "sizes": {"hidden": 8}}, {**second, "sizes": {"hidden": 8, "said": 7, "layers": [9]}},
        {**second, "nlpd": [], "pearson": []},
    ):  # fmt: skip
        run.rewrite(TRIALS, [one.line(), odd, second])
        assert tried(run) == [one], odd
    run.rewrite(TRIALS, [one.line(), second])
    assert len(tried(run)) == 2


def test_trials_that_fail_are_written_down_and_all_of_them_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For torch refuses what is beyond use with a RuntimeError, and a loss that is no number is none."""
    fill()

    def failing(trained: MetaLearner, progress: Progress) -> Iterator[dict[str, float]]:
        yield {"val_nlpd": 1.0, "val_pearson": 0.5}
        if trained.kernel.said == PRESETS["tiny"].said:
            raise RuntimeError("no memory\nat all")
        yield {"val_nlpd": float("nan") if trained.kernel.said == PRESETS["fast"].said else 0.5, "val_pearson": 0.6}

    monkeypatch.setattr("nas_suite.pipeline.tuning.epochs", failing)
    run = tune(SHORT, 8, tmp_path / "some")
    first, second = tried(run)[:2]
    assert (first.status, first.error, first.nlpd) == ("failed", "no memory", (1.0,))
    assert (second.status, second.error) == ("failed", "the NLPD is nan")
    assert run.record["result"]["nlpd"] == 0.5
    assert run.record["result"]["presets"] == {"tiny": None, "fast": None}
    assert nas("runs", "show", str(run.path)).code == 0
    assert nas("report", str(run.path)).code == 0

    def hopeless(trained: MetaLearner, progress: Progress) -> Iterator[dict[str, float]]:
        raise RuntimeError("no memory")
        yield {}

    monkeypatch.setattr("nas_suite.pipeline.tuning.epochs", hopeless)
    with pytest.raises(BadInput, match="all 3 trials failed, the first of them: no memory"):
        tune(SHORT, 3, tmp_path / "all")
    assert nas("report", str(tmp_path / "all")).code == 0


# --- the command line


def test_the_command_line_tunes_and_says_what_comes_next(tmp_path: Path) -> None:
    fill()
    same = ("--encoding", "one-hot", "--meta-optimizer", "adam", "--epochs", "1", "--seed", "2")
    said = nas("tune", "tnas", "--trials", "3", *same, "--json")
    assert {"run", "history", "asked", "trials", "result"} == set(said.data)
    assert said.data["run"]["kind"] == "tune"
    assert "tuning on 80 evaluations on 4 data sets, seen by codes-1: 3 trials" in said.err
    name, best = said.data["run"]["name"], said.data["result"]["preset"]
    following = f"nas meta-train tnas --preset {name} --features codes {' '.join(same)}"
    assert f"next: {following}\n" in said.err
    shown = nas("runs", "show", name)
    assert best in shown.out
    assert "tiny" in shown.out
    assert "3 of 3 trials" in nas("runs", "list").out
    made = nas(*following.split()[1:], "--out", str(tmp_path / "ckpt"), "--json")
    assert made.data["result"]["preset"] == best
    about = json.loads((tmp_path / "ckpt" / "learned.json").read_text())
    assert about["build"]["preset"] == best
    page = nas("report", name, "--out", str(tmp_path / "report.html"))
    assert page.code == 0, page.err
    assert best in (tmp_path / "report.html").read_text()
    assert f"nas meta-train tnas --preset {name}" in (tmp_path / "report.html").read_text()
    assert nas("runs", "resume", name, "--json").data["result"] == said.data["result"]


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fill()
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = nas("tune", "tnas")
    assert said.code == 2
    assert said.error == "tuning needs the extra [tune], of which optuna is not installed: pip install 'nas-suite[tune]'"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("rows", "words", "line"),
    [
        (80, ("tnass",), "did you mean 'tnas'"),
        (80, ("tnas", "--trials", "2"), "--trials"),
        (80, ("tnas", "--space", "macro"), "has no space 'macro'"),
        (30, ("tnas",), "are too few to learn from (at least 3 and 50), so that there are no sizes to tune"),
        (0, ("tnas",), "nas history import"),
    ],
)
def test_what_cannot_be_tuned_is_told_in_one_line(rows: int, words: tuple[str, ...], line: str, tmp_path: Path) -> None:
    if rows:
        fill(rows)
    else:
        History.open(make=True)
    said = nas("tune", *words)
    assert said.code == 2
    assert line in said.error
    assert not (tmp_path / "runs").exists()


def test_a_preset_is_a_name_sizes_a_run_or_a_file_and_all_else_is_refused(tmp_path: Path) -> None:
    assert preset_of("auto") == "auto"
    assert preset_of("tiny") == "tiny"
    spelt = "hidden=99,said=12,layers=40-30-20"
    assert preset_of(spelt) == spelt
    assert preset(spelt) == Preset(99, 12, (40, 30, 20))
    assert preset(PRESETS["full"].spelt) == PRESETS["full"]
    file = tmp_path / "mine.json"
    for text, line in (
        ("{", "holds no sizes"), ('{"hidden": 8}', "holds no sizes"), ("[]", "holds no sizes"),
        ('{"hidden": 8, "said": 9, "layers": [4]}', "said a multiple of 4"),
        ('{"hidden": 8, "said": 8, "layers": []}', "sizes are"),
        ('{"hidden": 5000, "said": 8, "layers": [4]}', "1 … 4096"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(BadInput, match=line):
            preset_of(str(file))
    file.write_text('{"hidden": 8, "said": 8, "layers": [4]}')
    assert preset_of(str(file)) == "hidden=8,said=8,layers=4"
    fill()
    said = nas("meta-train", "tnas", "--preset", "fats")
    assert said.code == 2
    assert "did you mean 'fast'" in said.error
    assert "said a multiple of 4" in nas("meta-train", "tnas", "--preset", "hidden=8,said=6,layers=9").error


def test_the_next_command_asks_for_the_same_history_and_learning() -> None:
    assert again(asdict(Asked())) == ""
    asked = Asked(
        "macro", "my history.db", "abc", "", '{"epochs":12}', "error", without=("a", "b"), features="codes",
        build=Build(datasets=False), schedule=Schedule(lr=0.01), seed=3,
    )  # fmt: skip
    assert again(asdict(asked)) == (
        " --space macro --history 'my history.db' --recipe abc --metric error --fidelity '{\"epochs\":12}' --without a "
        "--without b --features codes --lr 0.01 --seed 3 --no-datasets"
    )
