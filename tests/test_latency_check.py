"""Whole networks against a table: noise first, errors before and after a fit, held out, and which fits are kept."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timing
import torch

from nas_suite.errors import BadInput
from nas_suite.latency import backends, machine
from nas_suite.latency.checking import FIRST, PASSES, Check, affine, check, left_out, repeat_noise
from nas_suite.latency.table import Constant, LatencyTable
from nas_suite.latency.timer import Reading
from nas_suite.pipeline import latencies
from nas_suite.space import Arch

COST = timing.table().cost(timing.SPACE)


def checked(time_network: Any, networks: int = 20, strict: bool = False) -> Check:
    return check(COST, time_network, networks, 0, strict)


def noisy(share: float) -> Any:
    """A machine whose times are 1.2 × sum + 3 ms, within a share of noise."""
    rng = random.Random(0)
    return lambda arch: (1.2 * COST.total(arch) + 3.0) * (1 + rng.uniform(-share, share))


def test_a_fit_finds_slope_and_offset() -> None:
    sums = np.array([1.0, 2.0, 4.0, 7.0])
    assert affine(sums, 2 * sums + 0.5) == pytest.approx((2.0, 0.5))
    truth = 2 * sums + 0.5
    truth[3] = 100.0
    assert left_out(sums, truth, 3) == pytest.approx(14.5)


def test_errors_are_relative_so_that_small_networks_count() -> None:
    sums, truth = np.array([1.0, 1.0, 100.0]), np.array([1.0, 1.2, 100.0])
    a, b = affine(sums, truth)
    assert abs(a * 1.0 + b - 1.1) < 0.02


def test_noise_is_the_mean_difference_of_two_measurements() -> None:
    assert repeat_noise([1.0, 1.0, 1.0]) == 0.0
    assert repeat_noise([1.0, 1.1]) == pytest.approx(0.1 / 1.05)
    assert repeat_noise([1.0, 2.0, 3.0]) == pytest.approx((1 + 1 + 2) / 3 / 2)


def test_a_quiet_machine_is_believed_and_its_bias_mended() -> None:
    found = checked(noisy(0.0))
    assert (found.first, found.noise) == (0.0, 0.0)
    assert found.believed
    assert found.before == pytest.approx(-found.bias)
    assert found.before > 0.15
    assert found.after == pytest.approx(0.0, abs=1e-9)
    assert (found.a, found.b) == pytest.approx((1.2, 3.0))
    assert found.tau == 1.0
    assert len({network.arch for network in found.networks}) == 20
    assert all(len(network.passes_ms) == PASSES for network in found.networks)


def test_the_noise_is_measured_first_and_a_strict_check_ends_there() -> None:
    asked: list[Arch] = []

    def unsteady(arch: Arch) -> float:
        asked.append(arch)
        return 1.0 + len(asked) % 2

    with pytest.raises(BadInput, match=r"too noisy to be believed: two measurements .* --force"):
        checked(unsteady, strict=True)
    assert len(asked) == FIRST
    assert len(set(asked)) == 1
    found = checked(unsteady)
    assert not found.believed
    assert "differ by" in found.verdict


def test_one_slow_measurement_of_three_does_not_count() -> None:
    calls: dict[Arch, int] = {}

    def once_slow(arch: Arch) -> float:
        calls[arch] = calls.get(arch, 0) + 1
        return (1.2 * COST.total(arch) + 3.0) * (1.5 if calls[arch] == FIRST + 1 else 1.0)

    found = checked(once_slow)
    assert (found.a, found.b) == pytest.approx((1.2, 3.0))


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(BadInput, match="too few to judge a fit by: 3 networks; at least 20"):
        checked(noisy(0.0), networks=3)


# --- with a table on disk


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A table that was measured on this machine."""
    under = replace(timing.UNDER, device=machine.called(torch.device("cpu")))
    timing.table(under, constant=Constant(1.0, ("head_*",))).write(tmp_path / "mine.json")
    return tmp_path / "mine.json"


def measuring(monkeypatch: pytest.MonkeyPatch, share: float, slope: float = 1.2, offset: float = 3.0) -> None:
    """Networks of the small space take slope × sum + offset ms."""
    rng = random.Random(0)
    last: list[Arch] = []
    build = type(timing.SPACE).network

    def network(self: Any, arch: Arch) -> torch.nn.Module:
        last[:] = [arch]
        return build(self, arch)

    def timed(*_: Any) -> Reading:
        return Reading((slope * (COST.total(last[0]) + 1.0) + offset) * (1 + rng.uniform(-share, share)), 0.01, 10)

    monkeypatch.setattr(type(timing.SPACE), "network", network)
    monkeypatch.setattr(backends, "timed", timed)


def test_calibrating_keeps_the_fit_and_searches_use_it(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, 0.01)
    before = latencies.check(str(mine), None, {}, 20, 0)
    assert (before.kept, before.table.fit) == (None, None)
    found = latencies.calibrate(str(mine), None, {}, 20, 1, False)
    fit = LatencyTable.read(mine).fit
    assert fit == found.table.fit
    assert fit is not None
    assert (fit.a, fit.networks, fit.space, fit.forced) == (pytest.approx(1.2, rel=0.05), 20, "tfnas", False)
    assert fit.after < 0.02 < fit.before
    after = latencies.check(str(mine), None, {}, 20, 0)
    assert after.kept is not None
    assert after.kept < 0.02 < after.check.before == pytest.approx(before.check.before, abs=0.02)
    arch = timing.SPACE.sample(random.Random(9))
    fitted = LatencyTable.read(mine).cost(timing.SPACE).total(arch)
    covered = sum(timing.made_up(b) for _, b in timing.SPACE.blocks(arch) if not b.key.startswith("head_"))
    assert fitted == pytest.approx(fit.a * (covered + 1.0) + fit.b)


def test_a_noisy_machine_keeps_no_fit_unless_it_is_forced(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, 0.3)
    with pytest.raises(BadInput, match=r"which is more than 5%, so no fit is kept"):
        latencies.calibrate(str(mine), None, {}, 20, 1, False)
    assert LatencyTable.read(mine).fit is None
    latencies.calibrate(str(mine), None, {}, 20, 1, True)
    fit = LatencyTable.read(mine).fit
    assert fit is not None
    assert fit.forced
    assert fit.noise > 0.05


@pytest.mark.parametrize(("slope", "offset"), [(-0.1, 100.0), (3.0, -50.0)])
def test_a_fit_without_sense_is_not_kept(mine: Path, monkeypatch: pytest.MonkeyPatch, slope: float, offset: float) -> None:
    measuring(monkeypatch, 0.0, slope, offset)
    with pytest.raises(BadInput, match="makes no sense"):
        latencies.calibrate(str(mine), None, {}, 20, 1, True)
    assert LatencyTable.read(mine).fit is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "Titan RTX"}, "was measured on Titan RTX, which is not here: this machine has"),
        ({"threads": None, "backend": None}, "does not tell its threads, backend, so nothing can be measured alike"),
        ({"resolution": 224}, "is of images of 224 px, the space of 16"),
    ],
)
def test_what_cannot_be_measured_here_is_refused(mine: Path, change: dict[str, Any], message: str) -> None:
    table = LatencyTable.read(mine)
    replace(table, conditions=replace(table.conditions, **change)).write(mine)
    with pytest.raises(BadInput, match=message):
        latencies.check(str(mine), None, {}, 20, 0)
