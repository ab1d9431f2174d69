"""One training from scratch in a folder of its own, from which it goes on after a kill."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_suite.disk import refusal
from nas_suite.engine import fit
from nas_suite.pipeline.retraining import standalone
from nas_suite.pipeline.setting import Setting
from nas_suite.run import RECORD, Run, recorded
from nas_suite.standalone import Standalone
from nas_suite.workers import Done

SCRATCH = ".training"  # the start of such a folder's name


def from_scratch(setting: Setting, arch: str, seed: int, folder: Path) -> tuple[Standalone, float]:
    """Trains one network to the end of its recipe, or goes on with that; the learner with its last weights, and seconds."""
    plan = replace(setting.plan, seed=seed)
    learner = standalone(replace(setting, plan=plan), arch)
    training = begun(folder, {"plan": plan.record(), "arch": arch})
    started, epochs = time.monotonic(), learner.recipe.epochs
    fit(learner, learner.batches(), epochs, training, seed, epochs_apart=epochs)
    seconds = sum(line.get("seconds", 0.0) for line in training.epochs()) or time.monotonic() - started
    return learner, round(seconds, 3)


def begun(folder: Path, what: dict[str, object]) -> Run:
    """The training that was begun in a folder, or a fresh one where that was of another network or plan."""
    record = {"schema": 1, "kind": "retrain", "status": "running", "created": "", **what}
    if (folder / RECORD).exists():
        former, wrong = recorded(folder)
        if not wrong and former == json.loads(json.dumps(record)):
            return Run(folder, former)
        shutil.rmtree(folder)
    return Run.create(folder, record)


def check_disk(run: Run, folder: Path, done: Done[Any, Any]) -> None:
    """BadInput where the disk refused what a training in a folder would write: no network has failed then."""
    if done.refused:
        raise refusal(folder, OSError(done.refused, os.strerror(done.refused)), run.instead)
