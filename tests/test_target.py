"""Targets: what a space and a choice reach, expected latencies of TF-NAS's tables, widths and choices that meet a target."""

from pathlib import Path

import numpy as np
import pytest
import torch
from official import TF_NAS_A, Official
from toys import Toy, per_channel

from nas_suite.errors import Unreachable
from nas_suite.spaces.tfnas import TFNAS
from nas_suite.target import Beliefs, Choice, Target


def target(ms: float = 1.5) -> Target:
    return Target(per_channel(Toy()), ms)


def beliefs(*best: int, depths: tuple[int, int] = (1, 0), sure: float = 1.0) -> Beliefs:
    """Favours one operation of each block and one depth of each stage."""

    def favour(options: int, one: int) -> np.ndarray:
        found = np.zeros(options)
        found[one] = sure
        return found

    return Beliefs([favour(4, one) for one in best], [favour(2, depths[0]), favour(1, depths[1])])


@pytest.mark.parametrize(("device", "low", "high"), [("gpu", 4.09, 27.06), ("cpu", 19.98, 135.91)])
def test_what_the_official_tables_reach(shared_data: Path, device: str, low: float, high: float) -> None:
    space = TFNAS()
    found = Target(Official.read(shared_data, device).cost(space), 3.0)
    assert found.span == pytest.approx((low, high), abs=5e-3)
    with pytest.raises(Unreachable, match=rf"{low} to {high} ms"):
        found.check()


@pytest.mark.parametrize(("device", "ms"), [("gpu", 10.807), ("cpu", 47.031)])
def test_expected_latency_of_undecided_choices(shared_data: Path, device: str, ms: float) -> None:
    """At the start widths, by the official tables (specification 2.1)."""
    space = TFNAS()
    cost = Official.read(shared_data, device).cost(space)
    operations = [torch.full((8,), 1 / 8, dtype=torch.float64)] * 18
    depths = [torch.full((len(stage),), 1 / len(stage), dtype=torch.float64) for stage in space.stages]
    assert float(cost(space.join(operations, depths, Target(cost, 15.0).start))) == pytest.approx(ms, abs=1e-3)


def test_certain_choices_have_the_latency_of_their_network(shared_data: Path) -> None:
    space = TFNAS()
    found = Target(Official.read(shared_data, "gpu").cost(space), 15.0)
    choice = Choice(tuple(op for stage in TF_NAS_A for op in stage), (1, 2, 3, 3, 3, 0))
    widths, scaled = found.scaled(choice, found.start)
    sure = [torch.eye(8, dtype=torch.float64)[op] for op in choice.operations]
    depths = [torch.eye(len(s), dtype=torch.float64)[d] for s, d in zip(space.stages, choice.depths, strict=True)]
    exact = found.cost.total(found.arch(choice, widths))
    assert float(found.cost(space.join(sure, depths, widths))) == pytest.approx(exact, rel=1e-12)
    assert exact == pytest.approx(scaled.latency, rel=1e-12)
    assert 14.99 < exact <= 15.0


def test_the_span_is_that_of_all_networks() -> None:
    found = target()
    assert found.span == pytest.approx((0.1 + 0.08 + 0.08, 0.1 + 3 * 0.96))
    with pytest.raises(Unreachable, match=r"0\.26 to 2\.98"):
        target(3.0).check()
    with pytest.raises(Unreachable, match=r"0\.26 to 2\.98"):
        target(0.2).check()


def test_widths_of_blocks_that_do_not_run_stay() -> None:
    found = target(0.7)
    widths, scaled = found.scaled(Choice((1, 1, 1), (0, 0)), found.start)
    assert scaled.latency == pytest.approx(0.7)
    assert widths[1] == found.start[1]
    assert [row[0] for row in widths] == [row[0] for row in found.start]


def test_a_choice_out_of_reach_gets_its_nearest_widths() -> None:
    found = target(1.5)
    slow, fast = Choice((3, 3, 3), (1, 0)), Choice((0, 0, 0), (0, 0))
    assert found.miss(slow) == 0.0
    assert found.miss(fast) == pytest.approx(1.5 - 0.1 - 2 * 0.24)
    widths, scaled = found.scaled(fast, found.start)
    assert (widths[0][0], widths[2][0], scaled.trace) == (24, 24, pytest.approx((0.58,)))
    slowed = target(0.3)
    widths, _ = slowed.scaled(slow, slowed.start)
    assert [row[3] for row in widths] == [16, 16, 16]


def test_the_nearest_choice_is_the_likeliest_where_that_reaches() -> None:
    assert target(1.5).nearest(beliefs(3, 3, 3)) == Choice((3, 3, 3), (1, 0))


def test_else_the_least_certain_decisions_give_way() -> None:
    held = beliefs(3, 3, 3)
    held.operations[2][:] = (0.0, 0.0, 0.9, 1.0)  # the last block would as soon have operation 2
    found = target(0.9).nearest(held)
    assert target(0.9).miss(Choice((3, 3, 3), (1, 0))) > 0
    assert found == Choice((3, 3, 2), (1, 0))
    with pytest.raises(Unreachable, match=r"3 ms: it takes"):
        target(3.0).nearest(held)
