"""The deep kernel: networks and data sets, encoded and joined, in a Gaussian process over both (TNAS, Shala et al. 2023)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from gpytorch.kernels import Kernel, LinearKernel
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.encoders.graphs import GraphBatch
from nas_suite.encoders.joint import Bound, JointEncoder, preset
from nas_suite.errors import BadInput
from nas_suite.graph import GraphSpace
from nas_suite.space import Arch, SearchSpace
from nas_suite.surrogate.experience import Shelf
from nas_suite.surrogate.features import OneHot
from nas_suite.surrogate.gp import Process, matern, scaled

Encoding = Literal["canonical", "paper", "one-hot"]
NOISE = (1e-3, 1.0)  # variances of evaluations that others made, in units of standardised values


@dataclass(frozen=True)
class Build:
    """What decides a deep kernel's weights, by name and number, as a checkpoint keeps it.

    `encoding` of networks: `canonical`, the true graph; `paper`, MetaD2A's fixed edges with node ids; `one-hot`, no graph.
    Without `datasets` every data set is alike. With `overlap` data sets have a kernel of their own beside the joint one: the
    inner product of their mean features, which of class codes is the number of classes that two share.
    """

    preset: str = "fast"
    encoding: Encoding = "canonical"
    bound: Bound = "sphere"
    datasets: bool = True
    overlap: bool = True


class Networks:
    """Networks of a space as tensors that ψ reads."""

    def __init__(self, space: SearchSpace, encoding: Encoding) -> None:
        self.space, self.encoding = space, encoding
        if encoding == "one-hot":
            self.one_hot = OneHot(space)
            self.width = self.one_hot([space_any(space)]).shape[1]
        elif not isinstance(space, GraphSpace):
            raise BadInput(
                f"{type(space).__name__} tells no graphs, which {encoding} encodes; encoding one-hot takes any space"
            )
        else:
            self.graphs, self.width = space, len(space.node_types)

    @property
    def ids(self) -> int:
        return self.graphs.most_nodes if self.encoding == "paper" else 0

    def read(self, archs: Sequence[Arch]) -> "GraphBatch | Tensor":
        if self.encoding == "one-hot":
            return self.one_hot(archs).float()
        told = self.graphs.spelt_graph if self.encoding == "paper" else self.graphs.graph
        return GraphBatch.of([told(arch) for arch in archs], self.width)


def space_any(space: SearchSpace) -> Arch:
    """Some tuple of options."""
    return tuple(0 for _ in space.variables)


class DeepKernel(nn.Module):
    """ψ, φ and ξ in single precision under a Gaussian process in double.

    A row is z = ξ([φ(D), ψ(x)]) and, with overlap, D's mean feature m, centred and scaled by those of the history: the kernel
    is a Matérn of z plus an inner product of m. `means` are the mean features of the history's data sets (`Shelf.means`). A
    data set of which nothing is known has the history's mean φ and m = 0.
    """

    centre: Tensor
    spread: Tensor
    neutral: Tensor

    def __init__(self, build: Build, networks: Networks, means: Float[Tensor, "d f"]) -> None:
        super().__init__()
        self.build, self.networks = build, networks
        sizes, features = preset(build.preset), means.shape[1]
        self.encoder = JointEncoder(sizes, max(networks.width, 2), features, networks.ids, build.bound)
        if build.encoding == "one-hot":
            layers = nn.Linear(networks.width, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, sizes.said)
            self.encoder.networks = nn.Sequential(*layers)  # type: ignore[assignment]
        self.said, self.width = sizes.said, sizes.layers[-1]
        self.register_buffer("centre", means.mean(0))
        spread = (means - means.mean(0)).square().sum(1).mean().sqrt().reshape(1)
        self.register_buffer("spread", torch.where(spread > 0, spread, torch.ones_like(spread)))
        self.register_buffer("neutral", torch.zeros(sizes.said))
        self.process = Process(self.kernel(features), NOISE)
        self.process.likelihood.initialize(noise=0.3)

    def kernel(self, features: int) -> Kernel:
        joint = matern(0)
        joint.base_kernel.register_buffer("active_dims", torch.arange(self.width))  # type: ignore[operator]
        if not (self.build.overlap and self.build.datasets):
            return joint
        overlap = LinearKernel(active_dims=torch.arange(self.width, self.width + features))
        overlap.initialize(variance=1.0).raw_variance.requires_grad_(False)
        beside = scaled(overlap)
        beside.initialize(outputscale=0.4)
        return joint + beside

    def psi(self, read: "GraphBatch | Tensor") -> Float[Tensor, "a l"]:
        return self.encoder.networks(read)

    def phi(self, shelf: Shelf, which: Sequence[int], seed: Sequence[int] | None = None) -> Float[Tensor, "d k"]:
        if not self.build.datasets:
            return torch.zeros(len(which), self.said)
        return self.encoder.data(*shelf.drawn(which, seed))

    def told(self, means: Float[Tensor, "d f"]) -> Float[Tensor, "d f"]:
        """m of data sets with these mean features."""
        return (means - self.centre) / self.spread

    def rows(
        self, psi: Float[Tensor, "a l"], phi: Float[Tensor, "a k"], told: Float[Tensor, "a f"] | None = None
    ) -> Float[Tensor, "a r"]:
        z = self.encoder.fusion(phi, psi).double()
        return torch.cat((z, told), 1) if told is not None and self.build.overlap and self.build.datasets else z


def cosine(share: float) -> float:
    """From 1 to 0 over a training."""
    return 0.5 * (1 + math.cos(math.pi * share))
