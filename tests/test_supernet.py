"""The multi-path supernets: what shadow batch norm promises, at the sites of S1 and of S4 (specs/mixpath.md, section 6)."""

import itertools
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from nas_suite.cellnet import Place
from nas_suite.chain import MultiPathBottleneck, Site
from nas_suite.space import SupernetSpace
from nas_suite.spaces.macro import Macro
from nas_suite.spaces.mixpath_s1 import MixPathS1
from nas_suite.spaces.mixpath_s4 import MixPathS4, MultiPathCell
from nas_suite.spaces.tfnas import TFNAS
from nas_suite.supernet import NORMS, MultiPathNorm, mix

MOST = 4
SUBSETS = [s for size in range(1, MOST + 1) for s in itertools.combinations(range(MOST), size)]
SPACES = [MixPathS1(width=0.25, image_size=8), MixPathS4(width=0.0625, image_size=8, cells=2)]
BOTH = pytest.mark.parametrize("build", ["s1", "s4"])
SPACE = pytest.mark.parametrize("space", SPACES, ids=["s1", "s4"])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@dataclass
class Sums:
    """A site whose four paths are summed: the module, its norm, its paths, and how a subset of the paths is run."""

    module: nn.Module
    norm: MultiPathNorm
    paths: Sequence[nn.Module]
    run: Callable[[tuple[int, ...]], Tensor]

    def level(self) -> None:
        """Makes all paths equal to the first."""
        for path in self.paths[1:]:
            path.load_state_dict(self.paths[0].state_dict())

    def entering(self) -> dict[tuple[int, ...], Tensor]:
        """What enters the norm, for every subset of paths."""
        seen: list[Tensor] = []
        hook = self.norm.register_forward_pre_hook(lambda norm, given: seen.append(given[0].detach()))
        for subset in SUBSETS:
            self.run(subset)
        hook.remove()
        return dict(zip(SUBSETS, seen, strict=True))


def sums(build: str, kind: str, alike: bool = False, bias: bool = False) -> Sums:
    """A site of S1 or S4 with a fixed batch; with `alike`, its paths are of one kind so that they can be made equal."""
    x = torch.randn(16, 4, 8, 8)
    if build == "s1":
        block = MultiPathBottleneck(Site(4, 6, 1, 8, "relu6"), 3, (5,) * 4 if alike else (3, 5, 7, 9), MOST, kind)
        return Sums(block, block.norm, list(block.paths), lambda active: block(x, active))
    cell = MultiPathCell(Place(4, 6, 8, None), MOST, bias, kind)
    options = (1, 1, 1, 1) if alike else (1, 2, 3, 1)
    path = {active: tuple(options[i] if i in active else 0 for i in range(MOST)) for active in SUBSETS}
    return Sums(cell, cell.norm, list(cell.positions), lambda active: cell(x, path[active], active))


def cumulative(norm: MultiPathNorm) -> None:
    for one in norm.norms:
        one.momentum = None
        one.reset_running_stats()


@BOTH
def test_equal_paths_have_i_times_the_mean_and_i_squared_times_the_variance(build):
    site = sums(build, "linear", alike=True)
    site.level()
    cumulative(site.norm)
    for count in range(1, MOST + 1):
        site.run(tuple(range(count)))
    one, *others = site.norm.norms
    for count, norm in enumerate(others, start=2):
        assert torch.allclose(norm.running_mean, count * one.running_mean, rtol=1e-4, atol=1e-6)
        assert torch.allclose(norm.running_var, count**2 * one.running_var, rtol=1e-4, atol=1e-8)


@BOTH
def test_the_mean_of_a_sum_of_any_i_paths_is_i_times_the_mean_of_one(build):
    site = sums(build, "linear")
    entering = site.entering()
    ones = torch.stack([entering[s].mean((0, 2, 3)) for s in SUBSETS if len(s) == 1]).mean(0)
    for count in range(2, MOST + 1):
        means = torch.stack([entering[s].mean((0, 2, 3)) for s in SUBSETS if len(s) == count]).mean(0)
        assert torch.allclose(means, count * ones, rtol=1e-4, atol=1e-6)


@BOTH
def test_the_variance_of_a_sum_follows_the_paths_correlation(build):
    """i + i(i−1)ρ, with ρ measured on the same features; with fresh weights it is far from i²."""
    site = sums(build, "linear")
    entering = site.entering()
    paths = torch.stack([entering[(i,)].transpose(0, 1).flatten(1) for i in range(MOST)])
    paths = paths - paths.mean(2, keepdim=True)
    covariance = torch.einsum("pcn,qcn->pq", paths, paths) / paths[0].numel()
    single = covariance.diagonal().mean()
    rho = float((covariance.sum() - covariance.trace()) / (MOST * (MOST - 1)) / single)
    for count in range(2, MOST + 1):
        variances = torch.stack([entering[s].var((0, 2, 3), correction=0).mean() for s in SUBSETS if len(s) == count])
        ratio = float(variances.mean() / single)
        assert ratio == pytest.approx(count + count * (count - 1) * rho, rel=0.02)
        assert ratio < 0.9 * count**2


def test_the_official_bias_breaks_the_law_of_means():
    """With `node5_bias` a sum of two paths has twice the mean less one bias (specs/mixpath.md 1.3)."""
    site = sums("s4", "linear", bias=True)
    nn.init.constant_(site.module.merge.bias, 3.0)
    entering = site.entering()
    ones = torch.stack([entering[s].mean((0, 2, 3)) for s in SUBSETS if len(s) == 1]).mean(0)
    twos = torch.stack([entering[s].mean((0, 2, 3)) for s in SUBSETS if len(s) == 2]).mean(0)
    assert torch.allclose(twos, 2 * ones - 3.0, atol=1e-4)


@BOTH
@pytest.mark.parametrize("subset", SUBSETS)
def test_only_the_norm_of_the_number_of_paths_learns_statistics(build, subset):
    site = sums(build, "linear")
    site.run(subset)
    tracked = [int(norm.num_batches_tracked) for norm in site.norm.norms]
    assert tracked == [int(count == len(subset)) for count in range(1, MOST + 1)]


@BOTH
@pytest.mark.parametrize("subset", SUBSETS)
def test_what_leaves_a_site_is_what_leaves_its_norm(build, subset):
    """The official S4 code builds shadow batch norms and never calls them."""
    site, left = sums(build, "linear"), []
    for at, norm in enumerate(site.norm.norms):
        norm.register_forward_hook(lambda norm, given, out, at=at: left.append((at, out.detach().clone())))
    y = site.run(subset)
    assert [at for at, _ in left] == [len(subset) - 1]
    assert torch.equal(y, left[0][1] if build == "s1" else left[0][1].relu())


@SPACE
def test_every_site_of_a_supernet_runs_the_norm_of_its_number_of_paths(space):
    supernet, rng = space.supernet("linear"), random.Random(0)
    norms = [part for part in supernet.modules() if isinstance(part, MultiPathNorm)]
    for _ in range(4):
        supernet.zero_grad(set_to_none=True)
        path = space.draw(rng)
        supernet(torch.randn(4, 3, 8, 8), path).square().sum().backward()
        ran = [[norm.weight.grad is not None for norm in site.norms] for site in norms]
        assert all(bool(norm.weight.grad.any()) for site in norms for norm in site.norms if norm.weight.grad is not None)
        assert [site for site in ran if any(site)] == expected_norms(space, path)


def expected_norms(space: SupernetSpace, path: tuple[int, ...]) -> list[list[bool]]:
    if isinstance(space, MixPathS4):
        counts = [sum(map(bool, path))] * space.cells * space.stacks
    else:
        counts = [len(variable.options[i][1]) for variable, i in zip(space.variables, path, strict=True)]
    return [[count == i for i in range(1, MOST + 1)] for count in counts]


@BOTH
def test_the_order_of_paths_does_not_matter(build):
    """The same paths standing in another order: the same features leave."""
    site, other = sums(build, "linear", alike=True), sums(build, "linear", alike=True)
    other.module.load_state_dict(site.module.state_dict())
    order = (2, 0, 3, 1)
    for place, path in enumerate(order):
        other.paths[place].load_state_dict(site.paths[path].state_dict())
    torch.manual_seed(1)
    x = torch.randn(16, 4, 8, 8)
    for subset in SUBSETS:
        moved = tuple(sorted(order.index(path) for path in subset))
        assert torch.allclose(run(site, x, subset), run(other, x, moved), atol=1e-5)


def run(site: Sums, x: Tensor, active: tuple[int, ...]) -> Tensor:
    if isinstance(site.module, MultiPathBottleneck):
        return site.module(x, active)
    return site.module(x, tuple(int(i in active) for i in range(MOST)), active)


@BOTH
def test_scaled_sums_of_equal_paths_are_normalised_alike(build):
    """Simple scaling brings every sum of equal paths to the size of one, in training and in evaluation."""
    site = sums(build, "scaled", alike=True)
    site.level()
    cumulative(site.norm)
    trained = [site.run(subset).detach() for subset in SUBSETS]
    assert all(torch.allclose(y, trained[0], atol=1e-4) for y in trained)
    site.module.eval()
    evaluated = [site.run(subset) for subset in SUBSETS]
    assert all(torch.allclose(y, evaluated[0], atol=1e-4) for y in evaluated)


@BOTH
def test_one_norm_hides_the_size_of_sums_in_training_only(build):
    site = sums(build, "vanilla", alike=True)
    site.level()
    trained = [site.run(subset).detach() for subset in SUBSETS]
    assert all(torch.allclose(y, trained[0], atol=1e-2) for y in trained)
    cumulative(site.norm)
    site.run((0,))
    site.module.eval()
    one, two = site.run((0,)), site.run((0, 1))
    assert (two - one).abs().max() > 0.5


@pytest.mark.parametrize(("kind", "norms"), [("linear", 4), ("exponential", 15), ("vanilla", 1), ("scaled", 1)])
@BOTH
def test_number_of_norms(build, kind, norms):
    assert len(sums(build, kind).norm.norms) == norms


@pytest.mark.parametrize(("most", "norms"), [(1, 4), (2, 10), (3, 14)])
def test_number_of_exponential_norms_below_four_paths(most, norms):
    """Σ over i ≤ m of C(4, i)."""
    assert len(MultiPathNorm(3, 4, most, "exponential").norms) == norms


def test_an_exponential_norm_serves_one_subset():
    site = sums("s1", "exponential")
    site.run((1, 3))
    site.run((0, 2))
    tracked = {subset: int(site.norm.norms[at].num_batches_tracked) for subset, at in site.norm.index.items()}
    assert {subset for subset, count in tracked.items() if count} == {(1, 3), (0, 2)}


def test_an_unknown_norm_names_the_near_one():
    with pytest.raises(ValueError, match="unknown norm 'lineal'; did you mean 'linear'"):
        MultiPathNorm(3, 4, 4, "lineal")


def train(supernet: nn.Module, paths: list[tuple[int, ...]], optimizer: torch.optim.Optimizer) -> list[float]:
    """A step a path on images of its own; the losses."""
    losses = []
    for step, path in enumerate(paths):
        generator = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 3, 8, 8, generator=generator), torch.randint(10, (8,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(supernet(x, path), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def descent(supernet: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9, weight_decay=3e-4)


@SPACE
def test_what_does_not_run_has_no_gradient_and_stays_as_it_is(space):
    """Momentum and weight decay leave the parameters and statistics of inactive paths alone, to the last bit."""
    supernet, rng = space.supernet("linear"), random.Random(0)
    optimizer = descent(supernet)
    train(supernet, [space.draw(rng) for _ in range(6)], optimizer)
    if isinstance(space, MixPathS4):
        path, active = (0, 3, 0, 1), r"cells.*(positions.1.branches.2|positions.3.branches.0|merge|norm.norms.1)"
    else:
        path, active = space.parse("-".join(["e6k37"] * 12)), r"choices.*rates.1.(expand|paths.[02]|project|norm.norms.1)"
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    train(supernet, [path], optimizer)
    running = {name for name in before if runs(name, active)}
    assert {name for name, p in supernet.named_parameters() if p.grad is not None} == {
        name for name, _ in supernet.named_parameters() if name in running
    }
    after = supernet.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == running
    assert len(before) - len(running) > len(before) / 2


def runs(name: str, active: str) -> bool:
    """Whether a parameter lies on the route of a path: the fixed parts, and in choices what matches `active`."""
    return not name.startswith(("choices.", "cells.")) or re.match(active, name) is not None


@pytest.mark.parametrize("make", [lambda: MixPathS1(width=0.25, image_size=8, m=1), lambda: MixPathS4(0.0625, 1, cells=1)])
def test_with_single_paths_shadow_batch_norm_is_batch_norm(make):
    """m = 1: the same losses and weights, bit for bit."""
    space, ends = make(), []
    paths = [space.draw(random.Random(seed)) for seed in range(4)]
    for norm in ("linear", "vanilla"):
        torch.manual_seed(3)
        supernet = space.supernet(norm)
        ends.append((train(supernet, paths, descent(supernet)), supernet.state_dict()))
    (losses, weights), (other_losses, other_weights) = ends
    assert losses == other_losses
    assert all(torch.equal(value, other_weights[name]) for name, value in weights.items())


@pytest.mark.parametrize("norm", NORMS)
@SPACE
def test_every_norm_trains(space, norm):
    supernet = space.supernet(norm)
    assert all(loss < 20.0 for loss in train(supernet, [space.draw(random.Random(9)) for _ in range(3)], descent(supernet)))


def test_mix_runs_one_branch_or_weighs_all():
    branches = [lambda x: x, lambda x: x * x, lambda x: x + 1]
    x, weights = torch.tensor([2.0, 3.0]), torch.tensor([0.5, 0.25, 0.25], requires_grad=True)
    assert torch.equal(mix(branches, 1, x), torch.tensor([4.0, 9.0]))
    mixed = mix(branches, weights, x)
    assert torch.equal(mixed, 0.5 * x + 0.25 * x * x + 0.25 * (x + 1))
    mixed.sum().backward()
    assert torch.equal(weights.grad, torch.tensor([5.0, 13.0, 7.0]))
    assert torch.equal(mix(branches, torch.tensor([0.0, 1.0, 0.0]), x), mix(branches, 1, x))
    with pytest.raises(ValueError, match="zip"):
        mix(branches, torch.ones(2), x)


@pytest.mark.parametrize("space", [Macro(), TFNAS()], ids=["macro", "tfnas"])
def test_spaces_whose_makers_left_torchs_own_initialisation_do_too(space):
    """Weights uniform within ±1/√fan_in, so of a standard deviation of 1/√(3·fan_in); biases of TF-NAS zero."""
    for model in (space.network(space.sample(random.Random(0))), space.supernet("linear")):
        layers = [part for part in model.modules() if isinstance(part, (nn.Conv2d, nn.Linear)) and part.weight.numel() > 800]
        assert len(layers) > 10
        for layer in layers:
            assert float(layer.weight.detach().std()) == pytest.approx((3 * layer.weight[0].numel()) ** -0.5, rel=0.1)
        if isinstance(space, TFNAS):
            assert not any(layer.bias.any() for layer in layers if layer.bias is not None)
