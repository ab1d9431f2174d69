"""Zero-cost proxies: numbers from a freshly initialised network and one batch that guess how well it would train."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas_suite.data.batches import Batch
from nas_suite.engine import PLAIN, Compute, random_for
from nas_suite.objective import Objective
from nas_suite.space import Arch, SearchSpace

IMAGES = 64  # of a batch; of so many are the published scores (Krishnakumar et al., NAS-Bench-Suite-Zero, NeurIPS 2022)
SMALL = 1e-5  # added to eigenvalues and correlations (Mellor et al. v1, EPE-NAS)
NEARBY = 0.01  # how far zen's second images lie from the first (ZenNAS, compute_zen_score.py: mixup_gamma)
MANY = 100  # classes beyond which EPE-NAS compares classes rather than adding them up

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.GELU, nn.Mish)
"""Activations whose output is positive exactly where their input is, computed in place or not."""


@dataclass(frozen=True)
class Proxy:
    """A proxy by name. `needs` says what it looks at of a batch: nothing but its shape, images, or images and labels."""

    name: str
    about: str
    needs: Literal["nothing", "images", "labels"]
    of: Callable[[nn.Module, Tensor, Tensor], float]

    def __call__(self, network: nn.Module, x: Float[Tensor, "n c h w"], y: Int64[Tensor, " n"]) -> float:
        """The network's score, NaN where it has none; the network stays as it is.

        Its batch norms normalise by the batch, as in training. What is random comes from torch's generator of the CPU.
        """
        with torch.enable_grad():
            value = self.of(copy.deepcopy(network).train(), x, y)
        return value if math.isfinite(value) else math.nan


def objective(name: str, space: SearchSpace, batch: Batch, seed: int = 0, compute: Compute = PLAIN) -> Objective:
    """A proxy as an objective: more is better. Spellings of one network have one score, a function of the seed, the batch
    and the network alone: its weights do not depend on what was scored before."""
    proxy, known = PROXIES[name], dict[Arch, float]()
    x, y = (part.to(compute.device) for part in batch)

    def one(arch: Arch) -> float:
        arch = space.canonical(arch) or arch
        if arch not in known:
            with drawing(seed, arch):
                known[arch] = proxy(compute.place(space.network(arch)), x, y)
        return known[arch]

    return Objective(name, "max", lambda archs: [one(arch) for arch in archs])


def blank(space: SearchSpace) -> Batch:
    """A batch of a space's shape for proxies that need no images."""
    return torch.zeros(IMAGES, space.channels, space.image_size, space.image_size), torch.zeros(IMAGES, dtype=torch.int64)


@contextlib.contextmanager
def drawing(seed: int, arch: Sequence[int]) -> Iterator[None]:
    """Within, torch's generator of the CPU is a function of the seed and the architecture; after, what it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_for(seed, *arch).getrandbits(63))
        yield


@contextlib.contextmanager
def hooked(parts: Iterable[nn.Module], hook: Callable[[Any, Any, Any], Tensor | None]) -> Iterator[None]:
    """Within, `hook(part, inputs, output)` runs after each of these parts; what it returns takes the output's place."""
    handles = [part.register_forward_hook(hook) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def layers(network: nn.Module) -> list[Any]:
    """The convolutions and linear layers, whose weights proxies look at; biases and norms are left out, as published."""
    return [part for part in network.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]


def gradients(total: Tensor, of: Sequence[Tensor], again: bool = False) -> Sequence[Tensor]:
    """Zero where the total does not depend on something; `again` makes them differentiable in turn."""
    return torch.autograd.grad(total, of, create_graph=again, materialize_grads=True)


def sensitivities(network: nn.Module, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each weight, with the gradient of the mean cross-entropy."""
    weights = [layer.weight for layer in layers(network)]
    found = gradients(cross_entropy(network(x), y), weights)
    return [(w.detach(), g) for w, g in zip(weights, found, strict=True)]


def log(value: Tensor | float) -> float:
    """The natural logarithm; NaN where there is none."""
    return math.log(value) if value > 0 else math.nan


def l2_norm(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Σ over layers of ‖w‖₂ (Abdelfattah et al., Zero-Cost Proxies, ICLR 2021)."""
    return float(sum(layer.weight.detach().norm() for layer in layers(network)))


def grad_norm(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Σ over layers of ‖∂L/∂w‖₂ (Abdelfattah et al., Zero-Cost Proxies, ICLR 2021)."""
    return float(sum(g.norm() for _, g in sensitivities(network, x, y)))


def plain(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Σ w ∂L/∂w (Abdelfattah et al., Zero-Cost Proxies, ICLR 2021)."""
    return float(sum((w * g).sum() for w, g in sensitivities(network, x, y)))


def snip(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Σ |w ∂L/∂w| (Lee et al., SNIP, ICLR 2019)."""
    return float(sum((w * g).abs().sum() for w, g in sensitivities(network, x, y)))


def grasp(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """-Σ w (H g), with the gradient g and the Hessian H of the loss (Wang et al., GraSP, ICLR 2020), signed as in
    NAS-Bench-Suite-Zero."""
    weights = [layer.weight for layer in layers(network)]
    first = gradients(cross_entropy(network(x), y), weights, again=True)
    turned = gradients(torch.stack([(g.detach() * g).sum() for g in first]).sum(), weights)
    return float(sum((-w.detach() * h).sum() for w, h in zip(weights, turned, strict=True)))


def fisher(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Σ over channels of ½ mean over images of (Σ over pixels of a ∂L/∂a)², for what a layer puts out, a (Turner et al.,
    BlockSwap, ICLR 2020), counted once for each weight that makes the channel, as published scores have it.

    The inner sum is the gradient of a factor 1 on the channel, so that no activation must be kept.
    """
    factors: list[Tensor] = []
    weights: list[int] = []

    def factored(layer: Any, _: Any, output: Tensor) -> Tensor:
        shape = (*output.shape[:2], *(1 for _ in output.shape[2:]))
        factors.append(torch.ones(shape, dtype=output.dtype, device=output.device, requires_grad=True))
        weights.append(layer.weight[0].numel())
        return output * factors[-1]

    with hooked(layers(network), factored):
        loss = cross_entropy(network(x), y)
    found = gradients(loss, factors)
    return float(sum(count * g.square().mean(0).sum() / 2 for count, g in zip(weights, found, strict=True)))


def synflow(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """ln Σ |w ∂R/∂w|, where R is the sum of the logits of an image of ones under the absolute values of all parameters
    (Tanaka et al., SynFlow, NeurIPS 2020). NaN where nothing flows.

    In float64, and without batch norms, as published (Abdelfattah et al. 2021). What flows is positive, so that ReLU is the
    identity; so is here what takes ReLU's place, lest a bounded activation stop the flow: without norms it grows beyond any.
    """
    network = without(network, (*NORMS, *RECTIFIERS)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    weights = [layer.weight for layer in layers(network)]
    flow = gradients(network(torch.ones_like(x[:1], dtype=torch.float64)).sum(), weights)
    return log(torch.stack([(w.detach() * g).abs().sum() for w, g in zip(weights, flow, strict=True)]).sum())


def without(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> nn.Module:
    """The network with the identity in place of parts of these kinds."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kinds):
                setattr(parent, name, nn.Identity())
    return network


def naswot(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """ln |det K|, where K counts, for every two images, the units of all activations that are active for both or for neither
    (Mellor et al., Neural Architecture Search without Training, ICML 2021). NaN where K is singular."""
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)

    def count(_: Any, __: Any, output: Tensor) -> None:
        signs = torch.where(output.flatten(1) > 0, 1.0, -1.0)
        kernel.add_((signs @ signs.T + signs.shape[1]) / 2)

    with torch.no_grad(), hooked([part for part in network.modules() if isinstance(part, RECTIFIERS)], count):
        network(x)
    return float(torch.linalg.slogdet(kernel).logabsdet)


def jacobian(network: nn.Module, x: Tensor) -> tuple[Float[Tensor, "n inputs"], int]:
    """The gradient of the sum of all logits, a row an image, in float64, and the number of classes."""
    x = x.detach().clone().requires_grad_()
    logits = network(x)
    return gradients(logits.sum(), [x])[0].flatten(1).double(), logits.shape[1]


def correlations(rows: Float[Tensor, "n inputs"]) -> Float[Tensor, "n n"]:
    return torch.corrcoef(rows).view(len(rows), len(rows))


def jacov(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """-Σ over eigenvalues v of the correlations of the images' gradients of ln(v + ε) + 1 / (v + ε) (Mellor et al., arXiv
    2006.04647, version 1). NaN where an image has no gradient."""
    found = correlations(jacobian(network, x)[0])
    if not found.isfinite().all():
        return math.nan
    values = torch.linalg.eigvalsh(found).clamp(min=0) + SMALL
    return -float((values.log() + 1 / values).sum())


def epe_nas(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Of each class the sum s of ln(|r| + ε) over the correlations r of its images' gradients; Σ |s| over classes, or, of a
    network of more than 100 classes, whose s are means, Σ |s - s′| over pairs by the number of classes (Lopes et al., EPE-NAS,
    ICANN 2021, as their code has it)."""
    rows, classes = jacobian(network, x)
    logs = [(correlations(rows[y == label]).abs() + SMALL).log() for label in y.unique()]
    if classes <= MANY:
        return float(sum(r.sum().abs() for r in logs))
    means = torch.stack([r.sum() / len(r) for r in logs])
    return float((means[:, None] - means[None]).abs().sum() / len(means))


def zen(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """ln E‖f(x) - f(x + ε′)‖₁ before the last pooling + Σ over batch norms of ln σ, for Gaussian weights, images x and small
    differences ε′ (Lin et al., Zen-NAS, ICCV 2021). σ² is the mean variance of a norm's channels over this batch; published
    scores have running variances, which are still near 1, so that a norm more counts less."""
    features: list[Tensor] = []
    norms = [part for part in network.modules() if isinstance(part, NORMS)]
    pools = [part for part in network.modules() if isinstance(part, nn.AdaptiveAvgPool2d)]
    with torch.no_grad():
        for layer in layers(network):
            layer.weight.copy_(torch.randn(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.zero_()
        for norm in norms:
            norm.momentum = 1.0  # running variances are then those of the last batch
        images = torch.randn(x.shape).to(x)
        with hooked(pools[-1:] or [network], lambda _, inputs, output: features.append(inputs[0] if pools else output)):
            network(images + NEARBY * torch.randn(x.shape).to(x))
            network(images)
        apart = (features[0] - features[1]).abs().flatten(1).sum(1).mean()
        return log(apart) + sum(log(norm.running_var.mean()) / 2 for norm in norms if norm.running_var is not None)


PROXIES: Mapping[str, Proxy] = MappingProxyType(
    {
        proxy.name: proxy
        for proxy in (
            Proxy("synflow", "how much flows through all weights", "nothing", synflow),
            Proxy("naswot", "how differently activations respond to different images", "images", naswot),
            Proxy("jacov", "how little the images' gradients are correlated", "images", jacov),
            Proxy("epe_nas", "the same within classes", "labels", epe_nas),
            Proxy("grad_norm", "size of the loss's gradient", "labels", grad_norm),
            Proxy("snip", "what the loss loses, to first order, by the loss of each weight", "labels", snip),
            Proxy("grasp", "what its gradient loses by the loss of all weights", "labels", grasp),
            Proxy("fisher", "what the loss loses, to second order, by the loss of each channel", "labels", fisher),
            Proxy("plain", "as snip, with its signs", "labels", plain),
            Proxy("zen", "how differently Gaussian weights treat near images", "nothing", zen),
            Proxy("l2_norm", "size of the weights", "nothing", l2_norm),
        )
    }
)
"""All proxies by name."""
