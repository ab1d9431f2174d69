"""One-shot methods: a supernet trained along drawn paths, scored with its inherited weights after batch-norm calibration."""

import contextlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas_suite import prefix
from nas_suite.data.batches import AnyBatch, Augment, Batch, Batches, Clean
from nas_suite.data.images import Images
from nas_suite.engine import Compute, Cosine, Descent, Diverged, Progress, decayed, silent
from nas_suite.method import Method, Problem
from nas_suite.objective import Objective
from nas_suite.prefix import Found, Rounds, unheard
from nas_suite.search import NSGA2, Evolution, Limit, Random, Region, Searcher
from nas_suite.space import Arch, Path, Supernet, SupernetSpace
from nas_suite.supernet import Norm, evaluating, start_as_identity

SCORING_BATCH = {"cpu": 50}  # on a CPU small features stay in its caches: 1.7 times faster than 250 (benchmarks/LOG.md)


@dataclass
class OneShot(Method):
    """A supernet and how it is trained, scored and searched. An implementation adds `paths`: what a step trains.

    Defaults are MixPath's for CIFAR-10 (official code, S1) where it has them; the search's are choices of this suite.
    """

    needs: ClassVar[type[SupernetSpace]] = SupernetSpace
    ground: ClassVar[tuple[str, ...]] = ("norm",)
    searching: ClassVar[tuple[str, ...]] = (
        "budget", "strategy", "population", "crossover", "mutation",
        "calibrate", "calib_images", "score_images", "score_memory",
    )  # fmt: skip

    problem: Problem
    norm: Norm = "linear"
    zero_residual: bool = False  # residual blocks start as the identity
    epochs: Annotated[int, Ge(1)] = 200
    batch_size: Annotated[int, Ge(2)] = 96
    lr: Annotated[float, Gt(0)] = 0.025
    min_lr: Annotated[float, Ge(0)] = 1e-8
    lr_every: Literal["epoch", "step"] = "epoch"
    warmup_epochs: Annotated[int, Ge(0)] = 0
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 3e-4
    decay_norms: bool = True
    clip: Annotated[float, Ge(0)] = 5.0
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    pad: Annotated[int, Ge(0)] = 4
    flip: bool = True
    cutout: Annotated[int, Ge(0)] = 16
    calibrate: bool = True
    calib_images: Annotated[int, Ge(2)] = 10_000
    score_images: Annotated[int, Ge(0)] = 0  # validation images that score an architecture; 0: all
    score_memory: Annotated[int, Ge(1)] = 64  # MiB of batch norms' statistics, where many are scored at once
    strategy: Literal["nsga2", "evolution", "random"] = "nsga2"
    budget: Annotated[int, Ge(1)] = 2560  # networks that a search evaluates
    population: Annotated[int, Ge(2)] = 64
    crossover: Annotated[float, Ge(0), Le(1)] = 0.9
    mutation: Annotated[float, Ge(0), Le(1)] = 0.0  # of each variable; 0: one over their number
    supernet: Supernet = field(init=False, repr=False)
    descent: Descent = field(init=False, repr=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.problem.seed)
        self.supernet = self.problem.compute.place(self.problem.space.supernet(self.norm))
        if self.zero_residual:
            start_as_identity(self.supernet)
        steps = len(self.batches())
        schedule = Cosine(
            self.lr, self.min_lr, steps * self.epochs, steps * self.warmup_epochs, steps if self.lr_every == "epoch" else 1
        )
        groups = decayed(self.supernet, self.weight_decay, self.decay_norms)
        self.descent = Descent(groups, schedule, momentum=self.momentum, clip=self.clip)

    @abstractmethod
    def paths(self, step: int) -> Sequence[Arch]:
        """The paths that a step trains, a pure function of (seed, step); their gradients add up to one update."""

    def batches(self) -> Batches:
        p = self.problem
        augment = Augment(self.pad, self.flip, self.cutout)
        return Batches(p.train, self.batch_size, p.mean, p.std, augment, p.seed, p.compute.device)

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        x, y = batch
        self.supernet.train()
        loss_sum, right = 0.0, 0
        paths = self.paths(step)
        for path in paths:
            with self.problem.compute.autocast():
                logits = self.supernet(x, path)
                loss = cross_entropy(logits, y, label_smoothing=self.label_smoothing)
            try:
                self.descent.accumulate(loss)
            except Diverged as error:
                raise Diverged(self.advice(error, step, path)) from None
            loss_sum += float(loss.detach())
            right += int((logits.detach().argmax(1) == y).sum())
        try:
            self.descent.advance()
        except Diverged as error:
            raise Diverged(self.advice(error, step, paths[-1])) from None
        return {"loss": loss_sum / len(paths), "accuracy": right / (len(paths) * len(y))}

    def advice(self, error: Diverged, step: int, path: Arch) -> str:
        return (
            f"{error} at step {step}, architecture {self.problem.space.describe(path)}: training diverged; "
            f"lower the learning rate (it is {self.lr:g}), clip gradients (method.clip is "
            f"{self.clip:g}) or use fp32"
        )

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {"lr": self.descent.schedule(self.descent.taken - 1)}

    def state(self) -> dict[str, Any]:
        return {"weights": self.supernet.state_dict(), "descent": self.descent.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.supernet.load_state_dict(state["weights"])
        self.descent.restore(state["descent"])

    @cached_property
    def scoring(self) -> "Scoring":
        """Scores with this supernet as it is now."""
        p = self.problem
        calibration = self.prepared(p.train.take(self.calib_images, p.seed), whole=True) if self.calibrate else []
        val = p.val.take(self.score_images, p.seed) if self.score_images else p.val
        return Scoring(self.supernet, p.compute, calibration, self.prepared(val))

    def prepared(self, images: Images, whole: bool = False) -> Clean:
        p = self.problem
        batch = SCORING_BATCH.get(p.compute.device.type, 500)
        return Clean(images, batch, p.mean, p.std, p.compute.device, whole)

    def accuracy(self, arch: Arch, images: Images) -> float:
        return replace(self.scoring, val=self.prepared(images)).accuracy(arch)

    def accuracies(self, archs: Sequence[Arch], progress: Progress = silent, found: Found = unheard) -> list[float]:
        """Of each architecture what `scoring` says of it alone. What architectures begin with in common runs once, so that
        many at a time cost less than one by one; `found` is told of those of each part of them as soon as it is scored."""
        known: dict[Arch, float] = {}
        for part in self.scoring.parts(archs, self.score_memory << 20, progress):
            found(part)
            known |= part
        return [known[arch] for arch in archs]

    def scorer(self) -> Objective:
        return Objective("error", "min", lambda archs: [1.0 - accuracy for accuracy in self.accuracies(archs)])

    def searcher(self, objectives: Sequence[Objective], limits: Sequence[Limit]) -> Searcher:
        region = Region(self.problem.space, limits)
        seed = self.problem.seed
        kinds: dict[str, Callable[[], Searcher]] = {
            "nsga2": lambda: NSGA2(region, objectives, seed, self.population, self.crossover, self.mutation),
            "evolution": lambda: Evolution(region, seed, self.population),
            "random": lambda: Random(region, seed),
        }
        return kinds[self.strategy]()


@dataclass(frozen=True)
class Scoring:
    """Validation accuracy of paths of a supernet, each after its batch norms are calibrated on training images.

    Without calibration batches the running statistics of training are used.
    """

    supernet: Supernet
    compute: Compute
    calibration: Rounds
    val: Rounds

    def accuracy(self, path: Path) -> float:
        """Share of validation images classified rightly, 0 … 1. The supernet is left as it was."""
        with recalibrated(self.supernet, path, (x for x, _ in self.calibration), self.compute):
            return accuracy(self.supernet, path, self.val, self.compute)

    def parts(self, archs: Iterable[Arch], memory: int, progress: Progress = silent) -> Iterator[dict[Arch, float]]:
        """The accuracy of each architecture, a part of them at a time (`prefix.accuracies`)."""
        return prefix.accuracies(self.supernet, self.compute, self.calibration, self.val, archs, memory, progress)


def accuracy(supernet: nn.Module, path: Path, batches: Iterable[AnyBatch], compute: Compute) -> float:
    """Share of images classified rightly by one path in evaluation mode, 0 … 1."""
    right = total = 0
    with evaluating(supernet), torch.inference_mode(), compute.autocast():
        for x, y in batches:
            right += int((supernet(x, path).argmax(1) == y).sum())
            total += len(y)
    return right / total if total else math.nan


@contextlib.contextmanager
def recalibrated(
    supernet: nn.Module, path: Path, batches: Iterable[Float[Tensor, "n c h w"]], compute: Compute
) -> Iterator[None]:
    """Within: the batch norms that `path` runs through hold the cumulative statistics of `batches` under that path.
    After: every buffer is what it was. Weights are never touched (MixPath, section 3; post-calibration)."""
    kept: dict[nn.BatchNorm2d, list[Tensor]] = {}

    def reset(norm: nn.BatchNorm2d, _: object) -> None:
        if norm not in kept:
            kept[norm] = [buffer.clone() for buffer in norm.buffers()]
            norm.reset_running_stats()
            norm.momentum = None

    norms = [part for part in supernet.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    former = supernet.training
    hooks = [norm.register_forward_pre_hook(reset) for norm in norms]
    try:
        supernet.train()
        with torch.no_grad(), compute.autocast():
            for x in batches:
                supernet(x, path)
        for hook in hooks:
            hook.remove()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        supernet.train(former)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for norm, buffers in kept.items():
            for buffer, value in zip(norm.buffers(), buffers, strict=True):
                buffer.copy_(value)
