"""What a supernet's statistics say, as tables."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nas_suite.cli.answer import percent
from nas_suite.cli.layout import Prose, Table
from nas_suite.words import plural

RATIOS = ("mean: law", "measured", "norms", "variance: law", "measured", "norms")


def tables(found: Mapping[str, Any]) -> list[Table | str]:
    """The entries of statistics.json, in the order in which a reader asks for them."""
    law = found["law"]
    first = [site for site in law["sites"] if site["block"] == law["sites"][0]["block"]]
    parts: list[Table | str] = [
        f"{found['norm']} norms, sums of at most {plural(found['m'], 'path')}, {plural(len(law['sites']), 'site')}",
        "",
        Prose("Sums of i paths against one path, first block (law: i, and i + i(i-1)ρ with the measured correlation ρ)"),
        Table(("site", "ρ", "paths", *RATIOS), list(law_rows(first))),
        "",
        "The same over all sites: mean (least … greatest)",
        Table(("paths", *RATIOS), [(str(row["paths"]), *ratios(row, ranged)) for row in law["summary"]]),
        f"ρ over all sites: {ranged(law['rho'])}",
        "",
        *affine(found["affine"]),
        "",
        *cosines(found["cosines"], first[0]["block"]),
        "",
        "One-shot accuracy of random networks in which every block runs so many paths",
        by_paths(found["by_paths"]),
    ]
    return parts


def law_rows(sites: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for site in sites:
        for at, row in enumerate(site["rows"]):
            head = (site["site"], number(site["rho"])) if at == 0 else ("", "")
            yield (*head, str(row["paths"]), *ratios(row, number))


def ratios(row: Mapping[str, Any], say: Any) -> tuple[str, ...]:
    """The six ratios of a row, each put into words by `say`."""
    return tuple(
        say(value)
        for name in ("mean", "variance")
        for value in (row[f"{name}_law"], *(row[kind] and row[kind][name] for kind in ("measured", "trained")))
    )


def number(value: float | int | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def ranged(span: Mapping[str, float] | None) -> str:
    if span is None:
        return "–"
    if span["min"] == span["max"]:
        return f"{span['mean']:z.2f}"
    return f"{span['mean']:z.2f} ({span['min']:z.2f} … {span['max']:z.2f})"


def affine(found: Mapping[str, Any]) -> list[Table | str]:
    """γ and β, by number of paths."""
    columns = ("paths", "γ mean", "γ sd", "γ from one path's", "β mean", "β sd", "β from one path's")
    rows = [
        (str(g["paths"]), *(number(g[name][key]) for name in ("gamma", "beta") for key in ("mean", "sd", "apart")))
        for g in found["groups"]
    ]
    spread = found["spread"]
    return [
        "γ and β of the norms of sums of i paths, all sites",
        Table(columns, rows),
        Prose(f"spread over the norms of a site, channel by channel: γ {spread['gamma']:.4f}, β {spread['beta']:.4f}"),
    ]


def cosines(found: Sequence[Mapping[str, Any]], block: str) -> Iterator[Table | str]:
    """The matrices of one block, and the mean over all."""
    for site in found:
        if site["block"] == block:
            yield f"Cosines of the paths' feature maps, {site['site']}"
            rows = [(name, *map(number, line)) for name, line in zip(site["paths"], site["matrix"], strict=True)]
            yield Table(("", *site["paths"]), rows)
    others = [v for s in found for i, line in enumerate(s["matrix"]) for j, v in enumerate(line) if i != j]
    if others:
        yield f"cosine of two paths over all sites, mean: {statistics.fmean(others):z.3f}"


def by_paths(entries: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for entry in entries:
        values = entry["accuracies"]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        figures = map(percent, (statistics.fmean(values), spread, min(values), max(values)))
        rows.append((str(entry["paths"]), "yes" if entry["calibrated"] else "no", str(len(values)), *figures))
    return Table(("paths", "calibrated", "networks", "mean", "sd", "least", "greatest"), rows)
