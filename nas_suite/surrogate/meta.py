"""Meta-training: a deep kernel learned over a history by REPTILE or Adam, as one learner of the engine."""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gpytorch.kernels import AdditiveKernel
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nas_suite.engine import Diverged, Learner
from nas_suite.errors import BadInput
from nas_suite.surrogate.deep import NOISE, DeepKernel, cosine
from nas_suite.surrogate.experience import Experience, Shelf
from nas_suite.surrogate.gp import Posterior, Process, dense
from nas_suite.surrogate.standard import Standardiser

SETTLED, SETTLING = 1500, 25  # evaluations that hyper-parameters are settled on, and steps of L-BFGS
BLOCK, GROUNDING = 1000, 30  # evaluations whose exact evidence is computed together, and steps of L-BFGS up their sum
FAINT = 0.1  # variance of what is learned of networks on data sets, beside what is known without
RATES = {"reptile": 3e-4, "adam": 1e-3}  # REPTILE takes several steps on a mini-batch
MOST_GIVEN = 5000  # evaluations that predictions are conditioned on: their exact covariance is inverted


@dataclass(frozen=True)
class Schedule:
    """How meta-training goes downhill. REPTILE (Nichol et al. 2018): `inner` steps of the inner optimiser on one mini-batch,
    then a share of the way there, which falls from `reach` to 0 in equal steps; `adam` is one step of Adam a mini-batch, whose
    rate falls by half a cosine, as the published code trains (TNAS-DCS, encoder_FSBO_trainer.py:168-183).

    A mini-batch is of `batch` evaluations, `mixed` uniformly of all data sets (the paper's Algorithm 1), or else of one data
    set, as FSBO has it (Wistuba and Grabocka 2021).
    """

    optimizer: Literal["reptile", "adam"] = "reptile"
    inner_optimizer: Literal["adam", "sgd"] = "adam"
    epochs: int = 5  # on the public history more of them predict held-out data sets no better: benchmarks/LOG.md
    steps: int = 25
    inner: int = 3
    reach: float = 1.0
    lr: float | None = None  # that of RATES
    batch: int = 256
    mixed: bool = True
    weight_decay: float = 0.1  # decoupled (AdamW): of the encoders alone, by lr times that a step
    clip: float = 1.0
    val_share: float = 0.15
    floor: float = -1.0
    """Standard deviations: what is further below a data set's mean counts as this bad. How bad a bad network is, of which a
    history tells most, says little of which among the good is best (benchmarks/LOG.md)."""

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "inner"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, value, fine, due in (
            ("lr", self.rate, 0 < self.rate < math.inf, "above 0"), ("reach", self.reach, 0 <= self.reach <= 1, "0 to 1"),
            ("batch", self.batch, self.batch >= 2, "at least 2"),
            ("val_share", self.val_share, 0 < self.val_share < 1, "between 0 and 1"),
            ("floor", self.floor, self.floor < 0, "below 0"),
        ):  # fmt: skip
            if not fine:
                raise BadInput(f"{name} must be {due}, got {value}")

    @property
    def rate(self) -> float:
        """The learning rate of a step, at its highest."""
        return RATES[self.optimizer] if self.lr is None else self.lr


@dataclass(frozen=True)
class Draws:
    """Mini-batches of the rows that are learned from, each of one group of them: `steps` an epoch, each a function of its
    number."""

    groups: Sequence[Int64[np.ndarray, " _"]]
    steps: int
    size: int
    seed: int

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Int64[np.ndarray, " b"]]:
        for step in range(start, self.steps):
            bits = np.random.PCG64(np.random.SeedSequence((self.seed, epoch, step)))
            rows = self.groups[int(bits.random_raw()) % len(self.groups)]
            yield rows[np.argsort(bits.random_raw(len(rows)), kind="stable")[: self.size]]


class MetaLearner(Learner):
    """Learns a deep kernel's weights, the process's hyper-parameters among them, by the evidence of mini-batches.

    Data sets of which no evaluation is learned from validate it; the weights of the epoch that predicted those best are kept.
    """

    def __init__(self, kernel: DeepKernel, experience: Experience, shelf: Shelf, schedule: Schedule, seed: int = 0) -> None:
        self.kernel, self.shelf, self.schedule, self.seed = kernel, shelf, schedule, seed
        self.experience = experience = experience.floored(schedule.floor)
        self.held = experience.held_out(schedule.val_share, seed)
        self.rows = np.flatnonzero(~self.held & ~experience.published)
        self.standardiser = Standardiser.of(experience.values[self.rows], None)
        self.y = torch.from_numpy(self.standardiser.to(experience.values))
        self.read = kernel.networks.read(experience.archs)
        self.told = kernel.told(shelf.means)
        self.moved = [p for p in kernel.parameters() if p.requires_grad and p is not kernel.process.trust]
        decayed = {id(p) for p in kernel.encoder.parameters()}
        parts = ([p for p in self.moved if (id(p) in decayed) is yes] for yes in (True, False))
        groups = [
            {"params": part, "weight_decay": decay} for part, decay in zip(parts, (schedule.weight_decay, 0.0), strict=True)
        ]
        if schedule.optimizer == "reptile" and schedule.inner_optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, lr=schedule.rate)
        else:
            momentum = 0.9 if schedule.optimizer == "adam" else 0.0  # as Reptile's authors advise
            self.optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(momentum, 0.999))
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.best_epoch = float("inf"), -1

    @property
    def batches(self) -> Draws:
        data = self.experience.data[self.rows]
        groups = [self.rows] if self.schedule.mixed else [self.rows[data == at] for at in np.unique(data)]
        return Draws(groups, self.schedule.steps, self.schedule.batch, self.seed)

    @property
    def total(self) -> int:
        return self.schedule.epochs * self.schedule.steps

    def features(self, rows: Int64[np.ndarray, " b"], seed: tuple[int, ...] | None) -> Float[Tensor, "b r"]:
        """The kernel's rows of evaluations; each network and each data set is encoded once."""
        archs, arch = np.unique(self.experience.arch[rows], return_inverse=True)
        sets, data = np.unique(self.experience.data[rows], return_inverse=True)
        chosen = torch.from_numpy(archs)
        psi = self.kernel.psi(self.read[chosen] if isinstance(self.read, Tensor) else self.read.pick(chosen))
        phi = self.kernel.phi(self.shelf, sets.tolist(), seed)
        told = self.told[self.experience.data[rows]]
        chosen_archs = [self.experience.archs[at] for at in self.experience.arch[rows]]
        return self.kernel.rows(chosen_archs, psi[torch.from_numpy(arch)], phi[torch.from_numpy(data)], told)

    def loss(self, rows: Int64[np.ndarray, " b"], step: int) -> Tensor:
        return self.kernel.process.loss(self.features(rows, (self.seed, step)), self.y[rows])

    def ground(self) -> None:
        """Before anything is encoded, fits the kernels of one-hot networks and of data sets to the evidence of all rows, in
        blocks: what is learned after that is what those cannot say."""
        if self.kernel.shallow:
            process, read, y, blocks = self.grounding()
            process.fit(read, y, steps=GROUNDING, blocks=blocks)
            self.kernel.joint.initialize(outputscale=FAINT)

    def ground_seconds(self) -> float:
        """What `ground` takes on this machine, from one look at the evidence."""
        if not self.kernel.shallow:
            return 0.0
        process, read, y, blocks = self.grounding()
        started = time.perf_counter()
        process.loss(read, y, blocks=blocks).backward()
        return (time.perf_counter() - started) * GROUNDING

    def grounding(self) -> tuple[Process, Float[Tensor, "n r"], Float[Tensor, " n"], list[Int64[Tensor, " _"]]]:
        """The process of the kernels that are fitted first, and what it is fitted to."""
        process = Process(AdditiveKernel(*self.kernel.shallow), NOISE)
        process.likelihood, process.mean = self.kernel.process.likelihood, self.kernel.process.mean
        rows = thinned(self.rows, self.seed)
        order = np.random.PCG64(np.random.SeedSequence((self.seed, 31))).random_raw(len(rows)).argsort(kind="stable")
        blocks = [torch.from_numpy(block) for block in np.array_split(order, -(-len(rows) // BLOCK))]
        archs = [self.experience.archs[at] for at in self.experience.arch[rows]]
        nothing = torch.zeros(len(rows), self.kernel.width, dtype=torch.float64)
        read = self.kernel.beside(nothing, archs, self.told[self.experience.data[rows]])
        return process, read, self.y[rows], blocks

    def step(self, batch: Int64[np.ndarray, " b"], step: int) -> dict[str, float]:
        reptile = self.schedule.optimizer == "reptile"
        before = [p.detach().clone() for p in self.moved] if reptile else []
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate * (1.0 if reptile else cosine(step / self.total))
        losses = [self.descend(batch, step) for _ in range(self.schedule.inner if reptile else 1)]
        if reptile:
            reach = self.schedule.reach * (1 - step / self.total)
            with torch.no_grad():
                for p, former in zip(self.moved, before, strict=True):
                    p.copy_(torch.lerp(former, p, reach))  # exactly p where reach is 1, exactly the former where it is 0
        return {"loss": losses[0]}

    def descend(self, batch: Int64[np.ndarray, " b"], step: int) -> float:
        loss = self.loss(batch, step)
        if not torch.isfinite(loss):
            raise Diverged(f"the loss is {loss.item():g}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.moved)
        if self.schedule.clip:
            torch.nn.utils.clip_grad_norm_(self.moved, self.schedule.clip, error_if_nonfinite=True)
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def given(self, rows: Int64[np.ndarray, " n"]) -> Posterior:
        """The process given evaluations."""
        rows = thinned(rows, self.seed)
        return self.kernel.process.given(self.features(rows, None), self.y[rows])

    @torch.no_grad()
    def predicted(self, of: Bool[np.ndarray, " n"], given: Int64[np.ndarray, " m"]) -> dict[str, float]:
        """How well rows are predicted from others: Pearson's r, mean negative log density, the share within 90 % intervals."""
        rows = np.flatnonzero(of)
        mean, variance = self.given(given).moments(self.features(rows, None))
        deviation = (variance + self.kernel.process.likelihood.noise.double()).sqrt()
        error = self.y[rows] - mean
        density = torch.distributions.Normal(mean, deviation).log_prob(self.y[rows])
        pearson = float(np.corrcoef(mean, self.y[rows])[0, 1]) if len(rows) > 2 and mean.std() > 0 else 0.0
        covered = (error.abs() <= 1.6449 * deviation).double().mean()
        return {"pearson": pearson, "nlpd": -density.mean().item(), "covered": covered.item()}

    def figures(self) -> dict[str, float]:
        """How well held-out data sets are predicted from the others, and a published validation split from all."""
        found = {f"val_{name}": value for name, value in self.predicted(self.held, self.rows).items()}
        if self.experience.published.any():
            every = np.flatnonzero(~self.experience.published)
            found |= {f"published_{name}": v for name, v in self.predicted(self.experience.published, every).items()}
        return found

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        found = self.figures()
        if found["val_nlpd"] < self.best_loss:
            self.best_loss, self.best_epoch = found["val_nlpd"], epoch
            self.best = {name: value.detach().clone() for name, value in self.kernel.weights().items()}
        return found

    def settle(self) -> None:
        """Refits the noise to what predicts the held-out data sets best from the others: the evidence of rows that encoders
        were fitted to believes in them too much. (Scales stay: refitted, some run off. benchmarks/LOG.md)"""
        given, asked = thinned(self.rows, self.seed, SETTLED), np.flatnonzero(self.held)
        with torch.no_grad():
            near, far = self.features(given, None), self.features(asked, None)
        process = self.kernel.process
        moved = list(process.likelihood.parameters())
        optimizer = torch.optim.LBFGS(moved, max_iter=SETTLING, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            root = process.factor(near)
            cross = torch.linalg.solve_triangular(root, dense(process.kernel, near, far), upper=False)
            centred = torch.linalg.solve_triangular(
                root, (self.y[given] - process.prior_mean(near, None))[:, None], upper=False
            )
            mean = process.prior_mean(far, None) + (centred.T @ cross)[0]
            variance = process.kernel(far, diag=True) - cross.square().sum(0) + process.likelihood.noise
            loss = -torch.distributions.Normal(mean, variance.sqrt()).log_prob(self.y[asked]).mean()
            for p, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
                p.grad = gradient
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]

    def finish(self) -> None:
        """Takes the best epoch's weights, settles, and keeps the mean φ of the history's data sets as that of unknown ones."""
        self.kernel.take(self.best)
        self.settle()
        with torch.no_grad():
            self.kernel.neutral.copy_(self.kernel.phi(self.shelf, range(len(self.experience.names))).mean(0))

    def state(self) -> dict[str, Any]:
        weights = {f"now.{name}": value for name, value in self.kernel.weights().items()}
        weights |= {f"best.{name}": value for name, value in self.best.items()}
        kept = {"optimizer": copy.deepcopy(self.optimizer.state_dict()), "loss": self.best_loss, "epoch": self.best_epoch}
        return {"weights": weights, **kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        weights = state["weights"]
        self.kernel.take({k[4:]: v for k, v in weights.items() if k.startswith("now.")})
        self.best = {k[5:]: v.clone() for k, v in weights.items() if k.startswith("best.")}
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_loss, self.best_epoch = state["loss"], state["epoch"]


def thinned(rows: Int64[np.ndarray, " n"], seed: int, most: int = MOST_GIVEN) -> Int64[np.ndarray, " m"]:
    """At most so many rows, a seeded sample of more."""
    if len(rows) <= most:
        return rows
    raw = np.random.PCG64(np.random.SeedSequence((seed, 29))).random_raw(len(rows))
    return np.sort(rows[np.argsort(raw, kind="stable")[:most]])
