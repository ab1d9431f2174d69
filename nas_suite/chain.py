"""Chain spaces: a stem, choice blocks in a row, a head; one variable a choice block, declared as a table."""

import itertools
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor, nn

from nas_suite.graph import INPUT, OUTPUT, Graph, GraphSpace
from nas_suite.layers import DropPath, Head, PointwiseConv2d, conv_bn, initialise
from nas_suite.space import Arch, Block, Part, Path, Sketch, Stage, Supernet, SupernetSpace, Variable
from nas_suite.supernet import MultiPathNorm, PathSum, mix

WIDEST = 64  # of the width multipliers that spaces accept


@dataclass(frozen=True)
class Site:
    """Where a choice block stands: its channels, its stride, the side of the features that enter it, its activation."""

    c_in: int
    c_out: int
    stride: int
    side: int
    act: str

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.c_in == self.c_out


class ChainSpace(SupernetSpace, GraphSpace):
    """A space of chains; what an option is, as a block and in the supernet, is all that an implementation adds."""

    @abstractmethod
    def stem(self) -> Sequence[Block]: ...

    @abstractmethod
    def head(self) -> Block: ...

    @abstractmethod
    def option(self, at: int, option: int) -> Block | None:
        """The stand-alone block that choice block `at` becomes under an option; None where it is no block at all."""

    @abstractmethod
    def choice(self, at: int, norm: str) -> "Choice":
        """Choice block `at` of the supernet."""

    def part(self, at: int, option: int) -> Part:
        """Choice block `at` under an option, as a drawing shows it, shapes apart."""
        variable = self.variables[at]
        return Part(variable.name, operations=(variable.labels[option],))

    def sketch(self, arch: Arch) -> Sketch:
        stem = [(Part(f"stem{at or ''}"), block) for at, block in enumerate(self.stem())]
        choices = [(self.part(at, option), self.option(at, option)) for at, option in enumerate(self.valid(arch))]
        parts, after = [], (self.classes, 1, 1)
        for part, block in reversed([*stem, *choices, (Part("head"), self.head())]):
            before = after if block is None else block.input
            parts.append(replace(part, input=before, output=after))
            after = before
        return Sketch(tuple(reversed(parts)), paths=sum(len(part.operations) for part in parts if part.added))

    @cached_property
    def node_types(self) -> tuple[str, ...]:
        """A choice block is a node, whose type is its option."""
        return (INPUT, OUTPUT, *dict.fromkeys(label for variable in self.variables for label in variable.labels))

    @property
    def most_nodes(self) -> int:
        return len(self.variables) + 2

    def graph(self, arch: Arch) -> Graph:
        spelt = self.canonical(self.valid(arch)) or arch
        return Graph.chain(self.node_types, [v.labels[option] for v, option in zip(self.variables, spelt, strict=True)])

    def canonical(self, arch: Arch) -> Arch | None:
        return self.check(arch)

    def size(self) -> int:
        return self.spellings()

    def blocks(self, path: Path) -> Iterator[tuple[float | Tensor, Block]]:
        yield from ((1.0, block) for block in self.stem())
        for at, choice in enumerate(path):
            weighed = [(1.0, choice)] if isinstance(choice, int) else [(weight, i) for i, weight in enumerate(choice)]
            options = ((weight, self.option(at, option)) for weight, option in weighed)
            yield from ((weight, block) for weight, block in options if block is not None)
        yield 1.0, self.head()

    def network(self, arch: Arch) -> nn.Module:
        network = nn.Sequential(*(block.build() for _, block in self.blocks(self.valid(arch))))
        self.initialise(network)
        return network

    def supernet(self, norm: str) -> Supernet:
        choices = [self.choice(at, norm) for at in range(len(self.variables))]
        supernet = ChainSupernet([block.build() for block in self.stem()], choices, self.head().build())
        self.initialise(supernet)
        return supernet

    def initialise(self, network: nn.Module) -> None:
        """Draws the weights of a new network or supernet: as MixPath does, where a space does not say otherwise."""
        initialise(network)


class Choice(nn.Module):
    """A choice block of a supernet: `branches[i]` computes option i from the block's input."""

    def __init__(self) -> None:
        super().__init__()
        self.branches: list[Callable[[Tensor], Tensor]] = []

    def forward(self, x: Tensor, choice: int | Tensor) -> Tensor:
        return mix(self.branches, choice, x)


class Alternatives(Choice):
    """Options that share nothing: each its stand-alone block, or, for None, what enters."""

    def __init__(self, blocks: Sequence[Block | None]) -> None:
        super().__init__()
        self.options = nn.ModuleList(nn.Identity() if block is None else block.build() for block in blocks)
        self.branches = list(self.options)


class ChainSupernet(Supernet):
    """Stem, choice blocks and head; entry i of the path chooses in block i."""

    def __init__(self, stem: Sequence[nn.Module], choices: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(*stem)
        self.choices = nn.ModuleList(choices)
        self.head = head

    def stages(self, path: Path) -> list[Stage]:
        choices = zip(self.choices, path, strict=True)
        chosen = [Stage(choice, partial(block, choice=choice)) for block, choice in choices]
        return [Stage("stem", self.stem), *chosen, Stage("head", self.head)]


def subsets(kernels: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """The non-empty subsets of at most `most` kernels, by size, each ascending."""
    return [s for size in range(1, most + 1) for s in itertools.combinations(sorted(kernels), size)]


def multi_path_variables(blocks: int, options: Sequence[tuple[int, tuple[int, ...]]]) -> tuple[Variable, ...]:
    """One variable a block, whose options (expansion, kernels) are written like `e6k357`."""
    labels = tuple(f"e{rate}k{''.join(map(str, subset))}" for rate, subset in options)
    return tuple(Variable(f"block{at}", tuple(options), labels) for at in range(blocks))


def kernel_part(
    name: str, site: Site, expansion: int, kernels: Sequence[int], offered: Sequence[int] = (), added: bool = False
) -> Part:
    """The drawing of a bottleneck whose depthwise kernels run side by side."""
    chosen, others = (tuple(f"{k}×{k}" for k in sizes) for sizes in (kernels, offered))
    return Part(name, operations=chosen, offered=others, added=added, expansion=expansion, residual=site.residual)


class MultiPathBottleneck(PathSum):
    """Inverted bottleneck whose middle is a sum of depthwise convolutions (MixPath, section 3; official S1 block).

    1×1 expansion, then for each active kernel a depthwise convolution with its own batch norm and activation; their sum;
    1×1 projection without bias; the batch norm of sums; identity where shapes allow. Stand-alone it runs all kernels.
    """

    def __init__(self, site: Site, expansion: int, kernels: tuple[int, ...], most: int, norm: str) -> None:
        super().__init__()
        middle = expansion * site.c_in
        self.residual = site.residual
        self.kernels, self.everything = kernels, tuple(range(len(kernels)))
        self.expand = conv_bn(site.c_in, middle, act=site.act)
        self.paths = nn.ModuleList(conv_bn(middle, middle, k, site.stride, site.act, groups=middle) for k in kernels)
        self.project = PointwiseConv2d(middle, site.c_out)
        self.norm = MultiPathNorm(site.c_out, len(kernels), most, norm)
        self.drop = DropPath()

    def forward(self, x: Tensor, active: tuple[int, ...] | None = None) -> Tensor:
        active = active or self.everything
        expanded = self.expand(x)
        total = self.paths[active[0]](expanded)
        for path in active[1:]:
            total = total + self.paths[path](expanded)
        y = self.norm(self.project(total), active)
        return x + self.drop(y) if self.residual else y

    def each_path(self, x: Tensor) -> Iterator[tuple[int, str, Tensor, Tensor]]:
        expanded = self.expand(x)
        for at, path in enumerate(self.paths):
            feature = path(expanded)
            yield at, f"k{self.kernels[at]}", feature, self.project(feature)


class MultiPathChoice(Choice):
    """Expansion × kernel subset: one bottleneck an expansion, whose kernels and projection its subsets share."""

    def __init__(
        self, site: Site, options: Sequence[tuple[int, tuple[int, ...]]], kernels: tuple[int, ...], most: int, norm: str
    ) -> None:
        super().__init__()
        rates = sorted({expansion for expansion, _ in options})
        self.rates = nn.ModuleList(MultiPathBottleneck(site, rate, kernels, most, norm) for rate in rates)
        self.branches = [
            partial(self.rates[rates.index(rate)], active=tuple(kernels.index(k) for k in subset)) for rate, subset in options
        ]


def multi_path_block(site: Site, expansion: int, kernels: tuple[int, ...]) -> Block:
    """The stand-alone bottleneck of an option, with one ordinary batch norm after the sum."""
    key = f"mix_i{site.c_in}_o{site.c_out}_e{expansion}_k{''.join(map(str, kernels))}_s{site.stride}_r{site.side}_{site.act}"
    build = partial(MultiPathBottleneck, site, expansion, kernels, len(kernels), "vanilla")
    return Block(key, (site.c_in, site.side, site.side), build)


def uniform_count(
    rng: random.Random, expansions: Sequence[int], kernels: Sequence[int], most: int
) -> tuple[int, tuple[int, ...]]:
    """MixPath's draw for one block (official code, S1): expansion, then number of paths, then paths, each uniformly."""
    expansion = rng.choice(expansions)
    count = rng.randint(1, most)
    return expansion, tuple(sorted(rng.sample(kernels, count)))


def scaled(channels: int, width: float) -> int:
    """`channels` times a width multiplier, to the nearest multiple of 8, at least 8."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def divisible(channels: float | int) -> int:
    """To the nearest multiple of 8, at least 8, but not below nine tenths: MobileNet's rounding (Sandler et al. 2018)."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


def check_kernels(kernels: Sequence[int], m: int = 1) -> None:
    """ValueError unless the kernels are ascending, odd and at most 9, and m of them can be chosen."""
    if not kernels or list(kernels) != sorted(set(kernels)) or not set(kernels) <= {1, 3, 5, 7, 9}:
        raise ValueError(f"kernels must be ascending and odd, of 1 to 9, got {tuple(kernels)}")
    if not 1 <= m <= len(kernels):
        raise ValueError(f"m must be 1 to {len(kernels)} (the number of kernels), got {m}")


def check_count(name: str, value: int, most: int) -> None:
    """ValueError, which names the setting, unless its value is 1 to `most`."""
    if not 1 <= value <= most:
        raise ValueError(f"{name} must be 1 to {most}, got {value}")


def check_images(width: float, image_size: int, stem_stride: int, channels: int, classes: int) -> None:
    """ValueError, which names the first that is wrong, unless these settings, which all chains share, make a network."""
    for name, value, fine, range_ in (
        ("width", width, 0 < width <= WIDEST, f"above 0 and at most {WIDEST}"),
        ("image_size", image_size, 8 <= image_size <= 4096, "8 to 4096"),
        ("stem_stride", stem_stride, stem_stride in (1, 2), "1 or 2"),
        ("channels", channels, 1 <= channels <= 1024, "1 to 1024"),
        ("classes", classes, 2 <= classes <= 10**6, "2 to 10**6"),
    ):
        if not fine:
            raise ValueError(f"{name} must be {range_}, got {value}")


def sites_of(table: Sequence[tuple[int, int]], c_in: int, side: int, width: float, act: str) -> tuple[Site, ...]:
    """Sites in a row from their (output channels before the multiplier `width`, stride); the first has `c_in` channels."""
    row: list[Site] = []
    for c_out, stride in table:
        row.append(Site(c_in, scaled(c_out, width), stride, side, act))
        c_in, side = row[-1].c_out, -(-side // stride)
    return tuple(row)


def unrolled(table: Sequence[tuple[int, int, int]]) -> tuple[tuple[int, int], ...]:
    """Stages (channels, repeats, stride of the first) as a table of single blocks (channels, stride)."""
    return tuple((c, stride if repeat == 0 else 1) for c, repeats, stride in table for repeat in range(repeats))


def head_block(last: Site, width: int, classes: int) -> Block:
    """The head behind the last site, with its activation."""
    side = -(-last.side // last.stride)
    key = f"head_i{last.c_out}_o{width}_c{classes}_r{side}_{last.act}"
    return Block(key, (last.c_out, side, side), partial(Head, last.c_out, width, classes, last.act))


class Separable(nn.Module):
    """3×3 depthwise convolution, then 1×1 without activation; identity where channels allow (the fixed first block of MnasNet
    and MixNet)."""

    def __init__(self, c_in: int, c_out: int, act: str) -> None:
        super().__init__()
        self.residual = c_in == c_out
        self.body = nn.Sequential(conv_bn(c_in, c_in, 3, act=act, groups=c_in), conv_bn(c_in, c_out))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def separable_block(c_in: int, c_out: int, side: int, act: str) -> Block:
    return Block(f"sep_i{c_in}_o{c_out}_k3_r{side}_{act}", (c_in, side, side), partial(Separable, c_in, c_out, act))
