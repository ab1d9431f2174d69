"""Where a search by trainings begins: its searcher, its initial design, and what it has learned from other data sets."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nas_suite.encoders.banks import CODES, NONE
from nas_suite.errors import BadInput
from nas_suite.pipeline.learning import fitting, folder_of, plainly, unlike
from nas_suite.pipeline.recalling import foremost, most_accurate, within
from nas_suite.pipeline.setting import Setting, settings_of
from nas_suite.pipeline.sights import seen
from nas_suite.pipeline.trying import asked_of, at_fidelity
from nas_suite.rivals import diverse, opening, rival
from nas_suite.search import Region, Searcher
from nas_suite.space import Arch
from nas_suite.surrogate.learned import Learned
from nas_suite.surrogate.transfer import Transfer, warm

LEARNING = ("tnas", "metad2a")  # searchers that a checkpoint is for
PLAIN = "gp-ei"  # what tnas is without one
EVERY = 1 << 20  # networks of a history


@dataclass(frozen=True)
class Begin:
    """An initial design. `origin` says who chose it: surrogate, history or random; the last `drawn` are random in any case."""

    archs: Sequence[Arch]
    origin: str
    drawn: int = 0

    def record(self, setting: Setting) -> dict[str, Any]:
        """As a run keeps it: the history may know more when the run is resumed."""
        return {"design": [setting.space.describe(arch) for arch in self.archs], "beginning": self.origin, "drawn": self.drawn}


def place(method: str, checkpoint: str | Path | None) -> Path | None:
    """The folder of a checkpoint that a search is given: a folder or a run. BadInput where the searcher has no use for it."""
    if checkpoint is None:
        return None
    if method.partition(":")[0] not in LEARNING:
        raise BadInput(f"--checkpoint has no effect on nas search {method}: {' and '.join(LEARNING)} search with a surrogate")
    return folder_of(str(checkpoint))


def learned(setting: Setting, checkpoint: Path | None) -> Transfer | None:
    """The surrogate of a checkpoint, which knows the setting's data set by its training images; None where none is given."""
    tune, method = asked_of(setting).tune, setting.plan.method
    if tune != "process" and (checkpoint is None or method != "tnas"):
        raise BadInput(f"method.tune = {tune} moves what tnas has learned: give --checkpoint CKPT to nas search tnas")
    if checkpoint is None:
        return None
    known = fitting(method, Learned.load(checkpoint, setting.plan.space, setting.space), checkpoint)
    if known.kernel is None or known.extractor in (CODES, NONE):  # of images nothing was learned
        return Transfer(known, tune=tune)
    own = seen(setting.splits, known.extractor)
    known.check(own)
    return Transfer(known, own, tune=tune)


def cautions(setting: Setting, believed: Transfer | None) -> list[str]:
    """What must be said of a search with a surrogate: that it knows nothing of the data set, or learned of another space."""
    if believed is None or believed.learned.place is None:
        return []
    known = believed.learned
    said = [few] if (few := plainly(known)) else []
    if known.kernel is not None and known.extractor == CODES:
        said.append(f"the surrogate knows data sets by codes of classes, and {setting.plan.data} is like none of them to it")
    if other := unlike(known, settings_of(at_fidelity(setting).space)):
        said.append(f"the surrogate {other}")
    return said


def searcher(setting: Setting, region: Region, first: Sequence[Arch], believed: Transfer | None) -> Searcher:
    """A fresh searcher by its name; BadInput where it cannot be had."""
    asked, name = asked_of(setting), setting.plan.method
    if name == "tnas" and believed is None:
        name = PLAIN
    return rival(name, region, setting.plan.seed, first, believed, asked.parallel)


def begin(setting: Setting, region: Region, believed: Transfer | None) -> Begin:
    """The initial design of a search. What is wanted of the history and is not there is drawn at random."""
    asked = asked_of(setting)
    init = asked.init or ("posterior" if setting.plan.method.partition(":")[0] in LEARNING else "random")
    archs, origin = list[Arch](), "random"
    if init == "posterior" and believed is not None:
        archs = list(foremost_believed(region, believed, asked.init_size, setting.plan.seed))
        origin = "history" if believed.learned.kernel is None else "surrogate"
    elif init == "posterior":
        archs, origin = diverse(list(foremost(setting, region)), asked.init_size), "history"
    elif init == "paper":
        rows = most_accurate(setting, region) if believed is None else within(region, believed.learned.raw_best(EVERY))
        archs, origin = list(islice(rows, asked.init_size)), "history"
        if not archs:
            raise BadInput(
                f"--init paper begins with the most accurate networks of the history, which has none of {setting.plan.space} "
                "within the limits: nas history import fills it, --init random does without"
            )
    rest = region.samples(asked.init_size - len(archs), random.Random(f"{setting.plan.seed} design"), set(archs))
    return Begin([*archs, *rest], origin if archs else "random", len(rest))


def foremost_believed(region: Region, believed: Transfer, count: int, seed: int) -> Iterable[Arch]:
    """The networks of which a surrogate expects most, apart from each other; of a history too small for a surrogate, those that
    did best among their like."""
    if believed.learned.kernel is not None:
        return opening(region, believed, seed, count)
    return islice(within(region, warm(believed.learned.experience, EVERY)), count)
