"""`nas runs` and `nas report`: what was done, going on with it, and showing it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_suite.cli.answer import answer, facts, note
from nas_suite.cli.common import Commands, Json, RunName, agreed, complete_run, example
from nas_suite.cli.layout import Prose, Table
from nas_suite.cli.progress import watching
from nas_suite.cli.summary import brief, figure, summary
from nas_suite.errors import BadInput
from nas_suite.run import Run, all_runs, doomed, handle, run_at, runs_root, unreadable_runs
from nas_suite.telling import following

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Runs: list them, look into one, go on with one, remove some.")
UNREADABLE = "unreadable"
UNITS = {
    "meta": "evaluations", "search": "networks", "direct": "networks", "rank": "networks", "table": "trainings",
    "compare": "searches", "tune": "steps",
}  # fmt: skip
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs: names or folders.", autocompletion=complete_run)]


@app.command("list", epilog=example("nas runs list", "NAS_RUNS=/big/disk nas runs list"))
def list_runs(as_json: Json = False) -> None:
    """List the runs under runs/ (or NAS_RUNS), oldest first; those whose run.json cannot be read last, with the reason."""
    found, odd = all_runs(), unreadable_runs()
    briefs = [*({**brief(run), "fault": None} for run in found), *(unread(path, why) for path, why in odd.items())]
    keys = ("name", "kind", "status")
    rows = [(*(b[k] for k in keys), b["created"][:19], figure(run)) for b, run in zip(briefs, found, strict=False)]
    rows += [(path.name, "–", UNREADABLE, "–", Prose(why)) for path, why in odd.items()]
    parts = [Table((*keys, "created", "figure"), rows)] if rows else [f"no runs under {runs_root()}"]
    answer("runs list", briefs, as_json, parts)


def unread(path: Path, why: str) -> dict[str, Any]:
    """As `brief`, of a run whose record cannot be worked with."""
    about = {"name": path.name, "path": str(path), "kind": None, "status": UNREADABLE, "created": None}
    return {**about, "method": None, "space": None, "data": None, "fault": why}


@app.command(
    epilog=example("nas runs show mixpath_mixpath-s1_digits-1", "nas runs show mixpath_mixpath-s1_digits-1 --statistics")
)
def show(
    name: RunName,
    statistics: Annotated[
        bool,
        typer.Option(
            "--statistics", help="Of a supernet: the law of its sums of paths, γ and β, the paths' likeness, accuracies."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a run: its settings, its environment and what it came to; or the statistics of a supernet, measured once."""
    run = run_at(name)
    if statistics:
        show_statistics(run, as_json)
        return
    data, parts = summary(run)
    record = run.record
    settings = {f"{part}.{key}": value for part, values in record["plan"]["settings"].items() for key, value in values.items()}
    plan = {key: value for key, value in record["plan"].items() if key != "settings"}
    more = {
        "created": record["created"],
        "plan": record["plan"],
        "environment": record.get("environment", {}),
        "error": record.get("error"),
    }
    used = more["environment"]
    plan |= {name: f"{used[name]} (auto)" for name in ("device", "precision") if plan.get(name) == "auto" and name in used}
    text = [*parts, "", facts({**plan, **settings}), "", facts(used)]
    answer("runs show", {**data, **more}, as_json, text if not more["error"] else [*text, "", f"error: {more['error']}"])
    note(f"next: {following(run)}")


def show_statistics(run: Run, as_json: bool) -> None:
    from nas_suite import statistics
    from nas_suite.cli.statistics import tables

    with watching(f"statistics of {run.name}", "scores") as progress:
        found = statistics.of_run(run, progress)
    answer("runs show", {"run": brief(run), "statistics": found}, as_json, tables(found))
    note(f"plots: nas report {handle(run)}")


@app.command(epilog=example("nas runs resume mixpath_mixpath-s1_digits-1"))
def resume(name: RunName, as_json: Json = False) -> None:
    """Go on with a run that was stopped, from its last saved state; a finished one is shown."""
    from nas_suite import pipeline

    run = run_at(name)
    unit = UNITS.get(run.record["kind"], "images")
    with watching(f"resume {run.name}", unit, each(run)) as progress:
        run = pipeline.resume(run, progress)
    data, parts = summary(run)
    answer("runs resume", data, as_json, parts)
    note(f"next: {following(run)}")


def each(run: Run) -> int:
    """How many of its units a step of a run is."""
    if run.record["kind"] == "meta":
        return run.record["asked"]["schedule"]["batch"]
    if run.record["kind"] in UNITS:
        return 1
    settings = run.record["plan"]["settings"]
    part = "method" if run.record["kind"] in ("supernet", "bilevel") else "retrain"
    return settings.get(part, {}).get("batch_size", 1)


@app.command(epilog=example("nas runs rm mixpath_mixpath-s1_digits-1 --yes"))
def rm(
    names: Runs,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove runs and all that is in their folders. Asks first."""
    asked = {run.path.resolve(): (run, wrong) for run, wrong in map(doomed, names)}
    runs = [run for run, _ in asked.values()]
    for place, (run, wrong) in asked.items():
        users = [handle(r) for r in all_runs() if str(place) in origins(r)]
        what = f"{UNREADABLE}, {wrong}" if wrong else f"{run.record['kind']} run, {run.state}"
        note(f"{run.path}: {what}" + (f", used by {', '.join(users)}" if users else ""))
    if not yes and not agreed(f"remove {'it' if len(runs) == 1 else f'these {len(runs)}'} for good?"):
        raise BadInput("nothing was removed; answer y, or give --yes")
    for run in runs:
        run.remove()
    answer("runs rm", {"removed": [str(run.path) for run in runs]}, as_json, [f"removed {run.path}" for run in runs])


def origins(run: Run) -> list[str]:
    """The folders of the runs that a run was made from."""
    record = run.record
    ranked = [entry["path"] for entry in record["runs"]] if record["kind"] == "rank" else []
    return [*ranked, *(record[key] for key in ("supernet", "origin", "checkpoint") if key in record)]


def report(
    names: Runs,
    out: Annotated[Path | None, typer.Option(metavar="FILE", show_default="report.html in the last run")] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML file about runs and those they came from: what was found, fronts, rankings, curves, settings, cost."""
    runs = [run_at(name) for name in dict.fromkeys(names)]
    from nas_suite import report as writer

    file = writer.write(runs, out or runs[-1].path / "report.html")
    answer("report", {"file": str(file), "runs": [brief(run) for run in runs]}, as_json, [str(file)])
