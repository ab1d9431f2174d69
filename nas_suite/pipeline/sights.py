"""What learned searchers of a comparison see of its data set: features of its training images, kept beside the run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from nas_suite.data import DATA
from nas_suite.data.images import Splits
from nas_suite.encoders.banks import CODES, NONE, Bank, bank
from nas_suite.encoders.features import extractor
from nas_suite.errors import BadInput, Missing
from nas_suite.pipeline.field import images_of
from nas_suite.run import Run
from nas_suite.tables import Table

if TYPE_CHECKING:
    from nas_suite.surrogate.learned import Learned

FILE = "images.safetensors"


def taken(table: Table, data: str, side: int, learned: Mapping[str, "Learned"]) -> dict[str, Bank]:
    """By extractor, the features of a benchmark's data set, of images of that side, by which its learned searchers compare it.
    None where its images, or an extractor's weights, are not on this machine, or a class has no image."""
    wanted = sorted({one.extractor for one in learned.values() if seeing(one) and one.extractor != CODES})
    if not wanted or data not in DATA.names():
        return {}
    images, found = images_of(table, data, side), {}
    if not images.available():
        return {}
    splits = images.splits()
    if len(splits.train.y.unique()) < len(splits.classes):
        return {}
    for made_by in wanted:
        try:
            found[made_by] = seen(splits, made_by)
        except Missing:
            continue
    return found


def seen(splits: Splits, made_by: str) -> Bank:
    """The bank of training images by the extractor of this id; BadInput where this version's has another."""
    seer = extractor(made_by.split("-")[0])
    if seer.id != made_by:
        raise BadInput(f"features of {made_by} are wanted, and those of this version are of {seer.id}: meta-train again")
    return bank(splits.train, splits.mean, splits.std, seer, len(splits.classes))


def seeing(learned: "Learned") -> bool:
    """Whether it tells data sets apart."""
    return learned.kernel is not None and learned.kernel.build.datasets and learned.extractor != NONE


def keep(run: Run, banks: Mapping[str, Bank]) -> None:
    """Writes the features beside a run, which goes on by them wherever it is resumed."""
    import torch

    named = {
        f"{made_by}/{at:04}": torch.from_numpy(rows) for made_by, one in banks.items() for at, rows in enumerate(one.classes)
    }
    if named:
        run.put(FILE, save(named))


def kept(run: Run) -> dict[str, Bank]:
    """What `keep` wrote; BadInput where that is damaged."""
    found: dict[str, list] = {}
    path = run.path / FILE
    try:
        named = load_file(path) if path.exists() else {}
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} is damaged ({error}): remove it, and nas runs resume looks at the images anew") from None
    for name, rows in sorted(named.items()):
        found.setdefault(name.rpartition("/")[0], []).append(rows.numpy())
    return {made_by: Bank(made_by, tuple(classes)) for made_by, classes in found.items()}


def bank_for(learned: "Learned", banks: Mapping[str, Bank]) -> Bank | None:
    return banks.get(learned.extractor) if seeing(learned) else None


def unseeing(learned: Mapping[str, "Learned"], banks: Mapping[str, Bank]) -> Sequence[str]:
    """Searchers that tell data sets apart where nothing is known of this one."""
    return [name for name, one in learned.items() if seeing(one) and bank_for(one, banks) is None and name != "tnas:no-meta"]
