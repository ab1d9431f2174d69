"""What `nas search` asks of a search by stand-alone trainings, and that search."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_suite.cli.answer import note
from nas_suite.cli.common import complete_run, complete_space
from nas_suite.cli.progress import watching
from nas_suite.cli.train import finished
from nas_suite.errors import BadInput, suggest

PANEL = "Search by trainings (tnas, random, evolution, …)"
FIDELITY = {"epochs": "search_epochs", "width": "search_width"}

Space = Annotated[
    str | None, typer.Option(help="A space of `nas spaces list`.", autocompletion=complete_space, rich_help_panel=PANEL)
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        metavar="CKPT",
        help="The surrogate that nas meta-train tnas made: its run or folder.",
        autocompletion=complete_run,
        rich_help_panel=PANEL,
    ),
]
InitSize = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Networks of the initial design.", rich_help_panel=PANEL)
]
Init = Annotated[
    str | None,
    typer.Option(
        help="The initial design: posterior, of what the surrogate or the history believes; paper, the most accurate of the "
        "history; or random.",
        rich_help_panel=PANEL,
    ),
]
Fidelity = Annotated[
    str | None,
    typer.Option(
        metavar="KEY=VALUE,…",
        help="How the search trains: epochs and width, in place of retrain.epochs and space.width.",
        rich_help_panel=PANEL,
    ),
]
Finalists = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Networks that are trained whole at the end.", rich_help_panel=PANEL)
]
FinalistSeeds = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="How often each of them is trained.", rich_help_panel=PANEL)
]
Parallel = Annotated[
    int | None, typer.Option(metavar="Q", min=1, help="Networks that are trained at a time.", rich_help_panel=PANEL)
]
Patience = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="End after so many evaluations that found nothing better.", rich_help_panel=PANEL),
]
MaxSeconds = Annotated[
    float | None,
    typer.Option(metavar="S", min=0, help="End once trainings of the search took so long.", rich_help_panel=PANEL),
]


def fidelity(text: str | None) -> dict[str, str]:
    """`epochs=12,width=0.5` as settings of the method, yet to be checked; `full` is none."""
    found: dict[str, str] = {}
    for word in (text or "full").split(","):
        key, equals, value = (part.strip() for part in word.partition("="))
        if word.strip() == "full" and text in (None, word):
            continue
        if not (equals and key and value):
            raise BadInput(f"--fidelity {text!r} is not of the form KEY=VALUE,…, such as epochs=12,width=0.5, nor full")
        if key not in FIDELITY:
            raise BadInput(f"--fidelity {key}: unknown{suggest(key, FIDELITY)}")
        if FIDELITY[key] in found:
            raise BadInput(f"--fidelity gives {key} twice")
        found[FIDELITY[key]] = value
    return found


def search_directly(
    plan: Any,
    limits: dict[str, float],
    checkpoint: str | None,
    table: tuple[str | None, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    from nas_suite import pipeline

    pipeline.typed(plan)  # what is wrong with it comes before a word of work
    if plan.method == "tnas" and checkpoint is None:
        note("no learned surrogate, so a plain Gaussian process searches; nas meta-train tnas makes one, --checkpoint names it")
    note(f"searching {plan.space} with {plan.method} on {plan.data}, by training")
    with watching("search", "networks") as progress:
        run = pipeline.search_directly(plan, limits, checkpoint, out, progress, *table)
    finished("search", run, as_json)
