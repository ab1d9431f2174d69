"""Timers: known lengths, caps, conditions, backends and devices."""

import os
import random
import statistics
import subprocess
import sys
import time

import pytest
import timing
import torch

from nas_suite.errors import BadInput
from nas_suite.latency import backends, machine
from nas_suite.latency.conditions import Conditions
from nas_suite.latency.timer import by_clock


def spin(seconds: float) -> None:
    """Keeps the processor busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def test_a_busy_wait_of_known_length_is_measured_within_5_percent() -> None:
    def lengths() -> list[float]:
        found = []
        for _ in range(50):
            start = time.perf_counter()
            spin(0.004)
            found.append(time.perf_counter() - start)
        return found

    def busy(times: list[float]) -> bool:
        return statistics.median(times) > 0.004 * 1.02

    before = lengths()
    found = by_clock(lambda: spin(0.004), 1, 1.0)
    if busy(before) or busy(lengths()) or found.waited > 0.02:
        pytest.skip("the machine is too busy to be measured with")
    assert found.ms == pytest.approx(4.0, rel=0.05)
    assert found.runs >= 4


def test_a_reading_stops_early_where_runs_agree_and_at_the_cap_where_they_do_not() -> None:
    rng = random.Random(0)
    calls = []

    def unsteady() -> None:
        calls.append(1)
        spin(rng.choice((0.001, 0.004)))

    started = time.perf_counter()
    found = by_clock(unsteady, 1, 0.2)
    assert not found.settled
    assert found.runs <= len(calls)
    assert time.perf_counter() - started < 30  # the cap is one of repeats, not of a busy machine


def test_a_module_is_timed_under_its_conditions_and_left_as_threads_were() -> None:
    seen = []

    class Watch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((x.shape, x.dtype, self.training, torch.is_inference_mode_enabled(), torch.get_num_threads()))
            return x

    found = backends.timed(Watch(), (3, 8, 8), Conditions("x", 4, 2, "bf16", 8, "torch"), torch.device("cpu"), 0.01)
    assert set(seen) == {((4, 3, 8, 8), torch.bfloat16, False, True, 2)}
    assert found.ms > 0
    assert torch.get_num_threads() == 1


def test_what_cannot_run_is_refused_in_one_line() -> None:
    class Fails(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError('"conv" not implemented\nfor Half')

    with pytest.raises(BadInput, match=r'2 features \(3, 8, 8\) in fp16 cannot run on cpu: "conv" not implemented$'):
        backends.timed(Fails(), (3, 8, 8), Conditions("x", 2, 1, "fp16", 8, "torch"), torch.device("cpu"), 0.01)


def test_onnxruntime_is_asked_for_by_its_extra() -> None:
    under = Conditions("x", 1, 1, "fp32", 8, "onnxruntime")
    try:
        import onnx  # type: ignore[import-not-found]  # noqa: F401
        import onnxruntime  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(BadInput, match=r"needs the extra \[onnx\], of which onnx\w* is not installed: pip install"):
            backends.check(under)
        return
    backends.check(under)
    block = timing.SPACE.option(0, 0, 16)
    assert block is not None
    assert backends.timed(block.build(), block.input, under, torch.device("cpu"), 0.05).ms > 0
    with pytest.raises(BadInput, match="no bf16"):
        backends.check(Conditions("x", 1, 1, "bf16", 8, "onnxruntime"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_long_kernel_takes_the_same_by_events_as_by_a_clock_that_waits() -> None:
    from nas_suite.latency.timer import by_events

    x = torch.randn(4096, 4096, device="cuda")

    def waiting() -> None:
        x @ x
        torch.cuda.synchronize()

    assert by_events(lambda: x @ x, x.device, 1.0).ms == pytest.approx(by_clock(waiting, 1, 1.0).ms, rel=0.03)


def test_more_threads_than_processors_are_refused() -> None:
    processors = os.cpu_count() or 1
    backends.check(Conditions("x", 1, processors, "fp32", 8))
    with pytest.raises(BadInput, match=rf"{processors + 1} threads would wait .*--threads {processors} or fewer"):
        backends.check(Conditions("x", 1, processors + 1, "fp32", 8))


def test_a_device_that_is_not_there_is_refused() -> None:
    for device, message in (("cuda:7", "cannot be used"), ("npu", "is unknown")):
        with pytest.raises(BadInput, match=message):
            machine.place(device)
    assert machine.having(machine.called(torch.device("cpu"))) == torch.device("cpu")
    assert machine.having("Titan RTX") is None
    assert {"governor", "clock_mhz", "versions", "system"} <= machine.described(torch.device("cpu")).keys()


@pytest.mark.skipif(not machine.keep_memory(), reason="this system's C library cannot be told to keep memory")
def test_what_a_network_frees_is_not_cleared_anew_at_each_run() -> None:
    """In a process of its own: pages that the system had to clear in a run of features of 40 MB, the median of ten, for a busy
    system takes pages away now and then."""
    code = """
import resource, statistics, torch
from nas_suite.latency import backends
from nas_suite.latency.conditions import Conditions

module = torch.nn.Sequential(torch.nn.Conv2d(8, 160, 1), torch.nn.ReLU(), torch.nn.Conv2d(160, 8, 1))
under = Conditions(batch=1, threads=1, dtype="fp32", resolution=256, device="cpu", backend="torch")
x = torch.randn(1, 8, 256, 256)
if KEPT:
    backends.timed(module, (8, 256, 256), under, torch.device("cpu"), 0.2)
with torch.inference_mode():
    module(x)
    counts = []
    for _ in range(11):
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        module(x)
print(int(statistics.median(after - before for before, after in zip(counts, counts[1:]))))
"""
    kept, handed_back = (
        int(
            subprocess.run([sys.executable, "-c", code.replace("KEPT", how)], capture_output=True, check=True, text=True).stdout
        )
        for how in ("True", "False")
    )
    assert kept < 100 < 2_000 < handed_back
