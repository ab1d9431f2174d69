"""Search spaces in plain words: variables, architectures, paths, blocks and the interface of a space."""

import itertools
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite.errors import BadInput, suggest
from nas_suite.words import plural

Arch: TypeAlias = tuple[int, ...]
"""One option index a variable."""

Path: TypeAlias = Sequence["int | Tensor"]
"""An `Arch` in which an entry may also be a soft choice: a 1-D tensor of weights over the variable's options."""


@dataclass(frozen=True)
class Variable:
    """One decision of a space: a name, its options, and how each option is written in an architecture's text."""

    name: str
    options: tuple[Any, ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.labels:
            object.__setattr__(self, "labels", tuple(str(option) for option in self.options))
        if not self.options or len(set(self.labels)) != len(self.options):
            raise ValueError(f"variable {self.name!r} needs options with distinct labels, got {self.labels}")


@dataclass(frozen=True)
class Block:
    """A piece of a network that runs by itself.

    `key` names its structure completely: two blocks with one key and one input cost the same. `input` is the shape
    (channels, height, width) of one image's features that enter it; `build` makes it, stand-alone, with its batch norms.
    Blocks that differ in their number of inner channels alone share a `family`, and `width` is that number.
    """

    key: str
    input: tuple[int, int, int]
    build: Callable[[], nn.Module] = field(compare=False, repr=False)
    family: str = ""
    width: int = 0


Shape: TypeAlias = tuple[int, int, int]
"""Channels, height and width of one image's features."""


@dataclass(frozen=True)
class Part:
    """One box of a drawing: a block of a network, or `repeats` equal ones in a row.

    `operations` run side by side and are summed where `added`, else concatenated; those of `offered` that are not among them
    were not chosen. `expansion` is how many times its input's channels a block has inside, 0 for none; `residual` says that
    its input is added to its output. A shape is None where a space does not tell.
    """

    name: str
    input: Shape | None = None
    output: Shape | None = None
    operations: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    added: bool = False
    expansion: float | int = 0
    residual: bool = False
    repeats: int = 1


@dataclass(frozen=True)
class Sketch:
    """What a drawing shows of a network: its parts from images to classes and, where they repeat a cell, the cell's `nodes`,
    input first and output last, and its edges. `paths` counts the active paths: operations whose outputs are summed."""

    parts: tuple[Part, ...]
    nodes: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    paths: int = 0


class Stage(NamedTuple):
    """A piece of a supernet on the way of a path; `key` is what of the path it runs by."""

    key: Hashable
    run: Callable[[Tensor], Tensor]


class Supernet(nn.Module, ABC):
    """A network that holds the weights of every architecture of a space; what runs is an argument, never a state."""

    @abstractmethod
    def stages(self, path: Path) -> Sequence[Stage]:
        """What runs in turn, from images to logits.

        Two architectures compute the same up to the first stage whose key differs. A stage leaves what enters it as it was,
        for other stages read that too, and no batch norm runs in two stages of one path.
        """

    def forward(self, x: Float[Tensor, "n c h w"], path: Path) -> Float[Tensor, "n classes"]:
        for stage in self.stages(path):
            x = stage.run(x)
        return x


class SearchSpace(ABC):
    """A set of networks. Implementations are frozen dataclasses whose fields are the space's settings.

    Every implementation has at least the settings `image_size` (pixels a side), `channels` (of an image) and `classes`.
    """

    image_size: int
    channels: int
    classes: int

    @property
    @abstractmethod
    def variables(self) -> tuple[Variable, ...]:
        """The decisions, in the order in which an architecture lists them."""

    @abstractmethod
    def canonical(self, arch: Arch) -> Arch | None:
        """The one spelling of the network that `arch` spells; None where it spells none."""

    @abstractmethod
    def network(self, arch: Arch) -> nn.Module:
        """The stand-alone network, freshly initialised: images (n, channels, h, w) to logits (n, classes)."""

    @abstractmethod
    def blocks(self, path: Path) -> Iterable[tuple[float | Tensor, Block]]:
        """What runs, and with which weight: 1 for a hard choice, the (differentiable) share for a soft one."""

    @abstractmethod
    def size(self) -> int:
        """How many distinct networks the space holds."""

    def pieces(self) -> Iterator[Block]:
        """Every block that some network of the space runs, once: what a table of block latencies lists."""
        everything = [torch.ones(len(v.options), dtype=torch.float64) for v in self.variables]
        yield from dict.fromkeys(block for _, block in self.blocks(everything))

    def describe(self, arch: Arch) -> str:
        """`arch` as one line that `parse` takes back."""
        return "-".join(v.labels[i] for v, i in zip(self.variables, self.check(arch), strict=True))

    def parse(self, text: str) -> Arch:
        """The architecture that a line of `describe` stands for; BadInput says which token is wrong."""
        tokens = text.strip().split("-")
        if len(tokens) != len(self.variables):
            raise BadInput(
                f"architecture {text!r} has {plural(len(tokens), 'token')}, this space has {len(self.variables)} "
                f"({', '.join(v.name for v in self.variables)}); an example: {self.describe(self.sample(random.Random(0)))}"
            )
        arch = []
        for variable, token in zip(self.variables, tokens, strict=True):
            if token not in variable.labels:
                raise BadInput(f"{variable.name} cannot be {token!r}{suggest(token, variable.labels)}")
            arch.append(variable.labels.index(token))
        return self.valid(tuple(arch))

    def check(self, arch: Arch) -> Arch:
        """`arch` itself if it has one index in range for each variable, else BadInput."""
        sizes = [len(v.options) for v in self.variables]
        if len(arch) != len(sizes) or not all(0 <= i < n for i, n in zip(arch, sizes, strict=True)):
            raise BadInput(f"architecture {tuple(arch)} does not fit a space with {sizes} options")
        return tuple(arch)

    def valid(self, arch: Arch) -> Arch:
        """`arch` itself if it spells a network, else BadInput."""
        if self.canonical(self.check(arch)) is None:
            raise BadInput(f"{self.describe(arch)} spells no network of this space; `nas spaces sample` prints some that do")
        return arch

    def sketch(self, arch: Arch) -> Sketch:
        """What a drawing of the network shows; a space that says no more shows its choices one by one."""
        chosen = zip(self.variables, self.check(arch), strict=True)
        return Sketch(tuple(Part(variable.name, operations=(variable.labels[i],)) for variable, i in chosen))

    @property
    def searched(self) -> Sequence[Sequence[int]]:
        """Of each variable the options that samples and searches look at: all, unless a space has too many."""
        return [range(len(v.options)) for v in self.variables]

    def sample(self, rng: random.Random) -> Arch:
        """A canonical architecture, options drawn uniformly and independently, redrawn until they spell a network."""
        while True:
            drawn = self.canonical(tuple(options[rng.randrange(len(options))] for options in self.searched))
            if drawn is not None:
                return drawn

    def neighbours(self, arch: Arch) -> Iterator[Arch]:
        """The distinct canonical architectures that differ from `arch` in one variable."""
        seen = {self.canonical(arch)}
        for at, options in enumerate(self.searched):
            for option in options:
                near = self.canonical((*arch[:at], option, *arch[at + 1 :]))
                if near is not None and near not in seen:
                    seen.add(near)
                    yield near

    def everything(self) -> Iterator[Arch]:
        """Every network once, canonical, in lexicographic order; for spaces small enough to be gone through."""
        for arch in itertools.product(*(range(len(v.options)) for v in self.variables)):
            if self.canonical(arch) == arch:
                yield arch

    def depth(self, arch: Arch) -> int:
        """How many blocks that compute follow each other on the longest way from the image to the classes: the plainest
        guess at an accuracy."""
        return sum(1 for _ in self.blocks(arch))

    def spellings(self) -> int:
        """The product of the numbers of options: how many tuples `canonical` is defined on."""
        return math.prod(len(v.options) for v in self.variables)


class SupernetSpace(SearchSpace):
    """A space whose networks can share the weights of one supernet."""

    @abstractmethod
    def supernet(self, norm: str) -> Supernet:
        """A fresh supernet. `norm` names the batch norm after a sum of paths (`supernet.NORMS`);
        spaces without such sums ignore it."""

    @abstractmethod
    def draw(self, rng: random.Random) -> Arch:
        """A path to train next, drawn as the space's paper draws it; not always uniform over architectures."""


@runtime_checkable
class MultiPath(Protocol):
    """A space whose choice blocks each sum 1 to `m` paths."""

    @property
    def m(self) -> int: ...

    def with_paths(self, rng: random.Random, paths: int) -> Arch:
        """A random canonical architecture in which every choice block runs so many paths."""
        ...


class ElasticSpace(SupernetSpace):
    """A space of stages: a network runs the first blocks of each, every block one operation, an operation with so many inner
    channels as its width says (TF-NAS). Operations are numbered alike in all blocks.

    Its variables begin with the operation of each block, then, for each stage, how many of its blocks run.
    """

    width_step: int
    """Of the widths that a search looks at; texts and tables take every one."""

    @property
    @abstractmethod
    def stages(self) -> tuple[range, ...]:
        """The blocks of each stage, numbered through the network."""

    @property
    @abstractmethod
    def operations(self) -> tuple[str, ...]:
        """Their names."""

    @abstractmethod
    def widths(self, at: int, operation: int) -> range:
        """Every width that an operation may have in block `at`, ascending; none where it has no inner channels."""

    def grid(self, at: int, operation: int) -> list[int]:
        """Of the widths those that a search looks at: at steps of `width_step` from the least, and the most."""
        every = self.widths(at, operation)
        return sorted({*every[:: self.width_step], *every[-1:]})

    @abstractmethod
    def start(self, at: int, operation: int) -> int:
        """The width that an operation has in block `at` when a search begins; 0 where it has none."""

    @abstractmethod
    def option(self, at: int, operation: int, width: int) -> Block | None:
        """The stand-alone block that block `at` becomes; None where an operation is no block at all."""

    @abstractmethod
    def join(self, operations: Sequence[int | Tensor], depths: Sequence[int | Tensor], widths: Sequence[Sequence[int]]) -> Path:
        """The path of an operation for each block, a depth for each stage (how many of its blocks run, less one; or a weight
        for each such number) and `widths[block][operation]`."""

    @abstractmethod
    def split(self, arch: Arch) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """Operations, depths and widths of an architecture, as `join` takes them."""


class ElasticSupernet(Supernet):
    """A supernet of an elastic space: of an operation's inner channels a path runs the first ones."""

    @abstractmethod
    def active(self, path: Path) -> Iterator[tuple[nn.Parameter, tuple[slice, ...]]]:
        """Of each parameter that has inner channels, the part that a path of hard operations runs."""

    @abstractmethod
    def sort(self, chosen: Iterable[tuple[int, int]], companions: Mapping[nn.Parameter, Sequence[Tensor]]) -> None:
        """Puts the inner channels of operations (block, operation) in the order of their depthwise kernels' L1 norms, largest
        first, and tensors that go with a parameter alongside."""

    @abstractmethod
    def align(self) -> None:
        """Makes the operations of each block compute alike, as far as they can; training leads them apart again."""
