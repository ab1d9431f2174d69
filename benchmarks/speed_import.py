"""Time and memory of importing NAS-Bench-101: a file of as many records as the official one, into a table.

    python benchmarks/speed_import.py [--modules 423624] [--epochs 108] [--folder DIR]

The file is made first, of the benchmark's own cells in random order with their own hashes, three records each and made-up
accuracies, by another process, whose time and memory do not count. `--epochs 4,12,36,108` makes one like the full file.
"""

import argparse
import base64
import json
import multiprocessing
import os
import resource
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np

from nas_suite import cellrows, tables
from nas_suite.importers import published
from nas_suite.spaces.nasbench101 import NasBench101

MESSAGE = struct.Struct("<" + "2sBdBdBdBdBd" * 3)


def checked(data: bytes) -> bytes:
    """Some bytes and their masked checksum."""
    crc = google_crc32c.value(data)
    return data + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(name: str, epochs: int, matrix: str, ops: str, parameters: int, told: list[list[float]]) -> bytes:
    """One record as the official files have it; `told` are five numbers of each of three evaluations."""
    parts = [
        part
        for five in told
        for part in (b"\n-", *(p for tag, v in zip((9, 17, 25, 33, 41), five, strict=True) for p in (tag, v)))
    ]
    varint = b"\x10" + bytes(
        (parameters & 127 | 128, parameters >> 7 & 127 | 128, parameters >> 14 & 127 | 128, parameters >> 21)
    )
    metrics = base64.encodebytes(MESSAGE.pack(*parts) + varint + struct.pack("<Bd", 25, told[2][1] * 4.5)).decode()
    data = json.dumps([name, epochs, matrix, ops, metrics]).encode()
    return checked(struct.pack("<Q", len(data))) + checked(data)


def make(path: Path, modules: int, budgets: list[int]) -> None:
    """Writes a file of so many modules, three repeats each."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.array(list(NasBench101().everything()), np.uint8))[:modules]
    spelt, counts = cellrows.canonical(rows)
    names = [bytes(each).hex() for each in cellrows.hashes(spelt, counts)]
    cells = [cellrows.cell(tuple(row), n) for row, n in zip(rows.tolist(), counts.tolist(), strict=True)]
    matrices = ["".join(str(edge) for line in cell.adjacency for edge in line) for cell in cells]
    ops = [",".join(name + "-bn-relu" * name.startswith("conv") for name in cell.ops) for cell in cells]
    parameters = rng.integers(1 << 21, 1 << 26, len(cells)).tolist()
    with open(path, "wb") as file:
        for epochs in [epochs for epochs in budgets for _ in range(3)]:
            shares = (rng.integers(900, 9985, (len(cells), 3, 3)) / 9984).astype(np.float32).astype(float)
            times = np.array([0, 6.0, 12.0]) * epochs
            for at in range(len(cells)):
                told = [[epochs * half / 2, times[half], *shares[at, half]] for half in range(3)]
                file.write(record(names[at], epochs, matrices[at], ops[at], parameters[at], told))


def measured(what: str, work: Callable[[], object]) -> object:
    wall, processor = time.perf_counter(), time.process_time()
    done = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spent = f"{time.process_time() - processor:6.1f} s of processor, {time.perf_counter() - wall:6.1f} s by the clock"
    print(f"{what:6s} {spent}, peak so far {peak:,.0f} MiB", flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--modules", type=int, default=423_624)
    parser.add_argument("--epochs", default="108")
    parser.add_argument("--folder", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        file, budgets = Path(folder) / "made.tfrecord", [int(epochs) for epochs in given.epochs.split(",")]
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(file, given.modules, budgets))
        maker.start()
        maker.join()
        os.environ["NAS_DATA"] = folder
        count = given.modules * 3 * len(budgets)
        print(f"{count:,} records, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
        measured("start", lambda: None)
        draft = measured("read", lambda: published("nb101").read(file, given.modules < 423_624, lambda done, total: None))
        measured("write", lambda: tables.write(draft))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
