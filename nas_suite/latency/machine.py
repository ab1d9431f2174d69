"""The machine that measures: what its processor or accelerator is called, at which clock it runs, which libraries it has."""

import contextlib
import ctypes
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from nas_suite.engine import Compute
from nas_suite.errors import BadInput
from nas_suite.registry import installed

CPUINFO = Path("/proc/cpuinfo")
FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")
PACKAGES = ("nas-suite", "torch", "onnxruntime")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def place(device: str) -> torch.device:
    """Where to measure: auto, cpu, cuda or cuda:N. BadInput where it is not there."""
    found = Compute.choose(device, "fp32").device
    if found.type not in ("cpu", "cuda"):
        raise BadInput(f"latency is measured on cpu and cuda, not on {device}")
    return found


def called(device: torch.device) -> str:
    """The name of the processor or the accelerator."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    told = re.search(r"^model name\s*:\s*(.+)$", text(CPUINFO), re.M)
    return told[1].strip() if told else platform.processor() or platform.machine()


def having(name: str) -> torch.device | None:
    """The processor or accelerator of this machine that has this name."""
    places = [torch.device("cpu"), *(torch.device("cuda", index) for index in range(torch.cuda.device_count()))]
    return next((device for device in places if called(device) == name), None)


@cache
def keep_memory() -> bool:
    """Has the C library keep what tensors leave, as servers of networks do; whether it does. glibc hands large tensors' memory
    back, and the system clears it when it is asked for again: that takes up to half as long again as the network, by the state
    of the heap, so that one network differs between processes more than two networks do (benchmarks/LOG.md)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(TRIM_THRESHOLD, (1 << 31) - 1))


def described(device: torch.device) -> dict[str, Any]:
    """What else a latency depends on, as far as it can be read: versions, processors, clock and governor."""
    found: dict[str, Any] = {
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "processors": os.cpu_count(),
        "memory": "kept" if keep_memory() else "handed back",
        "layout": "channels-last",
    }
    if device.type == "cuda":
        cudnn = torch.backends.cudnn
        return {**found, "cuda": torch.version.cuda, "cudnn": cudnn.version(), "tf32": cudnn.allow_tf32, **clocks(device)}
    governor, now = text(FREQUENCY / "scaling_governor").strip(), text(FREQUENCY / "scaling_cur_freq").strip()
    told = re.search(r"^cpu MHz\s*:\s*([\d.]+)", text(CPUINFO), re.M)
    clock = int(now) / 1000 if now.isdigit() else float(told[1]) if told else None
    return {**found, "instructions": torch.backends.cpu.get_cpu_capability(), "governor": governor or None, "clock_mhz": clock}


def clocks(device: torch.device) -> dict[str, Any]:
    """What NVIDIA's own tool tells of driver and clock; nothing where it is not there."""
    names = ("driver_version", "clocks.sm", "clocks.max.sm")
    index = torch.cuda.current_device() if device.index is None else device.index
    words = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.split(",")
        return dict(zip(("driver", "clock_mhz", "clock_max_mhz"), (part.strip() for part in told), strict=False))
    return {}


def versions() -> dict[str, str]:
    """Of the packages that a latency depends on, as far as they are there."""
    return {name: found for name in PACKAGES if (found := installed(name))}


def text(path: Path) -> str:
    """A file of the system, empty where it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
