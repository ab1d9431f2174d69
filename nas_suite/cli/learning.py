"""What commands that learn from a history share: their options."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nas_suite.cli.common import complete_data, complete_space
from nas_suite.errors import BadInput, suggest
from nas_suite.words import plural

if TYPE_CHECKING:
    from nas_suite.pipeline.meta import Asked

METHODS = ("tnas",)
MINUTE = 60

Method = Annotated[str, typer.Argument(metavar="METHOD", help="tnas.")]
Space = Annotated[str, typer.Option(help="The space to learn about.", autocompletion=complete_space)]
Fidelity = Annotated[str, typer.Option(metavar="KEY=VALUE,…", help="Of this fidelity, such as epochs=12.", show_default="all")]
Without = Annotated[
    list[str] | None,
    typer.Option(metavar="DATA", help="Leave this data set out. Repeatable.", autocompletion=complete_data),
]
Features = Annotated[
    Literal["auto", "conv", "resnet18", "codes"],
    typer.Option(
        help="What sees the data sets: fixed random convolutions, ResNet-18, or a code for each class's name; auto takes the "
        "first of these that is known of all."
    ),
]
Encoding = Annotated[
    Literal["canonical", "paper", "one-hot"],
    typer.Option(help="Networks as their true graphs, with MetaD2A's fixed edges, or without a graph."),
]
MetaOptimizer = Annotated[
    Literal["reptile", "adam"] | None, typer.Option(help="adam: as the published code trains.", show_default="reptile")
]
Lr = Annotated[float | None, typer.Option(help="Learning rate at its highest.", show_default="0.0003, adam 0.001")]
Floor = Annotated[
    float | None,
    typer.Option(help="Standard deviations below a data set's mean, to which worse networks are raised.", show_default="-1"),
]
NoDatasets = Annotated[bool, typer.Option("--no-datasets", help="Do not tell data sets apart (an ablation).")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]


def check(method: str) -> None:
    """BadInput where a method does not learn from a history."""
    if method not in METHODS:
        raise BadInput(f"{method!r} does not learn from a history{suggest(method, METHODS)}")


def asking(
    space: str, history: str, recipe: str, settings: str, metric: str, fidelity: str, without: Sequence[str] | None,
    features: str, preset: str, encoding: Any, meta_optimizer: str | None, epochs: int | None, lr: float | None,
    floor: float | None, no_datasets: bool, seed: int,
) -> "Asked":  # fmt: skip
    """What the options ask for."""
    from nas_suite.pipeline.meta import Asked, Build, Schedule

    given = {"optimizer": meta_optimizer, "epochs": epochs, "lr": lr, "floor": floor}
    schedule = replace(Schedule(), **{name: value for name, value in given.items() if value is not None})
    build = Build(encoding=encoding, datasets=not no_datasets)
    return Asked(
        space, history, recipe, settings, fidelity, metric, "val", tuple(without or ()), features, preset, build, schedule, seed
    )


def spoken(seconds: float) -> str:
    return plural(max(1, round(seconds)), "second") if seconds < 2 * MINUTE else plural(round(seconds / MINUTE), "minute")
