"""Where a search by trainings begins: what the history says of its space, and what is left to chance."""

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from command import nas
from test_direct import few, planned
from test_meta import SHORT, fill

from nas_suite import pipeline, rivals
from nas_suite.data.images import Images
from nas_suite.encoders.banks import Bank
from nas_suite.encoders.features import RandomConvolutions
from nas_suite.errors import BadInput
from nas_suite.history import Evaluation, History, Task
from nas_suite.pipeline import beginning, sights
from nas_suite.pipeline.beginning import begin, searcher
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.pipeline.setting import Setting, prepare
from nas_suite.search import Limit, Region
from nas_suite.space import Arch


def setting(*sets: str, method: str = "tnas") -> Setting:
    return prepare(planned(method, "method.init_size=3", *sets))


def networks(count: int) -> list[Arch]:
    space = setting().space
    return Region(space).samples(count, random.Random(7), set())


def told(data: str, archs: Sequence[Arch], values: Sequence[float], epochs: int = 1) -> None:
    """The history learns of networks on a data set."""
    space = setting().space
    rows = [
        Evaluation("nasbench201", space.describe(a), data, v, fidelity={"epochs": epochs})
        for a, v in zip(archs, values, strict=True)
    ]
    History.open(make=True).add(rows, [Task(data)])


def first(where: Setting, *limits: Limit) -> list[Arch]:
    return list(begin(where, Region(where.space, limits), None).archs)


def test_without_a_history_it_begins_at_random_the_same_for_all() -> None:
    found = begin(setting(), Region(setting().space), None)
    assert (found.origin, found.drawn, len(set(found.archs))) == ("random", 3, 3)
    assert found.archs == first(setting(method="random"))
    assert found.archs != first(replace(setting(), plan=replace(setting().plan, seed=1)))


def test_networks_are_judged_among_their_like_and_not_by_their_accuracy() -> None:
    archs = networks(12)
    told("easy", archs[:6], [0.95, 0.96, 0.97, 0.96, 0.95, 0.99])  # where every network is right
    told("hard", archs[6:], [0.1, 0.2, 0.1, 0.15, 0.8, 0.12])
    assert first(setting())[:2] == [archs[10], archs[5]]
    raw = first(setting("method.init=paper"))
    assert raw == [archs[5], archs[2], archs[1]]  # of equals the one that came first


def test_a_few_of_a_kind_say_nothing_and_other_fidelities_are_other_kinds() -> None:
    archs = networks(9)
    told("few", archs[:4], [0.1, 0.2, 0.3, 0.9])
    assert begin(setting(), Region(setting().space), None).origin == "random"
    told("few", archs[4:], [0.5, 0.4, 0.6, 0.45, 0.5], epochs=9)
    found = begin(setting(), Region(setting().space), None)
    assert found.origin == "history"
    assert found.archs[0] == archs[6]
    assert archs[3] not in found.archs


def test_an_initial_design_is_diverse() -> None:
    space = setting().space
    best = next(arch for arch in networks(50) if len(list(space.neighbours(arch))) > 8)
    near = list(space.neighbours(best))[:6]
    far = [arch for arch in networks(60) if sum(a != b for a, b in zip(arch, best, strict=True)) > 2][:2]
    told("one", [best, *near, *far], [0.9, *[0.89] * 6, 0.3, 0.2])
    found = first(setting())
    assert found[0] == best
    assert all(sum(a != b for a, b in zip(one, other, strict=True)) > 1 for one in found for other in found if one != other)


def test_what_the_history_lacks_is_drawn_and_what_breaks_a_limit_is_left_out() -> None:
    from nas_suite.cost import cost

    where = setting()
    archs = networks(8)
    told("one", archs, [0.9, 0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3])
    params = cost("params", where.space)
    ordered = sorted(archs, key=params.total)
    bound = Limit(params.objective(), params.total(ordered[1]))
    found = begin(where, Region(where.space, [bound]), None)
    assert all(params.total(arch) <= bound.bound for arch in found.archs)
    assert len(found.archs) == 3
    assert found.drawn >= 1


def test_searchers_that_learn_nothing_begin_at_random_unless_told_otherwise() -> None:
    archs = networks(6)
    told("one", archs, [0.9, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert begin(setting(method="gp-ei"), Region(setting().space), None).origin == "random"
    assert first(setting("method.init=posterior", method="gp-ei")) == first(setting())
    assert first(setting("method.init=random")) == first(setting(method="gp-ei"))


def test_a_resumed_search_begins_as_it_did_though_the_history_has_grown() -> None:
    archs = networks(6)
    told("one", archs, [0.9, 0.1, 0.2, 0.3, 0.4, 0.5])
    run = pipeline.search_directly(planned("tnas", "method.budget=4", "method.finalists=0"), {})
    design = run.record["design"]
    assert run.record["beginning"] == "history"
    assert "begins with" in nas("runs", "show", run.path).out
    told("two", archs, [0.1, 0.2, 0.9, 0.3, 0.4, 0.5])
    whole = run.trials()
    run.rewrite("trials.jsonl", whole[:1])
    again = pipeline.resume(run.update(status="interrupted"))
    assert [trial["arch"] for trial in again.trials()][:3] == design
    assert [trial["arch"] for trial in again.trials()] == [trial["arch"] for trial in whole]


@pytest.mark.parametrize("name", ["random", "evolution", "local-search", "gp-ei", "gp-ucb", "bananas"])
def test_every_searcher_begins_with_the_design(name: str) -> None:
    where = prepare(few(method=name))
    region = Region(where.space)
    archs = first_of(where, region)
    asked = searcher(where, region, archs, None).ask()
    assert list(asked) == list(archs)[: len(asked)]


def first_of(where: Setting, region: Region) -> Sequence[Arch]:
    return begin(where, region, None).archs


def test_the_most_accurate_of_nothing_are_refused() -> None:
    with pytest.raises(BadInput, match="--init paper begins with the most accurate networks of the history, which has none"):
        first(setting("method.init=paper"))


@pytest.fixture
def checkpoint() -> Path:
    """What is learned of four data sets, in some of which convolutions do good; nothing but their classes is known."""
    fill()
    return meta_train(Asked("nasbench201", schedule=SHORT)).path


def test_a_search_begins_with_what_a_surrogate_believes(checkpoint: Path) -> None:
    meta_train(Asked("nasbench201", schedule=SHORT, seed=5), checkpoint.parent / "other")
    where = setting("method.init_size=4")
    region = Region(where.space)
    believed = beginning.learned(where, checkpoint)
    assert believed is not None
    found = begin(where, region, believed)
    assert (found.origin, found.drawn, len(found.archs)) == ("surrogate", 0, 4)
    assert list(found.archs) == rivals.opening(region, believed, where.plan.seed, 4)
    raw = begin(setting("method.init=paper"), region, believed)
    assert raw.archs[0] == where.space.canonical(believed.learned.raw_best(1)[0])
    run = pipeline.search_directly(planned("tnas", "method.budget=5", "method.finalists=0"), {}, checkpoint)
    assert run.record["beginning"] == "surrogate"
    assert run.record["checkpoint"] == str(checkpoint)
    narrow = setting("method.search_width=0.5")  # the width that the search trains at
    assert beginning.cautions(narrow, believed)[1].endswith("with width 1.0, here 0.5; cells 5, here 1")
    unlike, otherwise = run.record["notes"]
    assert unlike == "the surrogate knows data sets by codes of classes, and digits is like none of them to it"
    assert otherwise == "the surrogate learned of nasbench201 with width 1.0, here 0.125; cells 5, here 1"
    whole = run.trials()
    run.rewrite("trials.jsonl", whole[:4])
    assert [trial["arch"] for trial in pipeline.resume(run.update(status="interrupted")).trials()] == [t["arch"] for t in whole]
    shutil.copytree(checkpoint.parent / "other", checkpoint, dirs_exist_ok=True)
    with pytest.raises(BadInput, match="has learned anew since"):
        pipeline.resume(run.update(status="interrupted"))


def test_the_most_accurate_are_those_of_one_kind() -> None:
    archs = networks(9)
    told("long", archs[:4], [0.97, 0.98, 0.99, 0.96], epochs=200)
    told("short", archs[4:], [0.5, 0.7, 0.6, 0.4, 0.3])
    assert first(setting("method.init=paper")) == [archs[5], archs[6], archs[4]]


def test_a_checkpoint_that_learned_too_little_is_told_so(tmp_path: Path) -> None:
    fill(30, 2)
    small = meta_train(Asked("nasbench201")).path
    run = pipeline.search_directly(planned("tnas", "method.budget=5", "method.finalists=0"), {}, small)
    assert run.record["beginning"] == "history"
    assert run.record["notes"][0].startswith(
        "the checkpoint was learned from 2 data sets and 30 evaluated networks, too little"
    )
    with pytest.raises(BadInput, match="too little for a deep kernel, without which metad2a is nothing"):
        beginning.learned(setting(method="metad2a"), small)


def test_the_last_layers_may_follow_the_evaluations(checkpoint: Path) -> None:
    moving = beginning.learned(setting("method.tune=fusion"), checkpoint)
    assert moving is not None
    assert moving.tune == "fusion"
    run = pipeline.search_directly(
        planned("tnas", "method.budget=6", "method.finalists=0", "method.tune=fusion"), {}, checkpoint
    )
    assert len(run.trials()) == 6
    for where, given in ((setting("method.tune=fusion"), None), (setting("method.tune=fusion", method="metad2a"), checkpoint)):
        with pytest.raises(BadInput, match="tune = fusion moves what tnas has learned: give --checkpoint"):
            beginning.learned(where, given)


def test_a_surrogate_of_data_sets_of_which_nothing_is_known_searches_too() -> None:
    rng = random.Random(0)
    space = setting().space
    for data in "abcd":
        told(data, [space.sample(rng) for _ in range(20)], [rng.random() for _ in range(20)])
    known = meta_train(Asked("nasbench201", schedule=SHORT)).path
    believed = beginning.learned(setting(), known)
    assert believed is not None
    assert believed.learned.extractor == "none"
    assert begin(setting(), Region(space), believed).origin == "surrogate"
    assert len(beginning.cautions(setting(), believed)) == 1  # of the space's settings: it tells no data sets apart
    said = nas("runs", "show", known).out  # it learned noise
    assert "hardly better than chance" in said


def test_a_surrogate_that_saw_images_sees_the_training_images_alone(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    seen = []

    def bank(images: Images, *rest: object) -> Bank:
        seen.append(images)
        return real(images, *rest)  # type: ignore[arg-type]

    real = sights.bank
    monkeypatch.setattr(sights, "bank", bank)
    where = setting()
    assert beginning.learned(where, checkpoint) is not None
    assert seen == []  # it knows codes of classes alone
    monkeypatch.setattr(beginning, "CODES", "another")
    with pytest.raises(BadInput, match="unknown feature extractor 'codes'"):
        beginning.learned(where, checkpoint)
    monkeypatch.setattr(sights, "extractor", lambda name: RandomConvolutions())
    with pytest.raises(BadInput, match="features of codes-1 are wanted, and those of this version are of conv-1"):
        beginning.learned(where, checkpoint)
    assert seen == []
    monkeypatch.setattr(RandomConvolutions, "id", "codes-1")
    assert beginning.learned(where, checkpoint) is not None
    assert seen == [where.splits.train]


def test_a_checkpoint_of_another_space_is_refused(checkpoint: Path) -> None:
    said = nas("search", "tnas", "--data", "digits", "--space", "mixpath-s4", "--checkpoint", checkpoint)
    assert said.code == 2
    assert "was learned on nasbench201, not on mixpath-s4" in said.error
    (checkpoint / "learned.json").unlink()  # as a meta-training that was killed leaves it
    said = nas("search", "tnas", "--data", "digits", "--checkpoint", checkpoint)
    assert f"is not whole yet: nas runs resume {checkpoint.name}" in said.error
    assert "no run 'nothing'" in nas("search", "tnas", "--data", "digits", "--checkpoint", "nothing").error
