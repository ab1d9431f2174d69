"""The whole way from Python: train a supernet, search it, retrain the best, load the network."""

import os
import tempfile

import torch

from nas_suite import Plan, compose, front, load, retrain, search_supernet, train_supernet

os.environ.setdefault("NAS_RUNS", tempfile.mkdtemp())  # where runs are written; by default ./runs

quick = ["method.epochs=2", "method.budget=8", "method.population=4", "retrain.epochs=2", "data.limit=256"]
quick += ["method.warmup_epochs=0", "retrain.warmup_epochs=0"]
plan = compose(Plan(), "mixpath-digits", sets=quick)  # drop `sets` for a network worth having

supernet = train_supernet(plan)
found = search_supernet(supernet, plan, objectives=["error", "macs"], bounds={"macs": 4e6})
for trial in front(found):
    print(f"{trial['values']['error']:.3f}  {trial['values']['macs'] / 1e6:.2f} M  {trial['arch']}")

best = retrain(found, plan, front(found)[0]["arch"])
print("test accuracy:", best.record["result"]["test_accuracy"])

network, about = load(best.path)
shape = about["input"]
print(about["arch"], network(torch.zeros(1, shape["channels"], shape["side"], shape["side"])).shape)
