"""Once-for-all's MobileNetV3: counts of published networks and by hand, spellings, depths, graphs, latencies, small runs."""

import random
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_suite.chain import Site, divisible
from nas_suite.cost import cost, count
from nas_suite.elastic import bottleneck, quarter_bottleneck, separable_bottleneck
from nas_suite.errors import BadInput
from nas_suite.importers import luts
from nas_suite.latency.conditions import Conditions
from nas_suite.layers import SqueezeExcite, conv_block
from nas_suite.spaces.mobilenetv3 import MobileNetV3, classifier, mix_channels
from nas_suite.supernet import start_as_identity

SPACE, WIDE = MobileNetV3(), MobileNetV3(width=1.2)
TINY = MobileNetV3(width=0.25, image_size=16, classes=10, small=True)
LEAST, MOST = "/".join(["k3e3_k3e3"] * 5), "/".join(["k7e6_k7e6_k7e6_k7e6"] * 5)

# The stages once more, written out: channels, stride, hard swish or ReLU, squeeze-excite or not.
STAGES = [(24, 2, "relu", 0), (40, 2, "relu", 1), (80, 2, "hswish", 0), (112, 1, "hswish", 1), (160, 2, "hswish", 1)]
WIDER = {16: 24, 24: 32, 40: 48, 80: 96, 112: 136, 160: 192, 960: 1152, 1280: 1536}
"""Channels at width 1.2 (once-for-all, ofa/tutorial/latency_table.py)."""


def rounded(channels: float) -> int:
    """`make_divisible(…, 8)` in whole eighths: the nearest, but the next one where that is less than nine tenths."""
    eighths = max(1, round(channels / 8 + 1e-9))
    return 8 * (eighths + (eighths * 8 < 0.9 * channels))


def block(c: int, o: int, width: int, kernel: int, side: int, after: int, excited: int) -> tuple[int, int]:
    """Parameters and multiply-adds of expansion (none where it would change nothing), depthwise convolution, squeeze-excite
    with a quarter inside and projection, each convolution with its batch norm."""
    hidden = rounded(width // 4) * excited
    expand = c * width if width != c else 0
    attention = 2 * width * hidden
    parameters = expand + 2 * width * bool(expand) + (kernel**2 + 2) * width + attention + (hidden + width) * excited
    parameters += width * o + 2 * o
    return parameters, expand * side**2 + after**2 * (kernel**2 * width + width * o) + attention


def by_hand(text: str, side: int = 224, wider: bool = False) -> tuple[int, int]:
    """Parameters and multiply-adds of an architecture with 1,000 classes."""
    at = (lambda c: WIDER[c]) if wider else (lambda c: c)
    c, side = at(16), -(-side // 2)
    found = [(27 * c + 2 * c, 27 * c * side**2), block(c, c, c, 3, side, side, 0)]
    for (channels, stride, _, excited), row in zip(STAGES, text.split("/"), strict=True):
        for number, token in enumerate(row.split("_")):
            after = -(-side // stride) if number == 0 else side
            found.append(block(c, at(channels), int(token[3]) * c, int(token[1]), side, after, excited))
            c, side = at(channels), after
    expanded, mixed = at(960), at(1280)
    found.append((c * expanded + 2 * expanded, c * expanded * side**2))
    found.append((expanded * mixed + mixed * 1000 + 1000, expanded * mixed + mixed * 1000))
    return sum(p for p, _ in found), sum(m for _, m in found)


def totals(space: MobileNetV3, text: str) -> tuple[float, float]:
    arch = space.parse(text)
    return cost("params", space).total(arch), cost("macs", space).total(arch)


# --- counts


@pytest.mark.parametrize(
    ("text", "golden"), [(LEAST, (3_410_792, 121_278_672)), (MOST, (7_664_760, 566_170_656))], ids=["least", "most"]
)
def test_the_smallest_and_the_largest_network(text: str, golden: tuple[int, int]) -> None:
    """The largest is what once-for-all trains first: 7.6 million parameters in MMRazor's table of its network
    (open-mmlab/mmrazor, configs/nas/mmcls/onceforall/README.md), which cuts off what follows."""
    assert totals(SPACE, text) == by_hand(text) == golden


def test_any_network() -> None:
    rng = random.Random(3)
    for side in (224, 152, 97):
        for space, wider in ((MobileNetV3(image_size=side), False), (MobileNetV3(image_size=side, width=1.2), True)):
            text = space.describe(space.sample(rng))
            assert totals(space, text) == by_hand(text, side, wider)


def test_the_published_network_of_595_million_multiply_adds() -> None:
    """`flops@595M_top1@80.0_finetune@75` of once-for-all's specialised networks, at 236 px and width 1.2 (its net.config and
    run.config, as in Alibaba-MIIL/ImageNet21K); 9.1 million parameters."""
    text = "k3e3_k5e4_k3e3/k5e4_k5e4_k3e6_k5e3/k7e6_k5e6_k3e3_k5e4/k3e6_k5e6_k7e6_k3e4/k3e6_k3e6_k5e6_k3e3"
    assert totals(MobileNetV3(width=1.2, image_size=236), text) == (9_135_928, 595_189_032)


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("k5e3_k3e3/k5e4_k5e3/k3e4_k3e4_k5e4/k3e4_k5e3_k7e4/k3e6_k3e3_k5e3_k5e3", 4.6),
        ("k3e3_k3e3/k5e3_k5e3/k7e4_k3e3/k5e3_k3e4/k3e6_k7e6", 4.3),
    ],
    ids=["note8_lat@31ms", "note8_lat@22ms"],
)
def test_parameters_of_two_more_published_networks(text: str, published: float) -> None:
    """Once-for-all's networks for the Samsung Note 8, in millions (MMRazor, as above, and its OFA_SUBNET_NOTE8_LAT*.yaml)."""
    assert round(totals(SPACE, text)[0] / 1e6, 1) == published


# MobileNetV3-Large (Howard et al. 2019, table 1): kernel, inner channels, channels, squeeze-excite, activation, stride.
LARGE = [
    (3, 64, 24, 0, "relu", 2), (3, 72, 24, 0, "relu", 1),
    (5, 72, 40, 1, "relu", 2), (5, 120, 40, 1, "relu", 1), (5, 120, 40, 1, "relu", 1),
    (3, 240, 80, 0, "hswish", 2), (3, 200, 80, 0, "hswish", 1), (3, 184, 80, 0, "hswish", 1), (3, 184, 80, 0, "hswish", 1),
    (3, 480, 112, 1, "hswish", 1), (3, 672, 112, 1, "hswish", 1),
    (5, 672, 160, 1, "hswish", 2), (5, 960, 160, 1, "hswish", 1), (5, 960, 160, 1, "hswish", 1),
]  # fmt: skip


def test_the_blocks_make_mobilenetv3_large() -> None:
    """It is not in the space, whose expansions are whole, but of its blocks. torchvision's mobilenet_v3_large has 5,483,032
    parameters (its documentation, num_params), and the paper's checkpoint takes 217 million multiply-adds (that of
    tf.keras.applications.MobileNetV3Large). torchvision gives the last convolution a bias, which once-for-all's has not: 1,280
    more."""
    blocks = [conv_block(3, 16, 3, 2, 224, "hswish"), separable_bottleneck(Site(16, 16, 1, 112, "relu"))]
    c_in, side = 16, 112
    for kernel, width, c_out, excited, act, stride in LARGE:
        site = Site(c_in, c_out, stride, side, act)
        blocks.append(quarter_bottleneck(site, kernel, width) if excited else bottleneck(site, kernel, width, 0))
        c_in, side = c_out, -(-side // stride)
    assert (c_in, side) == (160, 7)
    counts = [count(part.build(), part.input) for part in blocks]
    counts += [count(conv_block(160, 960, 1, 1, 7, "hswish").build(), (160, 7, 7))]
    counts += [count(mix_channels(960, 1280), (960, 1, 1)), count(classifier(1280, 1000), (1280, 1, 1))]
    assert sum(c.parameters for c in counts) + 1280 == 5_483_032
    assert round(sum(c.macs for c in counts) / 1e6) == 217


@pytest.mark.parametrize(("channels", "near"), [(19.2, 24), (28.8, 32), (134.4, 136), (18, 24), (4, 8), (30, 32), (20, 24)])
def test_channels_are_rounded_as_published(channels: float, near: int) -> None:
    assert divisible(channels) == rounded(channels) == near


def test_channels_at_the_published_widths() -> None:
    for space, at in ((SPACE, {c: c for c in WIDER}), (WIDE, WIDER)):
        assert [row[0].c_out for row in space.sites] == [at[c] for c, *_ in STAGES]
        assert [block.input[0] for block in space.head()] == [at[160], at[960], at[960], at[1280]]
        assert space.stem()[1].input == (at[16], 112, 112)


def test_layers_are_the_published_ones() -> None:
    """Activations, residuals, and squeeze-excite with ReLU and hard sigmoid, stage by stage."""
    names = {torch.nn.ReLU: "relu", torch.nn.Hardswish: "hswish"}
    for (channels, stride, act, excited), stage in zip(STAGES, range(5), strict=True):
        for at in range(4):
            built: Any = SPACE.option(stage, at, 8).build()
            assert names[type(built.expand[2])] == names[type(built.filter[2])] == act
            assert built.filter[0].stride == ((stride, stride) if at == 0 else (1, 1))
            assert (built.residual, len(built.project)) == (at > 0, 2)
            assert isinstance(built.excite, SqueezeExcite) == bool(excited)
            if excited:
                assert type(built.excite.act) is torch.nn.ReLU
                assert built.excite.reduce.out_channels == rounded(built.excite.reduce.in_channels // 4)
                assert built.project[0].out_channels == channels
    head = torch.nn.Sequential(*(block.build() for block in SPACE.head()))
    assert [type(part) for part in head.modules() if isinstance(part, torch.nn.Hardswish)] == [torch.nn.Hardswish] * 2
    assert [part.num_features for part in head.modules() if isinstance(part, torch.nn.BatchNorm2d)] == [960]
    assert next(iter(SPACE.stem()[0].build().children())).stride == (2, 2)


def test_a_hard_squeeze_excite_gates_by_the_piecewise_linear_sigmoid() -> None:
    x = torch.ones(1, 3, 2, 2)
    gate = SqueezeExcite(3, 8, "relu", hard=True)
    with torch.no_grad():
        gate.expand.weight.zero_()
        gate.expand.bias = torch.nn.Parameter(torch.tensor([-4.0, 1.5, 4.0]))  # relu6(x + 3) / 6
        assert torch.allclose(gate(x)[0, :, 0, 0], torch.tensor([0.0, 0.75, 1.0]))


# --- spellings


def test_there_are_2e19_networks() -> None:
    """More than 10^19, it is said (Cai et al., abstract); ((3·3)² + (3·3)³ + (3·3)⁴)⁵ (section 3.2)."""
    assert SPACE.size() == ((3 * 3) ** 2 + (3 * 3) ** 3 + (3 * 3) ** 4) ** 5 == 21_758_655_492_572_485_851


def test_blocks_that_do_not_run_are_folded() -> None:
    arch = SPACE.parse("k5e6_k3e4/k3e3_k3e3_k7e6/k3e3_k3e3/k3e3_k3e3/k3e3_k3e3_k3e3_k3e4")
    assert arch[:5] == (0, 5, 1, 0, 0)
    other = (*arch[:3], 7, 8, *arch[5:])
    assert SPACE.canonical(other) == arch
    assert SPACE.describe(other) == SPACE.describe(arch)
    assert cost("macs", SPACE).total(other) == cost("macs", SPACE).total(arch)
    near = list(SPACE.neighbours(arch))
    assert len(near) == 5 * 2 + 8 * (2 + 3 + 2 + 2 + 4)  # another depth of each stage, another option of what runs
    assert all(sum(one != two for one, two in zip(arch, each, strict=True)) >= 1 for each in near)


def test_samples_draw_depths_and_options_alike() -> None:
    rng = random.Random(0)
    rows = [row for _ in range(3000) for row in SPACE.rows(SPACE.draw(rng))]
    depths, options = Counter(map(len, rows)), Counter(option for row in rows for option in row)
    assert set(depths) == {2, 3, 4}
    assert all(abs(n * 3 / len(rows) - 1) < 0.05 for n in depths.values())
    assert len(options) == 9
    assert all(abs(n * 9 / options.total() - 1) < 0.05 for n in options.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k3e3_k3e3", "has 1 stage between '/'; this space has 5; an example: k"),
        (LEAST.replace("k3e3_k3e3", "k3e3", 1), "stage 0 cannot be 'k3e3': its number of blocks is 2 or 3 or 4, not 1"),
        (LEAST + "_k3e3_k3e3_k3e3", "stage 4 cannot be"),
        (LEAST.replace("k3e3", "k9e3", 1), "stage0.block0 cannot be 'k9e3'"),
    ],
)
def test_texts_that_spell_nothing(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        SPACE.parse(text)


# --- supernet


def test_a_network_computes_what_the_supernet_does_with_its_weights() -> None:
    torch.manual_seed(0)
    supernet: Any = TINY.supernet("vanilla").eval()
    for seed in range(3):
        arch = TINY.sample(random.Random(seed))
        network = TINY.network(arch).eval()
        chosen = [
            supernet.choices[stage][at].options[option]
            for stage, row in enumerate(TINY.rows(arch))
            for at, option in enumerate(row)
        ]
        network.load_state_dict(torch.nn.Sequential(*supernet.stem, *chosen, *supernet.head).state_dict())
        x = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            assert torch.equal(supernet(x, arch), network(x))


def test_a_soft_depth_weighs_the_last_blocks() -> None:
    torch.manual_seed(1)
    supernet = TINY.supernet("vanilla").eval()
    supernet.head = torch.nn.Flatten()  # features are linear in the weights of the last stage's depth
    archs = [TINY.parse("/".join(["k3e3_k3e3"] * 4 + ["_".join(["k5e4"] * depth)])) for depth in (2, 3, 4)]
    weights, x = torch.tensor([0.2, 0.5, 0.3]), torch.randn(2, 3, 16, 16)
    path = [*archs[-1][:20], weights, *archs[-1][21:]]
    with torch.no_grad():
        wanted = sum(weight * supernet(x, arch) for weight, arch in zip(weights, archs, strict=True))
        torch.testing.assert_close(supernet(x, path), wanted)
    macs = cost("macs", TINY)
    expected = sum(float(weight) * macs.total(arch) for weight, arch in zip(weights, archs, strict=True))
    assert float(macs(path)) == pytest.approx(expected, rel=1e-6)


def test_options_begin_alike_and_residual_blocks_as_nothing_where_asked() -> None:
    """Of one expansion, squeeze-excite apart, whose weights are drawn for each."""
    torch.manual_seed(2)
    supernet: Any = TINY.supernet("vanilla").eval()
    first, last, x = supernet.choices[0][0], supernet.choices[2][1], torch.randn(2, 8, 16, 16)
    with torch.no_grad():
        for rate in range(3):
            outputs = [first(x, 3 * kernel + rate) for kernel in range(3)]
            torch.testing.assert_close(outputs[1], outputs[0])
            torch.testing.assert_close(outputs[2], outputs[0])
        assert torch.equal(first.options[0].expand[0].weight, first.options[2].expand[0].weight[:24])
        start_as_identity(supernet)
        y = torch.randn(2, 24, 4, 4)
        assert all(torch.equal(last(y, option), y) for option in range(9))
        assert not torch.allclose(first(x, 0), torch.zeros(()))


def test_the_supernet_holds_all_nine_options_of_all_twenty_blocks() -> None:
    with torch.device("meta"):
        held = sum(p.numel() for p in SPACE.supernet("linear").parameters())
    ends = sum(cost("params", SPACE).of(part) for part in (*SPACE.stem(), *SPACE.head()))
    c = 16
    for channels, _, _, excited in STAGES:
        for source in (c, *[channels] * 3):
            ends += sum(block(source, channels, rate * source, k, 1, 1, excited)[0] for rate in (3, 4, 6) for k in (3, 5, 7))
        c = channels
    assert held == ends


@pytest.mark.parametrize(
    ("settings", "sides"),
    [
        ({}, [112, 56, 28, 14, 14, 7]),
        ({"image_size": 32, "stem_stride": 1}, [32, 16, 8, 4, 4, 2]),
        ({"image_size": 32, "small": True}, [32, 32, 16, 8, 8, 4]),
        ({"image_size": 8}, [4, 2, 1, 1, 1, 1]),
    ],
)
def test_sides(settings: dict[str, Any], sides: list[int]) -> None:
    space = MobileNetV3(**settings)
    assert [*(row[0].side for row in space.sites), space.sites[-1][-1].side] == sides


def test_the_sketch_names_what_runs() -> None:
    sketch = SPACE.sketch(SPACE.parse("k5e6_k3e4/k3e3_k3e3_k7e6/k3e3_k3e3/k3e3_k3e3/k3e3_k3e3"))
    parts = {part.name: part for part in sketch.parts}
    assert list(parts)[:5] == ["stem", "stem1", "stage0.0", "stage0.1", "stage1.0"]
    assert (parts["stage0.0"].operations, parts["stage0.0"].expansion, parts["stage0.0"].residual) == (("5×5",), 6, False)
    assert (parts["stage1.2"].operations, parts["stage1.2"].residual) == (("7×7 se",), True)
    assert (parts["head"].input, parts["head"].output) == ((160, 7, 7), (1000, 1, 1))
    assert len(parts) == 3 + 11


# --- graphs and latencies


def test_graphs_as_metad2a_numbers_them() -> None:
    """Node types are depth, kernel, expansion in this order, after input and output: (2, 3, 3) is 2, (4, 7, 6) is 28
    (HayeonLee/MetaD2A, MetaD2A_mobilenetV3/utils.py:40-48)."""
    assert len(SPACE.node_types) == 29
    assert SPACE.spelt_graph(SPACE.parse(MOST)).types == (0, *[28] * 20, 1)
    arch = list(SPACE.parse(LEAST))
    arch[4] = 5  # a block that does not run: kernel 5, expansion 6
    spelt, graph = SPACE.spelt_graph(tuple(arch)), SPACE.graph(tuple(arch))
    assert spelt.types == (0, 2, 2, 2, 7, *[2] * 16, 1)
    assert spelt.edges == tuple((v, v + 1) for v in range(21))
    assert graph.types == (0, *[2] * 10, 1)
    deeper = SPACE.graph(SPACE.parse("k3e3_k3e3_k3e4/" + LEAST.split("/", 1)[1]))
    assert deeper.types == (0, 11, 11, 12, *[2] * 8, 1)


KEY = "expanded_conv-input:{0}x{0}x{1}-output:{2}x{2}x{3}-expand:{4}-kernel:{5}-stride:{6}-idskip:{7}-se:{8}-hs:{9}"


def note10_sum(lines: list[str], text: str, side: int) -> float:
    """Once-for-all's own way through its tables (ofa/tutorial/latency_table.py): a key a block, their means summed."""
    means = {line[:-1]: float(lines[at + 2].split()[1]) for at, line in enumerate(lines) if not line.startswith(" ")}
    half = (side + 1) // 2
    keys = [f"Conv-input:{side}x{side}x3-output:{half}x{half}x24", KEY.format(half, 24, half, 24, 24, 3, 1, 1, 0, 0)]
    c, side = 24, half
    for (channels, stride, act, se), row in zip(STAGES, text.split("/"), strict=True):
        for at, token in enumerate(row.split("_")):
            step, o = stride if at == 0 else 1, WIDER[channels]
            after = (side - 1) // step + 1
            hs = int(act == "hswish")
            keys.append(KEY.format(side, c, after, o, int(token[3]) * c, token[1], step, int(at > 0), se, hs))
            c, side = o, after
    keys += [f"Conv_1-input:{side}x{side}x192-output:{side}x{side}x1152", f"AvgPool2D-input:{side}x{side}x1152-output:1x1x1152"]
    keys += ["Conv_2-input:1x1x1152-output:1x1x1536", "Logits-input:1x1x1536-output:1000"]
    return sum(means[key] for key in keys)


def test_once_for_alls_latency_tables_price_its_space(shared_data: Path, tmp_path: Path) -> None:
    """All 17 tables of the Samsung Note 10 hold every block of the space at width 1.2, and sum to what their makers sum."""
    with tarfile.open(shared_data / "luts" / "ofa_note10_latency_tables.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    rng = random.Random(5)
    for file in sorted((tmp_path / "ofa_note10").glob("*.yaml")):
        side = int(file.name.split("_")[0])
        space = MobileNetV3(width=1.2, image_size=side)
        latency = luts.read(file, "ms", Conditions("Samsung Note10", 1)).cost(space)
        for text in (LEAST, MOST, space.describe(space.sample(rng))):
            wanted = note10_sum(file.read_text().splitlines(), text, side)
            assert latency.total(space.parse(text)) == pytest.approx(wanted, rel=1e-9)
