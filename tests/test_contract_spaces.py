"""What holds of every registered space; a new one is tested by being registered."""

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch

from nas_suite.cost import COSTS, cost, count
from nas_suite.errors import BadInput
from nas_suite.registry import settable
from nas_suite.space import SupernetSpace
from nas_suite.spaces import SPACES
from nas_suite.supernet import NORMS


@pytest.fixture(params=SPACES.names())
def space(request: pytest.FixtureRequest) -> Any:
    return SPACES.build(request.param, tiny.SPACES.get(request.param, {}))


@pytest.fixture
def supernet(space: Any) -> torch.nn.Module:
    if not isinstance(space, SupernetSpace):
        pytest.skip("not a supernet space")
    torch.manual_seed(0)
    return space.supernet("linear").eval()


def one_hot(space: Any, arch: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.eye(len(v.options), dtype=torch.float64)[i] for v, i in zip(space.variables, arch, strict=True)]


def test_samples_are_canonical_and_round_trip_through_text(space: Any) -> None:
    rng = random.Random(0)
    for _ in range(50):
        arch = space.sample(rng)
        assert space.canonical(arch) == arch
        text = space.describe(arch)
        assert text == text.strip()
        assert "\n" not in text
        assert space.parse(text) == arch


def test_the_same_seed_samples_the_same(space: Any) -> None:
    first, again, other = ([space.sample(random.Random(seed)) for _ in range(3)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_neighbours_are_other_networks_of_the_space(space: Any) -> None:
    arch = space.sample(random.Random(3))
    near = list(itertools.islice(space.neighbours(arch), 40))
    assert near
    assert arch not in near
    assert len(set(near)) == len(near)
    assert all(space.canonical(a) == a for a in near)


def test_text_that_spells_nothing_is_refused_in_one_line(space: Any) -> None:
    for text in ("", "nonsense", space.describe(space.sample(random.Random(0))) + "-x"):
        with pytest.raises(BadInput) as caught:
            space.parse(text)
        assert "\n" not in str(caught.value)


def test_size_counts_no_more_than_the_spellings(space: Any) -> None:
    assert 1 < space.size() <= space.spellings()


def test_settings_out_of_range_are_refused(space: Any) -> None:
    name = next(n for n in SPACES.names() if SPACES.load(n) is type(space))
    for setting, value in (("image_size", 0), ("classes", 1), ("channels", 0)):
        assert setting in settable(type(space))
        with pytest.raises(BadInput):
            SPACES.build(name, {**tiny.SPACES.get(name, {}), setting: value})


def test_network_and_blocks_agree_in_parameters_and_multiply_adds(space: Any) -> None:
    rng = random.Random(5)
    for _ in range(3):
        arch = space.sample(rng)
        whole = count(space.network(arch), (space.channels, space.image_size, space.image_size))
        assert cost("params", space).total(arch) == whole.parameters
        assert cost("macs", space).total(arch) == whole.macs


def test_pieces_are_all_blocks_once(space: Any) -> None:
    try:
        pieces = list(space.pieces())
    except BadInput as refusal:
        pytest.skip(str(refusal))
    assert len(set(pieces)) == len(pieces)
    rng = random.Random(11)
    for _ in range(5):
        assert {block for _, block in space.blocks(space.sample(rng))} <= set(pieces)


def test_a_base_is_added_once(space: Any) -> None:
    arch = space.sample(random.Random(12))
    plain = cost("params", space)
    raised = replace(plain, base=0.5)
    assert raised.total(arch) == float(raised(arch)) == plain.total(arch) + 0.5


def test_networks_learn_every_parameter(space: Any) -> None:
    network = space.network(space.sample(random.Random(6)))
    logits = network(torch.randn(4, space.channels, space.image_size, space.image_size))
    assert logits.shape == (4, space.classes)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_hard_choice_equals_a_soft_one_in_costs(space: Any) -> None:
    for name in COSTS:
        arch = space.sample(random.Random(7))
        total = cost(name, space)
        soft = [w.requires_grad_() for w in one_hot(space, arch)]
        expected = total(soft)
        assert float(expected.detach()) == total.total(arch) == float(total(arch))
        expected.backward()
        assert any(w.grad is not None and w.grad.abs().sum() > 0 for w in soft)


def test_a_hard_choice_equals_a_soft_one_in_outputs(space: Any, supernet: torch.nn.Module) -> None:
    x = torch.randn(2, space.channels, space.image_size, space.image_size)
    arch = space.sample(random.Random(8))
    with torch.no_grad():
        hard, soft = supernet(x, arch), supernet(x, [w.float() for w in one_hot(space, arch)])
    assert hard.shape == (2, space.classes)
    torch.testing.assert_close(soft, hard, rtol=1e-5, atol=1e-5)


def test_what_runs_is_an_argument_and_leaves_no_trace(space: Any, supernet: torch.nn.Module) -> None:
    x = torch.randn(2, space.channels, space.image_size, space.image_size)
    rng = random.Random(9)
    first, other = space.sample(rng), space.sample(rng)
    with torch.no_grad():
        before = supernet(x, first)
        supernet(x, other)
        assert torch.equal(supernet(x, first), before)


def test_a_stage_leaves_what_enters_it_and_no_norm_runs_in_two(space: Any, supernet: torch.nn.Module) -> None:
    x = torch.randn(2, space.channels, space.image_size, space.image_size)
    ran: list[torch.nn.Module] = []
    norms = [part for part in supernet.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda norm, *_: ran.append(norm))
    for seed in range(3):
        path = space.draw(random.Random(seed))
        ran.clear()
        with torch.no_grad():
            expected = supernet.train()(x, path)
            ran.clear()
            y = x
            for stage in supernet.stages(path):
                hash(stage.key)
                before = y.clone()
                after = stage.run(y)
                assert torch.equal(y, before)
                y = after
        assert torch.equal(y, expected)
        assert len(set(ran)) == len(ran) > 0


def test_architectures_compute_the_same_up_to_the_first_stage_that_differs(space: Any, supernet: torch.nn.Module) -> None:
    x = torch.randn(2, space.channels, space.image_size, space.image_size)
    arch = space.sample(random.Random(12))
    with torch.no_grad():
        for other in itertools.islice(space.neighbours(arch), 20):
            y = z = x
            for stage, one in zip(supernet.stages(arch), supernet.stages(other), strict=True):
                if stage.key != one.key:
                    break
                y, z = stage.run(y), one.run(z)
                assert torch.equal(y, z)
            else:
                pytest.fail(f"{other} has all stages of {arch}")


def test_draws_are_paths_that_the_supernet_trains(space: Any, supernet: torch.nn.Module) -> None:
    x = torch.randn(4, space.channels, space.image_size, space.image_size)
    path = space.draw(random.Random(10))
    assert space.canonical(path) is not None
    supernet.train()(x, path).square().sum().backward()
    reached = [p for p in supernet.parameters() if p.grad is not None]
    assert 0 < len(reached) < len(list(supernet.parameters()))
    assert all(p.grad.isfinite().all() for p in reached)  # type: ignore[union-attr]


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_builds_and_runs(space: Any, supernet: torch.nn.Module, norm: str) -> None:
    net = space.supernet(norm)
    assert (
        net(torch.randn(2, space.channels, space.image_size, space.image_size), space.draw(random.Random(0))).isfinite().all()
    )


def test_a_network_inherits_no_more_than_the_supernet_holds(space: Any, supernet: torch.nn.Module) -> None:
    held = sum(p.numel() for p in supernet.parameters())
    assert cost("params", space).total(space.sample(random.Random(1))) <= held
