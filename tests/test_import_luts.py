"""TF-NAS's and once-for-all's latency tables: the published files with their golden sums, and whatever is no such file."""

import lzma
import os
import pickle
import tarfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timing
import torch

from nas_suite.errors import BadInput
from nas_suite.importers import luts, tfnas_lut
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.reach import reachable
from nas_suite.latency.table import LatencyTable
from nas_suite.spaces.tfnas import TFNAS

# TF-NAS-A as FaceX-Zoo has it (training_mode/backbone/TF_NAS.py); its sums by the official tables.
TFNAS_A = "5w83_3w128/5w138_1w297_7w170/7w248_1w500_1w424_1w477/5w504_1w796_5w723_5w555/1w813_1w1370_5w1138_5w1359/7w1203"
GPU, CPU = Conditions("Titan RTX", 32), Conditions("Xeon Gold 6130", 1, 1)
SPACE = TFNAS()


@pytest.fixture(scope="module")
def official(shared_data: Path) -> Callable[[str], Path]:
    return lambda name: shared_data / "luts" / f"latency_{name}.pkl"


@pytest.fixture(scope="module")
def tables(official: Callable[[str], Path]) -> dict[str, LatencyTable]:
    return {"gpu": luts.read(official("gpu"), "ms", GPU), "cpu": luts.read(official("cpu"), "ms", CPU)}


@pytest.fixture(scope="module")
def made_up() -> dict[str, Any]:
    """The content of a whole pickle of TF-NAS's format, negative below what is reached."""
    found: dict[str, Any] = {"base": 2.0}
    for block in TFNAS(width_step=1).pieces():
        if block.family:
            _, c_in, c_out, kernel, stride, side, hidden, act = block.family.replace("_se", "_").split("_")
            key = f"MBInvertedResBlock_{side[1:]}_{c_in[1:]}_{hidden}_{c_out[1:]}_{kernel}_{stride}_{act}"
            table = found.setdefault(key, OrderedDict((w, -1.0) for w in range(1, block.width)))
            table[block.width] = 0.1 + block.width / 1000
    return found


def pickled(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "latency.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


# --- the published files


@pytest.mark.parametrize(("name", "base", "negative"), [("gpu", 1.985807514190674, 88), ("cpu", 9.356469964981079, 84)])
def test_the_official_pickles_are_read_whole(official: Any, name: str, base: float, negative: int) -> None:
    found, families = tfnas_lut.tables(official(name))
    assert found == base
    assert len(families) == 66
    assert sum(map(len, families.values())) == 36_480
    assert sum(value < 0 for table in families.values() for value in table.values()) == negative


def test_what_a_search_reaches_of_them_is_kept_and_positive(tables: dict[str, LatencyTable]) -> None:
    for table in tables.values():
        assert len(table) == 24 * 912 + 66  # 24 c + 6 for each of eleven shapes of c input channels
        assert table.constant is not None
        assert [
            table.covers(b.key) for b in (*SPACE.stem(), *TFNAS(se=False).stem(), SPACE.head(), TFNAS(classes=100).head())
        ] == [True] * 6
        block = SPACE.option(0, 0, 32)
        assert block is not None
        assert table.families[block.family].widths[0] == 32
        assert table.families[block.family].at(31) is None


@pytest.mark.parametrize(("name", "golden"), [("gpu", 17.99947), ("cpu", 74.34122)])
def test_tfnas_a_sums_to_the_golden_latency(tables: dict[str, LatencyTable], name: str, golden: float) -> None:
    assert tables[name].cost(SPACE).total(SPACE.parse(TFNAS_A)) == pytest.approx(golden, abs=1e-4)


@pytest.mark.parametrize(("name", "low", "high"), [("gpu", 4.09, 27.06), ("cpu", 19.98, 135.91)])
def test_the_reachable_latencies_are_those_of_the_space(
    tables: dict[str, LatencyTable], name: str, low: float, high: float
) -> None:
    assert reachable(tables[name].cost(SPACE)) == pytest.approx((low, high), abs=0.005)


def test_one_hot_choices_cost_exactly_the_derived_network(tables: dict[str, LatencyTable]) -> None:
    cost, arch = tables["gpu"].cost(SPACE), SPACE.parse(TFNAS_A)
    operations, depths, widths = SPACE.split(arch)
    soft = [torch.eye(8, dtype=torch.float64)[operation] for operation in operations]
    reach = [torch.eye(len(s), dtype=torch.float64)[depth] for s, depth in zip(SPACE.stages, depths, strict=True)]
    assert float(cost(SPACE.join(soft, reach, widths))) == pytest.approx(cost.total(arch), abs=1e-9)


@pytest.mark.parametrize(("name", "golden"), [("gpu", 10.807), ("cpu", 47.031)])
def test_uniform_choices_at_start_widths_cost_the_golden_expectation(
    tables: dict[str, LatencyTable], name: str, golden: float
) -> None:
    uniform = torch.full((8,), 1 / 8, dtype=torch.float64)
    depths = [torch.full((len(stage),), 1 / len(stage), dtype=torch.float64) for stage in SPACE.stages]
    widths = [[SPACE.start(at, operation) for operation in range(8)] for at in range(18)]
    assert float(tables[name].cost(SPACE)(SPACE.join([uniform] * 18, depths, widths))) == pytest.approx(golden, abs=1e-3)


def test_seconds_become_milliseconds(official: Any, tables: dict[str, LatencyTable]) -> None:
    seconds = luts.read(official("gpu"), "s", GPU).cost(SPACE)
    assert seconds.unit == "ms"
    assert seconds.total(SPACE.parse(TFNAS_A)) == pytest.approx(17_999.47, abs=0.1)


@pytest.fixture(scope="module")
def note10(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("note10")
    with tarfile.open(shared_data / "luts" / "ofa_note10_latency_tables.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "ofa_note10"


def test_once_for_alls_tables_are_read(note10: Path) -> None:
    files = sorted(note10.glob("*.yaml"))
    assert len(files) == 17
    for file in files:
        table = luts.read(file, "ms", Conditions("Samsung Note10", 1))
        assert table.conditions.resolution == int(file.name.split("_")[0])
        assert (len(table), table.spread) == (96, "std")
    assert table.families["mb_i24_o32_k3_s2_r112_se0_relu"].at(72) == 2.4670178571428574
    assert table.blocks["conv_i3_o24_k3_s2_r224_hswish"].ms == 0.994418
    assert table.blocks["separable_i24_o24_k3_s1_r112_se0_relu"].runs == 500
    kinds = Counter(name.split("_")[0] for name in (*table.families, *table.blocks))
    assert kinds == {"mb": 30, "conv": 2, "separable": 1, "pool": 1, "pointwise": 1, "linear": 1}


# --- made-up pickles, whole and not


def test_a_whole_pickle_is_read_and_the_unreachable_left_out(tmp_path: Path, made_up: dict[str, Any]) -> None:
    table = luts.read(pickled(tmp_path, made_up), "us", GPU)
    assert table.cost(SPACE).base == pytest.approx(0.002)
    assert len(table) == 24 * 912 + 66


@pytest.mark.parametrize(
    "callable",
    [os.system, Counter, dict.fromkeys],
    ids=["os.system", "collections.Counter", "a method"],
)
def test_a_pickle_with_any_other_global_is_refused_unrun(tmp_path: Path, callable: Any) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (callable, ("touch ran",))

    path = pickled(tmp_path, {"base": 1.0, "more": Runs()})
    with pytest.raises(BadInput, match=r"asks for .*, which no table needs, and nothing of it was run"):
        luts.read(path, "ms", GPU)
    assert not Path("ran").exists()


@pytest.mark.parametrize("module", ["numpy", "builtins"])
def test_not_even_numbers_of_numpy_are_let_in(tmp_path: Path, module: str) -> None:
    import numpy as np

    content = {"base": np.float64(1.0)} if module == "numpy" else {"base": 1.0, "more": {1, 2}}
    with pytest.raises(BadInput, match="asks for"):
        luts.read(pickled(tmp_path, content), "ms", GPU)


KEY = "MBInvertedResBlock_112_16_0_24_k3_s2_relu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop("base"), "it has no number 'base'"),
        (lambda found: found.update(base=-1.0), "base is -1.0, not a latency above 0"),
        (lambda found: found.update(base=float("nan")), "base is nan"),
        (lambda found: found.pop(KEY), "lacks 1 of the 66 shapes of TF-NAS's space, such as mb_i16_o24_k3_s2_r112_se0_relu"),
        (lambda found: found.update({KEY.replace("_24_", "_23_"): OrderedDict({1: 1.0})}), "no block of TF-NAS's space is mb_"),
        (lambda found: found.update(Other={}), "has a key 'Other'"),
        (lambda found: found.update({KEY: 1.0}), "is no table of widths"),
        (lambda found: found[KEY].update({40: -0.5}), "o24_k3_s2_r112_se0_relu at width 40 is -0.5, not a latency above 0"),
        (lambda found: found[KEY].update({40: float("inf")}), "at width 40 is inf"),
        (lambda found: found[KEY].update({40: float("nan")}), "at width 40 is nan"),
        (lambda found: found[KEY].update({40: "1"}), "has '1' for the width 40"),
        (lambda found: found[KEY].pop(40), "at width 40 is missing"),
        (lambda found: found[KEY].update({"x": 1.0}), "for the width 'x'"),
    ],
)  # fmt: skip
def test_a_pickle_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, made_up: dict[str, Any], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    content = {key: value if key == "base" else OrderedDict(value) for key, value in made_up.items()}
    change(content)
    with pytest.raises(BadInput) as caught:
        luts.read(pickled(tmp_path, content), "ms", GPU)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_lacks_shapes_is_taken_as_partial_and_refused_where_they_are_needed(
    tmp_path: Path, made_up: dict[str, Any]
) -> None:
    content = {key: value for key, value in made_up.items() if key != KEY}
    table = luts.read(pickled(tmp_path, content), "ms", GPU, partial=True)
    assert len(table.families) == 65
    with pytest.raises(BadInput, match="lacks 13 of the blocks of this space, such as mb_i16_o24_k3_s2_r112_se0_relu_w32"):
        table.cost(SPACE)


def test_what_the_file_does_not_tell_must_be_said_and_what_it_tells_must_not_differ(
    tmp_path: Path, made_up: dict[str, Any]
) -> None:
    path = pickled(tmp_path, made_up)
    with pytest.raises(BadInput, match="give --device and --batch"):
        luts.read(path, "ms", Conditions(batch=1))
    with pytest.raises(BadInput, match="unknown unit 'milli'"):
        luts.read(path, "milli", GPU)
    with pytest.raises(BadInput, match="is of images of 224 px, not 32"):
        luts.read(path, "ms", Conditions("x", 1, resolution=32))
    said = luts.read(path, "ms", Conditions("x", 1, 4, "fp16")).conditions
    assert said == Conditions("x", 1, 4, "fp16", 224)


@pytest.mark.parametrize("cut", [1, 100, -1])
def test_a_pickle_that_is_cut_short_is_refused(tmp_path: Path, made_up: dict[str, Any], cut: int) -> None:
    path = pickled(tmp_path, made_up)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadInput, match="cut short"):
        luts.read(path, "ms", GPU)
    with pytest.raises(BadInput, match="cannot be read"):
        luts.read(tmp_path / "nowhere.pkl", "ms", GPU)


# --- made-up YAML

YAML = """Conv-input:32x32x3-output:16x16x24:
  count: 5
  mean: 0.5
  std: 0.01
expanded_conv-input:16x16x24-output:8x8x32-expand:72-kernel:3-stride:2-idskip:0-se:1-hs:1:
  count: 5
  mean: 1.5
  std: 0.0
"""


def test_a_small_yaml_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(YAML)
    table = luts.read(tmp_path / "x.yaml", "s", Conditions("x", 1))
    assert table.families["mb_i24_o32_k3_s2_r16_sew4_hswish"].at(72) == 1500.0
    assert table.conditions.resolution == 32


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  mean: 1.5", "  mean: -1.5", "line 7: '  mean: -1.5' is not '  mean: ' and a number above 0"),
        ("  mean: 1.5", "  mean: .nan", "line 7"),
        ("  mean: 1.5", "  mean: .inf", "line 7"),
        ("  mean: 1.5", "  mean: !!python/object/apply:os.system ['true']", "line 7"),
        ("  mean: 1.5", "  median: 1.5", "line 7"),
        ("  std: 0.0\n", "", "cut short"),
        (YAML, "a", "1 line, where a key has count"),
        ("expanded_conv", "expanded_convolution", "has a key 'expanded_convolution-"),
        ("Conv-input", "Conv_1-input", "it has 0 entries Conv-input"),
        (YAML, YAML + YAML, "line 9: .* one that was there before"),
        (YAML, "", "cut short"),
        (YAML, "\x00\xff", "no latency table"),
    ],
)
def test_a_yaml_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    import re

    (tmp_path / "x.yaml").write_bytes(YAML.replace(old, new).encode("latin1"))
    with pytest.raises(BadInput) as caught:
        luts.read(tmp_path / "x.yaml", "ms", Conditions("x", 1))
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_table_of_this_suite_need_not_be_imported(tmp_path: Path) -> None:
    timing.table().write(tmp_path / "mine.json")
    with pytest.raises(BadInput, match="is JSON: a latency table of this suite is not imported"):
        luts.read(tmp_path / "mine.json", "ms", Conditions("x", 1))


def test_a_compressed_file_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "x.xz").write_bytes(lzma.compress(YAML.encode()))
    with pytest.raises(BadInput, match="is no latency table of once-for-all, which is text"):
        luts.read(tmp_path / "x.xz", "ms", Conditions("x", 1))
