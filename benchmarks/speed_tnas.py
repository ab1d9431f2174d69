"""A step of Bayesian optimisation over all 15,625 cells of NAS-Bench-201 with 100 observations, on this processor.

    python benchmarks/speed_tnas.py [--observed 100] [--repeats 5] [--threads 1]

A step conditions the process on what was observed, scores every candidate by LogEI and chooses the best; with `refit` it
first fits the hyper-parameters. Straightforward is BoTorch's own way with the same process and the same chunks: a
SingleTaskGP, asked for one-point batches by its acquisition function; the scores must be equal. The seconds are the medians of
`--repeats` runs, by the clock and of the processor; the accuracies are made up, a sum over edges and noise.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.models import SingleTaskGP
from torch import Tensor

from nas_suite.spaces.nasbench201 import NasBench201
from nas_suite.surrogate.acquisition import CHUNK, Acquisition, leaders
from nas_suite.surrogate.features import OneHot
from nas_suite.surrogate.gp import GP

SPACE = NasBench201()
CELLS = tuple(itertools.product(range(5), repeat=6))


def taken(work: Callable[[], object], repeats: int) -> str:
    """The median seconds of a run, the first of which is left out."""
    times = []
    for _ in range(repeats + 1):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = np.median(times[1:], axis=0)
    return f"{wall * 1e3:7.0f} ms by the clock, {processor * 1e3:7.0f} ms of the processor"


def step(model: GP, archs: list, values: np.ndarray) -> Tensor:
    model.fit(archs, values)
    best = float(model.posterior(archs)[0].max())
    scores = Acquisition(model, "logei", best).scores(CELLS)
    leaders(scores)
    return scores


def straightforward(model: GP, archs: list, values: np.ndarray) -> Tensor:
    """With the process that `model` was last given."""
    process = model.best
    y = torch.from_numpy(model.standardiser.to(values))
    theirs = SingleTaskGP(
        model.features(archs),
        y[:, None],
        likelihood=process.likelihood,
        covar_module=process.kernel,
        mean_module=process.mean,
        outcome_transform=None,
    ).eval()
    best = model.posterior(archs)[0].max()
    z = OneHot(SPACE)(CELLS)[:, None]
    with torch.no_grad():
        rule = LogExpectedImprovement(theirs, best)
        return torch.cat([rule(z[at : at + CHUNK]) for at in range(0, len(z), CHUNK)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("observed", 100), ("repeats", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rng = np.random.default_rng(0)
    archs = [CELLS[at] for at in rng.choice(len(CELLS), given.observed, replace=False)]
    weights = rng.normal(size=(6, 5))
    values = np.array([90 + weights[range(6), arch].sum() for arch in archs]) + 0.3 * rng.normal(size=given.observed)
    fixed, refitted = GP(OneHot(SPACE), fixed=True), GP(OneHot(SPACE))
    print(f"{len(CELLS):,} candidates, {given.observed} observations, threads: {given.threads}")
    gap = (step(fixed, archs, values) - straightforward(fixed, archs, values)).abs().max().item()
    print(f"hyper-parameters fixed  {taken(lambda: step(fixed, archs, values), given.repeats)}")
    print(f"with refit              {taken(lambda: step(refitted, archs, values), given.repeats)}")
    print(f"straightforward, fixed  {taken(lambda: straightforward(fixed, archs, values), given.repeats)}")
    print(f"scores differ by at most {gap:.1e}")


if __name__ == "__main__":
    main()
