"""What a run stands on stays as it was, or the run is refused: images, settings of its origin, weights of its supernet."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import nas
from PIL import Image

from nas_suite import pipeline
from nas_suite.errors import BadInput
from nas_suite.pipeline import retraining
from nas_suite.plan import Plan
from nas_suite.run import TRIALS, Run

NAMES = ["error", "macs"]
ARCH = "-".join(["e3k3"] * 12)


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)).save(path)


def plan_on(album: Path, **data: Any) -> Plan:
    return Plan(
        data="folder", precision="fp32", device="cpu",
        settings={
            "data": {"path": str(album), **data},
            "space": {"width": 0.1, "m": 2, "kernels": [3, 5]},
            "method": {"epochs": 2, "batch_size": 16, "pad": 1, "cutout": 0, "calib_images": 16, "population": 4, "budget": 6},
            "retrain": {"epochs": 2, "batch_size": 16, "pad": 1, "cutout": 0, "warmup_epochs": 0},
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures and the supernet, search and retraining that were made of it."""
    root = tmp_path_factory.mktemp("ground")
    for number in range(40):
        save(root / "album" / ("cats", "dogs")[number % 2] / f"{number}.png", number)
    with pytest.MonkeyPatch.context() as context:
        context.setenv("NAS_DATA", str(root / "data"))
        plan = plan_on(root / "album")
        supernet = pipeline.train_supernet(plan, root / "supernet")
        found = pipeline.search_supernet(supernet, recorded(supernet), NAMES, {}, root / "search")
        pipeline.retrain(found, recorded(found), ARCH, root / "network")
    return root


@pytest.fixture
def root(origin: Path, tmp_path: Path) -> Path:
    """A copy of the runs; their pictures are the same files."""
    for name in ("supernet", "search", "network"):
        shutil.copytree(origin / name, tmp_path / name)
    (tmp_path / "search" / "run.json").write_text(
        (tmp_path / "search" / "run.json").read_text().replace(str(origin / "supernet"), str(tmp_path / "supernet"))
    )
    return tmp_path


def recorded(run: Run) -> Plan:
    return Plan.from_record(run.record["plan"])


def deeds(root: Path) -> dict[str, Callable[[], Any]]:
    """All that begins from the supernet, its search and its network."""
    supernet, found, network = (Run.open(root / name) for name in ("supernet", "search", "network"))
    return {
        "search": lambda: pipeline.search_supernet(supernet, recorded(supernet), NAMES, {}, root / "again"),
        "evaluate a path": lambda: pipeline.evaluate(supernet, recorded(supernet), ARCH),
        "evaluate a network": lambda: pipeline.evaluate(network, recorded(network)),
        "retrain": lambda: pipeline.retrain(found, recorded(found), ARCH, root / "retrained"),
        "resume a search": lambda: pipeline.resume(found.update(status="interrupted")),
        "resume a supernet": lambda: pipeline.resume(supernet.update(status="interrupted")),
        "resume a retraining": lambda: pipeline.resume(network.update(status="interrupted")),
    }


@pytest.mark.parametrize("deed", [
    "search", "evaluate a path", "evaluate a network", "retrain", "resume a search", "resume a supernet", "resume a retraining",
])  # fmt: skip
def test_one_more_picture_is_noticed_by_all_that_follows(origin: Path, root: Path, deed: str) -> None:
    more = origin / "album" / "cats" / "new.png"
    save(more, 99)
    try:
        with pytest.raises(BadInput, match=r"the images of folder have changed since \w+ was made"):
            deeds(root)[deed]()
    finally:
        more.unlink()
    assert not (root / "again").exists()
    assert not (root / "retrained").exists()
    deeds(root)[deed]()


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("data", "val_fraction", 0.3), ("data", "seed", 5), ("data", "limit", 8), ("space", "width", 0.2), ("space", "m", 1)],
)
def test_a_retraining_keeps_the_data_and_the_space_of_its_origin(root: Path, part: str, name: str, value: Any) -> None:
    found = Run.open(root / "search")
    with pytest.raises(BadInput, match=rf"search was made with {part}\.{name} = "):
        pipeline.retrain(found, recorded(found).with_settings(part, {name: value}), ARCH, root / "other")
    assert not (root / "other").exists()


def test_a_supernet_is_searched_once_it_is_trained(root: Path) -> None:
    supernet = Run.open(root / "supernet").update(status="interrupted")
    with pytest.raises(BadInput, match=rf"not trained to its end .*nas runs resume {supernet.path}"):
        pipeline.search_supernet(supernet, recorded(supernet), NAMES, {}, root / "again")
    with pytest.raises(BadInput, match="not trained to its end"):
        pipeline.resume(Run.open(root / "search").update(status="interrupted"))


def test_a_search_goes_on_with_the_weights_it_began_with(origin: Path, root: Path) -> None:
    found = Run.open(root / "search").update(status="interrupted")
    shutil.rmtree(root / "supernet")
    pipeline.train_supernet(plan_on(origin / "album").with_settings("method", {"lr": 0.01}), root / "supernet")
    with pytest.raises(BadInput, match=r"search began with the weights of supernet at step 2 .*search the supernet anew"):
        pipeline.resume(found)


@pytest.mark.parametrize("name", ["supernet", "network"])
def test_a_finished_run_with_a_damaged_end_is_refused_until_it_is_trained_again(root: Path, name: str) -> None:
    run = Run.open(root / name)
    kept = {key: value.clone() for key, value in run.load()[1]["weights"].items()}  # type: ignore[index]  # not mapped
    final = run.checkpoints()[0] / "weights.safetensors"
    final.write_bytes(final.read_bytes()[:-8])
    steps = {"supernet": ("search", "evaluate a path"), "network": ("evaluate a network",)}[name]
    for deed in steps:
        with pytest.raises(BadInput, match=rf"final checkpoint of .* is damaged .*nas runs resume {run.path}` trains the rest"):
            deeds(root)[deed]()
    again = pipeline.resume(run)
    assert again.record["status"] == "done"
    weights = again.load()[1]["weights"]  # type: ignore[index]
    assert all(torch.equal(weights[key], value) for key, value in kept.items())
    for deed in steps:
        deeds(root)[deed]()


@pytest.mark.parametrize("name", ["network.safetensors", "arch.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "another's"])
def test_a_network_that_is_not_what_its_retraining_wrote_is_refused_until_it_is_written_anew(
    root: Path, name: str, damage: str
) -> None:
    run = Run.open(root / "network")
    file = run.path / name
    kept = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "flipped":
        file.write_bytes(kept[:-20] + bytes([kept[-20] ^ 1]) + kept[-19:])
    elif damage == "cut":
        file.write_bytes(kept[:-8])
    else:  # of another architecture, whole in itself
        other = "-".join(["e6k5"] * 12)
        made = pipeline.retrain(Run.open(root / "search"), Plan.from_record(run.record["plan"]), other, root / "other")
        shutil.copy(made.path / name, file)
    for words in (("evaluate", run.path), ("report", run.path), ("report", run.path, "--out", root / "mine.html")):
        for more in ((), ("--json",)):
            said = nas(*words, *more)
            assert said.code == 2
            assert str(file) in said.error
            assert f"`nas runs resume {run.path}` writes it anew" in said.error
    assert not (root / "mine.html").exists()
    assert not (run.path / "report.html").exists()
    with pytest.raises(BadInput, match="nas runs resume"):
        pipeline.load(run.path)
    again = pipeline.resume(run)
    assert file.read_bytes() == kept
    assert again.record == run.record
    assert nas("evaluate", run.path).code == nas("report", run.path).code == 0


def test_a_network_moved_away_from_its_run_is_loaded_as_it_is(root: Path) -> None:
    moved = root / "moved"
    moved.mkdir()
    for name in ("network.safetensors", "arch.json"):
        shutil.copy(root / "network" / name, moved)
    assert pipeline.load(moved)[1]["arch"] == ARCH


@pytest.mark.parametrize("where", ["tested", "write_network"])
def test_a_hard_stop_after_the_last_step_names_the_command_that_resumes(
    root: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(root / "network").update(status="interrupted")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(retraining, where, stop)
        said = nas("runs", "resume", run.path)
    assert said.code == 130
    assert said.err.splitlines()[-2:] == [
        "stopped by SIGINT; everything up to the last checkpoint is saved",
        f"resume with: nas runs resume {run.path}",
    ]
    assert Run.open(run.path).state == "interrupted"
    assert pipeline.resume(Run.open(run.path)).record["result"] == run.record["result"]


def test_retraining_from_a_search_that_is_not_finished_says_so(root: Path) -> None:
    found = Run.open(root / "search").update(status="interrupted")
    found.rewrite(TRIALS, [*found.lines(TRIALS)[:2], {"status": "ok"}])
    said = nas("retrain", found.path, "--epochs", 1, "--out", root / "made")
    assert said.code == 0, said.err
    assert "is not finished: its front is of 2 of 6 networks" in said.err
