"""`nas search`: a trained supernet searched, a network derived that meets a latency, or networks trained one by one."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_suite.cli import direct
from nas_suite.cli.answer import note
from nas_suite.cli.common import (
    SETTINGS,
    BatchSize,
    CalibImages,
    Config,
    Device,
    Epochs,
    Json,
    Lr,
    MethodName,
    Out,
    Precision,
    Recipe,
    Seed,
    Words,
    bounds,
    complete_data,
    complete_run,
    example,
    setting,
)
from nas_suite.cli.latency import complete_table, conditions
from nas_suite.cli.progress import watching
from nas_suite.cli.train import WORK, finished, images_a_step
from nas_suite.errors import BadInput
from nas_suite.run import handle, newest, run_at

app = typer.Typer()
SUPERNET, LATENCY = "Search of a trained supernet (mixpath, spos, fairnas)", "Search for a latency (tfnas)"
MEASURED, TABLES = "How the latency is measured", "as the table was, or nas latency build would"
BOTH = ("budget", "max")  # of searches that look at many networks
SEARCHED = ("run", "objective", "calib-images")
TRAINING = ("data", "epochs", "batch-size", "lr", "threads")
DERIVED = ("latency", "second-path", "depth", "no-se", "no-elastic", "no-measure")
DIRECT = (
    "space",
    "checkpoint",
    "init-size",
    "init",
    "fidelity",
    "finalists",
    "finalist-seeds",
    "parallel",
    "patience",
    "max-seconds",
)


@app.command(
    rich_help_panel=WORK,
    epilog=example(
        "nas search mixpath --budget 640 --max macs=300M",
        "nas search mixpath --objective error --objective latency --max latency=12",
        "nas search tfnas --latency 15",
        "nas search tfnas --latency 15 --table gpu.json --recipe tfnas-imagenet100 --config imagenet100.toml",
    ),
)
def search(
    method: MethodName,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="The trained supernet.",
            show_default="the newest that fits",
            autocompletion=complete_run,
            rich_help_panel=SUPERNET,
        ),
    ] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="How many networks to evaluate.")] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="What to minimise: error, macs, params, latency. Repeatable.",
            show_default="error and macs",
            rich_help_panel=SUPERNET,
        ),
    ] = None,
    most: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="COST=NUMBER",
            help="An upper bound, such as macs=300M or latency=12 (ms). Repeatable.",
        ),
    ] = None,
    calib_images: CalibImages = None,
    latency: Annotated[
        str | None,
        typer.Option(metavar="MS", help="The latency to meet; 15 unless a recipe says.", rich_help_panel=LATENCY),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="What to search on, a data set of `nas data list`.", autocompletion=complete_data),
    ] = None,
    second_path: Annotated[
        str | None,
        typer.Option(help="The second path of a step: random, gumbel, max, min or none.", rich_help_panel=LATENCY),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            help="sink: decided by itself, stage by stage; skip: as one more operation; full: all blocks.",
            rich_help_panel=LATENCY,
        ),
    ] = None,
    no_se: Annotated[
        bool, typer.Option("--no-se", help="Choose among operations without squeeze-excite.", rich_help_panel=LATENCY)
    ] = False,
    no_elastic: Annotated[
        bool, typer.Option("--no-elastic", help="Leave widths as they are.", rich_help_panel=LATENCY)
    ] = False,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Do not measure the network that was found.", rich_help_panel=LATENCY)
    ] = False,
    space: direct.Space = None,
    checkpoint: direct.Checkpoint = None,
    init_size: direct.InitSize = None,
    init: direct.Init = None,
    fidelity: direct.Fidelity = None,
    finalists: direct.Finalists = None,
    finalist_seeds: direct.FinalistSeeds = None,
    parallel: direct.Parallel = None,
    patience: direct.Patience = None,
    max_seconds: direct.MaxSeconds = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that train.", rich_help_panel=SETTINGS)] = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="A latency table: its file, or its name in `nas latency list`.",
            show_default="the newest of this machine; tfnas measures one where there is none",
            autocompletion=complete_table,
            rich_help_panel=MEASURED,
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images of one run.", show_default=TABLES, rich_help_panel=MEASURED)
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="fp32, bf16 or fp16.", show_default=TABLES, rich_help_panel=MEASURED)
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side of an image.", show_default=TABLES, rich_help_panel=MEASURED)
    ] = None,
    recipe: Recipe = None,
    config: Config = None,
    sets: Annotated[
        Words,
        setting(
            "A setting: of a trained supernet's search method.budget, strategy, population, crossover, mutation, calibrate, "
            "calib_images, score_images or score_memory; with tfnas any of method, space, data or deploy; of either any of "
            "retrain, for its networks",
            *("method", "space", "data", "deploy", "retrain"),
        ),
    ] = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Search a trained supernet for the networks that are best in all objectives and within all bounds; or, with tfnas, train
    one, derive the network that meets a latency, and measure it; or, with tnas, random or evolution, train networks one by one.

    Without --recipe, --config or --data, tfnas and searches by trainings take handwritten digits, tfnas for images of 224 px on
    this processor.
    """
    from nas_suite.methods import METHODS

    cls = METHODS.load(method)
    given = {
        "run": run, "budget": budget, "objective": objective, "max": most, "calib-images": calib_images, "latency": latency,
        "data": data, "epochs": epochs, "batch-size": batch_size, "lr": lr, "threads": threads,
        "second-path": second_path, "depth": depth, "no-se": no_se or None, "no-elastic": no_elastic or None,
        "no-measure": no_measure or None,
        "space": space, "checkpoint": checkpoint, "init-size": init_size, "init": init, "fidelity": fidelity,
        "finalists": finalists, "finalist-seeds": finalist_seeds, "parallel": parallel, "patience": patience,
        "max-seconds": max_seconds,
    }  # fmt: skip
    foreign = (*BOTH, *SEARCHED, *DIRECT) if cls.derives else (*DERIVED, *((SEARCHED) if cls.direct else (*TRAINING, *DIRECT)))
    for name in foreign:
        if given[name] is not None:
            raise BadInput(f"--{name} has no meaning for nas search {method}; nas search --help says which options have")
    names = {"seed": seed, "device": device, "precision": precision}
    asked = conditions(batch=batch, dtype=dtype, resolution=resolution)
    if cls.direct:
        own = {name.replace("-", "_"): given[name] for name in DIRECT[2:] if name != "fidelity"}
        own |= {"budget": budget, **direct.fidelity(fidelity)}
        trained = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
        words = [*(sets or ()), *(f"retrain.{name}={value}" for name, value in trained.items() if value is not None)]
        plan = planned(method, recipe, config, words, {**names, "data": data, "space": space, "threads": threads}, own)
        direct.search_directly(plan, bounds(most or ()), checkpoint, (table, asked), out, as_json)
    elif cls.derives:
        words = [*(sets or ()), *([f"space.depth_by={depth}"] if depth is not None else []), *["space.se=false"] * no_se]
        words += [f"deploy.image_size={resolution}"] if resolution is not None else []
        own = {"latency": latency, "epochs": epochs, "batch_size": batch_size, "lr": lr, "second_path": second_path}
        own |= {"elastic": False if no_elastic else None}
        plan = planned(method, recipe, config, words, {**names, "data": data, "threads": threads}, own)
        derive(plan, table, asked, not no_measure, out, as_json)
    else:
        own, sources = {"budget": budget, "calib_images": calib_images}, (recipe, config, sets or [])
        search_supernet(method, run, objective, bounds(most or ()), sources, {**names, **own}, table, asked, out, as_json)


def search_supernet(
    method: str,
    run: str | None,
    objective: list[str] | None,
    limits: dict[str, float],
    sources: tuple[str | None, Path | None, list[str]],
    flags: dict[str, Any],
    table: str | None,
    asked: Any,
    out: Path | None,
    as_json: bool,
) -> None:
    from nas_suite import pipeline
    from nas_suite.plan import Plan, compose

    supernet = newest("supernet", method) if run is None else run_at(run)
    plan = Plan.from_record(supernet.record["plan"])
    if plan.method != method:
        raise BadInput(f"{handle(supernet)} was trained with {plan.method}, not {method}: nas search {plan.method} --run …")
    plan = searched(plan, compose(plan, *sources, **flags), sources[2])
    note(f"searching the supernet {handle(supernet)}")
    with watching("search", "networks") as progress:
        found = pipeline.search_supernet(supernet, plan, objective or ("error", "macs"), limits, out, progress, table, asked)
    finished("search", found, as_json)


def searched(trained: Any, asked: Any, sets: list[str]) -> Any:
    """The plan of a search: what is asked for, but for settings of training, which a recipe or a file may have, those of the
    supernet as it was trained. A word of --set for one of these is refused."""
    from nas_suite.methods import METHODS
    from nas_suite.plan import assignments
    from nas_suite.registry import settable

    cls, former = METHODS.load(trained.method), trained.part("method")
    past = [name for name in settable(cls) if name not in (*cls.searching, *cls.ground)]
    for part, name, _ in assignments(sets):
        if part == "method" and name in past:
            known = ", ".join(cls.searching)
            raise BadInput(f"--set method.{name} has no effect on a search of a trained supernet; it takes of method: {known}")
    kept = {name: value for name, value in asked.part("method").items() if name not in past}
    return replace(asked, settings={**asked.settings, "method": {**former, **kept}})


def planned(
    method: str, recipe: str | None, config: Path | None, sets: list[str], names: dict[str, Any], own: dict[str, Any]
) -> Any:
    """The plan of a search that trains by itself: by the method's recipe for digits where nothing else is said."""
    from nas_suite.methods import METHODS
    from nas_suite.plan import Plan, compose, recipes
    from nas_suite.registry import Typed
    from nas_suite.spaces import SPACES

    cls = METHODS.load(method)
    fit = [name for name in SPACES.names() if issubclass(SPACES.load(name), cls.needs)]
    demo = "tnas-digits" if cls.direct else f"{method}-digits"
    if (
        recipe is None
        and config is None
        and not names["data"]
        and not names.get("space")
        and demo in (r.name for r in recipes())
    ):
        recipe = demo
    typed = {name: Typed(word) if isinstance(word, str) else word for name, word in own.items() if word is not None}
    first = "nasbench201" if cls.direct else fit[0]
    start = Plan(method=method, space=first, data="digits") if cls.direct else Plan(method=method, space=first)
    return compose(start, recipe, config, sets, method=method, **names, **typed)


def derive(plan: Any, table: str | None, asked: Any, measure: bool, out: Path | None, as_json: bool) -> None:
    from nas_suite import pipeline

    each = images_a_step(plan, "method")
    with watching("latency table", "") as progress:  # of the time that it may take
        found = pipeline.latency_table(plan, table, progress, asked)
    note(f"latencies of {found.conditions.device} by {found.where}")
    if found.noise is not None and found.noisy:
        note(f"noisy, not to be believed: {'; '.join(found.noise.reasons)}; nas latency build measures it again")
    note(f"searching {plan.space} with {plan.method} on {plan.data} for {pipeline.target_ms(plan):g} ms")

    def told(one: pipeline.Round) -> None:
        note(f"measured {one.measured_ms:.2f} ms, predicted {one.predicted_ms:.2f} ms: {one.arch}")

    with watching("search", "images", each) as progress:
        run = pipeline.derive(plan, found, measure, out, progress, told)
    finished("search", run, as_json)
