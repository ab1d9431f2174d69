"""Training one network from scratch: the recipe as settings, what is dropped, weight averaging, and what is kept."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas_suite.data.batches import Augment, Batch, Batches, clean
from nas_suite.data.images import Images
from nas_suite.engine import PLAIN, Compute, Cosine, Descent, Diverged, Learner, decayed
from nas_suite.layers import DropPath
from nas_suite.supernet import evaluating

EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Recipe:
    """How a network is trained from scratch. Defaults follow the supernet's recipe with the usual regularisation.

    `drop_path` is the share of residual branches dropped at the last block, rising linearly from 0 at the first; `dropout`
    that of the features dropped before the classifier; `jitter` how much brightness, contrast and saturation may be off, `hue`
    by what share of the circle the hue; `ema` the decay a step of the averaged weights that are evaluated, 0 for none.
    """

    epochs: Annotated[int, Ge(1)] = 200
    batch_size: Annotated[int, Ge(2)] = 96
    lr: Annotated[float, Gt(0)] = 0.025
    min_lr: Annotated[float, Ge(0)] = 1e-6
    lr_every: Literal["epoch", "step"] = "step"
    warmup_epochs: Annotated[int, Ge(0)] = 5
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 3e-4
    decay_norms: bool = False
    clip: Annotated[float, Ge(0)] = 5.0
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1
    drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    ema: Annotated[float, Ge(0), Lt(1)] = 0.0
    pad: Annotated[int, Ge(0)] = 4
    flip: bool = True
    cutout: Annotated[int, Ge(0)] = 16
    jitter: Annotated[float, Ge(0), Le(1)] = 0.0
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0


@dataclass
class Standalone(Learner):
    """One network in training. Its state holds the last weights, the best by validation and the averaged ones."""

    network: nn.Module
    recipe: Recipe
    train: Images
    val: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]
    compute: Compute = PLAIN
    seed: int = 0
    averaged: nn.Module | None = field(init=False, default=None)
    best: tuple[float, int] = field(init=False, default=(-1.0, -1))  # validation accuracy, epoch
    best_weights: dict[str, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        r = self.recipe
        self.compute.place(self.network)
        set_drop_path(self.network, r.drop_path)
        set_dropout(self.network, r.dropout)
        steps = len(self.batches())
        schedule = Cosine(r.lr, r.min_lr, steps * r.epochs, steps * r.warmup_epochs, steps if r.lr_every == "epoch" else 1)
        groups = decayed(self.network, r.weight_decay, r.decay_norms)
        self.descent = Descent(groups, schedule, r.optimizer, r.momentum, r.clip)
        if r.ema:
            self.averaged = copy.deepcopy(self.network)

    def batches(self) -> Batches:
        r = self.recipe
        augment = Augment(r.pad, r.flip, r.cutout, r.jitter, r.hue)
        return Batches(self.train, r.batch_size, self.mean, self.std, augment, self.seed, self.compute.device)

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        x, y = batch
        self.network.train()
        with self.compute.autocast():
            logits = self.network(x)
            loss = cross_entropy(logits, y, label_smoothing=self.recipe.label_smoothing)
        try:
            self.descent.accumulate(loss)
            self.descent.advance()
        except Diverged as error:
            raise Diverged(
                f"{error} at step {step}: training diverged; lower retrain.lr "
                f"(it is {self.recipe.lr:g}) or lengthen retrain.warmup_epochs"
            ) from None
        if self.averaged is not None:
            average(self.averaged, self.network, min(self.recipe.ema, (1 + step) / (10 + step)))
        return {"loss": float(loss.detach()), "accuracy": float((logits.detach().argmax(1) == y).float().mean())}

    @property
    def judged(self) -> nn.Module:
        """The network whose accuracy counts: the averaged one, where there is one."""
        return self.averaged or self.network

    def end_epoch(self, epoch: int) -> dict[str, float]:
        accuracy = self.accuracy(self.val)
        if accuracy >= self.best[0]:  # of equals the later one, which a lower learning rate has settled
            self.best = (accuracy, epoch)
            self.best_weights = {k: v.detach().clone() for k, v in self.judged.state_dict().items()}
        return {"val_accuracy": accuracy, "lr": self.descent.schedule(self.descent.taken - 1)}

    def accuracy(self, images: Images, weights: Mapping[str, Tensor] | None = None) -> float:
        """Share of images classified rightly by the judged network, or by it with other weights, 0 … 1."""
        network = self.judged
        if weights is not None:
            network = copy.deepcopy(network)
            network.load_state_dict(dict(weights))
        return accuracy(network, images, self.mean, self.std, self.compute)

    def state(self) -> dict[str, Any]:
        parts = {"network": self.network.state_dict(), "best": self.best_weights}
        if self.averaged is not None:
            parts["averaged"] = self.averaged.state_dict()
        weights = {f"{part}/{name}": value for part, tensors in parts.items() for name, value in tensors.items()}
        return {"weights": weights, "descent": self.descent.state(), "best": list(self.best)}

    def restore(self, state: Mapping[str, Any]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "averaged": {}}
        for name, value in state["weights"].items():
            part, _, key = name.partition("/")
            parts[part][key] = value
        self.network.load_state_dict(parts["network"])
        if self.averaged is not None:
            self.averaged.load_state_dict(parts["averaged"])
        self.best_weights = {k: v.to(self.compute.device) for k, v in parts["best"].items()}
        self.best = (state["best"][0], state["best"][1])
        self.descent.restore(state["descent"])


def accuracy(network: nn.Module, images: Images, mean: Sequence[float], std: Sequence[float], compute: Compute) -> float:
    """Share of images classified rightly in evaluation mode, 0 … 1."""
    right = 0
    with evaluating(network), torch.inference_mode(), compute.autocast():
        for x, y in clean(images, EVALUATION_BATCH, tuple(mean), tuple(std), compute.device):
            right += int((network(x).argmax(1) == y).sum())
    return right / len(images)


def average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves averaged weights towards the network's: a ← decay·a + (1 − decay)·w. Buffers are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1.0 - decay)
        for mine, other in zip(averaged.buffers(), network.buffers(), strict=True):
            mine.copy_(other)


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Drops residual branches with a probability that rises linearly from 0 at the first block to `rate` at the last."""
    drops = [part for part in network.modules() if isinstance(part, DropPath)]
    if rate and not drops:
        raise ValueError("this network has no residual branches to drop; retrain.drop_path must be 0")
    for at, drop in enumerate(drops):
        drop.rate = rate * at / max(1, len(drops) - 1)


def set_dropout(network: nn.Module, rate: float) -> None:
    """Drops features before the classifier with this probability."""
    drops = [part for part in network.modules() if isinstance(part, nn.Dropout)]
    if rate and not drops:
        raise ValueError("this network drops no features; retrain.dropout must be 0")
    for drop in drops:
        drop.p = rate
