"""MixPath's S2 and S3 as designed here: their own golden counts, held against arithmetic that shares no code with them."""

import random
from collections import Counter

import pytest
import torch

from nas_suite.chain import Separable, Site
from nas_suite.cost import cost, count
from nas_suite.spaces.mixpath_s2 import MixPathS2
from nas_suite.spaces.mixpath_s3 import MixedBottleneck, MixedChoice, MixPathS3, mixed_block, shares

S2, S3 = MixPathS2(), MixPathS3()
KERNELS = (3, 5, 7, 9)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# The layouts once more, written out: (channels in, out, side of the features that enter, side of those that leave).
S2_SITES = [
    (16, 24, 112, 56), (24, 24, 56, 56),
    (24, 40, 56, 28), (40, 40, 28, 28), (40, 40, 28, 28),
    (40, 80, 28, 14), (80, 80, 14, 14), (80, 80, 14, 14), (80, 80, 14, 14),
    (80, 112, 14, 14), (112, 112, 14, 14),
    (112, 160, 14, 7), (160, 160, 7, 7), (160, 160, 7, 7),
    (160, 320, 7, 7),
]  # fmt: skip
# And for S3 the hidden channels of squeeze-excite.
S3_SITES = [
    (24, 32, 112, 56, 0), (32, 32, 56, 56, 0),
    (32, 40, 56, 28, 16), (40, 40, 28, 28, 20), (40, 40, 28, 28, 20), (40, 40, 28, 28, 20),
    (40, 80, 28, 14, 10), (80, 80, 14, 14, 20), (80, 80, 14, 14, 20), (80, 80, 14, 14, 20),
    (80, 120, 14, 14, 40), (120, 120, 14, 14, 60), (120, 120, 14, 14, 60), (120, 120, 14, 14, 60),
    (120, 200, 14, 7, 60), (200, 200, 7, 7, 100), (200, 200, 7, 7, 100), (200, 200, 7, 7, 100),
]  # fmt: skip


def s2_block(c: int, o: int, side: int, after: int, rate: int, kernels: tuple[int, ...], norms: int = 1) -> tuple[int, int]:
    """Parameters and multiply-adds: expansion, depthwise kernels with a batch norm each, projection, batch norms of sums."""
    middle = rate * c
    parameters = c * middle + 2 * middle + sum((k * k + 2) * middle for k in kernels) + middle * o + 2 * o * norms
    return parameters, side**2 * c * middle + after**2 * middle * (sum(k * k for k in kernels) + o)


def s2_ends() -> tuple[int, int]:
    """Stem 3→32, depthwise 3×3 and 1×1 to 16, head 320→1280→1000."""
    stem, first = (27 * 32, 64), (9 * 32 + 32 * 16, 64 + 32)
    parameters = sum(stem) + sum(first) + 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    return parameters, 112**2 * (stem[0] + first[0]) + 49 * 320 * 1280 + 1280 * 1000


def s3_block(c: int, o: int, side: int, after: int, hidden: int, rate: int, mixture: tuple[int, ...]) -> tuple[int, int]:
    """Parameters and multiply-adds, `mixture` being the kernel of each quarter of the middle channels."""
    middle = rate * c
    attention = 2 * middle * hidden + hidden + middle if hidden else 0
    depthwise = sum(k * k * middle // 4 for k in mixture)
    parameters = c * middle + 2 * middle + depthwise + 2 * middle + attention + middle * o + 2 * o
    return parameters, side**2 * c * middle + after**2 * (depthwise + middle * o) + 2 * middle * hidden


def s3_ends() -> tuple[int, int]:
    """Stem 3→24, depthwise 3×3 and 1×1 within 24, head 200→1536→1000."""
    stem, first = (27 * 24, 48), (9 * 24 + 24 * 24, 48 + 48)
    parameters = sum(stem) + sum(first) + 200 * 1536 + 2 * 1536 + 1536 * 1000 + 1000
    return parameters, 112**2 * (stem[0] + first[0]) + 49 * 200 * 1536 + 1536 * 1000


def totals(space, token: str) -> tuple[float, float]:
    arch = space.parse("-".join([token] * len(space.variables)))
    return cost("params", space).total(arch), cost("macs", space).total(arch)


def parameters(space, norm: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in space.supernet(norm).parameters())


@pytest.mark.parametrize(
    ("token", "rate", "kernels", "golden"),
    [
        ("e3k3", 3, (3,), (2_654_240, 186_267_152)),
        ("e6k79", 6, (7, 9), (4_501_976, 568_798_784)),
        ("e6k59", 6, (5, 9), None),
    ],
    ids=["smallest", "largest", "another"],
)
def test_s2_network(token, rate, kernels, golden):
    blocks = [s2_block(*site, rate, kernels) for site in S2_SITES]
    by_hand = tuple(map(sum, zip(s2_ends(), *blocks, strict=True)))
    assert totals(S2, token) == by_hand
    assert golden in (None, by_hand)


@pytest.mark.parametrize(
    ("token", "rate", "mixture", "golden"),
    [
        ("e3g3333", 3, (3, 3, 3, 3), (3_840_838, 267_077_712)),
        ("e6g9999", 6, (9, 9, 9, 9), (6_540_382, 703_054_752)),
        ("e3g3579", 3, (3, 5, 7, 9), None),
    ],
    ids=["smallest", "largest", "another"],
)
def test_s3_network(token, rate, mixture, golden):
    blocks = [s3_block(*site, rate, mixture) for site in S3_SITES]
    by_hand = tuple(map(sum, zip(s3_ends(), *blocks, strict=True)))
    assert totals(S3, token) == by_hand
    assert golden in (None, by_hand)


@pytest.mark.parametrize(
    ("m", "norm", "golden"), [(2, "linear", 6_326_168), (4, "linear", 6_338_264), (4, "vanilla", 6_320_120)]
)
def test_s2_supernet(m, norm, golden):
    norms = m if norm == "linear" else 1
    blocks = [s2_block(*site, rate, KERNELS, norms)[0] for site in S2_SITES for rate in (3, 6)]
    assert parameters(MixPathS2(m=m), norm) == golden == s2_ends()[0] + sum(blocks)


def test_s3_supernet():
    """Every group has all four kernels, each with a batch norm: 164 weights and eight norm parameters a middle channel."""
    blocks = 0
    for c, o, _, _, hidden in S3_SITES:
        for middle in (3 * c, 6 * c):
            attention = 2 * middle * hidden + hidden + middle if hidden else 0
            blocks += c * middle + 2 * middle + (9 + 25 + 49 + 81 + 8) * middle + attention + middle * o + 2 * o
    assert parameters(S3, "linear") == 10_208_380 == s3_ends()[0] + blocks


@pytest.mark.parametrize(
    ("space", "options", "blocks"),
    [(MixPathS2(m=1), 8, 15), (S2, 20, 15), (MixPathS2(m=3), 28, 15), (MixPathS2(m=4), 30, 15), (S3, 70, 18)],
)
def test_size(space, options, blocks):
    assert [len(v.options) for v in space.variables] == [options] * blocks
    assert space.size() == options**blocks


@pytest.mark.parametrize("space", [S2, S3])
def test_blocks_count_what_the_network_holds(space):
    arch = space.sample(random.Random(5))
    with torch.device("meta"):
        counts = count(space.network(arch), (3, 224, 224))
    assert (counts.parameters, counts.macs) == (cost("params", space).total(arch), cost("macs", space).total(arch))


def test_s2_draw():
    rng = random.Random(0)
    drawn = [S2.options[option] for _ in range(2000) for option in S2.draw(rng)]
    sizes = Counter(len(kernels) for _, kernels in drawn)
    assert sorted(sizes) == [1, 2]
    assert abs(sizes[2] / len(drawn) - 0.5) < 0.01


def test_s3_draw_reaches_all_options_alike():
    rng = random.Random(0)
    drawn = Counter(option for _ in range(5000) for option in S3.draw(rng))
    assert len(drawn) == 70
    assert all(abs(n * 70 / drawn.total() - 1) < 0.15 for n in drawn.values())


@pytest.mark.parametrize(("channels", "groups", "parts"), [(24, 4, [6, 6, 6, 6]), (24, 5, [8, 4, 4, 4, 4]), (7, 1, [7])])
def test_shares(channels, groups, parts):
    """The remainder goes to the first (timm layers/mixed_conv2d.py)."""
    assert shares(channels, groups) == parts


def test_groups_have_their_kernels():
    block = mixed_block(Site(8, 16, 2, 9, "swish"), 3, (3, 3, 7), 0.5)
    paths = [(conv[0].in_channels, conv[0].kernel_size[0]) for conv in block.build().paths.values()]
    assert paths == [(8, 3), (8, 3), (8, 7)]
    assert block.build()(torch.randn(2, *block.input)).shape == (2, 16, 5, 5)


@pytest.mark.parametrize("ratio", [0.0, 0.25])
def test_a_choice_computes_what_the_block_alone_does(ratio):
    """The stand-alone bottleneck with the supernet's weights has the supernet's output."""
    options = ((3, (3, 5)), (6, (3, 3)), (6, (5, 5)))
    site = Site(8, 8, 1, 6, "swish")
    choice, x = MixedChoice(site, options, (3, 5), ratio).eval(), torch.randn(2, 8, 6, 6)
    for at, (rate, mixture) in enumerate(options):
        alone = MixedBottleneck(site, rate, [(k,) for k in mixture], ratio).eval()
        shared = choice.rates[(3, 6).index(rate)].state_dict()
        alone.load_state_dict({name: shared[name] for name in alone.state_dict()})
        assert torch.equal(choice(x, at), alone(x))


def test_squeeze_excite_scales_channels():
    site = Site(8, 8, 1, 6, "swish")
    with_attention, x = MixedBottleneck(site, 3, [(3,), (5,)], 0.5).eval(), torch.randn(2, 8, 6, 6)
    before = with_attention(x)
    torch.nn.init.constant_(with_attention.excite.expand.bias, -30.0)
    torch.nn.init.zeros_(with_attention.excite.expand.weight)
    assert torch.allclose(with_attention(x), x, atol=1e-5)
    assert not torch.allclose(before, x, atol=1e-2)


@pytest.mark.parametrize("c_out", [8, 16])
def test_the_fixed_first_block_adds_its_input_where_channels_allow(c_out):
    block, x = Separable(8, c_out, "relu6").eval(), torch.randn(2, 8, 6, 6)
    torch.nn.init.zeros_(block.body[1][1].weight)
    assert torch.equal(block(x), x if c_out == 8 else torch.zeros(2, 16, 6, 6))


@pytest.mark.parametrize("space", [MixPathS2, MixPathS3])
def test_small_images(space):
    small = space(width=0.25, image_size=32, stem_stride=1, channels=1, classes=7)
    arch, x = small.sample(random.Random(0)), torch.randn(2, 1, 32, 32)
    assert small.supernet("linear")(x, arch).shape == small.network(arch)(x).shape == (2, 7)
    assert small.sites[0].side == 32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixPathS2(m=5), "m must be 1 to 4"),
        (lambda: MixPathS2(kernels=(3, 6)), "ascending and odd"),
        (lambda: MixPathS3(groups=0), "groups must be 1 to 8"),
        (lambda: MixPathS3(kernels=()), "ascending and odd"),
        (lambda: MixPathS3(image_size=4), "image_size must be 8 to 4096, got 4"),
    ],
)
def test_settings_that_make_no_space(make, message):
    with pytest.raises(ValueError, match=message):
        make()
