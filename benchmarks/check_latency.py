"""Latency tables against whole networks on this machine: how far sums of blocks are off, before and after an affine fit.

    python benchmarks/check_latency.py [--space tfnas] [--table TABLE | --budget 5m] [--networks 30] [--out FILE.json]

A table is measured (within --budget, under --batch, --threads, --dtype and --device), or taken. Then random networks are
measured end to end, each three times and all in shuffled order. Printed: the noise, which is how far two measurements of one
network differ; the mean absolute error of sums, and of a fit to all other networks; Kendall's tau of sums and measurements.

What is due: on a processor an error of at most 10 % after the fit and tau of at least 0.7, on an idle GPU 5 % and 0.85. A
machine whose noise is above 5 % is not judged. With --out all figures, network by network, are written as JSON.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from nas_suite.cli.common import settings_of
from nas_suite.cli.latency import conditions, seconds
from nas_suite.disk import as_json, finite
from nas_suite.latency.noise import BELIEVED
from nas_suite.pipeline import latencies

DUE = {"cpu": (0.10, 0.7), "cuda": (0.05, 0.85)}
"""Error after the fit at most, tau at least."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in {"space": "tfnas", "device": "auto", "budget": "5m", "dtype": "fp32"}.items():
        parser.add_argument(f"--{name}", default=default, help=f"default {default}")
    for name, default in {"networks": 30, "seed": 1, "batch": 1, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--table", help="a table of this machine, instead of a new one")
    parser.add_argument("--set", action="append", metavar="space.FIELD=VALUE", help="a setting of the space; repeatable")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    return parser.parse_args()


def told(done: int, total: int, figures: Mapping[str, float]) -> None:
    if done % 50 == 0 or done == total:
        print(f"  {done}/{total}", file=sys.stderr, flush=True)


def table_of(a: argparse.Namespace) -> str:
    """The table that is named, or a new one."""
    if a.table:
        return a.table
    asked = conditions(batch=a.batch, threads=a.threads, dtype=a.dtype)
    built = latencies.build(a.space, settings_of("space", a.set), asked, a.device, seconds(a.budget), 0, None, told)
    points = built.source["points"]
    print(f"measured {points['measured']:,} of {points['of']:,} blocks in {built.source['seconds']:.0f} s: {built.where}")
    if built.noise and built.noise.noisy:
        print(f"noisy: {'; '.join(built.noise.reasons)}")
    return built.where


def verdict(found: latencies.Checked) -> str:
    seen, kind = found.check, "cuda" if "cuda" in found.table.source else "cpu"
    error, tau = DUE[kind]
    if not seen.believed:
        return f"not judged: noise above {BELIEVED:.0%}"
    passed = seen.after <= error and seen.tau >= tau
    return f"{'passed' if passed else 'failed'}: due are an error of at most {error:.0%} and tau of at least {tau}"


def main() -> int:
    a = arguments()
    found = latencies.check(table_of(a), a.space, settings_of("space", a.set), a.networks, a.seed, progress=told)
    seen = found.check
    print(f"{found.table.conditions}; {len(seen.networks)} networks of {a.space}")
    print(f"noise             {seen.noise:7.2%}  ({seen.first:.2%} of one network before the others)")
    print(f"error of sums     {seen.before:7.2%}  ({seen.bias:+.2%} on average)")
    print(f"error after a fit {seen.after:7.2%}  held out ({seen.a:.4g} × sum + {seen.b:.4g} ms)")
    print(f"Kendall's tau     {seen.tau:7.3f}")
    print(verdict(found))
    if a.out:
        a.out.write_bytes(
            as_json(finite({**latencies.judgement(found), "about": latencies.facts_of(found.table), "verdict": verdict(found)}))
        )
    return int(verdict(found).startswith("failed"))


if __name__ == "__main__":
    sys.exit(main())
