"""How long one run takes: repeated until the repeats agree or a cap is reached; on CUDA timed by events."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.utils.benchmark import Measurement, TaskSpec, Timer, set_torch_threads

from nas_suite.latency.noise import SETTLED

Run: TypeAlias = Callable[[], object]
LEAST = 0.02  # seconds of runs before their spread is looked at
FEWEST = 5  # blocks of runs before it is, on CUDA
WARM_RUNS, WARM_SECONDS = 10, 0.1


@dataclass(frozen=True)
class Reading:
    """The latency of one run: the median and the interquartile range in ms over `runs` runs.

    `waited` is the share of the time in which this thread did not run because the processor was another's; 0 on CUDA.
    """

    ms: float
    spread_ms: float
    runs: int
    waited: float = 0.0

    @property
    def settled(self) -> bool:
        return self.spread_ms < SETTLED * self.ms


def by_clock(run: Run, threads: int, seconds: float) -> Reading:
    """The latency of a run that has ended when it returns, on so many threads: after some runs to warm up, repeats until their
    interquartile range is below 2 % of their median, for `seconds` at most."""
    with set_torch_threads(threads):
        warm(run, seconds)
    timer = Timer("run()", globals={"run": run}, num_threads=threads, timer=time.perf_counter)
    began, busy = time.perf_counter(), time.thread_time()
    found = timer.adaptive_autorange(SETTLED, min_run_time=min(LEAST, seconds), max_run_time=seconds)
    worked, passed = time.thread_time() - busy, time.perf_counter() - began
    return reading(found, max(0.0, 1.0 - worked / passed))


def by_events(run: Run, device: torch.device, seconds: float) -> Reading:
    """As `by_clock`, of work on CUDA. Blocks of runs stand between two events each and are queued without waiting, so that what
    is timed is the slower of launching and computing, as it is in a network."""
    stream = torch.cuda.current_stream(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def block(number: int) -> float:
        """Seconds of so many runs."""
        start.record(stream)
        for _ in range(number):
            run()
        end.record(stream)
        end.synchronize()
        return start.elapsed_time(end) / 1000

    warm(run, seconds)
    stream.synchronize()
    number = max(1, round(LEAST / FEWEST / max(block(1), 1e-6)))
    times: list[float] = []
    while True:
        times.append(block(number))
        found = Measurement(number, list(times), TaskSpec("run()", setup=""))
        if len(times) >= FEWEST and (found.meets_confidence(SETTLED) or sum(times) > seconds):
            return reading(found)


def warm(run: Run, seconds: float) -> None:
    until = time.perf_counter() + min(WARM_SECONDS, seconds)
    for _ in range(WARM_RUNS):
        run()
        if time.perf_counter() > until:
            return


def reading(found: Measurement, waited: float = 0.0) -> Reading:
    return Reading(found.median * 1000, found.iqr * 1000, found.number_per_run * len(found.raw_times), waited)
