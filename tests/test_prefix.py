"""Prefix trees: what they save, and that they give to the last bit what paths one by one give."""

import copy
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from test_contract_methods import images, same
from torch import Tensor

from nas_suite.chain import ChainSpace
from nas_suite.engine import Compute
from nas_suite.method import Problem
from nas_suite.methods import METHODS
from nas_suite.oneshot import OneShot, Scoring
from nas_suite.space import Arch
from nas_suite.spaces import SPACES

FP32, BF16 = torch.float32, torch.bfloat16
LARGE = 1 << 30


def batches(count: int, size: int, side: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randn(count, size, 3, side, side, generator=generator)
    return [(x.contiguous(memory_format=torch.channels_last), torch.arange(size) % 10) for x in pictures]


def scoring(space: Any, dtype: torch.dtype = FP32, calibrated: bool = True) -> Scoring:
    """Of a supernet whose statistics and weights are no fresh ones'."""
    torch.manual_seed(0)
    compute = Compute(dtype=dtype)
    supernet = compute.place(space.supernet("linear"))
    rng = random.Random(1)
    with torch.no_grad():
        for norm in supernet.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_()
        for x, _ in batches(3, 8, space.image_size, 2):
            supernet(x, space.draw(rng))
    calibration = batches(3, 8, space.image_size, 3) if calibrated else []
    return Scoring(supernet, compute, calibration, batches(2, 12, space.image_size, 4))


def build(name: str) -> Any:
    return SPACES.build(name, {**tiny.SPACES[name], "classes": 10})


def some(space: Any, count: int = 12) -> list[Arch]:
    """Architectures of which some begin alike, out of order, one twice."""
    rng = random.Random(5)
    drawn = [space.draw(rng) for _ in range(count)]
    if isinstance(space, ChainSpace):
        drawn += [(*arch[:-1], other[-1]) for arch, other in itertools.pairwise(drawn)]
    rng.shuffle(drawn)
    return [*drawn, drawn[0]]


def logits(scoring: Scoring, work: Callable[[], object]) -> list[Tensor]:
    """What leaves the head in evaluation mode while something is scored."""
    seen: list[Tensor] = []
    head: Any = scoring.supernet.head
    hook = head.register_forward_hook(lambda part, given, out: None if part.training else seen.append(out.clone()))
    work()
    hook.remove()
    return seen


def gathered(scoring: Scoring, archs: list[Arch], memory: int = LARGE) -> dict[Arch, float]:
    return {arch: accuracy for part in scoring.parts(archs, memory) for arch, accuracy in part.items()}


@pytest.mark.parametrize("calibrated", [True, False], ids=["calibrated", "as trained"])
@pytest.mark.parametrize("dtype", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["macro", "mixpath-s1", "mixpath-s4"])
def test_a_set_scores_as_its_architectures_do_one_by_one(name: str, dtype: torch.dtype, calibrated: bool) -> None:
    space = build(name)
    subject, archs = scoring(space, dtype, calibrated), some(space)
    alone: dict[Arch, float] = {}
    expected = {arch: logits(subject, lambda arch=arch: alone.update({arch: subject.accuracy(arch)})) for arch in set(archs)}
    together: dict[Arch, float] = {}
    found = logits(subject, lambda: together.update(gathered(subject, archs)))
    assert together == alone
    order = list(together)
    rows = [[found[at + round * len(order)] for round in range(len(subject.val))] for at in range(len(order))]
    for arch, row in zip(order, rows, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(row, expected[arch], strict=True)), arch
    assert len({tuple(row[0].flatten().tolist()) for row in rows}) == len(order)


@pytest.mark.parametrize("name", ["macro", "mixpath-s1", "mixpath-s4"])
def test_the_supernet_is_left_as_it_was(name: str) -> None:
    space = build(name)
    subject = scoring(space)
    before = copy.deepcopy(subject.supernet.state_dict())
    pointers = [buffer.data_ptr() for buffer in subject.supernet.buffers()]
    subject.supernet.train()
    gathered(subject, some(space))
    assert same(before, subject.supernet.state_dict())
    assert pointers == [buffer.data_ptr() for buffer in subject.supernet.buffers()]
    assert subject.supernet.training
    parts = subject.parts(some(space), 1)
    next(parts)
    assert same(before, subject.supernet.state_dict()), "between two parts too"
    norms = [part for part in subject.supernet.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert all(norm.momentum == 0.1 and not norm._forward_pre_hooks for norm in norms)


def test_an_error_in_the_midst_leaves_the_supernet_as_it_was() -> None:
    space = build("macro")
    subject = scoring(space)
    before = copy.deepcopy(subject.supernet.state_dict())

    def stop(done: int, total: int, figures: object) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(subject.parts(some(space), LARGE, stop))
    assert same(before, subject.supernet.state_dict())


def test_a_small_memory_cuts_the_set_into_parts_that_score_the_same() -> None:
    space = build("macro")
    subject, archs = scoring(space), some(space)
    whole = list(subject.parts(archs, LARGE))
    parts = list(subject.parts(archs, 1))
    assert len(whole) == 1
    assert [len(part) for part in parts] == [1] * len(set(archs))
    assert dict(pair for part in parts for pair in part.items()) == whole[0]
    assert [arch for part in parts for arch in part] == list(whole[0]) == sorted(set(archs))


def runs(subject: Scoring, work: Callable[[], object]) -> int:
    """How many choice blocks run, and heads."""
    counted = [0]

    def count(*_: object) -> None:
        counted[0] += 1

    supernet: Any = subject.supernet
    hooks = [part.register_forward_hook(count) for part in [*supernet.choices, supernet.head, supernet.stem]]
    work()
    for hook in hooks:
        hook.remove()
    return counted[0]


def test_what_begins_alike_runs_once_a_batch() -> None:
    """All 27 ends of one beginning: a stem, 5 layers, 3 + 9 + 27 layers and 27 heads a batch."""
    space = build("macro")
    subject = scoring(space)
    archs = [(1, 2, 0, 1, 2, *end) for end in itertools.product(range(3), repeat=3)]
    rounds = len(subject.calibration) + len(subject.val)
    assert runs(subject, lambda: gathered(subject, archs)) == rounds * (1 + 5 + 3 + 9 + 27 + 27)
    assert runs(subject, lambda: [subject.accuracy(arch) for arch in archs]) == rounds * 27 * 10


def test_progress_counts_architectures_worth_of_work() -> None:
    space = build("macro")
    subject, archs = scoring(space), some(space)
    for memory in (1, LARGE):
        told: list[tuple[int, int]] = []
        list(subject.parts(archs, memory, lambda done, total, figures, told=told: told.append((done, total))))
        count = len(set(archs))
        assert len(told) == count * 5
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1] == (count, count)
        assert told[0][0] == 0


def trained(**settings: Any) -> OneShot:
    space = SPACES.build("macro", {**tiny.SPACES["macro"], "width": 0.25, "image_size": 8, "classes": 2})
    problem = Problem(space, images(64, 1), images(32, 2), (0.5,) * 3, (0.25,) * 3)
    return METHODS.build("spos", {**tiny.METHODS["spos"], **settings}, problem=problem)


def test_accuracies_come_in_the_order_asked_for() -> None:
    method = trained()
    archs = some(method.problem.space)
    assert method.accuracies(archs) == [method.scoring.accuracy(arch) for arch in archs]
    assert list(method.scorer().score(archs)) == [1.0 - accuracy for accuracy in method.accuracies(archs)]
    assert method.accuracies([]) == []


def test_score_memory_bounds_the_parts_that_are_told_of() -> None:
    """Less than a MiB is told at once; the statistics of 400 networks take several."""
    rng = random.Random(0)
    method = trained(score_memory=1, calib_images=2, score_images=2)
    archs = [method.problem.space.draw(rng) for _ in range(400)]
    few: list[int] = []
    method.accuracies(archs[:10], found=lambda part: few.append(len(part)))
    assert few == [10]
    told: dict[Arch, float] = {}
    sizes: list[int] = []

    def found(part: Any) -> None:
        sizes.append(len(part))
        told.update(part)

    known = method.accuracies(archs, found=found)
    assert len(sizes) > 2
    assert [told[arch] for arch in archs] == known
    method.score_memory = 64
    sizes.clear()
    method.accuracies(archs, found=found)
    assert sizes == [len(set(archs))]
