"""`nas meta-train`: a surrogate learned from every training that is remembered."""

from typing import Annotated

import typer

from nas_suite.cli import learning
from nas_suite.cli.answer import note
from nas_suite.cli.common import Json, Out, complete_run, example, starting
from nas_suite.cli.history import Metric, Recipe, SpaceHash, Url
from nas_suite.cli.progress import watching
from nas_suite.cli.train import finished
from nas_suite.run import vacant
from nas_suite.words import plural

EXAMPLES = example(
    "nas meta-train tnas --space nasbench201 --out tnas-nb201",
    "nas meta-train tnas --history metad2a.db --preset fast --meta-optimizer adam",
    "nas meta-train tnas --preset tune_nasbench201-1",
    "nas meta-train tnas --space mixpath-s1 --without cifar10",
)
NAMES = ("auto", "full", "fast", "tiny")


def complete_preset(incomplete: str) -> list[str]:
    return [*starting(NAMES, incomplete), *complete_run(incomplete)]


def meta_train(
    method: learning.Method,
    space: learning.Space = "nasbench201",
    history: Url = "",
    recipe: Recipe = "",
    settings: SpaceHash = "",
    metric: Metric = "",
    fidelity: learning.Fidelity = "",
    without: learning.Without = None,
    features: learning.Features = "auto",
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME|RUN|FILE",
            help="Sizes: full (the paper's), fast, tiny; auto, by the size of the history; or those of a run of `nas tune`.",
            autocompletion=complete_preset,
        ),
    ] = "auto",
    encoding: learning.Encoding = "canonical",
    meta_optimizer: learning.MetaOptimizer = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of 25 mini-batches.", show_default="5")] = None,
    lr: learning.Lr = None,
    floor: learning.Floor = None,
    no_datasets: learning.NoDatasets = False,
    seed: learning.Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Learn from all data sets before: a surrogate that a search on the next one begins with.

    Below 3 data sets or 50 evaluations it says so, and searches use a plain Gaussian process that begins with the best of them.
    """
    learning.check(method)
    if out is not None:
        vacant(out)
    from nas_suite.pipeline.meta import estimate, fallback, gathered, meta_train
    from nas_suite.pipeline.tuning import preset_of

    asked = learning.asking(
        space, history, recipe, settings, metric, fidelity, without, features, preset_of(preset), encoding, meta_optimizer,
        epochs, lr, floor, no_datasets, seed,
    )  # fmt: skip
    found = gathered(asked)
    if said := fallback(found):
        note(f"warning: {said}")
    else:
        sizes = f"{plural(len(found.rows), 'evaluation')} on {plural(found.sets, 'data set')}"
        seconds = estimate(asked, found) or 0.0
        note(f"learning from {sizes}, seen by {found.extractor}; about {learning.spoken(seconds)} on this machine")
    with watching("meta-train", "evaluations", asked.schedule.batch) as progress:
        run = meta_train(asked, out, progress)
    finished("meta-train", run, as_json)
