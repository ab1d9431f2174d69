"""What runs a module that is timed: torch itself, or ONNX Runtime."""

import io
import os
import warnings
from importlib import import_module

import torch
from torch import Tensor, nn

from nas_suite.errors import BadInput
from nas_suite.latency import machine
from nas_suite.latency.conditions import Conditions, Dtype
from nas_suite.latency.timer import Reading, Run, by_clock, by_events
from nas_suite.words import plural

DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def timed(module: nn.Module, shape: tuple[int, ...], under: Conditions, device: torch.device, seconds: float) -> Reading:
    """The latency of a module in evaluation mode for features of a shape (c, h, w), under conditions that are all known.
    BadInput where it cannot run so."""
    machine.keep_memory()
    dtype = DTYPES[under.dtype or "fp32"]
    threads = under.threads or 1
    try:
        module = module.eval().to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(under.batch or 1, *shape).to(device=device, dtype=dtype, memory_format=torch.channels_last)
        if under.backend == "onnxruntime":
            return by_clock(in_onnxruntime(module, x, threads), threads, seconds)
        with torch.inference_mode():
            if device.type != "cuda":
                return by_clock(lambda: module(x), threads, seconds)
            with torch.cuda.device(device):
                return by_events(lambda: module(x), device, seconds)
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"{under.batch} features {shape} in {under.dtype} cannot run on {device}: {said}") from None


def check(under: Conditions) -> None:
    """BadInput where there are more threads than processors, or a backend is not installed or does not take a type."""
    processors = os.cpu_count() or 1
    if (under.threads or 1) > processors:
        raise BadInput(
            f"{under.threads} threads would wait for each other on this machine's {plural(processors, 'processor')}: "
            f"give --threads {processors} or fewer"
        )
    if under.backend != "onnxruntime":
        return
    try:
        for package in ("onnx", "onnxruntime"):
            import_module(package)
    except ImportError as error:
        raise BadInput(
            f"backend onnxruntime needs the extra [onnx], of which {error.name} is not installed: pip install 'nas-suite[onnx]'"
        ) from None
    if under.dtype == "bf16":
        raise BadInput("backend onnxruntime is fed by numpy, which has no bf16; take fp32 or fp16, or backend torch")


def in_onnxruntime(module: nn.Module, x: Tensor, threads: int) -> Run:
    """A run of a module, exported, in ONNX Runtime; it has ended when it returns."""
    onnxruntime = import_module("onnxruntime")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself old; its successor takes thirty times as long for a block
        torch.onnx.export(module, (x,), file, dynamo=False, input_names=["x"], output_names=["y"])  # type: ignore[arg-type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    wanted = "CUDAExecutionProvider" if x.device.type == "cuda" else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise BadInput(f"this onnxruntime has no {wanted}; install onnxruntime-gpu, or measure on the cpu")
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=[wanted])
    kind, index = x.device.type, x.device.index or 0
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x.contiguous().cpu().numpy(), kind, index))
    binding.bind_output("y", kind, index)
    return lambda: session.run_with_iobinding(binding)
