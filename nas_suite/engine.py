"""The engine: where and how precisely to compute, going downhill, and the one loop that trains and resumes every learner."""

import math
import random
import re
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from nas_suite.errors import BadInput, Interrupted
from nas_suite.run import CHECKPOINT, LOG, Run

M = TypeVar("M", bound=nn.Module)
DIVERGED = 1e4  # a loss above this learns nothing any more
CPU = torch.device("cpu")
SPOILT = 1e8  # nor does a weight above this, nor a running variance
SAVE_SECONDS = 120.0  # checkpoints within an epoch are this far apart


@dataclass(frozen=True)
class Compute:
    """Where tensors live and in which precision layers compute. Weights stay float32, convolutions channels-last."""

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto") -> "Compute":
        """`device`: auto, cpu, cuda, cuda:N or mps. `precision`: fp32, bf16, or auto (bf16 where the hardware has it)."""
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?|mps", device):
            raise BadInput(f"device {device!r} is unknown; there are: auto, cpu, cuda, cuda:N, mps")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            place = torch.device(device)
            torch.empty(1, device=place)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"device {device!r} cannot be used ({reason}); there are: auto, cpu, cuda, cuda:N, mps") from None
        if precision not in ("auto", "fp32", "bf16"):
            raise BadInput(f"precision {precision!r} is unknown; there are: auto, fp32, bf16")
        half = precision == "bf16" or (precision == "auto" and has_bf16(place))
        return cls(place, torch.bfloat16 if half else torch.float32)

    def __str__(self) -> str:
        return f"{self.device}, {'bf16' if self.dtype == torch.bfloat16 else 'fp32'}"

    def place(self, module: M) -> M:
        """The module on the device, its convolutions channels-last (2 to 10 times faster on a CPU)."""
        return module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


PLAIN = Compute()  # the CPU in float32


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by the hardware rather than emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def random_for(seed: int, *at: int) -> random.Random:
    """A generator that is a pure function of the seed and a position such as (step,): no state to save or to share."""
    return random.Random(f"{seed} {at}")


class Diverged(BadInput):
    """Training met a loss or a gradient that is not finite, or a loss beyond use."""


@dataclass(frozen=True)
class Cosine:
    """Learning rate by step: linear warm-up over `warmup` steps, then half a cosine from `lr` to `least` over the rest.

    `every` steps share one value, so that `every` = steps an epoch gives the schedule that is stepped once an epoch.
    """

    lr: float
    least: float
    steps: int
    warmup: int = 0
    every: int = 1

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) // self.every * self.every
        share = min(1.0, done / max(1, self.steps - self.warmup))
        return self.least + (self.lr - self.least) * (1 + math.cos(math.pi * share)) / 2


@dataclass
class Descent:
    """Parameters that go downhill. It touches only its own: others' gradients are neither computed nor cleared.

    A parameter that no loss since the last step reached keeps its value and its momentum.
    """

    groups: Sequence[Mapping[str, Any]]
    schedule: Cosine
    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = 0.9
    clip: float = 0.0
    taken: int = 0
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        groups = [dict(group) for group in self.groups]
        if self.kind == "sgd":
            self.optimizer = torch.optim.SGD(groups, lr=self.schedule.lr, momentum=self.momentum)
        else:
            kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
            self.optimizer = kinds[self.kind](groups, lr=self.schedule.lr, betas=(self.momentum, 0.999))
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    def accumulate(self, loss: Tensor) -> None:
        """Adds the gradient of a loss to what the next step follows; Diverged where the loss is beyond use."""
        if not math.isfinite(value := float(loss.detach())) or abs(value) > DIVERGED:
            raise Diverged(f"the loss is {value:g}")
        loss.backward(inputs=self.parameters)

    def advance(self) -> float:
        """One step along the accumulated gradient, which it clears; returns the gradient's norm before clipping."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        average_over_ranks(gradients)
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm:g}")
        if self.clip and norm > self.clip:
            torch._foreach_mul_(gradients, self.clip / (norm + 1e-6))
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(self.taken)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.taken += 1
        return norm

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "taken": self.taken}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.taken = state["taken"]


def decayed(module: nn.Module, weight_decay: float, norms: bool) -> list[dict[str, Any]]:
    """Parameter groups with weight decay; `norms` says whether batch norms' parameters decay too."""
    spared = [] if norms else [p for part in module.modules() if isinstance(part, nn.BatchNorm2d) for p in part.parameters()]
    ids = {id(p) for p in spared}
    groups = [{"params": [p for p in module.parameters() if id(p) not in ids], "weight_decay": weight_decay}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups


def average_over_ranks(gradients: Sequence[Tensor]) -> None:
    """Averages gradients over the ranks of torch.distributed, if it runs. All ranks draw the same path at the same step,
    so the same parameters have gradients everywhere and none needs to be searched for."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    flat = torch.cat([g.reshape(-1) for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


class Learner(ABC):
    """What is trained: it decides what a step does; the engine decides when."""

    @abstractmethod
    def step(self, batch: Any, step: int) -> dict[str, float]:
        """Learns from one batch, the `step`-th of the whole training; returns what to average over the epoch, each figure over
        the steps that tell of it."""

    @abstractmethod
    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Closes an epoch (0, 1, …); returns what to write down, as JSON keeps it."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that `restore` needs; the entry `weights` is a flat dict of tensors."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Batches(Protocol):
    """Training batches whose order is a pure function of the epoch."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]: ...


@runtime_checkable
class Progress(Protocol):
    """Told how far a run is; draws, prints or does nothing."""

    def __call__(self, done: int, total: int, figures: Mapping[str, float]) -> None: ...


def silent(done: int, total: int, figures: Mapping[str, float]) -> None:
    """A Progress that does nothing."""


@dataclass
class Signals:
    """Notes the first SIGINT or SIGTERM, so that work can stop where it is whole; a second SIGINT stops at once."""

    number: int = 0

    def __enter__(self) -> "Signals":
        self.former = {}
        if threading.current_thread() is threading.main_thread():
            self.former = {s: signal.signal(s, self.note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def note(self, number: int, _: object) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    def __exit__(self, *_: object) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.number:
            raise Interrupted(self.number)


@dataclass
class Meter:
    """Sums of an epoch's figures, how many steps told of each, and the seconds spent on it, which survive a resume."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Meter":
        """As a checkpoint keeps it; those of older versions have one count for all figures."""
        counts: dict[str, int] = dict.fromkeys(record["sums"], record.get("count", 0)) | record.get("counts", {})
        return cls(dict(record["sums"]), counts, record["seconds"])

    def add(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Of each figure over the steps that told of it."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}


def fit(
    learner: Learner, batches: Batches, epochs: int, run: Run, seed: int = 0, progress: Progress = silent, epochs_apart: int = 1
) -> int:
    """Trains `learner` to the end of `epochs`, from the run's newest checkpoint if there is one; returns its last step.

    Saves every `epochs_apart` epochs, every two minutes and on a signal. What a step does depends on the state, the batch
    and its number alone, so a run that was killed anywhere ends where an unbroken one does, bit for bit on a CPU.
    """
    done, meter = resume(learner, run)
    try:
        return descend(learner, batches, epochs, run, seed, progress, epochs_apart, done, meter)
    except Diverged as error:
        kept = [int(folder.name[len(CHECKPOINT) :]) for folder in run.checkpoints()[:1]]
        said = f"what was saved at step {kept[0]} is intact" if kept else "nothing was saved yet"
        raise Diverged(f"{error}; {said}") from None


def descend(
    learner: Learner, batches: Batches, epochs: int, run: Run, seed: int, progress: Progress, epochs_apart: int,
    done: int, meter: Meter,
) -> int:  # fmt: skip
    """The loop of `fit`, from step `done` in an epoch that `meter` has the figures of."""
    steps, saved = len(batches), time.monotonic()
    with Signals() as signals:
        for epoch in range(done // steps, epochs):
            started = time.monotonic() - meter.seconds
            for batch in batches.epoch(epoch, start=done - epoch * steps):
                torch.manual_seed(random_for(seed, done).getrandbits(63))
                figures = learner.step(batch, done)
                done += 1
                meter.add(figures)
                progress(done, steps * epochs, figures)
                late = time.monotonic() - saved > SAVE_SECONDS
                if (signals.number or late) and done < (epoch + 1) * steps:
                    meter.seconds = time.monotonic() - started
                    save(learner, run, done, meter)
                    saved = time.monotonic()
                    signals.check()
            line = {"epoch": epoch, "step": done, **meter.means(), **learner.end_epoch(epoch)}
            seconds = time.monotonic() - started
            run.append(LOG, {**line, "seconds": round(seconds, 3), "steps_per_second": round(steps / seconds, 3)})
            meter = Meter()
            if (epoch + 1) % epochs_apart == 0 or epoch + 1 == epochs or signals.number:
                save(learner, run, done, meter)
                saved = time.monotonic()
            signals.check()
    return done


def save(learner: Learner, run: Run, done: int, meter: Meter) -> None:
    """Writes a checkpoint; Diverged where its weights are beyond use, and what was saved before stays the newest."""
    state = learner.state()
    weights = [w for w in state["weights"].values() if w.is_floating_point() and w.numel()]
    if weights and not (largest := float(torch.stack(torch._foreach_norm(weights, math.inf)).max())) <= SPOILT:
        raise Diverged(
            f"weights or running statistics of magnitude {largest:g} at step {done}: training diverged; lower the learning "
            "rate, clip gradients or use fp32"
        )
    run.save(done, {**state, "meter": asdict(meter)})


def resume(learner: Learner, run: Run) -> tuple[int, Meter]:
    """Brings learner and log to the newest checkpoint; how many steps it has taken, and the open epoch's sums."""
    loaded = run.load()
    done = loaded[0] if loaded else 0
    run.rewrite(LOG, [line for line in run.epochs() if line.get("step", math.inf) <= done])
    if loaded is None:
        return 0, Meter()
    state = loaded[1]
    try:
        learner.restore(state)
        return done, Meter.of(state["meter"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"the checkpoint of {run.path} does not fit its settings ({reason})") from None
