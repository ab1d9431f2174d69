"""A tuning of sizes, as a report reads it: in words and as a table of its trials."""

from nas_suite.report.tables import Table
from nas_suite.report.words import seconds, three
from nas_suite.run import Run
from nas_suite.tuning import FIRST, Tried, best_first, counted, tried
from nas_suite.words import plural


def lede(run: Run) -> str:
    """What was found, and how it compares with the presets."""
    trials = tried(run)
    if not trials:
        return "No trial is done yet."
    counts, ranked = counted(trials), best_first(trials)
    said = f"{len(trials)} of {plural(run.record['trials'], 'trial')} done, {counts['stopped']} stopped before their end"
    said += f", {counts['failed']} failed." if counts["failed"] else "."
    if not ranked:
        return said
    presets = [f"{name} {nlpd(one)}" for name, one in zip(FIRST, trials, strict=False) if one.status != "failed"]
    beside = f" (presets: {', '.join(presets)})" if presets else ""
    return f"{said} Best are {ranked[0].sizes.spelt}, with an NLPD of {nlpd(ranked[0])} on held-out data sets{beside}."


def trials(run: Run) -> Table | None:
    """All trials, the best first; None where there is none."""
    found = tried(run)
    ranked = [*best_first(found), *(one for one in found if one.status == "failed")]
    rows = [
        (
            *(str(one.trial), one.sizes.spelt, nlpd(one), three(one.best["pearson"]) if one.nlpd else "–"),
            *(str(len(one.nlpd)), one.error or {"ok": "to the end"}.get(one.status, one.status), seconds(one.seconds)),
        )
        for one in ranked
    ]
    return Table("Trials", ("trial", "sizes", "NLPD", "Pearson", "epochs", "ended", "time"), rows) if rows else None


def nlpd(one: Tried) -> str:
    """At the best epoch."""
    return f"{one.best['nlpd']:.4f}" if one.nlpd else "–"
