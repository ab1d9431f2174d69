"""What a run stands on: the images it was made with, and the final weights of the run that it comes from."""

import json
from collections.abc import Mapping
from typing import Any

from nas_suite.errors import BadInput
from nas_suite.run import Run, handle


def check_images(run: Run, data: str, fingerprint: str) -> None:
    """BadInput where training and validation images are not those that `run` was made with.

    Test images are the rest of the same images, cut by the same draw: where other images came in or went out, so did
    images go from one split to another, and the fingerprint of two splits tells of all three.
    """
    former = run.record.get("fingerprint", fingerprint)  # runs of older versions have none
    if former != fingerprint:
        raise BadInput(
            f"the images of {data} have changed since {run.name} was made (fingerprint {former} then, {fingerprint} now), so "
            "test images may have been trained with: restore the images, or train a new run on them"
        )


def last(run: Run) -> tuple[int, dict[str, Any]] | None:
    """Step and state of the newest whole checkpoint; of a finished run its final one, BadInput where that is damaged."""
    loaded = run.load()
    if run.record["status"] != "done":
        return loaded
    final = run.record.get("step")  # runs of older versions do not say
    if loaded is None or final not in (None, loaded[0]):
        there = f"the newest whole one is of step {loaded[0]}" if loaded else "there is none"
        raise BadInput(
            f"the final checkpoint of {run.path} (step {final}) is damaged or gone, {there}: "
            f"`nas runs resume {handle(run)}` trains the rest again"
        )
    return loaded


def intact(run: Run) -> bool:
    """Whether a finished run still has its final checkpoint; others than trainings have none."""
    if run.record["kind"] in ("search", "direct", "rank", "table", "compare", "meta", "tune"):
        return True
    try:
        return last(run) is not None
    except BadInput:
        return False


def check_finished(supernet: Run) -> None:
    """BadInput where a supernet is still to be trained: its weights would change under a search."""
    if supernet.record["status"] != "done":
        raise BadInput(
            f"{supernet.path} is not trained to its end ({supernet.state}), so a search of it would mix scores of different "
            f"weights: `nas runs resume {handle(supernet)}` goes on with it"
        )


def basis(supernet: Run) -> dict[str, Any]:
    """What names a finished supernet's weights: the step of its final checkpoint and their sha256."""
    folder = supernet.checkpoints()[0]
    manifest = json.loads((folder / "manifest.json").read_text())
    return {"step": manifest["step"], "sha256": manifest["sha256"]["weights.safetensors"]}


def check_basis(run: Run, supernet: Run, former: Mapping[str, Any] | None = None) -> None:
    """BadInput where the supernet's weights are not those that a search or a ranking began with."""
    now = basis(supernet)
    then = former or run.record.get("basis", now)  # runs of older versions have none
    if then != now:
        raise BadInput(
            f"{run.name} began with the weights of {supernet.name} at step {then['step']} ({then['sha256'][:8]}…), "
            f"which are now of step {now['step']} ({now['sha256'][:8]}…): its scores cannot be mixed; "
            f"{run.record['kind']} the supernet anew"
        )
