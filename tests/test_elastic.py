"""Elastic bottlenecks: a slice is a mask, a mixture is its operations one by one, sorting loses nothing."""

import copy
import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_suite import elastic
from nas_suite.chain import Site
from nas_suite.elastic import Bottleneck, ElasticBlock, ElasticOperation, StagedSupernet
from nas_suite.layers import initialise
from nas_suite.space import Path
from nas_suite.spaces.tfnas import OPERATIONS, TFNAS
from nas_suite.supernet import frozen

SPACE = TFNAS(width=0.1, image_size=16, classes=10, small=True)
SITES = [Site(8, 8, 1, 6, "swish"), Site(8, 8, 1, 6, "relu"), Site(8, 16, 1, 6, "swish"), Site(8, 8, 2, 7, "swish")]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def block_at(site: Site) -> ElasticBlock:
    operations = [ElasticOperation(site, op.kernel, op.widths(site.c_in), op.hidden(site.c_in)) for op in OPERATIONS]
    block = ElasticBlock(site, operations)
    initialise(block)
    return block


def randomly(block: ElasticBlock, seed: int = 0) -> list[int]:
    """A width for each operation."""
    rng = random.Random(seed)
    return [rng.choice(operation.widths) for operation in block.operations]


def alone(block: ElasticBlock, operation: int, width: int) -> Bottleneck:
    """The stand-alone bottleneck with the first channels of the supernet's weights."""
    source, op = block.operations[operation], OPERATIONS[operation]
    result = Bottleneck(block.site, op.kernel, width, op.hidden(block.site.c_in)).to(source.expand.weight)
    with torch.no_grad():
        result.expand[0].weight.copy_(source.expand.weight[:width])
        result.filter[0].weight.copy_(source.filter.weight[:width])
        result.project[0].weight.copy_(source.project.weight[:, :width])
        if source.excite is not None:
            result.excite.reduce.weight.copy_(source.excite.reduce.weight[:, :width])
            result.excite.reduce.bias.copy_(source.excite.reduce.bias)
            result.excite.expand.weight.copy_(source.excite.expand.weight[:width])
            result.excite.expand.bias.copy_(source.excite.expand.bias[:width])
    return result


@pytest.mark.parametrize("site", SITES, ids=str)
@pytest.mark.parametrize("operation", range(8))
def test_an_operation_is_the_block_alone(site, operation):
    """Outputs and the input's gradient, at the least width, the most and one between."""
    block = block_at(site).double()
    widths = block.operations[operation].widths
    x = torch.randn(4, site.c_in, site.side, site.side, dtype=torch.float64, requires_grad=True)
    for width in (widths[0], widths[-1], widths[3]):
        outputs = [block(x, operation, [width] * 8), alone(block, operation, width)(x)]
        cotangent = torch.randn_like(outputs[0])
        one, other = (torch.autograd.grad(y, x, cotangent)[0] for y in outputs)
        torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("operation", range(8))
def test_a_slice_is_a_mask(operation):
    """The full width with its last channels silenced behind the depthwise convolution."""
    block = block_at(SITES[0])
    source, most = block.operations[operation], block.operations[operation].widths[-1]
    width, x = source.widths[5], torch.randn(4, 8, 6, 6)
    sliced = block(x, operation, [width] * 8)
    with torch.no_grad():
        source.project.weight[:, width:] = 0
        if source.excite is not None:
            source.excite.reduce.weight[:, width:] = 0
    torch.testing.assert_close(block(x, operation, [most] * 8), sliced, rtol=0, atol=1e-5)


def one_by_one(block: ElasticBlock, x: Tensor, weights: Tensor, widths: list[int]) -> Tensor:
    total = torch.zeros(())
    for operation, weight in enumerate(weights):
        total = total + weight * block(x, operation, widths)
    return total


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("site", SITES, ids=str)
def test_a_mixture_is_its_operations_one_after_another(site, joined, monkeypatch):
    """Outputs, and gradients of the input, the weights of the sum and all parameters."""
    monkeypatch.setattr(elastic, "JOINED", 1 << 22 if joined else 0)
    block = block_at(site).double()
    widths = randomly(block)
    x = torch.randn(4, site.c_in, site.side, site.side, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, dtype=torch.float64).softmax(0).requires_grad_()
    outputs = [block(x, weights, widths), one_by_one(block, x, weights, widths)]
    cotangent = torch.randn_like(outputs[0])
    wanted = (x, weights, *block.parameters())
    found, expected = (torch.autograd.grad(y, wanted, cotangent) for y in outputs)
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("site", SITES, ids=str)
def test_a_mixture_in_fp32_with_frozen_parameters(site):
    block = block_at(site)
    widths = randomly(block)
    x, weights = torch.randn(8, site.c_in, 16, 16, requires_grad=True), torch.randn(8).softmax(0).requires_grad_()
    with frozen(block):
        outputs = [block(x, weights, widths), one_by_one(block, x, weights, widths)]
    assert all(parameter.requires_grad for parameter in block.parameters())
    cotangent = torch.randn_like(outputs[0])
    (gx, gw), (hx, hw) = (torch.autograd.grad(y, (x, weights), cotangent) for y in outputs)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    assert (gx - hx).norm() < 1e-5 * hx.norm()
    assert (gw - hw).norm() < 1e-5 * hw.norm()


def test_a_mixture_with_weights_one_and_zero_is_the_operation():
    block = block_at(SITES[0])
    widths, x = randomly(block), torch.randn(4, 8, 6, 6)
    for operation in range(8):
        torch.testing.assert_close(
            block(x, F.one_hot(torch.tensor(operation), 8).float(), widths), block(x, operation, widths), rtol=1e-5, atol=1e-5
        )


def test_in_bf16_a_mixture_is_near_its_operations():
    block = block_at(SITES[0]).to(memory_format=torch.channels_last)
    widths, x = randomly(block), torch.randn(32, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    weights = torch.randn(8).softmax(0)
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x, weights, widths)
    exact = one_by_one(copy.deepcopy(block).double(), x.double(), weights.double(), widths)
    assert (y.double() - exact).norm() < 0.01 * exact.norm()


def test_statistics_of_bf16_features_are_not_rounded():
    x = (torch.randn(8, 4, 8, 8) + 3).bfloat16()
    exact = F.batch_norm(x.double(), None, None, training=True)
    assert (elastic.normalised(x).double() - exact).norm() < 0.003 * exact.norm()


def test_a_soft_width_weighs_the_widths():
    block = block_at(SITES[0])
    x, weights = torch.randn(4, 8, 6, 6), torch.randn(17).softmax(0)
    widths = block.operations[4].widths
    expected = sum(w * block(x, 4, [width] * 8) for w, width in zip(weights, widths, strict=True))
    torch.testing.assert_close(block(x, 4, [weights] * 8), expected)


def test_one_past_the_operations_is_nothing():
    block = block_at(SITES[0])
    x, widths = torch.randn(4, 8, 6, 6), randomly(block)
    assert block(x, 8, widths) is x
    weights = torch.randn(9).softmax(0)
    torch.testing.assert_close(
        block(x, weights, widths), one_by_one(block, x, weights[:8], widths) + weights[8] * x, rtol=1e-5, atol=1e-5
    )


def inner_rows(operation: ElasticOperation) -> list[Tensor]:
    """Everything that belongs to an inner channel, channels first."""
    return [tensor.detach().movedim(at, 0).reshape(tensor.shape[at], -1) for tensor, at in operation.inner().items()]


def supernet_and_path() -> tuple[StagedSupernet, tuple[int, ...]]:
    return SPACE.supernet("linear"), SPACE.sample(random.Random(3))


@pytest.mark.parametrize("number", range(8))
def test_sorted_channels_fall_in_the_norm_of_their_kernels_and_move_together(number):
    supernet, _ = supernet_and_path()
    operation = supernet.blocks[4].operations[number]
    before, largest = torch.cat(inner_rows(operation), 1), norms(operation).topk(operation.widths[2]).values
    others = {name: value.clone() for name, value in supernet.state_dict().items() if f"4.operations.{number}." not in name}
    supernet.sort([(4, number)], {})
    after = torch.cat(inner_rows(operation), 1)
    assert {tuple(row) for row in after.tolist()} == {tuple(row) for row in before.tolist()}
    assert not torch.equal(after, before)
    torch.testing.assert_close(norms(operation)[: operation.widths[2]], largest)
    assert all(torch.equal(supernet.state_dict()[name], value) for name, value in others.items())


def norms(operation: ElasticOperation) -> Tensor:
    return operation.filter.weight.detach().abs().sum((1, 2, 3))


def test_channels_of_equal_norm_keep_their_order():
    operation = block_at(SITES[0]).operations[0]
    with torch.no_grad():
        operation.filter.weight.copy_(torch.tensor([1.0, 2.0] * 16)[:, None, None, None])
    rows = operation.expand.weight.detach().clone()
    operation.sort({})
    assert torch.equal(operation.expand.weight, torch.cat([rows[1::2], rows[0::2]]))


def test_sorting_leaves_the_full_width_alone():
    supernet, _ = supernet_and_path()
    block = supernet.blocks[3]
    x, most = torch.randn(4, 8, 16, 16), [operation.widths[-1] for operation in block.operations]
    before = [block(x, number, most) for number in range(8)]
    supernet.sort([(3, number) for number in range(8)], {})
    for number in range(8):
        torch.testing.assert_close(block(x, number, most), before[number], rtol=1e-4, atol=1e-4)


def test_shrinking_and_expanding_restores_every_bit():
    """A width is an argument: a run at another one, even with another order of channels in between, changes no weight."""
    supernet, path = supernet_and_path()
    operations, depths, widths = SPACE.split(path)
    supernet.sort([(at, operation) for at, operation in enumerate(operations)], {})
    state, x = copy.deepcopy(supernet.state_dict()), torch.randn(4, 3, 16, 16)
    before = supernet(x, path)
    least = [[SPACE.widths(at, number)[0] for number in range(8)] for at in range(18)]
    supernet(x, SPACE.join(operations, depths, least)).sum().backward()
    supernet.sort([(at, operation) for at, operation in enumerate(operations)], {})
    assert torch.equal(supernet(x, SPACE.join(operations, depths, widths)), before)
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())


def test_momenta_are_sorted_with_their_parameters():
    """A step after sorting both is the step before it, sorted."""
    supernet, path = supernet_and_path()
    (operation, *_), _, _ = SPACE.split(path)
    x = torch.randn(4, 3, 16, 16)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9)
    supernet(x, path).square().sum().backward()
    optimizer.step()
    twin = copy.deepcopy(supernet)
    momenta = {p: optimizer.state[p]["momentum_buffer"] for p in supernet.parameters() if p in optimizer.state}
    pairs = dict(zip(twin.parameters(), (momenta.get(p) for p in supernet.parameters()), strict=True))
    steps = {p: buffer.clone() for p, buffer in pairs.items() if buffer is not None}
    supernet.sort([(0, operation)], {p: [buffer] for p, buffer in momenta.items()})
    with torch.no_grad():
        for p, step in steps.items():
            p.add_(step)
        for p, buffer in momenta.items():
            p.add_(buffer)
    rows, sorted_rows = (torch.cat(inner_rows(net.blocks[0].operations[operation]), 1) for net in (twin, supernet))
    assert not torch.equal(rows, sorted_rows)
    assert {tuple(row) for row in rows.tolist()} == {tuple(row) for row in sorted_rows.tolist()}


def idle(supernet: StagedSupernet, path: Path) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """Name, value and a mask of what does not run, of every parameter with inner channels."""
    active = {id(parameter): index for parameter, index in supernet.active(path)}
    elastic = {id(p) for block in supernet.blocks for operation in block.operations for p in operation.inner()}
    for name, parameter in supernet.named_parameters():
        if id(parameter) in elastic:
            mask = torch.ones_like(parameter, dtype=torch.bool)
            if id(parameter) in active:
                mask[active[id(parameter)]] = False
            yield name, parameter, mask


@pytest.mark.parametrize("soft", [False, True])
def test_what_is_active_is_what_gets_a_gradient(soft):
    supernet, arch = supernet_and_path()
    _, depths, widths = SPACE.split(arch)
    path = SPACE.join([torch.full((8,), 1 / 8)] * 18, depths, widths) if soft else arch
    supernet(torch.randn(4, 3, 16, 16), path).square().sum().backward()
    for name, parameter, mask in idle(supernet, path):
        assert (parameter.grad is None) == bool(mask.all()), name
        if parameter.grad is not None:
            assert not parameter.grad[mask].any(), name
            assert parameter.grad[~mask].any(), name


def test_steps_leave_what_is_not_active_as_it_was():
    supernet, path = supernet_and_path()
    optimizer = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9)
    before = copy.deepcopy(supernet.state_dict())
    for _ in range(2):
        optimizer.zero_grad()
        supernet(torch.randn(4, 3, 16, 16), path).square().sum().backward()
        optimizer.step()
    for name, parameter, mask in idle(supernet, path):
        assert torch.equal(parameter[mask], before[name][mask]), name
        assert mask.all() or not torch.equal(parameter[~mask], before[name][~mask]), name


def test_all_of_a_stage_whose_depth_is_soft_is_active():
    supernet, arch = supernet_and_path()
    operations, _, widths = SPACE.split(arch)
    soft = SPACE.join(operations, [torch.full((len(stage),), 1 / len(stage)) for stage in SPACE.stages], widths)
    whole = SPACE.join(operations, [len(stage) - 1 for stage in SPACE.stages], widths)
    ran = [id(parameter) for parameter, _ in supernet.active(soft)]
    assert ran == [id(parameter) for parameter, _ in supernet.active(whole)]
    assert all(id(block.operations[op].filter.weight) in ran for block, op in zip(supernet.blocks, operations, strict=True))


def test_all_of_a_soft_width_is_active():
    supernet, arch = supernet_and_path()
    path = list(arch)
    path[SPACE.gene(0, arch[0])] = torch.full((len(SPACE.widths(0, arch[0])),), 0.1)
    (_, index), *_ = supernet.active(path)
    assert index == (slice(SPACE.widths(0, arch[0])[-1]),)


@pytest.mark.parametrize("depth", range(4))
def test_a_sink_whose_weight_is_at_one_depth_is_the_first_blocks_alone(depth):
    supernet, arch = supernet_and_path()
    operations, depths, widths = SPACE.split(arch)
    x = torch.randn(4, 3, 16, 16)
    hard = [*depths[:3], depth, *depths[4:]]
    soft = [*depths[:3], F.one_hot(torch.tensor(depth), 4).float(), *depths[4:]]
    with torch.no_grad():
        torch.testing.assert_close(
            supernet(x, SPACE.join(operations, soft, widths)),
            supernet(x, SPACE.join(operations, hard, widths)),
            rtol=0,
            atol=1e-6,
        )


def test_a_sink_is_the_weighted_sum_of_its_blocks():
    supernet, arch = supernet_and_path()
    operations, _, widths = SPACE.split(arch)
    weights = torch.tensor([0.2, 0.3, 0.5])
    path = SPACE.join(operations, [1, weights, 0, 0, 0, 0], widths)
    stem, first, second, stage = supernet.stages(path)[:4]
    x = second.run(first.run(stem.run(torch.randn(4, 3, 16, 16))))
    outputs = []
    for at in (2, 3, 4):
        outputs.append(supernet.blocks[at](outputs[-1] if outputs else x, operations[at], widths[at]))
    torch.testing.assert_close(stage.run(x), 0.2 * outputs[0] + 0.3 * outputs[1] + 0.5 * outputs[2])


def test_gradients_reach_operations_and_depths():
    supernet, arch = supernet_and_path()
    _, _, widths = SPACE.split(arch)
    operations = [torch.full((8,), 1 / 8, requires_grad=True) for _ in range(18)]
    depths = [torch.full((len(stage),), 1 / len(stage), requires_grad=True) for stage in SPACE.stages]
    logits = supernet(torch.randn(4, 3, 16, 16), SPACE.join(operations, depths, widths))
    gradients = torch.autograd.grad(logits.square().sum(), [*operations, *depths])
    assert all(g.isfinite().all() and g.any() for g in gradients)
    assert all(p.grad is None for p in supernet.parameters())


def test_no_batch_norm_has_parameters_or_remembers():
    supernet, path = supernet_and_path()
    norms = [part for part in supernet.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 4  # two of the second stem, one of the first, one of the head
    assert not any(list(norm.parameters()) or list(norm.buffers()) for norm in norms)
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(supernet.train()(x, path), supernet.eval()(x, path))


@pytest.mark.parametrize("site", SITES, ids=str)
def test_aligned_operations_compute_alike(site):
    """Without squeeze-excite the same at the same width, whatever their kernels; with it nearly so, for all gates are open half
    way. Unaligned ones have nothing to do with each other."""
    block, x = block_at(site), torch.randn(16, site.c_in, site.side, site.side)
    width = block.operations[0].widths[-1]

    def likeness(operation: int) -> float:
        outputs = [block.projected(x, [at], [width])[0].detach().flatten() for at in (0, operation)]
        return float(torch.corrcoef(torch.stack(outputs))[0, 1])

    assert all(abs(likeness(operation)) < 0.6 for operation in range(1, 8))
    block.operations[7].expand.weight.data[-1] = 5.0
    elastic.align((operation.expand, operation.filter, operation.project) for operation in block.operations)
    assert [likeness(operation) for operation in range(1, 4)] == pytest.approx([1.0] * 3, abs=1e-5)
    assert all(likeness(operation) > 0.9 for operation in range(4, 8))
    assert torch.equal(block.operations[7].expand.weight, block.operations[1].expand.weight)
