"""Tables and the bootstrap of tau on this processor: opening, asking, resampling, beside the straightforward way.

    python benchmarks/speed_tables.py [--rows 423624] [--pairs 6561]

A made-up table of NAS-Bench-101's size (26 variables, 24 columns of three repeats) is opened in a process of its own, asked for
networks by architecture, and read by column. The interval of tau is made of 1,000 resamples by ours (quadratic forms for few
networks, sorting for many), and by calling scipy's kendalltau on each of `--resamples` resamples, scaled up.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CODE = """
import random, re, sys, time
began = time.perf_counter()
from pathlib import Path
from nas_suite.tables import Table
imported = time.perf_counter()
resident = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = resident()
table = Table.open(Path(sys.argv[1]))
row = table.find(table.arch(len(table) // 2))
opened = time.perf_counter()
archs = [table.arch(random.randrange(len(table))) for _ in range(10_000)]
start = time.perf_counter()
rows = [table.find(arch) for arch in archs]
asked = time.perf_counter() - start
mean = table.means(table.metric().name).max()
print(f"opening, first answer {opened - imported:7.3f} s   (imports {imported - began:.1f} s)")
print(f"an answer             {asked / len(archs) * 1e6:7.2f} µs")
print(f"resident at the peak  {resident():7.0f} MB  ({before:.0f} MB of them after the imports)")
"""


def opened(rows: int) -> None:
    from nas_suite import tables

    drawn = np.random.default_rng(0)
    archs = np.unique(drawn.integers(0, 2, (int(rows * 1.01), 26), dtype=np.uint8), axis=0)[:rows]
    columns = [
        (tables.accuracy("cifar10", split, epochs), drawn.random((len(archs), 3), np.float32))
        for epochs in (4, 12, 36, 108)
        for split in ("train", "val", "test")
    ]
    columns += [(tables.Column(f"more{at}"), drawn.random((len(archs), 3), np.float32)) for at in range(12)]
    table = tables.write(tables.Draft("made-up", "nasbench101", archs, columns))
    size = sum(file.stat().st_size for file in table.path.iterdir()) / 1e6
    print(f"a table of {len(table):,} networks, {len(columns)} columns of three repeats, {size:.0f} MB", flush=True)
    subprocess.run([sys.executable, "-c", CODE, str(table.path)], check=True)


def resampled(pairs: int, few: int) -> None:
    from scipy.stats import kendalltau

    from nas_suite.rank import Ranking, Truth

    drawn = np.random.default_rng(0)
    truth = np.round(drawn.normal(size=pairs), 2)
    scores = np.round(truth + drawn.normal(size=pairs), 1)
    began, processor = time.perf_counter(), time.process_time()
    ours = Ranking(Truth(truth, truth[:, None]), scores).tau
    seconds, busy = time.perf_counter() - began, time.process_time() - processor
    began, processor = time.perf_counter(), time.process_time()
    for _ in range(few):
        some = drawn.integers(0, pairs, pairs)
        kendalltau(scores[some], truth[some])
    plain, plainly = ((t - s) / few * 1000 for t, s in ((time.perf_counter(), began), (time.process_time(), processor)))
    print(f"tau of {pairs:,} pairs with 1,000 resamples: {ours.value:.3f} ({ours.low:.3f} … {ours.high:.3f})")
    print(f"  kendalltau on each  {plain:7.2f} s  {plainly:7.2f} s of processor  ({few} resamples, scaled up)")
    print(f"  ours                {seconds:7.2f} s  {busy:7.2f} s of processor")
    print(f"  ratio               {plain / seconds:7.2f}    {plainly / busy:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("rows", 423_624), ("pairs", 6561), ("resamples", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_DATA"] = str(Path(folder))
        opened(given.rows)
    for pairs in (34, 500, 2000, given.pairs):
        resampled(pairs, given.resamples)


if __name__ == "__main__":
    main()
