"""Both together: ξ joins what ψ says of a network and φ of a data set; the sizes of all three."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.encoders.graphs import GraphEncoder
from nas_suite.encoders.sets import HEADS, DataEncoder
from nas_suite.errors import BadInput, suggest

Bound = Literal["sphere", "none"]
MOST = 4096  # of each size: a mistyped one is told before memory runs out
SPELT = re.compile(r"hidden=(\d+),said=(\d+),layers=(\d+(?:-\d+)*)")


@dataclass(frozen=True)
class Preset:
    """Sizes: of ψ's hidden states, of what ψ and φ say, of ξ's layers. BadInput where nothing can be built of them."""

    hidden: int
    said: int
    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = (self.hidden, self.said, *self.layers)
        if self.said % HEADS or not self.layers or not all(1 <= size <= MOST for size in sizes):
            raise BadInput(f"sizes are 1 … {MOST}, and said a multiple of {HEADS}, got {self.spelt}")

    @property
    def spelt(self) -> str:
        """A name that `preset` knows without being told the sizes."""
        return f"hidden={self.hidden},said={self.said},layers={'-'.join(map(str, self.layers))}"


PRESETS = {
    "full": Preset(512, 16, (99, 50, 179, 194)),  # the paper's, tuned by BOHB (TNAS-DCS, main_encoder_FSBO.py:43-44, 74)
    "fast": Preset(96, 16, (64, 64, 32)),
    "tiny": Preset(32, 8, (32, 16)),
}


def preset(name: str) -> Preset:
    """Of a name, or of sizes that are spelt out; BadInput where it is neither."""
    if spelt := SPELT.fullmatch(name):
        return Preset(int(spelt[1]), int(spelt[2]), tuple(map(int, spelt[3].split("-"))))
    if name not in PRESETS:
        raise BadInput(f"unknown preset {name!r}{suggest(name, PRESETS)}, or sizes such as {PRESETS['fast'].spelt}")
    return PRESETS[name]


class Fusion(nn.Module):
    """ξ: [φ(D), ψ(x)], the data set first, through linear layers with ReLU between them (TNAS-DCS, encoder_FSBO.py:236-247).

    A kernel sees distances only in units of its length-scale, so that z and length-scale can grow together without end. Bound
    by `sphere`, z is centred and has length 1; with `none`, the published way, nothing bounds it.
    """

    def __init__(self, entering: int, layers: Sequence[int], bound: Bound) -> None:
        super().__init__()
        self.bound: Bound = bound
        sizes = (entering, *layers)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, layers, strict=False))

    def forward(self, data: Float[Tensor, "a k"], networks: Float[Tensor, "a l"]) -> Float[Tensor, "a z"]:
        z = torch.cat((data, networks), 1)
        for at, layer in enumerate(self.layers):
            z = layer(torch.relu(z) if at else z)
        if self.bound == "none":
            return z
        return nn.functional.layer_norm(z, z.shape[1:]) / z.shape[1] ** 0.5


class JointEncoder(nn.Module):
    """ψ, φ and ξ, of a preset's sizes."""

    def __init__(self, sizes: Preset, node_types: int, features: int, ids: int = 0, bound: Bound = "sphere") -> None:
        super().__init__()
        self.networks = GraphEncoder(node_types, sizes.hidden, sizes.said, ids)
        self.data = DataEncoder(features, sizes.said)
        self.fusion = Fusion(2 * sizes.said, sizes.layers, bound)
