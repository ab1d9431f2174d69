"""Add a method: which paths a step trains. Training, resuming, scoring and search come free."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from nas_suite.data import DATA
from nas_suite.engine import fit, random_for
from nas_suite.method import Problem
from nas_suite.oneshot import OneShot
from nas_suite.run import Run
from nas_suite.spaces import SPACES


@dataclass
class Sandwich(OneShot):
    """Each step trains the smallest network, the largest, and a random one between them."""

    epochs: int = 1

    def paths(self, step):
        space = self.problem.space
        ends = [tuple(0 for _ in space.variables), tuple(len(v.options) - 1 for v in space.variables)]
        return [*ends, space.sample(random_for(self.problem.seed, step))]


splits = DATA.build("digits", {"size": 8, "limit": 256}).splits()
space = SPACES.build("mixpath-s1", {"width": 0.1, "m": 2, "kernels": [3, 5], "image_size": 8, "channels": 1})
problem = Problem(space, splits.train, splits.val, splits.mean, splits.std)
method = Sandwich(problem, batch_size=32, pad=1, flip=False, cutout=0, calib_images=64)

run = Run.create(Path(tempfile.mkdtemp()) / "sandwich", {"schema": 1})
fit(method, method.batches(), method.epochs, run)  # killed here, the same line goes on where it stopped
print(run.lines("log.jsonl")[-1])
print("one-shot error:", method.scorer().score([space.draw(random_for(0, 1))]))
