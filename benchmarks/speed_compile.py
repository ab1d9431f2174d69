"""Does torch.compile pay? One stand-alone network's training step, eager and compiled in turn, and what compiling costs.

    python benchmarks/speed_compile.py [--width 0.25] [--batch 96] [--rounds 5] [--threads 2]

A supernet runs another path each step, so that compiling it would mean compiling each block under each of its options: a
stand-alone network, which runs one graph for ever, is the best case.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nas_suite.engine import Compute
from nas_suite.spaces import SPACES


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--width", type=float, default=0.25)
    for name, default in {"batch": 96, "rounds": 5, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def stepper(network: nn.Module, forward: Callable, compute: Compute, batch: int) -> Callable[[], None]:
    x = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        with compute.autocast():
            loss = cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    space = SPACES.build("mixpath-s1", {"width": given.width})
    arch = space.sample(random.Random(0))
    for precision in ("fp32", "bf16"):
        compute = Compute.choose("cpu", precision)
        torch._dynamo.reset()
        networks = [compute.place(space.network(arch)).train() for _ in range(2)]
        eager = stepper(networks[0], networks[0], compute, given.batch)
        compiled = stepper(networks[1], torch.compile(networks[1]), compute, given.batch)
        eager()
        started = time.perf_counter()
        compiled()
        compiling = time.perf_counter() - started
        seconds: dict[str, list[float]] = {"eager": [], "compiled": []}
        for _ in range(given.rounds):
            for name, step in (("eager", eager), ("compiled", compiled)):
                started = time.process_time()
                step()
                seconds[name].append(time.process_time() - started)
        best = {name: min(times) for name, times in seconds.items()}
        print(
            f"{precision}: eager {best['eager']:.3f} s, compiled {best['compiled']:.3f} s of processor a step, ratio "
            f"{best['eager'] / best['compiled']:.2f}; the first compiled step took {compiling:.0f} s"
        )


if __name__ == "__main__":
    main()
