"""What a comparison of searchers comes to, as text: what they searched, their regret, what that alone does not say."""

from collections.abc import Mapping
from typing import Any

from nas_suite.cli.answer import facts
from nas_suite.cli.layout import Prose, Table
from nas_suite.run import Run
from nas_suite.telling import beginning, spelt
from nas_suite.words import plural


def of_comparison(run: Run) -> tuple[dict[str, Any], list[Table | str]]:
    """What a comparison found, as plain values and as text."""
    result = run.record.get("result")
    if result is None:
        return {"bench": run.record["bench"]}, [facts({"benchmark": run.record["bench"]})]
    parts: list[Table | str] = [facts(heads(result, run.record)), "", table(result), "", legend(result)]
    if any(s["regret"][str(at)]["low"] is not None for s in result["searchers"] for at in result["at"]):
        parts += ["", intervals(result)]
    if len(result["searchers"]) > 1:
        parts += ["", ranks(result)]
        if any(each["low"] is not None for s in result["searchers"] for each in s.get("rank_interval", {}).values()):
            parts += ["", rank_intervals(result)]
    if result["differences"]:
        parts += ["", apart(result)]
    begin = {"begin": beginning(run.record) or "each searcher's own"}
    return result | begin, [*parts, *(["", *map(Prose, result["notes"])] if result["notes"] else [])]


def heads(r: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    """What is searched by which protocol."""
    kind = "spellings, each a candidate" if r["spellings"] else "distinct networks, each by its canonical spelling"
    told = "the searchers are told of it too" if r["feedback"] == r["metric"] else f"the searchers are told {r['feedback']}"
    which = beginning(record)
    design = (
        f"all searchers of a seed with the same {plural(r['design'], 'network')}, {which}" if which else "each searcher's own"
    )
    best = f"{percent(r['optimum']['value'])} %, {r['optimum']['arch']}"
    return {
        "benchmark": f"{r['bench']} {r['version']}".strip() + (", partial" if r["partial"] else ""),
        "candidates": f"{r['candidates']:,} {kind}",
        "judged by": Prose(f"{r['metric']}; {told}"),
        "optimum": best,
        "best by feedback": f"regret {percent(r['floor'])}",
        "begin": Prose(design),
        **({"checkpoint": ", ".join(spelt(given))} if (given := record.get("checkpoints")) else {}),
        "effort": f"{plural(r['budget'], 'evaluation')}, {plural(r['seeds'], 'seed')}",
    }


def table(r: Mapping[str, Any]) -> Table:
    """Mean regrets."""
    rows = []
    for s in r["searchers"]:
        regrets = [percent(s["regret"][str(at)]["mean"]) for at in r["at"]]
        rows.append((s["name"], *regrets, soon(s, r["budget"]), f"{s['seconds']:.3g}"))
    return Table(("regret after", *map(str, r["at"]), "optimum", "s"), rows)


def soon(s: Mapping[str, Any], budget: int) -> str:
    middle = s["evaluations_to_optimum"]["median"]
    return f"not in {budget}" if middle is None else f"{middle:g}"


def legend(r: Mapping[str, Any]) -> Prose:
    return Prose(
        "regret: how far the best network by feedback so far is below the optimum, in percentage points, mean over seeds; "
        "optimum: evaluations until the best by feedback is found, median; s: what the searcher itself takes for a search"
    )


def intervals(r: Mapping[str, Any]) -> Table:
    rows = [(s["name"], *(span(s["regret"][str(at)]) for at in r["at"])) for s in r["searchers"]]
    return Table(("95 % interval", *map(str, r["at"])), rows)


def span(bounds: Mapping[str, Any]) -> str:
    return "–" if bounds["low"] is None else f"{percent(bounds['low'])}…{percent(bounds['high'])}"


def ranks(r: Mapping[str, Any]) -> Table:
    def said(rank: float | None) -> str:
        return "–" if rank is None else f"{rank:.2f}"

    rows = [(s["name"], *(said(s["rank"][str(at)]) for at in r["at"])) for s in r["searchers"]]
    return Table(("mean rank", *map(str, r["at"])), rows)


def rank_intervals(r: Mapping[str, Any]) -> Table:
    def said(bounds: Mapping[str, Any]) -> str:
        return "–" if bounds["low"] is None else f"{bounds['low']:.2f}…{bounds['high']:.2f}"

    rows = [(s["name"], *(said(s["rank_interval"][str(at)]) for at in r["at"])) for s in r["searchers"]]
    return Table(("rank, 95 %", *map(str, r["at"])), rows)


def apart(r: Mapping[str, Any]) -> Table:
    """Paired differences."""
    rows = []
    for d in r["differences"]:
        for at in r["at"]:
            e = d["regret"][str(at)]
            spread = "–" if e["low"] is None else f"{signed(e['low'])} … {signed(e['high'])}"
            rows.append(
                (d["of"], str(at), signed(e["mean"]), spread, "" if e["real"] or e["low"] is None else "inside the noise")
            )
    return Table((f"less {r['differences'][0]['less']}", "after", "regret", "95 % interval", ""), rows)


def percent(share: float) -> str:
    return f"{100 * share:z.2f}"


def signed(share: float) -> str:
    return f"{100 * share:+z.2f}"
