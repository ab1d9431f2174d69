"""TNAS where what it learned is worth nothing, or next to nothing: a shuffled history, and one that is too small.

    python benchmarks/guards_tnas.py --records FOLDER --nb201 FILE --out FOLDER [--seeds 8] [--budget 30] [--jobs 2]

FOLDER of --records holds MetaD2A's records, FILE is a table of NAS-Bench-201 as `nas bench import nb201` takes it. A history
with all its accuracies exchanged at random is meta-trained on like any other, and the search with it is compared with a plain
Gaussian process that begins at random: it should lose little. A history of 40 evaluations is answered by the fallback, a plain
process that begins with the best of them, which should beat random search: five of them, drawn at random. Validation feedback,
judged by test accuracies.
Everything is a run in a folder of --out; the same command goes on where it was stopped.
"""

import argparse
import os
import random
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nas_suite import pipeline
from nas_suite.errors import BadInput
from nas_suite.history import Evaluation, History
from nas_suite.pipeline import Contest
from nas_suite.pipeline.benches import take as import_table
from nas_suite.pipeline.histories import Wanted, take
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.run import RECORD, Run
from nas_suite.tables import there

SMALL, SAMPLES = 40, 5  # evaluations, too few to learn from; such histories


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=Path, required=True, help="the folder of MetaD2A's records")
    parser.add_argument("--nb201", type=Path, required=True, help="a file of NAS-Bench-201")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the study")
    for name, default in {"seeds": 8, "budget": 30, "jobs": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser.parse_args()


def shuffled(rows: list[Evaluation]) -> list[Evaluation]:
    values = [row.value for row in rows]
    random.Random(0).shuffle(values)
    return [replace(row, value=value) for row, value in zip(rows, values, strict=True)]


def small(rows: list[Evaluation], sample: int) -> list[Evaluation]:
    return random.Random(sample).sample(rows, SMALL)


def history(url: str, out: str, change: Callable[[list[Evaluation]], list[Evaluation]]) -> str:
    """A history made from another, where it is not there already; its URL."""
    if not Path(out).exists():
        source = History.open(url)
        rows = change(source.evaluations())
        kept = {row.data for row in rows}
        History.open(out, make=True).add(rows, [task for task in source.datasets() if task.key in kept])
    return out


def held(folder: Path) -> Run | None:
    """The run in a folder, gone on with to its end; None where none was begun."""
    return pipeline.resume(Run.open(folder)) if (folder / RECORD).exists() else None


def told(asked: argparse.Namespace, name: str, url: str, rival: str, dataset: str) -> None:
    """One comparison, and what it comes to."""
    checkpoint = asked.out / f"{name}-learned"
    if held(checkpoint) is None:
        meta_train(Asked("nasbench201", history=url), checkpoint)
    contest = Contest(
        "nb201", ("tnas", rival), dataset, asked.budget, asked.seeds, workers=asked.jobs,
        checkpoints={"tnas": str(checkpoint.resolve())},
    )  # fmt: skip
    folder = asked.out / f"{name}-{dataset}"
    result = (held(folder) or pipeline.compare(contest, folder)).record["result"]
    for found in result["searchers"]:
        regrets = (
            "@{}: {:.2f} ({:.2f} … {:.2f})".format(mark, *(100 * regret[bound] for bound in ("mean", "low", "high")))
            for mark, regret in found["regret"].items()
        )
        print(f"{name}, {dataset}, {found['name']}: {', '.join(regrets)}", flush=True)


def main() -> None:
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    asked.records, asked.nb201, asked.out = (path.resolve() for path in (asked.records, asked.nb201, asked.out))
    os.environ.update(NAS_DATA=str(asked.out / "data"), NAS_HISTORY=str(asked.out / "whole.sqlite"))
    try:
        if "nb201" not in there():
            import_table("nb201", asked.nb201, partial=True)
        take("metad2a", str(asked.records), Wanted())
        whole = os.environ["NAS_HISTORY"]
        drawn = ((f"small-{sample}", partial(small, sample=sample), "random") for sample in range(SAMPLES))
        cases = (*drawn, ("shuffled", shuffled, "gp-ei"))
        for name, change, rival in cases:
            url = history(whole, str(asked.out / f"{name}.sqlite"), change)
            for dataset in ("cifar10", "cifar100"):
                told(asked, name, url, rival, dataset)
        print(f"made by: {shlex.join(['python', *sys.argv])}")
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
