"""What was learned from a history, as a file and as a surrogate of a new data set: never without what it was learned from."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from nas_suite.disk import as_json, digest, write_atomic
from nas_suite.encoders.banks import Bank
from nas_suite.errors import BadInput
from nas_suite.space import Arch, SearchSpace
from nas_suite.surrogate.deep import Build, DeepKernel, Networks
from nas_suite.surrogate.experience import Experience, Shelf, membership
from nas_suite.surrogate.gp import CHUNK, Posterior, dense
from nas_suite.surrogate.meta import thinned
from nas_suite.surrogate.standard import Standardiser

ABOUT, WEIGHTS = "learned.json", "learned.safetensors"
SCHEMA = 1
FEW = 1000  # evaluations that a standard deviation is conditioned on; more would only lower it
MANY = 1000  # networks whose embeddings are kept
COLUMNS = ("arch", "data", "values", "published")


@dataclass(frozen=True, eq=False)
class Learned:
    """A history and the deep kernel that was learned from it; no kernel where it was too small for one.

    `extractor` made the features of its data sets; `goal`, `metric` and `unit` are the history's, and `experience` has the sign
    turned so that greater is better.
    """

    space_name: str
    space: SearchSpace
    experience: Experience
    standardiser: Standardiser
    extractor: str
    metric: str
    unit: str
    goal: str
    kernel: DeepKernel | None
    means: Float[Tensor, "d f"]
    phi: Float[Tensor, "d k"]
    features: int = 0
    classes: tuple[str, ...] = ()
    """That have codes."""
    place: Path | None = None
    """The folder that it was read from."""

    @classmethod
    def of(
        cls, space_name: str, space: SearchSpace, experience: Experience, standardiser: Standardiser, extractor: str,
        shelf: Shelf | None, kernel: DeepKernel | None, metric: str = "accuracy", unit: str = "share", goal: str = "max",
    ) -> "Learned":  # fmt: skip
        nothing = torch.zeros(len(experience.names), 0)
        means = shelf.means if shelf is not None and kernel is not None else nothing.double()
        with torch.no_grad():
            sets = range(len(experience.names))
            phi = kernel.phi(shelf, sets) if shelf is not None and kernel is not None else nothing
        width, classes = (0, ()) if shelf is None else (shelf.classes[0].shape[1], shelf.names)
        facts = (metric, unit, goal, kernel, means, phi, width, classes)
        return cls(space_name, space, experience, standardiser, extractor, *facts)

    def save(self, folder: Path, more: Mapping[str, Any]) -> dict[str, str]:
        """Two files, no pickle among them; returns their checksums by name. `more` is told in the JSON beside what it needs."""
        rows = self.experience
        tensors = {f"rows.{name}": torch.from_numpy(np.ascontiguousarray(getattr(rows, name))) for name in COLUMNS}
        tensors |= {"rows.archs": torch.tensor(rows.archs, dtype=torch.int32)}
        tensors |= {"means": self.means.contiguous(), "phi": self.phi.contiguous()}  # alike for all data sets it has no strides
        if self.kernel is not None:
            tensors |= {f"kernel.{name}": value.detach().contiguous() for name, value in self.kernel.weights().items()}
        about = {
            "schema": SCHEMA,
            "space": {"name": self.space_name, "variables": len(self.space.variables)},
            "extractor": self.extractor, "features": self.features, "classes": list(self.classes),
            "standardiser": {name: finite(value) for name, value in asdict(self.standardiser).items()},
            "metric": self.metric, "unit": self.unit, "goal": self.goal,
            "build": asdict(self.kernel.build) if self.kernel is not None else None,
            "history": {"rows": len(rows), "networks": len(rows.archs), "hash": rows.hash, "names": list(rows.names)},
            **more,
        }  # fmt: skip
        write_atomic(folder / WEIGHTS, save({name: value.contiguous() for name, value in tensors.items()}))
        about["sha256"] = digest(folder / WEIGHTS)
        write_atomic(folder / ABOUT, as_json(about))
        return {name: digest(folder / name) for name in (WEIGHTS, ABOUT)}

    @classmethod
    def load(cls, folder: Path, space_name: str, space: SearchSpace) -> "Learned":
        """From a folder, or the path of its JSON. BadInput in one line where it was learned on another space or is damaged."""
        folder = folder.parent if folder.name == ABOUT else folder
        about = told(folder)
        if (was := about["space"]["name"]) != space_name:
            raise BadInput(
                f"{folder} was learned on {was}, not on {space_name}: search {was}, or nas meta-train tnas --space {space_name}"
            )
        if not (folder / WEIGHTS).is_file() or digest(folder / WEIGHTS) != about["sha256"]:
            raise BadInput(f"{folder / WEIGHTS} is missing, damaged or another's (its checksum does not fit): meta-train again")
        try:
            return replace(cls.read(about, load_file(folder / WEIGHTS), space_name, space), place=folder)
        except (SafetensorError, KeyError, RuntimeError, TypeError) as error:
            raise BadInput(f"{folder} does not fit this version ({str(error).splitlines()[0]}): meta-train again") from None

    @classmethod
    def read(cls, about: Mapping[str, Any], tensors: Mapping[str, Tensor], space_name: str, space: SearchSpace) -> "Learned":
        archs = tuple(tuple(arch) for arch in tensors["rows.archs"].tolist())
        rows = Experience(archs, tuple(about["history"]["names"]), *(tensors[f"rows.{name}"].numpy() for name in COLUMNS))
        kernel = None
        if about["build"] is not None:
            build = Build(**about["build"])
            kernel = DeepKernel(build, Networks(space, build.encoding), about["features"], tensors["means"])
            kernel.take({k.removeprefix("kernel."): v for k, v in tensors.items() if k.startswith("kernel.")})
        standard = {name: -np.inf if value is None else value for name, value in about["standardiser"].items()}
        facts = (about["extractor"], about["metric"], about["unit"], about["goal"])
        seen = (kernel, tensors["means"], tensors["phi"], about["features"], tuple(about["classes"]))
        return cls(space_name, space, rows, Standardiser(**standard), *facts, *seen)

    def check(self, bank: Bank) -> None:
        """BadInput where a data set's features were made by another extractor."""
        if self.kernel is not None and bank.extractor != self.extractor:
            raise BadInput(
                f"this surrogate was learned with features of {self.extractor}, and those given are of {bank.extractor}: "
                f"give --features {self.extractor.split('-')[0]}, or meta-train with the others"
            )

    @cached_property
    def history(self) -> "Remembered | None":
        """The deep kernel's process given the whole history; None without a deep kernel."""
        return None if self.kernel is None else Remembered(self, self.kernel)

    def raw_best(self, count: int = 5) -> list[Arch]:
        """The published first design: canonical networks of the rows with the highest values, whatever their data sets."""
        return self.experience.raw_best(count)


class Remembered:
    """What a deep kernel expects of networks on a data set, given all evaluations of a history, before any on the data set."""

    def __init__(self, learned: Learned, kernel: DeepKernel) -> None:
        self.kernel, self.learned = kernel, learned
        self.encoded: dict[Arch, Tensor] = {}
        rows, every = learned.experience, np.flatnonzero(~learned.experience.published)
        at = torch.from_numpy(every)
        arch, data = torch.from_numpy(rows.arch)[at], torch.from_numpy(rows.data)[at]
        with torch.no_grad():
            archs = [rows.archs[at] for at in arch.tolist()]
            told = kernel.told(learned.means)[data]
            self.rows = kernel.rows(archs, self.psi(rows.archs)[arch], learned.phi[data], told)
        self.y = torch.from_numpy(learned.standardiser.to(rows.values[every]))
        chosen = torch.from_numpy(thinned(np.arange(len(every)), 0))
        self.given: Posterior = kernel.process.given(self.rows[chosen], self.y[chosen])

    @cached_property
    def weights(self) -> Float[Tensor, " n"]:
        """By which an expectation weighs covariances with the history."""
        return torch.linalg.solve_triangular(self.given.root.T, self.given.white[:, None], upper=True)[:, 0]

    @torch.no_grad()
    def expected(self, rows: Float[Tensor, "a r"]) -> Float[Tensor, " a"]:
        """What the history says of rows: the mean of `given`, without its variance's cost."""
        process = self.kernel.process
        parts = (
            process.prior_mean(some, None) + dense(process.kernel, some, self.given.z) @ self.weights
            for some in rows.split(CHUNK)
        )
        return torch.cat(list(parts))

    @torch.no_grad()
    def psi(self, archs: Sequence[Arch]) -> Float[Tensor, "a l"]:
        """ψ of networks; each is encoded once, as long as this lives."""
        if fresh := [arch for arch in dict.fromkeys(archs) if arch not in self.encoded]:
            place = self.learned.place
            encoded = (
                self.kernel.encode(fresh) if place is None or len(fresh) < MANY else kept(place, fresh, self.kernel.encode)
            )
            self.encoded.update(zip(fresh, encoded, strict=True))
        return torch.stack([self.encoded[arch] for arch in archs])

    @torch.no_grad()
    def target(self, bank: Bank | None) -> tuple[Float[Tensor, " k"], Float[Tensor, " f"]]:
        """φ and m of a data set; the neutral ones where nothing is known of it."""
        if bank is None:
            return self.kernel.neutral, torch.zeros_like(self.kernel.centre)
        self.learned.check(bank)
        shelf, known = Shelf.of([bank]), self.learned.classes
        means = membership(known, bank.names)[None] if known else shelf.means
        return self.kernel.phi(shelf, [0])[0], self.kernel.told(means)[0]

    @cached_property
    def few(self) -> Posterior:
        """As `given`, of fewer evaluations where there are many: its deviations are cautious."""
        if len(self.y) <= FEW:
            return self.given
        raw = np.random.PCG64(np.random.SeedSequence(31)).random_raw(len(self.y))
        some = torch.from_numpy(np.sort(np.argsort(raw, kind="stable")[:FEW]))
        return self.kernel.process.given(self.rows[some], self.y[some])


def kept(place: Path, archs: Sequence[Arch], encode: Callable[[Sequence[Arch]], Tensor]) -> Float[Tensor, "a l"]:
    """What a checkpoint says of many networks, such as all of a space: computed once, and kept in its folder where that can be
    written to."""
    key = hashlib.sha256(repr((digest(place / WEIGHTS), archs)).encode()).hexdigest()[:16]
    file = place / f"embeddings-{key}.safetensors"
    try:
        return load_file(file)["psi"]
    except (OSError, SafetensorError, KeyError):
        psi = encode(archs)
    with suppress(BadInput):
        write_atomic(file, save({"psi": psi.contiguous()}))
    return psi


def finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def told(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; BadInput where there is none."""
    try:
        about = json.loads((folder / ABOUT).read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{folder} holds nothing learned (no {ABOUT}): nas meta-train tnas makes such a folder") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / ABOUT} cannot be read ({error}): meta-train again") from None
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise BadInput(f"{folder / ABOUT} is not of this version (schema {SCHEMA}): meta-train again")
    return about
