"""A retrained network as files: weights, architecture, and a script that loads both."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_suite.data.images import Splits
from nas_suite.disk import as_json, digest
from nas_suite.errors import BadInput
from nas_suite.registry import Registry
from nas_suite.run import Run, handle, recorded
from nas_suite.space import SearchSpace

WEIGHTS, ARCH, LOADER = "network.safetensors", "arch.json", "load.py"
SUMS = "sha256"  # of a retrain run's record: the checksums of the files of its network, by name

SCRIPT = '''\
"""Loads the network beside this file and classifies a batch of images."""

import sys
from pathlib import Path

import torch

from nas_suite import load

network, about = load(Path(__file__).parent)
channels, side = about["input"]["channels"], about["input"]["side"]
mean = torch.tensor(about["input"]["mean"]).view(1, -1, 1, 1)
std = torch.tensor(about["input"]["std"]).view(1, -1, 1, 1)

images = torch.rand(4, channels, side, side)  # yours, as floats from 0 to 1
with torch.inference_mode():
    chosen = network((images - mean) / std).argmax(1)
sys.stdout.write("\\n".join(about["classes"][i] for i in chosen) + "\\n")
'''


def write_network(
    run: Run, space_name: str, space: Any, arch: str, weights: Mapping[str, Tensor], splits: Splits
) -> dict[str, str]:
    """Writes the three files into a run. `space` is a dataclass; its fields are the settings that `load` builds it from.

    Returns the SHA-256 of weights and architecture, hexadecimal, by file: what the run is to record as `SUMS`.
    """
    from safetensors.torch import save

    about = {
        "schema": 1,
        "arch": arch,
        "space": {"name": space_name, "settings": asdict(space)},
        "input": {"channels": space.channels, "side": space.image_size, "mean": list(splits.mean), "std": list(splits.std)},
        "classes": list(splits.classes),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    files = {WEIGHTS: save(tensors), ARCH: as_json(about)}
    for name, data in {**files, LOADER: SCRIPT.encode()}.items():
        run.put(name, data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def check_network(run: Run) -> None:
    """BadInput where a finished retraining's network is not the one it wrote; runs of older versions have no checksums."""
    for name, sum_ in (run.record.get(SUMS, {}) if run.record["status"] == "done" else {}).items():
        file = run.path / name
        if not file.is_file() or digest(file) != sum_:
            wrong = "damaged or another network's (its checksum does not fit)" if file.is_file() else "gone"
            raise BadInput(f"{file} is {wrong}: `nas runs resume {handle(run)}` writes it anew")


def whole_network(run: Run) -> bool:
    """Whether a run still has the network that it wrote; so have others than retrainings, which wrote none."""
    try:
        check_network(run)
    except BadInput:
        return False
    return True


def load_network(folder: Path, spaces: Registry) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a folder, in evaluation mode, and what its arch.json says; BadInput where they are damaged."""
    from safetensors.torch import load_file

    record, wrong = recorded(folder)
    if not wrong:  # else the files were moved away from their run
        check_network(Run(folder, record))
    try:
        about = json.loads((folder / ARCH).read_text())
        space: SearchSpace = spaces.build(about["space"]["name"], about["space"]["settings"])
        network = space.network(space.parse(about["arch"]))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except BadInput:
        raise
    except Exception as error:  # whatever missing, damaged or foreign files make the readers say
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise BadInput(f"{folder} holds no network of ours or a damaged one ({reason})") from None
    return network.to(memory_format=torch.channels_last).eval(), about  # type: ignore[call-overload]
