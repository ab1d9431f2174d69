"""Reports: what stands in them for whole, partial and several runs, and how a browser shows them."""

import itertools
import json
import math
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import tiny
from markupsafe import escape

from nas_suite.artefact import ARCH, LOADER, SCRIPT, WEIGHTS
from nas_suite.cost import cost
from nas_suite.errors import BadInput
from nas_suite.plan import Plan
from nas_suite.report import render, write
from nas_suite.report.chart import Axis, Chart, Series, plotly, reach
from nas_suite.report.drawing import drawing
from nas_suite.report.still import still, ticks
from nas_suite.report.story import Search, story
from nas_suite.report.words import many, seconds
from nas_suite.run import LOG, TRIALS, Run
from nas_suite.space import SearchSpace
from nas_suite.spaces import SPACES

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=8000",
)  # fmt: skip


def space_of(name: str) -> SearchSpace:
    return SPACES.build(name, tiny.SPACES[name])


def plan(name: str = "mixpath-s1") -> dict[str, Any]:
    settings = {"space": asdict(space_of(name)), "data": {"size": 8}, "method": {"epochs": 6, "batch_size": 64}}
    return Plan("mixpath", name, "digits", {**settings, "retrain": {"epochs": 8, "batch_size": 32}}).record()


def record(kind: str, name: str, at: int, status: str = "done", **more: Any) -> dict[str, Any]:
    created = f"2026-03-01T10:{at:02d}:00"
    environment = {"python": "3.11.7", "torch": "2.8.0"}
    return {
        "schema": 1,
        "kind": kind,
        "status": status,
        "created": created,
        "plan": plan(name),
        **more,
        "environment": environment,
    }


def epoch(at: int, **more: float) -> dict[str, Any]:
    share = math.exp(-at / 3)
    line = {"epoch": at, "step": 16 * (at + 1), "loss": 0.4 + 2 * share, "accuracy": 0.95 - 0.8 * share, "lr": 0.1 / (at + 1)}
    return {**line, **more, "seconds": 2.5}


def supernet(root: Path, name: str = "mixpath-s1", epochs: int = 6, **more: Any) -> Run:
    run = Run.create(root / f"mixpath_{name}_digits-1", record("supernet", name, 1, **more))
    for at in range(epochs):
        run.append(LOG, epoch(at))
    return run


def trial(space: SearchSpace, number: int, text: str) -> dict[str, Any]:
    macs = cost("macs", space).total(space.parse(text))
    error = 0.1 + 0.2 * ((number * 7) % 11) / 11 + 1e3 / macs
    return {"trial": number, "arch": text, "status": "ok", "values": {"error": error, "macs": macs}, "seconds": 0.25}


def search(root: Path, of: Run, networks: int = 24, objectives: tuple[str, ...] = ("error", "macs"), **more: Any) -> Run:
    name = of.record["plan"]["space"]
    about = {"supernet": str(of.path.resolve()), "objectives": list(objectives), "limits": {"macs": 3e8}}
    run = Run.create(root / f"search_mixpath_{name}_digits-1", record("search", name, 2, **about, **more))
    space, rng = space_of(name), random.Random(0)
    archs = dict.fromkeys(space.describe(space.sample(rng)) for _ in range(9 * networks))
    for number, arch in enumerate([*archs][:networks]):
        line = trial(space, number, arch)
        run.append(TRIALS, {**line, "values": {o: line["values"][o] for o in objectives}})
        if number % 8 == 7 and len(objectives) > 1:
            line = {"generation": number // 8, "evaluated": number + 1, "front": 3, "hypervolume": 0.6 + number / 100}
            run.append(LOG, line)
    return run


def retraining(root: Path, of: Run, arch: str, number: int = 1, val: float = 0.98, **more: Any) -> Run:
    name = of.record["plan"]["space"]
    about = {"origin": str(of.path.resolve()), "arch": arch, **more}
    if "status" not in more:
        space = space_of(name)
        costs = {c: cost(c, space).total(space.parse(arch)) for c in ("macs", "params")}
        accuracy = {"last": 0.9611, "best": 0.9722}
        about["result"] = {"test_accuracy": accuracy, "val_accuracy": val, "best_epoch": 6, **costs}
    run = Run.create(root / f"retrain_{name}_digits-{number}", record("retrain", name, 3 + number, **about))
    for at in range(8):
        run.append(LOG, epoch(at, val_accuracy=0.9 - 0.7 * math.exp(-at)))
    if "result" in about:
        for file, text in ((WEIGHTS, "w" * 1500), (ARCH, "{}"), (LOADER, SCRIPT)):
            (run.path / file).write_text(text)
    return run


def whole(root: Path, name: str = "mixpath-s1") -> list[Run]:
    """A supernet with statistics, a search and a retraining of its knee."""
    first = supernet(root, name)
    accuracies = [0.5 + 0.01 * k for k in range(8)]
    entries = [{"paths": i, "calibrated": c, "accuracies": accuracies} for i in (1, 2) for c in (True, False)]
    (first.path / "statistics.json").write_text(json.dumps({"by_paths": entries}))
    second = search(root, first)
    marks = Search(second, story([second])).marks
    knee = next(arch for arch, words in marks.items() if "knee" in words)
    return [first, second, retraining(root, second, knee)]


class Reader(HTMLParser):
    """The words of a page outside scripts and styles, its tags with what they load, and its charts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.charts: list[dict[str, Any]] = []
        self.kind = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.kind = f"{tag} {known.get('type') or ''}".strip() if tag in ("script", "style") else ""
        self.loads += [f"{tag} {known[name]}" for name in ("src", "href", "srcset", "action", "data") if known.get(name)]
        self.ids += [known["id"]] if known.get("id") else []

    def handle_endtag(self, tag: str) -> None:
        self.kind = ""

    def handle_data(self, data: str) -> None:
        if self.kind == "script application/json":
            self.charts.append(json.loads(data))
        elif not self.kind:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_a_report_of_a_retraining_tells_the_whole_story(tmp_path: Path) -> None:
    first, second, third = whole(tmp_path)
    read = Reader(render([third]))
    for run in (first, second, third):
        assert run.name in read.text
    assert third.record["arch"] in read.text
    assert "97.22 % of the test images right" in read.text
    assert "96.11 % after the last" in read.text
    space = space_of("mixpath-s1")
    macs = cost("macs", space).total(space.parse(third.record["arch"]))
    assert f"{macs:,.0f}" in read.text
    for heading in ("The search", "The supernet’s networks", "Training the supernet", "Training from scratch",
                    "Load the network", "Cost in time", "Settings", "Environment", "Runs"):  # fmt: skip
        assert heading in read.text
    assert "24 networks evaluated, 0.25 s each" in read.text
    assert "from nas_suite import load" in read.text
    assert "batch_size" in read.text
    assert "2.8.0" in read.text


def test_a_report_shows_curves_front_hypervolume_and_accuracy_by_paths(tmp_path: Path) -> None:
    _, second, third = whole(tmp_path)
    read = Reader(render([third]))
    found = [key.split("-")[0] for key in read.ids]
    assert [found.count(key) for key in ("front", "volume", "paths", "statistics", "supernet", "retrain")] == [1, 1, 1, 1, 3, 3]
    assert len(set(read.ids)) == len(read.ids)
    assert len(read.charts) == len(read.ids)
    boxes = [t["name"] for chart in read.charts for t in chart["data"] if t["type"] == "box"]
    assert boxes == ["calibrated", "not calibrated"]
    front = next(chart for chart in read.charts if chart["layout"]["xaxis"]["title"]["text"] == "multiply-adds")
    by_name = {t["name"]: t for t in front["data"]}
    assert len(by_name["evaluated"]["x"]) == 24
    best = min(second.lines(TRIALS), key=lambda t: t["values"]["error"])
    assert max(by_name["front"]["y"]) == pytest.approx(1 - best["values"]["error"])
    chosen = next(t for name, t in by_name.items() if "retrained" in name)
    assert chosen["hovertext"][0].replace("<br>", "").endswith(third.record["arch"])
    assert "test accuracy 97.22 %" in chosen["hovertext"][0]


def test_a_report_loads_nothing_but_itself(tmp_path: Path) -> None:
    html = render(whole(tmp_path))
    assert Reader(html).loads == []
    page = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert not re.search(r"(?:https?:)?//[a-z]", page.replace(str(tmp_path), ""))
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in html


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    bad = '<img src=x onerror="alert(1)">'
    first, second, third = whole(tmp_path)
    second.append(TRIALS, {"trial": 99, "arch": "x", "status": "failed", "values": None, "seconds": 0.1, "error": bad})
    first.update(status="failed", error=bad)
    third.update(environment={"torch": f"</script>{bad}"}, plan={**third.record["plan"], "recipe": bad})
    html = render([Run.open(third.path)])
    assert bad not in html
    assert str(escape(bad)) in html
    named = second.path.rename(second.path.with_name("<b>run"))
    assert "<b>run" not in render([Run.open(named)])


def test_a_supernet_alone_points_to_the_search(tmp_path: Path) -> None:
    run = supernet(tmp_path)
    read = Reader(render([run]))
    assert f"nas search mixpath --run {run.path}" in read.text
    assert "Supernet training: 6 epochs" in read.text
    assert "The search" not in read.text
    assert "Load the network" not in read.text


@pytest.mark.parametrize("kind", ["supernet", "search", "retrain"])
def test_a_run_that_has_just_begun_is_reported(tmp_path: Path, kind: str) -> None:
    first = supernet(tmp_path, epochs=0, status="interrupted")
    arch = space_of("mixpath-s1").describe(space_of("mixpath-s1").sample(random.Random(1)))
    runs = {"supernet": lambda: first, "search": lambda: search(tmp_path, first, 0, status="interrupted")}
    runs["retrain"] = lambda: retraining(tmp_path, first, arch, status="failed", error="training diverged")
    run = runs[kind]()
    read = Reader(render([run]))
    assert f"nas runs resume {run.path}" in read.text
    assert ("training diverged" in read.text) == (kind == "retrain")


def test_failed_networks_are_counted_and_left_out_of_the_charts(tmp_path: Path) -> None:
    run = search(tmp_path, supernet(tmp_path))
    arch = space_of("mixpath-s1").describe(space_of("mixpath-s1").sample(random.Random(7)))
    run.append(TRIALS, {"trial": 24, "arch": arch, "status": "failed", "values": None, "seconds": 1, "error": "out of memory"})
    read = Reader(render([run]))
    assert "1 network of search_mixpath_mixpath-s1_digits-1 could not be evaluated: out of memory" in read.text
    assert "A front of" in read.text
    assert all(len(t["x"]) <= 24 for chart in read.charts for t in chart["data"])


def test_a_search_for_one_objective_shows_the_best_so_far(tmp_path: Path) -> None:
    read = Reader(render([search(tmp_path, supernet(tmp_path), objectives=("error",))]))
    best = next(t for chart in read.charts for t in chart["data"] if t["name"] == "best so far")
    assert best["y"] == sorted(best["y"])


def test_sources_are_found_beside_a_run_that_was_moved_and_missed_where_they_are_gone(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    _, _, third = whole(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = Run.open(tmp_path / "new" / third.name)
    assert [run.record["kind"] for run in story([moved]).runs] == ["supernet", "search", "retrain"]
    shutil.rmtree(tmp_path / "new" / "mixpath_mixpath-s1_digits-1")
    assert "is gone or its record cannot be read" in Reader(render([moved])).text


def test_a_run_of_a_space_that_is_not_at_hand_is_reported_without_drawings(tmp_path: Path) -> None:
    runs = whole(tmp_path)
    for run in runs:
        run.update(plan={**run.record["plan"], "space": "somebody-elses"})
    read = Reader(render([Run.open(runs[-1].path)]))
    assert "97.22 % of the test images right" in read.text
    assert "block0" not in read.text


def test_several_retrained_networks_are_told_apart_and_the_best_by_validation_leads(tmp_path: Path) -> None:
    first, second, third = whole(tmp_path)
    arch = next(t["arch"] for t in second.lines(TRIALS) if t["arch"] != third.record["arch"])
    fourth = retraining(tmp_path, second, arch, number=2, val=0.99)
    html = render([third, fourth, first])
    read = Reader(html)
    assert "Of the 2 networks trained so, it is the best on the validation images" in read.text
    assert read.text.index(arch) < read.text.index(third.record["arch"])
    names = {t["name"] for chart in read.charts for t in chart["data"]}
    assert f"{fourth.name} validation" in names


def test_a_setting_that_differs_between_runs_is_shown_for_each(tmp_path: Path) -> None:
    first, second, third = whole(tmp_path)
    changed = {**second.record["plan"], "seed": 5}
    second.update(plan=changed)
    text = Reader(render([third])).text
    assert re.search(rf"seed 0 {first.name}, {third.name} 5 {second.name}", text)


def test_the_file_is_written_at_once_and_refused_in_one_line(tmp_path: Path) -> None:
    run = supernet(tmp_path)
    out = write([run], tmp_path / "deep" / "report.html")
    assert out.read_text().startswith("<!doctype html>")
    assert list(out.parent.iterdir()) == [out]
    with pytest.raises(BadInput, match="cannot write"):
        write([run], run.path)


@pytest.mark.parametrize("name", SPACES.names())
def test_every_space_draws_its_networks(name: str) -> None:
    space = SPACES.build(name, tiny.SPACES.get(name, {}))
    arch = space.sample(random.Random(3))
    sketch = space.sketch(arch)
    root = ElementTree.fromstring(str(drawing(sketch, "A network")))
    words = [text.text for text in root.iter("text")]
    for part in sketch.parts:
        assert part.name in words
    assert set(sketch.nodes) <= set(words)
    shapes = [part for part in sketch.parts if part.input]
    assert all(one.output == after.input for one, after in itertools.pairwise(shapes))
    if shapes:
        assert shapes[0].input == (space.channels, space.image_size, space.image_size)
        assert shapes[-1].output == (space.classes, 1, 1)


def test_active_paths_are_the_operations_that_are_summed() -> None:
    s1, s4 = space_of("mixpath-s1"), space_of("mixpath-s4")
    assert s1.sketch(s1.parse("-".join(["e3k35", *["e6k5"] * 11]))).paths == 13
    assert s4.sketch(s4.parse("331P")).paths == 4
    s3 = space_of("mixpath-s3")
    assert s3.sketch(s3.sample(random.Random(0))).paths == 0


def test_round_ticks() -> None:
    assert ticks(0.0, 1.0, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(0.62, 0.9, 5) == pytest.approx([0.7, 0.8, 0.9])
    assert ticks(1, 3, 5, whole=True) == [1, 2, 3]
    assert reach(Axis(""), [2.0, 2.0])[0] < 2.0 < reach(Axis(""), [2.0, 2.0])[1]


@pytest.mark.parametrize("look", ["line", "steps", "dots", "box"])
@pytest.mark.parametrize("points", [1, 5])
def test_a_still_picture_stays_inside_its_frame(look: Any, points: int) -> None:
    series = [Series(name, range(points), [0.5 + 0.1 * i for i in range(points)], look, label="a label") for name in ("a", "b")]
    chart = Chart("key", "Title", Axis("x", "whole"), Axis("y", "percent"), series, "what it shows")
    root = ElementTree.fromstring(str(still(chart)))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for text in root.iter("text"):
        assert 0 <= float(text.get("x", 0)) <= width
        assert 0 <= float(text.get("y", 0)) <= height
    assert root.attrib["aria-label"] == "what it shows"
    assert len(plotly(chart)["data"]) == 2


def test_words() -> None:
    assert [seconds(s) for s in (0.25, 41, 200, 7500, 3600, 90000)] == [
        "0.25 s",
        "41 s",
        "3 min 20 s",
        "2 h 5 min",
        "1 h",
        "1 d 1 h",
    ]
    assert [many(n) for n in (34, 2560, 2_176_782_336)] == ["34", "2,560", "2.2 × 10⁹"]


def test_an_axis_of_one_value_stays_near_it(tmp_path: Path) -> None:
    """Plotly would span 1 to either side: accuracies from −100 to 100 %, epochs from 0 to 2."""
    run = supernet(tmp_path, epochs=1)
    charts = Reader(render([run])).charts
    assert len(charts) == 3
    for chart in charts:
        low, high = chart["layout"]["xaxis"]["range"]
        assert (low, high) == (0.5, 1.5)
        low, high = chart["layout"]["yaxis"]["range"]
        [value] = chart["data"][0]["y"]
        assert 0 < low < value < high < 1.2 * value


@pytest.mark.parametrize(("networks", "drawn"), [(8, False), (24, True)])
def test_hypervolume_has_a_course_from_two_generations_on(tmp_path: Path, networks: int, drawn: bool) -> None:
    html = render([search(tmp_path, supernet(tmp_path), networks)])
    assert ("Hypervolume by generation" in html) == drawn
    assert "Generations in numbers" in html


def test_a_front_of_one_is_told_as_one(tmp_path: Path) -> None:
    text = Reader(render([search(tmp_path, supernet(tmp_path), 1)])).text
    assert "On the front is the one that no other one matches in both." in text


def browse(file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={file.parent / 'profile'}"
    return subprocess.run(
        [str(CHROMIUM), *FLAGS, profile, *more, file.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
@pytest.mark.parametrize("name", ["mixpath-s1", "mixpath-s4"])
def test_a_browser_draws_every_chart_and_complains_of_nothing(tmp_path: Path, name: str) -> None:
    file = write(whole(tmp_path, name), tmp_path / "report.html")
    seen = browse(file, "--dump-dom")
    assert seen.returncode == 0, seen.stderr
    assert "CONSOLE" not in seen.stderr
    charts = len(Reader(file.read_text()).charts)
    page = re.sub(r"<script.*?</script>", "", seen.stdout, flags=re.S)
    assert charts >= 8
    assert len(re.findall(r'<figure class="card chart[^"]* drawn"', page)) == charts
    assert page.count('class="main-svg"') >= charts


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
@pytest.mark.parametrize("width", [360, 420, 1280])
@pytest.mark.parametrize("long", [False, True])
def test_nothing_is_wider_than_the_window(tmp_path: Path, width: int, long: bool) -> None:
    """Not the page, whatever runs are called, nor the table of runs and the scripts in it."""
    runs = whole(tmp_path)
    if long:
        runs.append(retraining(tmp_path, runs[1], runs[1].trials()[0]["arch"], 2))
        named = [run.path.rename(tmp_path / f"{run.path.name}_{'of_a_very_long_name' * 5}") for run in runs]
        runs = [*map(Run.open, named)]
    write(runs, tmp_path / "report.html")
    frame = tmp_path / "frame.html"
    parts = "[page.documentElement, ...page.querySelectorAll('.runs, .runs table, pre')]"
    most = f"Math.max(...{parts}.map((part) => part.scrollWidth))"
    script = f"onload = () => {{ const page = frames[0].document; document.title = 'wide: ' + {most}; }}"
    frame.write_text(
        f"<iframe src='report.html' style='border:0;width:{width}px;height:900px'></iframe><script>{script}</script>"
    )
    seen = browse(frame, "--dump-dom", "--allow-file-access-from-files")
    assert re.search(r"<title>wide: (\d+)</title>", seen.stdout), seen.stderr
    assert int(re.search(r"<title>wide: (\d+)</title>", seen.stdout)[1]) <= width
