"""`nas history`: every training that is remembered, by this suite or by others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_suite.cli.answer import answer, facts, note
from nas_suite.cli.common import Commands, Json, SpaceSets, complete_data, complete_space, example, settings_of, starting
from nas_suite.cli.layout import Prose, Table
from nas_suite.errors import BadInput, suggest
from nas_suite.words import plural

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="The history: what was ever trained, looked into, added to, imported and exported."
)
FORMATS = ("csv", "metad2a", "table")
SHOWN = 20

Url = Annotated[
    str,
    typer.Option(
        "--history", metavar="URL", help="A file of SQLite or a URL of SQLAlchemy's.", show_default="NAS_HISTORY, or your own"
    ),
]
Space = Annotated[str, typer.Option(help="Of this space.", autocompletion=complete_space, show_default="all")]
Data = Annotated[str, typer.Option(metavar="KEY", help="On this data set: its key or name.", show_default="all")]
Split = Annotated[str, typer.Option(help="train, val or test.", show_default="all")]
Metric = Annotated[str, typer.Option(help="Of this metric.", show_default="all")]
SpaceHash = Annotated[
    str, typer.Option("--settings", metavar="HASH", help="Of these settings of the space: their hash.", show_default="all")
]
Recipe = Annotated[str, typer.Option(metavar="HASH", help="Of this recipe: its hash or the start of it.", show_default="all")]


@app.command("list", epilog=example("nas history list", "nas history list --space nasbench201 --data cifar10 --limit 100"))
def list_history(
    space: Space = "",
    data: Data = "",
    split: Split = "",
    metric: Metric = "",
    recipe: Recipe = "",
    limit: Annotated[int, typer.Option(min=1, help="Show the newest so many.")] = SHOWN,
    history: Url = "",
    as_json: Json = False,
) -> None:
    """List evaluations, the newest last."""
    from nas_suite.history import History

    opened = History.open(history)
    rows = opened.evaluations(space, data, split, metric, recipe)
    shown = rows[-limit:]
    found = {"where": opened.where, "rows": len(rows), "evaluations": [told(row) for row in shown]}
    lines = [
        (row.time[:16], row.space, row.spelt, row.data, row.split, row.metric, value(row), str(row.seed), row.recipe_hash)
        for row in shown
    ]
    names = ("time", "space", "architecture", "data", "split", "metric", "value", "seed", "recipe")
    answer("history list", found, as_json, [Table(names, lines)])
    if len(shown) < len(rows):
        note(f"the newest {len(shown)} of {plural(len(rows), 'evaluation')}; --limit {len(rows)} shows all")
    elif not rows:
        note(opened.lacking(space, data))


def value(row: Any) -> str:
    return row.status if row.value is None else f"{row.value:.6g}"


def told(row: Any) -> dict[str, Any]:
    """An evaluation as JSON has it."""
    return {name: getattr(row, name) for name in row.__dataclass_fields__} | {"recipe_hash": row.recipe_hash}


@app.command(epilog=example("nas history stats"))
def stats(history: Url = "", as_json: Json = False) -> None:
    """Count what the history holds, by the kinds that are not to be mixed."""
    from nas_suite.history import History

    found = History.open(history).stats()
    names = ("schema", "evaluations", "failed", "networks", "datasets", "banks")
    heads = {"history": found["where"]} | {name: f"{found[name]:,}" for name in names}
    columns = ("rows", "space", "settings", "split", "metric", "goal", "unit", "recipe", "fidelity")
    rows = [tuple(f"{kind['rows']:,}" if name == "rows" else kind[name] for name in columns) for kind in found["kinds"]]
    answer("history stats", found, as_json, [facts(heads), *(["", Table(columns, rows)] if rows else [])])


@app.command(
    epilog=example(
        "nas history add --space mixpath-s4 --arch 331P --data digits --value 0.957 --recipe mine --epochs 25",
        "nas history add --space mixpath-s4 --arch 331P --data digits --value 95.7 --unit percent --seed 1",
    )
)
def add(
    space: Annotated[str, typer.Option(help="A space of `nas spaces list`.", autocompletion=complete_space)],
    arch: Annotated[str, typer.Option(metavar="TEXT", help="An architecture, as `nas spaces sample` prints it.")],
    data: Annotated[str, typer.Option(metavar="KEY", help="The data set.", autocompletion=complete_data)],
    value: Annotated[float, typer.Option(metavar="NUMBER", help="What came out.")],
    sets: SpaceSets = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    metric: Annotated[str, typer.Option(help="What was measured.")] = "accuracy",
    goal: Annotated[str, typer.Option(help="max or min: which values are better.")] = "max",
    unit: Annotated[str, typer.Option(help="share, percent, or a unit that is neither.")] = "share",
    recipe: Annotated[str, typer.Option(metavar="WORD", help="How it was trained: a name, or an object of JSON.")] = "",
    epochs: Annotated[int, typer.Option(min=0, help="For how many epochs.", show_default="not known")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    seconds: Annotated[float | None, typer.Option(min=0, help="What it took.")] = None,
    history: Url = "",
    as_json: Json = False,
) -> None:
    """Add one evaluation that was done elsewhere."""
    from nas_suite.history import Evaluation, columns
    from nas_suite.pipeline import histories

    how = columns.parsed("recipe", recipe)
    fidelity = {"epochs": epochs} if epochs else {}
    settings = settings_of("space", sets)
    row = Evaluation(
        space, arch, data, value, split, metric, goal, unit, settings, how, fidelity, seed, seconds=seconds, source="by hand"
    )
    written("history add", histories.add(row, history), as_json)


@app.command(
    "import",
    epilog=example(
        "nas history import table nb201 --dataset cifar100",
        "nas history import metad2a metad2a_meta_train_records.csv.xz",
        "nas history import csv mine.csv --unit percent",
    ),
)
def import_history(
    format_: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="csv: as `export` writes it; metad2a: MetaD2A's records, with the features of its images where "
            "imgnet32bylabel.pt is beside them; table: a benchmark of `nas bench list`.",
            autocompletion=lambda incomplete: starting(FORMATS, incomplete),
        ),
    ],
    source: Annotated[str, typer.Argument(metavar="FILE", help="The file or its folder; of a table its name.")],
    metric: Annotated[str, typer.Option(help="Of a table: the column, as `nas bench info` names it.")] = "",
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Of a table: the data set.", show_default="its first")] = "",
    split: Annotated[str, typer.Option(help="Of a table: val, train, or test, which wants to be said.")] = "",
    unit: Annotated[str, typer.Option(help="Of csv: that of rows that do not say it.", show_default="share")] = "",
    partial: Annotated[bool, typer.Option("--partial", help="Of metad2a: accept other records than were published.")] = False,
    history: Url = "",
    as_json: Json = False,
) -> None:
    """Add the evaluations of a file or a benchmark: all of them or, where one cannot be kept, none."""
    from nas_suite.pipeline import histories

    if format_ not in histories.READERS:
        raise BadInput(f"unknown format {format_!r}{suggest(format_, FORMATS)}")
    wanted = histories.Wanted(metric, dataset, split, unit, partial)
    written("history import", histories.take(format_, source, wanted, history), as_json)


def written(command: str, added: Any, as_json: bool) -> None:
    known = f", {added.known:,} were there already" if added.known else ""
    seen = ", and the features of images of their classes" if added.banks else ""
    data = {"added": added.added, "known": added.known} | ({"banks": added.banks} if added.banks else {})
    answer(command, data, as_json, [f"added {plural(added.added, 'evaluation')}{known}{seen}"])


@app.command(epilog=example("nas history export history.csv", "nas history export mine.csv --space mixpath-s1 --split val"))
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV file to write.")],
    space: Space = "",
    data: Data = "",
    split: Split = "",
    metric: Metric = "",
    recipe: Recipe = "",
    history: Url = "",
    as_json: Json = False,
) -> None:
    """Write evaluations into a new CSV file, which `nas history import csv` reads back; banks of features stay behind."""
    from nas_suite.pipeline import histories

    asked = {"space": space, "data": data, "split": split, "metric": metric, "recipe": recipe}
    rows = histories.export(file, asked, history)
    answer("history export", {"file": str(file), "rows": rows}, as_json, [f"{plural(rows, 'evaluation')} in {file}"])


@app.command(epilog=example("nas history dedupe", "nas history dedupe --dry-run"))
def dedupe(
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say how many would be removed.")] = False,
    history: Url = "",
    as_json: Json = False,
) -> None:
    """Leave one evaluation of each training: the first that did not fail. Repeats with other seeds stay."""
    from nas_suite.history import History

    opened = History.open(history)
    removed, others = opened.dedupe(dry)
    told = f"; {plural(others, 'value')} of them differed from the one that stays" if others else ""
    verb = "would remove" if dry else "removed"
    said = Prose(f"{verb} {plural(removed, 'evaluation')} of trainings that had another{told}")
    answer("history dedupe", {"where": opened.where, "removed": removed, "differed": others, "dry": dry}, as_json, [said])
