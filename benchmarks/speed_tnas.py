"""What TNAS costs beside the trainings: networks encoded, a step of Bayesian optimisation, a step of meta-training.

    python benchmarks/speed_tnas.py [--part encode] [--preset fast] [--sample 300]
    python benchmarks/speed_tnas.py --part step [--checkpoint CKPT]
    python benchmarks/speed_tnas.py --part train --history FILE [--preset full]

`encode`: all 15,625 cells of NAS-Bench-201, in batches, each distinct graph once, against one graph after the other. One by one
a sample is encoded, and its seconds are scaled up to all. Both sides read graphs that are made beforehand, by true data flow
(`canonical`) and as published (`paper`); their vectors must agree. `step`: what is to be tried next of 15,625 cells after 100
evaluations, with hyper-parameters as they are and with a refit, by a plain Gaussian process and by a surrogate of
`nas meta-train tnas`. `train`: mini-batches of a history. One thread, seconds of the processor.
"""

import argparse
import random
import resource
import time
from pathlib import Path

import numpy as np
import torch

from nas_suite.edgecells import spellings
from nas_suite.encoders.graphs import GraphBatch, GraphEncoder
from nas_suite.encoders.joint import PRESETS
from nas_suite.graph import Graph
from nas_suite.pipeline.meta import Asked, gathered, learner
from nas_suite.spaces.nasbench201 import NasBench201
from nas_suite.surrogate.acquisition import Acquisition
from nas_suite.surrogate.features import OneHot
from nas_suite.surrogate.gp import GP
from nas_suite.surrogate.learned import Learned
from nas_suite.surrogate.model import Model
from nas_suite.surrogate.transfer import Transfer

SPACE = NasBench201()
EVALUATED, STEPS = 100, 5


def measured(name: str, model: GraphEncoder, graphs: list[Graph], sample: int) -> str:
    started = time.process_time()
    vectors = model.encode(graphs)
    batched = time.process_time() - started
    step = len(graphs) // sample
    started = time.process_time()
    with torch.no_grad():
        singly = torch.cat([model(GraphBatch.of([graph], model.types)) for graph in graphs[::step]])
    loop = (time.process_time() - started) * len(graphs) / len(singly)
    apart = (vectors[::step] - singly).abs().max().item()
    assert apart < 1e-5, apart
    return f"{name}: {batched:.2f} s batched, {loop:.1f} s one by one, {loop / batched:.1f} times; at most {apart:.0e} apart"


def encode(preset: str, sample: int) -> None:
    torch.manual_seed(0)
    size, cells = PRESETS[preset], list(spellings())
    for name, told, ids in (("canonical", SPACE.graph, 0), ("paper", SPACE.spelt_graph, SPACE.most_nodes)):
        model = GraphEncoder(len(SPACE.node_types), size.hidden, size.said, ids)
        print(measured(name, model, [told(cell) for cell in cells], sample))


def step(name: str, model: Model) -> None:
    """Networks are worth the more, the more convolutions they have; with some noise."""
    cells, rng = tuple(spellings()), random.Random(0)
    archs = rng.sample(cells, EVALUATED)
    values = np.array([0.6 + 0.05 * sum(option in (2, 3) for option in arch) + 0.01 * rng.random() for arch in archs])
    model.fit(archs, values)
    fixed, refitted = [], []
    for seed in range(STEPS):
        started = time.process_time()
        best = float(model.posterior(archs)[0].max())
        Acquisition(model, "logei", best, seed).scores(cells, [])
        fixed.append(time.process_time() - started)
        started = time.process_time()
        model.fit(archs, values)
        refitted.append(time.process_time() - started + fixed[-1])
    told = ", ".join(f"{1000 * min(some):.0f} ms {how}" for some, how in ((fixed, "as it is"), (refitted, "with a refit")))
    print(f"{name}: a step over {len(cells):,} candidates after {EVALUATED} evaluations takes {told}")


def train(history: str, preset: str) -> None:
    asked = Asked(history=history, preset=preset)
    trained = learner(asked, gathered(asked))
    assert trained is not None, "too small a history"
    batches = [batch for _, batch in zip(range(STEPS), trained.batches.epoch(0), strict=False)]
    started = time.process_time()
    for number, batch in enumerate(batches):
        trained.step(batch, number)
    seconds = (time.process_time() - started) / len(batches)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    each = f"{asked.schedule.inner} inner ones on {asked.schedule.batch} evaluations"
    print(f"{preset}: {1 / seconds:.2f} steps/s of {each}, {memory:.2f} GB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("encode", "step", "train"), default="encode")
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--checkpoint", type=Path, help="of `nas meta-train tnas` on nasbench201")
    parser.add_argument("--history", default="", help="a file of SQLite or a URL")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.part == "encode":
        encode(asked.preset, asked.sample)
    elif asked.part == "train":
        train(asked.history, asked.preset)
    else:
        step("plain", GP(OneHot(SPACE)))
        if asked.checkpoint:
            step("tnas", Transfer(Learned.load(asked.checkpoint, "nasbench201", SPACE)))


if __name__ == "__main__":
    main()
