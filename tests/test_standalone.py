"""Training from scratch: every setting has an effect, resumes are exact, and the files that come out load and run."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_contract_methods import figures, images, same
from tiny import SPACES as TINY
from torch import nn

from nas_suite import pipeline
from nas_suite.engine import fit
from nas_suite.errors import BadInput
from nas_suite.layers import DropPath
from nas_suite.plan import Plan, compose
from nas_suite.run import Run
from nas_suite.spaces import SPACES
from nas_suite.standalone import Recipe, Standalone, average, set_drop_path, set_dropout

SPACE = SPACES.build("mixpath-s1", {"width": 0.1, "m": 2, "kernels": (3, 5), "image_size": 8, "classes": 2})
ARCH = SPACE.parse("-".join(["e3k35"] * 12))


def make(**settings: Any) -> Standalone:
    torch.manual_seed(0)
    recipe = Recipe(**{"epochs": 3, "batch_size": 16, "warmup_epochs": 1, "pad": 1, "cutout": 4, **settings})
    return Standalone(SPACE.network(ARCH), recipe, images(64, 1), images(32, 2), (0.5,) * 3, (0.25,) * 3)


def trained(tmp_path: Path, name: str, **settings: Any) -> tuple[Standalone, Run]:
    learner, run = make(**settings), Run.create(tmp_path / name, {"schema": 1})
    fit(learner, learner.batches(), learner.recipe.epochs, run)
    return learner, run


@pytest.mark.parametrize(
    ("setting", "value"),
    [("epochs", 2), ("batch_size", 8), ("lr", 0.5), ("min_lr", 0.02), ("lr_every", "epoch"), ("warmup_epochs", 0),
     ("optimizer", "adam"), ("optimizer", "adamw"), ("momentum", 0.0), ("weight_decay", 0.5), ("decay_norms", True),
     ("clip", 0.01), ("label_smoothing", 0.3), ("drop_path", 0.5), ("dropout", 0.5), ("ema", 0.5), ("pad", 0), ("flip", False),
     ("cutout", 0), ("jitter", 0.4), ("hue", 0.2)],
)  # fmt: skip
def test_every_setting_of_the_recipe_has_an_effect(setting: str, value: Any, tmp_path: Path) -> None:
    plain, _ = trained(tmp_path, "plain")
    other, _ = trained(tmp_path, "other", **{setting: value})
    assert not same(plain.judged.state_dict(), other.judged.state_dict())


def test_a_training_that_was_broken_off_ends_as_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"ema": 0.9, "drop_path": 0.3, "dropout": 0.3, "jitter": 0.4, "hue": 0.2}
    whole, unbroken = trained(tmp_path, "whole", **settings)
    broken = Run.create(tmp_path / "broken", {"schema": 1})
    monkeypatch.setattr("nas_suite.engine.SAVE_SECONDS", -1.0)

    def stop(done: int, total: int, _: Any) -> None:
        if done == 7:
            raise KeyboardInterrupt

    half = make(**settings)
    with pytest.raises(KeyboardInterrupt):
        fit(half, half.batches(), 3, broken, progress=stop)
    rest = make(**settings)
    fit(rest, rest.batches(), 3, broken)
    assert same(rest.state(), whole.state())
    assert figures(broken) == figures(unbroken)
    assert rest.best == whole.best


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    learner, run = trained(tmp_path, "run")
    accuracies = [line["val_accuracy"] for line in run.lines("log.jsonl")]
    assert learner.best == (max(accuracies), len(accuracies) - 1 - accuracies[::-1].index(max(accuracies)))
    assert learner.accuracy(learner.val, learner.best_weights) == learner.best[0]
    assert learner.accuracy(learner.val) == accuracies[-1]


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath()
    drop.rate = 0.25
    x = torch.ones(4000, 2, 3, 3)
    dropped = drop(x)
    per_image = dropped.flatten(1)
    assert per_image.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (per_image == per_image[:, :1]).all()
    assert float((per_image[:, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(drop.eval()(x), x)


def test_drop_path_rises_from_the_first_block_to_the_last() -> None:
    network = SPACE.network(ARCH)
    set_drop_path(network, 0.22)
    rates = [part.rate for part in network.modules() if isinstance(part, DropPath)]
    assert rates == pytest.approx(list(np.linspace(0, 0.22, 12)))
    with pytest.raises(ValueError, match="drop_path must be 0"):
        set_drop_path(nn.Linear(2, 2), 0.1)


@pytest.mark.parametrize("name", SPACES.names())
def test_every_spaces_networks_drop_features_before_the_classifier_in_training_alone(name: str) -> None:
    space = SPACES.build(name, TINY[name])
    network = space.network(space.sample(random.Random(0)))
    linear = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    linear.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    side = space.image_size
    x = torch.randn(8, space.channels, side, side)
    set_dropout(network, 0.75)
    torch.manual_seed(0)
    with torch.no_grad():
        network.train()(x)
        network.eval()(x)
        set_dropout(network, 0.0)
        network.train()(x)
    kept, *whole = [float((features != 0).float().mean()) for features in seen]
    assert 0 < kept < min(whole) / 2


def test_dropout_needs_a_place() -> None:
    with pytest.raises(ValueError, match="dropout must be 0"):
        set_dropout(nn.Linear(2, 2), 0.1)


def test_averaged_weights_move_towards_the_networks() -> None:
    a, b = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    nn.init.constant_(a.weight, 1.0)
    nn.init.constant_(b.weight, 2.0)
    b.running_mean.fill_(5.0)  # type: ignore[union-attr]
    average(a, b, 0.75)
    assert a.weight.tolist() == [1.25, 1.25]
    assert a.running_mean.tolist() == [5.0, 5.0]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    sets = ["data.limit=64", "space.width=0.1", "method.epochs=1", "retrain.epochs=1", "retrain.batch_size=32"]
    sets += ["method.warmup_epochs=0", "retrain.warmup_epochs=0"]
    plan = compose(Plan(precision="fp32"), "mixpath-digits", sets=sets)
    root = tmp_path_factory.mktemp("retrained")
    supernet = pipeline.train_supernet(plan, root / "supernet")
    return pipeline.retrain(supernet, plan, "-".join(["e3k3"] * 12), root / "network")


def test_a_retrained_network_loads_as_it_was_tested(retrained: Run) -> None:
    network, about = pipeline.load(retrained.path)
    assert about["classes"] == [str(digit) for digit in range(10)]
    plan = Plan.from_record(retrained.record["plan"])
    test = pipeline.prepare(plan).data.test()
    x = (test.x.float() / 255 - about["input"]["mean"][0]) / about["input"]["std"][0]
    with torch.inference_mode():
        accuracy = float((network(x).argmax(1) == test.y).float().mean())
    assert accuracy == pytest.approx(retrained.record["result"]["test_accuracy"]["best"])
    assert pipeline.evaluate(retrained, plan)["test_accuracy"] == retrained.record["result"]["test_accuracy"]


def test_the_loader_script_runs_anywhere(retrained: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(retrained.path, tmp_path / "elsewhere")
    done = subprocess.run([sys.executable, folder / "load.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 4
    assert set(done.stdout.split()) <= {str(digit) for digit in range(10)}


@pytest.mark.parametrize("damage", ["weights cut", "weights gone", "arch garbage", "arch of another space"])
def test_a_damaged_network_is_refused_in_one_line(retrained: Run, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(retrained.path, tmp_path / "copy")
    weights, arch = folder / "network.safetensors", folder / "arch.json"
    if damage == "weights cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "weights gone":
        weights.unlink()
    elif damage == "arch garbage":
        arch.write_text("{")
    else:
        about = json.loads(arch.read_text())
        about["space"]["settings"]["width"] = 0.2
        arch.write_text(json.dumps(about))
    with pytest.raises(BadInput) as caught:
        pipeline.load(folder)
    assert "\n" not in str(caught.value)


def test_another_seed_keeps_the_splits_and_another_seed_of_the_data_cuts_them_anew() -> None:
    def splits(**changed: Any) -> Any:
        return pipeline.prepare(compose(Plan(), "mixpath-digits", **changed)).splits

    assert splits(seed=1).fingerprint == splits(seed=2).fingerprint
    assert splits(seed=1).fingerprint != splits(seed=1, sets=["data.seed=1"]).fingerprint
