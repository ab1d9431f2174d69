"""A surrogate for a new data set that begins with what was learned from others, and unlearns what proves wrong."""

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from gpytorch.kernels import Kernel
from jaxtyping import Float
from torch import Tensor

from nas_suite.encoders.banks import Bank
from nas_suite.encoders.joint import Fusion
from nas_suite.errors import BadInput
from nas_suite.space import Arch
from nas_suite.surrogate.deep import DeepKernel
from nas_suite.surrogate.experience import Experience
from nas_suite.surrogate.features import OneHot
from nas_suite.surrogate.gp import Posterior, Process, matern, scaled
from nas_suite.surrogate.learned import Learned, Remembered
from nas_suite.surrogate.model import Model
from nas_suite.surrogate.standard import CLIP, Standardiser

Tune = Literal["process", "fusion"]
STEPS, RATE = 30, 1e-3  # of Adam, that move ξ at a fit
LEAST = 8  # evaluations below which ξ is left as it was learned


class Transfer(Model):
    """Before it is fitted it believes what the history says of the data set; then a Gaussian process whose prior mean that is,
    as far as evaluations bear it out. Its kernel is the learned one beside a Matérn on one-hot features in units of the learned
    length-scales, each as strong as evaluations say, so that a history that misleads is given up.

    `bank` has the data set's features; without one it is unlike any. `scale` turns told values into the history's unit: 0.01
    where those are percents and the history's are shares. `prior` and `deep` leave out the history's mean and the learned
    kernel. With `tune` = fusion ξ's weights follow the evaluations too. Without a deep kernel in `learned` it is a plain
    Gaussian process.
    """

    def __init__(
        self, learned: Learned, bank: Bank | None = None, scale: float = 1.0, tune: Tune = "process", prior: bool = True,
        deep: bool = True,
    ) -> None:  # fmt: skip
        self.learned, self.scale, self.tune = learned, scale, tune
        self.one_hot = OneHot(learned.space)
        self.history: Remembered | None = learned.history
        self.prior, self.deep = prior and self.history is not None, deep and self.history is not None
        if self.history is not None:
            self.phi, self.told = self.history.target(bank)
            self.kernel: DeepKernel = self.history.kernel
            self.fusion: Fusion = self.kernel.encoder.fusion
        self.known: dict[tuple[str, int], tuple[Sequence[Arch], Tensor]] = {}
        self.beliefs: dict[Arch, Tensor] = {}  # of the networks that it was fitted to
        self.given: Posterior | None = None

    def fit(self, archs: Sequence[Arch], values: Float[np.ndarray, " a"]) -> None:
        turned = np.asarray(values, float) * self.scale
        self.check(turned)
        own = Standardiser.of(turned, CLIP)
        if new := [arch for arch in archs if self.prior and arch not in self.beliefs]:
            self.beliefs.update(zip(new, self.believed(new), strict=True))
        self.retune(self.kernel.encoder.fusion if self.history is not None else None)
        # what the history calls a large difference may be a small one here, and the other way round: evidence decides
        widths = {own.deviation, self.learned.standardiser.deviation} if self.prior or self.deep else {own.deviation}
        fitted = [self.fitted(archs, turned, Standardiser(own.mean, width, own.floor)) for width in sorted(widths)]
        _, self.process, self.centre, self.standardiser, y = max(fitted, key=lambda each: each[0])
        if self.tune == "fusion" and self.deep and len(archs) >= LEAST:
            self.follow(archs, y)
        self.given = self.process.given(self.rows(archs), y, self.offset(archs))

    def follow(self, archs: Sequence[Arch], y: Float[Tensor, " a"]) -> None:
        """Moves a copy of ξ, and the process with it, up the evidence for a few steps, and keeps the best of them."""
        self.retune(copy.deepcopy(self.kernel.encoder.fusion))
        psi, plain, offset = self.remembering.psi(archs), self.plain(archs), self.offset(archs)
        moved = [*self.fusion.parameters(), *(p for p in self.process.parameters() if p is not self.process.trust)]
        optimizer = torch.optim.AdamW(moved, lr=RATE)
        best, kept = np.inf, {}
        for _ in range(STEPS):
            z = self.fusion(self.phi.expand(len(psi), -1), psi).double()
            loss = self.process.loss(torch.cat((z, plain), 1), y, offset)
            if loss.item() < best:
                best, kept = loss.item(), copy.deepcopy((self.fusion.state_dict(), self.process.state_dict()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.fusion.load_state_dict(kept[0])
        self.process.load_state_dict(kept[1])

    def retune(self, fusion: Fusion | None) -> None:
        """Takes another ξ; what was computed with the last one is forgotten."""
        if fusion is not None and fusion is not self.fusion:
            self.fusion = fusion
            self.known = {key: found for key, found in self.known.items() if key[0] != "z"}

    def fitted(
        self, archs: Sequence[Arch], values: Float[np.ndarray, " a"], standardiser: Standardiser
    ) -> tuple[float, Process, float, Standardiser, Tensor]:
        """A process fitted to values, and the evidence of these in the history's unit."""
        y = torch.from_numpy(standardiser.to(values))
        process, rows = Process(self.fresh()), self.rows(archs)
        mean = self.believed(archs) if self.prior else None
        centre = 0.0 if mean is None else mean.mean().item()
        offset = None if mean is None else mean - centre
        process.fit(rows, y, offset)
        with torch.no_grad():
            evidence = -process.loss(rows, y, offset).item() * len(y) - len(y) * np.log(standardiser.deviation)
        return evidence, process, centre, standardiser, y

    def check(self, values: Float[np.ndarray, " a"]) -> None:
        """BadInput where values cannot be in the history's unit."""
        if self.learned.unit == "share" and self.learned.goal == "max" and np.isfinite(values).all() and values.max() > 1:
            raise BadInput(
                f"a value of {values.max():g} is no share, which the history's {self.learned.metric} is: tell shares, or "
                "percents with scale 0.01"
            )

    def posterior(self, archs: Sequence[Arch]) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
        if self.given is None:
            return self.believed(archs), self.remembering.few.moments(self.full(archs))[1].sqrt()
        mean, variance = self.given.moments(self.rows(archs), self.offset(archs))
        return mean, variance.sqrt()

    def covariance(self, archs: Sequence[Arch], others: Sequence[Arch]) -> Float[Tensor, "a b"]:
        if self.given is None:
            return self.remembering.few.covariance(self.full(archs), self.full(others))
        return self.given.covariance(self.rows(archs), self.rows(others))

    def fresh(self) -> Kernel:
        """A kernel on rows: z, then one-hot columns. Together its parts are as strong as a plain process's kernel, in the
        proportion that was learned, before anything is seen."""
        if not self.deep:
            return matern()
        learned, width = self.kernel, self.kernel.width
        joint = scaled(copy.deepcopy(learned.joint.base_kernel), learned.share)  # type: ignore[arg-type]
        plain = matern(length=1.0, variance=1 - learned.share)
        joint.register_buffer("active_dims", torch.arange(width))
        plain.register_buffer("active_dims", torch.arange(width, width + learned.networks.columns))
        return joint + plain

    def rows(self, archs: Sequence[Arch]) -> Float[Tensor, "a r"]:
        return torch.cat((self.z(archs), self.plain(archs)), 1) if self.deep else self.one_hot(archs)

    def plain(self, archs: Sequence[Arch]) -> Float[Tensor, "a o"]:
        """One-hot columns in units of the length-scales that were learned."""
        return self.one_hot(archs) / self.kernel.lengths

    def z(self, archs: Sequence[Arch]) -> Float[Tensor, "a z"]:
        history = self.remembering

        def joined() -> Tensor:
            psi = history.psi(archs)
            return self.fusion(self.phi.expand(len(psi), -1), psi).double()

        return self.remembered("z", archs, joined)

    def full(self, archs: Sequence[Arch]) -> Float[Tensor, "a r"]:
        """The rows of the kernel as it was learned, of networks on this data set."""
        count = len(archs)
        return self.kernel.rows(archs, self.remembering.psi(archs), self.phi.expand(count, -1), self.told.expand(count, -1))

    def believed(self, archs: Sequence[Arch]) -> Float[Tensor, " a"]:
        """What the history expects, in its standard deviations."""
        history = self.remembering
        if archs and not isinstance(archs, tuple) and all(arch in self.beliefs for arch in archs):
            return torch.stack([self.beliefs[arch] for arch in archs])
        return self.remembered("prior", archs, lambda: history.expected(self.full(archs)))

    @property
    def remembering(self) -> Remembered:
        if self.history is None:
            raise BadInput("a plain Gaussian process believes nothing before it is fitted; give it a first design")
        return self.history

    def offset(self, archs: Sequence[Arch]) -> Float[Tensor, " a"] | None:
        return self.believed(archs) - self.centre if self.prior else None

    @torch.no_grad()
    def remembered(self, name: str, archs: Sequence[Arch], compute: Callable[[], Tensor]) -> Tensor:
        """A function of networks; that of candidates, a tuple that stays the same, is computed once."""
        if not isinstance(archs, tuple):
            return compute()
        if (found := self.known.get((name, id(archs)))) is None or found[0] is not archs:
            found = self.known[name, id(archs)] = (archs, compute())
        return found[1]


def warm(experience: Experience, count: int, apart: int = 2) -> list[Arch]:
    """Where no deep kernel was learned: the networks that did best among those of their own data sets, apart from each other
    in so many variables at least."""
    scores, found = experience.scores(), []
    for at in np.argsort(-scores, kind="stable"):
        arch = experience.archs[at]
        if len(found) < count and all(sum(a != b for a, b in zip(arch, other, strict=True)) >= apart for other in found):
            found.append(arch)
    return found
