"""TF-NAS (Hu, Wu, He; ECCV 2020): operations, depths and widths searched together, for a network that meets a latency."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas_suite.data.batches import Augment, Batch, Batches, Clean
from nas_suite.data.images import Images
from nas_suite.engine import Cosine, Descent, Diverged, decayed, random_for
from nas_suite.errors import BadInput
from nas_suite.method import Method, Problem
from nas_suite.objective import Objective
from nas_suite.oneshot import accuracy
from nas_suite.search import Fixed, Limit, Searcher
from nas_suite.space import Arch, ElasticSpace, ElasticSupernet, Path
from nas_suite.supernet import frozen
from nas_suite.target import Beliefs, Choice, Target, Widths

ANOTHER, MIXED = 1, 2  # of a step's random draws: those of its second path, and those of all operations mixed


@dataclass
class TFNAS(Method):
    """A bi-level search. Batch by batch the weights learn along two single paths; after a warm-up every second step is followed
    by one of the choices on validation images, all operations mixed, towards low error and the target latency; and after each
    epoch the widths of the network that is held to be best are scaled so that it meets the target.

    Defaults are the paper's, for its 100 classes of ImageNet (official code, train_search.py: 30-63, 83-153), but for its
    random resized crops, which are this suite's padded ones, and its jitter of colours, which has to be asked for (`jitter` is
    of brightness, contrast and saturation). `latency` is the target in ms, by `problem.latency`, a
    cost over the space as it is to be deployed, whose operations and depths are those of the supernet's space; its widths may
    be others, and are in proportion. `second_path` says how the second path's operations are drawn from those that the first
    left: `random` (the paper's), `gumbel`, the likeliest (`max`), the unlikeliest (`min`), or that there is none. Without
    `elastic` widths stay as they are, and nothing makes the network meet the target. `least_share` is of what an operation
    would be trained were all trained alike: one that got less so far is reported as starved. With `aligned`, which the paper
    has not, the operations of a block begin with the same weights as far as their shapes allow: where a block has no residual
    connection, operations that begin unlike need ten thousands of steps before what follows can use them all.
    """

    needs: ClassVar[type[ElasticSpace]] = ElasticSpace
    derives: ClassVar[bool] = True

    problem: Problem
    latency: Annotated[float, Gt(0)] = 15.0
    epochs: Annotated[int, Ge(2)] = 90
    warmup_epochs: Annotated[int, Ge(0)] = 10  # of weights alone
    batch_size: Annotated[int, Ge(2)] = 32
    lr: Annotated[float, Gt(0)] = 0.025
    min_lr: Annotated[float, Ge(0)] = 0.0
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 1e-5
    clip: Annotated[float, Ge(0)] = 5.0  # of weights and of choices, each for themselves
    choice_lr: Annotated[float, Gt(0)] = 0.01
    choice_momentum: Annotated[float, Ge(0), Lt(1)] = 0.5
    choice_weight_decay: Annotated[float, Ge(0)] = 5e-4
    latency_weight: Annotated[float, Ge(0)] = 0.1
    temperature: Annotated[float, Gt(0)] = 5.0
    temperature_decay: Annotated[float, Gt(0), Le(1)] = 0.96  # an epoch, after the warm-up
    second_path: Literal["random", "gumbel", "max", "min", "none"] = "random"
    elastic: bool = True
    aligned: bool = False
    least_share: Annotated[float, Ge(0), Le(1)] = 0.25
    pad: Annotated[int, Ge(0)] = 4
    flip: bool = True
    cutout: Annotated[int, Ge(0)] = 0
    jitter: Annotated[float, Ge(0), Le(1)] = 0.0
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    supernet: ElasticSupernet = field(init=False, repr=False)
    descent: Descent = field(init=False, repr=False)
    choosing: Descent = field(init=False, repr=False)
    widths: Widths = field(init=False, repr=False)  # of the deployed space

    def __post_init__(self) -> None:
        p = self.problem
        if p.latency is None:
            raise BadInput(
                "method tfnas needs the latencies of blocks on a device: nas search tfnas --latency MS finds or takes them"
            )
        self.target = Target(p.latency, self.latency)
        self.target.check()
        self.widths, self.found = self.target.start, None
        torch.manual_seed(p.seed)
        self.supernet = p.compute.place(p.space.supernet("vanilla"))
        if self.aligned:
            self.supernet.align()
        sizes = [len(v.options) for v in p.space.variables[: len(self.widths) + len(p.space.stages)]]
        log_uniform = [torch.full((k,), -math.log(k), device=p.compute.device) for k in sizes]
        zeros = [torch.zeros(k, device=p.compute.device) for k in sizes]
        self.alphas = [nn.Parameter(some) for some in log_uniform[: len(self.widths)]]
        self.betas = [nn.Parameter(some) for some in zeros[len(self.widths) :]]
        self.trained = torch.zeros(len(self.alphas), max(sizes[: len(self.alphas)]), dtype=torch.int64)
        self.steps = len(self.batches())
        schedule = Cosine(self.lr, self.min_lr, self.steps * self.epochs, every=self.steps)
        self.descent = Descent(
            decayed(self.supernet, self.weight_decay, norms=True), schedule, momentum=self.momentum, clip=self.clip
        )
        group = {"params": [*self.alphas, *self.betas], "weight_decay": self.choice_weight_decay}
        constant = Cosine(self.choice_lr, self.choice_lr, 1)
        self.choosing = Descent([group], constant, "adam", self.choice_momentum, self.clip)

    def batches(self) -> Batches:
        p = self.problem
        augment = Augment(self.pad, self.flip, self.cutout, self.jitter, self.hue)
        return Batches(p.train, self.batch_size, p.mean, p.std, augment, p.seed, p.compute.device)

    @cached_property
    def judging(self) -> Batches:
        """Validation batches, in another order each time through."""
        p = self.problem
        return Batches(p.val, self.batch_size, p.mean, p.std, None, p.seed, p.compute.device)

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        epoch, number = divmod(step, self.steps)
        warm = epoch >= self.warmup_epochs
        figures = self.learn(batch, step, warm and self.second_path != "none")
        if warm and number % 2 == 0:
            earlier = (epoch - self.warmup_epochs) * -(-self.steps // 2)
            times, start = divmod(earlier + number // 2, len(self.judging))
            figures |= self.choose(next(self.judging.epoch(times, start)), step, self.warmth(epoch))
        return figures

    def warmth(self, epoch: int) -> float:
        """The temperature of an epoch's Gumbel-softmax."""
        return self.temperature * self.temperature_decay ** max(0, epoch - self.warmup_epochs)

    def inner(self) -> Widths:
        """The widths as the supernet has them: the deployed ones, in proportion to what both start with."""
        return tuple(tuple(self.proportional(at, op, w) for op, w in enumerate(row)) for at, row in enumerate(self.widths))

    def proportional(self, at: int, operation: int, width: int) -> int:
        mine, theirs = self.problem.space, self.target.space
        if not (allowed := mine.widths(at, operation)):
            return 0
        wanted = round(width * mine.start(at, operation) / theirs.start(at, operation))
        return min(max(wanted, allowed[0]), allowed[-1])

    def learn(self, batch: Batch, step: int, two: bool) -> dict[str, float]:
        """A step of the weights along one path or two, each of one operation a block and all depths, as likely as they are held
        to be: one backward pass of the summed losses (train_search.py: 318-385)."""
        x, y = batch
        depths = [beta.detach().softmax(0) for beta in self.betas]
        inner = self.inner()
        drawn = self.drawn(step, two)
        paths = [self.problem.space.join(operations, depths, inner) for operations in drawn]
        self.supernet.train()
        with self.problem.compute.autocast():
            logits = [self.supernet(x, path) for path in paths]
            losses = [cross_entropy(found, y) for found in logits]
        with self.advice(step, "method.lr", self.lr):
            self.descent.accumulate(torch.stack(losses).sum())
            with at_rest(self.supernet, paths, self.descent.optimizer):
                self.descent.advance()
        for operations in drawn:
            self.trained[torch.arange(len(operations)), torch.tensor(operations)] += 1
        right = sum(int((found.detach().argmax(1) == y).sum()) for found in logits)
        loss = sum(float(loss.detach()) for loss in losses)
        return {"loss": loss / len(paths), "accuracy": right / (len(paths) * len(y))}

    def drawn(self, step: int, two: bool) -> list[tuple[int, ...]]:
        """The operations of a step's paths. The first are drawn with the probabilities that α holds, whatever the temperature
        (the largest of the perturbed logits), the second from those that are left."""
        logits = nn.utils.rnn.pad_sequence([alpha.detach().cpu() for alpha in self.alphas], True, -math.inf)
        first = (logits + self.noise(step)).argmax(1)
        if not two:
            return [tuple(first.tolist())]
        taken = logits.isinf().scatter(1, first[:, None], True)
        noise = self.noise(step, ANOTHER)
        scores = {"random": noise, "gumbel": logits + noise, "max": logits, "min": -logits}[self.second_path]
        second = scores.masked_fill(taken, -math.inf).argmax(1)  # of one operation that is no other
        return [tuple(first.tolist()), tuple(second.tolist())]

    def noise(self, step: int, *at: int) -> Float[Tensor, "b k"]:
        """Gumbel noise for each operation of each block, a pure function of the seed and the step."""
        generator = torch.Generator().manual_seed(random_for(self.problem.seed, step, *at).getrandbits(63))
        return -torch.empty(self.trained.shape).exponential_(generator=generator).clamp_(min=1e-20).log()

    def choose(self, batch: Batch, step: int, warmth: float) -> dict[str, float]:
        """A step of the choices on a validation batch, all operations mixed (train_search.py: 393-422)."""
        x, y = batch
        noise = self.noise(step, MIXED).to(x.device)
        operations = [((a + g[: len(a)]) / warmth).softmax(0) for a, g in zip(self.alphas, noise, strict=True)]
        depths = [beta.softmax(0) for beta in self.betas]
        with frozen(self.supernet), self.problem.compute.autocast():
            logits = self.supernet(x, self.problem.space.join(operations, depths, self.inner()))
            error = cross_entropy(logits, y)
        ms = self.expected(operations, depths)
        loss = error + self.latency_weight * (ms / self.latency - 1).abs().to(error)
        with self.advice(step, "method.choice_lr", self.choice_lr):
            self.choosing.accumulate(loss)
            self.choosing.advance()
        with torch.no_grad():
            for parameter in (*self.alphas, *self.betas):
                parameter.copy_(parameter.log_softmax(0))
        right = float((logits.detach().argmax(1) == y).float().mean())
        return {"val_loss": float(error.detach()), "val_accuracy": right, "expected_ms": float(ms.detach())}

    def expected(self, operations: Sequence[Tensor], depths: Sequence[Tensor]) -> Float[Tensor, ""]:
        """The latency in ms that these weights make to be expected at the present widths, with its gradient."""
        exact = ([weights.cpu().double() for weights in some] for some in (operations, depths))
        return self.target.cost(self.target.space.join(next(exact), next(exact), self.widths))

    @contextlib.contextmanager
    def advice(self, step: int, setting: str, lr: float) -> Iterator[None]:
        """Within: a divergence says where it was and what to do."""
        try:
            yield
        except Diverged as error:
            raise Diverged(
                f"{error} at step {step}: training diverged; lower the learning rate ({setting} is {lr:g}), clip gradients "
                f"(method.clip is {self.clip:g}) or use fp32"
            ) from None

    @property
    def beliefs(self) -> Beliefs:
        told = [[p.detach().double().log_softmax(0).cpu().numpy() for p in some] for some in (self.alphas, self.betas)]
        return Beliefs(*told)

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """After the warm-up: the likeliest network, its widths scaled to the target; at the end, should it be out of its reach,
        the likeliest nearby that is not."""
        figures: dict[str, Any] = {"lr": self.descent.schedule(self.descent.taken - 1)}
        if epoch < self.warmup_epochs:
            return figures
        before = self.widths
        choice, trace = self.derive(last=epoch + 1 == self.epochs)
        figures["unscaled"] = self.target.cost.total(self.target.arch(choice, before))
        self.found = self.target.arch(choice, self.widths)
        figures |= {"temperature": self.warmth(epoch), "network": self.target.space.describe(self.found)}
        figures |= {"latency": self.target.cost.total(self.found), "trace": trace, "out_of_reach": self.target.miss(choice)}
        return {**figures, **self.habits()}

    def derive(self, last: bool) -> tuple[Choice, list[float]]:
        """The network, and the trace in ms of how its widths were scaled; the channels that it keeps are those whose depthwise
        kernels have the largest L1 norms (train_search.py: 261-307)."""
        if not self.elastic:
            return self.target.likeliest(self.beliefs), []
        choice = self.target.nearest(self.beliefs) if last else self.target.likeliest(self.beliefs)
        self.widths, scaled = self.target.scaled(choice, self.widths)
        space = self.target.space
        chosen = [(at, op) for _, at, op in self.target.running(choice) if space.widths(at, op)]
        self.supernet.sort(chosen, {p: [m] for p, m in momenta(self.descent.optimizer).items()})
        return choice, list(scaled.trace)

    def habits(self) -> dict[str, Any]:
        """How decided the choices are (mean entropies in nats), and how often each operation of each block was trained."""
        beliefs, entropies = self.beliefs, {}
        for name, held in (("operation_entropy", beliefs.operations), ("depth_entropy", beliefs.depths)):
            entropies[name] = float(sum(-(p.clip(-700) * math.e**p).sum() for p in held) / len(held))
        counts = [row[: len(held)].tolist() for row, held in zip(self.trained, beliefs.operations, strict=True)]
        names = self.target.space.operations
        starved = [
            f"block{at}.{names[op]}"
            for at, row in enumerate(counts)
            for op, count in enumerate(row)
            if count < self.least_share * sum(row) / len(row)
        ]
        held = {"operations": beliefs.operations, "depths": beliefs.depths}
        shares = {name: [[float(p) for p in math.e**one] for one in some] for name, some in held.items()}
        return {**entropies, **shares, "trained": counts, "starved": starved}

    def state(self) -> dict[str, Any]:
        named = {f"supernet/{name}": value for name, value in self.supernet.state_dict().items()}
        choices = {"alpha": self.alphas, "beta": self.betas}
        named |= {f"{name}/{at}": p.detach() for name, some in choices.items() for at, p in enumerate(some)}
        return {
            "weights": named, "descent": self.descent.state(), "choosing": self.choosing.state(),
            "widths": [list(row) for row in self.widths], "trained": self.trained.clone(),
            "found": self.found and list(self.found),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        weights = state["weights"]
        parts = ((name.partition("/")[2], value) for name, value in weights.items() if name.startswith("supernet/"))
        self.supernet.load_state_dict(dict(parts))
        with torch.no_grad():
            for name, some in (("alpha", self.alphas), ("beta", self.betas)):
                for at, parameter in enumerate(some):
                    parameter.copy_(weights[f"{name}/{at}"])
        self.descent.restore(state["descent"])
        self.choosing.restore(state["choosing"])
        self.widths = tuple(tuple(row) for row in state["widths"])
        self.trained = state["trained"].clone()
        self.found = state["found"] and tuple(state["found"])

    def accuracy(self, arch: Arch, images: Images) -> float:
        p = self.problem
        batches = Clean(images, self.batch_size, p.mean, p.std, p.compute.device, whole=True)
        return accuracy(self.supernet, arch, batches, p.compute)

    def scorer(self) -> Objective:
        """Validation error with inherited weights and the statistics of each batch."""
        return Objective("error", "min", lambda archs: [1.0 - self.accuracy(arch, self.problem.val) for arch in archs])

    def searcher(self, objectives: Sequence[Objective], limits: Sequence[Limit]) -> Searcher:
        """The derived network, in the supernet's space."""
        if limits:
            raise BadInput("method tfnas has one bound, its latency: nas search tfnas --latency MS")
        choice = self.target.likeliest(self.beliefs)
        if self.found is not None:
            choice = Choice(*self.target.space.split(self.found)[:2])
        path = tuple(self.problem.space.join(*choice, self.inner()))
        return Fixed([self.problem.space.canonical(path)])


def momenta(optimizer: torch.optim.Optimizer) -> dict[nn.Parameter, Tensor]:
    """What stochastic gradient descent remembers of each parameter."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return {p: m for p in parameters if (m := optimizer.state.get(p, {}).get("momentum_buffer")) is not None}


@contextlib.contextmanager
def at_rest(supernet: ElasticSupernet, paths: Sequence[Path], optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within, an optimiser may step; after, inner channels that no path runs, and their momenta, are bit for bit what they
    were."""
    active = (entry for path in paths for entry in supernet.active(path))
    idle = [(p, (*index[:-1], slice(index[-1].stop, None))) for p, index in active]
    before = momenta(optimizer)
    kept = [(p.detach()[rest].clone(), before[p][rest].clone() if p in before else 0.0) for p, rest in idle]
    yield
    after = momenta(optimizer)
    with torch.no_grad():
        for (parameter, rest), (weights, moving) in zip(idle, kept, strict=True):
            parameter[rest] = weights
            if parameter in after:
                after[parameter][rest] = moving
