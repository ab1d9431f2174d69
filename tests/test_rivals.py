"""What every rival keeps to, whatever it believes; and that learning pays on NAS-Bench-201."""

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from nas_suite.bayes import Bayes
from nas_suite.candidates import Candidates
from nas_suite.cost import cost
from nas_suite.errors import BadInput
from nas_suite.objective import Objective
from nas_suite.rivals import NAMES, rival
from nas_suite.run import TRIALS, Run
from nas_suite.search import FAILED, Limit, Region, Searcher, drive
from nas_suite.space import Arch
from nas_suite.spaces import SPACES
from nas_suite.surrogate.features import OneHot, Paths, branches, paths
from nas_suite.surrogate.gp import GP
from nas_suite.surrogate.model import Model

NB201 = SPACES.build("nasbench201", tiny.SPACES["nasbench201"])
CHAIN = SPACES.build("tfnas", tiny.SPACES["tfnas"])
PARAMS = cost("params", NB201).objective()
S4 = SPACES.build("mixpath-s4", tiny.SPACES["mixpath-s4"])  # 34 cells
FREE = ("random", "evolution", "local-search", "gp-ei", "gp-ucb", "bananas", "nasbowl")  # that need nothing learned


def additive(space: Any, seed: int = 0) -> Callable[[Sequence[Arch]], list[float]]:
    """An accuracy that is a sum over variables, and of which a few networks learn nothing at all."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=len(v.options)) for v in space.variables]
    return lambda archs: [max(90 + sum(w[i] for w, i in zip(weights, a, strict=True)), 10.0) for a in archs]


SCORE = Objective("accuracy", "max", additive(NB201))
CELLS = Objective("accuracy", "max", additive(S4))


def play(
    searcher: Searcher, budget: int, score: Callable[[Sequence[Arch]], Sequence[float]] = SCORE.score
) -> list[tuple[Arch, float]]:
    told: list[tuple[Arch, float]] = []
    while len(told) < budget and (asked := searcher.ask()):
        values = list(score(asked))
        searcher.tell(asked, -np.array(values)[:, None])
        told += zip(asked, values, strict=True)
    return told[:budget]


@pytest.mark.parametrize("name", FREE)
def test_a_rival_asks_for_networks_of_the_region_once_each_and_the_same_for_a_seed(name: str) -> None:
    macs = cost("macs", S4).objective()
    bound = float(np.quantile(macs.score(list(S4.everything())), 0.7))
    region = Region(S4, [Limit(macs, bound)])
    told = play(rival(name, region, 3), 14, CELLS.score)
    archs = [arch for arch, _ in told]
    assert len(archs) == len(set(archs)) == 14
    assert all(S4.canonical(arch) == arch for arch in archs)
    assert all(macs.score([arch])[0] <= bound for arch in archs)
    assert play(rival(name, region, 3), 14, CELLS.score) == told
    assert play(rival(name, region, 4), 14, CELLS.score) != told


@pytest.mark.parametrize("name", FREE)
def test_a_rival_begins_with_the_design_it_is_given(name: str) -> None:
    region = Region(S4)
    first = region.samples(6, random.Random(5), set())
    spelt = [tuple(reversed(arch)) for arch in first]  # other spellings: positions are interchangeable
    archs = [arch for arch, _ in play(rival(name, region, 1, [*spelt, first[0]]), 10, CELLS.score)]
    assert archs[:6] == first
    assert len(set(archs)) == 10


@pytest.mark.parametrize("name", FREE)
def test_a_rival_that_was_killed_goes_on_to_the_same_trials(name: str, tmp_path: Path) -> None:
    region = Region(S4)
    whole = Run.create(tmp_path / "whole", {"schema": 1})
    drive(rival(name, region, 7), S4, [CELLS], 15, whole)
    lines = (whole.path / TRIALS).read_bytes().splitlines(keepends=True)
    half = Run.create(tmp_path / "half", {"schema": 1})
    (half.path / TRIALS).write_bytes(b"".join(lines[:9]) + lines[9][:20])
    drive(rival(name, region, 7), S4, [CELLS], 15, half)
    kept = [(trial["arch"], trial["values"]) for trial in whole.lines(TRIALS)]
    assert [(trial["arch"], trial["values"]) for trial in half.lines(TRIALS)] == kept
    assert len(kept) == 15


@pytest.mark.parametrize("name", FREE)
def test_failed_evaluations_are_survived_and_numbers_that_are_none_refused(name: str) -> None:
    region = Region(S4)

    def fragile(archs: Sequence[Arch]) -> list[float]:
        return [-FAILED if sum(arch) % 3 == 0 else value for arch, value in zip(archs, CELLS.score(archs), strict=True)]

    told = play(rival(name, region, 2), 16, fragile)
    assert len({arch for arch, _ in told}) == 16
    assert 0 < sum(value == -FAILED for _, value in told) < 16
    assert len(play(rival(name, region, 2), 8, lambda archs: [-FAILED] * len(archs))) == 8
    searcher = rival(name, region, 2)
    asked = searcher.ask()
    for bad in (np.nan, -np.inf):
        with pytest.raises(BadInput, match=rf"the loss of .* is {bad}; tell a number"):
            searcher.tell(asked, np.full((len(asked), 1), bad))


@pytest.mark.parametrize("name", FREE)
def test_a_small_space_is_searched_whole(name: str) -> None:
    told = play(rival(name, Region(S4), 0), 1000, CELLS.score)
    assert len(told) == len({arch for arch, _ in told})
    assert 30 <= len(told) <= S4.size()


@pytest.mark.parametrize("name", ["gp-ei", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nasbowl", "bananas"))])
def test_a_space_that_cannot_be_gone_through_is_searched(name: str) -> None:
    macs = cost("macs", CHAIN).objective()
    rng = random.Random(0)
    bound = float(np.median([macs.score([CHAIN.sample(rng)])[0] for _ in range(30)]))
    region = Region(CHAIN, [Limit(macs, bound)])
    assert not Candidates(region).all
    told = play(rival(name, region, 1), 7, additive(CHAIN))
    assert len({arch for arch, _ in told}) == 7
    assert all(macs.score([arch])[0] <= bound and CHAIN.canonical(arch) == arch for arch, _ in told)


@pytest.mark.slow
def test_proposals_do_not_depend_on_the_process(tmp_path: Path) -> None:
    """Sets and hashes are ordered otherwise in another process."""
    script = tmp_path / "asks.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_rivals import CELLS, S4, Region, play, rival\n"
        "for name in ('gp-ei', 'bananas', 'nasbowl', 'local-search'):\n"
        "    print(name, [arch for arch, _ in play(rival(name, Region(S4), 1), 7, CELLS.score)])\n"
    )
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    root = str(Path(__file__).resolve().parents[1])
    said = [
        subprocess.run(
            command, env={"PYTHONHASHSEED": h, "PYTHONPATH": root}, capture_output=True, text=True, check=True
        ).stdout
        for h in ("1", "2")
    ]
    assert said[0] == said[1]
    assert said[0].count("\n") == 4


def test_units_and_directions_change_no_proposal() -> None:
    """Percent or fractions, accuracies or errors: losses all the same up to a shift and a scale."""
    region, asked = Region(NB201), []
    for unit, shift in ((1.0, 0.0), (0.01, 0.0), (0.01, -1.0)):
        searcher = rival("gp-ei", region, 1)
        asked.append([a for a, _ in play(searcher, 20, lambda archs, u=unit, s=shift: [u * v + s for v in SCORE.score(archs)])])
    assert asked[0] == asked[1] == asked[2]


@pytest.mark.parametrize("name", ["gp-ei", "gp-ucb", "bananas", "nasbowl"])
def test_several_are_asked_for_at_once(name: str) -> None:
    searcher = rival(name, Region(S4), 1, parallel=3)
    play(searcher, 6, CELLS.score)
    asked = searcher.ask()
    assert len(asked) == len(set(asked)) == 3
    assert searcher.ask() == asked, "asking changes nothing"


def test_candidates_asked_for_together_are_not_alike() -> None:
    """Of two equally good corners, one each."""
    space, region = NB201, Region(NB201)
    pair = Bayes(region, GP(OneHot(space)), seed=0, parallel=2)
    single = Bayes(region, GP(OneHot(space)), seed=0)
    for searcher in (pair, single):
        play(searcher, 5)
    first, second = pair.ask()
    assert [first] == single.ask()
    model = single.model
    beliefs = model.covariance([first], [first, second])[0]
    greedy = single.proposals(random.Random("0:5"))[0]
    assert greedy == first
    assert beliefs[1] < 0.9 * beliefs[0]


def test_nothing_evaluated_is_asked_for_when_no_candidate_gains() -> None:
    """A model that is certain of everything: all improvements underflow, and the evaluated one is believed best."""
    region = Region(NB201)

    class Certain(Model):
        def __init__(self, sd: float) -> None:
            self.sd = sd

        def fit(self, archs: Sequence[Arch], values: np.ndarray) -> None:
            self.known = dict(zip(archs, values, strict=True))

        def posterior(self, archs: Sequence[Arch]) -> tuple[Tensor, Tensor]:
            mean = torch.tensor([self.known.get(arch, -1.0) for arch in archs], dtype=torch.float64)
            return mean, torch.full_like(mean, self.sd)

        def covariance(self, archs: Sequence[Arch], others: Sequence[Arch]) -> Tensor:
            return torch.zeros(len(archs), len(others), dtype=torch.float64)

    for sd in (0.0, 1e-9, 1e-3):
        told = play(Bayes(region, Certain(sd), seed=3), 20, lambda archs: [100.0] * len(archs))
        assert len({arch for arch, _ in told}) == 20
        others = play(Bayes(region, Certain(sd), seed=4, parallel=2), 20, lambda archs: [100.0] * len(archs))
        assert len({arch for arch, _ in others}) == 20
    first_unseen = [next(a for a in NB201.everything() if a not in dict(told[:at])) for at in range(5, 20)]
    assert [arch for arch, _ in told[5:]] != first_unseen, "ties are broken by chance, not by place"


def test_failed_ones_count_as_the_worst_that_did_not() -> None:
    class Watched(GP):
        seen: np.ndarray

        def fit(self, archs: Sequence[Arch], values: np.ndarray) -> None:
            self.seen = values
            super().fit(archs, values)

    model = Watched(OneHot(NB201))
    searcher = Bayes(Region(NB201), model, seed=0)
    searcher.tell(searcher.ask(), np.array([[-90.0], [FAILED], [-80.0], [-85.0], [FAILED]]))
    searcher.ask()
    assert model.seen.tolist() == [90.0, 80.0, 80.0, 85.0, 80.0]


def test_hill_climbing_goes_higher() -> None:
    region = Region(CHAIN)
    score = additive(CHAIN, 4)
    rng = random.Random(0)
    start = region.samples(8, rng, set())
    candidates = Candidates(region)
    seen = {start[0]}
    reached = candidates.climbed(start, score, seen, rng)
    assert reached[:8] == tuple(start)
    assert max(score(reached)) > max(score(start)) + 1
    assert not set(reached[8:]) & seen


def test_candidates_are_near_the_best_and_new() -> None:
    region = Region(CHAIN)
    rng = random.Random(0)
    best = region.samples(10, rng, set())
    around = Candidates(region, drawn=20).around(best, set(best), rng)
    assert len(around) == len(set(around)) > 300
    assert not set(around) & set(best)
    assert all(CHAIN.canonical(arch) == arch for arch in around)
    genes = [{arch[at] for arch in best} for at in range(len(best[0]))]
    crossed = [arch for arch in around if all(g in known for g, known in zip(arch, genes, strict=True))]
    assert len(crossed) > 25


def test_paths_by_hand() -> None:
    names = NB201.node_types
    graph = NB201.graph((3, 1, 2, 0, 0, 3))  # input to conv3x3 to conv1x1, added to the input, to conv3x3
    found = {tuple(names[kind] for kind in path) for path in paths(graph)}
    assert found == {("nor_conv_3x3", "nor_conv_1x1", "nor_conv_3x3"), ("nor_conv_3x3",)}
    assert paths(NB201.graph((0,) * 6)) == set()
    features = Paths(NB201, 10)
    assert features([(3, 1, 2, 0, 0, 3)]).shape == (1, 10)
    assert features([(3, 1, 2, 0, 0, 3)]).sum().item() >= 1
    assert branches(NB201)
    assert not branches(CHAIN)


@pytest.mark.parametrize("name", ["tnas", "metad2a", "tnas:no-graph", "tnas:random-init"])
def test_what_needs_a_learned_surrogate_says_so_and_uses_it(name: str) -> None:
    region = Region(NB201)
    with pytest.raises(BadInput, match=rf"{name} searches with a learned surrogate: give --checkpoint CKPT, made by"):
        rival(name, region)
    learned = GP(OneHot(NB201))
    some = region.samples(60, random.Random(0), set())
    learned.fit(some, np.array(SCORE.score(some)))
    told = play(rival(name, region, 1, learned=learned), 12)
    assert len({arch for arch, _ in told}) == 12
    values = [value for _, value in told]
    if name == "tnas:random-init":
        assert [arch for arch, _ in told[:5]] == [arch for arch, _ in play(rival("gp-ei", region, 1), 5)]
    else:
        assert np.mean(values[:5]) > np.quantile(SCORE.score(some), 0.9)
    if name == "metad2a":
        learned.fit(some, np.array(SCORE.score(some)))
        means = learned.posterior([arch for arch, _ in told])[0]
        assert (means.diff() <= 0).all()


def test_unknown_rivals_and_designs_are_refused() -> None:
    region = Region(NB201)
    with pytest.raises(BadInput, match="did you mean 'bananas'"):
        rival("banana", region)
    with pytest.raises(BadInput, match=r"hebo 0\.3\.6 cannot be installed beside this suite"):
        rival("hebo", region)
    assert {"hebo", "tnas", "metad2a", *FREE} == set(NAMES)
    with pytest.raises(BadInput, match="does not fit a space"):
        rival("random", region, first=[(9,) * 6])
    least = min(PARAMS.score(list(NB201.everything())))
    with pytest.raises(BadInput, match=r"of the initial design breaks a limit \(params <= "):
        rival("gp-ei", Region(NB201, [Limit(PARAMS, least)]), first=[(3,) * 6])


@pytest.mark.slow
def test_learning_beats_chance_on_nasbench201(shared_data: Path) -> None:
    """Specs' own figures after 50 evaluations: regret 0.68 by chance and 0.12 by a plain Gaussian process."""
    table = np.load(shared_data / "nb201" / "nb201.npz")
    accuracy = dict(zip(map(tuple, table["arch"].tolist()), table["test_acc_200"][0].tolist(), strict=True))
    region = Region(SPACES.build("nasbench201", {}))
    regret = {}
    for name in ("gp-ei", "random"):
        runs = [play(rival(name, region, seed), 50, lambda archs: [accuracy[arch] for arch in archs]) for seed in range(5)]
        regret[name] = np.mean([max(accuracy.values()) - max(value for _, value in told) for told in runs])
    assert regret["gp-ei"] < 0.5 * regret["random"]
