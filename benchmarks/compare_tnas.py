"""TNAS's study: how soon it and its rivals find the best cells of NAS-Bench-201, and what each part of it is worth.

    nas history import metad2a FOLDER && nas meta-train tnas --out CKPT
    nas meta-train tnas --encoding one-hot --out NO_GRAPH && nas meta-train tnas --no-datasets --out NO_DATASET
    python benchmarks/compare_tnas.py --checkpoint CKPT [--no-graph NO_GRAPH --no-dataset NO_DATASET] --out FOLDER

Every setting, a data set with one feedback and one rule for initial designs, is a run of `nas compare` in a folder of --out.
The same command goes on where it was stopped, with the searches that are missing, and prints the tables at the end: mean
regret in percentage points with its 95 % interval, and the median of the evaluations to the optimum, beside what was published.
The checkpoint was never told of CIFAR-10 or CIFAR-100.
"""

import argparse
import itertools
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nas_suite import pipeline
from nas_suite.errors import BadInput
from nas_suite.pipeline import Contest
from nas_suite.rivals import LEARNED
from nas_suite.run import RECORD, Run

RIVALS = ("tnas", "gp-ei", "gp-ucb", "nasbowl", "bananas", "evolution", "local-search", "random", "metad2a")
ABLATIONS = {"tnas:no-meta": "checkpoint", "tnas:random-init": "checkpoint",
             "tnas:no-graph": "no_graph", "tnas:no-dataset": "no_dataset"}  # fmt: skip
PUBLISHED = {  # evaluations to the optimum on CIFAR-10 and CIFAR-100, as EDNAG (arXiv 2504.17827) and DiffusionNAG quote them
    "tnas": (29, 59), "bananas": (46, 88), "metad2a": (100, 100), "nasbowl": (100, 87), "gp-ucb": (58, 100),
}  # fmt: skip
MARKS = (5, 10, 20, 30, 50, 100)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", required=True, help="of `nas meta-train tnas`")
    parser.add_argument("--no-graph", default="", help="a checkpoint of `--encoding one-hot`")
    parser.add_argument("--no-dataset", default="", help="a checkpoint of `--no-datasets`")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the study")
    parser.add_argument("--datasets", nargs="+", default=["cifar10", "cifar100"])
    parser.add_argument("--feedback", nargs="+", default=["val", "test"], choices=("val", "test"))
    parser.add_argument("--init", nargs="+", default=["same", "own"], choices=("same", "own"), help="initial designs")
    parser.add_argument("--searchers", nargs="+", default=[], help="default: all")
    parser.add_argument("--spellings", action="store_true", help="all 15,625 spellings are candidates, as published")
    for name, default in {"seeds": 8, "budget": 100, "workers": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser.parse_args()


def contests(asked: argparse.Namespace) -> Iterator[tuple[Path, Contest]]:
    """Folders and what is run in them. `tnas:random-init` is another searcher than `tnas` only where each begins as it will:
    there it begins with the random networks of plain processes. `tnas:no-meta` with one design for all is `gp-ei`."""
    given = {"checkpoint": asked.checkpoint, "no_graph": asked.no_graph, "no_dataset": asked.no_dataset}
    ablated = tuple(name for name, of in ABLATIONS.items() if given[of])
    own = {name: given[of] for name, of in ABLATIONS.items() if of != "checkpoint" and given[of]}
    for dataset, feedback, init in itertools.product(asked.datasets, asked.feedback, asked.init):
        alike = ("tnas:random-init", "tnas:no-meta") if init == "same" else ()
        names = tuple(asked.searchers) or RIVALS + tuple(name for name in ablated if name not in alike)
        general = {"": asked.checkpoint} if init == "same" or set(names) & set(LEARNED) else {}
        folders = {**general, **{name: folder for name, folder in own.items() if name in names}}
        checkpoints = {name: str(Path(folder).resolve()) for name, folder in folders.items()}
        contest = Contest(
            "nb201", names, dataset, asked.budget, asked.seeds, feedback=feedback, same_init=init == "same",
            spellings=asked.spellings, workers=asked.workers, checkpoints=checkpoints,
        )  # fmt: skip
        yield asked.out / f"{dataset}-{feedback}-{init}", contest


def held(folder: Path, contest: Contest) -> Run:
    """The run in a folder, begun or gone on with, to its end."""
    if not (folder / RECORD).exists():
        return pipeline.compare(contest, folder)
    run = Run.open(folder)
    for name in ("searchers", "budget", "seeds", "spellings"):
        if (was := run.record[name]) != (wanted := list(v) if isinstance(v := getattr(contest, name), tuple) else v):
            raise BadInput(f"{folder} was begun with {name} = {was}, not {wanted}: choose another --out")
    return pipeline.resume(run)


def table(result: Mapping[str, Any], dataset: str) -> str:
    marks = [mark for mark in MARKS if str(mark) in result["searchers"][0]["regret"]]
    lines = ["| searcher | " + " | ".join(f"@{mark}" for mark in marks) + " | to the optimum | published | s |"]
    lines.append("|---" * (len(marks) + 4) + "|")
    for one in result["searchers"]:
        points = [{name: 100 * share for name, share in one["regret"][str(mark)].items()} for mark in marks]
        regrets = ["{mean:.2f} ({low:.2f} … {high:.2f})".format(**each) for each in points]
        median = one["evaluations_to_optimum"]["median"]
        known = PUBLISHED.get(one["name"], ("", ""))[("cifar10", "cifar100").index(dataset)]
        told = [one["name"], *regrets, f"not in {result['budget']}" if median is None else f"{median:g}", str(known)]
        lines.append("| " + " | ".join([*told, f"{one['seconds']:.0f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        for folder, contest in contests(asked):
            result = held(folder, contest).record["result"]
            design = "one initial design for all" if contest.same_init else "initial designs of their own"
            title = f"{contest.dataset}, {contest.feedback} feedback, {design}, {result['candidates']:,} candidates"
            print(f"\n{title}, {contest.seeds} seeds\n\n{table(result, contest.dataset)}", flush=True)
        print(f"\nmade by: {shlex.join(['python', *sys.argv])}")
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
