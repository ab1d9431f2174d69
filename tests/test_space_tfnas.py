"""TF-NAS's space: the published network's counts, the sizes of specs/tfnas.md 1, its text, and the control with skips."""

import itertools
import random
from collections import Counter

import pytest
import torch

from nas_suite.cost import cost, count
from nas_suite.errors import BadInput
from nas_suite.search import mutated
from nas_suite.space import Arch
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
    arch = SPACE.sample(random.Random(0))
    assert all(width % 8 == 0 for width in widths_of(arch))
    assert all(width % 8 == 0 for near in itertools.islice(SPACE.neighbours(arch), 500) for width in widths_of(near))
    rng = random.Random(1)
    assert all(width % 8 == 0 for _ in range(500) for width in widths_of(mutated(SPACE, arch, rng)))
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
        (TF_NAS_A.replace("5w83", "8w83"), "block 0 cannot be '8w83': an operation, 0 to 7"),
        (TF_NAS_A.replace("5w83", "5x83"), "block 0 cannot be '5x83'"),
        (TF_NAS_A.replace("5w83", "5w83.0"), "block 0 cannot be '5w83.0'"),
        (TF_NAS_A.replace("5w83", "5w²"), "block 0 cannot be '5w²'"),
        (TF_NAS_A.replace("5w83", "-5w83"), "block 0 cannot be '-5w83'"),
        (TF_NAS_A.replace("5w83_", ""), "block 0 cannot be '3w128'|^$"),
        (TF_NAS_A + "_7w1203", "stage 5 cannot be '7w1203_7w1203': it has 1 to 1 blocks, not 2"),
        (TF_NAS_A + "/7w1203", "has 7 stages, separated by '/'; this space has 6; an example: "),
        (TF_NAS_A.replace("5w83_3w128", ""), "block 0 cannot be ''"),
        ("", "has 1 stages"),
    ],
)
def test_text_that_is_wrong(text, message):
    if message.endswith("|^$"):  # one block less is a network, if its width fits
        assert SPACE.describe(SPACE.parse(text)) == text
        return
    with pytest.raises(BadInput, match=message):
        SPACE.parse(text)
