"""TF-NAS's supernet on this processor: a step of the choices and a step of the weights, beside the straightforward way.

    python benchmarks/speed_tfnas.py [--part choices weights] [--steps 3] [--batch 16] [--size 96] [--threads 2]

choices  all eight operations of every block mixed by Gumbel-softmax, all depths by softmax, cross-entropy; gradients of α and β
         alone. Ours: operations joined where that is exact, channels-last, bf16 where the processor has it; rival: eight blocks
         called one after another and their weighted sum, contiguous fp32, no gradients of weights either.
weights  two single paths, their losses summed, one way back, gradients clipped, SGD with momentum. Rival: the same blocks, each
         built at its present width.

Both have the same weights, images and draws, every operation at the width with which a search begins, and run in turn in one
process. Ratios are of summed times; wall time and this process's processor time are both printed, for on a busy machine only
the latter means much. Memory is what a step added to the resident set at its peak.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from speed_supernet import in_turn, peak, show
from torch import Tensor, nn
from torch.nn import functional as F

from nas_suite.elastic import Bottleneck, ElasticOperation, StagedSupernet
from nas_suite.engine import Compute
from nas_suite.spaces.tfnas import TFNAS
from nas_suite.supernet import frozen

Weights = Sequence[Tensor]
Network = Callable[[Tensor, Sequence[int | Tensor], Weights], Tensor]
"""Images, an operation or weights for each block, weights for the depths of each stage: logits."""


class Plain(nn.Module):
    """The supernet as one writes it without a thought for speed: eight bottlenecks a block, a list of outputs a stage."""

    def __init__(self, space: TFNAS, supernet: StagedSupernet) -> None:
        super().__init__()
        self.rooms = space.stages
        self.stem, self.head = nn.Sequential(*(block.build() for block in space.stem())), space.head().build()
        blocks: list[list[Bottleneck]] = []
        for at, site in enumerate(space.sites):
            widths = [space.start(at, operation) for operation in range(len(space.elastic))]
            shapes = zip(space.elastic, widths, strict=True)
            blocks.append([Bottleneck(site, op.kernel, w, op.hidden(site.c_in)) for op, w in shapes])
            for mine, theirs, width in zip(blocks[at], supernet.blocks[at].operations, widths, strict=True):
                inherit(mine, theirs, width)
        self.blocks: Sequence[Sequence[Bottleneck]] = nn.ModuleList(map(nn.ModuleList, blocks))  # type: ignore[assignment]
        simplify(self)
        for mine, theirs in ((self.stem, supernet.stem), (self.head, supernet.head)):
            mine.load_state_dict(theirs.state_dict())

    def forward(self, x: Tensor, operations: Sequence[int | Tensor], depths: Weights) -> Tensor:
        x = self.stem(x)
        for room, weights in zip(self.rooms, depths, strict=True):
            outputs = []
            for at in room:
                block, choice = self.blocks[at], operations[at]
                if isinstance(choice, int):
                    x = block[choice](x)
                else:
                    x = sum(w * operation(x) for w, operation in zip(choice, block, strict=True))  # type: ignore[assignment]
                outputs.append(x)
            x = sum(w * output for w, output in zip(weights, outputs, strict=True))  # type: ignore[assignment]
        return self.head(x)


def inherit(mine: Bottleneck, theirs: ElasticOperation, width: int) -> None:
    """The first channels' weights."""
    with torch.no_grad():
        pairs = [(mine.expand[0], theirs.expand), (mine.filter[0], theirs.filter), (mine.project[0], theirs.project)]  # type: ignore[index]
        if theirs.excite is not None:
            pairs += [(mine.excite.reduce, theirs.excite.reduce), (mine.excite.expand, theirs.excite.expand)]
        for small, large in pairs:
            for name, parameter in small.named_parameters():
                parameter.copy_(large.get_parameter(name)[tuple(map(slice, parameter.shape))])


def simplify(module: nn.Module) -> None:
    """Makes every convolution an nn.Conv2d and every batch norm one without parameters that remembers nothing."""
    for parent in list(module.modules()):
        for name, part in parent.named_children():
            if isinstance(part, nn.BatchNorm2d):
                setattr(parent, name, nn.BatchNorm2d(part.num_features, affine=False, track_running_stats=False))
            elif isinstance(part, nn.Conv2d):
                shape = (part.in_channels, part.out_channels, part.kernel_size, part.stride, part.padding)
                conv = nn.Conv2d(*shape, groups=part.groups, bias=part.bias is not None)  # type: ignore[arg-type]
                conv.load_state_dict(part.state_dict())
                setattr(parent, name, conv)


def ours(space: TFNAS, supernet: StagedSupernet) -> Network:
    widths = [[space.start(at, operation) for operation in range(len(space.elastic))] for at in range(len(space.sites))]
    return lambda x, operations, depths: supernet(x, space.join(operations, depths, widths))


def chooser(
    module: nn.Module, network: Network, compute: Compute, choices: nn.ParameterList, x: Tensor, y: Tensor
) -> Callable[[int], object]:
    """A step of the choices up to their gradients; its argument seeds the noise."""
    alphas, betas = choices[:18], choices[18:]

    def step(seed: int) -> None:
        torch.manual_seed(seed)
        choices.zero_grad()
        operations = [F.gumbel_softmax(alpha, 5.0) for alpha in alphas]
        with frozen(module), compute.autocast():
            loss = F.cross_entropy(network(x, operations, [beta.softmax(0) for beta in betas]), y)
        loss.backward()

    return step


def trainer(
    module: nn.Module, network: Network, compute: Compute, depths: Weights, x: Tensor, y: Tensor
) -> Callable[[int], object]:
    """A step of the weights along two paths; its argument seeds their draw."""
    optimiser = torch.optim.SGD(module.parameters(), 0.025, momentum=0.9, weight_decay=1e-5)

    def step(seed: int) -> None:
        torch.manual_seed(seed)
        paths = torch.stack([torch.randperm(8)[:2] for _ in range(18)], 1).tolist()
        optimiser.zero_grad()
        with compute.autocast():
            losses = [F.cross_entropy(network(x, path, depths), y) for path in paths]
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimiser.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", nargs="+", choices=("choices", "weights"), default=("choices", "weights"))
    for name, default in (("steps", 3), ("batch", 16), ("size", 96), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    space = TFNAS(image_size=given.size, classes=100)
    supernet = space.supernet("vanilla")
    rival = Plain(space, supernet)
    compute = Compute.choose("cpu")
    supernet = compute.place(supernet)
    x, y = torch.randn(given.batch, 3, given.size, given.size), torch.randint(0, 100, (given.batch,))
    choices = nn.ParameterList(torch.zeros(8) for _ in space.sites)
    choices.extend(torch.zeros(len(stage)) for stage in space.stages)
    depths = [torch.full((len(stage),), 1 / len(stage)) for stage in space.stages]
    last = x.contiguous(memory_format=torch.channels_last)
    contenders: dict[str, tuple[nn.Module, Network, Compute, Tensor]] = {
        "one after another, contiguous fp32": (rival, rival, Compute(), x),
        f"ours ({compute})": (supernet, ours(space, supernet), compute, last),
    }
    makers = {"choices": (chooser, choices), "weights": (trainer, depths)}
    for part in given.part:
        maker, more = makers[part]
        rivals = {name: maker(*who, more, images, y) for name, (*who, images) in contenders.items()}
        times = in_turn(rivals, list(range(given.steps)))
        memory = {name: peak(lambda step=step: step(0)) for name, step in rivals.items()}
        show(f"step of the {part}, {given.size} px, batch {given.batch}, {given.steps} draws", times, given.steps, memory)


if __name__ == "__main__":
    main()
