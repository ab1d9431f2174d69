"""Where what TNAS learned from is worth nothing, or next to nothing, searches of NAS-Bench-201 lose little by it."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import nas

from nas_suite import pipeline, tables
from nas_suite.history import Evaluation, History
from nas_suite.importers import nb201
from nas_suite.pipeline import Contest
from nas_suite.pipeline.meta import Asked, meta_train
from nas_suite.surrogate.meta import Schedule

SEEDS, BUDGET = 4, 30


@pytest.fixture
def learned(shared_data: Path, tmp_path: Path) -> Callable[..., str]:
    """Meta-trains on evaluations alone, beside NAS-Bench-201 as a benchmark; the checkpoint."""
    tables.write(nb201.read(shared_data / "nb201" / "nb201.npz", False, lambda *_: None))

    def from_rows(name: str, rows: Sequence[Evaluation], **more: Any) -> str:
        url, kept = str(tmp_path / f"{name}.sqlite"), {row.data for row in rows}
        History.open(url, make=True).add(rows, [task for task in History.open().datasets() if task.key in kept])
        return str(meta_train(Asked("nasbench201", history=url, **more), tmp_path / name).path)

    return from_rows


@pytest.fixture
def rows(shared_data: Path) -> list[Evaluation]:
    """The public history."""
    assert nas("history", "import", "metad2a", str(shared_data / "transfer")).code == 0
    return History.open().evaluations()


def regrets(searchers: tuple[str, ...], dataset: str, checkpoint: str, budget: int = BUDGET, **more: Any) -> list[float]:
    """Of each searcher, the mean regret after the last evaluation, in percentage points of test accuracy."""
    asked = Contest("nb201", searchers, dataset, budget, SEEDS, workers=1, checkpoints={"tnas": checkpoint}, **more)
    found = pipeline.compare(asked).record["result"]["searchers"]
    return [100 * one["regret"][str(budget)]["mean"] for one in found]


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_a_history_whose_accuracies_were_exchanged_costs_little(
    dataset: str, rows: list[Evaluation], learned: Callable[..., str]
) -> None:
    """At most 0.3 points more than a plain Gaussian process after 30 evaluations (specs of TNAS, check 15)."""
    rng = random.Random(0)
    some = rng.sample(rows, 800)
    values = rng.sample([row.value for row in some], len(some))
    wrong = [replace(row, value=value) for row, value in zip(some, values, strict=True)]
    ours, plain = regrets(("tnas", "gp-ei"), dataset, learned("wrong", wrong))
    assert ours <= plain + 0.3


@pytest.mark.slow
def test_histories_too_small_to_learn_from_still_beat_random_search(
    rows: list[Evaluation], learned: Callable[..., str]
) -> None:
    """After 30 evaluations, on average over histories (specs of TNAS, check 19)."""
    checkpoints = [learned(f"small{at}", random.Random(at).sample(rows, 40)) for at in range(3)]
    for dataset in ("cifar10", "cifar100"):
        ours, chance = zip(*(regrets(("tnas", "random"), dataset, folder) for folder in checkpoints), strict=True)
        assert statistics.fmean(ours) < statistics.fmean(chance)


@pytest.mark.slow
def test_what_is_believed_is_a_better_beginning_than_what_was_most_accurate(
    rows: list[Evaluation], learned: Callable[..., str]
) -> None:
    """Five networks by the surrogate, and the public history's five that TNAS's code begins with (specs of TNAS, check 11)."""
    checkpoint = learned("whole", rows, schedule=Schedule(epochs=1))
    for dataset in ("cifar10", "cifar100"):
        (ours,) = regrets(("tnas",), dataset, checkpoint, budget=5)
        (papers,) = regrets(("tnas",), dataset, checkpoint, budget=5, init=("paper",))
        assert ours < papers
