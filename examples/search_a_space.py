"""Search a space for what is best in two objectives of your own making: no training, no data."""

import random
import tempfile
from pathlib import Path

from nas_suite.cost import cost
from nas_suite.objective import Objective
from nas_suite.run import TRIALS, Run
from nas_suite.search import NSGA2, Limit, Region, archive, drive
from nas_suite.spaces import SPACES

space = SPACES.build("mixpath-s1", {"m": 2})
macs = cost("macs", space).objective()

# An objective is a name, a direction and a function from architectures to numbers. This one likes large kernels.
reach = Objective("reach", "max", lambda archs: [sum(max(space.options[i][1]) for i in arch) for arch in archs])

region = Region(space, [Limit(macs, 400e6)])
run = Run.create(Path(tempfile.mkdtemp()) / "search", {"schema": 1})
drive(NSGA2(region, [reach, macs], seed=0, population=32), space, [reach, macs], budget=320, run=run)

for trial in list(archive(run.lines(TRIALS), [reach, macs]))[:5]:
    print(f"{trial['values']['reach']:4.0f}  {trial['values']['macs'] / 1e6:6.1f} M  {trial['arch']}")
print("a random one:", space.describe(region.sample(random.Random(0))))
