"""`nas bench`: the benchmarks that rankings are judged by."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_suite.cli.answer import answer, facts, note, short
from nas_suite.cli.common import (
    BatchSize,
    Commands,
    Config,
    Device,
    Epochs,
    Json,
    Lr,
    Out,
    Precision,
    Recipe,
    Seed,
    Words,
    agreed,
    complete_data,
    complete_space,
    example,
    setting,
)
from nas_suite.cli.layout import Prose, Table
from nas_suite.cli.progress import watching
from nas_suite.cli.summary import summary
from nas_suite.errors import BadInput
from nas_suite.run import quoted
from nas_suite.words import plural

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Benchmarks: list them, get or import one, ask one about an architecture."
)


def complete_bench(incomplete: str) -> list[str]:
    from nas_suite.pipeline import benches

    return benches.known(incomplete)


BenchName = Annotated[
    str, typer.Argument(metavar="BENCH", help="A benchmark of `nas bench list`.", autocompletion=complete_bench)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Mirror = Annotated[str | None, typer.Option(metavar="URL", help="Another folder that holds the official file.")]


@app.command("list", epilog=example("nas bench list"))
def list_benches(as_json: Json = False) -> None:
    """List the benchmarks and whether they are on this machine."""
    from nas_suite.pipeline import benches

    found = benches.listed()
    rows = [
        (
            b["name"],
            ("yes" if b["rows"] is not None else "damaged") if b["present"] else "no",
            f"{b['rows']:,}" if b["rows"] else "–",
            b["space"] or "–",
            Prose(b["about"]),
        )
        for b in found
    ]
    answer("bench list", found, as_json, [Table(("benchmark", "present", "rows", "space", "about"), rows)])


@app.command(epilog=example("nas bench info s4-digits"))
def info(name: BenchName, as_json: Json = False) -> None:
    """Show what a benchmark holds, where it comes from and which metric is meant first."""
    from nas_suite.pipeline import benches

    found = benches.described(name)
    keys = ("version", "about", "source", "licence", "command", "where", "metric")
    heads = {"benchmark": name, "space": found["space"]["name"], "rows": counted(found["rows"], found["space_size"])}
    heads |= {f"space.{key}": value for key, value in found["space"]["settings"].items()}
    heads |= {key: found[key] for key in keys if found.get(key)}
    heads["about"] = Prose(found["about"])
    for other, columns in found["beside"].items():
        more = f"{other} measured the same networks: {plural(len(columns), 'column')}, such as {columns[0]}"
        heads["beside"] = Prose(f"{more}; query tells them too")
    rows = [(c["name"], c["unit"], str(c["repeats"]), Prose(c["about"])) for c in found["columns"]]
    left_out(found)
    answer("bench info", found, as_json, [facts(heads), "", Table(("column", "unit", "repeats", "about"), rows)])


def counted(rows: int, networks: int) -> str:
    """How many rows a table has, and why its space counts otherwise where it does."""
    if rows > networks:
        why = f": the space has {networks:,} distinct networks, of which some are spelt in several ways, a row each"
    else:
        why = f", of {short(networks)} in its space" if rows < networks else ""
    return Prose(f"{rows:,}{why}")


@app.command(epilog=example("nas bench get nb101 --yes", "nas bench get nb101 --file nasbench_full.tfrecord"))
def get(
    name: BenchName,
    file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Another of its files.", show_default="the smallest that is whole")
    ] = None,
    yes: Yes = False,
    mirror: Mirror = None,
    as_json: Json = False,
) -> None:
    """Download a published benchmark's official file, checked, and import it. Asks first."""
    from nas_suite.pipeline import benches

    wanted = benches.download(name, file, mirror)
    if not yes and not agreed(f"{wanted.room}: go on?"):
        raise BadInput("nothing was downloaded; answer y, or give --yes")
    told("bench get", brought(wanted), as_json)


def brought(wanted: Any) -> Any:
    from nas_suite.pipeline import benches

    with watching(f"get {wanted.about.name}", "") as progress:
        return benches.get(wanted, lambda done, total: progress(done, total, {}))


@app.command("import", epilog=example("nas bench import nb101 nasbench_only108.tfrecord"))
def import_bench(
    name: BenchName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The published file, or the folder of its files.")],
    partial: Annotated[bool, typer.Option("--partial", help="Accept a file that does not hold all networks.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a published file into a table that opens at once. What is not recognised is refused, and nothing is left."""
    from nas_suite.pipeline import benches

    with watching(f"import {name}", "") as progress:
        table = benches.take(name, file, partial, lambda done, total: progress(done, total, {}))
    told("bench import", table, as_json)


def told(command: str, table: Any, as_json: bool) -> None:
    about = {"bench": table.name, "rows": len(table), "where": str(table.path)}
    known = f"{plural(len(table), 'network')}, in the table {table.path}"
    answer(command, about, as_json, [f"{table.name} is on this machine now: {known}"])
    onward(table)


def onward(table: Any) -> None:
    """Notes the command that comes after a table, and why that is no ranking where it cannot be ranked."""
    from nas_suite.pipeline import benches

    lacking, command = benches.following(table)
    if lacking:
        note(f"not to be ranked yet: {lacking}")
    note(f"next: {command}")


@app.command(epilog=example("nas bench query s4-digits --arch 331P"))
def query(
    name: BenchName,
    arch: Annotated[str, typer.Option(metavar="TEXT", help="An architecture, as `nas spaces sample` prints it.")],
    as_json: Json = False,
) -> None:
    """Print all that a benchmark, and those that measured its networks, know of one architecture."""
    from nas_suite.pipeline import benches

    found = benches.queried(name, arch)
    parts = [found["arch"], measured(found)]
    for name_beside, other in found["beside"].items():
        parts += ["", f"{name_beside}, of the same network", measured(other)]
    left_out(found)
    answer("bench query", found, as_json, parts)


def left_out(found: Mapping[str, Any]) -> None:
    """Tells of tables beside a benchmark that are damaged."""
    for name, why in found["damaged"].items():
        note(f"{name} is left out: {why}")


def measured(row: Mapping[str, Any]) -> Table:
    """The columns of a row with their units."""
    said = {key: spoken(value) for key, value in row["values"].items()}
    units = {key: unit for key, unit in row["units"].items() if unit not in ("share", "md5") and said[key] != "–"}
    return facts({key: f"{text} {units.get(key, '')}".rstrip() for key, text in said.items()})


def spoken(value: Any) -> str:
    """A value, or its repeats."""
    if isinstance(value, list):
        return ", ".join(map(spoken, value))
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.0f}" if abs(value) >= 1e6 else f"{value:.6g}"
    return str(value)


@app.command(epilog=example("nas bench verify nb101"))
def verify(name: BenchName, as_json: Json = False) -> None:
    """Check every file of a benchmark against its sha256."""
    from nas_suite.pipeline import benches

    found = benches.verified(name)
    answer("bench verify", found, as_json, [f"{name}: {found['files']} files in {found['where']} are as they were written"])


@app.command(epilog=example("nas bench rm nb101 --yes"))
def rm(name: BenchName, yes: Yes = False, as_json: Json = False) -> None:
    """Remove a benchmark from this machine. Asks first."""
    from nas_suite import tables

    if name in tables.there() and not yes and not agreed(f"remove {tables.there()[name]} for good?"):
        raise BadInput("nothing was removed; answer y, or give --yes")
    path = tables.remove(name)
    answer("bench rm", {"removed": str(path)}, as_json, [f"removed {path}"])


@app.command(
    epilog=example(
        "nas bench make s4-mine --space mixpath-s4 --data cifar10 --set space.width=0.25 --repeats 3 --workers 2",
        "nas bench make flowers --space mixpath-s1 --data folder --set data.path=flowers --sample 200",
    )
)
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the benchmark is to be called.")],
    space: Annotated[str | None, typer.Option(help="A space of `nas spaces list`.", autocompletion=complete_space)] = None,
    data: Annotated[str | None, typer.Option(help="A data set of `nas data list`.", autocompletion=complete_data)] = None,
    recipe: Recipe = None,
    config: Config = None,
    sets: Annotated[
        Words, setting("Any setting of space, data or retrain, such as retrain.lr=0.05", "space", "data", "retrain")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Trainings of each network.")] = 3,
    sample: Annotated[int | None, typer.Option(metavar="N", min=2, help="Train so many networks.", show_default="all")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train at the same time.")] = 1,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train every network of a space from scratch, or a sample of them, and make a benchmark of it."""
    from nas_suite import pipeline
    from nas_suite.plan import Plan, assignments, compose

    for part, field, _ in assignments(sets or ()):
        if part == "method":
            raise BadInput(f"--set method.{field} has no effect here; trainings take retrain.*, such as retrain.lr")
    names = {"space": space, "data": data, "seed": seed, "device": device, "precision": precision}
    own = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    plan = compose(Plan(), recipe, config, sets or (), "retrain", **names, **own)
    pipeline.typed(plan)
    for run in pipeline.unfinished(name):
        instead = f"nas runs resume {quoted(run.name)} goes on with it, this begins anew"
        note(f"{run.name} was to make {name} and was stopped: {instead}")
    with watching(f"make {name}", "trainings") as progress:
        run = pipeline.make(name, plan, repeats, sample, workers, out, progress)
    about, parts = summary(run)
    answer("bench make", about, as_json, parts)
    onward(pipeline.bench(name))


def offered(name: str) -> None:
    """Where a published benchmark is not on this machine and someone is there to answer: offers to get it."""
    from nas_suite import tables
    from nas_suite.importers import PUBLISHED
    from nas_suite.pipeline import benches

    here = name in tables.there() or name not in PUBLISHED or not PUBLISHED[name].downloads
    if here or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    wanted = benches.download(name)
    if agreed(f"{name} is not on this machine; get it ({wanted.room})?"):
        brought(wanted)
