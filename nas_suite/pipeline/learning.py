"""What searchers of a benchmark have learned before: the checkpoint that each goes by, and what an ablation leaves out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_suite.errors import BadInput, suggest
from nas_suite.pipeline.tabled import Tabled
from nas_suite.run import RECORD, Run, handle, run_at
from nas_suite.search import Region
from nas_suite.space import Arch

if TYPE_CHECKING:
    from nas_suite.encoders.banks import Bank
    from nas_suite.surrogate.learned import Learned
    from nas_suite.surrogate.model import Model

ALL = ""  # whose checkpoint is that of all searchers that have none of their own
OWN = {"tnas:no-graph": "--encoding one-hot", "tnas:no-dataset": "--no-datasets"}  # learned otherwise, and how
FILES = ("learned.json", "learned.safetensors")


def checkpoints(words: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Words CKPT or SEARCHER=CKPT, a folder or a run's name, as folders by searcher."""
    from nas_suite.rivals import LEARNED

    found: dict[str, str] = {}
    for word in words:
        name, equals, place = word.partition("=")
        if not equals or Path(word).exists():
            name, place = ALL, word
        elif name not in LEARNED:
            raise BadInput(f"--checkpoint {word}: {name} goes by no checkpoint{suggest(name, LEARNED)}")
        elif name not in known:
            raise BadInput(f"--checkpoint {word}: {name} is not among those that are compared, {', '.join(known)}")
        if name in found:
            raise BadInput(f"--checkpoint is given twice for {name or 'all searchers'}: {found[name]} and {place}")
        found[name] = str(folder_of(place).resolve())
    return found


def folder_of(word: str) -> Path:
    """The folder of a checkpoint that a user names: a folder, one of the files in it, or a run. BadInput where it is none, or
    one that is not whole yet."""
    path = Path(word)
    if path.is_file() and path.name not in FILES:
        raise BadInput(f"--checkpoint {word} is a file: name the folder or the run that nas meta-train made")
    place = path.parent if path.is_file() else path if path.exists() else run_at(word).path
    if (place / RECORD).exists() and not (place / FILES[0]).exists():
        run = Run.open(place)
        if run.record["kind"] != "meta":
            raise BadInput(
                f"--checkpoint {word} is a run of another kind ({run.record['kind']}): nas meta-train makes checkpoints"
            )
        raise BadInput(f"--checkpoint {word} is not whole yet: nas runs resume {handle(run)}")
    return place


def unlike(learned: "Learned", settings: Mapping[str, Any]) -> str:
    """What must be said of a checkpoint of a space with other settings than networks have here; nothing of others."""
    from nas_suite.surrogate.learned import told

    was = {} if learned.place is None else told(learned.place).get("settings", {})
    other = [f"{name} {was[name]}, here {here}" for name, here in settings.items() if name in was and was[name] != here]
    return f"learned of {learned.space_name} with {'; '.join(other)}" if other else ""


def folders(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """By searcher, the checkpoint that it goes by; none of those that have none. BadInput where one cannot do without."""
    from nas_suite.rivals import LEARNED

    found = {}
    for name in (name for name in names if name in LEARNED):
        if folder := given.get(name, "" if name in OWN else given.get(ALL, "")):
            found[name] = folder
        elif name in OWN:
            raise BadInput(
                f"{name} has learned otherwise: give --checkpoint {name}=CKPT, made by `nas meta-train tnas {OWN[name]}`"
            )
    return found


def heard(names: Sequence[str], given: Mapping[str, str]) -> tuple[str, ...]:
    """The searchers of a comparison whose checkpoints are read: all in the field, or where none of these learns, but a
    checkpoint is given, `tnas`, whose initial design the others begin with."""
    from nas_suite.rivals import LEARNED

    return tuple(names) if set(names) & set(LEARNED) or ALL not in given else (*names, "tnas")


def loaded(names: Sequence[str], given: Mapping[str, str], space_name: str, space: Tabled) -> dict[str, "Learned"]:
    """By searcher, what those have learned that have a checkpoint. BadInput where one is of another space, or has what its
    searcher is to do without."""
    from nas_suite.surrogate.learned import Learned

    read: dict[str, Learned] = {}
    found = {}
    for name, folder in folders(names, given).items():
        if folder not in read:
            read[folder] = Learned.load(Path(folder), space_name, space.inner)
        found[name] = fitting(name, read[folder], folder)
    return found


def fitting(name: str, learned: "Learned", folder: str | Path) -> "Learned":
    """What was learned, where a searcher can go by it."""
    if learned.kernel is None and name in (*OWN, "metad2a"):
        raise BadInput(
            f"{folder} was learned from {learned.experience.there}, too little for a deep kernel, without which {name} is "
            "nothing: give one of a larger history, or take tnas"
        )
    build = learned.kernel.build if learned.kernel is not None else None
    whole = build is not None and ((name == "tnas:no-graph" and build.encoding != "one-hot") or
                                   (name == "tnas:no-dataset" and build.datasets))  # fmt: skip
    if whole:
        raise BadInput(f"{folder} leaves out nothing, which {name} is to do: give one of `nas meta-train tnas {OWN[name]}`")
    return learned


def surrogate(name: str, learned: "Learned", bank: "Bank | None") -> "Model":
    """A fresh surrogate for a data set of these features; without what was learned, but with its initial design, for
    `tnas:no-meta`."""
    from nas_suite.surrogate.transfer import Transfer

    plain = name == "tnas:no-meta"
    return Transfer(learned, bank, prior=not plain, deep=not plain)


def warm_start(learned: "Learned", bank: "Bank | None", region: Region, count: int, seed: int) -> list[Arch]:
    """The initial design of TNAS for a seed: of what it believes to be the best; of a history too small to believe anything,
    the networks that did best in it."""
    from nas_suite.rivals import opening
    from nas_suite.surrogate.transfer import warm

    if learned.kernel is not None:
        return opening(region, surrogate("tnas", learned, bank), seed, count)
    return inside(warm(learned.experience, len(learned.experience.archs)), region)[:count]


def published(learned: "Learned", region: Region, count: int) -> list[Arch]:
    """The published initial design: the networks with the highest accuracies of the history, whatever their data sets."""
    return inside(learned.raw_best(len(learned.experience.archs)), region)[:count]


def inside(archs: Sequence[Arch], region: Region) -> list[Arch]:
    """Those that are candidates, canonical, each once."""
    return list(dict.fromkeys(arch for a in archs if (arch := region.space.canonical(a)) is not None))


def caution(learned: Mapping[str, "Learned"], blind: Sequence[str], dataset: str) -> list[str]:
    """What must be said of searchers whose history was too small to learn from, and of the `blind`, which tell data sets apart
    and know nothing of this one."""
    few: dict[str, list[str]] = {}
    for name, one in learned.items():
        few.setdefault(plainly(one), []).append(name)
    said = [f"{', '.join(names)}: {why}" for why, names in few.items() if why]
    if blind:
        said.append(f"{', '.join(blind)}: no features of {dataset} are at hand, so that it has the neutral code of no data set")
    return said


def plainly(learned: "Learned") -> str:
    """What must be said of a checkpoint without a deep kernel; nothing of others."""
    if learned.kernel is not None:
        return ""
    return (
        f"the checkpoint was learned from {learned.experience.there}, too little for a deep kernel, and a plain Gaussian "
        "process searches"
    )
