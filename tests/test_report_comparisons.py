"""Reports of comparisons: the protocol in words, curves with their intervals, tables, unfinished and single ones."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from command import nas
from test_report import CHROMIUM, Reader, browse

from nas_suite.pipeline.comparing import CURVES
from nas_suite.report import render, write
from nas_suite.report.chart import MANY, plotly
from nas_suite.report.compared import Compared, Contender
from nas_suite.report.compared_figures import LEAST, charts, drawn
from nas_suite.report.still import still
from nas_suite.report.story import spent
from nas_suite.run import JOBS, Run


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Comparisons on the digits' benchmark: from one design, of one searcher, of one seed."""
    root = tmp_path_factory.mktemp("kept")
    words = ("--bench", "s4-digits", "--budget", 34)
    for name, more in {
        "same": ("random", "evolution", "--same-init", "--seeds", 6),
        "alone": ("random", "--feedback", "test", "--spellings", "--seeds", 3),
        "once": ("random", "evolution", "--seeds", 1),
    }.items():
        said = nas("compare", *more, *words, "--out", root / name)
        assert said.code == 0, said.err
    return root


def copied(kept: Path, name: str, tmp_path: Path) -> Run:
    return Run.open(Path(shutil.copytree(kept / name, tmp_path / name)))


def test_a_comparison_leads_with_the_searcher_that_comes_closest(kept: Path) -> None:
    run = Run.open(kept / "same")
    result, found = run.record["result"], Compared(run)
    read = Reader(render([run]))
    best, other = found.order
    assert best.last["mean"] <= other.last["mean"]
    assert f"{best.name} and {other.name} come closest to the optimum of s4-digits, on digits" in read.text  # all is searched
    assert "2 searchers compared over 6 seeds." in read.text
    assert f"{best.name} {100 * best.last['mean']:.2f} regret in points after 34 evaluations" in read.text
    assert "2 searchers, 6 seeds each, 34 evaluations of the 34 distinct networks in the benchmark s4-digits" in read.text
    assert "They are told the validation accuracy; the test accuracy on digits after 25 epochs judges them" in read.text
    floor = f"the best by what they are told has a regret of {100 * result['floor']:.2f}"
    assert f"The optimum has {100 * result['optimum']['value']:.2f} %; {floor}." in read.text
    assert "All searchers of a seed begin with the same 5 networks, drawn at random." in read.text


def told(run: Run, regrets: dict[str, float], **record: Any) -> Run:
    """A comparison that ended with these mean regrets, whose intervals reach 0.1 points to either side."""
    result = run.record["result"]
    first = result["searchers"][0]
    searchers = [
        {**first, "name": name, "regret": {**first["regret"], "34": {"mean": mean, "low": mean - 0.001, "high": mean + 0.001}}}
        for name, mean in regrets.items()
    ]
    return run.update(result={**result, "searchers": searchers}, searchers=list(regrets), **record)


def test_searchers_that_tie_are_all_named(kept: Path, tmp_path: Path) -> None:
    run = told(copied(kept, "same", tmp_path), {"random": 0.01, "evolution": 0.01 + 1e-14, "gp-ei": 0.01, "bananas": 0.02})
    text = Reader(render([run])).text
    assert "random, evolution and gp-ei come closest to the optimum of s4-digits, on digits" in text
    assert "They tie at 1.00; the 95 % intervals of their regrets are apart from that of bananas." in text
    text = Reader(render([told(run, {"random": 0.01, "evolution": 0.01, "bananas": 0.011})])).text
    assert "the 95 % intervals of their regrets are not apart from that of bananas." in text
    text = Reader(render([told(run, {"random": 0.01, "evolution": 0.01})])).text
    assert "random and evolution come closest" in text
    assert "All have a mean regret of 1.00." in text
    text = Reader(render([told(run, {"random": 0.01, "evolution": 0.01 + 1e-9})])).text
    assert "random comes closest" in text
    assert "The 95 % interval of its regret is not apart from that of evolution." in text


def test_without_an_interval_it_says_why(kept: Path, tmp_path: Path) -> None:
    run = told(copied(kept, "same", tmp_path), {"random": 0.01, "evolution": 0.02})
    result = run.record["result"]
    for searcher in result["searchers"]:
        searcher["regret"]["34"] |= {"low": None, "high": None}
    for seeds, why in ((1, "One seed says little"), (2, "no interval of 2 seeds"), (3, "no interval where all seeds make one")):
        assert why in Reader(render([run.update(result={**result, "seeds": seeds})])).text


@pytest.mark.parametrize(
    ("searchers", "checkpoints", "init", "which"),
    [
        ("tnas gp-ei", {"": "/ck"}, [], "the best by what tnas has learned"),
        ("gp-ei metad2a tnas", {"metad2a": "/ck", "": "/other"}, [], "the best by what tnas has learned"),
        ("gp-ei metad2a tnas", {"metad2a": "/ck"}, [], "the best by what metad2a has learned"),
        ("gp-ei random", {"": "/ck"}, [], "the best by what tnas has learned"),
        ("tnas gp-ei", {}, [], "drawn at random"),
        ("tnas gp-ei", {"": "/ck"}, ["3"], "given by --init"),
    ],
)
def test_the_common_design_is_called_what_it_is(
    kept: Path, tmp_path: Path, searchers: str, checkpoints: dict[str, str], init: list[str], which: str
) -> None:
    """As `contest.Arena.design` has it; the page and the command line say the same."""
    run = copied(kept, "same", tmp_path)
    run = told(run, dict.fromkeys(searchers.split(), 0.01), checkpoints=checkpoints, init=init)
    said = f"the same 5 networks, {which}"
    text = Reader(render([run])).text
    assert f"All searchers of a seed begin with {said}." in text
    shown = nas("runs", "show", run.path)
    assert f"all searchers of a seed with {said}\n" in shown.out
    for name, folder in checkpoints.items():
        spelt = f"{name}={folder}" if name else folder
        assert spelt in text
        assert spelt in shown.out
    if searchers == "gp-ei metad2a tnas" and len(checkpoints) == 2:
        assert "What metad2a learned before is in /ck. What tnas learned before is in /other." in text
    if searchers == "gp-ei random":
        assert "learned before" not in text


def test_the_published_protocol_is_called_so(kept: Path) -> None:
    text = Reader(render([Run.open(kept / "alone")])).text
    assert "34 spellings in the benchmark s4-digits (space mixpath-s4), each a candidate as published." in text
    assert "They are told, and judged by, the test accuracy on digits after 25 epochs, as in the published protocol." in text
    assert "begin with the same" not in text


def test_tables_have_the_figures(kept: Path) -> None:
    run = Run.open(kept / "same")
    read = Reader(render([run]))
    for s in run.record["result"]["searchers"]:
        regrets = " ".join(f"{100 * s['regret'][at]['mean']:.2f}" for at in ("5", "10", "20", "30", "34"))
        assert f"{s['name']} {regrets} after {s['evaluations_to_optimum']['median']:g} {s['seconds']:.3g}" in read.text
        spans = " ".join(f"{100 * b['low']:.2f} … {100 * b['high']:.2f}" for b in s["regret"].values())
        assert f"{s['name']} {spans}" in read.text
        assert f"{s['name']} {' '.join(f'{rank:.2f}' for rank in s['rank'].values())}" in read.text
        spans = " ".join(f"{b['low']:.2f} … {b['high']:.2f}" for b in s["rank_interval"].values())
        assert f"{s['name']} {spans}" in read.text
    assert "Regret less that of random, paired by seed (* outside the noise)" in read.text
    assert "evolution +0.00" in read.text


def test_charts_draw_what_was_written_down(kept: Path) -> None:
    run = Run.open(kept / "same")
    found = Compared(run)
    curves = json.loads((run.path / CURVES).read_text())["searchers"]
    regret, rank, reached = charts(found)
    assert [c.wide for c in (regret, rank, reached)] == [True, False, False]
    for series, curve in zip(regret.series, curves, strict=True):
        assert list(series.y) == [drawn(value) for value in curve["mean"]]
        assert list(series.band) == [(drawn(a), drawn(b)) for a, b in zip(curve["low"], curve["high"], strict=True)]
        assert all(low <= mean <= high for mean, (low, high) in zip(series.y, series.band, strict=True))
    assert [list(series.y) for series in rank.series] == [curve["rank"] for curve in curves]
    assert [list(series.band) for series in rank.series] == [
        list(zip(curve["rank_low"], curve["rank_high"], strict=True)) for curve in curves
    ]
    for series, s in zip(reached.series, run.record["result"]["searchers"], strict=True):
        assert series.y[-1] == s["evaluations_to_optimum"]["reached"] / 6
        assert list(series.y) == sorted(series.y)
    assert len({series.colour for series in regret.series}) == 2
    assert (drawn(0.0), drawn(0.02)) == (LEAST, 2.0)


def test_no_regret_is_drawn_at_the_least_and_said_so(kept: Path, tmp_path: Path) -> None:
    found = Compared(Run.open(kept / "alone"))  # test feedback over all networks ends without regret
    regret, _ = charts(found)
    assert regret.series[0].y[-1] == LEAST
    assert "What is below 0.01 is drawn at 0.01." in regret.about
    assert not regret.wide
    assert "0 after 34." in regret.alt


def test_one_seed_has_no_band_and_says_so(kept: Path) -> None:
    run = Run.open(kept / "once")
    text = Reader(render([run])).text
    assert "One seed says little: --seeds sets how many there are." in text
    assert "95 % intervals of regret" not in text
    regret = charts(Compared(run))[0]
    assert regret.about.startswith("One seed.")
    assert not any(series.band for series in regret.series)


def test_ten_searchers_have_ten_colours_and_more_are_dashed(kept: Path) -> None:
    found = Compared(Run.open(kept / "same"))
    entry = found.run.record["result"]["searchers"][0]
    many = [Contender(entry, {}, at, 34) for at in range(14)]
    assert len({c.colour for c in many[:10]}) == len(MANY) == 10
    assert len({(c.colour, c.dashed) for c in many}) == 14


def test_every_colour_of_a_curve_has_a_meaning_in_the_page(kept: Path) -> None:
    html = render([Run.open(kept / "same")])
    for colour in MANY:
        assert html.count(f"--{colour}: #") == 2  # by day and by night
        assert f".run.{colour}" in html
        assert f".band.{colour}" in html


def test_an_unfinished_comparison_says_how_far_it_is(kept: Path, tmp_path: Path) -> None:
    run = copied(kept, "same", tmp_path)
    run.rewrite(JOBS, run.lines(JOBS)[:5])
    record = {key: value for key, value in run.record.items() if key != "result"}
    (run.path / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    text = Reader(render([Run.open(run.path)])).text
    assert "Comparison: 5 searches" in text
    assert f"Searchers on the benchmark s4-digits; 5 of 12 searches done; to go on with it: nas runs resume {run.path}." in text


def test_without_its_curves_the_tables_stand(kept: Path, tmp_path: Path) -> None:
    run = copied(kept, "same", tmp_path)
    (run.path / CURVES).unlink()
    assert charts(Compared(run)) == []
    assert "95 % intervals of regret" in Reader(render([run])).text
    (run.path / CURVES).write_text('{"searchers": 3}')
    assert charts(Compared(run)) == []


def test_searches_are_counted_in_time_and_settings(kept: Path) -> None:
    run = Run.open(kept / "same")
    assert spent(run) == pytest.approx(sum(line["seconds"] for line in run.lines(JOBS)))
    text = Reader(render([run])).text
    assert "12 searches done" in text
    assert "searchers random, evolution" in text
    assert "same init true" in text


def test_several_comparisons_stand_beside_each_other(kept: Path) -> None:
    text = Reader(render([Run.open(kept / name) for name in ("same", "alone")])).text
    assert "The comparison same" in text
    assert "The comparison alone" in text


def test_stills_draw_all_curves(kept: Path) -> None:
    for chart in charts(Compared(Run.open(kept / "same"))):
        picture = str(still(chart))
        assert picture.count('<path class="run ') >= 2 * len(chart.series)  # the curve and its sample in the legend
        assert picture.count('<path class="band ') == sum(bool(series.band) for series in chart.series)
    assert plotly(charts(Compared(Run.open(kept / "same")))[0])["layout"]["yaxis"]["type"] == "log"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
@pytest.mark.parametrize("width", [360, 500, 1280])
def test_a_browser_draws_every_chart_and_nothing_is_wider_than_the_window(kept: Path, tmp_path: Path, width: int) -> None:
    file = write([Run.open(kept / "same"), Run.open(kept / "alone")], tmp_path / "report.html")
    frame = tmp_path / "frame.html"
    parts = "[page.documentElement, ...page.querySelectorAll('table.cards')]"
    wide, shown = f"Math.max(...{parts}.map((part) => part.scrollWidth))", "page.querySelectorAll('figure.chart.drawn').length"
    title = f"'wide: ' + {wide} + ' charts: ' + {shown}"
    script = f"onload = () => {{ const page = frames[0].document; document.title = {title}; }}"
    frame.write_text(
        f"<iframe src='{file.name}' style='border:0;width:{width}px;height:900px'></iframe><script>{script}</script>"
    )
    seen = browse(frame, "--dump-dom", "--allow-file-access-from-files")
    assert "CONSOLE" not in seen.stderr
    wide, drawn_there = map(int, re.findall(r"wide: (\d+) charts: (\d+)", seen.stdout)[0])
    assert wide <= width
    assert drawn_there == 5
