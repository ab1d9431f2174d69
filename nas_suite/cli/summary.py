"""What a run comes to: as plain values and as text."""

from collections.abc import Mapping
from typing import Any

from nas_suite.cli.answer import facts, percent, short
from nas_suite.cli.comparisons import of_comparison
from nas_suite.cli.layout import Prose, Table
from nas_suite.cli.rankings import of_ranking
from nas_suite.cli.tunings import of_tuning
from nas_suite.run import JOBS, ROWS, TRIALS, Run
from nas_suite.telling import ORIGINS, doubt
from nas_suite.words import plural

Parts = list[Table | str]
MISSED = 0.02  # of a latency: what is further off is called so


def brief(run: Run) -> dict[str, Any]:
    """What every list of runs says of one."""
    plan = run.record["plan"]
    about = {"name": run.name, "path": str(run.path), "kind": run.record["kind"], "status": run.state}
    names = {part: plan[part] for part in ("method", "space", "data")}
    return {**about, "created": run.record["created"], **names}


def figure(run: Run) -> str:
    """The one figure that a list of runs shows."""
    if run.record["kind"] in ("search", "direct"):
        return plural(len(run.trials()), "network")
    if run.record["kind"] == "table":
        return f"{len(run.lines(ROWS))} of {plural(len(run.record['archs']) * run.record['repeats'], 'training')}"
    if run.record["kind"] == "compare":
        every = len(run.record["searchers"]) * run.record["seeds"]
        return f"{len(run.lines(JOBS))} of {plural(every, 'search', 'searches')}"
    if run.record["kind"] == "tune":
        return f"{len(run.lines(TRIALS))} of {plural(run.record['trials'], 'trial')}"
    if run.record["kind"] == "meta" and "result" in run.record:
        return run.record["result"]["preset"]
    if run.record["kind"] == "rank":
        return plural(run.record["result"]["n"], "network") if "result" in run.record else ""
    if run.record["kind"] == "bilevel" and "result" in run.record:
        result = run.record["result"]
        return f"{result['predicted_ms'] if result['measured_ms'] is None else result['measured_ms']:.2f} ms"
    if "result" in run.record:
        return f"test {percent(run.record['result']['test_accuracy']['best'])}"
    log = run.epochs()
    loss = f", loss {log[-1]['loss']:.3f}" if log and isinstance(log[-1].get("loss"), float) else ""
    return f"epoch {log[-1]['epoch'] + 1}{loss}" if log else ""


def summary(run: Run) -> tuple[dict[str, Any], Parts]:
    """What a run holds, by its kind, and the same as text."""
    about, parts = SUMMARIES[run.record["kind"]](run)
    head = brief(run)
    return {"run": head, **about}, [facts({"run": run.path, **{k: head[k] for k in ("kind", "status")}}), *parts]


def of_training(run: Run) -> tuple[dict[str, Any], Parts]:
    log = run.epochs()
    last = log[-1] if log else {}
    figures = {name: f"{last[name]:.4g}" for name in ("loss", "accuracy", "val_accuracy") if name in last}
    return {"epochs": len(log), "last": last}, [facts({"epochs": len(log), **figures})]


def of_search(run: Run) -> tuple[dict[str, Any], Parts]:
    from nas_suite import pipeline

    trials, found = run.trials(), pipeline.front(run)
    knee = pipeline.choose(run, at_knee=True) if found else ""
    front = [{"best": k, "arch": t["arch"], "values": t["values"], "knee": t["arch"] == knee} for k, t in enumerate(found, 1)]
    limits, objectives = run.record["limits"], run.record["objectives"]
    heads = {"supernet": run.record["supernet"], "networks": len(trials), "front": len(front)}
    heads |= {f"{name} at most": short(bound) for name, bound in limits.items()}
    rows = [
        (str(t["best"]), *(said(n, t["values"][n]) for n in objectives), "knee" if t["knee"] else "", t["arch"]) for t in front
    ]
    table = Table(("best", *objectives, "", "architecture"), rows)
    about = {"supernet": run.record["supernet"], "objectives": objectives, "limits": limits, "evaluated": len(trials)}
    return {**about, "front": front}, [facts(heads), "", table]


def said(objective: str, value: float) -> str:
    return percent(value) if objective == "error" else short(value)


def of_retraining(run: Run) -> tuple[dict[str, Any], Parts]:
    from nas_suite.artefact import ARCH, LOADER, WEIGHTS

    result = run.record.get("result")
    about = {"arch": run.record["arch"], "result": result}
    if result is None:
        data, parts = of_training(run)
        return {**about, **data}, [*parts, run.record["arch"]]
    files = [str(run.path / name) for name in (WEIGHTS, ARCH, LOADER)]
    heads = {
        **accuracies(result["test_accuracy"], result["best_epoch"]),
        "validation accuracy": percent(result["val_accuracy"]),
        "parameters": f"{result['params']:,.0f}",
        "multiply-adds": f"{result['macs']:,.0f}",
        "network": files[0],
    }
    return {**about, "files": files}, [facts(heads), run.record["arch"]]


def accuracies(test: Mapping[str, float], best_epoch: int) -> dict[str, str]:
    """The test accuracies of a network that was trained from scratch; epochs count from 0."""
    return {
        "test accuracy, last epoch": percent(test["last"]),
        f"test accuracy, epoch {best_epoch + 1}": f"{percent(test['best'])} (chosen by validation)",
    }


def of_table(run: Run) -> tuple[dict[str, Any], Parts]:
    result = run.record.get("result")
    trainings = len(run.record["archs"]) * run.record["repeats"]
    about = {"bench": run.record["bench"], "trainings": trainings, "result": result}
    heads = {"benchmark": run.record["bench"], "trainings": f"{trainings:,}"}
    if result:
        heads |= {"table": result["table"], "failed": str(result["failed"])}
    return about, [facts(heads)]


def of_bilevel(run: Run) -> tuple[dict[str, Any], Parts]:
    """A search for a latency: the network, what the table says of it and what was measured."""
    log, result = run.epochs(), run.record.get("result")
    last = log[-1] if log else {}
    about = {"table": run.record["table"], "epochs": len(log), "last": last, "result": result}
    heads = {"latency table": run.record["table"], "epochs": len(log)}
    heads |= {name: f"{last[name]:.4g}" for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in last}
    if starved := last.get("starved"):
        few = f"{', '.join(starved[:8])}{' …' * (len(starved) > 8)}"
        heads["starved"] = Prose(f"{plural(len(starved), 'operation')} hardly trained: {few}")
    parts: Parts = [facts(heads)]
    if result is not None:
        measured = result["measured_ms"]
        corrected = result.get("table_ms", result["predicted_ms"]) != result["predicted_ms"]
        parts[0] = facts(
            heads
            | {
                "target": f"{result['target_ms']:g} ms{missed(run, result)}",
                "predicted": f"{result['predicted_ms']:.3f} ms, by the table{' as the measurements corrected it' * corrected}",
                "measured": f"not measured: {result['unmeasured']}" if measured is None else f"{measured:.3f} ms",
                "error in the supernet": percent(result["val_error"]),
                "parameters": f"{result['params']:,.0f}",
                "multiply-adds": f"{result['macs']:,.0f}",
            }
        )
        rows = [(f"{r['predicted_ms']:.3f}", f"{r['measured_ms']:.3f}", r["arch"]) for r in result["rounds"]]
        parts += ["", Table(("predicted ms", "measured ms", "architecture"), rows)] if rows else []
        parts += ["", result["arch"]]
    return about, parts


def missed(run: Run, result: Mapping[str, Any]) -> str:
    """How far a network is off its target, where that is more than `MISSED`, and what there is to say of it."""
    ms = result["predicted_ms"] if result["measured_ms"] is None else result["measured_ms"]
    off = ms / result["target_ms"] - 1
    if abs(off) <= MISSED:
        return ""
    fixed = ": widths were fixed (--no-elastic)" * (run.record["plan"]["settings"]["method"].get("elastic") is False)
    return f", missed by {percent(abs(off))} {'below' if off < 0 else 'above'} it{fixed}"


def of_direct(run: Run) -> tuple[dict[str, Any], Parts]:
    """A search by trainings: why it ended, what it trained, the finalists, and the winner's test accuracy."""
    from nas_suite import pipeline

    trials, result = sorted(run.trials(), key=lambda trial: trial["trial"]), run.record.get("result")
    limits, taken = run.record["limits"], [t for t in trials if t.get("source") == "history"]
    about = {"limits": limits, "evaluated": len(trials), "trials": trials, "result": result}
    heads: dict[str, Any] = {}
    if checkpoint := run.record.get("checkpoint"):
        about["checkpoint"] = heads["checkpoint"] = checkpoint
    origin = run.record.get("beginning", "random")
    heads |= {"begins with": f"networks {ORIGINS[origin]}"} if origin != "random" else {}
    heads |= {"networks": len(trials), "failed": sum(t["status"] != "ok" for t in trials)}
    heads |= {"from the history": len(taken)} if taken else {}
    heads |= {f"{name} at most": short(bound) for name, bound in limits.items()}
    heads |= {"to be known": Prose("; ".join(notes))} if (notes := run.record.get("notes")) else {}
    if result is None:
        best = pipeline.ranked(run)
        heads |= {"best validation accuracy": percent(1.0 - best[0]["values"]["error"])} if best else {}
        return about, [facts(heads)]
    heads["ended"] = Prose(pipeline.ENDS[result["ended"]])
    if "finalists" not in result:
        heads["validation accuracy"] = f"{percent(result['val_accuracy'])}, trained as the search does"
        return about, [facts(heads), "", result["arch"]]
    test = result["test_accuracy"]
    heads |= {
        "test accuracy": f"{with_spread(test)} of the winner",
        "parameters": f"{result['params']:,.0f}",
        "multiply-adds": f"{result['macs']:,.0f}",
    }
    rows = [
        (
            "" if f["mean"] is None else with_spread(f),
            str(len(f["val"])),
            "winner" if f["arch"] == result["arch"] else "",
            f["arch"],
        )
        for f in result["finalists"]
    ]
    table = Table(("validation accuracy", "seeds", "", "finalist"), rows)
    return about, [facts(heads), "", table, "", result["arch"]]


def with_spread(found: Mapping[str, Any]) -> str:
    """A mean accuracy and, where there is one, its standard deviation."""
    return percent(found["mean"]) + (f" ± {percent(found['sd'])}" if found["sd"] is not None else "")


def of_meta(run: Run) -> tuple[dict[str, Any], Parts]:
    """What was learned from a history, and how well it predicts data sets that it has not seen."""
    history, result, epochs = run.record["history"], run.record.get("result"), len(run.epochs())
    heads: dict[str, Any] = {
        "learned from": f"{plural(history['rows'], 'evaluation')} on {plural(history['datasets'], 'data set')}",
        "epochs": epochs,
    }
    if result:
        plain = result["preset"] == "none"
        heads |= {"preset": "none: a plain Gaussian process with a warm start" if plain else result["preset"]}
        heads |= {"features": result["extractor"]} | (NEUTRAL if result["extractor"] == "codes-1" else {})
        words = {"val_pearson": "held-out data sets", "published_pearson": "published validation split"}
        heads |= {f"Pearson, {what}": f"{result[name]:.3f}" for name, what in words.items() if name in result}
        heads |= {"warning": Prose(said)} if (said := doubt(result)) else {}
        heads |= {"checkpoint": str(run.path)}
    return {"history": history, "epochs": epochs, "result": result}, [facts(heads)]


NEUTRAL = {"unknown data sets": "get the mean of those known, for classes have random codes and no images were seen"}
SUMMARIES = {
    "meta": of_meta,
    "tune": of_tuning,
    "direct": of_direct,
    "supernet": of_training,
    "bilevel": of_bilevel,
    "search": of_search,
    "retrain": of_retraining,
    "rank": of_ranking,
    "table": of_table,
    "compare": of_comparison,
}
