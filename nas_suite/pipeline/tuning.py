"""Tuning as a run: sizes of a deep kernel tried one after the other, each a meta-training that held-out data sets judge."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas_suite.disk import as_json
from nas_suite.encoders.joint import PRESETS, SPELT, Preset, preset
from nas_suite.engine import Diverged, Progress, Signals, random_for, silent
from nas_suite.errors import BadInput, Interrupted, suggest
from nas_suite.pipeline.meta import Asked, gathered, gathered_by, lacking, learner, opened
from nas_suite.pipeline.setting import work
from nas_suite.run import RECORD, TRIALS, Run, quoted, runs_root
from nas_suite.surrogate.meta import MetaLearner
from nas_suite.tuning import FIRST, Study, Tried, best_first, counted, optuna, sizes_of, tried

SIZES = "sizes.json"
LEAST = len(FIRST) + 1  # trials


def tune(asked: Asked, trials: int, out: Path | None = None, progress: Progress = silent) -> Run:
    """Tries sizes by what a history says; returns the run, which `nas meta-train --preset` takes. BadInput where Optuna is not
    installed, or the history is too small for a deep kernel."""
    ready(trials)
    found = gathered(asked)
    if said := lacking(found):
        raise BadInput(f"{said}, so that there are no sizes to tune")
    record = opened(asked, found)
    record |= {"kind": "tune", "trials": trials, "environment": record["environment"] | {"optuna": version("optuna")}}
    return continue_tuning(Run.create(out, record) if out else Run.numbered(f"tune_{asked.space}", record), progress)


def ready(trials: int) -> None:
    """BadInput where Optuna is not installed, or where so few trials leave nothing to tune."""
    if trials < LEAST:
        raise BadInput(f"trials must be at least {LEAST}, got {trials}: the first are the presets {' and '.join(FIRST)}")
    optuna()


def continue_tuning(run: Run, progress: Progress = silent) -> Run:
    """Goes on after the last trial that is written down. BadInput where the history is no longer what it was."""
    asked, found = gathered_by(run)
    steps = asked.schedule.epochs * asked.schedule.steps
    trials, every = run.record["trials"], run.record["trials"] * steps

    def job() -> dict[str, Any]:
        study, over = Study(asked.schedule.epochs, asked.seed), tried(run)[:trials]
        run.rewrite(TRIALS, [one.line() for one in over])
        for one in over:
            study.again(one)
        with Signals() as signals:
            for number in range(len(over), trials):

                def shown(done: int, total: int, figures: Mapping[str, float], before: int = number * steps) -> None:
                    if signals.number:
                        raise Interrupted(signals.number, whole=False)  # the trial is begun again
                    progress(before + done, every, figures)

                sizes = study.begin(PRESETS[FIRST[number]] if number < len(FIRST) else None)
                trained = learner(replace(asked, preset=sizes.spelt), found)
                assert trained is not None  # `tune` refuses histories that are too small
                one = attempt(study, trained, number, sizes, shown)
                study.end(one)
                run.append(TRIALS, one.line())
                over.append(one)
                if one.status != "ok":
                    shown(steps, steps, {})
        result = outcome(over)
        run.put(SIZES, as_json({"schema": 1, **result["sizes"], **{name: result[name] for name in ("nlpd", "pearson")}}))
        return {"result": result}

    return work(run, job)


def attempt(study: Study, trained: MetaLearner, number: int, sizes: Preset, progress: Progress) -> Tried:
    """One trial: a meta-training to its end, or until others leave it no hope, presets excepted."""
    nlpd: list[float] = []
    pearson: list[float] = []
    status, error, started = "ok", "", time.monotonic()
    try:
        for figures in epochs(trained, progress):
            if not math.isfinite(figures["val_nlpd"]):
                raise Diverged(f"the NLPD is {figures['val_nlpd']:g}")
            nlpd.append(figures["val_nlpd"])
            pearson.append(figures["val_pearson"])
            if study.hopeless(min(nlpd)) and number >= len(FIRST) and len(nlpd) < trained.schedule.epochs:
                status = "stopped"
                break
    except (Diverged, RuntimeError) as fault:  # as torch calls gradients beyond use, singular matrices and a lack of memory
        status, error = "failed", str(fault).splitlines()[0]
    return Tried(number, sizes, status, tuple(nlpd), tuple(pearson), round(time.monotonic() - started, 3), error)


def epochs(trained: MetaLearner, progress: Progress) -> Iterator[dict[str, float]]:
    """The figures of every epoch of a meta-training, each step of which is what `engine.fit` makes of it."""
    done = 0
    trained.ground()
    for epoch in range(trained.schedule.epochs):
        for batch in trained.batches.epoch(epoch):
            torch.manual_seed(random_for(trained.seed, done).getrandbits(63))
            figures = trained.step(batch, done)
            done += 1
            progress(done, trained.total, figures)
        yield trained.end_epoch(epoch)


def outcome(trials: list[Tried]) -> dict[str, Any]:
    """What tuning came to; BadInput where no trial has a figure."""
    ranked = best_first(trials)
    if not ranked:
        raise BadInput(f"all {len(trials)} trials failed, the first of them: {trials[0].error}")
    best = ranked[0]
    presets = {name: None if one.status == "failed" else one.best for name, one in zip(FIRST, trials, strict=False)}
    found = {"sizes": asdict(best.sizes), "preset": best.sizes.spelt, "trial": best.trial, **best.best}
    return {**found, "presets": presets, "counts": counted(trials)}


def kept(run: Run) -> bool:
    """Whether a finished run still has its sizes as a file."""
    return (run.path / SIZES).is_file()


def preset_of(word: str) -> str:
    """A preset that is asked for: by its name, by sizes spelt out, or by a run of `nas tune` or its file of sizes, which are
    then spelt out."""
    if word in ("auto", *PRESETS) or SPELT.fullmatch(word):
        return preset(word).spelt if word not in ("auto", *PRESETS) else word
    for place in (Path(word), runs_root() / word):
        if (place / RECORD).is_file() or (place / SIZES).is_file():
            return sizes_in(place / SIZES)
        if place.is_file():
            return sizes_in(place)
    raise BadInput(
        f"unknown preset {word!r}{suggest(word, ('auto', *PRESETS))}, a run of nas tune tnas, its {SIZES}, or sizes such as "
        f"{PRESETS['fast'].spelt}"
    )


def sizes_in(file: Path) -> str:
    """The sizes that a file keeps, spelt out."""
    try:
        return sizes_of(json.loads(file.read_bytes())).spelt
    except FileNotFoundError:
        go_on = f"nas runs resume {quoted(str(file.parent))} goes on with it"
        raise BadInput(f"{file.parent} has no {SIZES}: it is no run of nas tune that came to its end; {go_on}") from None
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"
        raise BadInput(f"{file} holds no sizes ({said}): nas tune tnas writes such a file, {SIZES}") from None
