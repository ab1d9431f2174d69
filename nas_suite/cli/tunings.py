"""What a tuning comes to, as plain values and as text."""

from typing import Any

from nas_suite.cli.answer import facts
from nas_suite.cli.layout import Table
from nas_suite.run import Run
from nas_suite.words import plural

SHOWN = 10  # trials


def of_tuning(run: Run) -> tuple[dict[str, Any], list[Table | str]]:
    """The best sizes, and the best trials beside the presets that were tried first."""
    from nas_suite.tuning import FIRST, best_first, counted, tried  # and torch with it

    trials, history, result = tried(run), run.record["history"], run.record.get("result")
    ranked, count = best_first(trials), counted(trials)
    about = {"history": history, "asked": run.record["trials"], "trials": [one.line() for one in trials], "result": result}
    said = f"{count['ok']} to the end, {count['stopped']} stopped before, {count['failed']} failed"
    heads: dict[str, Any] = {
        "tuned on": f"{plural(history['rows'], 'evaluation')} on {plural(history['datasets'], 'data set')}",
        "trials": f"{len(trials)} of {run.record['trials']}: {said}",
    }
    if not ranked:
        return about, [facts(heads)]
    best = ranked[0]
    heads |= {
        "best sizes" + " so far" * (result is None): best.sizes.spelt,
        "NLPD, held-out data sets": f"{best.best['nlpd']:.4f}",
        "Pearson, held-out data sets": f"{best.best['pearson']:.3f}",
    }
    rows = [
        (
            *(f"{one.best['nlpd']:.4f}", f"{one.best['pearson']:.3f}", str(len(one.nlpd))),
            *(str(one.sizes.hidden), str(one.sizes.said), "-".join(map(str, one.sizes.layers))),
            FIRST[one.trial] if one.trial < len(FIRST) else "",
        )
        for at, one in enumerate(ranked)
        if at < SHOWN or one.trial < len(FIRST)
    ]
    return about, [facts(heads), "", Table(("NLPD", "Pearson", "epochs", "hidden", "said", "layers", "preset"), rows)]
