"""The headline of a report: what was found, in a sentence, in figures and as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nas_suite.data import DATA
from nas_suite.methods import METHODS
from nas_suite.pipeline.regret import LEAST
from nas_suite.plan import FIT, Plan, compose, recipes
from nas_suite.registry import defaults
from nas_suite.report.compared import Compared, Contender, soon
from nas_suite.report.drawing import caption, drawing
from nas_suite.report.learnt import Learnt, covered, nlpd
from nas_suite.report.made import Made
from nas_suite.report.ranked import Judged, Ranked
from nas_suite.report.sought import Sought, seeds, spread
from nas_suite.report.story import Network, Search, Story, entries, space_of
from nas_suite.report.tables import DID, LOGGED, TITLES, plain
from nas_suite.report.words import count, listed, many, percent, points, said, signed, three, whole
from nas_suite.run import Run, handle, quoted
from nas_suite.space import SupernetSpace
from nas_suite.telling import following
from nas_suite.words import plural

COSTS = {"macs": "multiply-adds", "params": "parameters"}
BY_NO_METHOD = ("rank", "table", "compare")
FITTING = {("space", name) for name in FIT}


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


def headline(
    told: Story, done: Sequence[Network], searches: Sequence[Search], rankings: Sequence[Ranked], benches: Sequence[Made],
    contests: Sequence[Compared], directly: Sequence[Sought],
) -> Headline:  # fmt: skip
    """Of the best retrained network; else of the newest search, comparison, ranking or benchmark; else of the last run."""
    if done:
        return of_network(over(told.runs[-1]), told, searches, done)
    if found := [one for one in directly if one.fine]:
        return of_direct(over(found[-1].run), found[-1])
    if fruitful := [search for search in searches if search.front]:
        return of_search(over(told.runs[-1]), fruitful[-1])
    if over_with := [contest for contest in contests if contest.result]:
        return of_comparison(over_with[-1])
    if finished := [ranked for ranked in rankings if ranked.result]:
        return of_ranking(finished[-1], told)
    last = told.runs[-1]
    if last.record["kind"] == "bilevel" and "result" in last.record:
        return of_derived(over(last), last, last.record["result"])
    if benches and benches[-1].run is last and benches[-1].networks:
        return of_bench(benches[-1])
    if last.record["kind"] == "meta" and "result" in last.record:
        return of_meta(over(last), Learnt(last))
    return of_run(over(last), last)


def over(run: Run) -> str:
    """Method, space and data of a run, as far as they matter to it."""
    parts = ("space", "data") if run.record["kind"] in BY_NO_METHOD else ("method", "space", "data")
    return " · ".join(filter(None, (run.record["plan"][part] for part in parts)))


def of_network(over: str, told: Story, searches: Sequence[Search], done: Sequence[Network]) -> Headline:
    """Of the network that is the best by validation."""
    found = done[0]
    title = f"{percent(found.test)} of the test images right"
    if "macs" in found.costs:
        title += f", with {count(found.costs['macs'])} multiply-adds"
    search = next((s for s in searches if told.source(found.run) is s.run), None)
    lede = came_about(found, search)
    if len(done) > 1:
        lede += f" Of the {plural(len(done), 'network')} trained so, it is the best on the validation images."
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
        epochs = len(network.run.epochs())
        last = ", the last" if chosen == epochs else f"; {percent(test['last'])} after the last"
        found.append(Tile("test accuracy", percent(test["best"]), f"after epoch {chosen}{last}"))
        best = f"after epoch {chosen}, the best of {epochs}"
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
    command = f"nas retrain {handle(search.run)}" + (" --knee" if "knee" in words else "")
    return Headline(over, title, lede, figures, picture(network), arch, command)


def of_ranking(ranked: Ranked, told: Story) -> Headline:
    """Of a ranking: its leading estimator beside the best baseline and the ceiling."""
    r, lead, base = ranked.result, ranked.lead, ranked.best_baseline
    where = f"{plural(r['n'], 'network')} of {r['bench']}"
    figures = []
    if lead is not None and lead is not base:
        figures.append(Tile(f"tau of {lead.name}", three(lead.tau), f"95 %: {lead.interval}"))
    if base is not None:
        figures.append(Tile("tau of the best baseline", three(base.tau), f"{base.name}; 95 %: {base.interval}"))
    if r["ceiling"] is not None:
        figures.append(Tile("noise ceiling", three(r["ceiling"]), f"tau between two of {plural(r['repeats'], 'repeat')}"))
    figures.append(Tile("networks", whole(r["n"]), f"{r['distinct']:,} distinct, of {r['of']:,} in the benchmark"))
    title = f"No estimator orders the {where}" if lead is None else f"Tau {three(lead.tau)} on {where}"
    names = lead.runs if lead else []
    search = [f"nas search {r.record['plan']['method']} --run {handle(r)}" for r in told.of("supernet") if r.name in names]
    command = search[0] if search else training(ranked.run)
    return Headline(over(ranked.run), title, verdict(ranked, lead, base), figures, following=command)


def training(run: Run) -> str:
    """The command that trains a supernet to be ranked, on the data and in the space that made the benchmark; nothing where that
    space has none or is not at hand."""
    plan, space = run.record["plan"], space_of(run)
    if not isinstance(space, SupernetSpace):
        return ""
    start, classes = beginning(plan), {"space": type(space)}
    words = [f"--recipe {start.recipe}"] if start.recipe else [f"--space {plan['space']}"]
    if plan["data"] in DATA.names():
        classes["data"] = DATA.load(plan["data"])
        words += [] if start.recipe else [f"--data {plan['data']}"]
    for part, cls in classes.items():
        usual = {name: plain(value) for name, value in {**defaults(cls), **start.part(part)}.items()}
        said = {name: plain(value) for name, value in plan["settings"].get(part, {}).items() if value is not None}
        other = {name: value for name, value in said.items() if value != usual.get(name) and (part, name) not in FITTING}
        words += [f"--set {quoted(f'{part}.{name}={value}'.replace(', ', ','))}" for name, value in other.items()]
    return " ".join([f"nas train-supernet {start.method}", *words])


def beginning(plan: Mapping[str, Any]) -> Plan:
    """The recipe of a benchmark, where it trains a supernet of this space on these data; else a plan without settings."""
    if plan.get("recipe") in [r.name for r in recipes()]:
        found = compose(Plan(), plan["recipe"])
        if (found.space, found.data) == (plan["space"], plan["data"]) and not METHODS.load(found.method).derives:
            return found
    return Plan()


def verdict(ranked: Ranked, lead: Judged | None, base: Judged | None) -> str:
    """How the leading estimator does beside the best baseline, in words."""
    if lead is None:
        return "Each gives all of them the same score."
    if lead is base:
        return f"The best order is that by {lead.name}, a baseline that costs nothing."
    if base is None:
        return f"{lead.name} orders them; each baseline gives all of them the same score."
    apart = ranked.difference(lead, base)
    said = f"{lead.name} orders them with tau {three(lead.tau)}; {base.name}, the best baseline, with {three(base.tau)}."
    if apart is None:
        return said
    noise = "outside" if apart["real"] else "inside"
    span = f"{signed(apart['low'])} … {signed(apart['high'])}"
    return f"{said} The difference of {signed(apart['tau'])} ({span}) is {noise} the noise."


def of_comparison(found: Compared) -> Headline:
    """Of searchers beside each other: those with the least regret at the end, the sooner of equals first."""
    r, order, best = found.result, found.order, found.leaders
    at = f"after {plural(r['budget'], 'evaluation')}"
    come = "comes" if len(best) == 1 else "come"
    title = f"{listed([c.name for c in best])} {come} closest to the optimum of {r['bench']}, on {r['dataset']}"
    tiles = [Tile(c.name, points(c.last["mean"]), f"regret in points {at}; optimum {soon(c)}") for c in order[:4]]
    lede = f"{plural(len(order), 'searcher')} compared over {plural(r['seeds'], 'seed')}."
    return Headline(over(found.run), title, f"{lede} {sureness(order, len(best), r['seeds'])}".strip(), tiles)


def sureness(order: Sequence[Contender], leading: int, seeds: int) -> str:
    """Whether the first of several searchers are apart from the next one by more than chance, in words."""
    if len(order) < 2:
        return ""
    if any(c.last["high"] is None for c in order[: leading + 1]):
        return unsure(seeds)
    if leading == len(order):
        return f"All have a mean regret of {points(order[0].last['mean'])}."
    best, other = order[:leading], order[leading]
    apart = "apart" if all(c.last["high"] < other.last["low"] for c in best) else "not apart"
    if leading == 1:
        return f"The 95 % interval of its regret is {apart} from that of {other.name}."
    tie = f"They tie at {points(best[0].last['mean'])}"
    return f"{tie}; the 95 % intervals of their regrets are {apart} from that of {other.name}."


def unsure(seeds: int) -> str:
    """Why there is no interval, in words."""
    if seeds == 1:
        return "One seed says little: --seeds sets how many there are."
    few = f"of {plural(seeds, 'seed')}" if seeds < LEAST else "where all seeds make one and the same search"
    return f"There is no interval {few}, so chance cannot be told from what is better."


def of_bench(made: Made) -> Headline:
    """Of a benchmark that is made: how good its networks are, and how many of them are trained."""
    best, worst = made.networks[0], made.networks[-1]
    done = made.run.record["status"] == "done"
    title = f"{plural(len(made.networks), 'network')} trained for the benchmark {made.bench}"
    tiles = [
        Tile("best", percent(best.mean), f"mean validation accuracy of {best.arch}"),
        Tile("median", percent(made.middle), f"of {plural(len(made.networks), 'network')}"),
        Tile("worst", percent(worst.mean), f"mean validation accuracy of {worst.arch}"),
        Tile("trainings", f"{len(made.rows):,} of {made.asked:,}", f"{len(made.failed):,} failed"),
    ]
    command = f"nas rank --bench {quoted(made.bench)}" if done else following(made.run)
    shown = picture(Network(best.arch, made.run))
    return Headline(over(made.run), title, "Shown is the best of them.", tiles, shown, best.arch, command)


def of_derived(over: str, run: Run, result: Mapping[str, Any]) -> Headline:
    """Of the network that was derived for a latency."""
    predicted, measured = result["predicted_ms"], result["measured_ms"]
    corrected = result.get("table_ms", predicted) != predicted
    title = f"{predicted if measured is None else measured:.2f} ms for a target of {result['target_ms']:g} ms"
    tiles = [
        Tile("measured", "–" if measured is None else f"{measured:.2f} ms", result["unmeasured"] or "the whole network"),
        Tile("predicted", f"{predicted:.2f} ms", "by the latency table" + ", corrected" * corrected),
        Tile("parameters", count(result["params"]), ""),
        Tile("multiply-adds", count(result["macs"]), ""),
    ]
    shown = picture(Network(result["arch"], run))
    return Headline(over, title, "", tiles, shown, result["arch"], following(run))


def of_direct(over: str, found: Sought) -> Headline:
    """Of a search by trainings: its winner's test accuracy, or the best so far."""
    network = Network(found.arch, found.run)
    test, costs = found.result.get("test_accuracy"), tiles(network)
    best = Tile("best in the search", percent(found.best[-1]), "of the validation images right")
    amount = Tile(
        "networks", f"{len(found.trials):,}", f"{len(found.failed):,} failed, {len(found.recalled):,} from the history"
    )
    if test is None:
        title = f"{percent(found.best[-1])} of the validation images right, the best of {plural(len(found.trials), 'network')}"
        return Headline(over, title, "", [best, *costs, amount], picture(network), found.arch, following(found.run))
    title = f"{percent(test['mean'])} of the test images right"
    title += f", with {count(network.costs['macs'])} multiply-adds" if "macs" in network.costs else ""
    mean = {"mean": found.result["val_accuracy"], "sd": found.result["val_sd"]}
    figures = [
        Tile("test accuracy", spread(test), f"mean of {plural(seeds(found), 'training')}"),
        Tile("validation accuracy", spread(mean), "by which it was chosen"),
    ]
    lede = "The winner of the finalists; what the weights in the run’s folder alone reach is "
    lede += f"{percent(test['of_network'])}."
    return Headline(over, title, lede, [*figures, *costs, best, amount], picture(network), found.arch, following(found.run))


def of_meta(over: str, found: Learnt) -> Headline:
    """Of a meta-training: how well data sets that it has not seen are predicted."""
    history = found.run.record["history"]
    amount = Tile("evaluations", whole(history["rows"]), f"on {plural(history['datasets'], 'data set')}")
    if found.plain:
        return Headline(over, "Too small a history for a deep kernel", "", [amount], following=following(found.run))
    figures = [Tile("Pearson", three(found.figure(f"{key}_pearson")), name) for key, name in found.where.items()]
    figures.append(Tile("NLPD", nlpd(found.figure("val_nlpd")), "held-out data sets"))
    figures.append(Tile("within 90 % intervals", covered(found.figure("val_covered")), "held-out data sets"))
    title = f"Pearson {three(found.figure('val_pearson'))} on data sets that it has not seen"
    return Headline(over, title, "", [*figures, amount], following=following(found.run))


def of_run(over: str, run: Run) -> Headline:
    """Of a run that has found no network yet: how far it is, and what comes next."""
    kind, log = run.record["kind"], run.epochs()
    title = f"{TITLES[kind].capitalize()}: {so_far(run)}"
    known = [name for name in ("loss", "accuracy", "val_accuracy") if log and name in log[-1]]
    figures = [Tile(LOGGED[name][0], LOGGED[name][1](log[-1][name]), "last epoch") for name in known]
    command = "" if run.record["status"] == "done" and kind in BY_NO_METHOD else following(run)
    return Headline(over, title, "", figures, following=command)


def so_far(run: Run) -> str:
    """How much of its work a run has done."""
    thing, deed, *things = DID.get(run.record["kind"], ("epoch", "finished"))
    done = len(entries(run))
    return plural(done, thing, *things) if done else f"no {thing} {deed} yet"
