"""Searches by trainings: every evaluation written down and told, failures and kills survived, the test images left alone."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import forked, nas

from nas_suite import pipeline, rivals
from nas_suite.cost import cost
from nas_suite.data.sets import DataSet
from nas_suite.errors import BadInput, Unreachable
from nas_suite.history import History
from nas_suite.methods import SEARCHERS
from nas_suite.pipeline import trying
from nas_suite.pipeline.scratch import from_scratch
from nas_suite.pipeline.setting import prepare
from nas_suite.pipeline.trying import Outcome, Task
from nas_suite.plan import Plan, compose
from nas_suite.run import ROWS, TRIALS, Run

DIGITS = (
    *("data.size=8", "data.limit=96", "retrain.batch_size=16", "retrain.epochs=2", "retrain.warmup_epochs=0"),
    *("retrain.lr=0.1", "retrain.pad=1", "retrain.cutout=0", "retrain.flip=false"),
)
CELLS = ("space.width=0.125", "space.cells=1", "method.search_epochs=1")
SHORT = ("method.init_size=3", "method.finalists=2", "method.finalist_seeds=2")


def planned(method: str = "random", *sets: str, space: str = "nasbench201", own: tuple[str, ...] = CELLS) -> Plan:
    words = [*DIGITS, *own, *SHORT, *sets]
    return compose(Plan(precision="fp32"), sets=words, method=method, space=space, data="digits", threads=1)


THREE = ("space.width=0.0625", "space.m=1", "space.stacks=1", "space.cells=1")


def few(*sets: str, method: str = "random") -> Plan:
    """Of a space of three networks."""
    return planned(method, *sets, space="mixpath-s4", own=THREE)


def search(plan: Plan, **more: Any) -> Run:
    return pipeline.search_directly(plan, more.pop("bounds", {}), **more)


def told(run: Run) -> list[tuple[str, float | None]]:
    """What a search found, in the order in which it asked."""
    trials = sorted(run.trials(), key=lambda trial: trial["trial"])
    return [(trial["arch"], trial["values"] and trial["values"]["error"]) for trial in trials]


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a history, so that a second search trains what a first one did."""
    monkeypatch.setenv("NAS_HISTORY", "off")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The trainings that are done from here on."""
    done, real = list[Task](), trying.fitted

    def fitted(task: Task) -> Any:
        done.append(task)
        return real(task)

    monkeypatch.setattr(trying, "fitted", fitted)
    return done


def test_a_searcher_is_a_method_by_its_name() -> None:
    assert SEARCHERS == rivals.NAMES


def test_a_search_from_end_to_end() -> None:
    words = [word for text in (*DIGITS, *CELLS, *SHORT) for word in ("--set", text)]
    said = nas("search", "random", "--space", "nasbench201", "--data", "digits", *words, "--budget", 5, "--json")
    run, result = Run.open(Path(said.data["run"]["path"])), said.data["result"]
    trials = run.trials()
    assert [trial["trial"] for trial in trials] == [0, 1, 2, 3, 4]
    assert all(trial["status"] == "ok" and trial["seconds"] > 0 and trial["source"] == "training" for trial in trials)
    assert len({trial["arch"] for trial in trials}) == 5
    best = sorted(trials, key=lambda trial: (trial["values"]["error"], trial["trial"]))
    assert [one["arch"] for one in result["finalists"]] == [trial["arch"] for trial in best[:2]]
    assert [len(one["val"]) for one in result["finalists"]] == [2, 2]
    winner = max(result["finalists"], key=lambda one: one["mean"])
    assert result["arch"] == winner["arch"]
    assert result["val_accuracy"] == pytest.approx(np.mean(winner["val"]))
    assert result["ended"] == "budget"
    tests = [line["test"] for line in run.lines(ROWS) if "test" in line]
    assert result["test_accuracy"]["mean"] == pytest.approx(np.mean(tests))
    assert result["test_accuracy"]["sd"] == pytest.approx(np.std(tests, ddof=1))
    assert not list(run.path.glob(".training*"))
    assert "nas retrain" in said.err
    network, about = pipeline.load(run.path)
    assert about["arch"] == result["arch"]
    assert sum(p.numel() for p in network.parameters()) == result["params"]
    assert nas("runs", "resume", run.name, "--json").data["result"] == result
    made = nas("retrain", run.name, "--epochs", 1, "--json").data
    assert made["arch"] == result["arch"]


def test_the_test_images_are_opened_once_when_all_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, opened = few(), []
    cls = type(prepare(plan).data)
    real = cls.test

    def test(data: DataSet) -> Any:
        run = next(run for run in pipeline_runs())
        opened.append((len(run.trials()), len(run.lines(ROWS))))
        return real(data)

    monkeypatch.setattr(cls, "test", test)
    search(plan)
    assert opened == [(3, 4)]  # after three networks, and two finalists with two seeds


def pipeline_runs() -> list[Run]:
    from nas_suite.run import all_runs

    return all_runs()


def test_a_search_without_finalists_never_opens_them(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = few("method.finalists=0")
    monkeypatch.setattr(type(prepare(plan).data), "test", None)
    run = search(plan)
    assert run.record["result"]["arch"] == pipeline.choose(run) == pipeline.ranked(run)[0]["arch"]
    result = run.record["result"]
    assert "test_accuracy" not in result
    assert result["val_accuracy"] == pytest.approx(1 - pipeline.ranked(run)[0]["values"]["error"])
    assert "validation accuracy" in nas("runs", "show", run.path).out


def test_a_small_space_ends_early() -> None:
    run = search(few("method.budget=20"))
    assert (run.record["result"]["ended"], run.record["result"]["evaluated"]) == ("all", 3)
    assert "every network within its limits is evaluated" in nas("runs", "show", run.name).out


def test_the_fidelity_of_the_search_is_not_that_of_the_finalists() -> None:
    run = search(planned("random", "method.search_width=0.25", "method.budget=3", "retrain.warmup_epochs=1"))
    rows = History.open().evaluations(space="nasbench201")
    cheap, whole = rows[:3], rows[3:]
    assert {(row.fidelity["epochs"], row.settings["width"], row.recipe["warmup_epochs"]) for row in cheap} == {(1, 0.25, 0)}
    assert {(row.fidelity["epochs"], row.settings["width"], row.recipe["warmup_epochs"]) for row in whole} == {(2, 0.125, 1)}
    assert [row.seed for row in cheap] == [0, 0, 0]
    assert [row.seed for row in whole] == [1, 2, 1, 2]
    assert [row.value for row in cheap] == [trial["val"] for trial in run.trials()]
    space = prepare(planned()).space
    assert run.record["result"]["params"] == cost("params", space).total(space.parse(run.record["result"]["arch"]))


@pytest.mark.slow
@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("method", ["random", "gp-ei"])
def test_two_at_a_time_find_the_same_again(method: str) -> None:
    plan = planned(method, "method.budget=6", "method.parallel=2", "method.finalists=1")
    first, again = search(plan), search(plan)
    assert told(first) == told(again)
    assert first.record["result"]["finalists"][0]["val"] == again.record["result"]["finalists"][0]["val"]
    if method == "random":  # which asks for the same, however many are trained at a time
        assert told(search(planned(method, "method.budget=6"))) == told(first)


@pytest.mark.slow
@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("method", ["tnas", "evolution"])
def test_killed_after_the_seventh_evaluation_the_remaining_proposals_are_the_same(method: str, tmp_path: Path) -> None:
    plan = planned(method, "method.budget=11", "method.finalists=1")
    whole = search(plan)
    folder = tmp_path / "killed"
    child = forked(lambda: search(plan, out=folder))
    deadline = time.monotonic() + 120
    while not (folder / TRIALS).exists() or (folder / TRIALS).read_bytes().count(b"\n") < 7:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    before = Run.open(folder).trials()
    assert 7 <= len(before) < 11
    resumed = pipeline.resume(Run.open(folder))
    assert resumed.trials()[: len(before)] == before
    assert told(resumed) == told(whole)
    assert resumed.record["result"]["finalists"][0]["val"] == whole.record["result"]["finalists"][0]["val"]
    assert resumed.record["result"]["test_accuracy"] == whole.record["result"]["test_accuracy"]


def test_a_training_that_was_broken_off_goes_on_and_another_networks_is_not_taken_for_it(tmp_path: Path) -> None:
    setting = prepare(few("retrain.epochs=4"))
    archs = [setting.space.describe(arch) for arch in setting.space.everything()]
    alone = [from_scratch(setting, arch, 0, tmp_path / str(at))[0] for at, arch in enumerate(archs[:2])]
    folder = tmp_path / "shared"
    for arch, learner in zip(archs, alone, strict=False):
        shared = from_scratch(setting, arch, 0, folder)[0]
        assert shared.state()["weights"].keys() == learner.state()["weights"].keys()
        assert shared.best == learner.best
    before = len(Run.open(folder).epochs())
    assert from_scratch(setting, archs[1], 0, folder)[0].best == alone[1].best
    assert len(Run.open(folder).epochs()) == before  # not trained again
    other = from_scratch(replace(setting, plan=replace(setting.plan, seed=1)), archs[1], 1, folder)[0]
    assert other.state()["descent"]["taken"] == alone[1].state()["descent"]["taken"]
    assert any(not a.equal(b) for a, b in zip(other.network.parameters(), alone[1].network.parameters(), strict=True))


def test_a_failed_training_is_written_down_and_never_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, tried = trying.fitted, list[str]()

    def fitted(task: Task) -> Any:
        tried.append(task.arch)
        if len(tried) == 2:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return real(task)

    monkeypatch.setattr(trying, "fitted", fitted)
    plan = planned("gp-ei", "method.budget=6", "method.finalists=1")
    run = search(plan)
    trials = run.trials()
    assert [trial["status"] for trial in trials] == ["ok", "failed", *["ok"] * 4]
    assert trials[1]["values"] is None
    assert "not enough memory" in trials[1]["error"]
    assert len(set(tried[:6])) == 6
    assert run.record["result"]["failed"] == 1
    assert [row.status for row in History.open().evaluations(status="failed")] == ["failed"]
    assert pipeline.resume(run.update(status="interrupted")).trials() == trials
    assert tried.count(trials[1]["arch"]) == 1


def test_a_recipe_that_no_network_survives_ends_the_search() -> None:
    said = nas("search", "random", *flags(planned("random", "retrain.lr=1e30", "retrain.clip=0", "method.budget=9")))
    assert said.error.startswith("none of 3 networks could be trained: Diverged")
    run = pipeline_runs()[0]
    assert run.record["status"] == "failed"
    assert len(run.trials()) == 3


def flags(plan: Plan) -> list[str]:
    """A plan as it is said on a command line."""
    words = [f"{part}.{name}={value}" for part, values in plan.settings.items() for name, value in values.items()]
    return ["--space", plan.space, "--data", plan.data, *(word for text in words for word in ("--set", text))]


def test_a_full_disk_is_no_fault_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted(task: Task) -> Any:
        raise BadInput("cannot write") from OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(trying, "fitted", fitted)
        with pytest.raises(BadInput, match=r"no space is left on its disk.*nas runs resume"):
            search(few())
    run = pipeline_runs()[0]
    assert run.trials() == []
    assert len(pipeline.resume(run).trials()) == 3


def test_what_the_history_knows_is_not_trained_again(counted: list[Task]) -> None:
    first = search(few("method.finalists=0"))
    assert len(counted) == 3
    again = search(few("method.finalists=0", method="gp-ei"))
    assert len(counted) == 3
    assert {trial["source"] for trial in again.trials()} == {"history"}
    assert dict(told(again)) == dict(told(first))
    assert sum(trial["seconds"] for trial in again.trials()) == 0
    assert len(History.open().evaluations()) == 3
    assert "from the history" in nas("runs", "show", again.name).out


@pytest.mark.parametrize(
    "sets", ["method.search_epochs=1", "retrain.lr=0.2", "space.width=0.125", "data.limit=80", "seed", "data.noise=0.1"]
)
def test_what_was_trained_otherwise_is_trained_anew(sets: str, counted: list[Task]) -> None:
    search(few("method.finalists=0"))
    plan = replace(few("method.finalists=0"), seed=5) if sets == "seed" else few("method.finalists=0", sets)
    assert {trial["source"] for trial in search(plan).trials()} == {"training"}
    assert len(counted) == 6


def test_two_networks_never_share_a_result(counted: list[Task]) -> None:
    """As they do in the released code, which keeps one file for all (specs/tnas.md 4.2, 10)."""
    run = search(planned("random", "method.budget=6", "method.finalists=0", "retrain.epochs=6", "method.search_epochs=6"))
    assert len(counted) == 6
    assert len({error for _, error in told(run)}) > 1
    setting = prepare(planned("random", "retrain.epochs=6"))
    for arch, error in told(run)[:2]:
        learner, _ = from_scratch(setting, arch, 0, run.path.parent / f"alone-{arch[1:5]}-{error}")
        assert 1 - learner.accuracy(learner.val) == error


@pytest.mark.slow
def test_a_search_within_limits() -> None:
    plan = planned("gp-ei", "method.budget=5", "method.finalists=0")
    space = prepare(plan).space
    bound = np.median([cost("params", space).total(space.parse(text)) for text, _ in told(search(plan))])
    run = search(plan, bounds={"params": float(bound)})
    assert all(cost("params", space).total(space.parse(text)) <= bound for text, _ in told(run))
    before = len(pipeline_runs())
    with pytest.raises(Unreachable, match="this space reaches down to"):
        search(plan, bounds={"params": 10.0})
    assert nas("search", "gp-ei", *flags(plan), "--max", "params=10").code == 4
    assert len(pipeline_runs()) == before


def test_a_search_ends_where_nothing_better_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.6, 0.7, 0.65, 0.7, 0.1, 0.9, 0.9])
    monkeypatch.setattr(trying, "attempt", lambda task: Outcome(next(values), 2.0))
    run = search(planned("random", "method.patience=3", "method.finalists=0"))
    assert (run.record["result"]["ended"], len(run.trials())) == ("patience", 6)


def test_a_search_ends_when_its_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "attempt", lambda task: Outcome(0.5, 2.0))
    run = search(planned("random", "method.max_seconds=7.5", "method.finalists=0"))
    assert (run.record["result"]["ended"], len(run.trials())) == ("max_seconds", 4)


def test_finalists_that_fail_lose_and_all_of_them_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real, doomed = trying.attempt, set[str]()

    def attempt(task: Task) -> Outcome:
        if task.whole and task.arch in doomed:
            return Outcome(None, 0.0, "RuntimeError: it would not")
        return real(task)

    monkeypatch.setattr(trying, "attempt", attempt)
    best = [trial["arch"] for trial in pipeline.ranked(search(few("method.finalists=0")))]
    doomed.add(best[0])
    result = search(few()).record["result"]
    assert result["arch"] == best[1]
    assert [one["failed"] for one in result["finalists"]] == [2, 0]
    doomed.add(best[1])
    with pytest.raises(BadInput, match="none of the finalists could be trained: RuntimeError: it would not"):
        search(few())


def test_the_winners_weights_are_those_that_were_tested() -> None:
    run = search(few())
    setting = prepare(few())
    network, about = pipeline.load(run.path)
    test = setting.data.test()
    from nas_suite.standalone import accuracy

    found = accuracy(network, test, about["input"]["mean"], about["input"]["std"], setting.compute)
    assert found == run.record["result"]["test_accuracy"]["of_network"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("random", "--budget", 3), ("a budget of 3 trainings is smaller than the initial design of 5", "--init-size")),
        (("randon",), ("unknown method 'randon'", "did you mean 'random'?")),
        (("random", "--checkpoint", "x.pt"), ("--checkpoint has no effect on nas search random", "tnas and metad2a")),
        (("metad2a",), ("learned surrogate", "meta-train")),
        (("hebo",), ("hebo", "numpy")),
        (("random", "--fidelity", "epoch=3"), ("--fidelity epoch: unknown", "did you mean 'epochs'?")),
        (("random", "--fidelity", "epochs"), ("--fidelity 'epochs'", "epochs=12,width=0.5")),
        (("random", "--fidelity", "epochs=3,epochs=4"), ("--fidelity gives epochs twice",)),
        (("random", "--fidelity", "epochs=0"), ("search_epochs = 0", "greater than or equal to 1")),
        (("random", "--fidelity", "width=narrow"), ("search_width", "narrow")),
        (("random", "--fidelity", "width=1e9"), ("width must be above 0",)),
        (("random", "--init", "best"), ("init", "best", "posterior")),
        (("random", "--init", "paper"), ("--init paper", "nas history import")),
        (("tfnas", "--budget", 3, "--latency", 5), ("--budget has no meaning for nas search tfnas",)),
        (("mixpath", "--fidelity", "epochs=3"), ("--fidelity has no meaning for nas search mixpath",)),
        (("random", "--run", "x"), ("--run has no meaning for nas search random",)),
        (("random", "--latency", 3), ("--latency has no meaning for nas search random",)),
        (("random", "--max", "size=3"), ("--max size: unknown cost",)),
        (("random", "--set", "method.finalist=2"), ("no setting 'finalist'", "did you mean 'finalists'?")),
        (("random", "--out", "/proc/nothing/here"), ("cannot write to /proc/nothing/here",)),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(words: tuple[Any, ...], said: tuple[str, ...]) -> None:
    more = () if words[0] in ("tfnas", "mixpath") else ("--data", "digits", "--set", "data.size=8")
    answer = nas("search", *words, *more)
    assert answer.code == 2
    assert all(part in answer.error for part in said), answer.error
    assert not pipeline_runs()


@pytest.mark.parametrize(("count", "classes"), [(40, 1), (3, 3)])
def test_images_that_tell_nothing_are_refused(count: int, classes: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "images.npz", x=x, y=np.arange(count) % classes)
    answer = nas("search", "tnas", "--data", "npz", "--set", f"data.path={tmp_path / 'images.npz'}")
    assert answer.code == 2
    assert ("one class" if classes == 1 else "1 image") in answer.error
    assert not pipeline_runs()


def test_searchers_train_no_supernet() -> None:
    assert "nas search random" in nas("train-supernet", "random").error


def test_choosing_among_what_was_trained() -> None:
    run = search(few())
    best = [trial["arch"] for trial in pipeline.ranked(run)]
    assert [pipeline.choose(run, k) for k in (1, 2, 3)] == best
    assert pipeline.choose(run) == run.record["result"]["arch"]
    for words, said in ((("--best", 4), "trained 3 networks"), (("--knee",), "no knee")):
        assert said in nas("retrain", run.name, *words).error


def test_a_run_says_what_it_began_with() -> None:
    run = search(few("method.finalists=0"))
    assert run.record["design"] == [arch for arch, _ in told(run)]
    assert (run.record["beginning"], run.record["drawn"]) == ("random", 3)
    assert json.loads((run.path / "run.json").read_text())["kind"] == "direct"
