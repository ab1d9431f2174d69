"""`nas data`: what can be trained on, and getting it."""

from typing import Annotated

import typer

from nas_suite.cli.answer import answer, facts, note
from nas_suite.cli.common import Commands, DataName, DataSets, Json, example, settings_of
from nas_suite.cli.layout import Prose, Table
from nas_suite.cli.progress import watching
from nas_suite.words import plural

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Data sets: list them, look into one, download one.")


@app.command("list", epilog=example("nas data list"))
def list_data(as_json: Json = False) -> None:
    """List the data sets and whether they are on this machine."""
    from nas_suite import catalogue

    found = catalogue.data_sets()
    rows = [(d["name"], "yes" if d["present"] else "no", d["where"] or "–", Prose(d["about"])) for d in found]
    answer("data list", found, as_json, [Table(("data", "present", "where", "about"), rows)])


@app.command(epilog=example("nas data info digits", "nas data info folder --set data.path=photos --set data.size=64"))
def info(name: DataName, sets: DataSets = None, as_json: Json = False) -> None:
    """Show a data set: its settings, classes and numbers of images. The test images stay closed."""
    from nas_suite import catalogue

    found = catalogue.data_set(name, settings_of("data", sets))
    heads = {"data": name, "present": "yes" if found["present"] else "no", "where": found["where"]}
    heads |= {f"data.{key}": value for key, value in found["settings"].items()}
    parts = [Prose(found["about"]), "", facts(heads)]
    if found["present"]:
        image, splits = found["image"], zip(found["train"]["by_class"], found["val"]["by_class"], strict=True)
        shape = f"{image['channels']} × {image['height']} × {image['width']}"
        parts += [
            "",
            f"{found['train']['images']:,} training and {plural(found['val']['images'], 'validation image')} of {shape}",
            "",
        ]
        rows = [(label, f"{train:,}", f"{val:,}") for label, (train, val) in zip(found["classes"], splits, strict=True)]
        parts.append(Table(("class", "train", "validation"), rows))
    answer("data info", found, as_json, parts)
    if not found["present"]:
        from nas_suite.data.download import SOURCES

        note(f"next: nas data get {name}" if name in SOURCES else f"next: nas data info {name} --set data.path=…")


@app.command(epilog=example("nas data get cifar10", "nas data get mnist --mirror https://example.org/mnist"))
def get(
    name: DataName,
    mirror: Annotated[str | None, typer.Option(metavar="URL", help="Another folder that holds the official files.")] = None,
    as_json: Json = False,
) -> None:
    """Download a data set's official files, checked; a download that broke off goes on. Also resnet18, a feature extractor's
    weights."""
    from nas_suite.data.download import SOURCES
    from nas_suite.data.download import get as download

    with watching(f"get {name}", "MB", 1e-6) as progress:
        folder = download(name, mirror=mirror, progress=lambda done, total: progress(done, total, {}))
    answer("data get", {"name": name, "folder": str(folder)}, as_json, [f"{name} is in {folder}"])
    trains = f"nas train-supernet mixpath --data {name}"
    note(f"next: {trains if name in SOURCES else f'nas meta-train tnas --features {name}'}")
