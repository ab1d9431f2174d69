"""Latency tables: every value checked when read, interpolated inside what was measured, priced as a cost, found again."""

import itertools
import json
import math
import pickle
import random
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timing
import torch

from nas_suite.cli.common import settings_of
from nas_suite.cost import Cost
from nas_suite.errors import BadInput, Missing
from nas_suite.latency import shelf
from nas_suite.latency.conditions import Conditions, agreed, in_ms
from nas_suite.latency.reach import reachable
from nas_suite.latency.table import Constant, Curve, Fit, LatencyTable, Point
from nas_suite.pipeline import latencies
from nas_suite.spaces import SPACES
from nas_suite.spaces.tfnas import TFNAS

FIT = Fit(2.0, 0.25, 20, "tfnas", 0, 0.1, 0.05, 0.01, "2026-01-01")
FAMILY = "mb_i8_o8_k3_s1_r16_se0_relu"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = timing.table(constant=Constant(1.5, ("head_*",)), fit=FIT, spread="iqr", source={"system": "none"})
    written = table.write(tmp_path / "table.json")
    again = LatencyTable.read(tmp_path / "table.json")
    assert again == written == table
    assert again.where == str(tmp_path / "table.json")
    assert len(again) == sum(1 for _ in timing.SPACE.pieces())
    assert json.loads((tmp_path / "table.json").read_text())["noisy"] is False


# --- bad files


def spoilt(tmp_path: Path, *place: Any, value: Any) -> Path:
    """A table's file with one value replaced."""
    path = tmp_path / "table.json"
    timing.table().write(path)
    record = json.loads(path.read_text())
    part = record
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("unit",), "s", "has unit 's', this version reads 'ms'"),
        (("schema",), 2, "has schema 2, this version reads 1"),
        (("kind",), "a table of contents", "is no latency table"),
        (("families", FAMILY, "ms", 1), -0.1, f"families.{FAMILY}.ms.1 is -0.1"),
        (("families", FAMILY, "ms", 1), math.nan, f"families.{FAMILY}.ms.1 is nan"),
        (("families", FAMILY, "ms", 1), math.inf, f"families.{FAMILY}.ms.1 is inf"),
        (("families", FAMILY, "ms", 1), 1e300, "should be less than 1000000000"),
        (("families", FAMILY, "ms", 1), 0.0, "should be greater than 0"),
        (("families", FAMILY, "ms", 1), "0.5", "valid number"),
        (("families", FAMILY, "ms"), [1.0], "widths have 1 value"),
        (("families", FAMILY, "widths", 0), 10**6, "widths do not ascend"),
        (("families",), {}, ""),
        (("conditions", "batch"), None, "device and batch must be known"),
        (("conditions", "batch"), 0, "conditions.batch is 0"),
        (("conditions", "dtype"), "fp8", "conditions.dtype is 'fp8'"),
        (("blocks",), [], "blocks"),
    ],
)
def test_a_file_with_a_wrong_value_is_refused_in_one_line(tmp_path: Path, place: Any, value: Any, message: str) -> None:
    path = spoilt(tmp_path, *place, value=value)
    if message:
        with pytest.raises(BadInput) as caught:
            LatencyTable.read(path)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    else:
        with pytest.raises(BadInput, match=r"lacks \d+ of the blocks of this space, such as mb_"):
            LatencyTable.read(path).cost(timing.SPACE)


def test_a_file_that_is_cut_short_or_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    timing.table().write(path)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"[]", b"\x80\x02}.", b"[" * 100_000):
        path.write_bytes(data)
        with pytest.raises(BadInput):
            LatencyTable.read(path)
    with pytest.raises(BadInput, match="cannot be read"):
        LatencyTable.read(tmp_path / "nowhere.json")


# --- between the points


def test_a_curve_is_linear_between_its_points_and_ends_where_they_end() -> None:
    curve = Curve((8, 16, 32), (1.0, 2.0, 6.0))
    assert [curve.at(width) for width in (8, 12, 16, 20, 32)] == [1.0, 1.5, 2.0, 3.0, 6.0]
    assert curve.at(7) is curve.at(33) is None


def test_a_wider_block_takes_no_less_time() -> None:
    curve = Curve((8, 16, 24, 32), (1.0, 3.0, 2.0, 4.0))
    assert [curve.at(width) for width in (8, 16, 20, 24, 32)] == [1.0, 2.5, 2.5, 2.5, 4.0]


def test_what_was_not_measured_is_refused_with_what_was() -> None:
    table = timing.table()
    option = timing.SPACE.option(1, 0, 24)
    assert option is not None
    with pytest.raises(BadInput, match=rf"does not reach {option.family}_w99: it has widths 16 to 64 of {option.family}"):
        table.ms(replace(option, key=f"{option.family}_w99", width=99))
    with pytest.raises(BadInput, match=r"does not reach conv_x$"):
        table.ms(replace(option, key="conv_x", family="", width=0))


# --- as a cost


def test_the_cost_of_a_network_is_the_sum_of_its_blocks() -> None:
    table = timing.table()
    cost = table.cost(timing.SPACE)
    assert (cost.name, cost.unit, cost.base) == ("latency", "ms", 0.0)
    arch = timing.SPACE.sample(random.Random(0))
    assert cost.total(arch) == pytest.approx(sum(table.ms(block) for _, block in timing.SPACE.blocks(arch)))
    again = pickle.loads(pickle.dumps(cost))
    assert again.total(arch) == cost.total(arch)


def test_a_soft_path_costs_its_expectation_and_one_hot_the_hard_cost() -> None:
    cost = timing.table(fit=FIT).cost(timing.SPACE)
    arch = timing.SPACE.sample(random.Random(1))
    operations, depths, widths = timing.SPACE.split(arch)
    soft = [torch.eye(4, dtype=torch.float64)[operation].requires_grad_() for operation in operations]
    reach = [torch.eye(len(s), dtype=torch.float64)[d] for s, d in zip(timing.SPACE.stages, depths, strict=True)]
    expected = cost(timing.SPACE.join(soft, reach, widths))
    assert float(expected.detach()) == pytest.approx(cost.total(arch), rel=1e-12)
    expected.backward()
    assert soft[0].grad is not None
    assert soft[0].grad[0] > 0


def test_a_constant_costs_once_and_what_it_covers_nothing() -> None:
    head, plain = timing.SPACE.head(), timing.table()
    table = replace(
        plain, blocks={k: p for k, p in plain.blocks.items() if k != head.key}, constant=Constant(1.5, ("head_*_c*",))
    )
    cost, arch = table.cost(timing.SPACE), timing.SPACE.sample(random.Random(2))
    assert cost.of(head) == 0.0
    assert cost.base == 1.5
    assert cost.total(arch) == pytest.approx(plain.cost(timing.SPACE).total(arch) - plain.ms(head) + 1.5)
    with pytest.raises(BadInput, match=r"is of another space: it counts third_stem, which this one has not"):
        replace(plain, constant=Constant(1.5, ("third_stem",))).cost(timing.SPACE)


def test_a_fit_is_applied_to_the_whole_sum() -> None:
    plain, fitted = (replace(timing.table(constant=Constant(1.5, ("head_*",))), fit=fit) for fit in (None, FIT))
    arch = timing.SPACE.sample(random.Random(3))
    total = plain.cost(timing.SPACE).total(arch)
    assert fitted.cost(timing.SPACE).total(arch) == pytest.approx(2.0 * total + 0.25)
    assert fitted.cost(timing.SPACE, fitted=False).total(arch) == pytest.approx(total)


def test_a_table_of_another_space_says_what_it_lacks() -> None:
    with pytest.raises(BadInput, match=r"made for tfnas, lacks 2,805 of the blocks of this space, such as conv_i3_o32"):
        timing.table().cost(TFNAS())
    wider = TFNAS(**{**timing.SMALL, "classes": 12})
    with pytest.raises(BadInput, match=r"lacks 1 of the blocks of this space, such as head_.*_c12_"):
        timing.table().cost(wider)


# --- what networks can reach


def exhausted(cost: Cost) -> tuple[float, float]:
    totals = [cost.total(arch) for arch in cost.space.everything()]
    return min(totals), max(totals)


def test_the_range_of_a_chain_is_found_decision_by_decision() -> None:
    space = SPACES.build("mixpath-s3", {"width": 0.1, "kernels": (3, 5), "image_size": 32, "classes": 10})
    cost = Cost("latency", "ms", space, timing.made_up, 0.5)
    low, high = reachable(cost) or (0.0, 0.0)
    rng = random.Random(0)
    assert all(low - 1e-9 <= cost.total(space.sample(rng)) <= high + 1e-9 for _ in range(100))
    ends = [
        tuple(
            choose(range(len(v.options)), key=lambda i, at=at: cost.total((*first[:at], i, *first[at + 1 :])))
            for at, v in enumerate(space.variables)
        )
        for choose in (min, max)
        for first in [space.sample(rng)]
    ]
    assert [cost.total(arch) for arch in ends] == pytest.approx([low, high])


def test_the_range_of_a_small_space_is_found_network_by_network() -> None:
    space = SPACES.build("mixpath-s4", {"width": 0.0625, "image_size": 8})
    cost = Cost("latency", "ms", space, timing.made_up)
    assert reachable(cost) == pytest.approx(exhausted(cost))


@pytest.mark.parametrize("more", [{}, {"depth_by": "skip"}, {"depth_by": "full"}])
def test_the_range_of_an_elastic_space_is_found_stage_by_stage(more: dict[str, Any]) -> None:
    space = TFNAS(**timing.SMALL, **more)
    cost = timing.table(fit=FIT).cost(space)
    low, high = reachable(cost) or (0.0, 0.0)
    rng = random.Random(0)
    assert all(low - 1e-9 <= cost.total(space.sample(rng)) <= high + 1e-9 for _ in range(200))
    ends = []
    for choose in (min, max):
        rows = []
        for stage in space.stages:
            options = [
                [(o, w) for o in range(len(space.elastic)) for w in (space.widths(at, o)[0], space.widths(at, o)[-1])]
                for at in (stage if choose is max or space.depth_by == "full" else stage[:1])
            ]
            rows.append(
                [
                    choose(pairs, key=lambda p, at=at: cost.of(space.option(at, *p)))
                    for at, pairs in zip(stage, options, strict=False)
                ]
            )
        ends.append(cost.total(space.spell(rows)))
    assert ends == pytest.approx([low, high])


def test_where_the_range_cannot_be_found_nothing_is_claimed() -> None:
    space = SPACES.build("nasbench101", {"width": 0.0625, "image_size": 8})
    assert reachable(Cost("latency", "ms", space, timing.made_up)) is None


# --- conditions, and the table that is meant


def test_explicit_conditions_that_differ_are_refused_by_name() -> None:
    has = Conditions("Titan RTX", 32, None, "fp32", 224)
    assert agreed("gpu.json", has, Conditions()) == has
    assert agreed("gpu.json", has, Conditions(batch=32, resolution=224)) == has
    with pytest.raises(BadInput, match=r"gpu.json was measured otherwise: batch 1 is asked, it has batch 32; leave"):
        agreed("gpu.json", has, Conditions(batch=1))
    with pytest.raises(
        BadInput, match="threads 1 is asked, it has threads unknown; resolution 32 is asked, it has resolution 224"
    ):
        agreed("gpu.json", has, Conditions(threads=1, resolution=32))


def test_units_are_not_guessed() -> None:
    assert [in_ms(unit) for unit in ("s", "ms", "us")] == [1000.0, 1.0, 0.001]
    with pytest.raises(BadInput, match=r"unknown unit 'sec'; .*there are: s, ms, us"):
        in_ms("sec")


def test_the_newest_table_that_was_measured_as_asked_is_found() -> None:
    here = timing.UNDER
    shelf.made(shelf.folder())
    with pytest.raises(Missing, match=r"nas latency build tfnas --batch 1 --threads 1 --dtype fp32 --resolution 16"):
        shelf.chosen("tfnas", timing.SPACE, None, Conditions(), here)
    for name, change in {
        "old": {"created": "2026-01-01"},
        "new": {"created": "2026-01-02"},
        "other-batch": {"created": "2026-01-03", "conditions": replace(here, batch=4)},
        "other-device": {"created": "2026-01-03", "conditions": replace(here, device="another")},
        "other-space": {"created": "2026-01-03", "families": {}},
    }.items():
        replace(timing.table(), **change).write(shelf.folder() / f"{name}.json")
    (shelf.folder() / "damaged.json").write_text("{")
    found = shelf.chosen("tfnas", timing.SPACE, None, Conditions(), here)
    assert Path(found.where).stem == "new"
    assert Path(shelf.chosen("tfnas", timing.SPACE, None, Conditions(batch=4), here).where).stem == "other-batch"
    with pytest.raises(Missing, match="--batch 8"):
        shelf.chosen("tfnas", timing.SPACE, None, Conditions(batch=8), here)


def test_where_there_is_no_table_the_command_measures_the_very_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_DATA", str(tmp_path))
    settings = {"width": 0.2, "m": 2, "kernels": (3, 5), "image_size": 8, "channels": 1}
    space = SPACES.build("mixpath-s1", settings)
    with pytest.raises(Missing) as refused:
        shelf.newest("mixpath-s1", space, Conditions("here", 1, 1, "fp32", 8, "torch"))
    said = str(refused.value)
    command = shlex.split(said[said.index("nas latency build") : said.index(", or name one")])
    assert command[:4] == ["nas", "latency", "build", "mixpath-s1"]
    assert command[command.index("--resolution") + 1] == "8"
    sets = [word for before, word in itertools.pairwise(command) if before == "--set"]
    again = SPACES.build("mixpath-s1", {**settings_of("space", sets), "image_size": 8})
    assert len(sets) == 4
    assert again == space


def test_a_search_names_a_table_by_file_or_by_name() -> None:
    shelf.made(shelf.folder())
    timing.table().write(shelf.folder() / "mine.json")
    for name in ("mine", str(shelf.folder() / "mine.json")):
        assert latencies.table_for("tfnas", timing.SPACE, name, Conditions(batch=1)).conditions == timing.UNDER
    with pytest.raises(BadInput, match="batch 2 is asked, it has batch 1"):
        latencies.table_for("tfnas", timing.SPACE, "mine", Conditions(batch=2))
    with pytest.raises(BadInput, match=r"there is no latency table 'mime'.*did you mean 'mine'"):
        latencies.table_for("tfnas", timing.SPACE, "mime", Conditions())
    with pytest.raises(Missing, match="nas latency build tfnas"):
        latencies.table_for("tfnas", timing.SPACE, None, Conditions(), "cpu")


def test_a_point_needs_no_spread() -> None:
    assert Point(1.0).runs is None
