"""`nas tune`: sizes of a deep kernel that a history is learned with."""

from dataclasses import replace
from typing import Annotated

import typer

from nas_suite.cli import learning
from nas_suite.cli.answer import note
from nas_suite.cli.common import Json, Out, example
from nas_suite.cli.history import Metric, Recipe, SpaceHash, Url
from nas_suite.cli.progress import watching
from nas_suite.cli.train import finished
from nas_suite.run import vacant
from nas_suite.words import plural

EXAMPLES = example(
    "nas tune tnas --space nasbench201 --trials 40",
    "nas tune tnas --history metad2a.db --epochs 9 --out sizes-nb201",
)


def tune(
    method: learning.Method,
    space: learning.Space = "nasbench201",
    history: Url = "",
    trials: Annotated[int, typer.Option(min=3, help="Sizes that are tried; the first are the presets tiny and fast.")] = 30,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="MAX", help="Most epochs of 25 mini-batches of a trial.", show_default="5")
    ] = None,
    recipe: Recipe = "",
    settings: SpaceHash = "",
    metric: Metric = "",
    fidelity: learning.Fidelity = "",
    without: learning.Without = None,
    features: learning.Features = "auto",
    encoding: learning.Encoding = "canonical",
    meta_optimizer: learning.MetaOptimizer = None,
    lr: learning.Lr = None,
    floor: learning.Floor = None,
    no_datasets: learning.NoDatasets = False,
    seed: learning.Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find sizes for `nas meta-train`: those whose surrogate predicts held-out data sets best, by TPE and Hyperband.

    Needs Optuna: pip install 'nas-suite\\[tune]'. The same options of the history and of learning as `nas meta-train` takes.
    """
    learning.check(method)
    if out is not None:
        vacant(out)
    from nas_suite.pipeline.meta import estimate, gathered
    from nas_suite.pipeline.tuning import ready, tune

    asked = learning.asking(
        space, history, recipe, settings, metric, fidelity, without, features, "auto", encoding, meta_optimizer, epochs, lr,
        floor, no_datasets, seed,
    )  # fmt: skip
    ready(trials)
    found = gathered(asked)
    seconds = estimate(replace(asked, preset="fast"), found)
    if seconds is not None:
        there = f"{plural(len(found.rows), 'evaluation')} on {plural(found.sets, 'data set')}, seen by {found.extractor}"
        one = f"one of the preset fast takes about {learning.spoken(seconds)} on this machine"
        note(f"tuning on {there}: {plural(trials, 'trial')}; {one}")
    with watching("tune", "steps") as progress:
        run = tune(asked, trials, out, progress)
    finished("tune", run, as_json)
