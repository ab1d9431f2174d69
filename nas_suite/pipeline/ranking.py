"""Ranking: estimators score the networks of a benchmark, piece by piece and resumed, and are judged against its truth."""

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nas_suite.data.images import shuffled
from nas_suite.disk import finite
from nas_suite.engine import Progress, Signals, silent
from nas_suite.errors import BadInput
from nas_suite.ground import check_images
from nas_suite.pipeline import estimating, probing
from nas_suite.pipeline.estimating import BASELINES, Estimator, Score, Source
from nas_suite.pipeline.field import SAMPLE, Field, Protocol, about, bench, field, kept, made_with
from nas_suite.pipeline.setting import environment, work
from nas_suite.plan import Plan
from nas_suite.rank import FEWEST, TOPS, Ranking, difference, ties
from nas_suite.run import Run
from nas_suite.tables import Table

SCORES, NETWORKS = "scores.jsonl", "networks.json"
FIRST, PIECE = 8, 20.0  # networks of the first piece of scores, and seconds that one should take: a kill loses no more
FAILURES = (RuntimeError, MemoryError, ArithmeticError, ValueError)  # of one network's score that are not the end of all
DRAWN = 2000  # networks that a report draws


@dataclass(frozen=True)
class Request:
    """What is to be ranked, as a record keeps it. Runs are folders; `sample` None means all networks."""

    bench: str
    estimators: tuple[str, ...] = ()
    metric: str = ""
    sample: int | None = SAMPLE
    protocol: Protocol = "clean"
    seed: int = 0


def rank_networks(request: Request, runs: Sequence[Run] = (), out: Path | None = None, progress: Progress = silent) -> Run:
    """Ranks the networks of a benchmark by estimators, runs and baselines, in this order. Without estimators and runs: by all
    finished supernets of that space under the folder of runs. Returns the ranking's run."""
    table, left_out = check(request), ""
    if not runs and not request.estimators:
        runs, left_out = estimating.fitting(table, table.metric(request.metric))
    judged = estimators(request, runs)
    found = networks(request, runs)
    for source in (source for e in judged for source in e.sources):
        source.check(found)  # what cannot score is refused before a run is made
    now = datetime.now().isoformat(timespec="milliseconds")
    made = made_with(table, found.metric.data)
    settings = {"space": table.settings, "data": made["settings"].get("data", {}) if made else {}}
    plan = Plan("", table.space, found.metric.data, settings, request.seed, recipe=made.get("recipe", ""))
    record = {
        "schema": 1, "kind": "rank", "status": "running", "created": now, "plan": plan.record(), **asdict(request),
        "runs": estimating.recorded(runs), "left_out": left_out, "protocol_hash": found.hash, "environment": environment(),
    }  # fmt: skip
    record |= {"fingerprint": seen} if (seen := seen_by(judged, found)) else {}
    run = Run.create(out, record) if out is not None else Run.numbered(f"rank_{table.name}", record)
    return continue_ranking(run, runs, found, judged, progress)


def check_estimators(names: Sequence[str]) -> None:
    """BadInput or Missing where an estimator is not there by its name."""
    for name in names:
        estimating.estimator(name)


def check(request: Request) -> Table:
    """The benchmark of a request; BadInput or Missing where it, an estimator or the metric is not there by its name."""
    check_estimators(request.estimators)
    table = bench(request.bench)
    table.metric(request.metric)
    return table


def resume_ranking(run: Run, progress: Progress = silent) -> Run:
    """Goes on with a ranking; BadInput where its benchmark or its runs are not what they were."""
    fields = {name: run.record[name] for name in Request.__dataclass_fields__}
    request = Request(**{**fields, "estimators": tuple(fields["estimators"])})
    runs = estimating.reopened(run, run.record["runs"])
    found = networks(request, runs)
    if found.hash != run.record["protocol_hash"]:
        raise BadInput(f"benchmark {request.bench} has changed since {run.name} began; rank anew")
    judged = estimators(request, runs)
    if seen := seen_by(judged, found):
        check_images(run, found.metric.data, seen)
    return continue_ranking(run, runs, found, judged, progress)


def seen_by(judged: Sequence[Estimator], found: Field) -> str:
    """The fingerprint of the images that estimators look at, empty where none does."""
    names = (source.name for e in judged for source in e.sources if source.sees)
    return next((probing.splits(name, found).fingerprint for name in names), "")


def networks(request: Request, runs: Sequence[Run]) -> Field:
    own, whose = estimating.own_space(runs)
    return field(bench(request.bench), request.metric, own, request.sample, request.protocol, request.seed, whose)


def estimators(request: Request, runs: Sequence[Run]) -> list[Estimator]:
    """Those asked for, runs, then the baselines; each once."""
    names = dict.fromkeys((*request.estimators, *BASELINES))
    asked = [estimating.estimator(name) for name in names]
    return [*asked[: len(set(request.estimators))], *estimating.of_runs(runs), *asked[len(set(request.estimators)) :]]


def continue_ranking(run: Run, runs: Sequence[Run], found: Field, judged: Sequence[Estimator], progress: Progress) -> Run:
    def job() -> dict[str, Any]:
        texts = found.texts()
        scores = scored(found, [s for e in judged for s in e.sources], Ledger(run, texts), progress)
        rankings = [(e, judge(found, e, scores)) for e in judged]
        left_out = run.record.get("left_out", "")
        cautions = estimating.cautions(runs, judged, found.table, found.metric)
        result = {**about(found), "notes": [left_out, *cautions] if left_out else cautions}
        result |= {"estimators": [figures(found, *pair, scores) for pair in rankings], "differences": []}
        if found.protocol == "clean":
            result["differences"] = differences(rankings)
        write_networks(run, found, texts, rankings)
        return {"result": finite(result)}

    return work(run, job)


class Ledger:
    """The scores that a ranking has written down: a line for each source and network."""

    def __init__(self, run: Run, texts: Sequence[str]) -> None:
        self.run, self.texts = run, texts
        run.rewrite(SCORES, lines := [line for line in run.lines(SCORES) if isinstance(line.get("source"), str)])
        self.known: dict[tuple[str, str], dict[str, Any]] = {(line["source"], line["arch"]): line for line in lines}

    def lacking(self, source: str) -> list[int]:
        """One place of each network that has no line yet."""
        first = {text: at for at, text in reversed(list(enumerate(self.texts)))}
        return [at for text, at in first.items() if (source, text) not in self.known]

    def enter(
        self, source: str, places: Sequence[int], values: Sequence[float], errors: Mapping[int, str], seconds: float
    ) -> None:
        lines = []
        for at, value in zip(places, values, strict=True):
            line: dict[str, Any] = {"source": source, "arch": self.texts[at]}
            line["score"] = value if math.isfinite(value) else None
            line["seconds"] = round(seconds / len(places), 6)
            lines.append(line | ({"error": errors[at]} if at in errors else {}))
        self.run.extend(SCORES, lines)
        self.known |= {(line["source"], line["arch"]): line for line in lines}

    def lines(self, source: str) -> list[dict[str, Any]]:
        """In the order of the networks."""
        return [self.known[source, text] for text in self.texts]


@dataclass(frozen=True)
class Scores:
    """What one source made of all networks: NaN where it failed, and why it did or would."""

    values: Float[np.ndarray, " a"]
    seconds: float
    error: str = ""


def scored(found: Field, sources: Sequence[Source], ledger: Ledger, progress: Progress) -> dict[str, Scores]:
    """The scores of each source; those of slow ones are written down piece by piece, and read where they are there."""
    slow = [source for source in sources if not source.quick]
    total = len(slow) * len(set(ledger.texts))
    done = total - sum(len(ledger.lacking(source.name)) for source in slow)
    scores = {}
    with Signals() as signals:
        for source in sources:
            if source.quick:
                score = source.begin(found)
                attempted(score, range(1))  # what is loaded and built once is no cost of scoring
                begun = time.monotonic()
                values, errors = attempted(score, range(len(found)))
                why = next(iter(errors.values()), "")
                scores[source.name] = Scores(np.array(values, dtype=float), time.monotonic() - begun, why or source.gap)
                continue
            todo, size = sorted(ledger.lacking(source.name), key=lambda at: found.archs[at]), FIRST
            score = source.begin(found) if todo else None
            while score and todo:
                part, todo, begun = todo[:size], todo[size:], time.monotonic()
                values, errors = attempted(score, part)
                took = time.monotonic() - begun
                ledger.enter(source.name, part, values, errors, took)
                size = max(1, min(4 * size, round(size * PIECE / max(took, 1e-3))))
                progress(done := done + len(part), total, {})
                signals.check()
            lines = ledger.lines(source.name)
            values = np.array([math.nan if line["score"] is None else line["score"] for line in lines])
            why = next((line["error"] for line in lines if "error" in line), "")
            seconds = sum({line["arch"]: line["seconds"] for line in lines}.values())
            scores[source.name] = Scores(values, seconds, why or source.gap)
    return scores


def attempted(score: Score, places: Sequence[int]) -> tuple[list[float], dict[int, str]]:
    """Scores of networks, NaN where scoring one fails by itself, and why it did."""
    try:
        return list(map(float, score(places))), {}
    except BadInput:
        raise
    except FAILURES as error:
        if len(places) == 1:
            return [math.nan], {places[0]: f"{type(error).__name__}: {error}".splitlines()[0]}
    each = [attempted(score, [at]) for at in places]
    return [values[0] for values, _ in each], {at: why for _, errors in each for at, why in errors.items()}


def judge(found: Field, e: Estimator, scores: Mapping[str, Scores]) -> Ranking:
    """The ranking by the mean score of an estimator's sources, turned as the truth is."""
    mean = found.sign * np.mean([scores[source.name].values for source in e.sources], axis=0)
    if found.protocol == "clean":
        return Ranking(found.truth, mean)
    some = kept(mean, found.protocol)
    return Ranking(found.truth.some(some), mean[some])


def figures(found: Field, e: Estimator, ranking: Ranking, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """What a ranking says of one estimator; of several seeds also the tau of each."""
    entry = {
        "name": e.name, "kind": e.kind, "n": len(ranking.scores), "failed": ranking.failed, "constant": ranking.constant,
        "ties": ties(ranking.filled), "tau": ranking.tau.value, "tau_low": ranking.tau.low, "tau_high": ranking.tau.high,
        "spearman": ranking.spearman, "weighted_tau": ranking.weighted,
        "regret_at": {str(top): ranking.regret(top) for top in TOPS}, "precision_top10": ranking.precision(),
        "tau_top10": ranking.top_tau, "seconds": sum(scores[s.name].seconds for s in e.sources),
        "training_seconds": e.training_seconds,
        "error": next((scores[s.name].error for s in e.sources), "") if ranking.failed else "",
    }  # fmt: skip
    if ranking.constant:
        entry |= {"regret_at": dict.fromkeys(entry["regret_at"], math.nan), "precision_top10": math.nan}
    if len(e.sources) > 1:
        taus = [judge(found, Estimator(s.name, e.kind, (s,)), scores).tau.value for s in e.sources]
        entry["seeds"] = [{"run": s.name, "tau": value} for s, value in zip(e.sources, taus, strict=True)]
        entry["seeds_mean"], entry["seeds_sd"] = float(np.mean(taus)), float(np.std(taus, ddof=1))
    return entry


def differences(rankings: Sequence[tuple[Estimator, Ranking]]) -> list[dict[str, Any]]:
    """Every two estimators beside each other, with the paired interval of their difference in tau."""
    found = []
    for (one, first), (other, second) in itertools.combinations(rankings, 2):
        apart = difference(first, second)
        if apart.estimate.known:
            e = apart.estimate
            found.append({"of": one.name, "and": other.name, "tau": e.value, "low": e.low, "high": e.high, "real": apart.real})
    return found


def write_networks(run: Run, found: Field, texts: Sequence[str], rankings: Sequence[tuple[Estimator, Ranking]]) -> None:
    """What a report draws: truth and scores (null where one failed) of up to `DRAWN` networks, how tau settles and regret
    falls with more of them."""
    some = np.sort(shuffled(len(found), found.seed)[:DRAWN])
    drawn: dict[str, Any] = {"archs": [texts[at] for at in some], "truth": found.truth.values[some].tolist(), "estimators": []}
    for e, ranking in rankings:
        whole = len(ranking.scores) == len(found)
        entry: dict[str, Any] = {"name": e.name, "scores": ranking.scores[some].tolist() if whole else None}
        if not ranking.constant:
            n = len(ranking.scores)
            sizes = sorted({int(size) for size in np.geomspace(FEWEST, n, 8) if size < n})
            entry["growing"] = ranking.growing(sizes)
            entry["regret"] = [(top, ranking.regret(top)) for top in sorted({int(t) for t in np.geomspace(1, n, 30)})]
        drawn["estimators"].append(entry)
    run.put(NETWORKS, (json.dumps(finite(drawn)) + "\n").encode())
