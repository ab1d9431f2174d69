"""Elasticity-scaling: the official code's traces and widths, targets met from below, grids, and targets out of reach."""

import random
from pathlib import Path

import numpy as np
import pytest
from official import TF_NAS_A, TF_NAS_A_WIDTHS, Official

from nas_suite.errors import Unreachable
from nas_suite.scaling import Elastic, Scaled, reach, scaled

GOLDEN = {  # of TF-NAS-A's operations from their start widths: by the official code's own functions, specification 2.7
    18.0: (
        (17.9162, 17.9856, 17.9856, 17.9939, 17.9965, 17.9997),
        (93, 138, 139, 236, 236, 236, 468, 468, 468, 469, 657, 657, 657, 658, 1128, 1128, 1128, 1138),
    ),
    15.0: (
        (14.8591, 14.9505, 14.9856, 14.9969, 14.9969, 14.9996),
        (75, 102, 103, 200, 200, 201, 381, 381, 381, 382, 534, 534, 534, 534, 916, 916, 916, 919),
    ),
}


@pytest.fixture(scope="module")
def gpu(shared_data: Path) -> Official:
    return Official.read(shared_data, "gpu")


@pytest.fixture(scope="module")
def cpu(shared_data: Path) -> Official:
    return Official.read(shared_data, "cpu")


def line(stage: int, width: int, widths: range, slope: float) -> Elastic:
    return Elastic(stage, width, np.array(widths), slope * np.array(widths, dtype=float))


def toy(step: int = 1) -> list[Elastic]:
    """Three blocks in two stages; latencies are 0.01 ms a channel."""
    return [
        line(0, 24, range(16, 33, step), 0.01),
        line(0, 48, range(32, 65, step), 0.01),
        line(1, 96, range(64, 129, step), 0.01),
    ]


def worth(blocks: list[Elastic], found: Scaled, constant: float = 0.0) -> float:
    """The latency of the widths, looked up one by one; each is one that its block may have."""
    return constant + sum(at(b, w) for b, w in zip(blocks, found.widths, strict=True))


def at(block: Elastic, width: int) -> float:
    return float(block.latency[block.widths.tolist().index(width)])


@pytest.mark.parametrize("target", GOLDEN)
def test_traces_and_widths_of_the_official_code(gpu: Official, target: float) -> None:
    trace, widths = GOLDEN[target]
    found = scaled(gpu.network(TF_NAS_A), target, gpu.base)
    assert found.widths == widths
    assert found.trace == pytest.approx(trace, abs=5e-5)


def test_latency_of_tf_nas_a_as_published(gpu: Official, cpu: Official) -> None:
    for table, expected in ((gpu, 17.99947), (cpu, 74.34122)):
        blocks = table.network(TF_NAS_A)
        assert worth(blocks, Scaled(TF_NAS_A_WIDTHS, (0.0,)), table.base) == pytest.approx(expected, abs=1e-4)


def test_a_target_that_the_operations_do_not_reach_is_refused_with_what_they_reach(gpu: Official) -> None:
    with pytest.raises(Unreachable, match=r"13\.16 to \d+\.\d\d ms.*12 ms is outside"):
        scaled(gpu.network(TF_NAS_A), 12.0, gpu.base)
    with pytest.raises(Unreachable, match="60 ms is outside"):
        scaled(gpu.network(TF_NAS_A), 60.0, gpu.base)


@pytest.mark.parametrize(("step", "share", "mean", "most"), [(1, 0.98, 5e-4, 2e-2), (8, 0.99, 5e-4, 5e-2)])
def test_random_networks_meet_random_targets_from_below(
    gpu: Official, cpu: Official, step: int, share: float, mean: float, most: float
) -> None:
    rng, residuals = random.Random(0), []
    while len(residuals) < 500:
        table = rng.choice((gpu, cpu))
        blocks = table.random(rng, step)
        low, high = reach(blocks, table.base)
        start = table.base + sum(at(b, b.width) for b in blocks)
        target = rng.uniform(low, high)
        if abs(start / target - 1) < 0.05:
            continue
        found = scaled(blocks, target, table.base)
        residuals.append(1 - worth(blocks, found, table.base) / target)
        assert found.latency == pytest.approx(worth(blocks, found, table.base))
        assert all(w % step == 0 for w in found.widths)
    assert min(residuals) >= -1e-11
    assert np.mean(np.array(residuals) < 5e-3) >= share
    assert np.mean(residuals) < mean
    assert max(residuals) < most


def test_a_step_is_one_channel_of_the_narrowest_block_and_the_others_follow_in_proportion() -> None:
    down, up = scaled(toy(), 1.6), scaled(toy(), 1.85)  # from 1.68 ms; a step of all is 1 + 2 + 4 channels, 0.07 ms
    assert down.trace == pytest.approx((1.54, 1.6))
    assert down.widths == (22, 44, 94)
    assert up.trace == pytest.approx((1.82, 1.85))
    assert up.widths == (26, 52, 107)


def test_bounds_of_width_hold() -> None:
    low, high = reach(toy(), 0.0)
    assert scaled(toy(), low).widths == (16, 32, 64)
    assert scaled(toy(), high).widths == (32, 64, 128)


def test_constant_counts() -> None:
    assert scaled(toy(), 6.6, constant=5.0).widths == scaled(toy(), 1.6).widths


def test_widths_stay_where_the_target_is_met() -> None:
    assert scaled(toy(), 1.68).widths == (24, 48, 96)


def test_a_grid_is_kept_even_where_one_step_jumps_over_the_target() -> None:
    """Most blocks at their bound and one whose next step is dear: two widths are exchanged."""
    blocks = [line(0, 32, range(16, 33, 8), 0.2), line(0, 64, range(32, 65, 8), 0.01), line(1, 128, range(64, 129, 8), 0.01)]
    target = reach(blocks, 0.0)[1] - 0.2
    found = scaled(blocks, target)
    assert all(w in b.widths for b, w in zip(blocks, found.widths, strict=True))
    assert 0 <= target - found.latency < 0.05 + 1e-9
    assert found.widths[0] == 32


def test_widths_need_not_be_evenly_spaced() -> None:
    blocks = [Elastic(0, 24, np.array([16, 20, 32]), np.array([1.0, 2.0, 3.0])), line(0, 48, range(32, 65), 0.1)]
    found = scaled(blocks, 6.9)
    assert found.widths[0] in (16, 20, 32)
    assert found.latency == pytest.approx(6.9)


def test_latencies_that_fall_and_widths_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="less time where"):
        Elastic(0, 8, np.array([8, 9, 10]), np.array([1.0, 0.9, 1.1]))
    for widths in ([], [9, 8]):
        with pytest.raises(ValueError, match="ascend"):
            Elastic(0, 8, np.array(widths, dtype=int), np.ones(len(widths)))
