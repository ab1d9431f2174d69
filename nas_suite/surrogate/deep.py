"""The deep kernel: networks and data sets, encoded and joined, in a Gaussian process over both (TNAS, Shala et al. 2023)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from gpytorch.kernels import AdditiveKernel, Kernel
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.encoders.graphs import GraphBatch, GraphEncoder
from nas_suite.encoders.joint import Bound, JointEncoder, preset
from nas_suite.errors import BadInput
from nas_suite.graph import Graph, GraphSpace
from nas_suite.space import Arch, SearchSpace
from nas_suite.surrogate.experience import Shelf
from nas_suite.surrogate.features import OneHot
from nas_suite.surrogate.gp import Process, matern, scaled

Encoding = Literal["canonical", "paper", "one-hot"]
NOISE = (1e-3, 1.0)  # variances of evaluations that others made, in units of standardised values


@dataclass(frozen=True)
class Build:
    """What decides a deep kernel's weights, by name and number, as a checkpoint keeps it.

    Beside the joint kernel of networks and data sets stand, with `plain`, a kernel of one-hot networks alone, with a
    length-scale for each column, and, with `overlap`, one of data sets alone: the inner product of their mean features, which
    of class codes is the number of classes that two share. Alone, the joint kernel overfits: see benchmarks/LOG.md.

    `encoding` of networks: `canonical`, the true graph; `paper`, MetaD2A's fixed edges with node ids; `one-hot`, no graph.
    Without `datasets` every data set is alike.
    """

    preset: str = "fast"
    encoding: Encoding = "canonical"
    bound: Bound = "sphere"
    datasets: bool = True
    plain: bool = True
    overlap: bool = True


class Networks:
    """Networks of a space as tensors that ψ reads."""

    def __init__(self, space: SearchSpace, encoding: Encoding) -> None:
        self.space, self.encoding = space, encoding
        self.one_hot = OneHot(space)
        self.canonical: dict[Arch, Arch] = {}
        self.columns = sum(table.shape[1] for table in self.one_hot.tables)
        if encoding == "one-hot":
            self.width = self.columns
        elif not isinstance(space, GraphSpace):
            raise BadInput(
                f"{type(space).__name__} tells no graphs, which {encoding} encodes; encoding one-hot takes any space"
            )
        else:
            self.graphs, self.width = space, len(space.node_types)

    def plain(self, archs: Sequence[Arch]) -> Float[Tensor, "a o"]:
        """One-hot columns of canonical spellings: what a history spells otherwise is compared with candidates, which are so."""
        for arch in archs:
            if arch not in self.canonical:
                self.canonical[arch] = self.space.canonical(arch) or arch
        return self.one_hot([self.canonical[arch] for arch in archs])

    @property
    def ids(self) -> int:
        return self.graphs.most_nodes if self.encoding == "paper" else 0

    def told(self, archs: Sequence[Arch]) -> list[Graph]:
        tell = self.graphs.spelt_graph if self.encoding == "paper" else self.graphs.graph
        return [tell(arch) for arch in archs]

    def read(self, archs: Sequence[Arch]) -> "GraphBatch | Tensor":
        return self.plain(archs).float() if self.encoding == "one-hot" else GraphBatch.of(self.told(archs), self.width)


class InnerProduct(Kernel):
    """The inner product of two rows, with nothing to learn. (GPyTorch's is a product of roots, which it then decomposes.)"""

    def forward(
        self, x1: Float[Tensor, "*b n d"], x2: Float[Tensor, "*b m d"], diag: bool = False, last_dim_is_batch: bool = False
    ) -> Tensor:
        return (x1 * x2).sum(-1) if diag else x1 @ x2.transpose(-1, -2)


class DeepKernel(nn.Module):
    """ψ, φ and ξ in single precision under a Gaussian process in double.

    A row is z = ξ([φ(D), ψ(x)]), the network's one-hot columns, and D's mean feature m, centred and scaled by those of the
    history: the kernel is a Matérn of z, plus one of the columns, plus an inner product of m. Images have `features`; `means`
    are the mean features of the history's data sets (`Shelf.means`). A data set of which nothing is known has the history's
    mean φ and m = 0.
    """

    centre: Tensor
    spread: Tensor
    neutral: Tensor

    def __init__(self, build: Build, networks: Networks, features: int, means: Float[Tensor, "d m"]) -> None:
        super().__init__()
        self.build, self.networks = build, networks
        sizes = preset(build.preset)
        self.encoder = JointEncoder(sizes, networks.width, features, networks.ids, build.bound)
        if build.encoding == "one-hot":
            layers = nn.Linear(networks.width, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, sizes.said)
            self.encoder.networks = nn.Sequential(*layers)  # type: ignore[assignment]
        self.said, self.width = sizes.said, sizes.layers[-1]
        self.register_buffer("centre", means.mean(0))
        spread = (means - means.mean(0)).square().sum(1).mean().sqrt().reshape(1)
        self.register_buffer("spread", torch.where(spread > 0, spread, torch.ones_like(spread)))
        self.register_buffer("neutral", torch.zeros(sizes.said))
        self.process = Process(self.kernel(means.shape[1]), NOISE)
        self.process.likelihood.initialize(noise=0.3)

    def kernel(self, told: int) -> Kernel:
        """The sum; its first part is the joint one. Columns are chosen by the scaled kernels, which ask inner ones directly."""
        ends = (0, self.width, self.width + self.networks.columns, self.width + self.networks.columns + told)
        joint, plain, beside = matern(), matern(self.networks.columns), scaled(InnerProduct())
        for part, (start, end) in zip((joint, plain, beside), itertools.pairwise(ends), strict=True):
            part.register_buffer("active_dims", torch.arange(start, end))
        beside.initialize(outputscale=0.4)
        wanted = (True, self.build.plain, self.build.overlap and self.build.datasets)
        return AdditiveKernel(*itertools.compress((joint, plain, beside), wanted))

    @property
    def shallow(self) -> list[Kernel]:
        """The kernels of what is not encoded."""
        return list(self.process.kernel.kernels[1:])  # type: ignore[union-attr,index,arg-type]

    @property
    def lengths(self) -> Float[Tensor, " o"]:
        """How far apart two options of a column must be to tell little of each other; of no plain kernel, 1 each."""
        if not self.build.plain:
            return torch.ones(self.networks.columns, dtype=torch.float64)
        return self.shallow[0].base_kernel.lengthscale.detach().flatten()  # type: ignore[union-attr,operator]

    @property
    def joint(self) -> Kernel:
        """The learned kernel of z."""
        return self.process.kernel.kernels[0]  # type: ignore[union-attr,index,return-value]

    @property
    def share(self) -> float:
        """Of the variance that the joint and the plain kernel have together, that of the joint one: 5 to 95 %, or half where no
        plain kernel was learned."""
        if not self.build.plain:
            return 0.5
        joint, plain = (kernel.outputscale.item() for kernel in (self.joint, self.shallow[0]))  # type: ignore[operator]
        return min(max(joint / (joint + plain), 0.05), 0.95)

    def weights(self) -> dict[str, Tensor]:
        """All that was learned or follows from the history."""
        kept = {**dict(self.named_parameters()), "centre": self.centre, "spread": self.spread, "neutral": self.neutral}
        return {name: value.detach() for name, value in kept.items()}

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Those weights; RuntimeError where they are not this kernel's."""
        if odd := set(weights) ^ set(self.weights()):
            raise RuntimeError(f"weights {sorted(odd)[0]} do not fit")
        self.load_state_dict(dict(weights), strict=False)

    def psi(self, read: "GraphBatch | Tensor") -> Float[Tensor, "a l"]:
        return self.encoder.networks(read)

    @torch.no_grad()
    def encode(self, archs: Sequence[Arch]) -> Float[Tensor, "a l"]:
        """ψ without gradients, of many networks."""
        encoder = self.encoder.networks
        return (
            encoder.encode(self.networks.told(archs))
            if isinstance(encoder, GraphEncoder)
            else self.psi(self.networks.read(archs))
        )

    def phi(self, shelf: Shelf, which: Sequence[int], seed: Sequence[int] | None = None) -> Float[Tensor, "d k"]:
        if not self.build.datasets:
            return self.neutral.expand(len(which), -1)
        return self.encoder.data(*shelf.drawn(which, seed))

    def told(self, means: Float[Tensor, "d f"]) -> Float[Tensor, "d f"]:
        """m of data sets with these mean features."""
        return (means - self.centre) / self.spread

    def rows(
        self,
        archs: Sequence[Arch],
        psi: Float[Tensor, "a l"],
        phi: Float[Tensor, "a k"],
        told: Float[Tensor, "a f"],
    ) -> Float[Tensor, "a r"]:
        """What the process compares."""
        return self.beside(self.encoder.fusion(phi, psi).double(), archs, told)

    def beside(self, z: Float[Tensor, "a z"], archs: Sequence[Arch], told: Float[Tensor, "a f"]) -> Float[Tensor, "a r"]:
        """Rows of these z."""
        return torch.cat((z, self.networks.plain(archs), told), 1)


def cosine(share: float) -> float:
    """From 1 to 0 over a training."""
    return 0.5 * (1 + math.cos(math.pi * share))
