"""MixPath's S4: NAS-Bench-101's own hashes and parameter counts of its 34 cells, and the paper's supernet."""

import itertools
import random
from collections import Counter

import pytest
import torch
from torch import nn

from nas_suite.cellnet import Cell
from nas_suite.cost import cost, count
from nas_suite.errors import BadInput
from nas_suite.layers import initialise
from nas_suite.space import Arch
from nas_suite.spaces.mixpath_s4 import MixPathS4, MultiPathCell, active_positions

S4 = MixPathS4()
TINY = MixPathS4(width=0.0625, image_size=8, cells=1)

# specs/mixpath.md 1.7: computed there with code that agrees with every genuine record of the data set at hand.
CELLS = """
3 96794a104891b22bf4f2abbdd7c3e90f 11215242
1 278a65c91e279624407615a84f3282c4 2957706
P 6bb3a5f158c57162b2a9671a1402725f 1920138
33 c5cb06a6eecbbfdcb1146f27d9b2898e 21384074
31 81f966cd234c81cb125148e085fe5303 13126538
3P 448c22b1d4c896592aaadaccad119dde 12088970
11 a15dcbf7129436e986b45d3ba0b45bfb 4869002
1P cc48153f90d545408dd9f1608760708e 3831434
PP 70482b0343bdeea0153cef830766334b 2793866
333 5f73d13cebdb93fdaf01c8f926449219 31552906
331 a1fb5b47232f4e10d926804f40f9702c 23295370
33P 8c5f370e001a91a5f357774f561a65ad 22257802
311 3f3f6574fa38bd16b2221bd9bf0eca01 15037834
31P 6e450d70ecd52f54c5574cdb2531779c 14000266
3PP f94a481c8ef2577e60429ccafe9de67c 12962698
111 4bf53d489f41ef29ae0802c5b7a7ba69 6780298
11P 40c7e82c212b32472b32aff92cab5181 5742730
1PP 6668a410bf64b6ae322e10d3ef8184a7 4705162
PPP fbe271618338ac21d0e74893eb299623 3667594
3333 15ea5ff8069e145b97867db609606693 41721738
3331 985497df955982f4752baf087ca376ad 33464202
333P 426afd9ef01561b376fc71f66f5e7aec 32426634
3311 17caa92e5d434778b13fe25aa4ff7a9a 25206666
331P 9a0a2ebfabbcf0b05afe27a5b4387152 24169098
33PP 408ca4bae8c5ee664bf35bff577dae00 23131530
3111 bc465d14967fa1bc6415d1dc5ee7aaba 16949130
311P 21269e6a8af0b5212a5905578b59ee80 15911562
31PP 324227cdef0ad00b654ff8f8ec13d837 14873994
3PPP 3f0d0d5e97bb3b897f044442985c470e 13836426
1111 d3fcfae30d7cd0149cc9f72496f59375 8691594
111P 7cc1bdcb5b2117699c0d3577426eb46a 7654026
11PP 93f8a176c4f75b8eda851c534650ce2b 6616458
1PPP a71abc7c4106635754f5c412e6383844 5578890
PPPP 4b338171735e5dcefdcc9cf9a788c469 4541322
"""
ROWS = [(text, name, int(parameters)) for text, name, parameters in map(str.split, CELLS.strip().splitlines())]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def parameters(space: MixPathS4, norm: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in space.supernet(norm).parameters())


def every(space: MixPathS4) -> list[Arch]:
    """All labellings of the positions."""
    return list(itertools.product(range(4), repeat=space.m))


def test_supernet_with_shadow_batch_norm():
    assert parameters(S4, "linear") == 52_877_962


def test_supernet_with_the_official_bias():
    """The paper's 52.9 M."""
    assert parameters(MixPathS4(node5_bias=True), "linear") == 52_880_650


def test_supernet_with_the_official_bias_and_one_batch_norm():
    assert parameters(MixPathS4(node5_bias=True), "vanilla") == 52_864_522


@pytest.mark.parametrize(("text", "name", "parameters"), ROWS, ids=[row[0] for row in ROWS])
def test_hash(text, name, parameters):
    assert S4.cell(S4.parse(text)).module_hash() == name


@pytest.mark.parametrize(("text", "name", "parameters"), ROWS, ids=[row[0] for row in ROWS])
def test_parameters_of_network_and_blocks(text, name, parameters):
    arch = S4.parse(text)
    with torch.device("meta"):
        counts = count(S4.network(arch), (3, 32, 32))
    assert counts.parameters == cost("params", S4).total(arch) == parameters
    assert counts.macs == cost("macs", S4).total(arch)


def test_multiply_adds_of_the_smallest_network():
    """By hand: a projection and the last 1×1 convolution a cell."""
    total, side, c_in = 27 * 128 * 32**2 + 512 * 10, 32, 128
    for stack in range(3):
        c_out = 128 << stack
        total += side**2 * (c_in * c_out + 5 * c_out**2)
        side, c_in = side // 2, c_out
    assert cost("macs", S4).total(S4.parse("P")) == total == 288_756_736


@pytest.mark.parametrize(("m", "size"), [(1, 3), (2, 9), (3, 19), (4, 34)])
def test_size_is_the_number_of_hashes(m, size):
    space = MixPathS4(m=m)
    spelled = {space.canonical(arch) for arch in every(space)} - {None}
    assert space.size() == size == len(spelled) == len({space.cell(arch).module_hash() for arch in spelled})
    assert spelled == {space.parse(text) for text, *_ in ROWS if len(text) <= m}


def test_positions_are_interchangeable_and_some_must_operate():
    assert S4.canonical((0, 3, 0, 1)) == S4.canonical((1, 0, 3, 0)) == (1, 3, 0, 0)
    assert S4.canonical((0, 0, 0, 0)) is None


def test_text_returns_for_every_labelling():
    for arch in every(S4):
        if any(arch):
            assert S4.parse(S4.describe(arch)) == arch
    assert S4.describe((1, 1, 2, 3)) == "331P"
    assert S4.describe((1, 1, 0, 0)) == "33"
    assert S4.describe((0, 1, 0, 2)) == ".3.1"
    assert S4.parse(" 31p ") == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("text", "message"), [("3x", "1 to 4 letters"), ("33333", "1 to 4 letters"), ("", "1 to"), (".", "no net")]
)
def test_text_that_is_no_architecture(text, message):
    with pytest.raises(BadInput, match=message):
        S4.parse(text)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_draw(m):
    """1e5 paths: their number is uniform, and so are, given it, positions and operations."""
    space, rng = MixPathS4(m=m), random.Random(m)
    drawn = [space.draw(rng) for _ in range(100_000)]
    sizes = Counter(sum(map(bool, arch)) for arch in drawn)
    marginals = Counter(at for arch in drawn for at, option in enumerate(arch) if option)
    operations = Counter(option for arch in drawn for option in arch if option)
    assert sorted(sizes) == list(range(1, m + 1))
    assert sorted(operations) == [1, 2, 3]
    assert all(abs(n / 1e5 - 1 / m) < 0.01 for n in sizes.values())
    assert all(abs(marginals[at] / 1e5 - (m + 1) / (2 * m)) < 0.01 for at in range(m))
    assert all(abs(n / operations.total() - 1 / 3) < 0.01 for n in operations.values())


def test_draw_repeats_under_a_seed():
    first, again, other = ([S4.draw(rng) for _ in range(9)] for rng in map(random.Random, (7, 7, 8)))
    assert first == again != other


@pytest.mark.parametrize("arch", [(1, 0, 0, 0), (0, 3, 0, 2), (1, 2, 3, 1)])
def test_a_cell_of_the_supernet_computes_the_benchmarks_cell(arch):
    """The stand-alone cell with the supernet's weights has the supernet's output."""
    for place in TINY.skeleton.places():
        shared = MultiPathCell(place, 4, False, "linear")
        x = torch.randn(8, place.c_in, place.side, place.side)
        active = active_positions(arch)
        shared(x, arch, active)  # moves the running statistics away from zero and one
        alone = Cell(TINY.cell(arch), place.c_in, place.c_out)
        copy_weights(shared, alone, sorted(active, key=lambda position: arch[position]), arch)
        assert torch.allclose(alone.eval()(x), shared.eval()(x, arch, active), atol=1e-5)


def copy_weights(shared: MultiPathCell, alone: Cell, positions: list[int], arch: Arch) -> None:
    for vertex, position in enumerate(positions, start=1):
        projection, operation = shared.positions[position].branches[arch[position] - 1]
        alone.projections[str(vertex)].load_state_dict(projection.state_dict())
        alone.operations[vertex - 1].load_state_dict(operation.state_dict())
    alone.operations[-1][0].load_state_dict(shared.merge.state_dict())
    alone.operations[-1][1].load_state_dict(shared.norm.norms[len(positions) - 1].state_dict())


def test_a_soft_path_weighs_outputs_and_costs():
    shared = MultiPathCell(next(iter(TINY.skeleton.places())), 4, False, "linear").eval()
    initialise(shared)
    weights = torch.tensor([0.2, 0.5, 0.0, 0.3], dtype=torch.float64)
    x = torch.randn(2, 8, 8, 8)
    merged = []
    shared.merge.register_forward_hook(lambda merge, given, out: merged.append(out))
    outputs = [shared(x, path, (0, 1)) for path in ((1, 2, 0, 0), (3, 2, 0, 0), (0, 2, 0, 0), (weights.float(), 2, 0, 0))]
    assert torch.allclose(merged[3], 0.5 * merged[0] + 0.3 * merged[1] + 0.2 * merged[2], atol=1e-6)
    assert not torch.allclose(outputs[3], outputs[2])
    macs = cost("macs", TINY)
    parts = 0.5 * macs.total((1, 2, 0, 0)) + 0.3 * macs.total((3, 2, 0, 0)) + 0.2 * macs.total((0, 2, 0, 0))
    assert float(macs((weights, 2, 0, 0))) == pytest.approx(parts)


def test_a_soft_path_uses_the_norm_of_its_positions_with_operations():
    none, some = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0.9, 0.0, 0.1, 0.0])
    assert active_positions((none, 2, some, 0)) == (1, 2)
    with pytest.raises(BadInput, match="at least one position"):
        active_positions((none, 0, none, 0))


@pytest.mark.parametrize("settings", [{"m": 0}, {"m": 5}, {"stacks": 0}, {"image_size": 4}, {"width": -1.0}])
def test_settings_that_make_no_space(settings):
    with pytest.raises(ValueError, match=r"^(m|width|image_size|classes|channels|stacks|cells) must be"):
        MixPathS4(**settings)


@pytest.mark.parametrize(("stacks", "cells"), [(1, 1), (2, 3), (4, 1)])
def test_stacks_and_cells(stacks, cells):
    space = MixPathS4(width=0.0625, stacks=stacks, cells=cells, image_size=9, channels=1, classes=4)
    supernet, arch = space.supernet("linear"), space.parse("31")
    assert sum(isinstance(part, MultiPathCell) for part in supernet.modules()) == stacks * cells
    assert supernet(torch.randn(2, 1, 9, 9), arch).shape == space.network(arch)(torch.randn(2, 1, 9, 9)).shape == (2, 4)
    pools = [part for part in supernet.pools if isinstance(part, nn.MaxPool2d)]
    assert len(pools) == stacks - 1 == sum(block.key.startswith("pool2") for _, block in space.blocks(arch))
