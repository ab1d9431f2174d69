"""The page of a report: its sections in order, and what each of them holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas_suite.artefact import ARCH, LOADER, WEIGHTS
from nas_suite.report import compared as comparisons
from nas_suite.report import (
    compared_figures,
    derived,
    derived_figures,
    figures,
    learnt,
    made,
    ranked,
    ranked_figures,
    sought,
    tables,
    tuned,
)
from nas_suite.report.chart import Chart
from nas_suite.report.compared import Compared
from nas_suite.report.derived import Derived
from nas_suite.report.grids import Grid, course, grids
from nas_suite.report.headline import Headline, Picture, headline, picture
from nas_suite.report.learnt import Learnt
from nas_suite.report.made import Made
from nas_suite.report.ranked import Ranked
from nas_suite.report.sought import Sought
from nas_suite.report.story import Network, Search, Story, networks, spent
from nas_suite.report.words import count, listed, objective, seconds, size
from nas_suite.run import Run, handle
from nas_suite.words import plural


@dataclass(frozen=True)
class Notice:
    """What a reader must know before believing the rest, and the command that mends it."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, charts, a grid beside them, grids, tables that stand open with how to read the first, remarks, a
    table of architectures, pictures, and tables of numbers that can be opened."""

    title: str
    lede: str
    charts: Sequence[Chart] = ()
    beside: Grid | None = None
    grids: Sequence[Grid] = ()
    open: Sequence[tables.Table] = ()
    reading: str = ""
    remarks: Sequence[str] = ()
    archs: tables.Archs | None = None
    pictures: Sequence[Picture] = ()
    numbers: Sequence[tables.Table] = ()


@dataclass(frozen=True)
class Loading:
    """The folder that holds a network, the script that loads it, and its files with their sizes."""

    folder: str
    script: str
    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    headline: Headline
    notices: Sequence[Notice]
    sections: Sequence[Section]
    loading: Loading | None
    phases: Sequence[tables.Phase]
    total: str
    runs: tables.Table
    settings: Sequence[tables.Part]


def page(told: Story) -> Page:
    searches = [Search(run, told) for run in told.of("search")]
    rankings = [Ranked(run) for run in told.of("rank")]
    benches = [Made(run) for run in told.of("table")]
    contests = [Compared(run) for run in told.of("compare")]
    bilevel = [Derived(run) for run in told.of("bilevel")]
    directly = [Sought(run) for run in told.of("direct")]
    metas = [Learnt(run) for run in told.of("meta")]
    trained = networks(told)
    done = [network for network in trained if network.result]
    return Page(
        headline(told, done, searches, rankings, benches, contests, directly),
        notices(told, searches),
        [
            *compared(trained),
            *(searched(search, len(searches)) for search in searches),
            *(for_latency(found, len(bilevel)) for found in bilevel),
            *(by_training(found, len(directly)) for found in directly),
            *(ordered(found, len(rankings)) for found in rankings),
            *(contested(found, len(contests)) for found in contests),
            *random_networks(told),
            *map(benchmark, benches),
            *(learned(found, len(metas)) for found in metas),
            *map(sizes, told.of("tune")),
            *training(told),
        ],
        loading(done[0].run) if done else None,
        tables.phases(told),
        seconds(sum(map(spent, told.runs))),
        tables.listing(told.runs),
        [*tables.settings(told.runs), tables.environment(told.runs)],
    )


def notices(told: Story, searches: Sequence[Search]) -> list[Notice]:
    """Runs that are not whole, networks that failed, sources that are gone."""
    found = []
    for run in told.runs:
        state = run.state
        if state == "running":
            found.append(Notice(f"{run.name} is still at work; this is what it has written so far."))
        elif state != "done":
            reason = f": {run.record['error']}" if run.record.get("error") else ""
            found.append(Notice(f"{run.name}: {state}{reason}. To go on with it:", f"nas runs resume {handle(run)}"))
    for search in searches:
        if search.failed:
            reason = search.failed[0].get("error", "no reason given")
            found.append(
                Notice(f"{plural(len(search.failed), 'network')} of {search.run.name} could not be evaluated: {reason}.")
            )
    return [
        *found,
        *(Notice(f"{path} is gone or its record cannot be read; what it would tell is left out.") for path in told.lost),
    ]


def compared(trained: Sequence[Network]) -> list[Section]:
    """The retrained networks beside each other, where there are several; their drawings but that of the headline."""
    if len(trained) < 2:
        return []
    pictures = [shown for shown in map(picture, trained[1:]) if shown]
    lede = "The best on the validation images comes first; test accuracies are those of the weights that were best there."
    return [Section("Networks trained from scratch", lede, archs=tables.trained(trained), pictures=pictures)]


def searched(search: Search, of: int) -> Section:
    title = "The search" + (f" {search.run.name}" if of > 1 else "")
    if not search.fine:
        return Section(title, "No network is evaluated yet.")
    names = listed([objective(name) for name in search.objectives])
    lede = f"{plural(len(search.fine), 'network')} evaluated for {names}."
    if len(search.objectives) > 1:
        ways = "both" if len(search.objectives) == 2 else "all of them"
        some = f"are the {len(search.front)} that" if len(search.front) > 1 else "is the one that"
        lede += f" On the front {some} no other one matches in {ways}." if search.front else ""
    if search.limits:
        bounds = [f"{objective(name)} at most {count(bound)}" for name, bound in search.limits.items()]
        lede += f" Within bounds: {listed(bounds)}."
    charts = [*figures.fronts(search), *figures.hypervolume(search), *figures.paths_of_trials(search)]
    return Section(title, lede, charts, archs=tables.front(search), numbers=tables.existing([tables.generations(search)]))


def for_latency(found: Derived, of: int) -> Section:
    return Section(
        derived.title(found, of),
        derived.lede(found),
        derived_figures.charts(found),
        course(found),
        grids(found),
        remarks=derived.remarks(found),
        archs=derived.rounds(found),
        numbers=tables.existing([derived.epochs(found), derived.trace(found)]),
    )


def by_training(found: Sought, of: int) -> Section:
    if not found.trials:
        return Section(sought.title(found, of), "No network is trained yet.")
    return Section(
        sought.title(found, of),
        sought.lede(found),
        sought.charts(found),
        remarks=sought.remarks(found),
        archs=sought.finalists(found),
        numbers=tables.existing([sought.trials(found)]),
    )


def ordered(found: Ranked, of: int) -> Section:
    title = "The ranking" + (f" {found.run.name}" if of > 1 else "")
    if not found.result:
        return Section(title, ranked.lede(found))
    apart, *pairs = ranked.differences(found) or [None]
    return Section(
        title,
        ranked.lede(found),
        ranked_figures.charts(found),
        open=tables.existing([ranked.estimators(found), apart]),
        reading=ranked.reading(found),
        remarks=ranked.remarks(found),
        numbers=tables.existing([*pairs, ranked.growing(found), ranked.falling(found)]),
    )


def contested(found: Compared, of: int) -> Section:
    title = "The comparison" + (f" {found.run.name}" if of > 1 else "")
    if not found.result:
        return Section(title, comparisons.lede(found))
    apart, *spans = comparisons.differences(found) or [None]
    return Section(
        title,
        comparisons.lede(found),
        compared_figures.charts(found),
        open=tables.existing([comparisons.regrets(found), comparisons.intervals(found), apart]),
        reading=comparisons.reading(found),
        remarks=[f"{note}." for note in found.result["notes"]],
        numbers=tables.existing([comparisons.ranks(found), comparisons.rank_intervals(found), *spans]),
    )


def benchmark(found: Made) -> Section:
    return Section(f"The benchmark {found.bench}", made.lede(found), made.charts(found), archs=made.best(found))


def learned(found: Learnt, of: int) -> Section:
    return Section(
        "What was learned" + (f" by {found.run.name}" if of > 1 else ""),
        learnt.lede(found),
        learnt.charts(found),
        open=tables.existing([learnt.figures(found)]),
        reading=learnt.reading(),
        remarks=learnt.remarks(found),
        numbers=tables.existing([learnt.epochs(found)]),
    )


def sizes(run: Run) -> Section:
    return Section(f"The sizes of {run.name}", tuned.lede(run), open=tables.existing([tuned.trials(run)]))


def random_networks(told: Story) -> list[Section]:
    runs = told.of("supernet")
    charts = figures.paths_of_statistics(runs)
    if not charts:
        return []
    lede = "Random networks, scored with the supernet’s weights, by how many paths run in every block. "
    lede += "A box spans the middle half, the line in it is the median."
    return [Section("The supernet’s networks", lede, charts, numbers=tables.existing(map(tables.by_paths, runs)))]


def training(told: Story) -> list[Section]:
    found = []
    for kind, title in (
        ("supernet", "Training the supernet"),
        ("bilevel", "Training weights and choices"),
        ("retrain", "Training from scratch"),
    ):
        runs = told.of(kind)
        charts = figures.curves(kind, runs)
        if charts:
            lede = "; ".join(map(length, runs)) + "."
            found.append(Section(title, lede, charts, numbers=tables.existing(map(tables.epochs, runs))))
    return found


def length(run: Run) -> str:
    """How long a run trained, of how long it was to."""
    settings = run.record["plan"]["settings"].get("retrain" if run.record["kind"] == "retrain" else "method", {})
    done, asked = len(run.epochs()), settings.get("epochs", 0)
    batches = f", batches of {settings['batch_size']}" if "batch_size" in settings else ""
    epochs = f"{done} of {plural(asked, 'epoch')}" if asked > done else plural(done, "epoch")
    return f"{run.name}: {epochs}{batches}"


def loading(run: Run) -> Loading | None:
    """How to load a run's network; None where its files are gone."""
    files = [run.path / name for name in (WEIGHTS, ARCH, LOADER)]
    if not all(file.exists() for file in files):
        return None
    return Loading(str(run.path), files[-1].read_text(), [(file.name, size(file.stat().st_size)) for file in files])
