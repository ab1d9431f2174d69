"""The commands that train: `nas train-supernet`, `retrain`, `evaluate`."""

from typing import Annotated, Any

import typer

from nas_suite.cli.answer import answer, facts, note, percent
from nas_suite.cli.common import (
    Architecture,
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
    RunName,
    Seed,
    Sets,
    Words,
    complete_data,
    complete_run,
    complete_space,
    example,
    setting,
)
from nas_suite.cli.progress import watching
from nas_suite.cli.summary import accuracies, brief, summary
from nas_suite.errors import BadInput
from nas_suite.run import Run, handle, run_at
from nas_suite.telling import following

WORK = "Train and search"
app = typer.Typer()


def finished(command: str, run: Run, as_json: bool) -> None:
    """The answer of a command that made or went on with a run."""
    data, parts = summary(run)
    answer(command, data, as_json, parts)
    note(f"next: {following(run)}")


def images_a_step(plan: Any, part: str) -> int:
    """The batch size of a plan, for the pace; its settings are checked on the way."""
    from nas_suite.methods import METHODS
    from nas_suite.registry import checked, defaults
    from nas_suite.standalone import Recipe

    cls, what = (Recipe, "retrain") if part == "retrain" else (METHODS.load(plan.method), f"method {plan.method!r}")
    return {"batch_size": 1, **defaults(cls), **checked(cls, what, plan.part(part))}["batch_size"]


@app.command(
    rich_help_panel=WORK,
    epilog=example(
        "nas train-supernet mixpath --recipe mixpath-digits",
        "nas train-supernet mixpath --data cifar10 --epochs 50 --set space.width=0.5",
    ),
)
def train_supernet(
    method: MethodName,
    space: Annotated[str | None, typer.Option(help="A space of `nas spaces list`.", autocompletion=complete_space)] = None,
    data: Annotated[str | None, typer.Option(help="A data set of `nas data list`.", autocompletion=complete_data)] = None,
    recipe: Recipe = None,
    config: Config = None,
    sets: Sets = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    calib_images: CalibImages = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train a supernet: one network that shares its weights among all networks of a space.

    Without --recipe or --config: mixpath-s1 on cifar10, at the paper's settings.
    """
    from nas_suite import pipeline
    from nas_suite.methods import METHODS
    from nas_suite.plan import Plan, compose

    if METHODS.load(method).direct:
        raise BadInput(f"{method} trains no supernet but networks one by one: nas search {method} --data DATA")
    if METHODS.load(method).derives:
        raise BadInput(f"{method} trains its supernet and searches it at once: nas search {method} --latency MS")
    names = {"method": method, "space": space, "data": data, "seed": seed, "device": device, "precision": precision}
    own = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "calib_images": calib_images}
    plan = compose(Plan(), recipe, config, sets or (), **names, **own)
    each = images_a_step(plan, "method")
    pipeline.typed(plan)  # what is wrong with it comes before a word of work
    note(f"training {plan.method} on {plan.space} with {plan.data}")
    with watching("train", "images", each) as progress:
        run = pipeline.train_supernet(plan, out, progress)
    finished("train-supernet", run, as_json)


@app.command(
    rich_help_panel=WORK,
    epilog=example("nas retrain search_mixpath_mixpath-s1_digits-1 --knee", "nas retrain SEARCH --best 3 --epochs 600"),
)
def retrain(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A search run, or with --arch any run of the same space and data.",
            autocompletion=complete_run,
        ),
    ],
    best: Annotated[int | None, typer.Option(metavar="K", min=1, help="The K-th of the front, by its first objective.")] = None,
    knee: Annotated[bool, typer.Option("--knee", help="The network at the knee of the front.")] = False,
    arch: Architecture = None,
    recipe: Recipe = None,
    config: Config = None,
    sets: Annotated[
        Words,
        setting(
            "Any setting of retrain, such as retrain.lr=0.05; of a network derived for a latency of space and data too",
            *("retrain", "space", "data"),
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train one found network from scratch, and test it. Without --best, --knee or --arch: the most accurate one, or the one
    that was derived for a latency, as wide as it is to be deployed."""
    from nas_suite import pipeline
    from nas_suite.plan import Plan, assignments, compose

    if sum((best is not None, knee, arch is not None)) > 1:
        raise BadInput("--best, --knee and --arch each choose a network: give one of them")
    for part, name, _ in assignments(sets or ()):
        if part == "method":
            raise BadInput(f"--set method.{name} has no effect on retraining; its settings are retrain.*, such as retrain.lr")
    origin = run_at(run)
    chosen = pipeline.choose(origin, best, knee, arch)
    names = {"seed": seed, "device": device, "precision": precision}
    plan = compose(
        Plan.from_record(origin.record["plan"]), recipe, config, sets or (), "retrain",
        **names, epochs=epochs, batch_size=batch_size, lr=lr,
    )  # fmt: skip
    each = images_a_step(plan, "retrain")
    if origin.record["kind"] == "search" and origin.record["status"] != "done" and arch is None:
        budget = origin.record["plan"]["settings"].get("method", {}).get("budget", "?")
        note(f"{handle(origin)} is not finished: its front is of {len(origin.trials())} of {budget} networks")
    pipeline.typed(plan)
    note(f"retraining {chosen}")
    with watching("retrain", "images", each) as progress:
        made = pipeline.retrain(origin, plan, chosen, out, progress)
    finished("retrain", made, as_json)


@app.command(
    rich_help_panel=WORK,
    epilog=example("nas evaluate retrain_mixpath-s1_digits-1", "nas evaluate mixpath_mixpath-s4_cifar10-1 --arch 331P"),
)
def evaluate(
    run: RunName, arch: Architecture = None, device: Device = None, precision: Precision = None, as_json: Json = False
) -> None:
    """Test accuracy of a retrain run's network, or with --arch of an architecture in a supernet, after calibration."""
    from nas_suite import pipeline
    from nas_suite.plan import Plan, compose

    found = run_at(run)
    plan = compose(Plan.from_record(found.record["plan"]), device=device, precision=precision)
    result = pipeline.evaluate(found, plan, arch)
    test = result["test_accuracy"]
    if "one_shot" in test:
        heads = {"test accuracy, one-shot": percent(test["one_shot"])}
    else:
        heads = accuracies(test, found.record["result"]["best_epoch"])
    answer("evaluate", {"run": brief(found), **result}, as_json, [facts(heads), result["arch"]])
