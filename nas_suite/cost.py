"""Costs: a sum over a space's blocks; the same code gives a network's total and a soft path's differentiable expectation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_suite.objective import Objective
from nas_suite.space import Arch, Block, Path, SearchSpace


@dataclass(frozen=True)
class Cost:
    """What a path costs: `base` + Σ weight × `of(block)`. Costs add over blocks; `of` should remember what it measured."""

    name: str
    unit: str
    space: SearchSpace
    of: Callable[[Block], float]
    base: float = 0.0

    def __call__(self, path: Path) -> Tensor:
        """A float64 scalar: the hard total, or the expectation under soft choices, with its gradient."""
        total = torch.tensor(self.base, dtype=torch.float64)
        for weight, block in self.space.blocks(path):
            total = total + weight * self.of(block)
        return total

    def total(self, arch: Arch) -> float:
        """The cost of one architecture."""
        return self.base + float(sum(self.of(block) for _, block in self.space.blocks(arch)))

    def objective(self) -> Objective:
        return Objective(self.name, "min", lambda archs: [self.total(arch) for arch in archs], quick=True)


@dataclass(frozen=True)
class Counts:
    """Of a module run on one image: trainable parameters, and multiply-adds of convolutions and linear layers."""

    parameters: int
    macs: int


def count(module: nn.Module, shape: tuple[int, int, int]) -> Counts:
    """Counts of a module for one image of shape (c, h, w), found by running it without data on the meta device."""
    macs = 0

    def tally(part: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal macs
        weight = part.weight
        macs += out.shape[2:].numel() * weight.numel() if isinstance(part, nn.Conv2d) else weight.numel()  # type: ignore[union-attr,operator]

    meta = module.to("meta").eval()
    for part in meta.modules():
        if isinstance(part, nn.BatchNorm2d):  # changes no shape, and takes longer than all else without data
            part.forward = lambda input: input
    hooks = [part.register_forward_hook(tally) for part in meta.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        meta(torch.empty(1, *shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return Counts(sum(p.numel() for p in meta.parameters() if p.requires_grad), macs)


_COUNTED: dict[Block, Counts] = {}


def counts(block: Block) -> Counts:
    """Counts of a stand-alone block; each block is built once."""
    if block not in _COUNTED:
        with torch.device("meta"):
            module = block.build()
        _COUNTED[block] = count(module, block.input)
    return _COUNTED[block]


COSTS: dict[str, tuple[str, Callable[[Block], float]]] = {
    "macs": ("multiply-adds", lambda block: counts(block).macs),
    "params": ("parameters", lambda block: counts(block).parameters),
}


def cost(name: str, space: SearchSpace) -> Cost:
    """A cost of `COSTS` over a space."""
    unit, of = COSTS[name]
    return Cost(name, unit, space, of)
