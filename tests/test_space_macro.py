"""NAS-Bench-Macro's space: the published counts of all its networks, its spellings, its supernet."""

import csv
import lzma
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from scipy.stats import kendalltau

from nas_suite.cost import cost
from nas_suite.errors import BadInput
from nas_suite.spaces.macro import Macro

MACRO = Macro()


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[dict[str, str]]:
    with lzma.open(shared_data / "macro" / "nas_bench_macro.csv.xz", "rt") as file:
        return list(csv.DictReader(file))


def test_parameters_and_multiply_adds_are_the_published_ones(rows: list[dict[str, str]]) -> None:
    """All 6,561: what they call FLOPs are the multiply-adds of convolutions and linear layers (train/utils.py)."""
    params, macs = cost("params", MACRO), cost("macs", MACRO)
    for row in rows:
        arch = MACRO.parse(row["arch"])
        assert (params.total(arch), macs.total(arch)) == (int(row["params"]), int(row["flops"])), row["arch"]
    assert len(rows) == MACRO.spellings() == 6561


@pytest.mark.parametrize(
    ("text", "params", "macs"),
    [("02012100", 890_666, 47_327_744), ("11111221", 2_181_386, 65_012_224), ("00011110", 1_118_378, 31_390_208)],
)
def test_counts_of_some_networks(text: str, params: int, macs: int) -> None:
    """From nas-bench-macro_cifar10.json."""
    arch = MACRO.parse(text)
    assert (cost("params", MACRO).total(arch), cost("macs", MACRO).total(arch)) == (params, macs)


def test_spellings_of_one_network_have_one_row(rows: list[dict[str, str]]) -> None:
    """The makers trained one network for all its spellings."""
    trained = {MACRO.parse(row["arch"]): row["mean_acc"] + row["acc0"] + row["acc1"] for row in rows}
    for arch, accuracies in trained.items():
        canonical = MACRO.canonical(arch)
        assert canonical is not None
        assert accuracies == trained[canonical]
    assert len(set(trained.values())) == MACRO.size()


def test_depth_ranks_as_published(rows: list[dict[str, str]]) -> None:
    means = [float(row["mean_acc"]) for row in rows]
    archs = [MACRO.parse(row["arch"]) for row in rows]
    assert kendalltau([MACRO.depth(arch) for arch in archs], means).statistic == pytest.approx(0.693, abs=0.0005)
    begun = [MACRO.depth(arch) + sum(arch[at] == 0 for at in (0, 2, 5)) for arch in archs]
    assert kendalltau(begun, means).statistic == pytest.approx(0.336, abs=0.0005)


def test_distinct_networks() -> None:
    everything = list(MACRO.everything())
    assert len(everything) == len(set(everything)) == MACRO.size() == 3969


@pytest.mark.parametrize(("text", "canonical"), [("01002001", "01020010"), ("00000000", "00000000"), ("20100102", "20100120")])
def test_identities_move_behind_their_stage_but_never_from_its_beginning(text: str, canonical: str) -> None:
    folded = MACRO.canonical(MACRO.parse(text))
    assert folded is not None
    assert MACRO.describe(folded) == canonical
    params = cost("params", MACRO)
    assert params.total(folded) == params.total(MACRO.parse(text))


@pytest.mark.parametrize("text", ["0201210", "020121000", "02012103", "0201210x", "", "0-2-0-1-2-1-0-0"])
def test_text_that_is_not_eight_digits_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not 8 digits"):
        MACRO.parse(text)


def test_draws_are_uniform_over_spellings() -> None:
    rng = random.Random(0)
    drawn = [MACRO.draw(rng) for _ in range(6000)]
    for at in range(8):
        assert all(abs(n - 2000) < 200 for n in Counter(arch[at] for arch in drawn).values())
    assert any(MACRO.canonical(arch) != arch for arch in drawn)


def test_an_identity_passes_on_what_enters_unless_a_stage_begins() -> None:
    supernet = Macro(width=0.25, image_size=16).supernet("linear")
    for at, site in enumerate(MACRO.sites):
        x = torch.randn(2, supernet.choices[at].options[1].expand[0].in_channels, 4, 4)
        y = supernet.choices[at](x, 0)
        assert (y is x) == (at not in (0, 2, 5)) == site.residual


def test_no_two_layers_share_weights() -> None:
    supernet = Macro(width=0.25, image_size=16).supernet("linear").eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert not torch.equal(supernet(x, MACRO.parse("11010010")), supernet(x, MACRO.parse("11001010")))


def test_the_sketch_follows_the_shapes_through_identities() -> None:
    sketch = MACRO.sketch(MACRO.parse("01020100"))
    assert [part.output for part in sketch.parts] == [
        (32, 32, 32), (64, 16, 16), (64, 16, 16), (128, 8, 8), (128, 8, 8), (128, 8, 8), (256, 4, 4), (256, 4, 4),
        (256, 4, 4), (10, 1, 1),
    ]  # fmt: skip
    assert [part.operations for part in sketch.parts[1:4]] == [("1×1",), ("3×3",), ("1×1",)]
    assert sketch.parts[5].operations == ("identity",)
