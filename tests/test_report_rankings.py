"""Reports of rankings and of benchmarks that were made: what stands in them, alone and beside other runs."""

import itertools
import json
import random
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import nas
from markupsafe import escape
from test_report import CHROMIUM, Reader, browse, record, whole

from nas_suite import tables
from nas_suite.cost import cost
from nas_suite.pipeline.ranking import NETWORKS, SCORES
from nas_suite.report import render, write
from nas_suite.report.chart import Axis, Chart, Series, decades, plotly
from nas_suite.report.ranked import Ranked
from nas_suite.report.still import still
from nas_suite.report.story import spent, story
from nas_suite.run import ROWS, Run
from nas_suite.spaces import SPACES
from nas_suite.tables import Column, Draft, accuracy

SETTINGS = {"width": 0.0625, "image_size": 8}
SPACE = SPACES.build("mixpath-s4", SETTINGS)
ARCHS = list(SPACE.everything())
TINY = (
    *("--set", "data.size=8", "--set", "data.limit=96", "--set", "method.pad=1", "--set", "method.cutout=0"),
    *("--set", "method.calib_images=32", "--set", "method.score_images=64", "--epochs", 1, "--batch-size", 32),
)


def table(name: str = "toy", some: int = 34, **more: Any) -> None:
    """A benchmark of S4's networks: accuracies, three of each, that grow with the costs, and a latency."""
    rng = np.random.default_rng(0)
    macs = np.array([float(cost("macs", SPACE).total(arch)) for arch in ARCHS])
    mean = 0.6 + 0.3 * (macs - macs.min()) / np.ptp(macs)
    columns = [
        (accuracy("digits", "val", 5), (mean[:, None] + 0.03 * rng.normal(size=(34, 3))).astype(np.float32)[:some]),
        (Column("latency", "ms"), (macs / 1e4 + rng.random(34)).astype(np.float32)[:some]),
    ]
    tables.write(Draft(name, "mixpath-s4", np.array(ARCHS[:some]), columns, settings=SETTINGS, **more))


def ranking(*words: object, bench: str = "toy", out: str = "rank") -> Run:
    """A ranking of a benchmark, made from the command line."""
    folder = Path.cwd() / out
    said = nas("rank", "--bench", bench, "--out", folder, *words)
    assert said.code == 0, said.err
    return Run.open(folder)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmarks, and rankings that most tests look at: by baselines, with gaps, by the published protocol."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_DATA", str(folder / "data"))
        patch.setenv("NAS_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        table()
        table("some", 20, partial=True)
        ranking()
        ranking("--estimator", "some:digits", out="gaps")
        patch.setattr("nas_suite.pipeline.field.DRAWS", 60)
        ranking("--protocol", "paper", out="paper")
    return folder


@pytest.fixture(autouse=True)
def benches(kept: Path, tmp_path: Path, apart: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_DATA", str(kept / "data"))
    monkeypatch.chdir(tmp_path)


def copied(kept: Path, name: str) -> Run:
    """One of those rankings, in the test's own folder."""
    return Run.open(Path(shutil.copytree(kept / name, Path.cwd() / name)))


@pytest.fixture
def run(kept: Path) -> Run:
    return copied(kept, "rank")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet of S4 that saw the digits once."""
    folder = tmp_path_factory.mktemp("trained") / "mixpath_mixpath-s4_digits-1"
    about = ("--space", "mixpath-s4", "--data", "digits", "--set", "space.width=0.0625", "--set", "space.cells=1")
    said = nas("train-supernet", "mixpath", *about, *TINY, "--precision", "fp32", "--out", folder)
    assert said.code == 0, said.err
    return folder


@pytest.fixture
def supernet(trained: Path, tmp_path: Path) -> Run:
    """That supernet in the test's own folder."""
    return Run.open(Path(shutil.copytree(trained, tmp_path / trained.name)))


def chart(read: Reader, title: str) -> dict[str, Any]:
    """The chart whose axes are called so: `y / x`."""
    named = {" / ".join(c["layout"][axis]["title"]["text"] for axis in ("yaxis", "xaxis")): c for c in read.charts}
    return named[title]


def alts(html: str) -> list[str]:
    return re.findall(r'<div class="live" role="img" aria-label="([^"]*)"', html)


def test_a_ranking_leads_with_its_tau_and_says_what_was_ranked(run: Run) -> None:
    result = run.record["result"]
    text = Reader(render([run])).text
    best = max((e for e in result["estimators"] if e["tau"] is not None), key=lambda e: e["tau"])
    assert f"Tau {best['tau']:.3f} on 34 networks of toy" in text
    assert f"tau of the best baseline {best['tau']:.3f} {best['name']}; 95 %: {best['tau_low']:.3f} … " in text
    assert f"The best order is that by {best['name']}, a baseline that costs nothing." in text
    assert f"noise ceiling {result['ceiling']:.3f} tau between two of 3 repeats" in text
    assert "networks 34 34 distinct, of 34 in the benchmark" in text
    assert "How well 3 estimators order all 34 networks of the benchmark toy (space mixpath-s4; 34 of them distinct)" in text
    assert "by their validation accuracy on digits after 5 epochs." in text
    assert f"Protocol {run.record['protocol_hash']} (clean)" in text
    assert f"{result['ties']} pairs of them have equal truth." in text
    assert "partial" not in text
    assert text.startswith(f"Tau {best['tau']:.3f} on 34 networks of toy · mixpath-s4 · digits mixpath-s4 · digits Tau")


def test_the_estimators_stand_in_a_table_and_constant_ones_are_named(run: Run) -> None:
    text = Reader(render([run])).text
    for e in run.record["result"]["estimators"][:2]:
        span = f"{e['tau_low']:.3f} … {e['tau_high']:.3f}"
        regrets = " ".join(f"{100 * regret:.2f}" for regret in e["regret_at"].values())
        figures = f"{e['tau']:.3f} {span} {e['spearman']:.3f} {e['weighted_tau']:.3f} {regrets}"
        assert f"{e['name']} {figures} {100 * e['precision_top10']:.2f} % – {e['seconds']:.3g}" in text
    assert "depth gives all networks the same score, so it orders nothing." in text
    assert "depth – – – – – – – – –" in text
    assert "params gives" not in text


def test_differences_carry_their_verdict(run: Run) -> None:
    (d,) = run.record["result"]["differences"]
    assert {d["of"], d["and"]} == {"params", "macs"}
    for low, real in ((-0.5, False), (0.001, True)):
        d |= {"of": "params", "and": "macs", "tau": 0.123, "low": low, "high": 0.4, "real": real}
        first = {**run.record["result"]["estimators"][0], "tau": 0.9}
        estimators = [first, *run.record["result"]["estimators"][1:]]
        changed = run.update(result={**run.record["result"], "differences": [d], "estimators": estimators})
        said = "outside the noise" if real else "inside the noise"
        assert f"params macs +0.123 {low:+.3f} … +0.400 {said}".replace("-", "−") in Reader(render([changed])).text
    flipped = Ranked(changed).difference(*reversed(Ranked(changed).judged[:2]))
    assert flipped is not None
    assert (flipped["tau"], flipped["low"], flipped["high"]) == (-0.123, -0.4, -0.001)


def test_charts_show_scores_settling_and_regret(run: Run) -> None:
    html = render([run])
    read = Reader(html)
    assert [key.split("-")[0] for key in read.ids] == ["score", "score", "growing", "regret"]
    dots = chart(read, "validation accuracy / multiply-adds")["data"][0]
    drawn = json.loads((run.path / NETWORKS).read_text())
    assert dots["y"] == pytest.approx(drawn["truth"])
    at = drawn["archs"].index("331P")
    macs = cost("macs", SPACE).total(SPACE.parse("331P"))
    assert dots["x"][at] == macs
    assert dots["hovertext"][at].endswith("<br>331P")
    assert f"validation accuracy {100 * drawn['truth'][at]:.2f} %" in dots["hovertext"][at]
    taus = chart(read, "tau / networks")
    assert taus["layout"]["xaxis"]["type"] == "log"
    by_name = {t["name"]: t for t in taus["data"] if t.get("fill") is None}
    assert set(by_name) == {"params", "macs", "noise ceiling"}
    assert by_name["noise ceiling"]["y"] == [run.record["result"]["ceiling"]] * 2
    assert by_name["noise ceiling"]["line"]["dash"] == "dot"
    assert by_name["macs"]["x"][-1] == 34
    assert by_name["macs"]["y"][-1] == run.record["result"]["estimators"][1]["tau"]
    band = next(t for t in taus["data"] if t.get("fill") == "toself" and t["name"] == "macs")
    sizes = len(by_name["macs"]["x"])
    assert all(
        low <= mean <= high
        for low, mean, high in zip(band["y"][: sizes - 1 : -1], by_name["macs"]["y"], band["y"][:sizes], strict=True)
    )
    falls = chart(read, "regret / k, networks looked at")["data"][1]
    assert falls["y"] == sorted(falls["y"], reverse=True)
    assert falls["y"][-1] == 0
    assert falls["y"][0] == pytest.approx(100 * run.record["result"]["estimators"][1]["regret_at"]["1"])


def test_charts_are_told_in_words_and_drawn_without_scripts(run: Run) -> None:
    html = render([run])
    _, macs, taus, regret = alts(html)
    e = run.record["result"]["estimators"][1]
    span = f"({e['tau_low']:.3f} … {e['tau_high']:.3f})"
    assert f"validation accuracy against multiply-adds, the score of macs. Tau {e['tau']:.3f} {span} of 34 networks. " in macs
    assert f"Noise ceiling: {run.record['result']['ceiling']:.3f}." in taus
    assert re.search(rf"macs: 0\.\d+ for 10, {e['tau']:.3f} for 34\.", taus)
    assert regret.startswith("Regret in percentage points by the number of networks looked at. params: ")
    stills = [ElementTree.fromstring(svg) for svg in re.findall(r'<svg class="still".*?</svg>', html)]
    assert [svg.attrib["aria-label"] for svg in stills] == alts(html)
    assert len([mark for mark in stills[1].iter("circle") if "mark" in mark.attrib["class"]]) == 34
    assert len([path for path in stills[2].iter("path") if path.attrib["class"].startswith("band")]) == 2


def test_no_figure_is_missing_in_a_way_a_reader_would_see(kept: Path) -> None:
    for name in ("rank", "gaps", "paper"):
        html = render([copied(kept, name)])
        texts = [Reader(html).text, *re.findall(r'<script type="application/json">(.*?)</script>', html), *alts(html)]
        for text in texts:
            assert not re.search(r"\b(nan|NaN|None|null|Infinity|inf)\b", text), text


def test_tau_is_of_all_networks_where_fewer_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_suite.pipeline.ranking.DRAWN", 10)
    run = ranking()
    e = run.record["result"]["estimators"][0]
    span = f"({e['tau_low']:.3f} … {e['tau_high']:.3f})"
    assert f"Tau {e['tau']:.3f} {span} of 34 networks; drawn are 10 of them." in Reader(render([run])).text


def test_what_is_worse_lies_above_the_best_where_less_is_better(run: Run) -> None:
    text = Reader(render([ranking("--metric", "latency", out="slow")])).text
    assert text.count("above the best of all.") == 2
    assert "below the best" not in text
    text = Reader(render([run])).text
    assert text.count("below the best of all.") == 2
    assert "above the best" not in text


def test_networks_without_a_score_are_counted_and_left_out_of_the_dots(kept: Path) -> None:
    read = Reader(render([copied(kept, "gaps")]))
    assert "some:digits has no score for 14 of 34 networks (some has none of them); they count as its lowest." in read.text
    dots = chart(read, "validation accuracy / some:digits")["data"][0]
    assert dots["x"] == pytest.approx(dots["y"])  # the values of one benchmark in both
    layout = chart(read, "validation accuracy / some:digits")["layout"]
    assert layout["xaxis"]["tickformat"] == layout["yaxis"]["tickformat"] == "~%"
    assert len(dots["x"]) == 20
    assert "of 34 networks; drawn are 20 of them." in read.text
    assert re.search(r"Tau 0\.\d+ on 34 networks of toy", read.text)
    assert "tau of some:digits" in read.text


def test_a_supernet_belongs_to_the_story_of_its_ranking(supernet: Run) -> None:
    run = ranking("--run", supernet.path)
    assert [r.name for r in story([run]).runs] == [supernet.name, run.name]
    html = render([run])
    read = Reader(html)
    e = run.record["result"]["estimators"][0]
    assert (
        f"tau of {supernet.name} {e['tau']:.3f}".replace("-", "−").replace("mixpath_mixpath−s4_digits−1", supernet.name)
        in read.text
    )
    assert f"nas search mixpath --run {supernet.path}" in read.text
    assert "Training the supernet" in read.text
    assert re.search(rf"{supernet.name} orders them with tau \S+; (params|macs), the best baseline, with 0\.\d+\.", read.text)
    assert re.search(r"The difference of \S+ \(\S+ … \S+\) is (in|out)side the noise\.", read.text)
    assert re.search(rf"{supernet.name} took \S+ m?s of training before it could score\.", read.text)
    dots = chart(read, "validation accuracy / one-shot accuracy")["data"][0]
    scores = [line["score"] for line in run.lines(SCORES)]
    assert sorted(dots["x"]) == pytest.approx(sorted(scores))
    assert 0 <= min(dots["x"]) <= max(dots["x"]) <= 1
    assert len(alts(html)) == len(read.ids) == 5 + 3
    assert f"{run.name}: 34 networks ranked by 4 estimators" in read.text
    assert spent(run) >= sum(line["seconds"] for line in run.lines(SCORES)) > 0


def test_seeds_are_told_one_by_one(supernet: Run, tmp_path: Path) -> None:
    other = Run.open(Path(shutil.copytree(supernet.path, tmp_path / "mixpath_mixpath-s4_digits-2")))
    other.update(plan={**other.record["plan"], "seed": 7})
    run = ranking("--run", supernet.path, "--run", other.path)
    e = run.record["result"]["estimators"][0]
    text = Reader(render([run])).text
    assert e["name"] == f"{supernet.name} ×2"
    for seed in e["seeds"]:
        assert f"{seed['tau']:.3f} ({seed['run']})" in text.replace("−", "-")
    assert f"sd {e['seeds_sd']:.3f}" in text
    assert f"nas search mixpath --run {supernet.path}" in text
    assert f"supernets {supernet.name}, {other.name}" in text


def test_a_lost_supernet_is_told(supernet: Run) -> None:
    run = ranking("--run", supernet.path)
    shutil.rmtree(supernet.path)
    text = Reader(render([run])).text
    assert f"{supernet.path} is gone or its record cannot be read" in text
    assert "The ranking" in text
    assert "nas search" not in text


def test_without_a_supernet_the_next_command_trains_one_that_fits(run: Run) -> None:
    text = Reader(render([run])).text
    (command,) = re.findall(r"Next: nas (train-supernet mixpath .*?) The ranking", text)
    assert command == "train-supernet mixpath --space mixpath-s4 --data digits --set space.width=0.0625"
    assert nas(*command.split(), *TINY, "--set", "space.cells=1", "--out", "fits").code == 0
    assert nas("rank", "--bench", "toy", "--run", "fits").code == 0


def test_the_next_command_trains_on_the_data_that_made_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "own"))
    found = re.findall(r"Next: (nas train-supernet .*?) The ranking", Reader(render([ranking(bench="s4-digits")])).text)
    assert found == ["nas train-supernet mixpath --recipe mixpath-s4-digits"]
    own = {"size": 8, "noise": 0.25, "limit": 48, "val_fraction": 0.2, "seed": 0}
    table("noisy", more={"plan": {"data": "digits", "settings": {"data": own}, "recipe": "gone"}})
    text = Reader(render([ranking(bench="noisy", out="noisy")])).text
    (command,) = re.findall(r"Next: nas (train-supernet mixpath .*?) The ranking", text)
    assert command.startswith("train-supernet mixpath --space mixpath-s4 --data digits --set space.width=0.0625")
    assert command.endswith("--set data.size=8 --set data.noise=0.25 --set data.limit=48")
    small = [word for at, word in enumerate(TINY) if "data." not in "".join(map(str, TINY[at : at + 2]))]
    said = nas(*command.split(), *small, "--precision", "fp32", "--out", "fits")
    assert said.code == 0, said.err
    assert nas("rank", "--bench", "noisy", "--run", "fits", "--json").data["notes"] == []


def test_the_published_protocol_is_said_and_compares_nothing(kept: Path) -> None:
    run = copied(kept, "paper")
    read = Reader(render([run]))
    result = run.record["result"]
    assert f"Protocol {result['protocol']} (paper, as in the published loop of MixPath" in read.text
    assert f"Tau {max(e['tau'] or 0 for e in result['estimators']):.3f} on 60 networks of toy" in read.text
    assert "Differences" not in read.text
    assert re.search(r"protocol paper protocol hash [0-9a-f]{12}", read.text)
    assert [key.split("-")[0] for key in read.ids] == ["growing", "regret"]
    assert chart(read, "tau / networks")["data"][-2]["x"][-1] == 60 - 30


def test_a_partial_benchmark_is_said_to_be_partial() -> None:
    text = Reader(render([ranking(bench="some")])).text
    assert "The benchmark is partial: its file did not hold all networks." in text
    assert "all 20 networks of the benchmark some" in text


def test_a_metric_of_which_less_is_better_is_shown_as_it_was_measured() -> None:
    run = ranking("--metric", "latency")
    html = render([run])
    read = Reader(html)
    dots = chart(read, "latency [ms] / multiply-adds")["data"][0]
    assert min(dots["y"]) > 0
    assert min(dots["x"]) > 0
    assert "by their latency [ms]" in read.text
    assert "There are too few repeats to tell a noise ceiling." in read.text
    assert "Regret in ms" in read.text
    assert not any("ceiling" in t["name"] for t in chart(read, "tau / networks")["data"])


def test_only_a_sample_is_ranked() -> None:
    text = Reader(render([ranking("--sample", 15, "--seed", 3)])).text
    assert "on 15 networks of toy" in text
    assert "15 of the 34 networks of the benchmark toy" in text
    assert re.search(r"metric digits/val@5 protocol clean sample 15 protocol hash [0-9a-f]{12}", text)
    assert "seed 3" in text


def test_many_networks_are_drawn_smaller_and_depths_side_by_side(run: Run) -> None:
    drawn = json.loads((run.path / NETWORKS).read_text())
    depths = [float(2 + at % 3) for at in range(34)]
    drawn["estimators"][2]["scores"] = depths
    (run.path / NETWORKS).write_text(json.dumps(drawn))
    result = run.record["result"]
    depth = {**result["estimators"][0], "name": "depth"}
    run = run.update(result={**result, "estimators": [*result["estimators"][:2], depth]})
    read = Reader(render([run]))
    dots = chart(read, "validation accuracy / depth")["data"][0]
    assert [round(x) for x in dots["x"]] == depths
    assert len(set(dots["x"])) == 34
    assert "equal depths side by side" in read.text
    assert dots["hovertext"][0].startswith("depth 2<br>")
    drawn |= {key: drawn[key] * 20 for key in ("archs", "truth")}
    drawn["estimators"] = [{**e, "scores": e["scores"] * 20} for e in drawn["estimators"]]
    (run.path / NETWORKS).write_text(json.dumps(drawn))
    smaller = chart(Reader(render([run])), "validation accuracy / depth")["data"][0]
    assert smaller["marker"]["size"] < dots["marker"]["size"]
    assert smaller["marker"]["opacity"] < dots["marker"]["opacity"]


def test_without_its_drawing_a_ranking_keeps_its_tables(run: Run) -> None:
    for damage in ("{", "[]"):
        (run.path / NETWORKS).write_text(damage)
        read = Reader(render([run]))
        assert read.charts == []
        assert "The estimators" in read.text
    (run.path / NETWORKS).unlink()
    assert "The estimators" in Reader(render([run])).text


def test_where_nothing_orders_the_networks_the_headline_says_so(run: Run) -> None:
    depth = run.record["result"]["estimators"][2]
    same = [{**depth, "name": name} for name in ("params", "macs", "depth")]
    run = run.update(result={**run.record["result"], "estimators": same, "differences": []})
    (run.path / NETWORKS).unlink()
    text = Reader(render([run])).text
    assert "No estimator orders the 34 networks of toy" in text
    assert "Each gives all of them the same score." in text


@pytest.mark.parametrize("lines", [0, 3])
def test_an_unfinished_ranking_names_the_command_that_goes_on(tmp_path: Path, lines: int) -> None:
    about = {"bench": "toy", "estimators": [], "metric": "", "sample": None, "protocol": "clean", "seed": 0, "runs": []}
    run = Run.create(tmp_path / "rank_toy-1", record("rank", "mixpath-s4", 5, "interrupted", **about, protocol_hash="0" * 12))
    run.extend(SCORES, [{"source": "a", "arch": "3" * at, "score": 0.5, "seconds": 0.25} for at in range(1, 1 + lines)])
    text = Reader(render([run])).text
    assert text.count(f"nas runs resume {run.path}") == 3
    assert f"Ranking: {'3 scores' if lines else 'no score found yet'}" in text
    assert f"Networks of the benchmark toy; not finished, {lines} scores written down" in text
    assert ("3 scores found, 0.25 s each" if lines else "nothing finished yet") in text
    assert spent(run) == 0.25 * lines
    assert "sample all" in text


def test_what_a_ranking_brings_from_outside_is_escaped(run: Run) -> None:
    bad = '<img src=x onerror="alert(1)">'
    result = run.record["result"]
    drawn = json.loads((run.path / NETWORKS).read_text())
    drawn["archs"][0] = bad
    drawn["estimators"][1]["name"] = bad
    (run.path / NETWORKS).write_text(json.dumps(drawn))
    named = {**result["estimators"][1], "name": bad, "kind": "column", "failed": 1, "error": bad}
    differences = [{**d, "and": bad} for d in result["differences"]]
    changed = {**result, "bench": bad, "metric": bad, "unit": bad, "estimators": [result["estimators"][0], named]}
    run = run.update(bench=bad, result={**changed, "differences": differences})
    html = render([run])
    assert bad not in html
    assert html.count(str(escape(bad))) >= 8
    charts = Reader(html).charts
    assert len(charts) == 4
    assert str(escape(bad)) in charts[1]["data"][0]["hovertext"][0]
    assert "<img" not in json.dumps(charts)


def test_beside_a_retrained_network_a_ranking_is_one_section_among_others(tmp_path: Path, run: Run) -> None:
    first, _, third = whole(tmp_path, "mixpath-s4")
    two = ranking("--sample", 12, out="small")
    one = run.update(runs=[{"path": str(first.path), "basis": ""}])
    read = Reader(render([one, two, third]))
    kinds = [run.record["kind"] for run in story([one, two, third]).runs]
    assert kinds == ["supernet", "rank", "rank", "search", "retrain"]
    assert "97.22 % of the test images right" in read.text
    headings = ["The search", "The ranking rank", "The ranking small", "Training the supernet", "Cost in time"]
    assert [read.text.index(h) for h in headings] == sorted(read.text.index(h) for h in headings)
    assert len(set(read.ids)) == len(read.ids) == len(read.charts)
    assert "12 networks ranked by 3 estimators" in read.text
    assert re.search(r"small rank done 2\S+ \S+ ", read.text)


def making(root: Path, rows: int, status: str, **more: Any) -> Run:
    """A run that makes a benchmark of four networks, twice each, and has written so many rows; the third failed."""
    archs = ["3", "33", "331P", "PP"]
    about = {"bench": "mine", "archs": archs, "repeats": 2, "workers": 1, **more}
    run = Run.create(root / "table_mine-1", record("table", "mixpath-s4", 1, status, **about))
    for at, (repeat, arch) in enumerate([(r, a) for r in range(2) for a in archs][:rows]):
        row = {"val": 0.5 + 0.1 * archs.index(arch) + 0.02 * repeat, "test": 0.4, "train": 0.9, "seconds": 2.0}
        failed = {**dict.fromkeys(row), "error": "training diverged <b>"}
        run.append(ROWS, {"arch": arch, "repeat": repeat, **(failed if at == 2 else row)})
    return run


def test_a_benchmark_that_was_made_tells_its_spread(tmp_path: Path) -> None:
    result = {"table": str(tmp_path), "networks": 4, "failed": 1}
    read = Reader(render([making(tmp_path, 8, "done", result=result)]))
    assert "4 networks trained for the benchmark mine" in read.text
    assert "best 81.00 %" in read.text
    assert "median 66.50 %" in read.text
    assert "worst 51.00 % mean validation accuracy of 3" in read.text
    assert "trainings 8 of 8 1 failed" in read.text
    assert "8 of 8 trainings done: 4 networks, 2 times each. 1 training failed (training diverged <b>)." in read.text
    assert "from 51.00 % to 81.00 %, with a median of 66.50 %" in read.text
    assert "differ by 2.00 percentage points at the median" in read.text
    assert "Next: nas rank --bench mine" in read.text
    assert "8 trainings done, 2 s each" in read.text
    assert "for the benchmark mine · mixpath-s4 · digits mixpath-s4 · digits 4 networks" in read.text
    assert re.search(r"Benchmark benchmark mine networks 4 repeats 2 workers 1", read.text)
    dots = {t["name"]: t for t in chart(read, "validation accuracy / place")["data"]}
    assert dots["mean of a network"]["y"] == pytest.approx([0.81, 0.72, 0.61, 0.51])
    assert dots["mean of a network"]["x"] == [1, 2, 3, 4]
    assert len(dots["a training"]["x"]) == 7
    assert dots["mean of a network"]["hovertext"][0] == "place 1<br>mean 81.00 %<br>trainings 80.00 %, 82.00 %<br>PP"
    assert "1 81.00 % 2.00 40.00 % 2 s PP" in read.text


def test_a_benchmark_whose_trainings_all_failed_has_no_network_to_show(tmp_path: Path) -> None:
    run = making(tmp_path, 8, "done", result={"table": "", "networks": 4, "failed": 8})
    run.rewrite(ROWS, [{**row, "val": None, "test": None, "seconds": None, "error": "no memory"} for row in run.lines(ROWS)])
    read = Reader(render([run]))
    assert "Benchmark: 8 trainings" in read.text
    assert "8 trainings failed (no memory)." in read.text
    assert "Next:" not in read.text
    assert read.charts == []


@pytest.mark.parametrize("rows", [0, 3])
def test_an_unfinished_benchmark_says_how_far_it_is(tmp_path: Path, rows: int) -> None:
    run = making(tmp_path, rows, "interrupted")
    read = Reader(render([run]))
    assert f"{rows} of 8 trainings done" in read.text
    assert read.text.count(f"nas runs resume {run.path}") == 3
    assert len(read.charts) == (1 if rows else 0)
    assert ("2 networks trained for the benchmark mine" if rows else "Benchmark: no training done yet") in read.text
    assert "percentage points at the median" not in read.text
    assert spent(Run.open(tmp_path / "table_mine-1")) == (4.0 if rows else 0.0)


def test_of_a_large_benchmark_only_some_networks_are_drawn(tmp_path: Path) -> None:
    archs = [f"a{at}" for at in range(2500)]
    run = Run.create(tmp_path / "t", record("table", "mixpath-s4", 1, bench="big", archs=archs, repeats=1, workers=1))
    rng = random.Random(0)
    run.extend(ROWS, [{"arch": a, "repeat": 0, "val": rng.random(), "test": 0.5, "train": 0.5, "seconds": 1} for a in archs])
    (means,) = chart(Reader(render([run])), "validation accuracy / place")["data"]
    assert len(means["x"]) == 1250
    assert means["x"][:3] == [1, 3, 5]
    assert means["y"] == sorted(means["y"], reverse=True)


def test_round_values_of_a_logarithmic_axis() -> None:
    assert decades(10, 34, 8) == [10, 20, 30]
    assert decades(1, 34, 8) == [1, 2, 5, 10, 20]
    assert decades(1, 6561, 8) == [1, 10, 100, 1000]
    assert decades(0.5, 3, 8) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1, 2, 3][-8:])


@pytest.mark.parametrize("points", [1, 5])
def test_bands_and_logarithmic_axes_stay_inside_the_frame(points: int) -> None:
    xs, ys = [10.0**at for at in range(points)], [0.5 + 0.05 * at for at in range(points)]
    band = [(y - 0.4, y + 0.4) for y in ys]
    shape = Chart("k", "T", Axis("n", "whole", log=True), Axis("tau"), [Series("a", xs, ys, band=band)], "alt")
    svg = ElementTree.fromstring(str(still(shape)))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    area = next(path for path in svg.iter("path") if path.attrib["class"] == "band blue")
    places = [tuple(map(float, p.split(","))) for p in re.findall(r"[\d.-]+,[\d.-]+", area.attrib["d"])]
    assert len(places) == 2 * points
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    steps = [b - a for (a, _), (b, _) in itertools.pairwise(places[:points])]
    assert steps == pytest.approx([steps[0]] * len(steps) if steps else [], abs=0.2)
    traces = plotly(shape)["data"]
    assert [t.get("legendgroup") for t in traces] == ["a", "a"]
    assert traces[0]["showlegend"] is False


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
def test_a_browser_draws_a_ranking_and_complains_of_nothing(tmp_path: Path, supernet: Run) -> None:
    file = write([ranking("--run", supernet.path), making(tmp_path, 8, "done")], tmp_path / "report.html")
    seen = browse(file, "--dump-dom")
    assert seen.returncode == 0, seen.stderr
    assert "CONSOLE" not in seen.stderr
    page = re.sub(r"<script.*?</script>", "", seen.stdout, flags=re.S)
    assert len(re.findall(r'<figure class="card chart[^"]* drawn"', page)) == len(Reader(file.read_text()).charts) == 9


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_ranking_is_no_wider_than_the_window(tmp_path: Path, supernet: Run, width: int) -> None:
    write([ranking("--run", supernet.path), making(tmp_path, 8, "done")], tmp_path / "report.html")
    frame = tmp_path / "frame.html"
    script = "onload = () => { document.title = 'wide: ' + frames[0].document.documentElement.scrollWidth; }"
    frame.write_text(
        f"<iframe src='report.html' style='border:0;width:{width}px;height:900px'></iframe><script>{script}</script>"
    )
    seen = browse(frame, "--dump-dom", "--allow-file-access-from-files")
    found = re.search(r"<title>wide: (\d+)</title>", seen.stdout)
    assert found, seen.stderr
    assert int(found[1]) <= width
