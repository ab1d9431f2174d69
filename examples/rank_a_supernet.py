"""How well does a supernet order networks? Trains a small one, and compares its order with trainings from scratch."""

import os
import tempfile

from nas_suite import Plan, Request, compose, rank_networks, train_supernet

os.environ.setdefault("NAS_RUNS", tempfile.mkdtemp())  # where runs are written; by default ./runs

# The benchmark s4-digits comes with the package: 34 networks, each trained five times on noisy handwritten digits.
# The recipe trains a supernet of the same networks on the same images; a few epochs are enough to see how it works.
plan = compose(Plan(), "mixpath-s4-digits", epochs=12, warmup_epochs=1)
supernet = train_supernet(plan)
ranking = rank_networks(Request("s4-digits"), [supernet])

found = ranking.record["result"]
print(f"{found['n']} networks, {found['metric']}, two trainings agree with tau {found['ceiling']:.3f}")
for entry in found["estimators"]:
    if entry["constant"]:
        print(f"{entry['name']:40} orders nothing")
    else:
        print(f"{entry['name']:40} tau {entry['tau']:6.3f}  ({entry['tau_low']:.3f} to {entry['tau_high']:.3f})")
for pair in found["differences"]:
    if pair["of"] == supernet.name and not pair["real"]:
        print(f"{pair['of']} and {pair['and']} differ by no more than the noise")
