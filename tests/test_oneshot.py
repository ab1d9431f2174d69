"""One-shot training and scoring: calibration, fairness, and m = 1 as the single-path case (spec checks 8, 13)."""

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from test_contract_methods import images, make, same
from torch import nn

from nas_suite.engine import random_for
from nas_suite.method import Problem
from nas_suite.methods import METHODS
from nas_suite.oneshot import recalibrated
from nas_suite.spaces import SPACES


def method(norm: str = "linear", name: str = "mixpath", **space: Any) -> Any:
    settings = {"width": 0.1, "m": 2, "kernels": (3, 5), "image_size": 8, "classes": 2, **space}
    problem = Problem(SPACES.build("mixpath-s1", settings), images(64, 1), images(32, 2), (0.5,) * 3, (0.25,) * 3)
    return METHODS.build(
        name, {"norm": norm, "epochs": 2, "batch_size": 16, "pad": 1, "cutout": 2, "calib_images": 32}, problem=problem
    )


def test_with_one_path_shadow_batch_norm_is_the_ordinary_one_bit_for_bit() -> None:
    linear, vanilla = (method(norm, m=1) for norm in ("linear", "vanilla"))
    for step, batch in enumerate(linear.batches().epoch(0)):
        assert linear.step(batch, step) == vanilla.step(batch, step)
    assert same(linear.state(), vanilla.state())


def test_with_two_paths_it_is_not() -> None:
    linear, vanilla = (method(norm) for norm in ("linear", "vanilla"))
    figures = [[m.step(batch, step)["loss"] for step, batch in enumerate(m.batches().epoch(0))] for m in (linear, vanilla)]
    assert figures[0] != figures[1]


def buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


def test_calibration_changes_only_buffers_on_the_route_and_puts_them_back() -> None:
    trained = method()
    for step, batch in enumerate(trained.batches().epoch(0)):
        trained.step(batch, step)
    net, scoring = trained.supernet, trained.scoring
    path = trained.problem.space.parse("-".join(["e6k35"] * 12))
    before, weights = buffers(net), copy.deepcopy(dict(net.named_parameters()))
    pictures = [x for x, _ in scoring.calibration]
    with recalibrated(net, path, pictures, trained.problem.compute):
        first = buffers(net)
    with recalibrated(net, path, pictures, trained.problem.compute):
        second = buffers(net)
    moved = {name for name in before if not torch.equal(before[name], first[name])}
    assert moved
    for name in moved:
        assert name.startswith(("stem", "head")) or ".rates.1." in name, name
        assert ".norm.norms.0." not in name, "the norm of one path is not on the route of two"
    assert any(".norm.norms.1." in name for name in moved)
    assert all(torch.equal(first[name], second[name]) for name in first), "calibrating twice gives the same"
    after = buffers(net)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(value, weights[name]) for name, value in net.named_parameters())
    assert all(part.momentum == 0.1 for part in net.modules() if isinstance(part, nn.BatchNorm2d))


def test_calibration_gives_the_average_over_all_its_images() -> None:
    trained = method()
    path = trained.problem.space.parse("-".join(["e3k3"] * 12))
    pictures = [torch.randn(16, 3, 8, 8) + shift for shift in (0.0, 2.0)]
    stem = trained.supernet.stem[0]
    with recalibrated(trained.supernet, path, pictures, trained.problem.compute), torch.no_grad():
        features = [stem[0](x) for x in pictures]
        expected = torch.stack([f.mean((0, 2, 3)) for f in features]).mean(0)
        torch.testing.assert_close(stem[1].running_mean, expected, rtol=1e-4, atol=1e-5)


def test_calibration_sees_training_images_and_scoring_validation_ones() -> None:
    trained = method()
    scoring = trained.scoring
    assert sum(len(y) for _, y in scoring.calibration) == 32
    assert sum(len(y) for _, y in scoring.val) == len(trained.problem.val)
    trained.calibrate = False
    del trained.scoring
    assert trained.scoring.calibration == []


def test_one_image_left_over_does_not_spoil_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_suite.oneshot.SCORING_BATCH", {"cpu": 31})  # 32 images: one would be left, alone at 1 × 1 px
    trained = method(stem_stride=2)
    assert [len(y) for _, y in trained.scoring.calibration] == [31]
    assert 0.0 <= trained.scorer().score([trained.problem.space.draw(random_for(0, 0))])[0] <= 1.0


def test_calibration_can_be_left_out_and_changes_the_score() -> None:
    trained = method()
    for step, batch in enumerate(trained.batches().epoch(0)):
        trained.step(batch, step)
    archs = [trained.problem.space.draw(random_for(0, i)) for i in range(8)]
    with_it = list(trained.scorer().score(archs))
    del trained.scoring
    trained.calibrate = False
    assert list(trained.scorer().score(archs)) != with_it


def test_fairnas_runs_every_option_of_every_block_once_a_step() -> None:
    fair = make("fairnas")
    space = fair.problem.space
    for step in range(3):
        paths = fair.paths(step)
        for at, variable in enumerate(space.variables):
            assert Counter(path[at] for path in paths) == Counter(range(len(variable.options)))
    assert fair.paths(0) != fair.paths(1)


def test_spos_draws_uniformly_over_options() -> None:
    single = make("spos")
    counts = Counter(single.paths(step)[0][0] for step in range(6000))
    options = len(single.problem.space.variables[0].options)
    assert set(counts) == set(range(options))
    assert max(abs(n / 6000 * options - 1) for n in counts.values()) < 0.15


@pytest.mark.parametrize("strategy", ["nsga2", "evolution", "random"])
def test_strategy_chooses_the_searcher(strategy: str) -> None:
    searching = method()
    searching.strategy = strategy
    kind = type(searching.searcher([searching.scorer()], [])).__name__.lower()
    assert kind == strategy


@pytest.mark.parametrize(
    ("setting", "value"),
    [("lr", 0.5), ("min_lr", 0.024), ("warmup_epochs", 1), ("momentum", 0.0), ("weight_decay", 0.5), ("clip", 0.01),
     ("label_smoothing", 0.3), ("pad", 0), ("flip", False), ("cutout", 0), ("batch_size", 8), ("lr_every", "step")],
)  # fmt: skip
def test_every_training_setting_has_an_effect(setting: str, value: Any) -> None:
    def after(settings: dict[str, Any]) -> Any:
        base = {"epochs": 2, "batch_size": 16, "pad": 1, "cutout": 4, **settings}
        problem = method().problem
        trained = METHODS.build("mixpath", base, problem=problem)
        for step, batch in zip(range(6), [*trained.batches().epoch(0), *trained.batches().epoch(1)], strict=False):
            trained.step(batch, step)
        return trained.state()["weights"]

    assert not same(after({}), after({setting: value}))


def test_decay_norms_spares_batch_norms() -> None:
    problem = method().problem
    groups = [
        METHODS.build("mixpath", {"decay_norms": d}, problem=problem).descent.optimizer.param_groups for d in (True, False)
    ]
    assert [len(g) for g in groups] == [1, 2]
    assert groups[1][1]["weight_decay"] == 0.0
