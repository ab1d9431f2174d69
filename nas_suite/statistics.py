"""Statistics of a multi-path supernet: the law of sums at its batch norms, their γ and β, the paths' likeness, accuracies.

`measure` returns these entries, and a supernet's `statistics.json` holds them with the checkpoint's `step`. A site is a place
where paths are summed before the batch norms of sums; it belongs to a block (each block of S1 has a site for each expansion).

- `norm`, `m`, `settings`: the kind of norm, the greatest number of paths, what was measured with.
- `law`: {`rho`, `sites`: [{`site`, `block`, `rho`, `rows`}], `summary`: [row]}. A row is about i `paths`. `mean_law` = i and
  `variance_law` = i + i (i - 1) ρ are the exact ratios of mean and variance of a sum of i paths to those of one path, averaged
  over all sets of paths; ρ is the mean correlation of what two paths that can run together add to the sum. `measured`
  {`mean`, `variance`} are the ratios on the same training images, `trained` those of the norms' running statistics, null where
  one norm serves all. Over channels, the ratio of means is the slope through the origin, the ratio of variances that of their
  sums. In the summary ρ, the laws and the ratios are {`mean`, `min`, `max`} over the sites.
- `affine`: {`groups`: [{`paths`, `gamma`, `beta`}], `spread`: {`gamma`, `beta`}, `first`}. A group are the norms of sums of i
  paths at all sites; its γ has {`mean`, `sd`} and `apart`, the mean distance to γ of the same channel in the norms of one path.
  `spread` is the deviation over a site's norms, channel by channel, in the mean. `first` has the values themselves at the
  first site: [{`paths`, `active`, `gamma`, `beta`}] by norm, `active` one of the sets of paths that it serves.
- `cosines`: [{`site`, `block`, `paths`, `matrix`}]: the mean cosine of two paths' feature maps of one image.
- `by_paths`: [{`paths`, `calibrated`, `accuracies`}]: validation accuracies, 0 … 1, of random networks in which every block
  runs i paths.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nas_suite import pipeline
from nas_suite.data.batches import clean
from nas_suite.engine import Progress, random_for, silent
from nas_suite.errors import BadInput
from nas_suite.oneshot import OneShot, Scoring
from nas_suite.run import CHECKPOINT, Run
from nas_suite.space import Arch, MultiPath
from nas_suite.supernet import MultiPathNorm, PathSum

BATCH = 64
ROUNDS = 50  # passes over the images before a site that no drawn path has met is given up
FILE = "statistics.json"


@dataclass(frozen=True)
class Extent:
    """How much is measured: training images for sums and features; networks by number of paths and images to score each."""

    images: int = 512
    networks: int = 16
    calib_images: int = 1000
    score_images: int = 1000


def measure(method: OneShot, extent: Extent = Extent(), progress: Progress = silent) -> dict[str, Any]:
    """The statistics of a method's supernet as it is, which is left as it was; BadInput where it sums no paths."""
    space = method.problem.space
    sites = [
        SiteStatistics(name, part, space.m)
        for name, part in method.supernet.named_modules()
        if isinstance(part, PathSum) and isinstance(space, MultiPath)
    ]
    if not sites:
        raise BadInput(f"{type(space).__name__} sums no paths: it has no batch norms of sums, and there is nothing to measure")
    observe(method, sites, extent)
    sites = [site for site in sites if site.batches]
    return {
        "norm": method.norm,
        "m": space.m,
        "settings": {**asdict(extent), "seed": method.problem.seed},
        "law": law(sites),
        "affine": affine(sites),
        "cosines": [{"site": s.name, "block": s.block, "paths": s.labels, "matrix": s.cosines.tolist()} for s in sites],
        "by_paths": by_paths(method, extent, progress),
    }


def of_run(run: Run, progress: Progress = silent, extent: Extent | None = None) -> dict[str, Any]:
    """The statistics of a supernet's run: from its file where that is of the newest checkpoint (and of the extent, if one is
    given), else measured and written there, with the checkpoint's `step`."""
    step = int(run.checkpoints()[0].name.removeprefix(CHECKPOINT)) if run.checkpoints() else 0
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads((run.path / FILE).read_bytes())
        wanted = {} if extent is None else asdict(extent)
        if known["step"] == step and wanted.items() <= known["settings"].items():
            return known
    _, method = pipeline.trained(run)
    if not isinstance(method, OneShot):
        raise BadInput(f"{run.path} holds no supernet: there is nothing to measure")
    found = {"step": step, **measure(method, extent or Extent(), progress)}
    run.put(FILE, (json.dumps(found) + "\n").encode())
    return found


@dataclass
class SiteStatistics:
    """What is gathered at one site, as means over batches: each path's mean by channel, their covariances, their cosines."""

    name: str
    module: PathSum
    most: int
    labels: list[str] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    covariance: Tensor = field(default_factory=lambda: torch.zeros(()))
    cosines: Tensor = field(default_factory=lambda: torch.zeros(()))
    batches: int = 0

    @property
    def block(self) -> str:
        """The name without the expansion."""
        return ".".join(self.name.split(".")[:2])

    def add(self, x: Tensor) -> None:
        """Gathers from one batch that enters the site."""
        self.slots, self.labels, features, added = map(list, zip(*self.module.each_path(x), strict=True))
        with torch.autocast(x.device.type, enabled=False):
            self.gather(features, added)

    def gather(self, features: Sequence[Tensor], added: Sequence[Tensor]) -> None:
        """The same from all paths' features and what they add to the sum."""
        rows = torch.stack([z.float().transpose(0, 1).flatten(1) for z in added])  # paths, channels, values
        mean = rows.mean(2)
        rows -= mean[:, :, None]
        covariance = torch.einsum("kcn,lcn->klc", rows, rows) / rows.shape[2]
        units = torch.stack([nn.functional.normalize(f.float().flatten(1), dim=1) for f in features])
        cosines = torch.einsum("knd,lnd->kl", units, units) / units.shape[1]
        self.batches += 1
        self.mean = self.mean + (mean - self.mean) / self.batches
        self.covariance = self.covariance + (covariance - self.covariance) / self.batches
        self.cosines = self.cosines + (cosines - self.cosines) / self.batches

    def sets(self, paths: int) -> list[tuple[int, ...]]:
        """The sets of so many of its paths that can run together."""
        return [s for s in itertools.combinations(range(len(self.slots)), paths) if len({self.slots[k] for k in s}) == paths]

    def correlation(self) -> float | None:
        """The mean correlation of two paths that can run together, covariances summed over channels; None for one path."""
        total = self.covariance.sum(2).cpu().double()
        scale = total.diagonal().sqrt()
        pairs = [float(total[k, n] / (scale[k] * scale[n])) for k, n in self.sets(2)]
        return sum(pairs) / len(pairs) if pairs else None

    def measured(self, paths: int) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Mean and variance by channel of the sum of so many paths, averaged over all sets of them."""
        sets = self.sets(paths)
        means = torch.stack([self.mean[list(s)].sum(0) for s in sets]).mean(0)
        variances = torch.stack([self.covariance[list(s)][:, list(s)].sum((0, 1)) for s in sets]).mean(0)
        offset = self.module.offset()
        return means if offset is None else means + offset.detach(), variances

    def trained(self, paths: int) -> tuple[Tensor, Tensor] | None:
        """Running mean and variance of the norms of so many paths, averaged over the sets of them; None before training."""
        norms = [n for n in norms_of(self.module.norm, paths) if n.num_batches_tracked]
        if not norms:
            return None
        return torch.stack([n.running_mean for n in norms]).mean(0), torch.stack([n.running_var for n in norms]).mean(0)


def norms_of(norm: MultiPathNorm, paths: int) -> list[Any]:
    """The batch norms of sums of so many paths, one entry for each set of them."""
    return [norm.norms[at] for active, at in norm.index.items() if len(active) == paths]


def observe(method: OneShot, sites: Sequence[SiteStatistics], extent: Extent) -> None:
    """Runs clean training images along paths drawn as in training, batch statistics in all batch norms, until every site has
    met some; then puts back every buffer."""
    p, supernet = method.problem, method.supernet
    kept = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    former = supernet.training
    hooks = [site.module.register_forward_pre_hook(partial(enters, site)) for site in sites]
    try:
        supernet.train()
        with torch.no_grad(), p.compute.autocast():
            for x, path in drawn(method, sites, extent.images):
                supernet(x, path)
    finally:
        for hook in hooks:
            hook.remove()
        supernet.train(former)
        for name, buffer in supernet.named_buffers():
            buffer.copy_(kept[name])


def enters(site: SiteStatistics, _: nn.Module, given: tuple[Any, ...]) -> None:
    """The hook of a site."""
    site.add(given[0])


def drawn(method: OneShot, sites: Sequence[SiteStatistics], images: int) -> Iterator[tuple[Tensor, Arch]]:
    """Batches of clean training images, each with a path: all of them once, then again until no site is without."""
    p = method.problem
    some, number = p.train.take(images, p.seed), 0
    for once in range(ROUNDS):
        for x, _ in clean(some, BATCH, p.mean, p.std, p.compute.device):
            if once and all(site.batches for site in sites):
                return
            yield x, p.space.draw(random_for(p.seed, number))
            number += 1


def law(sites: Sequence[SiteStatistics]) -> dict[str, Any]:
    """The entry `law`."""
    told = [{"site": s.name, "block": s.block, "rho": s.correlation(), "rows": rows_of(s)} for s in sites]
    summary = []
    for at, row in enumerate(told[0]["rows"]):
        rows = [t["rows"][at] for t in told]
        spans = {kind: ranges([r[kind] for r in rows], ("mean", "variance")) for kind in ("measured", "trained")}
        laws = ranges(rows, ("mean_law", "variance_law"))
        summary.append({"paths": row["paths"], **(laws or {}), **spans})
    rhos = ranges(told, ("rho",)) or {"rho": None}
    return {"sites": told, "summary": summary, **rhos}


def rows_of(site: SiteStatistics) -> list[dict[str, Any]]:
    """The rows of one site, i = 1 … m."""
    rho, single = site.correlation() or 0.0, site.trained(1)
    shared = len(site.module.norm.norms) == 1
    rows = []
    for i in range(1, site.most + 1):
        now = site.trained(i)
        trained = None if shared or single is None or now is None else ratios(now, single)
        measured = ratios(site.measured(i), site.measured(1))
        rows.append(
            {"paths": i, "mean_law": i, "variance_law": i + i * (i - 1) * rho, "measured": measured, "trained": trained}
        )
    return rows


def ratios(of: tuple[Tensor, Tensor], to: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Of two (mean, variance) by channel: the slope through the origin of the means, the ratio of the variances' sums."""
    (mean, variance), (mean_1, variance_1) = ([t.cpu().double() for t in pair] for pair in (of, to))
    return {"mean": float(mean @ mean_1 / (mean_1 @ mean_1)), "variance": float(variance.sum() / variance_1.sum())}


def ranges(rows: Sequence[Mapping[str, Any] | None], names: Sequence[str]) -> dict[str, Any] | None:
    """Mean, least and greatest of each named value over rows; None where a row or a value is missing."""
    if any(row is None or row[name] is None for row in rows for name in names):
        return None
    values = {name: [row[name] for row in rows if row is not None] for name in names}
    return {name: {"mean": sum(v) / len(v), "min": min(v), "max": max(v)} for name, v in values.items()}


def affine(sites: Sequence[SiteStatistics]) -> dict[str, Any]:
    """The entry `affine`."""
    groups = []
    for i in range(1, sites[0].most + 1):
        figures = {}
        for name, attribute in (("gamma", "weight"), ("beta", "bias")):
            pairs = [
                (getattr(norm, attribute).detach(), averaged(norms_of(site.module.norm, 1), attribute))
                for site in sites
                for norm in dict.fromkeys(norms_of(site.module.norm, i))
            ]
            values, firsts = (torch.cat(some).double() for some in zip(*pairs, strict=True))
            apart = float((values - firsts).abs().mean())
            figures[name] = {"mean": float(values.mean()), "sd": float(values.std()), "apart": apart}
        groups.append({"paths": i, **figures})
    spread = {"gamma": deviation(sites, "weight"), "beta": deviation(sites, "bias")}
    return {"groups": groups, "spread": spread, "first": values_of(sites[0].module.norm)}


def averaged(norms: Sequence[Any], attribute: str) -> Tensor:
    return torch.stack([getattr(norm, attribute).detach() for norm in norms]).mean(0)


def deviation(sites: Sequence[SiteStatistics], attribute: str) -> float:
    """The standard deviation of γ or β over a site's norms, averaged over channels and sites; 0 for one norm."""
    found = [
        torch.stack([getattr(norm, attribute).detach().double() for norm in s.module.norm.norms]).std(0, correction=0)
        for s in sites
    ]
    return float(torch.cat(found).mean())


def values_of(norm: MultiPathNorm) -> list[dict[str, Any]]:
    """γ and β of every norm of one site."""
    served = {at: active for active, at in reversed(norm.index.items())}
    return [
        {
            "paths": len(served[at]),
            "active": list(served[at]),
            "gamma": one.weight.detach().tolist(),  # type: ignore[union-attr,operator]
            "beta": one.bias.detach().tolist(),  # type: ignore[union-attr,operator]
        }
        for at, one in enumerate(norm.norms)
    ]


def by_paths(method: OneShot, extent: Extent, progress: Progress) -> list[dict[str, Any]]:
    """The entry `by_paths`: the same networks with the calibration's statistics and with those of training."""
    p = method.problem
    calibration = method.prepared(p.train.take(extent.calib_images, p.seed))
    plain = Scoring(method.supernet, p.compute, [], method.prepared(p.val.take(extent.score_images, p.seed)))
    scorings = {True: replace(plain, calibration=calibration), False: plain}
    found, done, total = [], 0, p.space.m * extent.networks * len(scorings)
    for paths in range(1, p.space.m + 1):
        archs = [p.space.with_paths(random_for(p.seed, paths, number), paths) for number in range(extent.networks)]
        for calibrated, scoring in scorings.items():
            accuracies = []
            for arch in archs:
                accuracies.append(scoring.accuracy(arch))
                done += 1
                progress(done, total, {"accuracy": accuracies[-1]})
            found.append({"paths": paths, "calibrated": calibrated, "accuracies": accuracies})
    return found
