"""TF-NAS's space: the published network's counts, the sizes of specs/tfnas.md 1, its text, and the control with skips."""

import itertools
import math
import random
from collections import Counter

import pytest
import torch

from nas_suite.cost import cost, count, counts
from nas_suite.engine import Compute
from nas_suite.errors import BadInput
from nas_suite.layers import SqueezeExcite
from nas_suite.oneshot import Scoring
from nas_suite.search import mutated
from nas_suite.space import Arch
from nas_suite.spaces import SPACES
from nas_suite.spaces.tfnas import TFNAS

SPACE = TFNAS()
TINY = TFNAS(width=0.1, image_size=16, classes=10, small=True)
TF_NAS_A = "5w83_3w128/5w138_1w297_7w170/7w248_1w500_1w424_1w477/5w504_1w796_5w723_5w555/1w813_1w1370_5w1138_5w1359/7w1203"
SHAPES = [  # 3.3 of the spec: side, channels, stride of the blocks of a latency table
    (112, 16, 24, 2),
    (56, 24, 24, 1),
    (56, 24, 40, 2),
    (28, 40, 40, 1),
    (28, 40, 80, 2),
    (14, 80, 80, 1),
    (14, 80, 112, 1),
    (14, 112, 112, 1),
    (14, 112, 192, 2),
    (7, 192, 192, 1),
    (7, 192, 320, 1),
]


def test_parameters_of_tf_nas_a():
    """FaceX-Zoo's listing of the widths (backbone/TF_NAS.py), at 1,000 classes."""
    assert cost("params", SPACE).total(SPACE.parse(TF_NAS_A)) == 8_757_527


def test_multiply_adds_of_tf_nas_a():
    """The README's 457 M counts, besides ours, an addition for each input of the last pooling and for each bias."""
    arch = SPACE.parse(TF_NAS_A)
    ours = cost("macs", SPACE).total(arch)
    assert ours == 456_675_855
    network = SPACE.network(arch)
    biases = sum(part.bias.numel() for part in network.modules() if isinstance(part, torch.nn.Conv2d) and part.bias is not None)
    assert ours + 1280 * 7 * 7 + biases == pytest.approx(456.75e6, abs=0.005e6)


def test_the_network_holds_what_its_blocks_count():
    arch = SPACE.parse(TF_NAS_A)
    with torch.device("meta"):
        whole = count(SPACE.network(arch), (3, 224, 224))
    assert (whole.parameters, whole.macs) == (cost("params", SPACE).total(arch), cost("macs", SPACE).total(arch))


def test_size():
    assert SPACE.size() == 34_480_447_193_088_000
    depths = [variable for variable in SPACE.variables if variable.name.endswith("depth")]
    assert [len(variable.options) for variable in depths] == [2, 3, 4, 4, 4, 1]


def test_decisions():
    assert len(SPACE.variables) == 18 + 6 + 144
    assert [len(variable.options) for variable in SPACE.variables[:18]] == [8] * 18


def test_sites_are_the_papers():
    sites = [(site.side, site.c_in, site.c_out, site.stride) for site in SPACE.sites]
    assert sorted(set(sites), reverse=True) == sorted(SHAPES, reverse=True)
    assert [site.residual for site in SPACE.sites].count(True) == 12
    assert [site.act for site in SPACE.sites] == ["relu"] * 2 + ["swish"] * 16


def test_widths_begin_at_the_expansion_and_end_a_third_off():
    """2c … 4c and 4c … 8c for all 144 pairs, c the input's channels; the squeeze-excite does not follow the width."""
    for at, site in enumerate(SPACE.sites):
        for operation in range(8):
            rate = 6 if operation % 2 else 3
            widths = SPACE.widths(at, operation)
            assert (widths[0], widths[-1], SPACE.start(at, operation)) == tuple(k * site.c_in * rate // 3 for k in (2, 4, 3))
            families = {block.family for width in (widths[0], widths[-1]) if (block := SPACE.option(at, operation, width))}
            hidden = site.c_in * rate // 3 if operation >= 4 else 0
            shape = f"mb_i{site.c_in}_o{site.c_out}_k{(3, 3, 5, 5)[operation % 4]}_s{site.stride}_r{site.side}"
            assert families == {f"{shape}_se{hidden}_{site.act}"}


def test_pieces_at_steps_of_eight():
    """2,802 points of a table (specs/tfnas.md 3.3), in 66 families, and the three blocks that every network has."""
    pieces = list(SPACE.pieces())
    points = [block for block in pieces if block.family]
    assert len(points) == len({block.key for block in points}) == 2802
    assert all(block.width % 8 == 0 and block.key == f"{block.family}_w{block.width}" for block in points)
    assert [block.key for block in pieces if not block.family] == [
        "conv_i3_o32_k3_s2_r224_relu",
        "separable_i32_o16_k3_s1_r112_se8_relu",
        "head_i320_o1280_c1000_r7_swish",
    ]
    assert len(Counter(block.family for block in points)) == 66


def test_pieces_at_a_step_that_does_not_divide_have_both_bounds():
    widths = {block.width for block in TFNAS(width_step=7).pieces() if block.family == "mb_i16_o24_k3_s2_r112_se16_relu"}
    assert sorted(widths) == [32, 39, 46, 53, 60, 64]


def test_samples_and_neighbours_keep_to_the_step_and_texts_do_not():
    arch, rng = SPACE.sample(random.Random(0)), random.Random(1)
    found = [arch, *itertools.islice(SPACE.neighbours(arch), 150), *(mutated(SPACE, arch, rng) for _ in range(100))]
    assert len({SPACE.describe(one) for one in found}) > 150
    assert all(width % 8 == 0 for one in found for width in widths_of(one))
    assert any(width % 8 for width in widths_of(SPACE.parse(TF_NAS_A)))


def widths_of(arch: Arch) -> list[int]:
    return [width for row in SPACE.rows(arch) for _, width in row]


def test_every_integer_width_is_read_and_no_other():
    tail = TF_NAS_A.partition("_")[2]
    for width in (64, 65, 127, 128):
        text = f"5w{width}_{tail}"
        assert SPACE.describe(SPACE.parse(text)) == text
    for width in (63, 129):
        with pytest.raises(
            BadInput, match=rf"block 0 cannot be '5w{width}': the width of operation 5 \(k3e6se\) is 64 to 128 there"
        ):
            SPACE.parse(f"5w{width}_{tail}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TF_NAS_A.replace("5w83", "8w83"), "block 0 cannot be '8w83': an operation, 0 to 7, 'w' and its width are due"),
        (TF_NAS_A.replace("5w83", "5x83"), "block 0 cannot be '5x83'"),
        (TF_NAS_A.replace("5w83", "5w83.0"), "block 0 cannot be '5w83.0'"),
        (TF_NAS_A.replace("5w83", "5w²"), "block 0 cannot be '5w²'"),
        (TF_NAS_A.replace("5w83", "-5w83"), "block 0 cannot be '-5w83'"),
        (TF_NAS_A.replace("5w83_3w128", ""), "block 0 cannot be ''"),
        (TF_NAS_A.replace("7w1203", "7w99999999999999999999"), "block 17 cannot be '7w99999999999999999999'"),
        (TF_NAS_A + "_7w1203", "stage 5 cannot be '7w1203_7w1203': its number of blocks is 1, not 2"),
        (TF_NAS_A + "/7w1203", "has 7 stages between '/'; this space has 6; an example: "),
        ("", "has 1 stage between"),
    ],
)
def test_text_that_is_wrong(text, message):
    with pytest.raises(BadInput) as caught:
        SPACE.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stage_may_be_shorter():
    text = TF_NAS_A.replace("5w83_3w128", "5w83").replace("_5w504_1w796_5w723_5w555", "_5w504")
    arch = SPACE.parse(text)
    assert SPACE.describe(arch) == text
    assert SPACE.canonical(arch) == arch
    assert cost("params", SPACE).total(arch) < 8_757_527


def test_what_does_not_run_is_folded():
    """Widths of operations that are not chosen, and all past the depth, change no spelling."""
    arch, rng = SPACE.parse(TF_NAS_A.replace("5w83_3w128", "5w83")), random.Random(2)
    operations, depths, widths = SPACE.split(arch)
    other = [[rng.choice(SPACE.widths(at, op)) for op in range(8)] for at in range(18)]
    for at, operation in enumerate(operations):
        other[at][operation] = widths[at][operation]
    unused = SPACE.join((operations[0], 4, *operations[2:]), depths, other)
    assert unused != arch
    assert SPACE.canonical(unused) == arch


def test_join_and_split_are_inverse():
    arch = SPACE.sample(random.Random(4))
    assert SPACE.join(*SPACE.split(arch)) == arch
    operations, depths, widths = SPACE.split(arch)
    assert all(depth in range(len(stage)) for depth, stage in zip(depths, SPACE.stages, strict=True))
    with pytest.raises(ValueError, match="block 17, operation 0: width 383 is not 384 to 768"):
        SPACE.join(operations, depths, (*widths[:17], (383, *widths[17][1:])))
    with pytest.raises(ValueError, match="block 0, operation 7: width 129 is not 64 to 128"):
        SPACE.option(0, 7, 129)


def test_every_network_has_one_spelling():
    """Two stages of up to two and three blocks, three of the operations: of 3⁵·6 spellings (3 + 9)(3 + 9 + 27) networks."""
    spellings = itertools.product(itertools.product(range(3), repeat=5), range(2), range(3))
    archs = [(*chosen, *[0] * 13, first, second, *SPACE.blank[20:]) for chosen, first, second in spellings]
    found = {SPACE.canonical(arch) for arch in archs}
    assert (len(set(archs)), len(found)) == (3**5 * 6, 12 * 39)
    assert len({SPACE.describe(arch) for arch in archs}) == len(found)
    assert all(SPACE.canonical(arch) == arch for arch in found)


def test_with_skips_for_operations_many_spellings_mean_one_network():
    """One stage of four blocks: 8·9³ = 5,832 spellings of 4,680 networks; over all stages 7.40e16 of as many as there are."""
    space = TFNAS(depth_by="skip")
    spellings = itertools.product(range(8), range(9), range(9), range(9))
    archs = [(*[0] * 5, *chosen, *[0] * 9, *space.blank[18:]) for chosen in spellings]
    assert (len(archs), len({space.canonical(arch) for arch in archs})) == (5832, 4680)
    assert space.size() == SPACE.size()
    counts = [len(variable.options) for variable in space.variables[:24]]
    assert counts == [8, 9, 8, 9, 9, *[8, 9, 9, 9] * 3, 8, *[1] * 6]
    assert f"{math.prod(counts):.2e}" == "7.40e+16"


def test_at_full_depth_all_blocks_run():
    space = TFNAS(depth_by="full")
    assert space.size() == 8**18
    assert [len(variable.options) for variable in space.variables[:24]] == [*[8] * 18, *[1] * 6]
    rng = random.Random(0)
    for arch in (space.sample(rng) for _ in range(20)):
        assert [len(row) for row in space.rows(arch)] == [2, 3, 4, 4, 4, 1]
        assert space.parse(space.describe(arch)) == space.canonical(arch) == arch
        assert cost("macs", space).total(arch) == cost("macs", SPACE).total(SPACE.parse(space.describe(arch)))
    text = space.describe(arch)
    with pytest.raises(BadInput, match="stage 0 cannot be '5w83': its number of blocks is 2, not 1"):
        space.parse("5w83" + text[text.index("/") :])


def test_skips_move_to_the_end_of_a_stage_with_their_widths():
    space = TFNAS(depth_by="skip")
    assert space.operations[8] == "skip"
    text = "5w83/5w138_1w297/0w120_1w500_2w300/0w240/0w336/0w576"
    arch = space.parse(text)
    operations, depths, widths = (list(part) for part in space.split(arch))
    assert operations[:9] == [5, 8, 5, 1, 8, 0, 1, 2, 8]
    assert depths == [1, 2, 3, 3, 3, 0]
    operations[7], operations[8] = 8, 2
    moved = [list(row) for row in widths]
    moved[8][2] = 300
    spelt = tuple(space.join(operations, depths, moved))
    assert spelt != arch
    assert space.canonical(spelt) == arch
    assert space.describe(arch) == text
    assert space.widths(8, 8) == range(0)
    assert space.start(8, 8) == 0
    assert space.option(8, 8, 0) is None


def test_a_skip_runs_nothing_and_costs_nothing():
    space = TFNAS(width=0.1, image_size=16, classes=10, small=True, depth_by="skip")
    torch.manual_seed(0)
    supernet, x = space.supernet("linear"), torch.randn(4, 3, 16, 16)
    operations, depths, widths = space.split(space.parse("1w48_1w48/1w48/1w48/1w48/1w48/1w96"))
    sink = TFNAS(width=0.1, image_size=16, classes=10, small=True)
    twin = sink.supernet("linear")
    twin.load_state_dict(supernet.state_dict())
    path, text = space.join(operations, depths, widths), "1w48_1w48/1w48/1w48/1w48/1w48/1w96"
    assert torch.equal(supernet(x, path), twin(x, sink.parse(text)))
    assert cost("macs", space).total(tuple(path)) == cost("macs", sink).total(sink.parse(text))
    soft = [torch.nn.functional.one_hot(torch.tensor(op), len(space.variables[at].options)) for at, op in enumerate(operations)]
    mixed = space.join([weights.float() for weights in soft], depths, widths)
    torch.testing.assert_close(supernet(x, mixed), supernet(x, path), rtol=1e-3, atol=1e-3)


def test_shares_of_soft_depths():
    """A block's weight is the share of depths that reach it times its operation's."""
    operations, _, widths = TINY.split(TINY.sample(random.Random(5)))
    beta = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    alpha = torch.tensor([0.3, 0.7, *[0.0] * 6], dtype=torch.float64)
    path = TINY.join((*operations[:6], alpha, *operations[7:]), [0, 0, beta, 0, 0, 0], widths)
    weights = [float(weight) for weight, _ in TINY.blocks(path)]
    assert weights == pytest.approx([1, 1, 1, 1, 1.0, 0.9 * 0.3, 0.9 * 0.7, *[0.0] * 6, 0.7, 0.4, 1, 1, 1, 1])


def test_expected_cost_is_differentiable_and_linear():
    operations, depths, widths = TINY.split(TINY.sample(random.Random(6)))
    total = cost("macs", TINY)
    alpha = torch.full((8,), 1 / 8, dtype=torch.float64, requires_grad=True)
    expected = total(TINY.join((alpha, *operations[1:]), depths, widths))
    each = [total.total(tuple(TINY.join((op, *operations[1:]), depths, widths))) for op in range(8)]
    assert float(expected.detach()) == pytest.approx(sum(each) / 8, rel=1e-12)
    (gradient,) = torch.autograd.grad(expected, alpha)
    assert (gradient - gradient[0]).tolist() == pytest.approx([value - each[0] for value in each])


def test_without_squeeze_excite():
    space = TFNAS(se=False)
    assert space.operations == ("k3e3", "k3e6", "k5e3", "k5e6")
    assert not any(isinstance(part, SqueezeExcite) for part in space.network(space.sample(random.Random(0))).modules())
    assert "_se0_" in space.stem()[1].key
    assert len({block.key for block in space.pieces() if block.family}) == sum(
        2 * (6 * c // 8 + 1) for c in (16, 24, 24, 40, 40, 80, 80, 112, 112, 192, 192)
    )


@pytest.mark.parametrize("act", ["relu", "relu6", "swish", "none"])
def test_one_activation_for_all(act):
    space = TFNAS(act=act)
    assert {site.act for site in space.sites} == {act}
    assert all(block.key.endswith(f"_{act}") for block in (*space.stem(), space.head()))
    assert not [block for block in space.pieces() if f"_{act}" not in block.key]


def test_small_images():
    space = TFNAS(image_size=32, classes=10, small=True)
    assert [site.side for site in space.sites] == [32] * 3 + [16] * 3 + [8] * 8 + [4] * 4
    assert space.network(space.sample(random.Random(0))).eval()(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    assert space.size() == SPACE.size()


def test_a_width_multiplier_scales_channels_and_ranges():
    space = TFNAS(width=0.5)
    assert [site.c_in for site in space.sites][:3] == [8, 16, 16]
    assert space.widths(0, 1) == range(32, 65)
    assert space.head().input[0] == 160


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width_step": 0}, "width_step must be at least 1, got 0"),
        ({"act": "gelu"}, "unknown act 'gelu'"),
        ({"act": "swiss"}, "did you mean 'swish'"),
        ({"width": 0.0}, "width must be above 0 and at most 64, got 0.0"),
        ({"stem_stride": 3}, "stem_stride must be 1 or 2, got 3"),
    ],
)
def test_settings_that_make_no_space(settings, message):
    with pytest.raises(ValueError, match=message):
        TFNAS(**settings)


def test_depths_are_decided_in_one_of_three_ways():
    with pytest.raises(BadInput, match="depth_by = 'gate' does not fit: input should be 'sink', 'skip' or 'full'"):
        SPACES.build("tfnas", {"depth_by": "gate"})


def test_a_drawing_shows_operation_kernel_and_width():
    parts = SPACE.sketch(SPACE.parse(TF_NAS_A)).parts
    assert [part.name for part in parts][:5] == ["stem", "stem1", "stage0.0", "stage0.1", "stage1.0"]
    assert [part.operations for part in parts][2:4] == [("3×3 83 se",), ("5×5 128",)]
    assert parts[2].expansion == 83 / 16
    assert (parts[3].input, parts[3].output, parts[3].residual) == ((24, 56, 56), (24, 56, 56), True)
    assert parts[-1].output == (1000, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sets_are_scored_as_one_by_one(dtype):
    torch.manual_seed(0)
    compute = Compute(dtype=dtype)
    supernet = compute.place(TINY.supernet("linear"))
    batches = [(torch.randn(12, 3, 16, 16).contiguous(memory_format=torch.channels_last), torch.arange(12) % 10)] * 2
    scoring = Scoring(supernet, compute, batches, batches)
    rng = random.Random(1)
    archs = [TINY.sample(rng) for _ in range(3)]
    archs += itertools.islice(TINY.neighbours(archs[0]), 60, 64)
    found = {arch: accuracy for part in scoring.parts(archs, 1 << 20) for arch, accuracy in part.items()}
    assert found == {arch: scoring.accuracy(arch) for arch in archs}


def test_supernets_hold_all_operations_at_their_full_widths():
    with torch.device("meta"):
        supernet = SPACE.supernet("linear")
    expected = sum(
        counts(block).parameters - norms
        for at, site in enumerate(SPACE.sites)
        for operation in range(8)
        if (block := SPACE.option(at, operation, most := SPACE.widths(at, operation)[-1]))
        if (norms := 2 * (2 * most + site.c_out))
    )
    assert sum(p.numel() for block in supernet.blocks for p in block.parameters()) == expected
