"""Reports of searches for a latency: target, rounds, choices, widths, and how a browser shows them."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_deriving import planned, table_of
from test_report import CHROMIUM, Reader, browse

from nas_suite import pipeline
from nas_suite.pipeline.setting import TABLE, deployed, prepare
from nas_suite.report import render, write
from nas_suite.report.chart import Axis, Chart, Series, plotly
from nas_suite.report.derived import Derived, steps, unlikeliest
from nas_suite.report.grids import course, grids
from nas_suite.report.still import still
from nas_suite.run import LOG, Run
from nas_suite.target import Target


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny search for a latency on a device that is not here: one epoch of warm-up, three of choices."""
    folder = tmp_path_factory.mktemp("searched")
    space = deployed(prepare(planned()))
    table = table_of(space)
    table.write(folder / "toy.json")
    low, high = Target(table.cost(space), 1.0).span
    plan = planned("method.epochs=4", latency=round((low + high) / 2, 3))
    return pipeline.derive(plan, type(table).read(folder / "toy.json"), out=folder / "found").path


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Run:
    shutil.copytree(searched, tmp_path / "found")
    return Run.open(tmp_path / "found")


Measured = Callable[..., Run]


@pytest.fixture
def measured(run: Run) -> Measured:
    """The run, as if its network had been measured so; shares of the target."""

    def made(*shares: float, spread: float = 0.001) -> Run:
        result = run.record["result"]
        ms = result["target_ms"]
        rounds = [
            {"arch": result["arch"], "predicted_ms": ms, "measured_ms": share * ms, "spread_ms": spread * ms}
            for share in shares
        ]
        nearest = min(shares, key=lambda share: abs(share - 1)) * ms
        said = {"rounds": rounds, "predicted_ms": ms, "measured_ms": nearest, "table_ms": 1.1 * ms, "unmeasured": ""}
        return run.update(result={**result, **said})

    return made


def test_a_search_says_what_it_was_for_and_why_nothing_was_measured(run: Run) -> None:
    page, result = Reader(render([run])), run.record["result"]
    assert f"{result['predicted_ms']:.2f} ms for a target of {result['target_ms']:g} ms" in page.text
    assert f"A network that takes {result['target_ms']:g} ms on a toy (batch 1, 1 thread, fp32, 32 px)." in page.text
    assert f"takes {result['predicted_ms']:.3f} ms by the table" in page.text
    assert "It was not measured: the table was measured on a toy, which is not here" in page.text
    titles = ("Latency by epoch", "Elasticity-scaling, step by step", "How undecided the choices are", "Depth of the stages")
    assert all(title in page.text for title in (*titles, "Operations over the epochs", "Operations and widths"))
    assert "Predicted and measured" not in page.text
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", page.text)


def test_rounds_show_predicted_measured_spread_and_the_nearest(measured: Measured) -> None:
    run = measured(1.08, 1.004, 0.99)
    page, ms = Reader(render([run])), run.record["result"]["target_ms"]
    assert f"{1.004 * ms:.2f} ms for a target of {ms:g} ms" in page.text
    assert f"was measured to take {1.004 * ms:.3f} ms, 0.4 % above the target." in page.text
    assert "the target is not met" not in page.text
    assert "by the latency table, corrected" in page.text
    assert f"Its blocks add up to {1.1 * ms:.3f} ms in the table" in page.text
    assert f"The first network measured {1.08 * ms:.3f} ms, 8 % above the target." in page.text
    assert page.text.count("nearest") == 1
    [chart] = [c for c in page.charts if any("measured" in s.get("name", "") for s in c["data"])]
    line = next(s for s in chart["data"] if s["name"] == "measured" and s["mode"] != "none")
    assert line["y"] == pytest.approx([1.08 * ms, 1.004 * ms, 0.99 * ms])
    areas = {s["name"]: s["y"] for s in chart["data"] if s["mode"] == "none"}
    assert areas["measured"][:3] == pytest.approx([share * ms + 0.0005 * ms for share in (1.08, 1.004, 0.99)])
    assert [max(areas["target ± 1 %"]), min(areas["target ± 1 %"])] == pytest.approx([1.01 * ms, 0.99 * ms])


@pytest.mark.parametrize(
    ("share", "spread", "met"), [(1.03, 0.001, False), (1.03, 0.04, True), (0.97, 0.0, False), (1.015, 0, True)]
)
def test_a_target_is_met_within_two_percent_or_the_spread_of_the_runs(
    measured: Measured, share: float, spread: float, met: bool
) -> None:
    assert ("the target is not met" not in Reader(render([measured(share, spread=spread)])).text) == met


def test_the_pictures_hold_every_share_and_frame_the_network(run: Run) -> None:
    found = Derived(run)
    assert found.space is not None
    operations, depths, widths = found.space.split(found.space.parse(run.record["result"]["arch"]))
    ran = [at for stage, depth in zip(found.space.stages, depths, strict=True) for at in stage[: depth + 1]]
    drawn = {grid.title: str(grid.svg) for grid in grids(found)}
    assert list(drawn) == ["Operations and widths", "Depth of the stages", "Operations by block", "Training of the operations"]
    assert [int(text) for text in re.findall(r'class="value"[^>]*>(\d+)<', drawn["Operations and widths"])] == [
        widths[at][operations[at]] for at in ran
    ]
    by_block = drawn["Operations by block"]
    assert by_block.count('class="share"') == 18 * 8
    framed = re.findall(r'<title>(stage\d\.\d) (\w+): [^<]*</title></rect><rect class="frame"', by_block)
    names = {at: name for at, _, name in found.places()}
    assert framed == [(names[at], found.space.operations[operations[at]]) for at in ran]
    assert drawn["Depth of the stages"].count('class="frame"') == 6
    counts = [int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) steps<", drawn["Training of the operations"])]
    assert counts == [count for row in found.last["trained"] for count in row]
    over = course(found)
    assert over is not None
    assert str(over.svg).count('class="share"') == 18 * 3


def test_the_trace_of_the_last_epoch_is_told_step_by_step(run: Run) -> None:
    found = Derived(run)
    taken = steps(found)
    assert [ms for _, ms in taken] == [found.last["unscaled"], *found.last["trace"]]
    assert (taken[0][0], taken[1][0].startswith("all stages"), taken[-1][0]) == (
        "as the epoch began", True, "widths go to their grid",
    )  # fmt: skip
    assert taken[-1][1] == pytest.approx(found.last["latency"])
    text = Reader(render([run])).text
    assert all(name in text for name, _ in taken)


def test_the_log_keeps_what_is_drawn(run: Run) -> None:
    lines = run.epochs()
    assert ["operations" in line for line in lines] == [False, True, True, True]
    for line in lines[1:]:
        assert [sum(shares) for shares in line["operations"]] == pytest.approx([1.0] * 18)
        entropy = sum(-p * math.log(p) for shares in line["operations"] for p in shares) / 18
        assert line["operation_entropy"] == pytest.approx(entropy)
        assert line["unscaled"] > 0
    assert "validation" in json.dumps([c["data"] for c in Reader(render([run])).charts]), "though the warm-up has none"


def test_starved_operations_and_targets_out_of_reach_are_named(run: Run) -> None:
    *lines, last = run.lines(LOG)
    last |= {"starved": ["block0.k3e3", *(f"block{at}.k5e6se" for at in range(9))], "out_of_reach": 0.5}
    last["operations"] = [[1 / 8] * 8] * 18
    (run.path / LOG).write_text("".join(json.dumps(line) + "\n" for line in (*lines, last)))
    found, text = Derived(run), Reader(render([run])).text
    assert "10 of 144 operations starved, trained far less than an equal share: block0.k3e3, " in text
    assert "block4.k5e6se and 4 more." in text
    assert "the likeliest operations could not meet the target at any width; the last of these was epoch 4." in text
    assert str(grids(found)[3].svg).count('class="dot"') == 10
    changed = unlikeliest(found)
    assert bool(changed) == (f"the network has {changed} other than the likeliest" in text)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_unfinished_search_tells_how_far_it_is(run: Run, kept: int) -> None:
    lines = run.lines(LOG)[:kept]
    (run.path / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = {key: value for key, value in run.record.items() if key != "result"}
    (run.path / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    text = Reader(render([Run.open(run.path)])).text
    assert f"{kept} epoch{'s'[: kept != 1]} so far, {max(0, kept - 1)} of them after the warm-up" in text
    assert f"nas runs resume {run.path}" in text
    assert ("Operations by block" in text) == (kept > 1)


def test_without_its_table_or_its_space_a_search_is_still_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.path / TABLE).unlink()
    run = run.update(table=str(run.path / "gone.json"))
    assert f"A network that takes {run.record['result']['target_ms']:g} ms." in Reader(render([run])).text
    monkeypatch.setattr("nas_suite.report.derived.space_of", lambda run: None)
    text = Reader(render([run])).text
    assert "Latency by epoch" in text
    assert "Operations by block" not in text


def test_several_searches_are_told_apart(run: Run, searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched, tmp_path / "other")
    page = Reader(render([run, Run.open(tmp_path / "other")]))
    assert {"The search for a latency found", "The search for a latency other"} <= set(page.words)
    assert len(page.ids) == len(set(page.ids))


def test_a_logarithmic_axis_of_shares_stays_inside_the_frame() -> None:
    y = Axis("from the target", "percent", log=True)
    chart = Chart("k", "t", Axis("step", "whole"), y, [Series("", [0, 1, 2], [0.1, 3e-4, 1e-6])], "alt")
    path = re.search(r'class="run[^"]*" d="([^"]+)"', still(chart))[1]
    heights = [float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", path)]
    assert 0 < heights[0] < heights[1] < heights[2] < 210
    assert heights[1] - heights[0] == pytest.approx((heights[2] - heights[0]) / 5 * math.log10(0.1 / 3e-4), abs=0.2)
    assert {">10 %<", ">0.01 %<"} <= set(re.findall(r">[\d.]+ %<", still(chart)))
    assert plotly(chart)["layout"]["yaxis"]["type"] == "log"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
def test_a_browser_draws_a_search_for_a_latency_within_its_window(measured: Measured, tmp_path: Path) -> None:
    file = write([measured(1.08, 1.004)], tmp_path / "report.html")
    seen = browse(file, "--dump-dom")
    assert "CONSOLE" not in seen.stderr
    page = re.sub(r"<script.*?</script>", "", seen.stdout, flags=re.S)
    assert len(re.findall(r'<figure class="card chart[^"]* drawn"', page)) == len(Reader(file.read_text()).charts) >= 8
    frame = tmp_path / "frame.html"
    script = "onload = () => { document.title = 'wide: ' + frames[0].document.documentElement.scrollWidth; }"
    for width in (360, 420, 1280):
        frame.write_text(
            f"<iframe src='report.html' style='border:0;width:{width}px;height:900px'></iframe><script>{script}</script>"
        )
        seen = browse(frame, "--dump-dom", "--allow-file-access-from-files")
        assert int(re.search(r"<title>wide: (\d+)</title>", seen.stdout)[1]) <= width
