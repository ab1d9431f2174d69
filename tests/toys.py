"""A small elastic space with a supernet of its own, for tests of methods that search one."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_suite.cost import Cost
from nas_suite.elastic import align
from nas_suite.space import Arch, Block, ElasticSpace, ElasticSupernet, Path, Stage, Variable
from nas_suite.supernet import mix

STAGES = (range(2), range(2, 3))


@dataclass(frozen=True)
class Toy(ElasticSpace):
    """Two stages of two blocks and one; an operation is a depthwise kernel and how many times the channels are inside."""

    image_size: int = 8
    channels: int = 3
    classes: int = 2
    inside: int = 8
    width_step: int = 1
    kinds: tuple[tuple[int, int], ...] = ((1, 2), (1, 4), (3, 2), (3, 4))

    @property
    def stages(self) -> tuple[range, ...]:
        return STAGES

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(f"k{kernel}e{rate}" for kernel, rate in self.kinds)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        blocks = [Variable(f"block{at}", self.operations) for at in range(3)]
        depths = [Variable(f"depth{s}", tuple(range(1, len(stage) + 1))) for s, stage in enumerate(self.stages)]
        widths = [
            Variable(f"block{at}.{name}.width", tuple(self.widths(at, op)))
            for at in range(3)
            for op, name in enumerate(self.operations)
        ]
        return (*blocks, *depths, *widths)

    def widths(self, at: int, operation: int) -> range:
        rate = self.kinds[operation][1]
        return range(rate * self.inside // 2, rate * self.inside * 3 // 2 + 1)

    def start(self, at: int, operation: int) -> int:
        return self.kinds[operation][1] * self.inside

    def option(self, at: int, operation: int, width: int) -> Block:
        family = f"toy{at}_{self.operations[operation]}"
        return Block(f"{family}_w{width}", (self.inside, 8, 8), nn.Identity, family, width)

    def join(self, operations: Sequence[int | Tensor], depths: Sequence[int | Tensor], widths: Sequence[Sequence[int]]) -> Path:
        genes = [w - self.widths(at, op).start for at, row in enumerate(widths) for op, w in enumerate(row)]
        return (*operations, *depths, *genes)

    def split(self, arch: Arch) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
        count = len(self.kinds)
        rows = [arch[5 + at * count : 5 + (at + 1) * count] for at in range(3)]
        widths = tuple(tuple(i + self.widths(at, op).start for op, i in enumerate(row)) for at, row in enumerate(rows))
        return arch[:3], arch[3:5], widths

    def canonical(self, arch: Arch) -> Arch:
        operations, depths, widths = self.split(self.check(arch))
        ops, kept = [0] * 3, [[self.start(at, op) for op in range(len(self.kinds))] for at in range(3)]
        for stage, depth in zip(self.stages, depths, strict=True):
            for at in stage[: depth + 1]:
                ops[at] = operations[at]
                kept[at][ops[at]] = widths[at][ops[at]]
        return tuple(self.join(ops, depths, kept))  # type: ignore[arg-type]

    def size(self) -> int:
        return 0

    def blocks(self, path: Path) -> Iterator[tuple[float | Tensor, Block]]:
        yield 1.0, Block("stem", (3, 8, 8), nn.Identity)
        for s, stage in enumerate(self.stages):
            depth = path[3 + s]
            for k, at in enumerate(stage):
                reach = float(k <= depth) if isinstance(depth, int) else depth[k:].sum()
                chosen = path[at]
                weighed = [(1.0, chosen)] if isinstance(chosen, int) else [(w, i) for i, w in enumerate(chosen)]
                for weight, op in weighed:
                    if isinstance(reach, Tensor) or reach:
                        width = self.widths(at, op)[path[5 + at * len(self.kinds) + op]]  # type: ignore[index]
                        yield reach * weight, self.option(at, op, width)

    def network(self, arch: Arch) -> nn.Module:
        raise NotImplementedError

    def draw(self, rng: random.Random) -> Arch:
        return self.sample(rng)

    def supernet(self, norm: str) -> "ToyNet":
        return ToyNet(self)


def per_channel(space: Toy, dear: float = 0.01) -> Cost:
    """`dear` ms for each inner channel, 3×3 kernels twice that; 0.1 ms for the stem."""
    rate = {name: dear * (2 if name.startswith("k3") else 1) for name in space.operations}
    return Cost("latency", "ms", space, lambda b: 0.1 if b.key == "stem" else b.width * rate[b.family.partition("_")[2]])


class ToyOperation(nn.Module):
    """Expansion, depthwise convolution and projection of the first channels."""

    def __init__(self, inside: int, most: int, kernel: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(inside, most, 1, bias=False)
        self.filter = nn.Conv2d(most, most, kernel, padding=kernel // 2, groups=most, bias=False)
        self.project = nn.Conv2d(most, inside, 1, bias=False)

    def forward(self, x: Tensor, width: int) -> Tensor:
        x = F.relu(normalised(F.conv2d(x, self.expand.weight[:width])))
        kernel = self.filter.weight[:width]
        x = F.relu(normalised(F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=width)))
        return normalised(F.conv2d(x, self.project.weight[:, :width]))

    def inner(self) -> list[tuple[nn.Parameter, int]]:
        return [(self.expand.weight, 0), (self.filter.weight, 0), (self.project.weight, 1)]  # type: ignore[list-item]


def normalised(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


class ToyNet(ElasticSupernet):
    def __init__(self, space: Toy) -> None:
        super().__init__()
        self.space = space
        self.stem = nn.Conv2d(space.channels, space.inside, 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                ToyOperation(space.inside, space.widths(at, op)[-1], kernel) for op, (kernel, _) in enumerate(space.kinds)
            )
            for at in range(3)
        )
        self.head = nn.Linear(space.inside, space.classes)

    def stages(self, path: Path) -> Sequence[Stage]:
        return [Stage(tuple(path), partial(self.run, path=path))]

    def run(self, x: Tensor, path: Path) -> Tensor:
        x = F.relu(normalised(self.stem(x)))
        for s, stage in enumerate(self.space.stages):
            depth, outs = path[3 + s], []
            for at in stage[: depth + 1] if isinstance(depth, int) else stage:
                count = len(self.space.kinds)
                widths = [self.space.widths(at, op)[path[5 + at * count + op]] for op in range(count)]  # type: ignore[index]
                x = x + mix([partial(op, width=w) for op, w in zip(self.blocks[at], widths, strict=True)], path[at], x)
                outs.append(x)
            x = (
                outs[-1]
                if isinstance(depth, int)
                else torch.stack([w * out for w, out in zip(depth, outs, strict=True)]).sum(0)
            )
        return self.head(x.mean((2, 3)))

    def active(self, path: Path) -> Iterator[tuple[nn.Parameter, tuple[slice, ...]]]:
        count = len(self.space.kinds)
        for at in range(3):
            op = path[at]
            width = self.space.widths(at, op)[path[5 + at * count + op]]  # type: ignore[index]
            for parameter, dim in self.blocks[at][op].inner():  # type: ignore[index]
                yield parameter, (*[slice(None)] * dim, slice(0, width))

    def sort(self, chosen: Iterable[tuple[int, int]], companions: Mapping[nn.Parameter, Sequence[Tensor]]) -> None:
        with torch.no_grad():
            for at, op in chosen:
                operation = self.blocks[at][op]
                order = operation.filter.weight.abs().sum((1, 2, 3)).argsort(descending=True, stable=True)
                for parameter, dim in operation.inner():
                    for tensor in (parameter, *companions.get(parameter, ())):
                        tensor.copy_(tensor.index_select(dim, order))

    def align(self) -> None:
        for block in self.blocks:
            align((operation.expand, operation.filter, operation.project) for operation in block)
