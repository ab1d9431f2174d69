"""A bi-level search: a latency table found or measured, supernet and choices trained, a network derived and measured."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nas_suite.cost import COSTS, Cost, cost
from nas_suite.engine import Progress, fit, silent
from nas_suite.errors import BadInput, Missing
from nas_suite.latency import backends, machine
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.table import LatencyTable
from nas_suite.pipeline import latencies
from nas_suite.pipeline.setting import TABLE, Setting, build, deployed, new_run, prepare, priced, work
from nas_suite.plan import Plan
from nas_suite.run import Run
from nas_suite.space import Arch, SearchSpace
from nas_suite.target import Choice, Target, Widths

BUDGET = 300.0  # seconds that a table is measured for where there is none
CLOSE = 0.01  # of the target: a network measured so near it is not mended further
ROUNDS = 5

TimeNetwork = Callable[[Arch], float]
"""The latency of a whole network, ms."""


@dataclass(frozen=True)
class Round:
    """A network, what the table said of it once it was corrected by the rounds before, and what was measured; in ms."""

    arch: str
    predicted_ms: float
    measured_ms: float


Told = Callable[[Round], None]


def unheard(_: Round) -> None:
    """Tells nobody."""


def latency_table(plan: Plan, table: str | None, progress: Progress = silent) -> LatencyTable:
    """The table that a search of this plan goes by: the one that is named, else the newest that this machine has of the
    deployed space, else one that is measured now for some minutes."""
    setting = prepare(plan)
    space = deployed(setting)
    try:
        return latencies.table_for(plan.space, space, table, Conditions(), plan.device)
    except Missing:
        settings = latencies.settings_of(space)
        return latencies.build(plan.space, settings, latencies.PLAIN, plan.device, BUDGET, 0, None, progress)


def derive(
    plan: Plan,
    table: LatencyTable,
    measure: bool = True,
    out: Path | None = None,
    progress: Progress = silent,
    told: Told = unheard,
) -> Run:
    """Searches for a network that meets the latency of the plan's method; returns the run, which holds it.

    Unreachable, before anything is trained, where no network does. `told` hears of each measurement of a derived network.
    """
    setting = priced(prepare(plan), table)
    method = build(setting)
    stem = f"search_{plan.method}_{plan.space}_{plan.data}"
    run = new_run("bilevel", stem, setting, out, table=table.where, measure=measure)
    table.write(run.path / TABLE)
    return continue_deriving(run, setting, method, progress, told)


def continue_deriving(run: Run, setting: Setting, method: Any, progress: Progress, told: Told = unheard) -> Run:
    table = LatencyTable.read(run.path / TABLE)

    def job() -> dict[str, Any]:
        step = fit(method, method.batches(), method.epochs, run, setting.plan.seed, progress)
        return {"step": step, "result": derived(method, setting, table, run.record["measure"], told)}

    return work(run, job)


def derived(method: Any, setting: Setting, table: LatencyTable, measure: bool, told: Told) -> dict[str, Any]:
    """The network that a trained search came to, with its latency by the table and as it was measured."""
    target: Target = method.target
    space = target.space
    arch: Arch = method.found
    choice, widths = Choice(*space.split(arch)[:2]), space.split(arch)[2]
    rounds: list[Round] = []
    try:
        if not measure:
            raise BadInput("not asked for")
        time_network = timer(table, space)
        rounds, arch = closed_loop(target, choice, widths, time_network, told, method.elastic)
        unmeasured = ""
    except BadInput as reason:
        unmeasured = str(reason)
    counted = {name: cost(name, space).total(arch) for name in COSTS}
    found = {"arch": space.describe(arch), "target_ms": target.ms, "predicted_ms": target.cost.total(arch)}
    measured = min(rounds, key=lambda r: abs(r.measured_ms - target.ms)).measured_ms if rounds else None
    return {
        **found, "measured_ms": measured, "unmeasured": unmeasured, "rounds": [asdict(r) for r in rounds],
        "val_error": float(method.scorer().score(method.searcher([], []).ask())[0]), **counted,
    }  # fmt: skip


def timer(table: LatencyTable, space: SearchSpace) -> TimeNetwork:
    """What measures networks as the table's blocks were; BadInput says why this machine cannot."""
    under = table.conditions
    place = machine.having(under.device or "")
    if place is None:
        here = machine.called(machine.place("auto"))
        raise BadInput(f"the table is of {under.device or 'a device unknown'}, this machine has {here}")
    if unknown := [name for name in ("threads", "dtype", "backend") if getattr(under, name) is None]:
        raise BadInput(f"the table does not tell its {', '.join(unknown)}")
    if under.resolution not in (None, space.image_size):
        raise BadInput(f"the table is of images of {under.resolution} px, the network of {space.image_size}")
    backends.check(under)
    shape = (space.channels, space.image_size, space.image_size)
    return lambda arch: backends.timed(space.network(arch), shape, under, place, latencies.NETWORK_SECONDS).ms


def closed_loop(
    target: Target, choice: Choice, widths: Widths, time_network: TimeNetwork, told: Told, elastic: bool
) -> tuple[list[Round], Arch]:
    """Measures the network, corrects the table by how far it was off and scales the widths again, until what is measured is
    within 1 % of the target, five times at most; all rounds, and the network that came nearest."""
    rounds, archs, factor = [], [target.arch(choice, widths)], 1.0
    while True:
        predicted, measured = factor * target.cost.total(archs[-1]), time_network(archs[-1])
        rounds.append(Round(target.space.describe(archs[-1]), predicted, measured))
        told(rounds[-1])
        if not elastic or abs(measured / target.ms - 1) <= CLOSE or len(rounds) == ROUNDS:
            break
        factor *= measured / predicted
        widths, _ = Target(scaled_by(target.cost, factor), target.ms).scaled(choice, widths)
        if (arch := target.arch(choice, widths)) in archs:
            break
        archs.append(arch)
    nearest = min(range(len(rounds)), key=lambda at: abs(rounds[at].measured_ms - target.ms))
    return rounds, archs[nearest]


def scaled_by(latency: Cost, factor: float) -> Cost:
    """A cost that many times as high."""
    return replace(latency, of=lambda block: factor * latency.of(block), base=factor * latency.base)
