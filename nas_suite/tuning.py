"""Sizes of a deep kernel: proposed by TPE, stopped early by Hyperband (Optuna), from what was tried before and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas_suite.encoders.joint import Preset
from nas_suite.encoders.sets import HEADS
from nas_suite.engine import random_for
from nas_suite.errors import BadInput
from nas_suite.run import TRIALS, Run

SAID, HIDDEN, DEPTH, WIDTH = (8, 64), (32, 512), (2, 4), (16, 256)  # least and most
SHARE = 3  # of the trials that Hyperband compares one in so many goes on
FIRST = ("tiny", "fast")
"""Presets that are tried first and to their end: what is found is never worse than these."""
STATUSES = ("ok", "stopped", "failed")


@dataclass(frozen=True)
class Tried:
    """Sizes and how well what was learned with them predicted held-out data sets, epoch by epoch: `ok` to the last one,
    `stopped` before, or `failed` for a reason."""

    trial: int
    sizes: Preset
    status: str
    nlpd: tuple[float, ...]
    """Mean negative log predictive densities: less is better."""
    pearson: tuple[float, ...]
    seconds: float = 0.0
    error: str = ""

    @property
    def epoch(self) -> int:
        """The best, from 0."""
        return self.nlpd.index(min(self.nlpd))

    @property
    def best(self) -> dict[str, Any]:
        """The figures of the best epoch."""
        return {"nlpd": self.nlpd[self.epoch], "pearson": self.pearson[self.epoch], "epoch": self.epoch}

    def line(self) -> dict[str, Any]:
        """As a run writes it down."""
        return {**asdict(self), "sizes": asdict(self.sizes)}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Tried":
        """KeyError, TypeError or ValueError where a line is not one of ours."""
        nlpd, pearson = (tuple(map(float, line[name])) for name in ("nlpd", "pearson"))
        fit = line["status"] in STATUSES and len(nlpd) == len(pearson) and (nlpd or line["status"] == "failed")
        if not fit or not isinstance(line["trial"], int):
            raise ValueError("no trial of ours")
        sizes, seconds = sizes_of(line["sizes"]), float(line["seconds"])
        return cls(line["trial"], sizes, line["status"], nlpd, pearson, seconds, str(line["error"]))


def sizes_of(record: Mapping[str, Any]) -> Preset:
    """Sizes as JSON keeps them; KeyError, TypeError or ValueError where they are none."""
    return Preset(int(record["hidden"]), int(record["said"]), tuple(map(int, record["layers"])))


def counted(trials: Sequence[Tried]) -> dict[str, int]:
    """How many trials ended how."""
    return {status: sum(one.status == status for one in trials) for status in STATUSES}


def tried(run: Run) -> list[Tried]:
    """The trials that are written down, up to the first that is none of ours."""
    found: list[Tried] = []
    for line in run.lines(TRIALS):
        try:
            one = Tried.of(line)
        except (KeyError, TypeError, ValueError):
            break
        if one.trial != len(found):
            break
        found.append(one)
    return found


def best_first(trials: list[Tried]) -> list[Tried]:
    """Those that have a figure. One that was stopped has that of its best epoch, which a whole training keeps or betters."""
    return sorted((one for one in trials if one.status != "failed"), key=lambda one: (min(one.nlpd), one.trial))


class Study:
    """Trials one after the other. What the next one is depends on the seed, its number and what was told of those before, so
    that a study which is told the same again goes on alike."""

    def __init__(self, epochs: int, seed: int) -> None:
        self.optuna = optuna()
        pruner = self.optuna.pruners.HyperbandPruner(1, epochs, SHARE)
        self.study = self.optuna.create_study(study_name="tnas", pruner=pruner)  # by its name trials fall into brackets
        self.seed, self.started = seed, 0

    def begin(self, sizes: Preset | None = None) -> Preset:
        """The next trial: of these sizes, or else of those that promise most."""
        seed = random_for(self.seed, self.started).getrandbits(32)
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=False)
        if sizes is not None:
            widths = {f"width{at}": width for at, width in enumerate(sizes.layers)}
            self.study.enqueue_trial({"said": sizes.said, "hidden": sizes.hidden, "depth": len(sizes.layers), **widths})
        self.trial, self.epoch = self.study.ask(), 0
        self.started += 1
        suggest = self.trial.suggest_int
        said, hidden = suggest("said", *SAID, step=HEADS), suggest("hidden", *HIDDEN, log=True)
        depth = suggest("depth", *DEPTH)
        return Preset(hidden, said, tuple(suggest(f"width{at}", *WIDTH, log=True) for at in range(depth)))

    def hopeless(self, nlpd: float) -> bool:
        """Takes the best figure after one epoch more; whether others of as many epochs leave the trial no hope."""
        self.epoch += 1
        self.trial.report(nlpd, self.epoch)
        return self.trial.should_prune()

    def end(self, tried: Tried) -> None:
        """Closes the trial with what came of it."""
        states = self.optuna.trial.TrialState
        state = {"ok": states.COMPLETE, "stopped": states.PRUNED, "failed": states.FAIL}[tried.status]
        self.study.tell(self.trial, min(tried.nlpd) if tried.status == "ok" else None, state)

    def again(self, tried: Tried) -> None:
        """A trial that is over, told as it went."""
        self.begin(tried.sizes)
        for epoch in range(len(tried.nlpd)):
            self.hopeless(min(tried.nlpd[: epoch + 1]))
        self.end(tried)


def optuna() -> Any:
    """The package, which says nothing of its own; BadInput where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise BadInput(
            f"tuning needs the extra [tune], of which {error.name} is not installed: pip install 'nas-suite[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
