"""`nas meta-train`: a surrogate learned from every training that is remembered."""

from dataclasses import replace
from typing import Annotated, Literal

import typer

from nas_suite.cli.answer import answer, note
from nas_suite.cli.common import Json, Out, complete_data, complete_space, example
from nas_suite.cli.history import Metric, Recipe, Url
from nas_suite.cli.progress import watching
from nas_suite.cli.summary import summary
from nas_suite.errors import BadInput, suggest
from nas_suite.run import handle
from nas_suite.words import plural

METHODS = ("tnas",)
EXAMPLES = example(
    "nas meta-train tnas --space nasbench201 --out tnas-nb201",
    "nas meta-train tnas --history metad2a.db --preset fast --meta-optimizer adam",
    "nas meta-train tnas --space mixpath-s1 --without cifar10",
)
MINUTE = 60


def meta_train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="tnas.")],
    space: Annotated[str, typer.Option(help="The space to learn about.", autocompletion=complete_space)] = "nasbench201",
    history: Url = "",
    recipe: Recipe = "",
    metric: Metric = "",
    fidelity: Annotated[str, typer.Option(metavar="JSON", help='Of this fidelity, such as {"epochs":12}.')] = "",
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Leave this data set out. Repeatable.", autocompletion=complete_data),
    ] = None,
    features: Annotated[
        Literal["auto", "conv", "resnet18", "codes"],
        typer.Option(help="What sees the data sets: fixed random convolutions, ResNet-18, or a code for each class's name."),
    ] = "auto",
    preset: Annotated[
        Literal["auto", "full", "fast", "tiny"],
        typer.Option(help="Sizes; full: the paper's. auto: by the size of the history."),
    ] = "auto",
    encoding: Annotated[
        Literal["canonical", "paper", "one-hot"],
        typer.Option(help="Networks as their true graphs, with MetaD2A's fixed edges, or without a graph."),
    ] = "canonical",
    meta_optimizer: Annotated[
        Literal["reptile", "adam"] | None, typer.Option(help="adam: as the published code trains.", show_default="reptile")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of 25 mini-batches.", show_default="5")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate at its highest.", show_default="0.0003, adam 0.001")] = None,
    floor: Annotated[
        float | None,
        typer.Option(
            help="Standard deviations below a data set's mean, to which worse networks are raised.", show_default="-1"
        ),
    ] = None,
    no_datasets: Annotated[bool, typer.Option("--no-datasets", help="Do not tell data sets apart (an ablation).")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Learn from all data sets before: a surrogate that a search on the next one begins with.

    Below 3 data sets or 50 evaluations it says so, and searches use a plain Gaussian process that begins with the best of them.
    """
    if method not in METHODS:
        raise BadInput(f"{method!r} does not learn from a history{suggest(method, METHODS)}")
    from nas_suite.pipeline.meta import Asked, Build, Schedule, estimate, fallback, gathered, meta_train

    given = {"optimizer": meta_optimizer, "epochs": epochs, "lr": lr, "floor": floor}
    schedule = replace(Schedule(), **{name: value for name, value in given.items() if value is not None})
    build = Build(encoding=encoding, datasets=not no_datasets)
    asked = Asked(
        space, history, recipe, "", fidelity, metric, "val", tuple(without or ()), features, preset, build, schedule, seed
    )
    found = gathered(asked)
    if said := fallback(found):
        note(f"warning: {said}")
    else:
        sizes = f"{plural(len(found.experience), 'evaluation')} on {plural(found.sets, 'data set')}"
        seconds = estimate(asked, found) or 0.0
        note(f"learning from {sizes}, seen by {found.extractor}; about {spoken(seconds)} on this machine")
    with watching("meta-train", "evaluations", schedule.batch) as progress:
        run = meta_train(asked, out, progress)
    data, parts = summary(run)
    answer("meta-train", data, as_json, parts)
    note(f"next: nas search tnas --data cifar10 --checkpoint {handle(run)}")


def spoken(seconds: float) -> str:
    return plural(max(1, round(seconds)), "second") if seconds < 2 * MINUTE else plural(round(seconds / MINUTE), "minute")
