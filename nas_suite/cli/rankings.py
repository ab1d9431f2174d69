"""What a ranking comes to, as text: its networks, its estimators, and what the figures alone do not say."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas_suite.cli.answer import facts, percent
from nas_suite.cli.layout import Prose, Table
from nas_suite.run import Run
from nas_suite.words import plural


def of_ranking(run: Run) -> tuple[dict[str, Any], list[Table | str]]:
    """What a ranking found, as plain values and as text."""
    result = run.record.get("result")
    if result is None:
        return {"bench": run.record["bench"]}, [facts({"benchmark": run.record["bench"]})]
    return result, [facts(heads(result)), "", table(result), "", legend(result["unit"]), *remarks(result)]


def heads(result: Mapping[str, Any]) -> dict[str, str]:
    """What is ranked, and what makes another ranking comparable."""
    whole = "all" if result["n"] == result["of"] else f"of {result['of']:,}"
    n = f"{result['n']:,} ({whole}), {result['distinct']:,} distinct"
    if result["protocol_name"] == "paper":
        n = f"{plural(result['n'], 'draw')} from {result['of']:,}, {result['distinct']:,} distinct"
    ceiling = "–"
    if result["ceiling"] is not None:
        ceiling = f"{result['ceiling']:z.3f} (tau between two of {plural(result['repeats'], 'repeat')})"
    name = "paper (1000 ordered draws, one random repeat, 30 lowest dropped)" if result["protocol_name"] == "paper" else "clean"
    return {
        "benchmark": f"{result['bench']} {result['version']}".strip() + (", partial" if result["partial"] else ""),
        "space": result["space"],
        "metric": result["metric"],
        "networks": n,
        "ties": f"{plural(result['ties'], 'pair')} of equal truth",
        "noise ceiling": ceiling,
        "protocol": f"{result['protocol']}, {name}",
    }


def legend(unit: str) -> Prose:
    """What the columns of the table are."""
    said = "percentage points" if unit == "share" else unit
    return Prose(
        "tau: Kendall's tau-b, and its bootstrap interval; weighted: a tau in which the truly best count most; regret@k: how "
        f"far the truly best of the k best by score is below the best of all, in {said}; hits: how many of the best tenth by "
        "score truly belong to it; top tau: tau among the truly best tenth; cost: of scoring"
    )


def table(result: Mapping[str, Any]) -> Table:
    unit = "%" if result["unit"] == "share" else result["unit"]
    tops = [f"regret@{top}, {unit}" for top in result["estimators"][0]["regret_at"]]
    columns = ("estimator", "tau", "95 % interval", "Spearman", "weighted", *tops, "hits", "top tau", "cost, s")
    rows = []
    for e in result["estimators"]:
        span = f"{e['tau_low']:z.3f} … {e['tau_high']:z.3f}" if e["tau_low"] is not None else "–"
        regrets = [points(value, result["unit"]) for value in e["regret_at"].values()]
        top = percent(e["precision_top10"]) if e["precision_top10"] is not None else "–"
        figures = [three(e["tau"]), span, three(e["spearman"]), three(e["weighted_tau"])]
        rows.append((e["name"], *figures, *regrets, top, three(e["tau_top10"]), f"{e['seconds']:.3g}"))
    return Table(columns, rows)


def three(value: float | None) -> str:
    return f"{value:z.3f}" if value is not None else "–"


def points(value: float | None, unit: str) -> str:
    """A regret: percentage points of a share, else in the metric's unit."""
    if value is None:
        return "–"
    return f"{100 * value:z.2f}" if unit == "share" else f"{value:.4g}"


def remarks(result: Mapping[str, Any]) -> list[str]:
    """What the figures alone do not say: other data, failures, seeds, differences inside the noise."""
    lines = [*result.get("notes", ())]
    for e in result["estimators"]:
        if e["failed"]:
            why = f" ({e['error']})" if e["error"] else ""
            lines.append(
                f"{e['name']}: no score for {e['failed']:,} of {plural(e['n'], 'network')}{why}; they count as its lowest"
            )
        if e["constant"]:
            lines.append(f"{e['name']}: the same score for all networks, so it orders nothing")
        if "seeds" in e:
            each = ", ".join(three(seed["tau"]) for seed in e["seeds"])
            lines.append(f"{e['name']}: tau of each seed {each}; mean {e['seeds_mean']:z.3f}, sd {e['seeds_sd']:z.3f}")
        if e["training_seconds"]:
            lines.append(f"{e['name']}: its training took {e['training_seconds']:,.0f} s")
    lines += [said(d) for d in shown(result)]
    return ["", *map(Prose, lines)] if lines else []


def shown(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The differences that are told: of the first estimator from all others."""
    first = result["estimators"][0]["name"]
    return [d for d in result["differences"] if d["of"] == first]


def said(d: Mapping[str, Any]) -> str:
    verdict = "" if d["real"] else ": inside the noise"
    return f"{d['of']} less {d['and']}: {d['tau']:+z.3f} ({d['low']:+z.3f} … {d['high']:+z.3f}){verdict}"
