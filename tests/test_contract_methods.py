"""What holds of every registered method on a space it needs; a new one is tested by being registered."""

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from toys import Toy, per_channel

from nas_suite.cost import cost
from nas_suite.data.images import Images
from nas_suite.engine import fit
from nas_suite.errors import BadInput
from nas_suite.method import Method, Problem
from nas_suite.methods import METHODS
from nas_suite.run import LOG, Run
from nas_suite.search import Limit, drive
from nas_suite.space import ElasticSpace, SupernetSpace
from nas_suite.spaces import SPACES


def images(count: int, seed: int) -> Images:
    """Images of two classes that differ in brightness."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    return Images.of((rng.integers(0, 128, (count, 8, 8, 3)) + 100 * y[:, None, None, None]).astype(np.uint8), y)


@pytest.fixture(params=METHODS.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def make(name: str, seed: int = 0) -> Any:
    """The method on a tiny problem."""
    cls = METHODS.load(name)
    spaces = {
        SupernetSpace: lambda: SPACES.build("mixpath-s1", {**tiny.SPACES["mixpath-s1"], "classes": 2}),
        ElasticSpace: Toy,
    }
    if cls.needs not in spaces:
        pytest.skip(f"{name} needs a {cls.needs.__name__}")
    space = spaces[cls.needs]()
    problem = Problem(space, images(64, 1), images(32, 2), (0.5,) * 3, (0.25,) * 3, seed=seed)
    if isinstance(space, Toy):
        problem = replace(problem, latency=per_channel(space))
    return METHODS.build(name, tiny.METHODS.get(name, {}), problem=problem)


def tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from tensors(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from tensors(value)


def same(first: Any, second: Any) -> bool:
    a, b = list(tensors(first)), list(tensors(second))
    return len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def figures(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if "second" not in k} for line in run.lines(LOG)]


def test_scoring_repeats_and_leaves_the_method_as_it_was(name: str) -> None:
    method = make(name)
    for step, batch in enumerate(method.batches().epoch(0)):
        method.step(batch, step)
    before = copy.deepcopy(method.state())
    archs = [method.problem.space.sample(random.Random(i)) for i in range(4)]
    first = method.scorer().score(archs)
    assert same(before, method.state())
    assert list(first) == list(method.scorer().score(archs))
    assert list(first)[::-1] == list(method.scorer().score(archs[::-1]))


def test_a_run_stopped_anywhere_ends_where_an_unbroken_one_does(name: str, tmp_path: Path) -> None:
    whole = make(name)
    unbroken = Run.create(tmp_path / "unbroken", {"schema": 1})
    fit(whole, whole.batches(), whole.epochs, unbroken)
    steps = len(whole.batches())
    for stop in (1, steps - 1, steps, steps + 2):
        broken = Run.create(tmp_path / f"broken{stop}", {"schema": 1})
        stopped = make(name)
        with pytest.raises(KeyboardInterrupt):
            fit(stopped, stopped.batches(), stopped.epochs, broken, progress=Killer(stop, stopped, broken))
        again = make(name)
        fit(again, again.batches(), again.epochs, broken)
        assert same(again.state(), whole.state())
        assert figures(broken) == figures(unbroken)


class Killer:
    """A Progress that saves once in the middle and ends the training two steps later."""

    def __init__(self, stop: int, learner: Method, run: Run) -> None:
        self.stop, self.learner, self.run = stop, learner, run

    def __call__(self, done: int, total: int, figures: Any) -> None:
        import nas_suite.engine

        nas_suite.engine.SAVE_SECONDS = -1.0 if done == self.stop else 120.0
        if done == self.stop + 2:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_suite.engine.SAVE_SECONDS", 120.0)


def test_the_same_seed_trains_the_same_and_another_does_not(name: str) -> None:
    def after_a_step(seed: int) -> Any:
        method = make(name, seed)
        method.step(next(iter(method.batches().epoch(0))), 0)
        return method.state()

    first = after_a_step(0)
    assert same(first, after_a_step(0))
    assert not same(first, after_a_step(1))


def test_the_same_seed_searches_the_same_and_stays_in_the_space(name: str, tmp_path: Path) -> None:
    method = make(name)
    space = method.problem.space
    if method.derives:
        check_derived(method)
        return
    macs = cost("macs", space).objective()
    bound = float(np.median([macs.score([space.sample(random.Random(i))])[0] for i in range(20)]))
    found = []
    for attempt in range(2):
        run = Run.create(tmp_path / str(attempt), {"schema": 1})
        objectives = [method.scorer(), macs]
        drive(method.searcher(objectives, [Limit(macs, bound)]), space, objectives, method.budget, run)
        found.append([(t["arch"], t["values"]) for t in run.lines("trials.jsonl")])
    assert found[0] == found[1]
    assert len({arch for arch, _ in found[0]}) == method.budget
    for arch, values in found[0]:
        parsed = space.parse(arch)
        assert space.canonical(parsed) == parsed
        assert values["macs"] == macs.score([parsed])[0] <= bound


def check_derived(method: Any) -> None:
    """What is derived is in the space, costs what is said, and is the whole search."""
    searcher = method.searcher([method.scorer()], [])
    (arch,) = searcher.ask()
    assert arch == method.problem.space.canonical(arch)
    searcher.tell([arch], np.zeros((1, 1)))
    assert searcher.ask() == []
    with pytest.raises(BadInput, match="latency"):
        method.searcher([], [Limit(method.problem.latency.objective(), 1.0)])


def test_a_step_touches_only_what_its_paths_run(name: str) -> None:
    method = make(name)
    if method.derives:
        pytest.skip("its paths are soft in depth; see test_tfnas.py")
    batch = next(iter(method.batches().epoch(0)))
    method.step(batch, 0)
    before = {k: v.clone() for k, v in method.supernet.named_parameters()}
    method.step(batch, 1)
    reached = set()
    for path in method.paths(1):
        method.supernet(batch[0], path).sum().backward()
        reached |= {k for k, p in method.supernet.named_parameters() if p.grad is not None}
    moved = {k for k, p in method.supernet.named_parameters() if not torch.equal(p, before[k])}
    assert moved <= reached


def test_divergence_names_step_architecture_and_advice(name: str) -> None:
    from nas_suite.engine import Diverged

    method = make(name)
    with torch.no_grad():
        for parameter in method.supernet.parameters():
            parameter.fill_(float("nan"))
    named = "" if method.derives else "e[36]k.*"
    with pytest.raises(Diverged, match=rf"step 0.*{named}learning rate"):
        method.step(next(iter(method.batches().epoch(0))), 0)


def test_problem_holds_no_test_images() -> None:
    assert not [field for field in Problem.__dataclass_fields__ if "test" in field]
