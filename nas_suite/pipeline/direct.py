"""A search by stand-alone trainings: asked, trained at the search's fidelity, written down, told; then its finalists."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas_suite.disk import digest, repair_tail
from nas_suite.engine import Progress, Signals, silent
from nas_suite.errors import BadInput
from nas_suite.latency.conditions import ANY, Conditions
from nas_suite.methods.direct import Direct
from nas_suite.objective import Objective
from nas_suite.pipeline.finals import finals
from nas_suite.pipeline.recalling import recalled
from nas_suite.pipeline.remembering import Memory
from nas_suite.pipeline.searching import limits_for, ranked, with_latency
from nas_suite.pipeline.setting import TABLE, Setting, new_run, prepare, priced, table_of, work
from nas_suite.pipeline.trying import Outcome, Task, asked_of, at_fidelity, line_of, outcomes
from nas_suite.plan import Plan
from nas_suite.run import TRIALS, Run
from nas_suite.search import Region, Searcher, losses_of
from nas_suite.words import plural

ERROR = Objective("error", "min", lambda archs: [])
"""What a trial tells: the share of the validation images that the trained network gets wrong."""
ENDS = {
    "budget": "its budget is spent",
    "all": "every network within its limits is evaluated",
    "patience": "nothing better was found for long",
    "max_seconds": "its time is spent",
}
"""Why a search ends, in words."""


def search_directly(
    plan: Plan,
    bounds: Mapping[str, float],
    checkpoint: str | Path | None = None,
    out: Path | None = None,
    progress: Progress = silent,
    table: str | None = None,
    asked: Conditions = ANY,
) -> Run:
    """Searches a plan's space by training networks one by one, the best of them whole; returns the run, which holds the winner.

    Nothing but `finals` opens the test images.
    """
    from nas_suite.pipeline.beginning import begin, cautions, learned, place, searcher

    setting, found = with_latency(prepare(plan), bounds, table, asked)
    check(setting)
    region = Region(setting.space, limits_for(bounds, setting))
    source = place(plan.method, checkpoint)
    believed = learned(setting, source)
    start = begin(setting, region, believed)
    searcher(setting, region, start.archs, believed)  # one that cannot be had is refused before a run is made
    run = new_run(
        "direct", f"search_{plan.method}_{plan.space}_{plan.data}".replace(":", "-"), setting, out, objectives=[ERROR.name],
        limits=dict(bounds), **start.record(setting), **basis(source), notes=cautions(setting, believed),
        table=str(Path(found.where).resolve()) if found else "",
    )  # fmt: skip
    if found is not None:
        found.write(run.path / TABLE)
    return continue_directly(run, setting, progress)


def basis(checkpoint: Path | None) -> dict[str, Any]:
    """A checkpoint's folder and the checksum of what was learned, for a run's record."""
    if checkpoint is None:
        return {}
    from nas_suite.surrogate.learned import WEIGHTS

    return {"checkpoint": str(checkpoint.resolve()), "learned": digest(checkpoint / WEIGHTS)}


def check(setting: Setting) -> None:
    """BadInput where a search by trainings makes no sense: with too few classes, for a budget below the initial design, at a
    fidelity that cannot be had, or where there are no test images for its finalists."""
    asked = asked_of(setting)
    if len(setting.splits.classes) < 2:
        raise BadInput(f"{setting.plan.data} has one class, which every network gets right: give it at least two")
    if asked.budget < asked.init_size:
        raise BadInput(
            f"a budget of {plural(asked.budget, 'training')} is smaller than the initial design of {asked.init_size}: "
            "raise --budget or lower --init-size"
        )
    at_fidelity(setting)
    if asked.finalists and (reason := setting.data.lacks_test()):
        raise BadInput(f"{reason}; without it --finalists 0 searches alone")


def continue_directly(run: Run, setting: Setting, progress: Progress) -> Run:
    from nas_suite.pipeline.beginning import learned, searcher

    if setting.latency is None and run.record.get("table"):
        setting = priced(setting, table_of(run))
    region = Region(setting.space, limits_for(run.record["limits"], setting))
    source = Path(run.record["checkpoint"]) if "checkpoint" in run.record else None
    believed = learned(setting, source)
    if basis(source).get("learned") != run.record.get("learned"):
        raise BadInput(f"{source} has learned anew since {run.name} began with it: its proposals cannot be mixed, search anew")
    asker = searcher(setting, region, [setting.space.parse(text) for text in run.record["design"]], believed)
    asked = asked_of(setting)

    def job() -> dict[str, Any]:
        trials, end = sought(run, asker, setting, progress)
        best = ranked(run)
        if not best:
            raise BadInput(f"none of {plural(len(trials), 'network')} could be trained: {trials[0]['error']}")
        about = {"ended": end, "evaluated": len(trials), "failed": len(trials) - len(best)}
        if not asked.finalists:
            return {"result": {"arch": best[0]["arch"], "val_accuracy": 1.0 - best[0]["values"]["error"], **about}}
        archs = [trial["arch"] for trial in best[: asked.finalists]]

        def further(done: int, total: int, figures: Mapping[str, float]) -> None:
            progress(asked.budget + done, asked.budget + total, figures)

        found = finals(run, setting, archs, further)
        return {**found, "result": {**found["result"], **about}}

    return work(run, job)


def sought(run: Run, asker: Searcher, setting: Setting, progress: Progress) -> tuple[list[dict[str, Any]], str]:
    """The trials of a search, in the order in which they were asked for, and why it ended.

    Each is in trials.jsonl before the next begins, those that train at the same time as they come. What is there already is
    told, not trained again, so a search that was killed goes on to the same end; so is nothing that failed.
    """
    repair_tail(run.path / TRIALS)
    recorded, cheap = {line["arch"]: line for line in run.trials()}, at_fidelity(setting)
    memory = Memory.of(run, cheap)
    for trial in recorded.values():  # a kill may have come between a trial and the history
        note(memory, trial)
    memory.write()
    asked, space, trials = asked_of(setting), setting.space, list[dict[str, Any]]()
    with Signals() as signals, contextlib.closing(memory):
        while not (end := ended(trials, asked)):
            if not (batch := asker.ask()):
                return trials, "all"
            wanted = batch[: asked.budget - len(trials)]
            for at in range(0, len(wanted), asked.parallel):
                group = [space.describe(arch) for arch in wanted[at : at + asked.parallel]]
                places = {text: len(trials) + k for k, text in enumerate(group) if text not in recorded}
                tasks = [Task(str(run.path), text, setting.plan.seed, str(place)) for text, place in places.items()]
                for task, outcome in judged(cheap, tasks, asked.parallel, signals.check):
                    recorded[task.arch] = entered(run, places[task.arch], task, outcome)
                    note(memory, recorded[task.arch])
                    memory.write()
                    progress(len(recorded), total(asked), recorded[task.arch]["values"] or {})
                    signals.check()
                trials += [recorded[text] for text in group]
                if ended(trials, asked):
                    break
            else:
                asker.tell(wanted, np.array([losses_of(trial, [ERROR]) for trial in trials[-len(wanted) :]]))
    return trials, end


def total(asked: Direct) -> int:
    """How many trainings a search may take, those of its finalists too."""
    return asked.budget + asked.finalists * asked.finalist_seeds


def judged(cheap: Setting, tasks: Sequence[Task], at_once: int, check: Callable[[], None]) -> Iterator[tuple[Task, Outcome]]:
    """What comes of trainings, each as soon as it is known: what the history has is not trained again."""
    todo = []
    for task in tasks:
        row = recalled(cheap, task.arch, task.seed)
        if row is None:
            todo.append(task)
        else:
            yield task, Outcome(row.value, 0.0, source="history")
    yield from outcomes(todo, at_once, check)


def note(memory: Memory, trial: Mapping[str, Any]) -> None:
    """Notes a trial for the history, unless it came from there."""
    if trial["source"] == "training":
        memory.note(trial["arch"], trial["seed"], {"val": trial["val"]}, trial["seconds"], trial.get("error", ""))


def entered(run: Run, place: int, task: Task, outcome: Outcome) -> dict[str, Any]:
    """Writes a trial down; its training is then done with."""
    values = None if outcome.val is None else {ERROR.name: 1.0 - outcome.val}
    about = {"trial": place, "arch": task.arch, "status": "failed" if values is None else "ok", "values": values}
    trial = {**about, "val": outcome.val, "seed": task.seed, **line_of(outcome)}
    run.append(TRIALS, trial)
    shutil.rmtree(task.folder, ignore_errors=True)
    return trial


def ended(trials: Sequence[Mapping[str, Any]], asked: Direct) -> str:
    """Why a search is over after these trials; nothing where it goes on."""
    if len(trials) >= asked.budget:
        return "budget"
    errors = [np.inf if trial["values"] is None else trial["values"][ERROR.name] for trial in trials]
    if len(trials) < asked.init_size:
        return ""
    if not np.isfinite(errors).any():
        return "failing"
    if asked.patience and len(trials) - 1 - int(np.argmin(errors)) >= asked.patience:
        return "patience"
    spent = sum(trial["seconds"] for trial in trials if trial["source"] == "training")
    return "max_seconds" if asked.max_seconds and spent >= asked.max_seconds else ""
