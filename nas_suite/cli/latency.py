"""`nas latency`: how long blocks take on a device, measured, kept as a table and held against whole networks."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_suite.cli.answer import answer, facts, note, percent
from nas_suite.cli.common import (
    SETTINGS,
    Architecture,
    Commands,
    Json,
    SpaceName,
    SpaceSets,
    complete_space,
    example,
    settings_of,
    starting,
)
from nas_suite.cli.layout import Prose, Table
from nas_suite.cli.progress import watching
from nas_suite.errors import BadInput
from nas_suite.words import plural

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Latency on a device: measure a table of blocks, check it, import one, ask one."
)
SPANS = {"": 1, "s": 1, "m": 60, "h": 3600}


def complete_table(incomplete: str) -> list[str]:
    from nas_suite.latency import shelf

    return starting(shelf.names(), incomplete)


TableName = Annotated[
    str,
    typer.Argument(
        metavar="TABLE", help="A latency table: its file, or its name in `nas latency list`.", autocompletion=complete_table
    ),
]
SpaceOption = Annotated[
    str | None,
    typer.Option(
        help="A space of `nas spaces list`.", show_default="the one that it was measured for", autocompletion=complete_space
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the processor.", rich_help_panel=SETTINGS)]
Dtype = Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.", rich_help_panel=SETTINGS)]
Resolution = Annotated[int | None, typer.Option(min=1, help="Pixels a side of an image.", rich_help_panel=SETTINGS)]
Networks = Annotated[int, typer.Option(metavar="N", min=1, help="Random networks to measure; at least 20.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draw of networks.")]
NewFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The table's file.", show_default="one of the user's data folder")
]


@app.command("list", epilog=example("nas latency list"))
def list_tables(as_json: Json = False) -> None:
    """List the latency tables in the user's data folder."""
    from nas_suite.pipeline import latencies

    found = latencies.listed()
    rows = [row_of(table) for table in found]
    heads = ("table", "space", "device", "batch", "threads", "dtype", "px", "latencies", "fit", "")
    answer("latency list", found, as_json, [Table(heads, rows)])


def row_of(table: dict[str, Any]) -> tuple[str, ...]:
    if table["fault"]:
        return (table["name"], *["–"] * 8, Prose(table["fault"]))
    c = table["conditions"]
    space = table["space"]["name"] if table["space"] else "–"
    under = ("–" if c[name] is None else str(c[name]) for name in ("device", "batch", "threads", "dtype", "resolution"))
    last = ("yes" if table["fit"] else "no", "noisy" if table["noisy"] else "")
    return (table["name"], space, *under, f"{table['points']:,}", *last)


@app.command(
    epilog=example(
        "nas latency build tfnas --budget 5m",
        "nas latency build mixpath-s1 --batch 32 --threads 2 --set space.width=0.5 --out my-table.json",
    )
)
def build(
    space: SpaceName,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images of one run.", show_default="1", rich_help_panel=SETTINGS)
    ] = None,
    threads: Threads = None,
    dtype: Dtype = None,
    resolution: Resolution = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto", rich_help_panel=SETTINGS)
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="What runs the blocks: torch, or onnxruntime (the extra onnx).", show_default="torch", rich_help_panel=SETTINGS
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Stop after 90s, 5m or 1h: a coarse grid of widths is measured whole, then where interpolation errs most.",
            show_default="until all is measured",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the blocks.")] = 0,
    out: NewFile = None,
    sets: SpaceSets = None,
    as_json: Json = False,
) -> None:
    """Measure every block that networks of a space run, on this machine: one image at a time, on one thread, in fp32 and at the
    space's resolution where nothing else is said.

    Blocks run in shuffled order, each until its interquartile range is below 2 % of its median; a reference block between
    shows whether the machine drifts. A build that was broken off goes on when the same command is given again. What a busy
    machine measured is kept and called noisy.
    """
    from nas_suite.pipeline import latencies

    asked = conditions(batch=batch, threads=threads, dtype=dtype, resolution=resolution, backend=backend)
    limit = None if budget is None else seconds(budget)
    with watching(f"latency {space}", "blocks" if limit is None else "") as progress:
        try:
            table = latencies.build(space, settings_of("space", sets), asked, device or "auto", limit, seed, out, progress)
        except KeyboardInterrupt:
            note("what was measured is kept; the same command goes on")
            raise
    about = latencies.shown(table.where, None, {}, None)
    points = about["source"]["points"]
    answer("latency build", about, as_json, [facts(told(about) | {"measured": f"{points['measured']:,} of {points['of']:,}"})])
    if limit is not None and about["source"]["seconds"] > 1.5 * limit:
        note(f"it took {about['source']['seconds']:.0f} s, for no table can do without the points of the coarse grid")
    warn(about)
    if not about["noisy"]:
        note(f"next: nas latency calibrate {name_of(table.where)}")


def conditions(**words: Any) -> Any:
    """What is asked for, each word checked."""
    from nas_suite.latency.conditions import Conditions
    from nas_suite.registry import construct

    return construct(Conditions, "latency", {name: word for name, word in words.items() if word is not None})


def seconds(text: str) -> float:
    """A time such as 90s, 5m or 1h."""
    told = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not told or float(told[1]) == 0:
        raise BadInput(f"--budget {text!r} is no time; give one such as 90s, 5m or 1h")
    return float(told[1]) * SPANS[told[2]]


def name_of(where: str) -> str:
    """What to call a table on a command line."""
    from nas_suite.latency import shelf

    path = Path(where)
    return path.name.removesuffix(shelf.END) if path.parent == shelf.folder() else where


def warn(about: dict[str, Any]) -> None:
    if about["noisy"]:
        note(f"noisy, not to be believed: {'; '.join(about['reasons'])}; let the machine come to rest and measure again")


def told(about: dict[str, Any]) -> dict[str, Any]:
    """A table in words."""
    c, fit = about["conditions"], about["fit"]
    heads = {"table": about["table"], "space": about["space"]["name"] if about["space"] else None}
    heads |= {name: c[name] for name in ("device", "batch", "threads", "dtype", "resolution", "backend")}
    heads |= {"latencies": f"{about['points']:,}, {about['typical_ms']:.3g} ms in the median", "created": about["created"]}
    if about["constant_ms"]:
        heads["constant"] = f"{about['constant_ms']:.4g} ms"
    if fit:
        held = f"off by {percent(fit['after'])} held out, {plural(fit['networks'], 'network')}"
        heads["fit"] = f"{fit['a']:.4g} × sum + {fit['b']:.4g} ms ({held})"
    if about.get("reachable_ms"):
        heads["reachable"] = "{:.2f} to {:.2f} ms".format(*about["reachable_ms"])
    elif "reachable_ms" in about:
        heads["reachable"] = "not known: its networks are too many to try, and there is no shortcut yet"
    return heads


@app.command(
    epilog=example(
        "nas latency show gpu.json --space tfnas",
        "nas latency show gpu.json --space tfnas --json --arch 6w56/0w88_4w152/6w144/3w584/1w456/1w880",
    )
)
def show(
    table: TableName,
    space: SpaceOption = None,
    arch: Architecture = None,
    sets: SpaceSets = None,
    as_json: Json = False,
) -> None:
    """Show a table: how it was measured, what networks of a space can reach by it, what one of them takes. All in ms."""
    from nas_suite.pipeline import latencies

    about = latencies.shown(table, space, settings_of("space", sets), arch)
    parts: list[Table | str] = [facts(told(about))]
    if arch is not None:
        parts += ["", f"{about['arch']}: {about['latency_ms']:.4f} ms"]
    answer("latency show", about, as_json, parts)
    warn(about)


@app.command(epilog=example("nas latency check my-table.json --networks 30"))
def check(
    table: TableName,
    space: SpaceOption = None,
    networks: Networks = 20,
    seed: Seed = 0,
    sets: SpaceSets = None,
    as_json: Json = False,
) -> None:
    """Measure random networks as a whole and say how far the table's sums are off, before and after an affine fit."""
    from nas_suite.pipeline import latencies

    with watching("latency check", "measurements") as progress:
        found = latencies.check(table, space, settings_of("space", sets), networks, seed, progress=progress)
    report("latency check", found, as_json)
    if found.check.believed:
        note(f"next: nas latency calibrate {table}")


@app.command(epilog=example("nas latency calibrate my-table.json --networks 30"))
def calibrate(
    table: TableName,
    space: SpaceOption = None,
    networks: Networks = 20,
    seed: Seed = 1,
    force: Annotated[bool, typer.Option("--force", help="Keep the fit of a machine that is too noisy.")] = False,
    sets: SpaceSets = None,
    as_json: Json = False,
) -> None:
    """As check, and keep the fit a × sum + b in the table, for searches to use. A machine whose repeats differ by more than 5 %
    is not believed."""
    from nas_suite.pipeline import latencies

    with watching("latency calibrate", "measurements") as progress:
        found = latencies.calibrate(table, space, settings_of("space", sets), networks, seed, force, progress)
    report("latency calibrate", found, as_json)
    note(f"the fit is kept in {found.table.where}")


def report(command: str, found: Any, as_json: bool) -> None:
    from nas_suite.pipeline import latencies

    seen = found.check
    data = latencies.judgement(found)
    heads = {
        "table": found.table.where,
        "networks": len(seen.networks),
        "noise": f"{percent(seen.noise)} between two measurements of one network ({percent(seen.first)} before the rest)",
        "error of sums": f"{percent(seen.before)} ({seen.bias:+z.2%} on average)",
        "error after a fit": f"{percent(seen.after)} held out ({seen.a:.4g} × sum + {seen.b:.4g} ms)",
        "Kendall's tau": f"{seen.tau:z.3f}",
    }
    if found.kept is not None:
        heads["error of its fit"] = percent(found.kept)
    answer(command, data, as_json, [facts(heads)])
    if seen.verdict:
        note(f"not to be believed: {seen.verdict}")


@app.command(
    "import", epilog=example("nas latency import latency_gpu.pkl --device 'Titan RTX' --unit ms --batch 32 --out gpu.json")
)
def import_table(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TF-NAS's pickle, or once-for-all's YAML.")],
    device: Annotated[str, typer.Option(metavar="NAME", help="What it was measured on; the file does not tell.")],
    unit: Annotated[str, typer.Option(help="Of the file's numbers: ms, s or us; the file does not tell.")],
    batch: Annotated[int, typer.Option(min=1, help="Images of one run; the file does not tell.")],
    threads: Threads = None,
    dtype: Dtype = None,
    resolution: Resolution = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept a file that lacks shapes of its space.")] = False,
    out: NewFile = None,
    as_json: Json = False,
) -> None:
    """Turn a published latency table into one of ours; what no search reaches is left out."""
    from nas_suite.pipeline import latencies

    said = conditions(device=device, batch=batch, threads=threads, dtype=dtype, resolution=resolution)
    table = latencies.take(file, unit, said, partial, out)
    about = latencies.facts_of(table)
    answer("latency import", about, as_json, [facts(told(about))])
    if table.doubt:
        note(f"as --unit {unit} {table.doubt}: are the file's numbers in {unit}?")
    note(f"next: nas latency show {name_of(table.where)} --space SPACE")


@app.command(epilog=example("nas latency export my-table latencies.csv"))
def export(
    table: TableName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to: .json the whole table, .csv its latencies a row each.")
    ],
    as_json: Json = False,
) -> None:
    """Write a table to another file, to be carried to another machine or read by another program."""
    from nas_suite.pipeline import latencies

    path = latencies.exported(table, file)
    answer("latency export", {"file": str(path)}, as_json, [f"{table} is in {path}"])
