"""The page of a report: its headline, its sections in order, and what each of them holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from nas_suite.artefact import ARCH, LOADER, WEIGHTS
from nas_suite.report import figures, tables
from nas_suite.report.chart import Chart
from nas_suite.report.drawing import caption, drawing
from nas_suite.report.story import Network, Search, Story, networks, spent
from nas_suite.report.words import count, listed, many, objective, percent, plural, said, seconds, size, whole
from nas_suite.run import LOG, Run

RESULTS = ("test accuracy", "validation accuracy", "multiply-adds", "parameters")


@dataclass(frozen=True)
class Tile:
    """A figure of the headline, what it is, and a line about it."""

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
    """What was found, in a sentence, in figures and as a picture; the command that follows."""

    over: str
    title: str
    lede: str
    tiles: Sequence[Tile]
    picture: Picture | None = None
    arch: str = ""
    following: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, charts and tables of numbers."""

    title: str
    lede: str
    charts: Sequence[Chart] = ()
    numbers: Sequence[tables.Table] = ()
    columns: Sequence[str] = ()
    front: Sequence[tables.FrontRow] = ()


@dataclass(frozen=True)
class Loading:
    """The folder that holds a network, the script that loads it, and its files with their sizes."""

    folder: str
    script: str
    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    story: Story
    headline: Headline
    notices: Sequence[str]
    sections: Sequence[Section]
    trained: Sequence[tuple[Network, Picture | None, Sequence[Tile]]]
    loading: Loading | None
    phases: Sequence[tables.Phase]
    settings: Sequence[tables.Part]
    environment: tables.Part
    runs: tables.Table
    total: str = ""
    charts: Sequence[Chart] = field(default=())


def page(told: Story) -> Page:
    searches = [Search(run, told) for run in told.of("search")]
    trained = networks(told)
    done = [network for network in trained if network.result]
    sections = [*(searched(search, len(searches)) for search in searches), *random_networks(told), *training(told)]
    return Page(
        told,
        headline(told, searches, done),
        notices(told, searches),
        sections,
        [(network, picture(network), tiles(network)) for network in trained] if len(trained) > 1 else [],
        loading(done[0].run) if done else None,
        tables.phases(told),
        tables.settings(told.runs),
        tables.environment(told.runs),
        listing(told.runs),
        seconds(sum(map(spent, told.runs))),
        [chart for section in sections for chart in section.charts],
    )


def headline(told: Story, searches: Sequence[Search], done: Sequence[Network]) -> Headline:
    """Of the best retrained network; else of the newest search; else of the runs that there are."""
    plan = told.runs[-1].record["plan"]
    over = " · ".join(plan[part] for part in ("method", "space", "data"))
    if done:
        found = done[0]
        title = f"{percent(found.result['test_accuracy']['best'])} of the test images right" if found.result else ""
        if "macs" in found.costs:
            title += f", with {count(found.costs['macs'])} multiply-adds"
        return Headline(over, title, retraining_told(told, searches, done), tiles(found), picture(found), found.arch)
    found_something = [search for search in searches if search.front]
    if found_something:
        return of_search(over, found_something[-1])
    run = told.runs[-1]
    return Headline(
        over, f"{tables.TITLES[run.record['kind']].capitalize()}, {progress(run)}", next_step(run), last_figures(run)
    )


def retraining_told(told: Story, searches: Sequence[Search], done: Sequence[Network]) -> str:
    """How the headline's network came about."""
    found = done[0]
    search = next((s for s in searches if told.source(found.run) is s.run), None)
    trained = f"trained from scratch for {plural(len(found.run.lines(LOG)), 'epoch')}"
    best = f" It is the best on the validation images of {plural(len(done), 'network')} that were." if len(done) > 1 else ""
    if search is None:
        return f"This network was {trained}.{best}"
    words = [word for word in search.marks.get(found.arch, []) if word != "retrained"]
    place = f", {listed([f'the {word}' for word in words])}" if words else ""
    space = found.space
    of = f" of the space’s {many(space.size())}" if space else ""
    where = "in the supernet" if "supernet" in search.run.record else ""
    scored = f"The search scored {plural(len(search.fine), 'network')}{of} {where}".rstrip()
    return f"{scored} and found a front of {len(search.front)}. This one{place}, was {trained}.{best}"


def tiles(network: Network) -> list[Tile]:
    """Figures of a network: accuracies where it is retrained, and costs."""
    found = []
    if network.result:
        test, chosen = network.result["test_accuracy"], network.result["best_epoch"] + 1
        found.append(Tile(RESULTS[0], percent(test["best"]), f"after epoch {chosen}; {percent(test['last'])} after the last"))
        best = f"after epoch {chosen}, the best of {len(network.run.lines(LOG))}"
        found.append(Tile(RESULTS[1], percent(network.result["val_accuracy"]), best))
    for name, title in zip(("macs", "params"), RESULTS[2:], strict=True):
        if name in network.costs:
            found.append(Tile(title, count(network.costs[name]), whole(network.costs[name])))
    return found


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
    values = [Tile(objective(n), said(n, v)) for n in search.objectives if (v := search.value(arch, n)) is not None]
    known = {tile.name for tile in values}
    figures_of = [*values, *(tile for tile in tiles(network) if tile.name not in known)]
    command = f"nas retrain {search.run.name}" + (" --knee" if "knee" in words else "")
    return Headline(over, title, lede, figures_of, picture(network), arch, command)


def progress(run: Run) -> str:
    """How far a run without a result is."""
    log = run.lines(LOG)
    if run.record["kind"] == "search":
        return "no network evaluated yet"
    return plural(len(log), "epoch") if log else "no epoch finished yet"


def next_step(run: Run) -> str:
    """The command that follows a run that has found nothing yet."""
    if run.record["status"] != "done":
        return f"nas runs resume {run.name}"
    return f"nas search {run.record['plan']['method']} --run {run.name}"


def last_figures(run: Run) -> list[Tile]:
    """The figures of a training's last epoch."""
    log = run.lines(LOG)
    if run.record["kind"] == "search" or not log:
        return []
    known = [(name, say) for name, (_, say) in tables.LOGGED.items() if name in log[-1] and name not in ("lr", "seconds")]
    return [Tile(tables.LOGGED[name][0], say(log[-1][name]), "last epoch") for name, say in known]


def notices(told: Story, searches: Sequence[Search]) -> list[str]:
    """What a reader must know of runs that are not whole."""
    found = []
    for run in told.runs:
        state = run.state
        if state != "done":
            reason = f": {run.record['error']}" if run.record.get("error") else ""
            found.append(f"{run.name} is {state}{reason}. `nas runs resume {run.name}` goes on with it.")
    for search in searches:
        if search.failed:
            reason = search.failed[0].get("error", "no reason given")
            found.append(f"{plural(len(search.failed), 'network')} of {search.run.name} could not be evaluated: {reason}.")
    return [*found, *(f"{path} is no longer there; what it would tell is left out." for path in told.lost)]


def searched(search: Search, of: int) -> Section:
    title = "The search" + (f" {search.run.name}" if of > 1 else "")
    if not search.fine:
        return Section(title, "No network is evaluated yet.")
    names = listed([objective(name) for name in search.objectives])
    lede = f"{plural(len(search.fine), 'network')} evaluated for {names}."
    if len(search.objectives) > 1:
        ways = "both" if len(search.objectives) == 2 else "all of them"
        lede += f" On the front are the {len(search.front)} that no other one matches in {ways}."
    if search.limits:
        bounds = [f"{objective(name)} at most {count(bound)}" for name, bound in search.limits.items()]
        lede += f" Within bounds: {listed(bounds)}."
    charts = [*figures.fronts(search), *figures.hypervolume(search), *figures.paths_of_trials(search)]
    columns = [objective(name) for name in search.objectives]
    return Section(title, lede, charts, tables.existing([tables.generations(search)]), columns, tables.front_rows(search))


def random_networks(told: Story) -> list[Section]:
    runs = told.of("supernet")
    charts = figures.paths_of_statistics(runs)
    if not charts:
        return []
    lede = "Random networks scored with the supernet's weights, by how many paths run at once: the box spans the middle half."
    return [Section("The supernet’s networks", lede, charts, tables.existing(map(tables.by_paths, runs)))]


def training(told: Story) -> list[Section]:
    found = []
    for kind, title in (("supernet", "Training the supernet"), ("retrain", "Training from scratch")):
        runs = told.of(kind)
        charts = figures.curves(kind, runs)
        if charts:
            found.append(Section(title, trained_told(runs), charts, tables.existing(map(tables.epochs, runs))))
    return found


def trained_told(runs: Sequence[Run]) -> str:
    said_of = []
    for run in runs:
        settings = run.record["plan"]["settings"].get("method" if run.record["kind"] == "supernet" else "retrain", {})
        asked = f" of {settings['epochs']}" if settings.get("epochs", 0) > len(run.lines(LOG)) else ""
        said_of.append(
            f"{run.name}: {len(run.lines(LOG))}{asked} epochs"
            + (f", batches of {settings['batch_size']}" if "batch_size" in settings else "")
        )
    return "; ".join(said_of) + "."


def loading(run: Run) -> Loading | None:
    """How to load a run's network; None where its files are gone."""
    script = run.path / LOADER
    if not (script.exists() and (run.path / WEIGHTS).exists()):
        return None
    files = [(name, size((run.path / name).stat().st_size)) for name in (WEIGHTS, ARCH, LOADER) if (run.path / name).exists()]
    return Loading(str(run.path), script.read_text(), files)


def listing(runs: Sequence[Run]) -> tables.Table:
    rows = [
        (run.name, run.record["kind"], run.state, run.record.get("created", "").replace("T", " "), seconds(spent(run)))
        for run in runs
    ]
    return tables.Table("Runs", ("run", "kind", "status", "begun", "computing"), rows)
