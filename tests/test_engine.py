"""The engine: schedules, descents that touch only their own, signals, and steps that are a function of their number."""

import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas_suite.engine import Compute, Cosine, Descent, Diverged, Learner, Signals, decayed, fit, random_for
from nas_suite.errors import BadInput, Interrupted
from nas_suite.run import LOG, Run


def test_cosine_is_the_closed_form_and_steps_once_an_epoch() -> None:
    schedule = Cosine(0.025, 1e-8, steps=200 * 520, every=520)
    for epoch in (0, 1, 100, 199):
        closed = 1e-8 + (0.025 - 1e-8) * (1 + math.cos(math.pi * epoch / 200)) / 2
        assert schedule(epoch * 520) == schedule(epoch * 520 + 519) == pytest.approx(closed, abs=1e-12)


def test_warm_up_rises_linearly_and_meets_the_cosine() -> None:
    schedule = Cosine(1.0, 0.0, steps=110, warmup=10)
    assert [round(schedule(step), 6) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert schedule(109) == pytest.approx((1 + math.cos(math.pi * 0.99)) / 2)
    assert schedule(500) == 0.0


def test_a_descent_touches_only_its_own_parameters() -> None:
    mine, other, idle = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
    descent = Descent([{"params": [*mine.parameters(), *idle.parameters()], "weight_decay": 0.1}], Cosine(0.1, 0.0, 10))
    before = {id(m): m.weight.detach().clone() for m in (mine, other, idle)}
    descent.accumulate(other(mine(torch.randn(4, 3))).sum())
    descent.advance()
    assert not torch.equal(mine.weight, before[id(mine)])
    assert torch.equal(other.weight, before[id(other)])
    assert torch.equal(idle.weight, before[id(idle)])
    assert other.weight.grad is None
    assert mine.weight.grad is None


def test_accumulated_losses_make_one_step_along_the_sum_of_their_gradients() -> None:
    torch.manual_seed(0)
    a, b = nn.Linear(3, 1), nn.Linear(3, 1)
    b.load_state_dict(a.state_dict())
    x, y = torch.randn(2, 5, 3)
    one, two = (Descent([{"params": list(m.parameters())}], Cosine(0.1, 0.1, 10)) for m in (a, b))
    one.accumulate(a(x).sum())
    one.accumulate(a(y).sum())
    two.accumulate(b(x).sum() + b(y).sum())
    assert one.advance() == pytest.approx(two.advance())
    torch.testing.assert_close(a.weight, b.weight)
    assert one.taken == 1


def test_clipping_bounds_the_norm_of_the_whole_gradient() -> None:
    weight = nn.Parameter(torch.zeros(4))
    descent = Descent([{"params": [weight]}], Cosine(1.0, 1.0, 10), momentum=0.0, clip=5.0)
    descent.accumulate((weight * torch.tensor([30.0, 40.0, 0.0, 0.0])).sum())
    assert descent.advance() == pytest.approx(50.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([-3.0, -4.0, 0.0, 0.0]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_a_loss_beyond_use_is_refused_before_it_spoils_a_weight(value: float) -> None:
    weight = nn.Parameter(torch.ones(1))
    descent = Descent([{"params": [weight]}], Cosine(1.0, 1.0, 10))
    with pytest.raises(Diverged):
        descent.accumulate((weight * value).sum())
    descent.accumulate((weight * 0.0).sum() + (weight - 1.0).sqrt().sum())  # its value is 0, its gradient infinite
    with pytest.raises(Diverged):
        descent.advance()
    assert weight.item() == 1.0


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_every_optimiser_resumes_exactly(kind: Any) -> None:
    def fresh() -> tuple[nn.Parameter, Descent]:
        weight = nn.Parameter(torch.ones(3))
        return weight, Descent([{"params": [weight], "weight_decay": 0.01}], Cosine(0.1, 0.0, 20), kind)

    def walk(weight: nn.Parameter, descent: Descent, steps: int) -> None:
        for _ in range(steps):
            descent.accumulate((weight**2).sum())
            descent.advance()

    whole, descent = fresh()
    walk(whole, descent, 10)
    first, half = fresh()
    walk(first, half, 4)
    second, rest = fresh()
    second.data.copy_(first.data)
    rest.restore(half.state())
    walk(second, rest, 6)
    assert torch.equal(whole, second)


def test_weight_decay_can_spare_the_norms() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    both, spared = decayed(module, 3e-4, norms=True), decayed(module, 3e-4, norms=False)
    assert [(g["weight_decay"], len(g["params"])) for g in both] == [(3e-4, 4)]
    assert [(g["weight_decay"], len(g["params"])) for g in spared] == [(3e-4, 2), (0.0, 2)]


def test_randomness_is_a_function_of_seed_and_position() -> None:
    assert random_for(1, 5).random() == random_for(1, 5).random()
    assert len({random_for(seed, step).random() for seed in range(3) for step in range(100)}) == 300


@pytest.mark.parametrize(("device", "precision"), [("quantum", "auto"), ("cuda:99", "auto"), ("cpu", "fp8")])
def test_a_device_or_precision_that_is_not_there_is_named(device: str, precision: str) -> None:
    with pytest.raises(BadInput, match=r"there are: auto") as caught:
        Compute.choose(device, precision)
    assert (device if precision == "auto" else precision) in str(caught.value)


class Walk(Learner):
    """Adds random numbers, as drop-path draws them: from torch's generator as the engine leaves it."""

    def __init__(self) -> None:
        self.at = torch.zeros(2)

    def step(self, batch: int, step: int) -> dict[str, float]:
        self.at = self.at + torch.rand(2) * batch
        return {"loss": float(self.at.sum())}

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {"end": float(epoch)}

    def state(self) -> dict[str, Any]:
        return {"weights": {"at": self.at}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.at = state["weights"]["at"]


class Tens:
    """Ten batches an epoch, which say their place."""

    def __len__(self) -> int:
        return 10

    def epoch(self, epoch: int, start: int = 0) -> Iterator[int]:
        yield from range(epoch * 10 + start, epoch * 10 + 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", [1, 9, 10, 14, 29])
def test_a_signal_stops_at_the_next_step_with_everything_saved(tmp_path: Path, number: int, when: int) -> None:
    whole, half, rest = Walk(), Walk(), Walk()
    unbroken, broken = (Run.create(tmp_path / name, {"schema": 1}) for name in ("unbroken", "broken"))
    fit(whole, Tens(), 3, unbroken, seed=5)

    def progress(done: int, total: int, figures: Any) -> None:
        assert total == 30
        if done == when:
            os.kill(os.getpid(), number)

    former = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        fit(half, Tens(), 3, broken, seed=5, progress=progress)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is former
    assert broken.load()[0] == when  # type: ignore[index]
    fit(rest, Tens(), 3, broken, seed=5)
    assert torch.equal(rest.at, whole.at)
    keys = ("epoch", "step", "loss", "end")
    assert [[line[k] for k in keys] for line in broken.lines(LOG)] == [[line[k] for k in keys] for line in unbroken.lines(LOG)]


class Slow(Walk):
    """Takes a hundredth of a second a step."""

    def step(self, batch: int, step: int) -> dict[str, float]:
        time.sleep(0.01)
        return super().step(batch, step)


def test_the_seconds_of_an_epoch_are_those_of_all_its_parts(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"schema": 1})

    def stop(done: int, total: int, figures: Any) -> None:
        if done in (4, 8, 15):
            os.kill(os.getpid(), signal.SIGINT)

    for _ in range(3):
        with pytest.raises(Interrupted):
            fit(Slow(), Tens(), 2, run, progress=stop)
    fit(Slow(), Tens(), 2, run, progress=stop)
    assert all(0.1 <= line["seconds"] < 1.0 for line in run.lines(LOG))
    assert all(line["steps_per_second"] == pytest.approx(10 / line["seconds"], rel=0.01) for line in run.lines(LOG))


class Blown(Walk):
    """Its weights are beyond use after some step, which it notices two steps later."""

    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self.blows, self.value = at, value

    def step(self, batch: int, step: int) -> dict[str, float]:
        if step >= self.blows + 2:
            raise Diverged("the loss is inf: training diverged")
        figures = super().step(batch, step)
        if step >= self.blows:
            self.at = torch.tensor([1.0, self.value])
        return figures


@pytest.mark.parametrize("value", [6e29, -6e29, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("blows", "said", "kept"),
    [
        (3, "the loss is inf: training diverged; nothing was saved yet", None),
        (9, "at step 10: training diverged; .*; nothing was saved yet", None),
        (25, "the loss is inf: training diverged; what was saved at step 20 is intact", 20),
        (29, "at step 30: training diverged; .*; what was saved at step 20 is intact", 20),
    ],
)
def test_a_divergence_says_what_is_saved_and_saves_nothing_spoilt(
    tmp_path: Path, value: float, blows: int, said: str, kept: int | None
) -> None:
    run = Run.create(tmp_path / "run", {"schema": 1})
    with pytest.raises(Diverged, match=said):
        fit(Blown(blows, value), Tens(), 3, run)
    loaded = run.load()
    assert (loaded and loaded[0]) == kept


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"schema": 1})
    fit(Walk(), Tens(), 2, run)
    again = Walk()
    fit(again, Tens(), 2, run, progress=lambda done, total, figures: pytest.fail("a step was taken"))
    assert len(run.lines(LOG)) == 2


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"schema": 1})
    run.save(3, {"weights": {"other": torch.ones(1)}, "meter": {"sums": {}, "count": 0}})
    with pytest.raises(BadInput, match="does not fit"):
        fit(Walk(), Tens(), 1, run)


def test_a_second_interrupt_does_not_wait() -> None:
    with Signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def average(rank: int, port: int, out: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo")
    used, idle = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    descent = Descent([{"params": [used, idle]}], Cosine(1.0, 1.0, 1), momentum=0.0)
    descent.accumulate((used * (rank + 1.0)).sum())
    descent.advance()
    torch.save((used.detach(), idle.detach()), f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_average_the_gradients_of_the_path_they_share(tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(average, (port, str(tmp_path)), nprocs=2)
    for rank in range(2):
        used, idle = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert used.tolist() == [-1.5, -1.5]
        assert idle.tolist() == [0.0, 0.0]
