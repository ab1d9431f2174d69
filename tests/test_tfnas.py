"""TF-NAS: its paths, its two kinds of step, its schedule, its widths and channels, and that it finds what matters."""

import copy
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from test_contract_methods import images, same
from torch.nn.functional import cross_entropy
from toys import Toy, per_channel

from nas_suite.cost import Cost
from nas_suite.data.images import Images
from nas_suite.engine import Descent
from nas_suite.errors import BadInput, Unreachable
from nas_suite.method import Problem
from nas_suite.methods.tfnas import TFNAS
from nas_suite.registry import construct
from nas_suite.spaces.tfnas import TFNAS as TFNASSpace

CERTAIN = (0.1, 0.2, 0.3, 0.4)


def method(space: Toy | None = None, seed: int = 0, **settings: Any) -> Any:
    space = space or Toy()
    problem = Problem(space, images(64, 1), images(48, 2), (0.5,) * 3, (0.25,) * 3, seed=seed, latency=per_channel(space))
    base = {"latency": 1.5, "epochs": 4, "warmup_epochs": 1, "batch_size": 16, "pad": 1}
    return construct(TFNAS, "method 'tfnas'", {**base, **settings}, problem=problem)


def believing(found: Any, probabilities: tuple[float, ...] = CERTAIN) -> Any:
    """The method, every block's operations held to be so likely."""
    with torch.no_grad():
        for alpha in found.alphas:
            alpha.copy_(torch.tensor(probabilities).log())
    return found


def trained(found: Any, epochs: int) -> list[dict[str, Any]]:
    """What the epochs say at their end."""
    step, lines = 0, []
    for epoch in range(epochs):
        losses = []
        for batch in found.batches().epoch(epoch):
            losses.append(found.step(batch, step)["loss"])
            step += 1
        lines.append({"loss": float(np.mean(losses)), **found.end_epoch(epoch)})
    return lines


def values(parameters: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in parameters]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def batch_of(found: Any) -> Any:
    return next(iter(found.batches().epoch(0)))


def test_the_first_path_is_drawn_as_alpha_says_at_any_temperature() -> None:
    hot, cold = believing(method(temperature=5.0)), believing(method(temperature=0.2))
    drawn = [hot.drawn(step, two=False)[0] for step in range(13_334)]
    assert drawn[:200] == [cold.drawn(step, two=False)[0] for step in range(200)]
    counts = Counter(op for path in drawn for op in path)
    total = sum(counts.values())
    assert chisquare([counts[op] for op in range(4)], [p * total for p in CERTAIN]).pvalue > 0.01


def test_the_second_path_is_uniform_over_what_the_first_left() -> None:
    found = believing(method())
    pairs = Counter(pair for step in range(13_334) for pair in zip(*found.drawn(step, two=True), strict=True))
    assert not [pair for pair in pairs if pair[0] == pair[1]]
    total = sum(pairs.values())
    for one in range(4):
        left = [pairs[one, other] for other in range(4) if other != one]
        assert chisquare(left).pvalue > 0.01
    for other, p in enumerate(CERTAIN):
        share = sum(pairs[one, other] for one in range(4)) / total
        expected = sum(q / 3 for one, q in enumerate(CERTAIN) if one != other)
        assert share == pytest.approx(expected, abs=0.006)
        assert expected == pytest.approx((1 - p) / 3)
    undecided = method()
    seconds = Counter(op for step in range(13_334) for op in undecided.drawn(step, two=True)[1])
    assert [seconds[op] / total for op in range(4)] == pytest.approx([0.25] * 4, abs=0.005)


def test_the_other_rules_of_the_second_path() -> None:
    rules = {rule: believing(method(second_path=rule)) for rule in ("gumbel", "max", "min")}
    firsts = [rules["max"].drawn(step, two=True) for step in range(50)]
    for first, second in firsts:
        assert all(other == (3 if one != 3 else 2) for one, other in zip(first, second, strict=True))
    for first, second in (rules["min"].drawn(step, two=True) for step in range(50)):
        assert all(other == (0 if one != 0 else 1) for one, other in zip(first, second, strict=True))
    pairs = Counter(pair for step in range(4_000) for pair in zip(*rules["gumbel"].drawn(step, two=True), strict=True))
    after_three = [pairs[3, other] for other in range(3)]
    assert chisquare(after_three, [sum(after_three) * p / 0.6 for p in CERTAIN[:3]]).pvalue > 0.01


def test_draws_are_a_function_of_seed_and_step() -> None:
    assert method().drawn(7, two=True) == method().drawn(7, two=True)
    assert [method().drawn(s, two=True) for s in range(5)] != [method(seed=1).drawn(s, two=True) for s in range(5)]


def test_a_step_of_the_weights_sums_two_gradients_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    found = believing(method(momentum=0.0, weight_decay=0.0, clip=0.0, lr=1.0, min_lr=1.0))
    x, y = batch_of(found)
    depths = [beta.detach().softmax(0) for beta in found.betas]
    paths = [found.problem.space.join(ops, depths, found.inner()) for ops in found.drawn(0, two=True)]
    expected = [torch.zeros_like(p) for p in found.supernet.parameters()]
    for path in paths:
        gradients = torch.autograd.grad(
            cross_entropy(found.supernet(x, path), y), list(found.supernet.parameters()), allow_unused=True
        )
        for total, gradient in zip(expected, gradients, strict=True):
            total += 0 if gradient is None else gradient
    before, choices = values(found.supernet.parameters()), values([*found.alphas, *found.betas])
    calls, summed = Counter[str](), []

    def note(name: str) -> None:
        calls.update([name])
        if name == "advance":
            summed.extend(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in found.supernet.parameters())

    for name in ("accumulate", "advance"):
        real = getattr(Descent, name)
        monkeypatch.setattr(Descent, name, lambda self, *a, n=name, r=real: (note(n), r(self, *a))[1])
    found.learn((x, y), 0, two=True)
    assert calls == {"accumulate": 1, "advance": 1}
    assert equal(choices, values([*found.alphas, *found.betas]))
    for was, now, gradient, step in zip(before, found.supernet.parameters(), expected, summed, strict=True):
        torch.testing.assert_close(step, gradient, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(was - now.detach(), gradient, rtol=1e-3, atol=1e-6)


def test_operations_on_no_path_and_channels_past_the_width_do_not_move() -> None:
    found = method(weight_decay=0.1)
    trained(found, 2)
    drawn = found.drawn(99, two=True)
    inner = found.inner()
    assert any(w < found.problem.space.widths(at, op)[-1] for at, row in enumerate(inner) for op, w in enumerate(row))
    state = {p: kept["momentum_buffer"].clone() for p, kept in found.descent.optimizer.state.items()}
    before = {p: p.detach().clone() for p in found.supernet.parameters()}
    found.learn(batch_of(found), 99, two=True)
    for at, block in enumerate(found.supernet.blocks):
        for op, operation in enumerate(block):
            on_path = op in (drawn[0][at], drawn[1][at])
            for parameter, dim in operation.inner():
                past = (*[slice(None)] * dim, slice(inner[at][op] if on_path else 0, None))
                assert torch.equal(parameter[past], before[parameter][past])
                if parameter in state:
                    assert torch.equal(
                        found.descent.optimizer.state[parameter]["momentum_buffer"][past], state[parameter][past]
                    )
                assert not on_path or not torch.equal(parameter, before[parameter])


def test_momentum_past_the_width_starts_at_nothing() -> None:
    found = method(weight_decay=0.1)
    found.learn(batch_of(found), 0, two=True)
    for path in found.drawn(0, two=True):
        for at, op in enumerate(path):
            for parameter, dim in found.supernet.blocks[at][op].inner():
                momentum = found.descent.optimizer.state[parameter]["momentum_buffer"]
                past = (*[slice(None)] * dim, slice(found.inner()[at][op], None))
                assert not momentum[past].any()
                assert momentum.any()


def test_a_step_of_the_choices_moves_choices_alone_and_leaves_log_probabilities() -> None:
    found = believing(method())
    before, choices = values(found.supernet.parameters()), values([*found.alphas, *found.betas])
    figures = found.choose(batch_of(found), 0, 5.0)
    assert equal(before, values(found.supernet.parameters()))
    assert not any(torch.equal(a, b) for a, b in zip(choices[:3], values(found.alphas), strict=True))
    assert not torch.equal(choices[3], found.betas[0])
    for parameter in (*found.alphas, *found.betas):
        assert float(parameter.detach().logsumexp(0)) == pytest.approx(0.0, abs=1e-6)
    assert set(figures) == {"val_loss", "val_accuracy", "expected_ms"}


def test_the_latency_term_is_zero_at_the_target_and_pulls_from_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    real = Descent.accumulate
    monkeypatch.setattr(Descent, "accumulate", lambda self, loss: (losses.append(float(loss.detach())), real(self, loss))[1])
    uniform = method()
    start = float(uniform.expected([a.exp() for a in uniform.alphas], [b.softmax(0) for b in uniform.betas]).detach())
    ms = uniform.choose(batch_of(uniform), 0, 5.0)["expected_ms"]
    moved = {}
    for target in (ms, ms / 1.2, ms * 1.2):
        found = method(latency=target, latency_weight=100.0)
        figures = found.choose(batch_of(found), 0, 5.0)
        assert losses[-1] - figures["val_loss"] == pytest.approx(100.0 * abs(ms / target - 1), abs=1e-3)
        moved[target] = float(found.expected([a.exp() for a in found.alphas], [b.softmax(0) for b in found.betas]).detach())
    assert moved[ms / 1.2] < start < moved[ms * 1.2]


def test_the_gradient_of_the_expected_latency_is_its_slope() -> None:
    found = believing(method())
    choices = [p.detach().double().requires_grad_() for p in (*found.alphas, *found.betas)]

    def expected(*some: torch.Tensor) -> torch.Tensor:
        return found.expected([a.softmax(0) for a in some[:3]], [b.softmax(0) for b in some[3:]])

    assert torch.autograd.gradcheck(expected, choices, rtol=1e-3)


def test_the_schedule() -> None:
    found = method(epochs=5, warmup_epochs=2, temperature_decay=0.5, batch_size=20, min_lr=0.001)
    choices = values([*found.alphas, *found.betas])
    lines = []
    step = 0
    for epoch in range(5):
        told = []
        for batch in found.batches().epoch(epoch):
            told.append("val_loss" in found.step(batch, step))
            step += 1
        assert len(told) == 3
        assert sum(told) == (0 if epoch < 2 else 2)
        if epoch < 2:
            assert equal(choices, values([*found.alphas, *found.betas]))
            assert int(found.trained.sum()) == 3 * 3 * (epoch + 1)
        lines.append(found.end_epoch(epoch))
    assert [line.get("temperature") for line in lines] == [None, None, 5.0, 2.5, 1.25]
    for epoch, line in enumerate(lines):
        assert line["lr"] == pytest.approx(0.001 + 0.024 * (1 + math.cos(math.pi * epoch / 5)) / 2, abs=1e-9)
    assert method(epochs=90, warmup_epochs=10).warmth(89) == pytest.approx(0.19879, abs=1e-5)
    assert int(found.trained.sum()) == 3 * 3 * 2 + 2 * 3 * 3 * 3


def test_validation_batches_are_a_function_of_the_step_and_all_are_seen() -> None:
    found = method(epochs=3, warmup_epochs=0, batch_size=8)
    seen: list[torch.Tensor] = []
    found.choose = lambda batch, step, warmth: seen.append(batch[0]) or {}
    for epoch in range(3):
        for number, batch in enumerate(found.batches().epoch(epoch)):
            found.step(batch, epoch * 8 + number)
    assert len(seen) == 12
    first = torch.cat(seen[:6]).flatten(1)
    assert sorted(first.sum(1).tolist()) == sorted(torch.cat(seen[6:]).flatten(1).sum(1).tolist())
    assert len({tuple(row.tolist()) for row in first}) == 48
    assert not torch.equal(seen[0], seen[6])


def test_channels_kept_are_those_of_the_largest_filters_and_come_back_unchanged() -> None:
    found = believing(method(latency=1.0), (0.1, 0.1, 0.1, 0.7))
    found.learn(batch_of(found), 0, two=True)
    space, x = found.problem.space, batch_of(found)[0]
    wide = space.join((3, 3, 3), (1, 0), [[space.widths(at, op)[-1] for op in range(4)] for at in range(3)])
    operation = found.supernet.blocks[0][3]
    filters, whole = operation.filter.weight.detach().clone(), found.supernet(x, wide)
    found.end_epoch(1)
    assert found.widths[0][3] < found.target.start[0][3]
    norms = operation.filter.weight.detach().abs().sum((1, 2, 3))
    assert torch.equal(norms, filters.abs().sum((1, 2, 3)).sort(descending=True).values)
    torch.testing.assert_close(found.supernet(x, wide), whole, rtol=1e-4, atol=1e-5)
    kept = {tuple(f.flatten().tolist()) for f in operation.filter.weight.detach()}
    assert kept == {tuple(f.flatten().tolist()) for f in filters}


def test_momentum_goes_with_its_channel() -> None:
    found = believing(method(), (0.1, 0.1, 0.1, 0.7))
    trained(found, 1)
    weights = found.supernet.blocks[0][3].project.weight

    def columns() -> dict[tuple[float, ...], tuple[float, ...]]:
        momentum = found.descent.optimizer.state[weights]["momentum_buffer"]
        flat = (tensor.detach().flatten(1).T.tolist() for tensor in (weights, momentum))
        return {tuple(w): tuple(m) for w, m in zip(*flat, strict=True)}

    before, order = columns(), weights.detach().clone()
    found.end_epoch(3)
    assert columns() == before
    assert not torch.equal(weights, order)


def test_what_is_derived_meets_the_target_and_is_what_the_log_says() -> None:
    found = method()
    last = trained(found, 4)[-1]
    space, cost = found.problem.space, found.problem.latency
    arch = space.parse(last["network"])
    assert space.describe(arch) == last["network"]
    assert arch == found.found == found.searcher([], []).ask()[0]
    assert cost.total(arch) == pytest.approx(last["latency"])
    assert last["trace"][-1] == pytest.approx(last["latency"])
    assert 1.5 * (1 - 1e-2) <= last["latency"] <= 1.5 + 1e-9
    assert last["out_of_reach"] == 0.0


def test_at_the_end_a_network_out_of_reach_gives_way_to_the_nearest_that_is_not() -> None:
    found = believing(method(latency=2.9), (0.97, 0.01, 0.01, 0.01))
    found.learn(batch_of(found), 0, two=True)
    before = found.end_epoch(2)
    assert before["out_of_reach"] > 0
    assert before["latency"] < 2.0
    last = found.end_epoch(3)
    assert last["out_of_reach"] == 0.0
    assert last["latency"] == pytest.approx(2.9, rel=5e-3)


def test_without_elastic_widths_stay_and_the_likeliest_network_is_taken() -> None:
    found = believing(method(elastic=False, latency=2.9), (0.97, 0.01, 0.01, 0.01))
    last = trained(found, 4)[-1]
    assert found.widths == found.target.start
    assert last["trace"] == []
    assert last["network"].startswith("k1e2-k1e2-k1e2")


def test_widths_of_another_deployed_space_are_in_proportion() -> None:
    deployed = Toy(inside=32)
    problem = replace(method().problem, latency=per_channel(deployed))
    found = construct(
        TFNAS, "tfnas", {"latency": 5.0, "epochs": 3, "warmup_epochs": 1, "batch_size": 16, "pad": 1}, problem=problem
    )
    assert found.widths == found.target.start
    assert found.inner() == method().target.start
    last = trained(found, 3)[-1]
    assert 4.97 < last["latency"] <= 5.0 + 1e-9
    assert deployed.describe(deployed.parse(last["network"])) == last["network"]
    operations, depths, widths = deployed.split(found.found)
    mine = found.problem.space.split(found.searcher([], []).ask()[0])
    assert (operations, depths) == mine[:2]
    for wide, narrow in zip(widths, mine[2], strict=True):
        assert all(abs(w / 4 - n) <= 0.5 for w, n in zip(wide, narrow, strict=True))


@pytest.mark.parametrize("depth_by", ["skip", "full"])
def test_widths_meet_the_target_where_depth_is_no_choice_of_its_own(depth_by: str) -> None:
    """Nothing at all has no channels to sort, even where it is held to be the best of a block's operations."""
    space = TFNASSpace(width=0.1, image_size=8, classes=2, small=True, depth_by=depth_by)
    latency = Cost("latency", "ms", space, lambda block: 0.01 * block.width)
    problem = Problem(space, images(32, 1), images(32, 2), (0.5,) * 3, (0.25,) * 3, latency=latency)
    settings = {"latency": 8.0, "epochs": 2, "warmup_epochs": 1, "batch_size": 16, "pad": 1}
    found = construct(TFNAS, "method 'tfnas'", settings, problem=problem)
    with torch.no_grad():
        found.alphas[1][-1] += 1.0
    _, line = trained(found, 2)
    rows = [stage.split("_") for stage in line["network"].split("/")]
    assert line["latency"] == pytest.approx(8.0, rel=0.02)
    assert sum(map(len, rows)) == (18 if depth_by == "full" else 17)


def test_operations_that_starve_are_named() -> None:
    found = believing(method(second_path="none", warmup_epochs=0), (1e-7, 0.3333, 0.3333, 0.3333))
    line = trained(found, 2)[-1]
    assert line["starved"] == ["block0.k1e2", "block1.k1e2", "block2.k1e2"]
    assert method(second_path="none", least_share=0.0).habits()["starved"] == []
    assert sum(map(sum, line["trained"])) == 2 * 4 * 3


@pytest.mark.parametrize(
    ("setting", "value"),
    [("lr", 0.5), ("min_lr", 0.02), ("momentum", 0.0), ("weight_decay", 0.5), ("clip", 0.01), ("choice_lr", 0.2),
     ("choice_momentum", 0.0), ("choice_weight_decay", 0.5), ("latency_weight", 10.0), ("temperature", 0.5),
     ("temperature_decay", 0.5), ("second_path", "none"), ("second_path", "gumbel"), ("warmup_epochs", 0), ("elastic", False),
     ("latency", 1.0), ("pad", 0), ("flip", False), ("cutout", 4), ("batch_size", 8), ("aligned", True),
     ("jitter", 0.4), ("hue", 0.2)],
)  # fmt: skip
def test_every_setting_has_an_effect(setting: str, value: Any) -> None:
    plain, changed = (believing(method(**{"epochs": 3, **some})) for some in ({}, {setting: value}))
    for found in (plain, changed):
        trained(found, 3)
    assert not same(plain.state(), changed.state()) or plain.widths != changed.widths


def test_the_state_is_whole() -> None:
    found, other = method(), method(seed=0)
    trained(found, 3)
    state = copy.deepcopy(found.state())
    other.restore(state)
    assert same(other.state(), found.state())
    assert (other.widths, other.found) == (found.widths, found.found)
    for step, batch in enumerate(found.batches().epoch(3), 12):
        assert found.step(batch, step) == other.step(batch, step)
    assert found.end_epoch(3) == other.end_epoch(3)


@pytest.mark.parametrize(
    ("target", "kind", "said"),
    [("fast", BadInput, "latency"), (float("nan"), BadInput, "latency"), (-1, BadInput, "greater"),
     (0, BadInput, "greater"), (0.2, Unreachable, r"0\.26 to 2\.98 ms"), (3, Unreachable, r"0\.26 to 2\.98 ms")],
)  # fmt: skip
def test_a_target_that_is_none_or_out_of_reach_is_refused_before_anything_is_trained(
    target: Any, kind: type, said: str
) -> None:
    with pytest.raises(kind, match=said):
        method(latency=target)


def test_without_latencies_it_says_what_to_do() -> None:
    with pytest.raises(BadInput, match="nas search tfnas"):
        construct(TFNAS, "tfnas", {}, problem=replace(method().problem, latency=None))


def stripes(count: int, seed: int) -> Images:
    """Upright and lying stripes in noise: pixel by pixel the classes are the same."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    lying = (np.indices((8, 8))[0][None] + rng.integers(0, 2, count)[:, None, None]) % 2 * 120.0 + 60
    x = np.where(y[:, None, None] == 1, lying, lying.transpose(0, 2, 1))[..., None] + rng.normal(0, 40, (count, 8, 8, 3))
    return Images.of(x.clip(0, 255).astype(np.uint8), y)


def searched(seed: int, second_path: str) -> tuple[Any, list[dict[str, Any]]]:
    """A search for a network for stripes, where one operation of four sees more than a pixel and costs next to nothing."""
    space = Toy(inside=32, kinds=((1, 2), (3, 2), (1, 3), (1, 4)))
    rates = {True: 0.00125, False: 0.0025}  # ms a channel: a step of one is a third of a percent of the target at most
    cost = Cost("latency", "ms", space, lambda b: 0.1 if b.key == "stem" else b.width * rates["k3" in b.family])
    problem = Problem(space, stripes(256, seed), stripes(128, seed + 100), (0.5,) * 3, (0.25,) * 3, seed=seed, latency=cost)
    settings = {
        "latency": 0.8, "epochs": 8, "warmup_epochs": 3, "batch_size": 16, "pad": 0, "flip": False, "lr": 0.05,
        "choice_lr": 0.1, "temperature": 2.0, "second_path": second_path,
    }  # fmt: skip
    found = construct(TFNAS, "tfnas", settings, problem=problem)
    return found, trained(found, 8)


@pytest.fixture(scope="module")
def searches() -> dict[str, list[tuple[Any, list[dict[str, Any]]]]]:
    return {rule: [searched(seed, rule) for seed in range(5)] for rule in ("random", "none")}


@pytest.mark.slow
def test_a_small_search_finds_the_operation_that_alone_solves_the_task(searches: Any) -> None:
    planted = 0
    for found, lines in searches["random"]:
        assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
        assert lines[-1]["operation_entropy"] < lines[3]["operation_entropy"] < math.log(4)
        assert 0.8 * (1 - 5e-3) <= lines[-1]["latency"] <= 0.8 + 1e-9
        planted += int(found.alphas[0].argmax()) == 1 and "k3e2" in lines[-1]["network"]
    assert planted >= 4


@pytest.mark.slow
def test_two_paths_train_operations_more_alike_than_one(searches: Any) -> None:
    ratios = {
        rule: [np.mean([min(row) / max(row) for row in lines[-1]["trained"]]) for _, lines in runs]
        for rule, runs in searches.items()
    }
    assert all(two > one for two, one in zip(ratios["random"], ratios["none"], strict=True)), ratios
