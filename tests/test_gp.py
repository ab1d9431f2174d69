"""The Gaussian process against closed forms (spec checks 1, 2, 7, 9 and 16), and the one standardiser."""

import random
from typing import Any

import gpytorch
import numpy as np
import pytest
import torch
from gpytorch.kernels import RBFKernel
from scipy.stats import multivariate_normal
from torch import Tensor

from nas_suite.errors import BadInput
from nas_suite.spaces import SPACES
from nas_suite.surrogate.features import OneHot
from nas_suite.surrogate.gp import GP, Process, cholesky, dense, matern, scaled
from nas_suite.surrogate.standard import Standardiser
from nas_suite.surrogate.wl import LEVELS, Histograms, WeisfeilerLehman

NB201 = SPACES.build("nasbench201", {})


def exactly(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)  # plain numbers go by float32 in GPyTorch


def process(constant: float = 0.3, noise: float = 0.05) -> Process:
    made = Process(matern(), (1e-12, 1.0))
    made.kernel.initialize(outputscale=exactly(1.7))
    made.kernel.base_kernel.initialize(lengthscale=exactly(0.7))
    made.likelihood.initialize(noise=exactly(noise))
    made.mean.initialize(constant=exactly(constant))
    return made


def drawn(n: int, d: int = 8, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)) / np.sqrt(2 * d))


def by_hand(z: np.ndarray, others: np.ndarray, length: float = 0.7, scale: float = 1.7) -> np.ndarray:
    """Matérn-5/2, written anew."""
    r = np.sqrt(5.0) * np.linalg.norm(z[:, None] - others[None], axis=-1) / length
    return scale * (1 + r + r**2 / 3) * np.exp(-r)


def archs(n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < n:
        found[NB201.sample(rng)] = None
    return list(found)


def values(of: list[tuple[int, ...]]) -> np.ndarray:
    weights = np.random.default_rng(5).normal(size=(6, 5))
    return np.array([90 + sum(weights[at, option] for at, option in enumerate(arch)) for arch in of])


@pytest.mark.parametrize(("constant", "noise", "prior"), [(0.0, 1e-10, False), (0.3, 0.05, False), (0.3, 0.05, True)])
def test_posterior_equals_the_closed_form_with_a_dense_inverse(constant: float, noise: float, prior: bool) -> None:
    z, new = drawn(40), drawn(200, seed=1)
    y = torch.from_numpy(np.random.default_rng(2).normal(size=40))
    offset, offset_new = (z[:, 0] * 3, new[:, 0] * 3) if prior else (None, None)
    made = process(constant, noise)
    mean, variance = made.given(z, y, offset).moments(new, offset_new)
    inverse = np.linalg.inv(by_hand(z.numpy(), z.numpy()) + noise * np.eye(40))
    cross = by_hand(new.numpy(), z.numpy())
    at, at_new = (constant + (0 if o is None else o.numpy()) for o in (offset, offset_new))
    np.testing.assert_allclose(mean.numpy(), at_new + cross @ inverse @ (y.numpy() - at), atol=1e-9)
    full = by_hand(new.numpy(), new.numpy()) - cross @ inverse @ cross.T
    np.testing.assert_allclose(variance.numpy(), full.diagonal(), atol=1e-9)
    some = made.given(z, y, offset).covariance(new[:7], new[5:9])
    np.testing.assert_allclose(some.numpy(), full[:7, 5:9], atol=1e-9)


def test_posterior_and_evidence_equal_gpytorchs_own() -> None:
    class Own(gpytorch.models.ExactGP):
        def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
            return gpytorch.distributions.MultivariateNormal(made.mean(x), made.kernel(x))

    z, new, y = drawn(900), drawn(50, seed=1), torch.from_numpy(np.random.default_rng(2).normal(size=900))
    made = process()
    own = Own(z, y, made.likelihood).double()
    with gpytorch.settings.max_cholesky_size(10**6), torch.no_grad():  # above 800 it would be estimated
        log = made.likelihood(own(z)).log_prob(y)  # in training mode: the prior
        theirs = own.eval()(new)
    mean, variance = made.given(z, y).moments(new)
    torch.testing.assert_close(mean, theirs.mean, atol=1e-8, rtol=0)
    torch.testing.assert_close(variance, theirs.variance, atol=1e-8, rtol=0)
    torch.testing.assert_close(made.evidence(z, y), log, atol=1e-6, rtol=1e-9)


def test_evidence_equals_scipys_density() -> None:
    z, y = drawn(40), np.random.default_rng(2).normal(size=40)
    covariance = by_hand(z.numpy(), z.numpy()) + 0.05 * np.eye(40)
    expected = multivariate_normal(np.full(40, 0.3), covariance).logpdf(y)
    assert process().evidence(z, torch.from_numpy(y)).item() == pytest.approx(expected, abs=1e-8)


def test_gradients_of_the_loss_match_central_differences() -> None:
    z, y = drawn(20, 3).requires_grad_(), torch.from_numpy(np.random.default_rng(2).normal(size=20))
    made, offset = process(), drawn(20, 1, seed=3)[:, 0]
    entries = {**dict(made.named_parameters()), "z": z}
    grads = dict(zip(entries, torch.autograd.grad(made.loss(z, y, offset), list(entries.values())), strict=True))
    assert len(entries) == 6  # length scale, scale, noise, mean, trust in the offset, and what goes in
    step = 1e-5
    for name, entry in entries.items():
        flat = entry.data.view(-1)
        for at in range(min(len(flat), 6)):
            losses = []
            for sign in (1, -1):
                flat[at] += sign * step
                losses.append(made.loss(z, y, offset).item())
                flat[at] -= sign * step
            expected = (losses[0] - losses[1]) / (2 * step)
            assert grads[name].view(-1)[at].item() == pytest.approx(expected, rel=1e-5, abs=1e-9), name


def test_equal_inputs_have_finite_values_and_gradients() -> None:
    made = process()
    z = drawn(5, 3).repeat(4, 1).requires_grad_()
    kernel = dense(made.kernel, z, z)
    assert torch.equal(kernel[0, 5], kernel[0, 0])
    assert kernel[0, 0].item() == pytest.approx(1.7)
    loss = made.loss(z, torch.from_numpy(np.random.default_rng(2).normal(size=20)))
    loss.backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    far = torch.autograd.grad(dense(made.kernel, z[:1], z[:1].detach()).sum(), z)[0]
    assert far.abs().max() == 0.0


@pytest.mark.parametrize("kind", ["matern", "ard", "wl1", "wl3"])
def test_kernels_of_500_networks_are_covariances(kind: str) -> None:
    some = archs(500)
    if kind.startswith("wl"):
        features = Histograms(NB201)
        kernel = scaled(WeisfeilerLehman(features, int(kind[2:])))
    else:
        features = OneHot(NB201)
        kernel = matern(30 if kind == "ard" else 0)
    kernel.double().initialize(outputscale=exactly(1.7))
    z = features(some)
    with torch.no_grad():
        matrix = dense(kernel, z, z)
        torch.testing.assert_close(kernel(z, diag=True), matrix.diagonal(), atol=1e-12, rtol=0)
    assert torch.equal(matrix, matrix.T) or (matrix - matrix.T).abs().max() < 1e-14
    torch.testing.assert_close(matrix.diagonal(), torch.full((500,), 1.7, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-8


def test_distances_of_one_hot_rows_are_shares_of_variables() -> None:
    space = SPACES.build("tfnas", {"image_size": 16, "classes": 10})
    rng = random.Random(0)
    some = [space.sample(rng) for _ in range(20)]
    for searched, sample in ((NB201, archs(20)), (space, some)):
        z = OneHot(searched)(sample)
        numbers = [len(v.options) > 16 for v in searched.variables]
        for a, b in zip(range(19), range(1, 20), strict=True):
            differ = [i != j for i, j in zip(sample[a], sample[b], strict=True)]
            square = (z[a] - z[b]).square().sum().item() * len(numbers)
            most = sum(differ)
            least = sum(d for d, number in zip(differ, numbers, strict=True) if not number)
            assert least - 1e-9 <= square <= most + 1e-9
    assert any(numbers), "widths are many"
    assert z.shape[1] < sum(len(v.options) for v in space.variables)


def test_fitting_finds_noise_and_length_and_covers_what_it_did_not_see() -> None:
    truth = process(constant=0.0, noise=0.1)
    inside = []
    for seed in range(4):
        z = drawn(260, 2, seed)
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            f = cholesky(dense(truth.kernel, z, z)) @ torch.from_numpy(rng.normal(size=260))
        y = f + np.sqrt(0.1) * torch.from_numpy(rng.normal(size=260))
        made = Process(matern())
        before = made.loss(z[:160], y[:160]).item()
        made.fit(z[:160], y[:160])
        assert made.loss(z[:160], y[:160]).item() < before
        assert 0.05 < made.likelihood.noise.item() < 0.2
        mean, variance = made.given(z[:160], y[:160]).moments(z[160:])
        inside.append(((y[160:] - mean).abs() < 1.645 * (variance + made.likelihood.noise.detach()).sqrt()).double().mean())
        inside.append(((f[160:] - mean).abs() < 1.645 * variance.sqrt()).double().mean())
    assert 0.8 < np.mean(inside) < 0.97


def test_noise_stays_within_its_bounds() -> None:
    z = drawn(60, 2)
    smooth, wild = Process(RBFKernel(), (1e-3, 0.3)), Process(RBFKernel(), (1e-3, 0.3))
    smooth.fit(z, z.sum(1))
    wild.fit(z, torch.from_numpy(3 * np.random.default_rng(0).normal(size=60)))
    assert 1e-3 <= smooth.likelihood.noise.item() < 2e-3
    assert 0.25 < wild.likelihood.noise.item() <= 0.3


def test_a_given_mean_is_believed_as_far_as_it_is_right() -> None:
    some, new = archs(40), archs(300, seed=1)
    truth = Standardiser.of(values(new))

    def informed(of: Any) -> np.ndarray:
        return truth.to(values(list(of)))

    def wrong(of: Any) -> np.ndarray:
        return np.random.default_rng(0).normal(size=len(of))

    errors, trusts = [], []
    for prior in (None, informed, wrong):
        model = GP(OneHot(NB201), prior=prior)
        model.fit(some[:12], values(some[:12]))
        found = model.standardiser.back(model.posterior(new)[0].numpy())
        errors.append(float(np.abs(found - values(new)).mean()))
        trusts.append(model.best.trust.item())
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 1.3 * errors[0]
    assert trusts[2] < trusts[1]


def test_a_matrix_that_cannot_be_factored_is_refused_and_one_that_nearly_can_is_not() -> None:
    ones = torch.ones(6, 6, dtype=torch.float64)
    root = cholesky(ones)
    assert (root @ root.T - ones).abs().max() < 2e-8
    with pytest.raises(ArithmeticError, match=r"6 architectures is not positive definite, even with 0.0001 of"):
        cholesky(torch.diag(torch.tensor([1.0, 1, 1, 1, 1, -0.5], dtype=torch.float64)))
    with pytest.raises(ArithmeticError, match="not finite"):
        cholesky(ones * np.nan)


def test_a_fit_forgets_what_came_before() -> None:
    some = archs(60)
    fresh, used = GP(OneHot(NB201)), GP(OneHot(NB201))
    used.fit(some[30:], -values(some[30:]))
    for model in (fresh, used):
        model.fit(some[:30], values(some[:30]))
    for a, b in zip(fresh.posterior(some), used.posterior(some), strict=True):
        assert torch.equal(a, b)


def test_units_change_no_belief() -> None:
    some = archs(60)
    beliefs = []
    for unit in (1.0, 0.01):
        model = GP(OneHot(NB201))
        model.fit(some[:30], unit * values(some[:30]))
        beliefs.append(model.posterior(some))
        np.testing.assert_allclose(model.standardiser.back(np.zeros(1)), unit * model.standardiser.mean / unit)
    for a, b in zip(*beliefs, strict=True):
        assert torch.equal(a, b)


def test_the_standardiser_returns_and_raises_the_low_tail() -> None:
    rng = np.random.default_rng(0)
    accuracies = np.concatenate([rng.normal(90, 2, 95), np.full(5, 10.0)])
    plain, robust = Standardiser.of(accuracies, None), Standardiser.of(accuracies)
    np.testing.assert_allclose(plain.back(plain.to(accuracies)), accuracies, atol=1e-8)
    assert plain.to(accuracies).mean() == pytest.approx(0, abs=1e-9)
    assert plain.to(accuracies).std() == pytest.approx(1, abs=1e-9)
    floor = accuracies.mean() - 2 * accuracies.std()
    np.testing.assert_allclose(robust.back(robust.to(accuracies)), np.maximum(accuracies, floor), atol=1e-8)
    assert robust.to(accuracies)[:95].std() > 1.8 * plain.to(accuracies)[:95].std(), "the good ones are told apart"


@pytest.mark.parametrize("equal", [[0.1], [0.3, 0.3, 0.3], [0.0, 0.0]])
def test_equal_values_have_deviation_one(equal: list[float]) -> None:
    standard = Standardiser.of(np.array(equal))
    assert standard.deviation == 1.0
    np.testing.assert_allclose(standard.to(np.array(equal)), 0.0, atol=1e-12)
    model = GP(OneHot(NB201))
    model.fit(archs(len(equal)), np.array(equal))
    assert model.posterior(archs(30))[1].isfinite().all()


@pytest.mark.parametrize(("bad", "message"), [([1.0, np.nan], "value nan of architecture 1"), ([np.inf], "inf"), ([], "none")])
def test_values_that_are_no_numbers_are_refused(bad: list[float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        GP(OneHot(NB201)).fit(archs(len(bad)), np.array(bad))


def test_the_evidence_chooses_among_kernels() -> None:
    histograms = Histograms(NB201)
    model = GP(histograms, [scaled(WeisfeilerLehman(histograms, level)) for level in LEVELS])
    some = archs(50)
    model.fit(some, values(some))
    y = torch.from_numpy(model.standardiser.to(values(some)))
    for one in LEVELS:
        other = GP(histograms, [scaled(WeisfeilerLehman(histograms, one))])
        other.fit(some, values(some))
        assert other.best.evidence(histograms(some), y) <= model.best.evidence(histograms(some), y)


def test_neighbourhoods_by_hand() -> None:
    histograms = Histograms(NB201)
    conv, twice = (3, 0, 0, 0, 0, 0), (1, 0, 3, 0, 0, 0)
    one, two = (3, 0, 0, 0, 1, 0), (0, 0, 0, 3, 0, 0)  # a convolution in another place: one network, one graph
    assert NB201.graph(one) == NB201.graph(two)
    places = histograms([one, two, conv, twice])
    rows = histograms.matrix(0)
    assert rows.shape[0] == 4
    # input, convolution, output, once each, against input and output of a network that reads nothing
    assert (rows[[0]] @ rows[[1]].T).toarray().item() == pytest.approx(1.0)
    assert (rows[[0]] @ rows[[2]].T).toarray().item() == pytest.approx(2 / np.sqrt(3 * 2))
    deeper = histograms.matrix(1)
    # one level up no label is shared: what the input is read by differs, and so on
    assert (deeper[[0]] @ deeper[[2]].T).toarray().item() == pytest.approx(2 / np.sqrt(6 * 4))
    assert places[:, 0].tolist() == [0, 1, 2, 3]
