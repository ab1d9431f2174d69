"""What the history knows of a search: trainings that need not be done again, and networks to begin with."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from nas_suite.errors import BadInput, Missing
from nas_suite.history.place import switched_off
from nas_suite.history.rows import Evaluation
from nas_suite.pipeline.remembering import of_training
from nas_suite.pipeline.setting import Setting
from nas_suite.search import Region
from nas_suite.space import Arch

if TYPE_CHECKING:
    from nas_suite.history import History

FEWEST = 5  # evaluations of one kind on one data set that say which of them are good ones
METRIC, SPLIT = "accuracy", "val"


def known() -> "History | None":
    """The user's history; None where there is none yet or it is switched off."""
    if switched_off():
        return None
    from nas_suite.history import History

    try:
        return History.open()
    except Missing:
        return None


def recalled(setting: Setting, arch: str, seed: int) -> Evaluation | None:
    """What the history has of exactly this training: same images, network, recipe, fidelity and seed. None also where the
    history cannot be read: the training is done then."""
    (wanted,) = of_training(setting, arch, seed, {SPLIT: 0.0}, None, "", "")
    try:
        if (history := known()) is None:
            return None
        keys = [task.key for task in history.datasets() if task.content == setting.splits.fingerprint]
        if not keys:
            return None
        wanted = replace(wanted, data=keys[0])
        rows = history.evaluations(
            wanted.space, wanted.data, SPLIT, METRIC, wanted.recipe_hash, wanted.settings_hash, wanted.fidelity_text, "ok"
        )
    except BadInput:
        return None
    return next((row for row in rows if row.training == wanted.training), None)


def foremost(setting: Setting, region: Region) -> Iterator[Arch]:
    """The region's networks that the history has found to be good, the best first: by how many standard deviations they lie
    above the mean of their like, those of one data set, recipe and fidelity, on average over these. Levels of accuracy that
    differ from data set to data set say nothing."""
    from nas_suite.history import Kind

    groups: dict[tuple[str, Kind], list[Evaluation]] = defaultdict(list)
    for row in experience(setting):
        groups[row.data, Kind.of(row)].append(row)
    scores: dict[str, list[float]] = defaultdict(list)
    for rows in groups.values():
        values = [row.value or 0.0 for row in rows]
        if len(rows) >= FEWEST and (spread := pstdev(values)) > 0:
            for row, value in zip(rows, values, strict=True):
                scores[row.arch].append((value - fmean(values)) / spread)
    yield from inside(region, sorted(scores, key=lambda arch: -fmean(scores[arch])))


def most_accurate(setting: Setting, region: Region) -> Iterator[Arch]:
    """The region's networks by the accuracy that they had on whatever data set: TNAS's released code begins with these, which
    are good networks or were trained on easy data. Accuracies of several kinds, trained longer say, are not compared: those of
    the kind of which there are most are."""
    from nas_suite.history import Kind, kinds

    every = experience(setting)
    allowed = set(map(region.space.describe, inside(region, dict.fromkeys(row.arch for row in every))))
    own = [row for row in every if row.arch in allowed]
    most = next(iter(kinds(own)), None)
    rows = sorted((row for row in own if Kind.of(row) == most), key=lambda row: -(row.value or 0.0))
    yield from inside(region, dict.fromkeys(row.arch for row in rows))


def experience(setting: Setting) -> Sequence[Evaluation]:
    """Validation accuracies of networks of the setting's space, on any data set."""
    history = known()
    return [] if history is None else history.evaluations(setting.plan.space, split=SPLIT, metric=METRIC, status="ok")


def inside(region: Region, texts: Iterable[str]) -> Iterator[Arch]:
    """As `within`, of networks that the space still spells."""

    def parsed() -> Iterator[Arch]:
        for text in texts:
            with contextlib.suppress(BadInput):
                yield region.space.parse(text)

    return within(region, parsed())


def within(region: Region, archs: Iterable[Arch]) -> Iterator[Arch]:
    """Canonical networks within the limits, each once."""
    seen = set[Arch]()
    for spelt in archs:
        arch = region.space.canonical(spelt)
        if arch is not None and arch not in seen and region.excess(arch) == 0:
            seen.add(arch)
            yield arch
