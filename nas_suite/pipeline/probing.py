"""Probing: zero-cost proxies of a benchmark's networks, and the training images that they look at."""

from collections.abc import Callable, Sequence

from nas_suite.data import DATA
from nas_suite.data.batches import Batch, normalised
from nas_suite.data.images import Splits
from nas_suite.data.sets import DataSet
from nas_suite.engine import Compute
from nas_suite.errors import BadInput
from nas_suite.pipeline.field import Field, images_of
from nas_suite.proxies import IMAGES, PROXIES, blank, objective


def probe(name: str, field: Field) -> Callable[[Sequence[int]], Sequence[float]]:
    """A proxy's scores of networks by their place in the field, at the benchmark's size. The ranking's seed is that of
    weights and images. BadInput or Missing where the images cannot be had."""
    score = objective(name, field.space, batch(name, field), field.seed, Compute.choose("auto", "fp32")).score
    return lambda places: score([field.native(at) for at in places])


def check(name: str, field: Field) -> None:
    """BadInput or Missing where a proxy needs images that cannot be had; nothing is read yet."""
    if PROXIES[name].needs != "nothing":
        data = images(name, field)
        if not data.available():
            data.splits()  # says what is missing


def batch(name: str, field: Field) -> Batch:
    """What a proxy looks at: training images of the metric's data set, or, where it needs none, their shape."""
    if PROXIES[name].needs == "nothing":
        return blank(field.space)
    found, space = splits(name, field), field.space
    shape, wanted = found.train.shape, (space.channels, space.image_size, space.image_size)
    if shape != wanted or len(found.classes) != space.classes:
        raise BadInput(
            f"{name}: the networks of {field.table.name} are for {space.classes} classes of images {wanted}, but "
            f"{field.metric.data} has {len(found.classes)} of {shape}; proxies that need no images: {imageless()}"
        )
    return seen(found, field.seed)


def seen(splits: Splits, seed: int) -> Batch:
    """Training images, every class with its share, normalised and not augmented."""
    some = splits.train.take(IMAGES, seed)
    return normalised(some.x, splits.mean, splits.std), some.y


def images(name: str, field: Field) -> DataSet:
    """The metric's data set: with the settings of the plan that made the table, else at the size of the networks' images."""
    data = field.metric.data
    if data not in DATA.names():
        of = f"of {data}, whose images the suite does not have" if data else "of no data set"
        raise BadInput(
            f"{name} looks at training images, but {field.metric.name} is {of} (there are: {', '.join(DATA.names())}); "
            f"proxies that need no images: {imageless()}"
        )
    return images_of(field.table, data, field.space.image_size)


def splits(name: str, field: Field) -> Splits:
    """The images of the metric's data set, those for training and those for validation."""
    return images(name, field).splits()


def imageless() -> str:
    return ", ".join(name for name, proxy in PROXIES.items() if proxy.needs == "nothing")
