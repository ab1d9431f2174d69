"""A ranking as a report reads it: its networks and its estimators in words, and their figures in tables."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas_suite.pipeline.ranking import NETWORKS, SCORES
from nas_suite.report.chart import PALETTE
from nas_suite.report.tables import Table
from nas_suite.report.words import Number, percent, points, seconds, signed, three
from nas_suite.run import Run, handle
from nas_suite.words import plural

ACCURACY = re.compile(r"(?P<data>.+)/(?P<split>train|val|test)@(?P<epochs>\d+)")
SPLITS = {"train": "training", "val": "validation", "test": "test"}
PAPER = (
    "as in the published loop of MixPath: ordered draws, of which several can mean one network; one random repeat of each is "
    "its truth; the 30 lowest scores of every estimator are left out"
)


@dataclass(frozen=True)
class Judged:
    """An estimator: its figures, what is drawn of it, and the colour of that."""

    figures: Mapping[str, Any]
    drawn: Mapping[str, Any]
    colour: str

    @property
    def name(self) -> str:
        return self.figures["name"]

    @property
    def baseline(self) -> bool:
        return self.figures["kind"] == "baseline"

    @property
    def runs(self) -> list[str]:
        """The names of its runs, where it has any."""
        return [seed["run"] for seed in self.figures.get("seeds", [{"run": self.name}])]

    @property
    def tau(self) -> Number | None:
        """None where it is constant."""
        return self.figures["tau"]

    @property
    def interval(self) -> str:
        return span(self.figures["tau_low"], self.figures["tau_high"])


class Ranked:
    """A ranking run, read once. Without a result it is not finished."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.result: Mapping[str, Any] = run.record.get("result") or {}
        self.drawn = drawn(run) if self.result else {}
        known = {entry["name"]: entry for entry in self.drawn.get("estimators", ())}
        self.judged = [
            Judged(figures, known.get(figures["name"], {}), PALETTE[at % len(PALETTE)])
            for at, figures in enumerate(self.result.get("estimators", ()))
        ]

    @property
    def sign(self) -> int:
        """What turns a truth or a score, of which more is better, back into what was measured."""
        return -1 if self.result.get("goal") == "min" else 1

    @property
    def share(self) -> bool:
        """Whether the truth is a share 0 … 1, such as an accuracy."""
        return self.result["unit"] == "share"

    @cached_property
    def best_baseline(self) -> Judged | None:
        known = [(e.tau, e) for e in self.judged if e.baseline and e.tau is not None]
        return max(known, key=lambda pair: pair[0])[1] if known else None

    @cached_property
    def lead(self) -> Judged | None:
        """The first estimator that is no baseline, else the best of these; None where none orders anything."""
        return next((e for e in self.judged if not e.baseline and e.tau is not None), self.best_baseline)

    def difference(self, one: Judged, other: Judged) -> Mapping[str, Any] | None:
        """tau of one less that of the other, as the ranking found it; None where it did not compare them."""
        for d in self.result["differences"]:
            if (d["of"], d["and"]) == (one.name, other.name):
                return d
            if (d["and"], d["of"]) == (one.name, other.name):
                return {
                    "of": one.name,
                    "and": other.name,
                    "tau": -d["tau"],
                    "low": -d["high"],
                    "high": -d["low"],
                    "real": d["real"],
                }
        return None

    @property
    def worse(self) -> str:
        """Where a worse truth lies: below a better one, or above it where less is better, such as a latency."""
        return "above" if self.sign < 0 else "below"

    def lost(self, regret: Number | None) -> str:
        """A regret: percentage points of an accuracy, else in the metric's unit."""
        if regret is None:
            return "–"
        return points(regret) if self.share else f"{regret:.4g}"


def drawn(run: Run) -> dict[str, Any]:
    """What a ranking wrote down to be drawn; nothing where that is gone."""
    try:
        found = json.loads((run.path / NETWORKS).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def metric(result: Mapping[str, Any], long: bool = True) -> str:
    """A metric in words: test accuracy, and if `long` on cifar10 after 50 epochs."""
    found = ACCURACY.fullmatch(result["metric"])
    if found is None:
        return result["metric"] + (f" [{result['unit']}]" if result["unit"] not in ("", "share") else "")
    epochs = f" after {plural(int(found['epochs']), 'epoch')}" if int(found["epochs"]) else ""
    return f"{SPLITS[found['split']]} accuracy" + (f" on {found['data']}{epochs}" if long else "")


def span(low: Number | None, high: Number | None) -> str:
    return "–" if low is None else f"{three(low)} … {three(high)}"


def lede(ranked: Ranked) -> str:
    """What was ranked, against which ceiling, and what makes another ranking comparable."""
    r, run = ranked.result, ranked.run
    if not r:
        written = plural(len(run.lines(SCORES)), "score")
        how = "still at work" if run.state == "running" else f"to go on with it: nas runs resume {handle(run)}"
        return f"Networks of the benchmark {run.record['bench']}; not finished, {written} written down; {how}."
    whole = f"all {plural(r['n'], 'network')}" if r["n"] == r["of"] else f"{r['n']:,} of the {plural(r['of'], 'network')}"
    of = f"of the benchmark {r['bench']} (space {r['space']}; {r['distinct']:,} of them distinct)"
    said = [f"How well {plural(len(ranked.judged), 'estimator')} order {whole} {of} by their {metric(r)}."]
    if r["partial"]:
        said.append("The benchmark is partial: its file did not hold all networks.")
    said.append(f"{plural(r['ties'], 'pair')} of them {'has' if r['ties'] == 1 else 'have'} equal truth.")
    if r["ceiling"] is not None:
        said.append(f"The noise ceiling is {three(r['ceiling'])}, the tau between two of {plural(r['repeats'], 'repeat')}.")
    else:
        said.append("There are too few repeats to tell a noise ceiling.")
    how = f"paper, {PAPER}" if r["protocol_name"] == "paper" else "clean"
    return " ".join([*said, f"Protocol {r['protocol']} ({how}); rankings of one protocol can be compared."])


def remarks(ranked: Ranked) -> list[str]:
    """What the figures alone do not say of estimators: other data, no order, failures, seeds, training."""
    said = [f"{note}." for note in ranked.result.get("notes", ())]
    for e in ranked.judged:
        f = e.figures
        if f["constant"]:
            said.append(f"{e.name} gives all networks the same score, so it orders nothing.")
        if f["failed"]:
            why = f" ({f['error']})" if f["error"] else ""
            said.append(
                f"{e.name} has no score for {f['failed']:,} of {plural(f['n'], 'network')}{why}; they count as its lowest."
            )
        if "seeds" in f:
            each = ", ".join(f"{three(seed['tau'])} ({seed['run']})" for seed in f["seeds"])
            said.append(f"{e.name} is a mean over seeds, whose own taus are {each}; sd {three(f['seeds_sd'])}.")
        if f["training_seconds"]:
            said.append(f"{e.name} took {seconds(f['training_seconds'])} of training before it could score.")
    return said


def estimators(ranked: Ranked) -> Table:
    columns = (
        "estimator", "tau", "95 % interval", "Spearman", "weighted tau", *(f"regret@{top}" for top in tops(ranked)),
        "top tenth found", "tau in top tenth", "seconds",
    )  # fmt: skip
    rows = []
    for e in ranked.judged:
        f = e.figures
        regrets = [ranked.lost(f["regret_at"][top]) for top in tops(ranked)]
        found = "–" if f["precision_top10"] is None else percent(f["precision_top10"])
        orders = (three(e.tau), e.interval, three(f["spearman"]), three(f["weighted_tau"]))
        rows.append((e.name, *orders, *regrets, found, three(f["tau_top10"]), f"{f['seconds']:.3g}"))
    return Table("The estimators", columns, rows)


def tops(ranked: Ranked) -> list[str]:
    return list(ranked.judged[0].figures["regret_at"])


def reading(ranked: Ranked) -> str:
    """How to read the table of estimators."""
    unit = "percentage points" if ranked.share else "the metric’s unit"
    return (
        f"Regret@k: how far, in {unit}, the best of the k best by score is {ranked.worse} the best of all. "
        "Top tenth found: the part of the best tenth by score that truly belongs to it."
    )


def differences(ranked: Ranked) -> list[Table]:
    """The differences of the leading estimator from each other one; and those of all pairs, where these are more."""
    columns = ("tau of", "less that of", "difference", "95 % interval", "verdict")
    lead = ranked.lead
    own = [d for e in ranked.judged if lead and e is not lead and (d := ranked.difference(lead, e))]
    every = ranked.result["differences"]
    found = [Table("Differences", columns, [compared(d) for d in own])]
    if len(every) > len(own):
        found.append(Table("All differences", columns, [compared(d) for d in every]))
    return found if own else []


def compared(d: Mapping[str, Any]) -> tuple[str, ...]:
    verdict = "outside the noise" if d["real"] else "inside the noise"
    return d["of"], d["and"], signed(d["tau"]), f"{signed(d['low'])} … {signed(d['high'])}", verdict


def growing(ranked: Ranked) -> Table | None:
    """tau of random subsets, by their size; None where nothing was written down of it."""
    known = [e for e in ranked.judged if e.drawn.get("growing")]
    by_size: dict[int, dict[str, str]] = {}
    for e in known:
        for size, mean, low, high in e.drawn["growing"]:
            by_size.setdefault(size, {})[e.name] = f"{three(mean)} ({span(low, high)})"
    rows = [(f"{size:,}", *(said.get(e.name, "–") for e in known)) for size, said in sorted(by_size.items())]
    return Table("Tau by size of the subset", ("networks", *(e.name for e in known)), rows) if rows else None


def falling(ranked: Ranked) -> Table | None:
    """Regret by how many of the best scores are looked at; None where nothing was written down of it."""
    known = [e for e in ranked.judged if e.drawn.get("regret")]
    by_top: dict[int, dict[str, str]] = {}
    for e in known:
        for top, regret in e.drawn["regret"]:
            by_top.setdefault(top, {})[e.name] = ranked.lost(regret)
    rows = [(f"{top:,}", *(said.get(e.name, "–") for e in known)) for top, said in sorted(by_top.items())]
    return Table("Regret", ("k", *(e.name for e in known)), rows) if rows else None
