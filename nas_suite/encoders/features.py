"""Feature extractors: images of any size and number of channels into vectors, by random convolutions or by a ResNet-18."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from nas_suite.data.batches import normalised
from nas_suite.data.images import resized
from nas_suite.errors import BadInput, suggest

SIDE = 32
"""Pixels to which images are brought (TNAS-DCS, main_encoder_FSBO.py:41)."""

NAMES = ("conv", "resnet18")
CHUNK = 256


class Extractor(ABC):
    """Images into vectors of `features` numbers. `id` is its name and version: what it computes never changes under one id."""

    id: str
    features: int

    @abstractmethod
    def compute(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n f"]: ...

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n f"]:
        return torch.cat([self.compute(part) for part in x.split(CHUNK)])


class RandomConvolutions(Extractor):
    """Two layers of convolutions with fixed random filters, which need no download: 16 filters by sixteenths of the image, then
    64 by its quarters. No filter sees a mean, so that they see differences.

    Of half of 1,280 digits, MNIST and Fashion-MNIST images the nearest mean of a class's other half is right for 0.89, 0.76 and
    0.68; quarters and means over the whole image, with filters that see means, made that 0.69, 0.44 and 0.48.
    """

    id, features = "conv-1", 512

    def __init__(self) -> None:
        self.first, self.second = drawn((16, 3, 5, 5), 0), drawn((64, 16, 3, 3), 1)

    def compute(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n 512"]:
        near = F.avg_pool2d(F.relu(F.conv2d(x, self.first, padding=2)), 4)
        far = F.relu(F.conv2d(near, self.second, padding=1))
        return torch.cat((F.avg_pool2d(near, 2).flatten(1), F.avg_pool2d(far, 4).flatten(1)), 1)


def drawn(shape: tuple[int, ...], seed: int) -> Float[Tensor, "..."]:
    """Filters of mean 0 and about of variance 1 / fan-in, the same on every machine and in every version."""
    raw = np.random.PCG64(np.random.SeedSequence((2011, seed))).random_raw(int(np.prod(shape)))
    bound = (3 / np.prod(shape[1:])) ** 0.5
    filters = torch.from_numpy(((raw / 2.0**64 * 2 - 1) * bound).reshape(shape))
    return (filters - filters.mean((1, 2, 3), keepdim=True)).float()


def pixels(x: UInt8[Tensor, "n c h w"], mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "n 3 32 32"]:
    """Images as extractors take them: 32 px, normalised by their data set's own moments, grey ones three times over; of more
    than three channels the first three."""
    small = torch.from_numpy(resized(x.permute(0, 2, 3, 1).contiguous().numpy(), SIDE)).permute(0, 3, 1, 2)
    done = normalised(small, mean, std, channels_last=False)
    return done[:, :3] if done.shape[1] >= 3 else done[:, :1].expand(-1, 3, -1, -1)


def extractor(name: str) -> Extractor:
    """BadInput for an unknown name; Missing where its weights are to be downloaded first."""
    if name == "conv":
        return RandomConvolutions()
    if name == "resnet18":
        from nas_suite.encoders.resnet import ResNet18

        return ResNet18.load()
    raise BadInput(f"unknown feature extractor {name!r}{suggest(name, NAMES)}")
