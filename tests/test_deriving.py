"""A search for a latency from the command line to a network: its run, its measurements, what it refuses, retraining."""

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import nas, train
from PIL import Image

from nas_suite import pipeline
from nas_suite.latency import backends, machine
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.table import Curve, LatencyTable, Point
from nas_suite.latency.timer import Reading
from nas_suite.pipeline.deriving import Round, closed_loop
from nas_suite.pipeline.setting import TABLE, deployed, prepare
from nas_suite.plan import Plan, compose
from nas_suite.run import LOG, TRIALS, Run, run_at
from nas_suite.space import Arch, Block, SearchSpace
from nas_suite.spaces.tfnas import TFNAS
from nas_suite.target import Beliefs, Choice, Target

SETS = [
    "data.size=8", "data.limit=64", "space.width=0.1", "space.width_step=4", "deploy.width=0.2", "deploy.image_size=32",
    "deploy.small=true", "method.epochs=3", "method.warmup_epochs=1", "method.batch_size=16", "retrain.epochs=1",
    "retrain.batch_size=32", "retrain.warmup_epochs=0", "retrain.ema=0",
]  # fmt: skip
WORDS = [word for setting in SETS for word in ("--set", setting)]


def planned(*sets: str, **flags: Any) -> Plan:
    return compose(Plan(precision="fp32"), "tfnas-digits", sets=[*SETS, *sets], **flags)


def ms_of(block: Block) -> float:
    """What a block takes on the device of these tests."""
    return (0.01 + 1e-5 * block.width * block.input[1]) if block.family else 0.1


def table_of(space: SearchSpace, device: str = "a toy") -> LatencyTable:
    """All blocks of a space on that device."""
    families: dict[str, list[Block]] = {}
    for block in space.pieces():
        families.setdefault(block.family, []).append(block)
    alone = {block.key: Point(ms_of(block)) for block in families.pop("", [])}
    curves = {}
    for name, blocks in families.items():
        ascending = sorted(blocks, key=lambda block: block.width)
        curves[name] = Curve(tuple(b.width for b in ascending), tuple(map(ms_of, ascending)))
    conditions = Conditions(device, 1, 1, "fp32", space.image_size, "torch")
    return LatencyTable(conditions, "2026-01-01T00:00:00", curves, alone)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the deployed space, of a device that is not here."""
    path = tmp_path_factory.mktemp("tables") / "toy.json"
    table_of(deployed(prepare(planned()))).write(path)
    return path


@pytest.fixture(scope="module")
def target(table: Path) -> float:
    low, high = Target(LatencyTable.read(table).cost(deployed(prepare(planned()))), 1.0).span
    return round((low + high) / 2, 3)


@pytest.fixture
def here(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table as this machine's own; networks take a tenth and 0.01 ms more than it says."""
    device = machine.called(machine.place("cpu"))
    space: Any = deployed(prepare(planned()))
    path = tmp_path / "here.json"
    own = table_of(space, device).write(path)
    cost, seen = own.cost(space), []

    def timed(module: Any, shape: tuple[int, ...], under: Conditions, *_: object) -> Reading:
        seen.append((shape, under))
        return Reading(1.1 * cost.total(space.parse(module.arch)) + 0.01, 0.0, 10)

    def network(self: Any, arch: tuple[int, ...]) -> Any:
        module = real(self, arch)
        module.arch = self.describe(arch)
        return module

    real = type(space).network
    monkeypatch.setattr(type(space), "network", network)
    monkeypatch.setattr(backends, "timed", timed)
    return path


def test_one_command_finds_a_network_that_meets_the_latency(table: Path, target: float) -> None:
    said = nas("search", "tfnas", "--latency", target, "--table", table, *WORDS, "--json")
    result = said.data["result"]
    assert target * (1 - 5e-3) <= result["predicted_ms"] <= target * (1 + 1e-9)
    assert (result["measured_ms"], result["rounds"]) == (None, [])
    assert result["unmeasured"].startswith("the table was measured on a toy, which is not here: this machine has")
    run = Run.open(Path(said.data["run"]["path"]))
    assert run.record["kind"] == "bilevel"
    space = deployed(prepare(planned()))
    assert space.describe(space.parse(result["arch"])) == result["arch"]
    assert LatencyTable.read(run.path / "latency.json").cost(space).total(space.parse(result["arch"])) == pytest.approx(
        result["predicted_ms"]
    )
    lines = run.epochs()
    assert [("network" in line) for line in lines] == [False, True, True]
    assert lines[-1]["network"] == result["arch"]
    assert f"nas retrain {run.name}" in said.err


def test_what_a_run_shows_and_that_retraining_takes_its_network(table: Path, target: float) -> None:
    found = nas("search", "tfnas", "--latency", target, "--table", table, *WORDS, "--json").data
    name, arch = found["run"]["name"], found["result"]["arch"]
    shown = nas("runs", "show", name)
    assert arch in shown.out
    assert "not measured: the table was measured on a toy" in shown.out
    assert f"{found['result']['predicted_ms']:.2f} ms" in nas("runs", "list").out
    assert nas("runs", "resume", name, "--json").data["result"] == found["result"]
    assert "front" in nas("retrain", name, "--knee").error
    made = nas("retrain", name, "--json").data
    assert made["arch"] == arch
    run = run_at(made["run"]["name"])
    assert run.record["plan"]["settings"]["space"]["width"] == 0.2
    assert run.record["plan"]["settings"]["space"]["image_size"] == 8
    about = pipeline.load(run.path)[1]
    assert about["arch"] == arch
    other = nas("retrain", name, "--set", "data.size=16", "--json").data
    assert run_at(other["run"]["name"]).record["plan"]["settings"]["space"]["image_size"] == 16
    assert nas("report", name, "--json").code == 0


def test_a_network_is_retrained_on_images_of_a_list_and_not_without_test_images(
    table: Path, target: float, tmp_path: Path
) -> None:
    name = nas("search", "tfnas", "--latency", target, "--table", table, *WORDS, "--json").data["run"]["name"]
    rng = np.random.default_rng(0)
    for number in range(24):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    for file, numbers in (("train", range(16)), ("test", range(16, 24))):
        (tmp_path / file).write_text("".join(f"{n}.png {n % 2}\n" for n in numbers))
    short = ["--set=retrain.epochs=1", "--set=retrain.batch_size=8", "--set=retrain.warmup_epochs=0"]
    words = [*short, "--set=data.size=8", f"--set=data.path={tmp_path}", f"--set=data.train_list={tmp_path / 'train'}"]
    config = tmp_path / "lists.toml"
    config.write_text('use = { data = "lists" }')
    before = len(nas("runs", "list", "--json").data)
    refused = nas("retrain", name, "--config", config, *words)
    assert (refused.code, "set data.test_list" in refused.error) == (2, True)
    assert len(nas("runs", "list", "--json").data) == before, "nothing may be trained in vain"
    made = nas("retrain", name, "--config", config, *words, f"--set=data.test_list={tmp_path / 'test'}", "--json").data
    assert set(made["result"]["test_accuracy"]) == {"last", "best"}


@pytest.mark.slow
def test_on_its_own_device_the_network_is_measured_and_mended(here: Path, target: float) -> None:
    said = nas("search", "tfnas", "--latency", target, "--table", here, *WORDS, "--json")
    result = said.data["result"]
    assert result["unmeasured"] == ""
    assert 2 <= len(result["rounds"]) <= 5
    assert result["measured_ms"] == pytest.approx(target, rel=1e-2)
    assert abs(result["measured_ms"] - target) < abs(result["rounds"][0]["measured_ms"] - target)
    assert result["measured_ms"] == pytest.approx(1.1 * result["table_ms"] + 0.01)
    [best] = [r for r in result["rounds"] if r["arch"] == result["arch"]]
    assert (result["predicted_ms"], result["measured_ms"]) == (best["predicted_ms"], best["measured_ms"])
    assert result["predicted_ms"] == pytest.approx(target, rel=5e-3)
    assert "by the table as the measurements corrected it" in nas("runs", "show", said.data["run"]["name"]).out
    assert f"{result['measured_ms']:.2f} ms" in nas("runs", "list").out
    assert said.err.count("measured ") == len(result["rounds"])
    plain = nas("search", "tfnas", "--latency", target, "--table", here, *WORDS, "--no-measure", "--json").data["result"]
    assert plain["unmeasured"] == "not asked for"
    assert plain["predicted_ms"] == plain["table_ms"] == pytest.approx(target, rel=5e-3)
    fixed = nas("search", "tfnas", "--latency", target, "--table", here, *WORDS, "--no-elastic", "--json").data
    assert len(fixed["result"]["rounds"]) == 1
    off = fixed["result"]["measured_ms"] / target - 1
    assert abs(off) > 0.02, "widths as they begin are not at the target"
    side = "below" if off < 0 else "above"
    shown = nas("runs", "show", fixed["run"]["name"]).out
    assert re.search(rf"missed by {100 * abs(off):.2f} % {side} it: widths were fixed \(--no-elastic\)", shown)
    assert "missed by" not in nas("runs", "show", said.data["run"]["name"]).out


CHOICE = Choice((3,) * 18, (1, 2, 3, 3, 3, 0))


def loop(target: Target, device: Any, mend: Any = lambda _: CHOICE) -> tuple[list[Round], Any]:
    told: list[Round] = []
    begun = target.arch(CHOICE, target.scaled(CHOICE, target.start)[0])
    rounds, arch = closed_loop(target, begun, lambda arch: Reading(device(arch), 0.25, 9), told.append, mend)
    assert {r.spread_ms for r in rounds} == {0.25}
    assert rounds == told
    return rounds, arch


def test_the_loop_ends_where_it_is_near_or_after_five_rounds(table: Path) -> None:
    cost = LatencyTable.read(table).cost(deployed(prepare(planned())))
    start = Target(cost, 1.0)
    low, high = start.reach(CHOICE)
    found = Target(cost, (low + high) / 2)
    rounds, _ = loop(found, cost.total)
    assert len(rounds) == 1
    rounds, arch = loop(found, lambda a: 1.04 * cost.total(a))
    assert 2 <= len(rounds) <= 5
    assert 1.04 * cost.total(arch) == pytest.approx(found.ms, rel=1e-2)
    for last in rounds[1:]:
        assert last.predicted_ms == pytest.approx(found.ms, rel=1e-2)
    noise = random.Random(0)
    rounds, arch = loop(found, lambda a: cost.total(a) * noise.choice((0.8, 1.25)))
    assert len(rounds) <= 5
    nearest = min(rounds, key=lambda r: abs(r.measured_ms - found.ms))
    assert found.space.describe(arch) == nearest.arch
    rounds, _ = loop(found, lambda a: 10 * cost.total(a))  # beyond what these operations reach: the least widths, once
    assert len(rounds) == 2
    assert len(loop(found, lambda a: 1.04 * cost.total(a), None)[0]) == 1


def test_the_loop_keeps_operations_that_reach_the_target(table: Path) -> None:
    """A device that is off by another share for each operation, and beliefs that would change them with each correction."""
    cost = LatencyTable.read(table).cost(deployed(prepare(planned())))
    found = Target(cost, sum(Target(cost, 1.0).reach(CHOICE)) / 2)
    other = Choice((2, *CHOICE.operations[1:]), CHOICE.depths)
    begun = found.arch(CHOICE, found.scaled(CHOICE, found.start)[0])

    def device(arch: Arch) -> float:
        return cost.total(arch) * (1.1 if found.space.split(arch)[0][0] == 3 else 0.9)

    rounds, arch = loop(found, device, lambda corrected: other if corrected.cost.total(begun) > cost.total(begun) else CHOICE)
    assert [round(r.measured_ms / found.ms, 2) for r in rounds] == [1.1, 1.0]
    assert found.space.split(arch)[0] == CHOICE.operations


def test_the_loop_takes_other_operations_where_the_found_ones_cannot_meet_the_target(table: Path) -> None:
    cost = LatencyTable.read(table).cost(deployed(prepare(planned())))
    found = Target(cost, 1.05 * Target(cost, 1.0).reach(CHOICE)[0])

    def device(arch: tuple[int, ...]) -> float:
        return 1.2 * cost.total(arch)

    beliefs = Beliefs([np.log(np.where(np.arange(8) == 3, 0.3, 0.1))] * 18, [np.log([*[0.2] * d, 1.0]) for d in CHOICE.depths])
    _, stuck = loop(found, device)
    rounds, arch = loop(found, device, lambda corrected: corrected.nearest(beliefs))
    assert device(stuck) > 1.1 * found.ms
    assert device(arch) == pytest.approx(found.ms, rel=1e-2)
    assert found.space.split(arch)[:2] != CHOICE
    rounds, _ = loop(found, lambda a: 1e3 * cost.total(a), lambda corrected: corrected.nearest(beliefs))
    assert len(rounds) == 1  # no network of the space is so fast


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_to_the_same_network(table: Path, target: float, tmp_path: Path) -> None:
    plan, found = planned(latency=target), LatencyTable.read(table)
    whole = pipeline.derive(plan, found, out=tmp_path / "whole")
    steps = 4
    for stop in (3, steps, 2 * steps - 1):

        def killer(done: int, total: int, figures: Any, at: int = stop) -> None:
            if done == at:
                raise KeyboardInterrupt

        with pytest.raises(Exception, match="SIGINT"):
            pipeline.derive(plan, found, out=tmp_path / str(stop), progress=killer)
        if stop == 3:  # as one that was killed before it had its copy
            (tmp_path / str(stop) / TABLE).unlink()
        again = pipeline.resume(Run.open(tmp_path / str(stop)))
        assert LatencyTable.read(again.path / TABLE) == found
        assert again.record["result"] == whole.record["result"]
        logs = [[{k: v for k, v in line.items() if "second" not in k} for line in run.lines(LOG)] for run in (again, whole)]
        assert logs[0] == logs[1]


@pytest.mark.slow
def test_the_same_seed_finds_the_same_and_another_may_not(table: Path, target: float, tmp_path: Path) -> None:
    found = LatencyTable.read(table)
    runs = [
        pipeline.derive(planned(latency=target, seed=seed), found, out=tmp_path / str(at)) for at, seed in enumerate((0, 0, 1))
    ]
    networks = [run.record["result"]["arch"] for run in runs]
    assert networks[0] == networks[1] != networks[2]


@pytest.mark.parametrize("text", ["fast", "-1", "0", "nan", "inf", ""])
def test_a_target_that_is_no_latency_is_refused(table: Path, text: str) -> None:
    said = nas("search", "tfnas", f"--latency={text}", "--table", table, *WORDS)
    assert said.code == 2
    assert "latency" in said.error


def test_a_target_that_no_network_reaches_is_refused_before_anything_is_made(table: Path, tmp_path: Path) -> None:
    low, high = Target(LatencyTable.read(table).cost(deployed(prepare(planned()))), 1.0).span
    for target in (low / 2, high * 2):
        said = nas("search", "tfnas", "--latency", target, "--table", table, *WORDS, "--out", tmp_path / "run")
        assert said.code == 4
        assert f"{low:.2f} to {high:.2f} ms" in said.error
        assert not (tmp_path / "run").exists()


def test_a_target_beyond_the_operations_that_are_left_is_refused(tmp_path: Path) -> None:
    """Operations that squeeze and excite take longer here; without them the target is out of reach."""

    def slow(table: LatencyTable) -> LatencyTable:
        twice = {
            name: Curve(c.widths, tuple(2 * ms for ms in c.ms)) for name, c in table.families.items() if "_se0_" not in name
        }
        return replace(table, families={**table.families, **twice})

    every, plain = (deployed(prepare(planned(*sets))) for sets in ((), ("space.se=false",)))
    table = slow(table_of(every))
    table = replace(table, blocks={**table.blocks, **table_of(plain).blocks})
    table.write(tmp_path / "both.json")
    reach = [Target(table.cost(space), 1.0).span for space in (every, plain)]
    assert reach[1][1] < 0.8 * reach[0][1]
    words = ("--latency", 0.9 * reach[0][1], "--table", tmp_path / "both.json", *WORDS, "--no-se")
    said = nas("search", "tfnas", *words, "--out", tmp_path / "run")
    assert (said.code, f"they take {reach[1][0]:.2f} to {reach[1][1]:.2f} ms" in said.error) == (4, True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "interval"), [("gpu", "4.09 to 27.06 ms"), ("cpu", "19.98 to 135.91 ms")])
def test_the_official_tables_name_what_they_reach(shared_data: Path, tmp_path: Path, name: str, interval: str) -> None:
    file = shared_data / "luts" / f"latency_{name}.pkl"
    if not file.is_file():
        pytest.skip("the official tables are not on this machine")
    table = tmp_path / "table.json"
    assert nas("latency", "import", file, "--device", "theirs", "--unit", "ms", "--batch", 1, "--out", table).code == 0
    words = ("search", "tfnas", "--table", table, "--out", tmp_path / "run")
    said = nas(*words, "--latency", 3)
    assert (said.code, interval in said.error) == (4, True)
    low, high = Target(LatencyTable.read(table).cost(TFNAS(se=False)), 1.0).span  # the base counts, whatever the stem
    said = nas(*words, "--latency", 200, "--no-se")
    assert (said.code, f"{low:.2f} to {high:.2f} ms" in said.error) == (4, True)
    assert float(interval.split()[2]) > high
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused_before_anything_is_made(table: Path, target: float, tmp_path: Path) -> None:
    said = nas(
        "search", "tfnas", "--latency", target, "--table", table, *WORDS, "--device", "cuda:7", "--out", tmp_path / "run"
    )
    assert (said.code, "cannot be used" in said.error) == (2, True)
    assert not (tmp_path / "run").exists()


def test_options_of_the_other_kind_of_search_are_refused(table: Path) -> None:
    for words in (("--budget", 3), ("--run", "x"), ("--objective", "macs"), ("--max", "macs=3M"), ("--calib-images", 9)):
        assert f"{words[0]} has no meaning" in nas("search", "tfnas", "--latency", 1, *words).error
    for words in (
        ("--latency", 3),
        ("--epochs", 3),
        ("--second-path", "max"),
        ("--no-se",),
        ("--no-elastic",),
        ("--no-measure",),
    ):
        assert f"{words[0]} has no meaning" in nas("search", "mixpath", *words).error
    assert "nas search tfnas" in nas("train-supernet", "tfnas", "--recipe", "tfnas-digits").error


def test_a_deployment_that_offers_other_choices_is_refused(table: Path) -> None:
    said = nas("search", "tfnas", "--latency", 1, "--table", table, *WORDS, "--set", "deploy.se=false")
    assert "other choices" in said.error
    assert "deploy" in nas("search", "tfnas", "--latency", 1, "--set", "deploy.widht=2").error


def test_flags_reach_their_settings(target: float, tmp_path: Path) -> None:
    table = tmp_path / "plain.json"  # a stem without squeeze-excite is a block of its own
    table_of(deployed(prepare(planned("space.se=false", "space.depth_by=skip")))).write(table)
    words = ("--second-path", "none", "--depth", "skip", "--no-se", "--no-elastic", "--epochs", 2, "--lr", 0.01, "--seed", 3)
    said = nas("search", "tfnas", "--latency", target, "--table", table, *WORDS, *words, "--json")
    plan = run_at(said.data["run"]["name"]).record["plan"]
    assert plan["seed"] == 3
    settings = plan["settings"]["method"]
    assert (settings["second_path"], settings["elastic"], settings["epochs"], settings["lr"]) == ("none", False, 2, 0.01)
    assert (plan["settings"]["space"]["depth_by"], plan["settings"]["space"]["se"]) == ("skip", False)
    assert said.data["result"]["arch"].count("/") == 5


def test_a_table_is_measured_where_there_is_none(monkeypatch: pytest.MonkeyPatch, target: float) -> None:
    asked = []

    def build(name: str, settings: dict[str, Any], under: Conditions, device: str, budget: float, *_: object) -> LatencyTable:
        asked.append((name, settings["width"], settings["image_size"], budget, under))
        return table_of(deployed(prepare(planned())))

    monkeypatch.setattr("nas_suite.pipeline.latencies.build", build)
    assert nas("search", "tfnas", "--latency", target, *WORDS, "--json").code == 0
    assert asked.pop() == ("tfnas", 0.2, 32, 300.0, Conditions())
    words = ("--batch", 4, "--dtype", "bf16", "--resolution", 48)
    nas("search", "tfnas", "--latency", target, *WORDS, *words)
    assert asked == [("tfnas", 0.2, 48, 300.0, Conditions(batch=4, dtype="bf16", resolution=48))]


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (("--batch", 2), "batch 2 is asked, it has batch 1;"),
        (("--dtype", "bf16"), "dtype bf16 is asked, it has dtype fp32;"),
        (("--resolution", 48), "resolution 48 is asked, it has resolution 32;"),
        (("--set", "deploy.image_size=48"), "resolution 48 is asked, it has resolution 32;"),
    ],
)
def test_a_table_that_was_measured_otherwise_than_is_asked_is_refused(
    table: Path, target: float, words: tuple[str, ...], difference: str, tmp_path: Path
) -> None:
    known = ("search", "tfnas", "--latency", target, "--table", table, *WORDS, "--out", tmp_path / "run")
    said = nas(*known, *words)
    assert (said.code, difference in said.error) == (2, True)
    assert not (tmp_path / "run").exists()


def test_without_a_word_of_data_it_is_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []
    monkeypatch.setattr("nas_suite.cli.search.derive", lambda plan, *_: plans.append(plan))
    nas("search", "tfnas", "--latency", 15)
    nas("search", "tfnas", "--latency", 15, "--data", "cifar10")
    assert [(plan.recipe, plan.data, plan.space, plan.part("method")["latency"]) for plan in plans] == [
        ("tfnas-digits", "digits", "tfnas", "15"), ("", "cifar10", "tfnas", "15"),
    ]  # fmt: skip
    assert plans[0].part("deploy")["image_size"] == 224


def test_latency_is_an_objective_and_a_bound_of_a_supernet_search(tmp_path: Path) -> None:
    folder = tmp_path / "supernet"
    assert train(folder).code == 0
    space = pipeline.space_of(Plan.from_record(Run.open(folder).record["plan"]))
    table = tmp_path / "s1.json"

    def ms(block: Block) -> float:
        return 0.05 + 0.001 * len(block.key)

    points = {block.key: Point(ms(block)) for block in space.pieces()}
    made = LatencyTable(Conditions("a toy", 1, 1, "fp32", space.image_size, "torch"), "2026-01-01T00:00:00", {}, points)
    cost = made.write(table).cost(space)
    bound = sorted(cost.total(space.sample(random.Random(i))) for i in range(20))[10]
    words = ("--objective", "error", "--objective", "latency", "--max", f"latency={bound}", "--table", table)
    found = nas("search", "mixpath", "--run", folder, *words, "--json").data
    assert found["objectives"] == ["error", "latency"]
    for entry in found["front"]:
        assert entry["values"]["latency"] == pytest.approx(cost.total(space.parse(entry["arch"])))
        assert entry["values"]["latency"] <= bound * (1 + 1e-12)
    run = Run.open(Path(found["run"]["path"]))
    (run.path / TABLE).unlink()
    assert pipeline.resume(run.update(status="interrupted")).lines(TRIALS) == run.lines(TRIALS)
    assert (run.path / TABLE).exists()
    for more in (("--table", table), ("--batch", 2)):
        assert "no effect" in nas("search", "mixpath", "--run", folder, *more).error
    assert "batch 2 is asked" in nas("search", "mixpath", "--run", folder, *words, "--batch", 2).error
    assert nas("search", "mixpath", "--run", folder, "--objective", "latency").code == 3
    assert "latency" not in nas("search", "mixpath", "--run", folder, "--max", "weight=3").error
