"""`nas compare`: how soon searchers find the best networks of a benchmark."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nas_suite.cli.answer import answer, note
from nas_suite.cli.bench import complete_bench, offered
from nas_suite.cli.common import Json, Out, complete_run, example, starting
from nas_suite.cli.comparisons import of_comparison
from nas_suite.cli.progress import watching
from nas_suite.cli.summary import brief
from nas_suite.errors import BadInput
from nas_suite.telling import following

EXAMPLES = example(
    "nas compare random evolution --bench s4-digits --budget 20",
    "nas compare gp-ei random evolution bananas --bench nb201 --dataset cifar100 --seeds 8 --workers 2",
    "nas compare tnas gp-ei tnas:no-meta --bench nb201 --checkpoint tnas_nasbench201-1 --same-init",
    "nas compare gp-ei gp-ucb nasbowl --bench nb201 --same-init --feedback test --spellings",
)


def complete_searcher(incomplete: str) -> list[str]:
    from nas_suite import rivals

    return starting(list(dict.fromkeys((*rivals.NAMES, *rivals.LEARNED))), incomplete)


def compare(
    searchers: Annotated[
        list[str],
        typer.Argument(
            metavar="SEARCHER...",
            help="tnas, random, evolution, local-search, gp-ei, gp-ucb, bananas, nasbowl, metad2a; ablations tnas:no-dataset, "
            "tnas:no-graph, tnas:no-meta, tnas:random-init. Differences are told from the first.",
            autocompletion=complete_searcher,
        ),
    ],
    bench: Annotated[
        str, typer.Option(metavar="BENCH", help="A benchmark of `nas bench list`.", autocompletion=complete_bench)
    ],
    dataset: Annotated[
        str, typer.Option(metavar="DATA", help="One of its data sets.", show_default="the benchmark's first")
    ] = "",
    budget: Annotated[
        int | None, typer.Option(metavar="N", help="Networks that a search may evaluate.", show_default="100, or all there are")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Searches of each searcher.")] = 8,
    same_init: Annotated[
        bool, typer.Option("--same-init", help="Give all searchers of a seed one initial design of 5 networks.")
    ] = False,
    init: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The networks that every search begins with, an architecture a line; or paper: the best of the checkpoint's "
            "history, as published.",
        ),
    ] = "",
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CKPT",
            help="What tnas and its kin have learned: a run of `nas meta-train`; SEARCHER=CKPT for one of them. Repeatable.",
            autocompletion=complete_run,
        ),
    ] = None,
    feedback: Annotated[
        Literal["val", "test"],
        typer.Option(
            help="The accuracy that searchers are told. Judged is always the test accuracy, read when all searches are over, "
            "where the benchmark has one; test is the published protocol, which tells it to the searchers."
        ),
    ] = "val",
    spellings: Annotated[
        bool,
        typer.Option(
            "--spellings", help="Every row of the benchmark is a candidate, as published, not every distinct network."
        ),
    ] = False,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that search; results do not depend on it.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first search; the others follow.")] = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Say how soon searchers find the best networks of a benchmark: regret and rank over evaluations with their intervals."""
    from nas_suite import pipeline
    from nas_suite.pipeline.learning import checkpoints

    names = tuple(dict.fromkeys(searchers))
    begin = (init,) if init == "paper" else networks_of(Path(init)) if init else ()
    learned = checkpoints(checkpoint or (), names)
    asked = pipeline.Contest(
        bench, names, dataset, pipeline.BUDGET if budget is None else budget, seeds, seed, feedback, same_init, begin,
        spellings, workers, learned,
    )  # fmt: skip
    pipeline.check_contest(asked)  # before anything is downloaded
    offered(bench)
    if budget is None:
        asked = pipeline.within_candidates(asked)
    with watching(f"compare on {bench}", "searches") as progress:
        made = pipeline.compare(asked, out, progress)
    data, parts = of_comparison(made)
    answer("compare", {**data, "run": brief(made)}, as_json, parts)
    note(f"next: {following(made)}")


def networks_of(file: Path) -> tuple[str, ...]:
    """The architectures in a file, a line each."""
    try:
        found = tuple(dict.fromkeys(line.strip() for line in file.read_text().splitlines() if line.strip()))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadInput(f"--init {file} cannot be read: {why}; it has an architecture a line") from None
    if not found:
        raise BadInput(f"--init {file} is empty; it has an architecture a line")
    return found
