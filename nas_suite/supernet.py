"""Parts of supernets: one choice among branches, and the batch norm after a sum of paths (shadow batch norm)."""

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias, get_args

from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.errors import suggest

Norm: TypeAlias = Literal["linear", "exponential", "vanilla", "scaled"]
NORMS: tuple[str, ...] = get_args(Norm)


def mix(branches: Sequence[Callable[[Tensor], Tensor]], choice: "int | Tensor", x: Tensor) -> Tensor:
    """One branch's output for a hard choice; the weighted sum of all branches' outputs for a soft one."""
    if isinstance(choice, int):
        return branches[choice](x)
    outputs = [weight * branch(x) for weight, branch in zip(choice, branches, strict=True)]
    total = outputs[0]
    for output in outputs[1:]:
        total = total + output
    return total


class MultiPathNorm(nn.Module):
    """Batch norm of a sum of up to `most` of `paths` paths, by kind (MixPath, ICCV 2023, section 3):

    - `linear`: one norm for each number of active paths, 1 … most (shadow batch norm, Lemma 3.1);
    - `exponential`: one for each non-empty set of at most `most` active paths;
    - `vanilla`: one for all;
    - `scaled`: the sum divided by the number of active paths, then one for all.
    """

    def __init__(self, channels: int, paths: int, most: int, kind: str) -> None:
        super().__init__()
        if kind not in NORMS:
            raise ValueError(f"unknown norm {kind!r}{suggest(kind, NORMS)}")
        self.kind = kind
        subsets = [s for size in range(1, most + 1) for s in itertools.combinations(range(paths), size)]
        self.index = {s: {"linear": len(s) - 1, "exponential": i}.get(kind, 0) for i, s in enumerate(subsets)}
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(max(self.index.values()) + 1))

    def forward(self, total: Float[Tensor, "n c h w"], active: tuple[int, ...]) -> Float[Tensor, "n c h w"]:
        """`total` is the sum over the paths in `active` (ascending indices)."""
        if self.kind == "scaled":
            total = total / len(active)
        return self.norms[self.index[active]](total)


class Residual(nn.Module, ABC):
    """A part of a network that, where `residual`, adds its first input to what its last batch norm returns."""

    residual: bool = False

    @abstractmethod
    def last_norms(self) -> Iterable[nn.BatchNorm2d]:
        """The batch norms one of which runs last."""


class PathSum(Residual):
    """A part of a supernet in which paths are summed before `norm`. Its first input is what all paths start from."""

    norm: MultiPathNorm

    def last_norms(self) -> Iterable[nn.BatchNorm2d]:
        return self.norm.norms  # type: ignore[return-value]

    @abstractmethod
    def each_path(self, x: Tensor) -> Iterator[tuple[int, str, Tensor, Tensor]]:
        """Every path by itself: its index in the norm's active sets (paths of one index never run together), its name, its
        feature map, and what it adds to the sum that is normalised."""

    def offset(self) -> Tensor | None:
        """What is added to that sum once, whatever runs, by channel."""
        return None


def start_as_identity(supernet: nn.Module) -> None:
    """Sets γ of the last batch norms of residual blocks to 0 (Goyal et al. 2017), so that a fresh supernet is as deep as its
    other blocks and draws of paths differ less."""
    for part in supernet.modules():
        if isinstance(part, Residual) and part.residual:
            for norm in part.last_norms():
                if norm.affine:
                    nn.init.zeros_(norm.weight)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within, the former mode after."""
    former = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(former)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within, what the module computes has no gradient by its parameters, and keeps no features for one."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        module.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
