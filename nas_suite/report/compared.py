"""A comparison of searchers as a report reads it: its protocol in words, regrets, ranks and differences in tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas_suite.pipeline.comparing import CURVES
from nas_suite.report.chart import MANY
from nas_suite.report.ranked import metric
from nas_suite.report.story import entries
from nas_suite.report.tables import Table
from nas_suite.report.words import Number, listed, percent, points
from nas_suite.run import Run, handle
from nas_suite.telling import beginning, learning
from nas_suite.words import plural


@dataclass(frozen=True)
class Contender:
    """A searcher: its figures, what is drawn of it and how; searchers past the last colour are dashed."""

    figures: Mapping[str, Any]
    drawn: Mapping[str, Any]
    place: int
    budget: int

    @property
    def name(self) -> str:
        return self.figures["name"]

    @property
    def colour(self) -> str:
        return MANY[self.place % len(MANY)]

    @property
    def dashed(self) -> bool:
        return self.place >= len(MANY)

    @property
    def last(self) -> Mapping[str, Any]:
        """Its regret at the end."""
        return self.figures["regret"][str(self.budget)]

    @property
    def least(self) -> Number:
        """The mean of that, without what differs by the order of sums alone."""
        return round(self.last["mean"], 12)


class Compared:
    """A comparison's run, read once. Without a result it is not finished."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.result: Mapping[str, Any] = run.record.get("result") or {}
        known = {entry["name"]: entry for entry in drawn(run)} if self.result else {}
        self.contenders = [
            Contender(figures, known.get(figures["name"], {}), at, self.result["budget"])
            for at, figures in enumerate(self.result.get("searchers", ()))
        ]

    @cached_property
    def order(self) -> list[Contender]:
        """The searchers by their regret at the end, of equals the one that was at the optimum sooner."""

        def key(c: Contender) -> tuple[Number, Number]:
            soonest = c.figures["evaluations_to_optimum"]["median"]
            return c.least, c.budget + 1 if soonest is None else soonest

        return sorted(self.contenders, key=key)

    @property
    def leaders(self) -> list[Contender]:
        """The searchers with the least regret at the end: one, or those that tie."""
        return [c for c in self.order if c.least == self.order[0].least]

    @property
    def marks(self) -> list[str]:
        """The numbers of evaluations after which regret is told."""
        return [str(at) for at in self.result["at"]]


def drawn(run: Run) -> Sequence[Mapping[str, Any]]:
    """What a comparison wrote down to be drawn; nothing where that is gone."""
    try:
        found = json.loads((run.path / CURVES).read_text())["searchers"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return found if isinstance(found, list) else []


def soon(c: Contender) -> str:
    """When a searcher is at the optimum, in words."""
    middle = c.figures["evaluations_to_optimum"]["median"]
    return f"not in {c.budget:,}" if middle is None else f"after {middle:g}"


def lede(found: Compared) -> str:
    """Who searched what, and what they were told and judged by."""
    r, run = found.result, found.run
    if not r:
        asked = run.record
        done, every = len(entries(run)), len(asked["searchers"]) * asked["seeds"]
        how = "still at work" if run.state == "running" else f"to go on with it: nas runs resume {handle(run)}"
        return f"Searchers on the benchmark {asked['bench']}; {done} of {plural(every, 'search', 'searches')} done; {how}."
    effort = f"{plural(len(found.contenders), 'searcher')}, {plural(r['seeds'], 'seed')} each, {r['budget']:,} evaluations"
    kind, more = ("spellings", ", each a candidate as published") if r["spellings"] else ("distinct networks", "")
    said = [f"{effort} of the {r['candidates']:,} {kind} in the benchmark {r['bench']} (space {r['space']}){more}."]
    if r["feedback"] == r["metric"]:
        said.append(f"They are told, and judged by, the {metric(r)}, as in the published protocol.")
    else:
        told = metric({**r, "metric": r["feedback"]}, long=False)
        said.append(f"They are told the {told}; the {metric(r)} judges them and was read when all searches were over.")
    floor = f"; the best by what they are told has a regret of {points(r['floor'])}" if r["floor"] > 0 else ""
    said.append(f"The optimum has {percent(r['optimum']['value'])}{floor}.")
    if which := beginning(run.record):
        said.append(f"All searchers of a seed begin with the same {plural(r['design'], 'network')}, {which}.")
    folders: dict[str, list[str]] = {}
    for name, folder in learning(run.record).items():
        folders.setdefault(folder, []).append(name)
    said += [f"What {listed(names)} learned before is in {folder}." for folder, names in folders.items()]
    return " ".join(said)


def reading(found: Compared) -> str:
    """How to read the table of regrets."""
    return (
        "Regret: how far, in percentage points, the best network so far by what the searcher is told is below the optimum; "
        "mean over seeds. Optimum: after how many evaluations, at the median, the best by what the searcher is told was found. "
        "Seconds: what the searcher itself takes for a search, without evaluations."
    )


def regrets(found: Compared) -> Table:
    rows = [
        (c.name, *(points(c.figures["regret"][at]["mean"]) for at in found.marks), soon(c), f"{c.figures['seconds']:.3g}")
        for c in found.contenders
    ]
    return Table("Regret", (*heading(found), "optimum", "seconds"), rows)


def heading(found: Compared) -> tuple[str, ...]:
    return ("searcher", *(f"after {at}" for at in found.marks))


def intervals(found: Compared) -> Table | None:
    """None where no searcher has one."""
    bounds = [[c.figures["regret"][at] for at in found.marks] for c in found.contenders]
    if all(b["low"] is None for row in bounds for b in row):
        return None
    rows = [
        (c.name, *("–" if b["low"] is None else f"{points(b['low'])} … {points(b['high'])}" for b in row))
        for c, row in zip(found.contenders, bounds, strict=True)
    ]
    return Table("95 % intervals of regret", heading(found), rows)


def ranks(found: Compared) -> Table | None:
    if len(found.contenders) < 2:
        return None
    rows = [(c.name, *(ranked(c.figures["rank"][at]) for at in found.marks)) for c in found.contenders]
    return Table("Mean ranks", heading(found), rows)


def rank_intervals(found: Compared) -> Table | None:
    """None where no searcher has one."""
    bounds = [[c.figures.get("rank_interval", {}).get(at, {"low": None}) for at in found.marks] for c in found.contenders]
    if len(found.contenders) < 2 or all(b["low"] is None for row in bounds for b in row):
        return None
    rows = [
        (c.name, *("–" if b["low"] is None else f"{b['low']:.2f} … {b['high']:.2f}" for b in row))
        for c, row in zip(found.contenders, bounds, strict=True)
    ]
    return Table("95 % intervals of mean rank", heading(found), rows)


def ranked(rank: Number | None) -> str:
    return "–" if rank is None else f"{rank:.2f}"


def differences(found: Compared) -> list[Table]:
    """Each searcher's regret less that of the first, and the intervals of that; none where they began differently."""
    apart = found.result["differences"]
    if not apart:
        return []
    rows = [(d["of"], *(less(d["regret"][at]) for at in found.marks)) for d in apart]
    title = f"Regret less that of {apart[0]['less']}, paired by seed"
    spans = [(d["of"], *(span(d["regret"][at]) for at in found.marks)) for d in apart]
    return [Table(f"{title} (* outside the noise)", heading(found), rows), Table(f"{title}, 95 %", heading(found), spans)]


def less(e: Mapping[str, Any]) -> str:
    return signed(e["mean"]) + ("*" if e["real"] else "")


def span(e: Mapping[str, Any]) -> str:
    return "–" if e["low"] is None else f"{signed(e['low'])} … {signed(e['high'])}"


def signed(regret: Number) -> str:
    return f"{100 * regret:+z.2f}".replace("-", "−")
