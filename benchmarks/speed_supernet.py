"""Supernets on this processor: training steps, scoring, and shadow batch norm, beside the straightforward way.

    python benchmarks/speed_supernet.py [--part step fair scoring norms] [--steps 4] [--batch 96] [--width 1.0] [--m 4]
                                        [--candidates 50] [--images 500] [--threads 2]

step     S1; ours: channels-last, bf16 where the processor has it, our depthwise gradients; rival: contiguous fp32, nn.Conv2d.
         Same weights, images and draws.
fair     the same for a step of FairNAS on the space `macro`: three paths, one update.
scoring  S1; calibrated one-shot accuracy, `--images` to calibrate and as many to validate. Rival: contiguous fp32, the
         images prepared one by one for every candidate, the checkpoint read anew, batch norms re-estimated in training mode.
norms    S1; our training step with shadow batch norm (`linear`) and with one batch norm (`vanilla`).

Everything runs in turn in one process. Ratios are of summed times; wall time and this process's processor time are both
printed, for on a busy machine only the latter means much. Memory is what a step added to the resident set at its peak.
"""

import argparse
import copy
import ctypes
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path as File
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas_suite.data import Images
from nas_suite.data.batches import clean
from nas_suite.depthwise import DepthwiseConv2d
from nas_suite.engine import Compute
from nas_suite.oneshot import SCORING_BATCH, Scoring
from nas_suite.space import Arch, Supernet
from nas_suite.spaces.macro import Macro
from nas_suite.spaces.mixpath_s1 import MixPathS1

MEAN, STD = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
Times = tuple[float, float]
"""Seconds by the clock, seconds of the processor."""
T = TypeVar("T")


def timed(work: Callable[[], object]) -> Times:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def in_turn(rivals: dict[str, Callable[[T], object]], paths: Sequence[T]) -> dict[str, Times]:
    """Summed times over the paths, after one to warm up; all rivals do a path before any does the next, in changing order."""
    total = dict.fromkeys(rivals, (0.0, 0.0))
    for number, path in enumerate([paths[0], *paths]):
        for name, work in list(rivals.items())[:: -1 if number % 2 else 1]:
            wall, processor = timed(lambda work=work, path=path: work(path))
            if number:
                total[name] = (total[name][0] + wall, total[name][1] + processor)
    return total


def show(title: str, times: dict[str, Times], count: int, more: dict[str, str] | None = None) -> None:
    """A line a contender, then how many times the last is as fast as the first."""
    print(title)
    for name, (wall, processor) in times.items():
        print(f"  {name:32s} {wall / count:8.2f} s  {processor / count:8.2f} s of processor  {(more or {}).get(name, '')}")
    first, *_, last = times.values()
    print(f"  {'ratio':32s} {first[0] / last[0]:8.2f}    {first[1] / last[1]:8.2f}", flush=True)


def resident(field: str) -> int:
    """`VmRSS` (now) or `VmHWM` (at most since `peak` began) of this process, in bytes."""
    lines = File("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def peak(work: Callable[[], object]) -> str:
    """What `work` adds to the resident set at its peak; empty where the system does not tell (it is Linux that does)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        File("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
    except (AttributeError, OSError, TypeError):
        return ""
    work()
    return f"{(resident('VmHWM') - before) / 1e9:.2f} GB at the peak"


def plain(supernet: Supernet) -> Supernet:
    """A copy as one writes it without a thought for speed: contiguous, every convolution an nn.Conv2d."""
    result = copy.deepcopy(supernet)
    for parent in list(result.modules()):
        for name, part in parent.named_children():
            if isinstance(part, DepthwiseConv2d):
                c, k = part.out_channels, part.kernel_size[0]
                conv = nn.Conv2d(c, c, k, part.stride[0], k // 2, groups=c, bias=False)
                conv.load_state_dict(part.state_dict())
                setattr(parent, name, conv)
    return result


def stepper(supernet: Supernet, compute: Compute, x: Tensor, y: Tensor) -> Callable[[Sequence[Arch]], object]:
    """A training step of some paths: SGD with momentum, gradients summed and clipped, those of inactive parameters none."""
    optimiser = torch.optim.SGD(supernet.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    supernet.train()

    def step(paths: Sequence[Arch]) -> None:
        optimiser.zero_grad()
        for path in paths:
            with compute.autocast():
                loss = cross_entropy(supernet(x, path), y)
            loss.backward()
        nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
        optimiser.step()

    return step


def steppers(given: argparse.Namespace, supernet: Supernet) -> dict[str, Callable[[Sequence[Arch]], object]]:
    """A supernet's training step the straightforward way, and ours."""
    x, y = torch.randn(given.batch, 3, 32, 32), torch.randint(0, 10, (given.batch,))
    compute = Compute.choose("cpu")
    return {
        "contiguous fp32, nn.Conv2d": stepper(plain(supernet), Compute(), x, y),
        f"ours ({compute})": stepper(compute.place(supernet), compute, x.contiguous(memory_format=torch.channels_last), y),
    }


def compare_fair(given: argparse.Namespace) -> None:
    torch.manual_seed(0)
    space, rng = Macro(width=given.width), random.Random(0)
    columns = [[rng.sample(range(3), 3) for _ in space.variables] for _ in range(given.steps)]
    rivals, steps = steppers(given, space.supernet("vanilla")), [list(zip(*column, strict=True)) for column in columns]
    times = in_turn(rivals, steps)
    done = 3 * given.batch * given.steps
    pace = {name: f"{done / processor:.0f} path-images a second of processor" for name, (_, processor) in times.items()}
    show(f"FairNAS step, macro width {given.width:g}, batch {given.batch}, {given.steps} draws", times, given.steps, pace)


def compare_steps(given: argparse.Namespace, space: MixPathS1, paths: Sequence[Arch]) -> None:
    torch.manual_seed(0)
    rivals = steppers(given, space.supernet("linear"))
    times = in_turn(rivals, [[path] for path in paths])
    longest = max(paths, key=lambda path: sum(len(space.options[option][1]) for option in path))
    memory = {name: peak(lambda step=step: step([longest])) for name, step in rivals.items()}
    show(
        f"training step, S1 width {given.width:g}, batch {given.batch}, m {given.m}, {len(paths)} draws",
        times,
        len(paths),
        memory,
    )


def compare_norms(given: argparse.Namespace, space: MixPathS1, paths: Sequence[Arch]) -> None:
    torch.manual_seed(0)
    x = torch.randn(given.batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (given.batch,))
    compute = Compute.choose("cpu")
    rivals = {norm: stepper(compute.place(space.supernet(norm)), compute, x, y) for norm in ("linear", "vanilla")}
    show("shadow batch norm (linear) beside one batch norm (vanilla)", in_turn(rivals, [[p] for p in paths]), len(paths))


def one_by_one(images: Images) -> list[tuple[Tensor, Tensor]]:
    """The rival's loader: every image through Pillow and a few torch operations, then stacked."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pictures = [Image.fromarray(picture) for picture in images.x.permute(0, 2, 3, 1).contiguous().numpy()]
    x = [torch.from_numpy(np.array(p)).permute(2, 0, 1).float().div(255).sub(mean).div(std) for p in pictures]
    return [(torch.stack(x[at : at + 100]), images.y[at : at + 100]) for at in range(0, len(x), 100)]


def reloading(space: MixPathS1, checkpoint: str, train: Images, val: Images) -> Callable[[Arch], float]:
    """The rival: for every candidate a fresh supernet from the checkpoint, batch norms re-estimated by forward passes."""

    def score(path: Arch) -> float:
        supernet = plain(space.supernet("linear"))
        supernet.load_state_dict(torch.load(checkpoint, weights_only=True))
        for part in supernet.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.reset_running_stats()
                part.momentum = None
        with torch.no_grad():
            supernet.train()
            for x, _ in one_by_one(train):
                supernet(x, path)
            supernet.eval()
            right = sum(int((supernet(x, path).argmax(1) == y).sum()) for x, y in one_by_one(val))
        return right / len(val)

    return score


def noise(count: int, seed: int) -> Images:
    drawn = np.random.default_rng(seed)
    return Images.of(drawn.integers(0, 256, (count, 32, 32, 3), np.uint8), drawn.integers(0, 10, count))


def compare_scoring(given: argparse.Namespace, space: MixPathS1) -> None:
    torch.manual_seed(0)
    rng = random.Random(1)
    paths = [space.sample(rng) for _ in range(given.candidates)]
    train, val = noise(given.images, 0), noise(given.images, 1)
    compute = Compute.choose("cpu")
    supernet = space.supernet("linear")
    prepared = (list(clean(images, SCORING_BATCH["cpu"], MEAN, STD, compute.device)) for images in (train, val))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = os.path.join(folder, "supernet.pt")
        torch.save(supernet.state_dict(), checkpoint)
        ours = Scoring(compute.place(supernet), compute, *prepared)
        rivals = {
            "reloaded, image by image, fp32": reloading(space, checkpoint, train, val),
            f"ours ({compute})": ours.accuracy,
        }
        times = in_turn(rivals, paths)
    show(f"scoring a calibrated candidate, {len(paths)} of them, {given.images} + {given.images} images", times, len(paths))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parts = ("step", "fair", "scoring", "norms")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    for name, default in (("steps", 4), ("batch", 96), ("m", 4), ("candidates", 50), ("images", 500), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--width", type=float, default=1.0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    space = MixPathS1(width=given.width, m=given.m)
    rng = random.Random(0)
    paths = [space.draw(rng) for _ in range(given.steps)]
    if "step" in given.part:
        compare_steps(given, space, paths)
    if "fair" in given.part:
        compare_fair(given)
    if "norms" in given.part:
        compare_norms(given, space, paths)
    if "scoring" in given.part:
        compare_scoring(given, space)


if __name__ == "__main__":
    main()
