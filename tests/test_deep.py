"""The deep kernel and its meta-training: closed forms, REPTILE's limits, what is learned and what must not leak."""

import copy
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas_suite.encoders.banks import coded
from nas_suite.engine import Diverged, fit
from nas_suite.run import Run
from nas_suite.space import Arch, Block, SearchSpace, Variable
from nas_suite.space import Path as Path_
from nas_suite.spaces import SPACES
from nas_suite.surrogate.deep import Build, DeepKernel, Networks
from nas_suite.surrogate.experience import Experience, Shelf
from nas_suite.surrogate.gp import Process, matern
from nas_suite.surrogate.meta import MetaLearner, Schedule
from nas_suite.surrogate.standard import Standardiser

SPACE = SPACES.build("nasbench201", {})
TINY = Schedule(epochs=2, steps=4, inner=2, batch=24)


def kernel(build: Build | None = None, sets: int = 5, seed: int = 0) -> tuple[DeepKernel, Shelf]:
    shelf = Shelf.of([coded([f"class{(at + k) % 7}" for k in range(3)]) for at in range(sets)])
    torch.manual_seed(seed)
    build = build or Build("tiny")
    return DeepKernel(build, Networks(SPACE, build.encoding), 512, shelf.means), shelf


def experience(rows: int = 90, sets: int = 5, seed: int = 0) -> Experience:
    """Convolutions do good on even data sets and harm on odd ones."""
    rng = random.Random(seed)
    archs = list(dict.fromkeys(SPACE.sample(rng) for _ in range(40)))
    arch = np.array([rng.randrange(len(archs)) for _ in range(rows)])
    data = np.array([at % sets for at in range(rows)])
    convolutions = np.array([sum(option in (2, 3) for option in archs[at]) for at in arch])
    values = (
        0.7 + 0.03 * np.where(data % 2, -1, 1) * (convolutions - 3) + 0.002 * np.array([rng.gauss(0, 1) for _ in range(rows)])
    )
    return Experience(tuple(archs), tuple(f"set{at}" for at in range(sets)), arch, data, values, np.zeros(rows, bool))


def learner(schedule: Schedule = TINY, build: Build | None = None, seed: int = 0) -> MetaLearner:
    made, shelf = kernel(build, seed=seed)
    return MetaLearner(made, experience(), shelf, schedule, seed)


def test_the_kernel_is_two_materns_of_z_and_of_networks_and_an_inner_product_of_data_sets() -> None:
    made, shelf = kernel()
    rows = torch.randn(9, made.width + 30 + shelf.means.shape[1], dtype=torch.float64)
    z, x, m = rows[:, : made.width], rows[:, made.width : made.width + 30], rows[:, made.width + 30 :]
    parts = made.process.kernel.kernels  # type: ignore[union-attr]
    parts[0].base_kernel.initialize(lengthscale=0.9)
    parts[1].initialize(outputscale=0.3)
    dense = 0.4 * m @ m.T
    for columns, scale, length in ((z, 1.0, 0.9), (x, 0.3, 0.6)):
        r = math.sqrt(5) * (columns[:, None] - columns[None]).norm(dim=2) / length
        dense += scale * (1 + r + r * r / 3) * torch.exp(-r)
    assert torch.allclose(made.process.kernel(rows, rows).to_dense(), dense, atol=1e-9)


@pytest.mark.parametrize("build", [Build("tiny"), Build("tiny", plain=False, overlap=False)], ids=["whole", "joint"])
def test_500_pairs_have_a_positive_kernel_with_its_scale_on_the_diagonal(build: Build) -> None:
    made, shelf = kernel(build)
    rng = random.Random(1)
    archs = [SPACE.sample(rng) for _ in range(500)]
    with torch.no_grad():
        psi, phi = made.psi(made.networks.read(archs)), made.phi(shelf, range(5))
        sets = [rng.randrange(5) for _ in archs]
        rows = made.rows(archs, psi, phi[sets], told := made.told(shelf.means)[sets])
        k = made.process.kernel(rows, rows).to_dense()
    assert torch.allclose(k, k.T, atol=1e-12)
    assert torch.linalg.eigvalsh(k).min() > -1e-8
    scales = [part.outputscale for part in made.process.kernel.kernels]  # type: ignore[union-attr]
    diagonal = (
        scales[0] if build == Build("tiny", plain=False, overlap=False) else sum(scales[:2]) + scales[2] * (told * told).sum(1)
    )
    assert torch.allclose(k.diagonal(), diagonal.expand(500), atol=1e-12)


def test_the_same_seed_draws_the_same_kernel_in_every_process() -> None:
    program = (
        "import random, torch; from test_deep import SPACE, kernel; torch.set_num_threads(1); made, shelf = kernel()\n"
        "rng = random.Random(2); archs = [SPACE.sample(rng) for _ in range(20)]; sets = [at % 5 for at in range(20)]\n"
        "with torch.no_grad():\n"
        "    psi, phi = made.psi(made.networks.read(archs)), made.phi(shelf, range(5))\n"
        "    rows = made.rows(archs, psi, phi[sets], made.told(shelf.means)[sets])\n"
        "    print(made.process.kernel(rows, rows).to_dense().tolist())"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=Path(__file__).parent,
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert len(said[0]) > 5000


def test_before_anything_is_encoded_it_is_learned_which_columns_count() -> None:
    """Here the third edge alone, and more of it than of its two options that are alike."""
    rng = random.Random(0)
    archs = tuple(dict.fromkeys(SPACE.sample(rng) for _ in range(150)))
    worth = {0: 0.0, 1: 0.1, 2: 0.6, 3: 0.6, 4: 0.3}
    data = np.array([at % 5 for at in range(len(archs))])
    values = np.array([worth[arch[2]] + 0.001 * rng.gauss(0, 1) for arch in archs])
    made, shelf = kernel()
    names, nothing = tuple(f"set{at}" for at in range(5)), np.zeros(len(archs), bool)
    told = Experience(archs, names, np.arange(len(archs)), data, values, nothing)
    one = MetaLearner(made, told, shelf, replace(TINY, floor=-9.0))
    before = one.loss(one.rows, 0).item()
    joint = copy.deepcopy(made.encoder.state_dict())
    one.ground()
    assert one.loss(one.rows, 0).item() < before
    assert all(torch.equal(value, joint[name]) for name, value in made.encoder.state_dict().items()), "nothing is encoded yet"
    lengths = made.lengths.reshape(6, 5)
    telling, alike = lengths[2, [0, 1, 4]], lengths[2, [2, 3]]
    assert 3 * telling.max() < min(alike.min(), lengths[[0, 1, 3, 4, 5]].min())
    again, _ = kernel()
    other = MetaLearner(again, told, shelf, replace(TINY, floor=-9.0))
    other.ground()
    assert torch.equal(again.lengths, made.lengths)
    one.end_epoch(0)
    one.finish()
    assert torch.equal(again.lengths, made.lengths), "the few held-out data sets do not decide on them"


def test_bad_values_are_raised_to_a_floor_of_their_own_data_set_or_of_all_small_ones() -> None:
    values = np.array([0.9] * 9 + [0.1] + [0.5] * 9 + [0.4] + [0.8, 0.7, 0.2, 0.3, 0.75])
    data = np.array([0] * 10 + [1] * 10 + [2, 2, 3, 4, 4])
    published = np.zeros(25, bool)
    published[23] = True  # nothing is learned from it, not even a floor
    told = Experience(((0,) * 6,), tuple("abcde"), np.zeros(25, int), data, values, published)
    found = told.floored(-1.0).values
    assert found[9] == pytest.approx(values[:10].mean() - values[:10].std())
    assert found[19] == pytest.approx(values[10:20].mean() - values[10:20].std())
    few = values[[20, 21, 22, 24]]
    assert found[22] == found[23] == pytest.approx(few.mean() - few.std())
    same = [at for at in range(25) if at not in (9, 19, 22, 23)]
    assert (found[same] == values[same]).all()
    assert (told.floored(-9.0).values == values).all()


def test_evidences_of_blocks_add_up() -> None:
    x, y = torch.rand(12, 3, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    process, blocks = Process(matern(3)), [torch.arange(5), torch.arange(5, 12)]
    parts = sum(process.evidence(x[at], y[at]) for at in blocks)
    whole = process.loss(x, y) * 12 + process.evidence(x, y)  # minus the priors
    assert torch.allclose(process.loss(x, y, blocks=blocks) * 12, whole - parts)


def one_step(learner: MetaLearner, lr: float) -> list[torch.Tensor]:
    """A step of stochastic gradient descent written out."""
    rows = next(learner.batches.epoch(0))
    gradients = torch.autograd.grad(learner.loss(rows, 0), learner.moved)
    return [torch.add(p, g, alpha=-lr).detach() for p, g in zip(learner.moved, gradients, strict=True)]


def test_reptile_with_one_step_and_the_whole_way_is_a_step_of_sgd_to_the_last_bit() -> None:
    plain = Schedule(
        inner_optimizer="sgd", inner=1, reach=1.0, lr=0.01, weight_decay=0.0, clip=0.0, steps=3, epochs=1, batch=24
    )
    one = learner(plain)
    expected = one_step(one, 0.01)
    one.step(next(one.batches.epoch(0)), 0)
    assert all(torch.equal(p, q) for p, q in zip(one.moved, expected, strict=True))


def test_reptile_that_goes_no_way_stays() -> None:
    still = learner(replace(TINY, reach=0.0))
    before = [p.detach().clone() for p in still.moved]
    still.step(next(still.batches.epoch(0)), 0)
    assert all(torch.equal(p, q) for p, q in zip(still.moved, before, strict=True))


def test_reptile_goes_a_share_of_the_way_that_falls_to_nothing() -> None:
    schedule = replace(TINY, inner_optimizer="sgd", weight_decay=0.0)
    half, whole = learner(schedule), learner(replace(schedule, steps=8))  # at step 4 of 8, and of 16
    before = [p.detach().clone() for p in half.moved]
    rows = next(half.batches.epoch(0))
    half.step(rows, 4)
    whole.step(rows, 4)
    for p, q, was in zip(half.moved, whole.moved, before, strict=True):
        assert torch.allclose((p - was) * 0.75, (q - was) * 0.5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["reptile", "adam"])
def test_a_killed_meta_training_ends_where_an_unbroken_one_does(optimizer: str, tmp_path: Path) -> None:
    schedule = replace(TINY, optimizer=optimizer, epochs=3)
    record = {"schema": 1, "kind": "meta", "status": "running"}
    whole = learner(schedule)
    fit(whole, whole.batches, 3, Run.create(tmp_path / "whole", record))

    class Killed(Exception):
        pass

    def kill(done: int, total: int, figures: object) -> None:
        if done == 6:
            raise Killed

    run = Run.create(tmp_path / "broken", record)
    broken = learner(schedule)
    with pytest.raises(Killed):
        fit(broken, broken.batches, 3, run, progress=kill)
    again = learner(schedule)
    fit(again, again.batches, 3, run)
    for name, value in whole.kernel.weights().items():
        assert torch.equal(value, again.kernel.weights()[name]), name
    assert whole.best_loss == again.best_loss
    assert all(torch.equal(value, again.best[name]) for name, value in whole.best.items())


def test_held_out_data_sets_share_nothing_with_what_is_learned_from() -> None:
    one = learner()
    learnt, held = set(one.experience.data[one.rows].tolist()), set(one.experience.data[one.held].tolist())
    assert held
    assert learnt
    assert not learnt & held
    assert learnt | held == set(range(5))


def test_published_rows_are_never_learned_from_and_change_nothing() -> None:
    told = experience()
    marked = told.published.copy()
    marked[::9] = True
    made, shelf = kernel()
    one = MetaLearner(made, replace(told, published=marked), shelf, TINY)
    assert not set(np.flatnonzero(marked)) & set(one.rows.tolist())
    assert not (one.held & marked).any()
    spoilt = told.values.copy()
    spoilt[marked] = 0.01
    made, _ = kernel()
    other = MetaLearner(made, replace(told, published=marked, values=spoilt), shelf, TINY)
    rows = next(one.batches.epoch(0))
    one.step(rows, 0)
    other.step(rows, 0)
    assert all(torch.equal(p, q) for p, q in zip(one.moved, other.moved, strict=True))
    assert one.standardiser == other.standardiser


def test_data_sets_with_opposite_rankings_are_told_apart_and_their_order_counts() -> None:
    """Of a synthetic history in which convolutions help on some data sets and harm on others."""
    schedule = Schedule(optimizer="adam", epochs=6, steps=25, batch=64, lr=5e-3)
    told = experience(rows=200)
    made, shelf = kernel()
    real = MetaLearner(made, told, shelf, schedule)
    made, _ = kernel()
    permuted = replace(told, data=np.random.default_rng(0).permutation(told.data))
    shuffled = MetaLearner(made, permuted, shelf, schedule)
    rng = np.random.default_rng(1)
    split = rng.permutation(len(told))
    given, asked = split[:150], np.isin(np.arange(len(told)), split[150:])
    for one in (real, shuffled):
        one.rows = np.setdiff1d(given, np.flatnonzero(one.held))
        step = 0
        for epoch in range(schedule.epochs):
            for rows in one.batches.epoch(epoch):
                one.step(rows, step)
                step += 1
    right, wrong = (one.predicted(asked, given) for one in (real, shuffled))
    assert right["nlpd"] < wrong["nlpd"] - 0.3
    assert right["pearson"] > 0.75
    many, none = (3, 3, 3, 3, 3, 3), (4, 1, 1, 1, 1, 4)
    made = real.kernel
    with torch.no_grad():
        psi = made.psi(made.networks.read([many, none]))
        for at, sign in ((0, 1.0), (1, -1.0)):
            phi, told_of = made.phi(shelf, [at]).expand(2, -1), real.told[[at, at]]
            mean, _ = real.given(given).moments(made.rows([many, none], psi, phi, told_of))
            assert (mean[0] - mean[1]) * sign > 0


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    one = learner()
    nn.init.constant_(one.kernel.encoder.fusion.layers[0].weight, math.nan)  # type: ignore[arg-type]
    with pytest.raises((Diverged, ArithmeticError)):
        one.step(next(one.batches.epoch(0)), 0)


@pytest.mark.parametrize("encoding", ["canonical", "paper", "one-hot"])
def test_every_encoding_learns(encoding: str) -> None:
    one = learner(replace(TINY, optimizer="adam"), Build("tiny", encoding=encoding))  # type: ignore[arg-type]
    first = one.step(next(one.batches.epoch(0)), 0)["loss"]
    for _ in range(15):
        last = one.step(next(one.batches.epoch(0)), 0)["loss"]
    assert last < first
    assert set(one.end_epoch(0)) == {"val_pearson", "val_nlpd", "val_covered"}


def test_without_data_sets_all_are_alike() -> None:
    made, shelf = kernel(Build("tiny", datasets=False))
    psi = torch.randn(1, 8)
    phi = made.phi(shelf, [0, 1])
    told = made.told(shelf.means)
    one, other = (made.rows([(0,) * 6], psi, phi[at : at + 1], told[at : at + 1]) for at in range(2))
    assert torch.equal(made.process.kernel(one, one).to_dense(), made.process.kernel(one, other).to_dense())


class Waves(SearchSpace):
    """A space of one variable, the place on an axis, on which data sets are waves y = a · sin(x + b). Which places are near
    each other is not told, but to be learned."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        return (Variable("x", tuple(f"p{at}" for at in range(64))),)

    def canonical(self, arch: Arch) -> Arch | None:
        return arch

    def network(self, arch: Arch) -> nn.Module:
        raise NotImplementedError

    def blocks(self, path: Path_) -> Iterable[tuple[float | torch.Tensor, Block]]:
        raise NotImplementedError

    def size(self) -> int:
        return 64


def waves(n: int, seed: int) -> np.ndarray:
    """Values of waves at 64 places of three periods."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 2.0, (n, 1)) * np.sin(np.linspace(0, 6 * np.pi, 64) + rng.uniform(0, 2 * np.pi, (n, 1)))


def few_shot(process: Process, rows: torch.Tensor, y: np.ndarray, refit: bool) -> tuple[float, float]:
    """Root mean squared error and NLPD at 54 places of each wave, given ten."""
    errors, densities = [], []
    for at, values in enumerate(torch.from_numpy(y)):
        order, own = np.random.default_rng(at).permutation(64), copy.deepcopy(process)
        near, far = order[:10], order[10:]
        if refit:
            own.fit(rows[near], values[near])
        mean, variance = own.given(rows[near], values[near]).moments(rows[far])
        spread = (variance + own.likelihood.noise.detach()).sqrt()
        errors.append((mean - values[far]).square().mean())
        densities.append(-torch.distributions.Normal(mean, spread).log_prob(values[far]).mean())
    return float(torch.stack(errors).mean().sqrt()), float(torch.stack(densities).mean())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["reptile", "adam"])
def test_a_kernel_learned_from_waves_knows_unseen_ones_from_ten_points(optimizer: str) -> None:
    """FSBO's toy family: at least 30 % better than the same kernel untrained, and than a plain Matérn fitted to the points."""
    archs, y, unseen = [(at,) for at in range(64)], waves(60, 0), waves(12, 1)
    data, arch = (column.ravel() for column in np.meshgrid(np.arange(60), np.arange(64), indexing="ij"))
    nothing = np.zeros(len(arch), bool)
    told = Experience(tuple(archs), tuple(map(str, range(60))), arch, data, y[data, arch], nothing)
    shelf = Shelf((np.zeros((1, 4), np.float32),), ((0,),) * 60)
    build = Build("tiny", "one-hot", datasets=False, plain=False, overlap=False)
    plain = Schedule(epochs=4, steps=200, inner=3, batch=32, mixed=False, lr=5e-3, weight_decay=0.0)
    schedule = replace(plain, optimizer=optimizer)
    torch.manual_seed(0)
    made = DeepKernel(build, Networks(Waves(), "one-hot"), 4, shelf.means)

    def rows() -> torch.Tensor:
        with torch.no_grad():
            nobody = torch.zeros(64, 4, dtype=torch.float64)
            return made.rows(archs, made.psi(made.networks.read(archs)), made.neutral.expand(64, -1), nobody)

    before = few_shot(made.process, rows(), unseen, refit=True)
    one = MetaLearner(made, told, shelf, schedule)
    one.standardiser, one.y = Standardiser(), torch.from_numpy(told.values)
    step = 0
    for epoch in range(schedule.epochs):
        for batch in one.batches.epoch(epoch):
            one.step(batch, step)
            step += 1
    after = few_shot(made.process, rows(), unseen, refit=False)
    axis = torch.linspace(0, 1, 64, dtype=torch.float64)[:, None]
    matern_alone = few_shot(Process(matern()), axis, unseen, refit=True)
    assert after[0] < 0.7 * min(before[0], matern_alone[0])
    assert after[1] < min(before[1], matern_alone[1]) - 0.3
