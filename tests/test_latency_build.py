"""Tables are measured: the plan of points, drift, budgets, and builds that are killed at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timing
import torch
from command import forked

from nas_suite.disk import PART
from nas_suite.engine import Progress, silent
from nas_suite.errors import BadInput
from nas_suite.latency import backends, shelf
from nas_suite.latency.building import measure, reference_of, table_of
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.journal import STARTS, Journal, begun, beside, held
from nas_suite.latency.noise import Noise
from nas_suite.latency.planning import LEG, Points, misses
from nas_suite.latency.table import LatencyTable
from nas_suite.latency.timer import Reading
from nas_suite.pipeline import latencies
from nas_suite.registry import SpaceNote
from nas_suite.space import Block

ROOT = Path(__file__).resolve().parents[1]
POINTS = Points.of(timing.SPACE.pieces(), 0)
NOTE = SpaceNote("tfnas", {**timing.SMALL})


# --- the plan


def test_the_coarse_grid_has_what_stands_alone_and_ends_and_middles() -> None:
    coarse = POINTS.coarse
    assert {block.key for block in POINTS.blocks if not block.family} <= {block.key for block in coarse}
    for family in POINTS.families.values():
        widths = [block.width for block in family]
        chosen = sorted(block.width for block in coarse if block.family == family[0].family)
        assert (chosen[0], chosen[-1]) == (widths[0], widths[-1])
        assert len(chosen) == min(3, len(widths))


def test_all_points_are_measured_in_shuffled_order() -> None:
    order: list[Block] = []
    measured: dict[str, float] = {}
    while leg := POINTS.leg(measured, spare=False):
        assert len(leg) <= LEG
        order += leg
        measured |= {block.key: 1.0 for block in leg}
    assert order == POINTS.blocks
    assert set(order) == set(timing.SPACE.pieces())
    assert order != list(timing.SPACE.pieces())
    assert order == Points.of(timing.SPACE.pieces(), 0).blocks != Points.of(timing.SPACE.pieces(), 1).blocks


def test_with_a_budget_points_go_where_interpolation_errs_most() -> None:
    """A family with a step in its curve is refined around the step, others, which are straight, are left."""
    stepped = max(POINTS.families, key=lambda name: len(POINTS.families[name]))

    def ms(block: Block) -> float:
        return (
            1 + block.width / 100 + (5.0 if block.family == stepped and block.width > POINTS.families[stepped][5].width else 0)
        )

    measured = {block.key: ms(block) for block in POINTS.coarse}
    leg = POINTS.leg(measured, spare=True)
    assert stepped in {block.family for block in leg}
    errors = sorted(POINTS.gaps(measured), key=lambda gap: -gap[0])
    assert errors[0][1].family == stepped
    for _ in range(4):
        block = max(POINTS.gaps(measured), key=lambda gap: gap[0])[1]
        assert block.family == stepped
        measured[block.key] = ms(block)
    near = {block.width for block in POINTS.families[stepped] if block.key in measured}
    assert {POINTS.families[stepped][5].width, POINTS.families[stepped][6].width} <= near


def test_misses_are_distances_from_the_line_between_neighbours() -> None:
    assert misses([8, 16, 32], [1.0, 2.0, 4.0]) == [0.0]
    assert misses([0, 10, 20, 40], [0.0, 3.0, 2.0, 2.0]) == pytest.approx([2.0, 2 / 3])
    assert misses([8, 16], [1.0, 2.0]) == []


# --- building, with made-up times


def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "table.json.part", {"space": "toy"})


def built(
    tmp_path: Path,
    time_block: Callable[[Block, float], Reading],
    budget: float | None = None,
    progress: Progress = silent,
) -> tuple[Journal, LatencyTable]:
    found = journal(tmp_path)
    measure(POINTS, time_block, found, budget, progress)
    return found, table_of(POINTS, found, timing.UNDER, NOTE, {})


def test_a_table_holds_what_was_measured(tmp_path: Path) -> None:
    _, table = built(tmp_path, timing.reading)
    assert len(table) == len(POINTS.blocks)
    arch = timing.SPACE.sample(random.Random(0))
    assert table.cost(timing.SPACE).total(arch) == pytest.approx(timing.table().cost(timing.SPACE).total(arch))
    assert table.noise is not None
    assert (table.noise.moved, table.noise.again, table.noise.kept, table.noisy) == (0.0, 0, 0, False)
    assert table.source["points"]["measured"] == table.source["points"]["of"] == len(POINTS.blocks)


class Drifting:
    """Times that are half as long again while the `n`-th look at the reference and what was measured before it last."""

    def __init__(self, slow: range) -> None:
        self.reference, self.slow = reference_of(POINTS), slow
        self.looks = 0
        self.asked: list[str] = []

    def __call__(self, block: Block, seconds: float) -> Reading:
        factor = 1.5 if self.looks in self.slow else 1.0
        if block == self.reference and seconds == 0.5 and (self.looks < STARTS or len(self.asked) >= LEG):
            self.looks += 1
            self.asked.clear()
        else:
            self.asked.append(block.key)
        return Reading(factor * timing.made_up(block), 0.0, 10)


def test_a_leg_in_which_the_reference_moved_is_measured_again(tmp_path: Path) -> None:
    found, table = built(tmp_path, Drifting(range(STARTS + 2, STARTS + 3)))
    assert (found.again, found.kept) == (LEG, 0)
    assert found.moved == pytest.approx(0.5)
    assert not table.noisy
    assert table.cost(timing.SPACE).total(timing.SPACE.sample(random.Random(1))) == pytest.approx(
        timing.table().cost(timing.SPACE).total(timing.SPACE.sample(random.Random(1)))
    )


def test_a_machine_that_stays_slow_is_kept_and_called_noisy(tmp_path: Path) -> None:
    found, table = built(tmp_path, Drifting(range(STARTS + 2, 10**6)))
    assert (found.again, found.kept) == (LEG, LEG)
    assert table.noisy
    assert table.noise is not None
    assert "the reference block moved by up to 50%, 16 points kept all the same" in table.noise.reasons
    table.write(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["noisy"] is True


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        (Noise("x", 1.0, 0.0, 0, 0, 0.5, 0.0), "50% of the points did not settle"),
        (Noise("x", 1.0, 0.0, 0, 0, 0.0, 0.5), "the processor was another's for 50% of the time"),
        (Noise("x", 1.0, 0.02, 9, 0, 0.05, 0.03), ""),
    ],
)
def test_what_makes_a_table_noisy(noise: Noise, reason: str) -> None:
    assert noise.reasons == ([reason] if reason else [])
    assert noise.noisy == bool(reason)


def test_unsettled_readings_and_a_busy_processor_are_counted(tmp_path: Path) -> None:
    found, _ = built(tmp_path, lambda block, _: Reading(1.0, 0.5 if block.width else 0.0, 4, 0.25))
    noise = found.noise("x")
    assert noise.waited == pytest.approx(0.25)
    assert noise.unsettled == pytest.approx(1 - 3 / len(POINTS.blocks))


def test_a_budget_ends_it_after_the_coarse_grid_and_points_are_refined_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("nas_suite.latency.journal.time.monotonic", lambda: now[0])

    def slow(block: Block, seconds: float) -> Reading:
        now[0] += 1.0
        return timing.reading(block)

    shares: list[float] = []
    few, table = built(tmp_path, slow, 10.0, lambda done, total, _: shares.append(done / total))
    assert shares == sorted(shares)
    count = len(POINTS.coarse)
    assert shares[count // 2] == pytest.approx(0.5, abs=0.1)  # what is to be measured takes longer than the budget
    assert few.readings.keys() == {block.key for block in POINTS.coarse}
    assert table.source["points"]["interpolation_error_ms"] > 0
    assert table.cost(timing.SPACE).total(timing.SPACE.sample(random.Random(0))) > 0
    (tmp_path / "table.json.part").unlink()
    now[0] = 0.0
    more, _ = built(tmp_path, slow, budget=120.0)
    assert len(few.readings) < len(more.readings) < len(POINTS.blocks)
    assert now[0] <= 122


# --- journals


def test_a_journal_knows_what_was_measured_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    first = journal(tmp_path)
    for _ in range(STARTS):
        first.look(1.0, True)
    for block in POINTS.blocks[:5]:
        first.add(block.key, timing.reading(block))
    first.look(1.0, True)
    first.add("open", Reading(1.0, 0.0, 1))
    with open(first.path, "a") as file:
        file.write('{"key": "torn", "ms"')
    again = journal(tmp_path)
    assert again.readings == first.readings
    assert (again.leg, again.looks, again.level) == (["open"], [1.0] * 4, 1.0)
    again.look(1.5, True)
    assert "open" not in again.readings
    assert journal(tmp_path).readings == again.readings


def test_a_journal_of_another_request_is_refused(tmp_path: Path) -> None:
    journal(tmp_path)
    with pytest.raises(BadInput, match=r"was begun with space 'toy', not 'other'; give the same, or remove it"):
        Journal.open(tmp_path / "table.json.part", {"space": "other"})
    (tmp_path / "table.json.part").write_text("{}\n{\n")
    with pytest.raises(BadInput, match="is damaged"):
        journal(tmp_path)


def test_two_processes_do_not_measure_one_table(tmp_path: Path) -> None:
    script = (
        f"from pathlib import Path\nfrom nas_suite.latency.journal import held\nwith held(Path({str(tmp_path / 't')!r})): pass"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with held(tmp_path / "t"):
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
        assert "another process is measuring" in done.stderr
    assert subprocess.run([sys.executable, "-c", script], env=env, check=False).returncode == 0


# --- killed


def start(out: Path) -> LatencyTable:
    return latencies.build("tfnas", timing.SMALL, Conditions(), "cpu", None, 0, out)


def test_killed_at_random_moments_it_ends_with_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(module: torch.nn.Module, *_: Any) -> Reading:
        time.sleep(0.002)
        return Reading(1.0 + sum(p.numel() for p in module.parameters()) / 1e4, 0.001, 10)

    monkeypatch.setattr(backends, "timed", timed)
    whole = start(tmp_path / "whole.json")
    out = tmp_path / "broken.json"
    rng, kept, kills = random.Random(0), [0], 0
    while not out.exists() and kills < 50:
        child = forked(lambda: start(out))
        time.sleep(rng.uniform(0.05, 0.4))
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if beside(out).exists():
            kept.append(len(Journal.open(beside(out), begun(beside(out))).readings) if begun(beside(out)) else 0)
        if kills == 5:
            start(out)
    broken = LatencyTable.read(out)
    assert kills >= 1
    assert all(before <= after for before, after in pairwise(kept))
    assert (broken.families, broken.blocks) == (whole.families, whole.blocks)
    assert not beside(out).exists()


@pytest.mark.slow
def test_a_real_process_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "table.json"
    words = [sys.executable, "-m", "nas_suite", "latency", "build", "tfnas", *timing.WORDS, "--budget", "1s", "--out", str(out)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(lines(beside(out))) < 2 * LEG + 8 and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not out.exists()
    known = Journal.open(beside(out), begun(beside(out)))
    settled = {key: reading for key, reading in known.readings.items() if key not in known.leg}
    assert settled
    done = subprocess.run([*words, "--json"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = LatencyTable.read(out)
    found = {f"{name}_w{w}": ms for name, c in table.families.items() for w, ms in zip(c.widths, c.ms, strict=True)}
    found |= {key: point.ms for key, point in table.blocks.items()}
    assert all(found[key] == reading.ms for key, reading in settled.items())
    assert not (tmp_path / f"table.json{PART}").exists()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_without_a_name_a_build_goes_on_with_its_own_and_leaves_those_of_others() -> None:
    under = timing.UNDER
    first = latencies.unfinished("tfnas", under, {"seed": 0})
    assert first.parent == shelf.folder()
    assert first.name == "tfnas_a-made-up-device_torch_b1_t1_fp32_r16-1.json"
    shelf.made(first.parent)
    Journal.open(beside(first), {"seed": 0})
    assert latencies.unfinished("tfnas", under, {"seed": 0}) == first
    assert latencies.unfinished("tfnas", under, {"seed": 1}).name.endswith("-2.json")
    timing.table().write(first)
    assert latencies.unfinished("tfnas", under, {"seed": 0}).name.endswith("-2.json")
