"""Inverted bottlenecks of elastic width: each alone, and a supernet in which operations, depths and widths are arguments."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nas_suite.chain import Site, divisible
from nas_suite.depthwise import DepthwiseConv2d, depthwise
from nas_suite.layers import ACTIVATIONS, DropPath, PointwiseConv2d, SqueezeExcite, conv_bn, pointwise, unbiased
from nas_suite.space import Block, ElasticSupernet, Path, Stage
from nas_suite.supernet import Residual, mix

JOINED = 1 << 22  # numbers that joined features may be; more leave the caches before they are read (benchmarks/LOG.md)


class Bottleneck(Residual):
    """1×1 expansion to `width` channels (0: none), depthwise convolution, squeeze-excite with `hidden` channels (0: none), 1×1
    projection without activation; identity where shapes allow. A `hard` squeeze-excite is MobileNetV3's: ReLU, hard sigmoid."""

    def __init__(self, site: Site, kernel: int, width: int, hidden: int, hard: bool = False) -> None:
        super().__init__()
        inner = width or site.c_in
        self.residual = site.residual
        self.expand = conv_bn(site.c_in, inner, act=site.act) if width else nn.Identity()
        self.filter = conv_bn(inner, inner, kernel, site.stride, site.act, groups=inner)
        self.excite = SqueezeExcite(inner, hidden, "relu" if hard else site.act, hard) if hidden else nn.Identity()
        self.project = conv_bn(inner, site.c_out)
        self.drop = DropPath()

    def forward(self, x: Float[Tensor, "n c_in h w"]) -> Float[Tensor, "n c_out h2 w2"]:
        y = self.project(self.excite(self.filter(self.expand(x))))
        return x + self.drop(y) if self.residual else y

    def last_norms(self) -> list[nn.BatchNorm2d]:
        return [self.project[1]]  # type: ignore[list-item]

    @property
    def convolutions(self) -> "Convolutions":
        """Not of one without expansion."""
        return self.expand[0], self.filter[0], self.project[0]  # type: ignore[return-value,index]


@cache
def bottleneck(site: Site, kernel: int, width: int, hidden: int) -> Block:
    """A stand-alone bottleneck; its family is all that its width leaves open."""
    return _block(site, kernel, width, str(hidden), partial(Bottleneck, site, kernel, width, hidden))


@cache
def quarter_bottleneck(site: Site, kernel: int, width: int) -> Block:
    """A stand-alone bottleneck whose squeeze-excite is MobileNetV3's, with a quarter of the width inside."""
    return _block(site, kernel, width, "w4", partial(Bottleneck, site, kernel, width, divisible(width // 4), hard=True))


def _block(site: Site, kernel: int, width: int, excite: str, build: Callable[[], nn.Module]) -> Block:
    family = f"mb_i{site.c_in}_o{site.c_out}_k{kernel}_s{site.stride}_r{site.side}_se{excite}_{site.act}"
    return Block(f"{family}_w{width}", (site.c_in, site.side, site.side), build, family, width)


def separable_bottleneck(site: Site, hidden: int = 0) -> Block:
    """A stand-alone 3×3 bottleneck without expansion."""
    shape = f"i{site.c_in}_o{site.c_out}_k3_s{site.stride}_r{site.side}"
    build = partial(Bottleneck, site, 3, 0, hidden)
    return Block(f"separable_{shape}_se{hidden}_{site.act}", (site.c_in, site.side, site.side), build)


class ElasticOperation(nn.Module):
    """The weights of one operation of a block, at its full width; a width stands for its first so many inner channels."""

    def __init__(self, site: Site, kernel: int, widths: range, hidden: int) -> None:
        super().__init__()
        self.kernel, self.widths = kernel, widths
        most = widths[-1]
        self.expand = PointwiseConv2d(site.c_in, most)
        self.filter = DepthwiseConv2d(most, kernel, site.stride)
        self.excite = SqueezeExcite(most, hidden, site.act) if hidden else None
        self.project = PointwiseConv2d(most, site.c_out)

    def inner(self) -> dict[nn.Parameter, int]:
        """The parameters that have inner channels, and in which dimension."""
        found = {self.expand.weight: 0, self.filter.weight: 0, self.project.weight: 1}
        if self.excite is not None:
            reduce, expand = self.excite.reduce, self.excite.expand
            found |= {reduce.weight: 1, expand.weight: 0, expand.bias: 0}
        return found  # type: ignore[return-value]

    @torch.no_grad()
    def sort(self, companions: Mapping[nn.Parameter, Sequence[Tensor]]) -> None:
        """Reorders the inner channels by the L1 norm of their depthwise kernels, the largest first, equals as they stand."""
        order = self.filter.weight.abs().sum((1, 2, 3)).argsort(descending=True, stable=True)
        for parameter, at in self.inner().items():
            for tensor in (parameter, *companions.get(parameter, ())):
                tensor.copy_(tensor.index_select(at, order))

    def gated(self, x: Float[Tensor, "n width h w"], act: Callable[[Tensor], Tensor]) -> Float[Tensor, "n width h w"]:
        """Squeeze-excite. A sum is scaled, not a mean taken: its gradient needs no tensor of the features' size."""
        if self.excite is None:
            return x
        width, reduce, expand = x.shape[1], self.excite.reduce, self.excite.expand
        with torch.autocast(x.device.type, enabled=False):
            pooled = x.sum((2, 3)).to(reduce.weight.dtype) * (1 / x.shape[2:].numel())
            hidden = act(F.linear(pooled, reduce.weight[:, :width].flatten(1), reduce.bias))
            gate = F.linear(hidden, expand.weight[:width].flatten(1), expand.bias[:width]).sigmoid()  # type: ignore[index]
        return x * gate.to(x.dtype)[:, :, None, None]


class ElasticBlock(nn.Module):
    """A block of a supernet: what option i runs is `operations[i]`; one past them is nothing at all.

    For a soft operation all run. Batch norms and activations keep channels apart, so that operations of one kernel size are
    joined to one expansion and one depthwise convolution, and the weighted sum of all is one 1×1 convolution.
    """

    def __init__(self, site: Site, operations: Sequence[ElasticOperation]) -> None:
        super().__init__()
        self.site = site
        self.operations: Sequence[ElasticOperation] = nn.ModuleList(operations)  # type: ignore[assignment]
        self.act = ACTIVATIONS[site.act]()  # not in place: swish would copy its input to keep it
        kernels = dict.fromkeys(operation.kernel for operation in operations)
        self.alike = [tuple(i for i, operation in enumerate(operations) if operation.kernel == k) for k in kernels]

    def forward(
        self, x: Float[Tensor, "n c_in h w"], operation: int | Tensor, widths: Sequence[int | Tensor]
    ) -> Float[Tensor, "n c_out h2 w2"]:
        """`operation` and the width of each, or weights for all that there are (the least width first)."""
        if isinstance(operation, int):
            return self.single(x, operation, widths[operation]) if operation < len(self.operations) else x
        whole = [width for width in widths if isinstance(width, int)]
        if len(whole) < len(widths):
            return mix([partial(self.forward, operation=i, widths=widths) for i in range(len(operation))], operation, x)
        y = self.mixture(x, operation, whole)
        return y + operation.sum() * x if self.site.residual else y

    def single(self, x: Tensor, operation: int, width: int | Tensor) -> Tensor:
        """One operation at a width, or the weighted sum over its widths."""
        if isinstance(width, Tensor):
            widths = self.operations[operation].widths
            return mix([partial(self.single, operation=operation, width=w) for w in widths], width, x)
        y = normalised(self.projected(x, [operation], [width])[0])
        return x + y if self.site.residual else y

    def mixture(self, x: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
        """The weighted sum of all operations, residuals apart."""
        projected: dict[int, Tensor] = {}
        for members in self.alike:
            large = len(x) * x.shape[2:].numel() * sum(widths[i] for i in members) > JOINED
            for group in [(i,) for i in members] if large else [members]:
                projected |= zip(group, self.projected(x, group, [widths[i] for i in group]), strict=True)
        count, channels = len(self.operations), self.site.c_out
        sums = torch.kron(weights[None, :count], torch.eye(channels, dtype=weights.dtype, device=weights.device))
        return pointwise(normalised(torch.cat([projected[i] for i in range(count)], 1)), sums[:, :, None, None])

    def projected(self, x: Tensor, group: Sequence[int], widths: Sequence[int]) -> list[Tensor]:
        """What operations of one kernel size compute, before their last batch norm."""
        operations = [self.operations[i] for i in group]
        expand = joined([operation.expand.weight[:w] for operation, w in zip(operations, widths, strict=True)])
        kernels = joined([operation.filter.weight[:w] for operation, w in zip(operations, widths, strict=True)])
        y = self.act(normalised(pointwise(x, expand)))
        y = self.act(normalised(depthwise(y, kernels, self.site.stride)))
        parts = zip(operations, y.split(list(widths), 1), strict=True)
        return [pointwise(op.gated(part, self.act), op.project.weight[:, : part.shape[1]]) for op, part in parts]


def joined(parts: list[Tensor]) -> Tensor:
    """Concatenated; one by itself is not copied."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def normalised(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Batch norm by the batch's own statistics, without parameters. Scale and shift are given, for without them the statistics
    of bf16 features would be rounded to bf16 as well."""
    kind = torch.promote_types(x.dtype, torch.float32)
    one, zero = (make(x.shape[1], dtype=kind, device=x.device) for make in (torch.ones, torch.zeros))
    return F.batch_norm(x, None, None, one, zero, training=True)


class Decisions(NamedTuple):
    """A path, read: the operation of each block, the depth of each stage (how many blocks run, less one), and the widths of
    each block's operations; or weights for the options of any of them, depths and widths from the least."""

    operations: Sequence[int | Tensor]
    depths: Sequence[int | Tensor]
    widths: Sequence[Sequence[int | Tensor]]


class StagedSupernet(ElasticSupernet):
    """Stem, stages of elastic blocks, head. A stage's output is that of its last block that runs or, where its depth is soft,
    the weighted sum of those that may be the last (TF-NAS's sink).

    All batch norms are without parameters and use the batch's own statistics, in training and evaluation (official code,
    models/layers.py): scores depend on the batches, and there is nothing to calibrate.
    """

    def __init__(
        self,
        stem: Sequence[nn.Module],
        blocks: Sequence[ElasticBlock],
        layout: Sequence[range],
        head: nn.Module,
        read: Callable[[Path], Decisions],
    ) -> None:
        """`layout` are the blocks of each stage, `read` says what a path means."""
        super().__init__()
        self.stem, self.head = nn.Sequential(*stem), head
        self.blocks: Sequence[ElasticBlock] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.layout, self.read = layout, read
        unbiased(self)
        for parent in list(self.modules()):
            for name, part in parent.named_children():
                if isinstance(part, nn.BatchNorm2d):
                    setattr(parent, name, nn.BatchNorm2d(part.num_features, affine=False, track_running_stats=False))

    def stages(self, path: Path) -> list[Stage]:
        operations, depths, widths = self.read(path)
        stages = [Stage("stem", self.stem)]
        for number, stage in enumerate(self.layout):
            choices = ((at, operations[at], widths[at]) for at in stage)
            runs = [Stage(key(at, op, row), partial(self.blocks[at], operation=op, widths=row)) for at, op, row in choices]
            stages += until(depths[number], runs)
        return [*stages, Stage("head", self.head)]

    def active(self, path: Path) -> Iterator[tuple[nn.Parameter, tuple[slice, ...]]]:
        """Of each parameter that has inner channels, the part that a path runs; all operations of a soft one, all of a soft
        width."""
        operations, depths, widths = self.read(path)
        for depth, stage in zip(depths, self.layout, strict=True):
            for at in stage[: depth + 1] if isinstance(depth, int) else stage:
                for number, operation in enumerate(self.blocks[at].operations):
                    if isinstance(operations[at], Tensor) or operations[at] == number:
                        width = widths[at][number]
                        channels = slice(width if isinstance(width, int) else operation.widths[-1])
                        yield from ((p, (*[slice(None)] * dim, channels)) for p, dim in operation.inner().items())

    def sort(self, chosen: Iterable[tuple[int, int]], companions: Mapping[nn.Parameter, Sequence[Tensor]]) -> None:
        """As the official code chooses the channels that a width keeps (train_search.py:293-305); nothing is lost, and at full
        width nothing changes."""
        for at, operation in chosen:
            self.blocks[at].operations[operation].sort(companions)

    def align(self) -> None:
        for block in self.blocks:
            align((operation.expand, operation.filter, operation.project) for operation in block.operations)


Convolutions: TypeAlias = tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]
"""Of an inverted bottleneck: expansion, depthwise convolution, projection."""


@torch.no_grad()
def align(bottlenecks: Iterable[Convolutions]) -> None:
    """Gives bottlenecks the weights of the widest of those with the smallest kernels: narrower ones its first channels, larger
    kernels its kernels within zeros."""
    kernels = {convolutions: convolutions[1].kernel_size[0] for convolutions in bottlenecks}
    smallest = min(kernels.values())
    model = max((one for one in kernels if kernels[one] == smallest), key=lambda one: len(one[1].weight))
    expand, filters, project = (convolution.weight for convolution in model)
    for (wide, deep, narrow), kernel in kernels.items():
        n, edge = min(len(filters), len(deep.weight)), (kernel - smallest) // 2
        wide.weight[:n] = expand[:n]
        deep.weight[:n] = F.pad(filters[:n], (edge,) * 4)
        narrow.weight[:, :n] = project[:, :n]


def key(at: int, operation: int | Tensor, widths: Sequence[int | Tensor]) -> tuple[object, ...]:
    """What of a path block `at` runs by."""
    if isinstance(operation, Tensor):
        return at, operation, *widths
    return at, operation, *widths[operation : operation + 1]


def until(depth: int | Tensor, runs: Sequence[Stage]) -> Sequence[Stage]:
    """Of a stage's blocks those that a depth (how many run, less one) runs; as one piece where it is soft."""
    if isinstance(depth, int):
        return runs[: depth + 1]
    return [Stage((depth, *(run.key for run in runs)), partial(sink, runs=runs, weights=depth))]


def sink(x: Tensor, runs: Sequence[Stage], weights: Tensor) -> Tensor:
    """The weighted sum of the outputs of a stage's last blocks, as many as there are weights."""
    outputs = []
    for run in runs:
        x = run.run(x)
        outputs.append(x)
    first, *others = zip(weights, outputs[-len(weights) :], strict=True)
    total = first[0] * first[1]
    for weight, output in others:
        total = total + weight * output
    return total


def weighed(choice: int | Tensor, options: range) -> Iterator[tuple[float | Tensor, int]]:
    """Options with their weights: the chosen one, or all of a soft choice."""
    if isinstance(choice, int):
        yield 1.0, choice
    else:
        yield from zip(choice, options, strict=False)


def reached(depth: int | Tensor, depths: Sequence[int]) -> list[float | Tensor]:
    """The share of a stage's depths that reach each block: of a hard depth (how many blocks run, less one) for those that run,
    of a soft one for all."""
    if isinstance(depth, int):
        return [1.0] * (depth + 1)
    shares = depth.flip(0).cumsum(0).flip(0)
    return [shares[max(0, at + 1 - depths[0])] for at in range(depths[-1])]
