"""Searches: fronts, limits, no network twice, and a resumed search that ends as the unbroken one (spec check 19)."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_suite.cost import cost
from nas_suite.errors import Unreachable
from nas_suite.objective import Objective
from nas_suite.run import LOG, TRIALS, Run
from nas_suite.search import NSGA2, Evolution, Limit, Random, Region, archive, drive, hypervolume, knee, mutated, pareto
from nas_suite.space import Arch
from nas_suite.spaces import SPACES

S1 = SPACES.build("mixpath-s1", {"image_size": 8, "width": 0.25})
S4 = SPACES.build("mixpath-s4", {})
PARAMS = cost("params", S1).objective()


def linear(archs: Any) -> list[float]:
    """Falls with every expansion and every kernel: best is all t=6 with all kernels."""
    return [-float(sum(S1.options[i][0] * 10 + sum(S1.options[i][1]) for i in arch)) for arch in archs]


SCORE = Objective("score", "min", linear)


def searchers(region: Region, seed: int) -> dict[str, Any]:
    return {
        "nsga2": NSGA2(region, [SCORE, PARAMS], seed, population=16),
        "evolution": Evolution(region, seed, population=16, sample=4),
        "random": Random(region, seed, batch=8),
    }


def trials(run: Run) -> list[tuple[str, Any]]:
    return [(line["arch"], line["values"]) for line in run.lines(TRIALS)]


def test_pareto_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(0)
    for columns in (1, 2, 3):
        losses = rng.integers(0, 6, (60, columns)).astype(float)
        front = pareto(losses)
        dominated = [any((b <= a).all() and (b < a).any() for b in losses) for a in losses]
        assert {tuple(losses[i]) for i in front} == {tuple(a) for a, d in zip(losses, dominated, strict=True) if not d}
        assert len({tuple(losses[i]) for i in front}) == len(front)
        assert list(losses[front][:, 0]) == sorted(losses[front][:, 0])


def test_hypervolume_of_rectangles() -> None:
    front = np.array([[1.0, 3.0], [2.0, 1.0]])
    assert hypervolume(front, np.zeros(2), np.array([4.0, 4.0])) == pytest.approx((3 * 1 + 2 * 2 + 0 + 0) / 16 + 0 + 0)


def test_knee_is_where_the_front_bends_most() -> None:
    assert knee(np.array([[0.0, 100.0], [0.1, 20.0], [0.5, 10.0], [1.0, 0.0]])) == 1
    assert knee(np.array([[0.3, 5.0]])) == 0


def test_nsga2_recovers_the_known_extremes_of_a_separable_problem(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"schema": 1})
    drive(NSGA2(Region(S1), [SCORE, PARAMS], seed=1, population=32), S1, [SCORE, PARAMS], 320, run)
    front = [trial["arch"] for trial in archive(run.lines(TRIALS), [SCORE, PARAMS])]
    assert front[0] == "-".join(["e6k3579"] * 12)
    assert front[-1] == "-".join(["e3k3"] * 12)


@pytest.mark.parametrize("kind", ["nsga2", "evolution", "random"])
def test_a_search_keeps_its_promises(kind: str, tmp_path: Path) -> None:
    bound = 500_000.0
    run = Run.create(tmp_path / "run", {"schema": 1})
    drive(searchers(Region(S1, [Limit(PARAMS, bound)]), 3)[kind], S1, [SCORE, PARAMS], 200, run)
    found = trials(run)
    assert len(found) == 200
    assert len({arch for arch, _ in found}) == 200
    assert all(values["params"] <= bound for _, values in found)
    front = list(archive(run.lines(TRIALS), [SCORE, PARAMS]))
    pairs = [(t["values"]["score"], t["values"]["params"]) for t in front]
    for a, b in itertools.permutations(pairs, 2):
        assert not (a[0] <= b[0] and a[1] <= b[1])
    volumes = [line["hypervolume"] for line in run.lines(LOG)]
    assert volumes == sorted(volumes)
    assert len(volumes) > 1


@pytest.mark.parametrize("kind", ["nsga2", "evolution", "random"])
def test_a_search_cut_off_anywhere_resumes_to_the_same_trials(kind: str, tmp_path: Path) -> None:
    whole = Run.create(tmp_path / "whole", {"schema": 1})
    drive(searchers(Region(S1), 7)[kind], S1, [SCORE, PARAMS], 60, whole)
    data = (whole.path / TRIALS).read_bytes()
    log = whole.lines(LOG)
    for cut in random.Random(0).sample(range(len(data)), 5):
        half = Run.create(tmp_path / str(cut), {"schema": 1})
        (half.path / TRIALS).write_bytes(data[:cut])
        scored: list[Arch] = []

        def watched(archs: Any, scored: list[Arch] = scored) -> list[float]:
            scored.extend(archs)
            return linear(archs)

        drive(searchers(Region(S1), 7)[kind], S1, [Objective("score", "min", watched), PARAMS], 60, half)
        assert trials(half) == trials(whole)
        assert half.lines(LOG) == log
        assert len(scored) == 60 - data[:cut].count(b"\n")


def test_better_seeds_differ(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        run = Run.create(tmp_path / str(seed), {"schema": 1})
        drive(NSGA2(Region(S1), [SCORE, PARAMS], seed, 8), S1, [SCORE, PARAMS], 8, run)
        found.append(trials(run))
    assert found[0] != found[1]


@pytest.mark.parametrize("kind", ["nsga2", "evolution", "random"])
def test_a_small_space_is_searched_whole_and_then_ends(kind: str, tmp_path: Path) -> None:
    macs = cost("macs", S4).objective()
    size = Objective("size", "max", lambda archs: [float(sum(map(bool, arch))) for arch in archs])
    run = Run.create(tmp_path / "run", {"schema": 1})
    drive(searchers(Region(S4), 0)[kind], S4, [size, macs], 1000, run)
    found = {arch for arch, _ in trials(run)}
    assert len(found) == len(trials(run)) <= 34
    assert len(found) >= 30


def test_a_limit_that_nothing_meets_names_what_can_be_reached() -> None:
    smallest = S1.parse("-".join(["e3k3"] * 12))
    least = PARAMS.score([smallest])[0]
    with pytest.raises(Unreachable, match=rf"params <= 1000 \(this space reaches down to {least:g}\)"):
        Region(S1, [Limit(PARAMS, 1000.0)])
    only = Region(S1, [Limit(PARAMS, least)])
    assert only.sample(random.Random(0)) == smallest


def test_two_limits_hold_together() -> None:
    macs = cost("macs", S1).objective()
    rng = random.Random(0)
    bounds = [float(np.quantile([c.score([S1.sample(rng)])[0] for _ in range(50)], 0.3)) for c in (PARAMS, macs)]
    region = Region(S1, [Limit(PARAMS, bounds[0]), Limit(macs, bounds[1])])
    for _ in range(50):
        arch = region.sample(rng)
        assert PARAMS.score([arch])[0] <= bounds[0]
        assert macs.score([arch])[0] <= bounds[1]


def test_a_failed_evaluation_is_written_down_and_not_the_end(tmp_path: Path) -> None:
    def fragile(archs: Any) -> list[float]:
        if archs[0][0] % 3 == 0:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return [float("nan")] if archs[0][0] % 3 == 1 else linear(archs)

    run = Run.create(tmp_path / "run", {"schema": 1})
    drive(NSGA2(Region(S1), [SCORE, PARAMS], 0, 8), S1, [Objective("score", "min", fragile), PARAMS], 40, run)
    lines = run.lines(TRIALS)
    assert len(lines) == 40
    failed = [line for line in lines if line["status"] == "failed"]
    assert 0 < len(failed) < 40
    assert {"memory" in line["error"] or "not finite" in line["error"] for line in failed} == {True}
    assert all(trial["status"] == "ok" for trial in archive(lines, [SCORE, PARAMS]))


def test_other_faults_are_not_swallowed(tmp_path: Path) -> None:
    def broken(archs: Any) -> list[float]:
        raise RuntimeError("shapes do not match")

    run = Run.create(tmp_path / "run", {"schema": 1})
    with pytest.raises(RuntimeError, match="shapes"):
        drive(NSGA2(Region(S1), [SCORE], 0, 4), S1, [Objective("score", "min", broken)], 8, run)


def test_a_mutation_is_another_network_and_may_give_a_cell_a_vertex_back() -> None:
    space = SPACES.build("nasbench101", {"width": 0.0625, "image_size": 8})
    smaller = space.parse("3@0-P@01-o@12")
    rng = random.Random(0)
    children = [space.canonical(mutated(space, smaller, rng)) for _ in range(200)]
    assert smaller not in children
    assert None not in children
    assert any(len(space.describe(child).split("-")) > 3 for child in children)
