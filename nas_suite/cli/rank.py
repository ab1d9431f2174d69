"""`nas rank`: how well estimators order the networks of a benchmark."""

from typing import Annotated, Literal

import typer

from nas_suite.cli.answer import answer, note
from nas_suite.cli.bench import complete_bench, offered
from nas_suite.cli.common import Json, Out, complete_run, example, starting
from nas_suite.cli.progress import watching
from nas_suite.cli.rankings import of_ranking
from nas_suite.cli.summary import brief
from nas_suite.errors import BadInput
from nas_suite.run import run_at
from nas_suite.telling import following

EXAMPLES = example(
    "nas rank --bench s4-digits",
    "nas rank --bench nb101 --run mixpath_mixpath-s4_cifar10-1 --run mixpath_mixpath-s4_cifar10-2",
    "nas rank --bench nb201 --metric cifar100 --estimator nb201:cifar10 --estimator params --all",
    "nas rank --bench nb201 --estimator synflow --estimator naswot --sample 200",
)


def complete_estimator(incomplete: str) -> list[str]:
    from nas_suite.pipeline.estimating import BASELINES
    from nas_suite.proxies import PROXIES

    return starting([*BASELINES, *PROXIES], incomplete)


def rank(
    bench: Annotated[
        str, typer.Option(metavar="BENCH", help="A benchmark of `nas bench list`.", autocompletion=complete_bench)
    ],
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="A trained supernet; runs that differ in their seed alone are judged as one. Repeatable.",
            show_default="where nothing is named, all of that space and data",
            autocompletion=complete_run,
        ),
    ] = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="params, macs, depth; a zero-cost proxy: synflow, naswot, jacov, epe_nas, grad_norm, snip, grasp, fisher, "
            "plain, zen, l2_norm; or BENCH:METRIC, a column of a benchmark. Repeatable.",
            autocompletion=complete_estimator,
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="What counts as true: DATA/SPLIT@EPOCHS or a part of it, such as cifar100, test or val@12; or another column, "
            "such as a latency, of which every estimator is then read as a guess: more of one, more of the other.",
            show_default="validation accuracy after the most epochs",
        ),
    ] = "",
    sample: Annotated[int | None, typer.Option(metavar="N", min=10, help="How many networks.", show_default="1000")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All networks.")] = False,
    protocol: Annotated[
        Literal["clean", "paper"],
        typer.Option(help="paper: MixPath's published loop, with 1000 ordered draws, one random repeat, 30 lowest dropped."),
    ] = "clean",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample, the intervals, and proxies' weights and images.")] = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Say how well estimators order real networks: tau with its interval, beside trivial baselines and the noise ceiling."""
    if sample is not None and everything:
        raise BadInput("--sample and --all each say how many networks: give one of them")
    if protocol == "paper" and (sample is not None or everything):
        raise BadInput(f"--protocol paper draws its own networks: leave out {'--all' if everything else '--sample'}")
    from nas_suite import pipeline
    from nas_suite.pipeline.field import SAMPLE

    runs = [run_at(name) for name in dict.fromkeys(run or ())]
    many = None if everything else sample or SAMPLE
    request = pipeline.Request(bench, tuple(dict.fromkeys(estimator or ())), metric, many, protocol, seed)
    pipeline.check_estimators(request.estimators)  # before anything is downloaded
    offered(bench)
    pipeline.check(request)
    with watching(f"rank {bench}", "networks") as progress:
        made = pipeline.rank_networks(request, runs, out, progress)
    data, parts = of_ranking(made)
    answer("rank", {**data, "run": brief(made)}, as_json, parts)
    note(f"next: {following(made)}")
