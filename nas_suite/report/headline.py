"""The headline of a report: what was found, in a sentence, in figures and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nas_suite.report.drawing import caption, drawing
from nas_suite.report.story import Network, Search, Story
from nas_suite.report.tables import LOGGED, TITLES
from nas_suite.report.words import count, listed, many, percent, plural, said, whole
from nas_suite.run import Run, quoted

COSTS = {"macs": "multiply-adds", "params": "parameters"}


@dataclass(frozen=True)
class Tile:
    """A figure, what it is, and a line about it."""

    name: str
    value: str
    about: str = ""


@dataclass(frozen=True)
class Picture:
    """An architecture: its one line, its drawing, how to read that."""

    arch: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Headline:
    """`over` names method, space and data; `following` is the command that comes next where nothing is finished yet."""

    over: str
    title: str
    lede: str
    tiles: Sequence[Tile]
    picture: Picture | None = None
    arch: str = ""
    following: str = ""


def headline(told: Story, searches: Sequence[Search], done: Sequence[Network]) -> Headline:
    """Of the best retrained network; else of the newest search; else of the last run."""
    plan = told.runs[-1].record["plan"]
    over = " · ".join(plan[part] for part in ("method", "space", "data"))
    fruitful = [search for search in searches if search.front]
    if done:
        return of_network(over, told, searches, done)
    return of_search(over, fruitful[-1]) if fruitful else of_run(over, told.runs[-1])


def of_network(over: str, told: Story, searches: Sequence[Search], done: Sequence[Network]) -> Headline:
    """Of the network that is the best by validation."""
    found = done[0]
    title = f"{percent(found.test)} of the test images right"
    if "macs" in found.costs:
        title += f", with {count(found.costs['macs'])} multiply-adds"
    search = next((s for s in searches if told.source(found.run) is s.run), None)
    lede = came_about(found, search)
    if len(done) > 1:
        lede += f" Of the {len(done)} networks trained so, it is the best on the validation images."
    return Headline(over, title, lede, tiles(found), picture(found), found.arch)


def came_about(found: Network, search: Search | None) -> str:
    """How a retrained network was found and trained."""
    trained = f"was trained from scratch for {plural(len(found.run.epochs()), 'epoch')}."
    if search is None:
        return f"This network {trained}"
    words = [word for word in search.marks.get(found.arch, []) if word != "retrained"]
    place = f", {listed([f'the {word}' for word in words])}," if words else ""
    of = f" of the space’s {many(found.space.size())}" if found.space else ""
    where = " in the supernet" if "supernet" in search.run.record else ""
    scored = f"The search scored {plural(len(search.fine), 'network')}{of}{where} and found a front of {len(search.front)}."
    return f"{scored} This one{place} {trained}"


def tiles(network: Network) -> list[Tile]:
    """Figures of a network: accuracies where it is retrained, and costs."""
    found = []
    if network.result:
        test, chosen = network.result["test_accuracy"], network.result["best_epoch"] + 1
        found.append(
            Tile("test accuracy", percent(test["best"]), f"after epoch {chosen}; {percent(test['last'])} after the last")
        )
        best = f"after epoch {chosen}, the best of {len(network.run.epochs())}"
        found.append(Tile("validation accuracy", percent(network.result["val_accuracy"]), best))
    return found + [Tile(COSTS[name], count(value), whole(value)) for name, value in network.costs.items() if name in COSTS]


def picture(network: Network) -> Picture | None:
    sketch = network.sketch
    return Picture(network.arch, drawing(sketch, f"Architecture {network.arch}"), caption(sketch)) if sketch else None


def of_search(over: str, search: Search) -> Headline:
    """Of a search whose networks are not retrained yet: its knee, or its best."""
    arch = next((arch for arch, words in search.marks.items() if "knee" in words), search.front[0]["arch"])
    words = search.marks[arch]
    network = Network(arch, search.run)
    title = f"A front of {plural(len(search.front), 'network')} among {len(search.fine):,} evaluated"
    lede = f"Shown is {listed([f'the {word}' for word in words])}, with what the search found it to have."
    values = [Tile(search.title(n), said(n, v)) for n in search.objectives if (v := search.value(arch, n)) is not None]
    known = {tile.name for tile in values}
    figures = [*values, *(tile for tile in tiles(network) if tile.name not in known)]
    command = f"nas retrain {quoted(search.run.name)}" + (" --knee" if "knee" in words else "")
    return Headline(over, title, lede, figures, picture(network), arch, command)


def of_run(over: str, run: Run) -> Headline:
    """Of a run that has found no network yet: how far it is, and what comes next."""
    kind, log = run.record["kind"], run.epochs()
    nothing = "no network evaluated yet" if kind == "search" else "no epoch finished yet"
    title = f"{TITLES[kind].capitalize()}: {plural(len(log), 'epoch') if log else nothing}"
    known = [name for name in ("loss", "accuracy", "val_accuracy") if log and name in log[-1]]
    figures = [Tile(LOGGED[name][0], LOGGED[name][1](log[-1][name]), "last epoch") for name in known]
    search = f"nas search {run.record['plan']['method']} --run {quoted(run.name)}"
    return Headline(
        over, title, "", figures, following=search if run.record["status"] == "done" else f"nas runs resume {quoted(run.name)}"
    )
