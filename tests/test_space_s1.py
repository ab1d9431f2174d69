"""MixPath's S1: the counts of the official code (specs/mixpath.md 1.7) and its draw of paths."""

import random
from collections import Counter

import pytest
import torch

from nas_suite.chain import MultiPathBottleneck, MultiPathChoice, Site
from nas_suite.cost import cost, count
from nas_suite.errors import BadInput
from nas_suite.spaces.mixpath_s1 import MixPathS1

S1 = MixPathS1()
ROWS = {
    "e3k3": (2_887_434, 242.772),
    "e6k3": (5_344_746, 458.433),
    "e3k3579": (3_768_426, 354.194),
    "e6k9": (6_132_714, 561.947),
    "e6k3579": (7_106_730, 681.276),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def parameters(space: MixPathS1, norm: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in space.supernet(norm).parameters())


def uniform(token: str):
    return S1.parse("-".join([token] * 12))


def test_supernet_with_shadow_batch_norm():
    assert parameters(S1, "linear") == 10_474_602


def test_supernet_with_one_batch_norm():
    assert parameters(S1, "vanilla") == 10_449_258


def test_supernet_with_a_batch_norm_a_subset():
    assert parameters(S1, "exponential") == 10_567_530


def test_shadow_batch_norms_cost_three_more_norms_an_expansion():
    outputs = (48, 48, 96, 96, 96, 192, 192, 192, 256, 256, 320, 320)
    assert parameters(S1, "linear") - parameters(S1, "vanilla") == 2 * 3 * 2 * sum(outputs) == 25_344


@pytest.mark.parametrize("token", ROWS)
def test_parameters_of_a_network(token):
    assert cost("params", S1).total(uniform(token)) == ROWS[token][0]


@pytest.mark.parametrize("token", ROWS)
def test_multiply_adds_of_a_network(token):
    assert round(cost("macs", S1).total(uniform(token)) / 1e6, 3) == pytest.approx(ROWS[token][1], abs=1e-3)


def test_blocks_count_what_the_network_holds():
    arch = S1.sample(random.Random(3))
    with torch.device("meta"):
        counts = count(S1.network(arch), (3, 32, 32))
    assert (counts.parameters, counts.macs) == (cost("params", S1).total(arch), cost("macs", S1).total(arch))


@pytest.mark.parametrize(("m", "options"), [(1, 8), (2, 20), (3, 28), (4, 30)])
def test_size(m, options):
    space = MixPathS1(m=m)
    assert {len(v.options) for v in space.variables} == {options}
    assert space.size() == options**12


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_draw(m):
    """1e5 blocks: the number of paths is uniform, and so are, given it, paths and expansions."""
    space, rng = MixPathS1(m=m), random.Random(m)
    drawn = [space.options[option] for _ in range(8334) for option in space.draw(rng)]
    sizes = Counter(len(kernels) for _, kernels in drawn)
    marginals = Counter(kernel for _, kernels in drawn for kernel in kernels)
    assert sorted(sizes) == list(range(1, m + 1))
    assert sorted(marginals) == [3, 5, 7, 9]
    assert all(abs(n / len(drawn) - 1 / m) < 0.01 for n in sizes.values())
    assert all(abs(n / len(drawn) - (m + 1) / 8) < 0.01 for n in marginals.values())
    assert abs(sum(rate == 6 for rate, _ in drawn) / len(drawn) - 0.5) < 0.01
    assert all(len(set(kernels)) == len(kernels) > 0 for _, kernels in drawn)


def test_draw_repeats_under_a_seed():
    first, again, other = ([S1.draw(rng) for _ in range(5)] for rng in map(random.Random, (7, 7, 8)))
    assert first == again != other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"m": 5}, "m must be 1 to 4"),
        ({"kernels": (3, 4)}, "ascending and odd"),
        ({"kernels": (5, 3), "m": 1}, "ascending and odd"),
        ({"width": 0.0}, "width must be above 0 and at most 64"),
        ({"stem_stride": 3}, "stem_stride must be 1 or 2, got 3"),
    ],
)
def test_settings_that_make_no_space(settings, message):
    with pytest.raises(ValueError, match=message):
        MixPathS1(**settings)


def test_a_wrong_token_names_the_near_one():
    with pytest.raises(BadInput, match="block1 cannot be 'e6k375'; did you mean 'e6k3"):
        S1.parse("-".join(["e3k3", "e6k375", *["e3k3"] * 10]))


def test_seven_blocks_add_their_input():
    assert [at for at, site in enumerate(S1.sites) if site.residual] == [1, 3, 4, 6, 7, 9, 11]
    assert [site.side for site in S1.sites] == [32, 32, 32, 16, 16, 16, 8, 8, 8, 8, 8, 8]


@pytest.mark.parametrize(("c_out", "stride"), [(8, 1), (8, 2), (16, 1)])
def test_a_block_whose_norm_is_silent_leaves_its_input_or_nothing(c_out, stride):
    block = MultiPathBottleneck(Site(8, c_out, stride, 6, "relu6"), 3, (3, 5), 2, "linear").eval()
    for norm in block.norm.norms:
        torch.nn.init.zeros_(norm.weight)
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(block(x, (1,)), x if (c_out, stride) == (8, 1) else torch.zeros(2, c_out, 6 // stride, 6 // stride))


@pytest.mark.parametrize("option", [(3, (3,)), (6, (5,)), (6, (3, 7)), (3, (3, 5, 7))])
def test_a_choice_computes_what_the_block_alone_does(option):
    """The stand-alone bottleneck with the supernet's weights, and the norm of that number of paths, has the same output."""
    kernels, (rate, chosen) = (3, 5, 7), option
    options = MixPathS1(m=3, kernels=kernels).options
    site, x = Site(8, 8, 1, 6, "relu6"), torch.randn(4, 8, 6, 6)
    choice = MultiPathChoice(site, options, kernels, 3, "linear")
    choice(x, options.index(option))  # moves the running statistics away from zero and one
    alone = MultiPathBottleneck(site, rate, chosen, len(chosen), "vanilla")
    shared = choice.rates[(3, 6).index(rate)]
    alone.expand.load_state_dict(shared.expand.state_dict())
    alone.project.load_state_dict(shared.project.state_dict())
    for path, kernel in zip(alone.paths, chosen, strict=True):
        path.load_state_dict(shared.paths[kernels.index(kernel)].state_dict())
    alone.norm.norms[0].load_state_dict(shared.norm.norms[len(chosen) - 1].state_dict())
    assert torch.equal(choice.eval()(x, options.index(option)), alone.eval()(x))
