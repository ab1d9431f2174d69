"""What the command line and a report both tell of a run: the command that follows it, and how a comparison began."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nas_suite.run import Run, handle, quoted

KEPT = ("space", "history", "recipe", "settings", "metric", "fidelity")  # options that choose of a history, as they are called
ORIGINS = {
    "surrogate": "of what the learned surrogate believes",
    "history": "of what did well elsewhere, by the history",
    "random": "at random",
}
"""How the first networks of a search by trainings were chosen, by what its record calls that."""
TELLING = 0.1  # Pearson on held-out data sets, below which what was learned is called worth little


def following(run: Run) -> str:
    """The command that comes after a run, as a shell takes it from anywhere where the run is found."""
    name, kind = handle(run), run.record["kind"]
    if run.record["status"] != "done":
        return f"nas runs resume {name}"
    if kind == "table":
        return after_table(run)
    if kind == "meta":
        return f"nas search tnas{to_another(run)} --data digits --checkpoint {name}"  # digits are on every machine
    if kind == "tune":
        return f"nas meta-train {run.record['plan']['method']} --preset {name}{again(run.record['asked'])}"
    if kind == "supernet":
        return f"nas search {run.record['plan']['method']} --run {name}"
    if kind in ("bilevel", "direct"):
        return f"nas retrain {name}"
    return f"nas retrain {name} --knee" if kind == "search" else f"nas report {name}"


def after_table(run: Run) -> str:
    """What can be done with a table that was made, or the command that writes it again where it was removed."""
    from nas_suite import tables
    from nas_suite.pipeline import benches

    path = tables.there().get(run.record["bench"])
    return f"nas runs resume {handle(run)}" if path is None else benches.following(tables.Table.open(path))[1]


def to_another(run: Run) -> str:
    """The space that was learned about, where a search takes another one by itself."""
    space = run.record["plan"]["space"]
    return "" if space == "nasbench201" else f" --space {quoted(space)}"


def again(asked: Mapping[str, Any]) -> str:
    """The options, each with a space before it, that ask what a record says, where that is not what they are anyway."""
    from nas_suite.pipeline.meta import Asked

    usual, said = Asked(), Asked.from_record(dict(asked))
    same = usual.schedule if said.schedule.optimizer == "reptile" else replace(usual.schedule, optimizer="adam")
    pairs: list[tuple[str, Any, Any]] = [
        *((name, getattr(said, name), getattr(usual, name)) for name in KEPT),
        *(("without", name, "") for name in said.without),
        ("features", said.features, usual.features), ("encoding", said.build.encoding, usual.build.encoding),
        ("meta-optimizer", said.schedule.optimizer, usual.schedule.optimizer),
        ("epochs", said.schedule.epochs, usual.schedule.epochs), ("lr", said.schedule.rate, same.rate),
        ("floor", said.schedule.floor, usual.schedule.floor), ("seed", said.seed, usual.seed),
    ]  # fmt: skip
    words = [f" --{name} {quoted(str(value))}" for name, value, default in pairs if value != default]
    return "".join([*words, *([] if said.build.datasets else [" --no-datasets"])])


def doubt(result: Mapping[str, Any]) -> str:
    """What is to be said of a surrogate that learned next to nothing; nothing of others."""
    if result.get("val_pearson", 1.0) < TELLING:
        return "what it learned orders the networks of held-out data sets hardly better than chance"
    return ""


def beginning(record: Mapping[str, Any]) -> str:
    """Which networks all searches of a comparison's seed begin with, in words; nothing where each begins with its own."""
    if record["init"]:
        return "given by --init"
    if not record["same_init"]:
        return ""
    from nas_suite.pipeline.learning import folders, heard

    given = record.get("checkpoints") or {}
    learned = list(folders(heard(record["searchers"], given), given))
    best = "tnas" if "tnas" in learned else next(iter(learned), "")  # as `Arena.design` has it
    return f"the best by what {best} has learned" if best else "drawn at random"


def learning(record: Mapping[str, Any]) -> dict[str, str]:
    """By searcher of a comparison, the folder of the checkpoint that it goes by; none of those that have none."""
    if not (given := record.get("checkpoints")):
        return {}
    from nas_suite.pipeline.learning import folders

    return folders(record["searchers"], given)


def spelt(checkpoints: Mapping[str, str]) -> list[str]:
    """The checkpoints of a comparison as its command takes them: CKPT, or SEARCHER=CKPT."""
    return [f"{name}={folder}" if name else folder for name, folder in checkpoints.items()]
