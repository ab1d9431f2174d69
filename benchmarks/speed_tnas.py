"""Encoding all 15,625 cells of NAS-Bench-201: in batches, each distinct graph once, against one graph after the other.

    python benchmarks/speed_tnas.py [--preset fast] [--sample 300]

One by one a sample is encoded, and its seconds are scaled up to all. Both sides read graphs that are made beforehand, by true
data flow (`canonical`) and as published (`paper`); their vectors must agree. One thread, seconds of the processor.
"""

import argparse
import time

import torch

from nas_suite.edgecells import spellings
from nas_suite.encoders.graphs import GraphBatch, GraphEncoder
from nas_suite.encoders.joint import PRESETS
from nas_suite.graph import Graph
from nas_suite.spaces.nasbench201 import NasBench201


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--sample", type=int, default=300)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    space, size = NasBench201(), PRESETS[asked.preset]
    cells = list(spellings())
    for name, told, ids in (("canonical", space.graph, 0), ("paper", space.spelt_graph, space.most_nodes)):
        model = GraphEncoder(len(space.node_types), size.hidden, size.said, ids)
        print(measured(name, model, [told(cell) for cell in cells], asked.sample))


if __name__ == "__main__":
    main()
