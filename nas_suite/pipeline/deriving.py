"""A bi-level search: a latency table found or measured, supernet and choices trained, a network derived and measured."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from nas_suite.cost import COSTS, Cost, cost
from nas_suite.engine import Progress, fit, silent
from nas_suite.errors import BadInput, Missing, Unreachable
from nas_suite.latency.conditions import ANY, Conditions
from nas_suite.latency.table import LatencyTable
from nas_suite.latency.timer import Reading
from nas_suite.methods import METHODS
from nas_suite.pipeline import latencies
from nas_suite.pipeline.setting import TABLE, Setting, build, deployed, new_run, prepare, priced, table_of, work
from nas_suite.plan import Plan
from nas_suite.registry import defaults
from nas_suite.run import Run
from nas_suite.space import Arch
from nas_suite.target import Choice, Target

BUDGET = 300.0  # seconds that a table is measured for where there is none
CLOSE = 0.01  # of the target: a network measured so near it is not mended further
ROUNDS = 5

Mend: TypeAlias = Callable[[Target], Choice]
"""Operations and depths for a target whose costs were corrected; Unreachable where none meet it."""


@dataclass(frozen=True)
class Round:
    """A network, what the table said of it once it was corrected by the rounds before, and what was measured: the median of the
    runs and the range of their middle half; in ms."""

    arch: str
    predicted_ms: float
    measured_ms: float
    spread_ms: float = 0.0


Told = Callable[[Round], None]


def unheard(_: Round) -> None:
    """Tells nobody."""


def latency_table(plan: Plan, table: str | None, progress: Progress = silent, asked: Conditions = ANY) -> LatencyTable:
    """The table that a search of this plan goes by: the one that is named, else the newest that this machine has of the
    deployed space, else one that is measured now for some minutes. BadInput where a table that is named was measured otherwise
    than is asked."""
    setting = prepare(plan)
    space = deployed(setting)
    try:
        return latencies.table_for(plan.space, space, table, asked, plan.device)
    except Missing:
        settings = latencies.settings_of(space)
        return latencies.build(plan.space, settings, asked, plan.device, BUDGET, 0, None, progress)


def target_ms(plan: Plan) -> float:
    """The latency that a plan's network is to meet."""
    return float(plan.part("method").get("latency", defaults(METHODS.load(plan.method))["latency"]))


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
    run = new_run("bilevel", stem, setting, out, table=str(Path(table.where).resolve()), measure=measure)
    table.write(run.path / TABLE)
    return continue_deriving(run, setting, method, progress, told)


def continue_deriving(run: Run, setting: Setting, method: Any, progress: Progress, told: Told = unheard) -> Run:
    table = table_of(run)

    def job() -> dict[str, Any]:
        step = fit(method, method.batches(), method.epochs, run, setting.plan.seed, progress)
        return {"step": step, "result": derived(method, setting, table, run.record["measure"], told)}

    return work(run, job)


def derived(method: Any, setting: Setting, table: LatencyTable, measure: bool, told: Told) -> dict[str, Any]:
    """The network that a trained search came to, with its latency by the table, as it was predicted (the same, but for what the
    rounds before it corrected) and as it was measured."""
    target: Target = method.target
    space = target.space
    arch: Arch = method.found
    rounds: list[Round] = []
    unmeasured = "" if measure else "not asked for"
    if measure:
        try:
            read = latencies.network_timer(table, space)
        except BadInput as reason:
            unmeasured = str(reason)
        else:
            mend = (lambda corrected: corrected.nearest(method.beliefs)) if method.elastic else None
            rounds, arch = closed_loop(target, arch, read, told, mend)
    counted = {name: cost(name, space).total(arch) for name in COSTS}
    found = {"arch": space.describe(arch), "target_ms": target.ms, "table_ms": target.cost.total(arch)}
    best = nearest(rounds, target.ms) if rounds else None
    return {
        **found, "predicted_ms": best.predicted_ms if best else found["table_ms"],
        "measured_ms": best.measured_ms if best else None, "unmeasured": unmeasured,
        "rounds": [asdict(r) for r in rounds],
        "val_error": float(method.scorer().score(method.searcher([], []).ask())[0]), **counted,
    }  # fmt: skip


def closed_loop(
    target: Target, arch: Arch, read: Callable[[Arch], Reading], told: Told, mend: Mend | None
) -> tuple[list[Round], Arch]:
    """Measures the network, corrects the table by how far it was off and scales the widths again, until what is measured is
    within 1 % of the target, five times at most; all rounds, and the network that came nearest. It ends with the first where
    there is no `mend`.

    Where operations and depths no longer reach the target by the corrected table, `mend` chooses others. Those that do are
    kept: a table is off by another share for each operation, so that rounds which change them need not come nearer."""
    space, rounds, archs, factor = target.space, [], [arch], 1.0
    operations, depths, widths = space.split(arch)
    choice = Choice(operations, depths)
    while True:
        predicted, reading = factor * target.cost.total(archs[-1]), read(archs[-1])
        measured = reading.ms
        rounds.append(Round(space.describe(archs[-1]), predicted, measured, reading.spread_ms))
        told(rounds[-1])
        if mend is None or abs(measured / target.ms - 1) <= CLOSE or len(rounds) == ROUNDS:
            break
        factor *= measured / predicted
        corrected = Target(scaled_by(target.cost, factor), target.ms)
        if corrected.miss(choice):
            try:
                choice = mend(corrected)
            except Unreachable:
                break
        widths, _ = corrected.scaled(choice, widths)
        if (arch := target.arch(choice, widths)) in archs:
            break
        archs.append(arch)
    return rounds, archs[rounds.index(nearest(rounds, target.ms))]


def nearest(rounds: Sequence[Round], ms: float) -> Round:
    """The round whose network was measured nearest to a latency."""
    return min(rounds, key=lambda one: abs(one.measured_ms - ms))


def scaled_by(latency: Cost, factor: float) -> Cost:
    """A cost that many times as high."""
    return replace(latency, of=lambda block: factor * latency.of(block), base=factor * latency.base)
