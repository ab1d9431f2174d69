"""Latency on this device: measures the blocks of a small space, then asks the table about networks that nobody measured."""

import os
import random
import tempfile

from nas_suite.latency.conditions import Conditions
from nas_suite.latency.reach import reachable
from nas_suite.pipeline import latencies
from nas_suite.spaces import SPACES

os.environ.setdefault("NAS_DATA", tempfile.mkdtemp())  # where tables lie; by default the user's data folder

# A run is one image on one thread of the processor. A table holds the median of each block's runs in ms, in one JSON file.
settings = {"width": 0.0625, "image_size": 8}
asked = Conditions(batch=1, threads=1, dtype="fp32")
table = latencies.build("mixpath-s4", settings, asked, device="cpu", budget=2.0, seed=0, out=None)
print(f"{len(table)} blocks under: {table.conditions}")
if table.noise and table.noise.noisy:
    print("not to be believed:", "; ".join(table.noise.reasons))

# A latency is a cost like multiply-adds, so it can be an objective of a search or a bound: cost.objective().
space = SPACES.build("mixpath-s4", settings)
cost = table.cost(space)
low, high = reachable(cost) or (0.0, 0.0)
print(f"networks of this space take {low:.3f} to {high:.3f} {cost.unit}, such as:")
rng = random.Random(0)
for _ in range(3):
    arch = space.sample(rng)
    print(f"  {cost.total(arch):.3f} {cost.unit}  {space.describe(arch)}")
