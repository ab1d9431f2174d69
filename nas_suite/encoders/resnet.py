"""ResNet-18 with ImageNet weights as a feature extractor; the weights are downloaded on request."""

import pickle
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.data.download import WEIGHTS
from nas_suite.data.place import data_folder
from nas_suite.encoders.features import Extractor
from nas_suite.errors import BadInput, Missing

NAME = "resnet18"
CHANNELS = (64, 128, 256, 512)


class Basic(nn.Module):
    """Two 3×3 convolutions beside an identity, or a strided 1×1 convolution where shapes change (He et al. 2016). Parameters
    are named as torchvision's."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride > 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o h2 w2"]:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    """The network without its classifier: images to 512 averages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for at, c in enumerate(CHANNELS, start=1):
            c_in, stride = (c // 2, 2) if at > 1 else (c, 1)
            self.add_module(f"layer{at}", nn.Sequential(Basic(c_in, c, stride), Basic(c, c, 1)))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 512"]:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for at in range(1, len(CHANNELS) + 1):
            x = self.get_submodule(f"layer{at}")(x)
        return x.mean((2, 3))


class ResNet18(Extractor):
    """torchvision's ResNet-18 as MetaD2A and TNAS use it, on images of 32 px (TNAS-DCS, process_dataset.py:30-56)."""

    id, features = "resnet18-imagenet1k_v1", 512

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk.eval()

    @classmethod
    def load(cls, file: Path | None = None) -> "ResNet18":
        """From torchvision's file, read without executing anything in it; Missing where it is not there."""
        archive = WEIGHTS[NAME].archives[0]
        file = file or data_folder() / NAME / archive.file
        if not file.is_file():
            raise Missing(f"the weights of {NAME} are not on this machine ({archive.bytes / 1e6:.0f} MB): nas data get {NAME}")
        if (found := archive.checksum(file)) != archive.sum:
            raise BadInput(f"{file} has the sha256 {found}, not {archive.sum}: remove it, then nas data get {NAME}")
        try:
            weights = torch.load(file, weights_only=True, map_location="cpu")
            trunk = Trunk()
            trunk.load_state_dict({key: value for key, value in weights.items() if not key.startswith("fc.")})
        except (RuntimeError, pickle.UnpicklingError, AttributeError) as error:
            raise BadInput(f"{file} does not hold {NAME}'s weights ({str(error).splitlines()[0]})") from None
        return cls(trunk)

    def compute(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n 512"]:
        return self.trunk(x)
