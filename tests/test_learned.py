"""What was learned, as a file and as a surrogate: refusals, units, the first design, and what the history is worth."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gpytorch.kernels import AdditiveKernel
from test_deep import SPACE, TINY, experience, kernel, learner

from nas_suite.encoders.banks import Bank, coded
from nas_suite.errors import BadInput
from nas_suite.rivals import rival
from nas_suite.search import Region
from nas_suite.space import Arch
from nas_suite.surrogate.deep import Build
from nas_suite.surrogate.experience import Experience
from nas_suite.surrogate.learned import MANY, WEIGHTS, Learned
from nas_suite.surrogate.meta import MetaLearner, Schedule
from nas_suite.surrogate.standard import Standardiser
from nas_suite.surrogate.transfer import Transfer, warm

OPPOSITE = {0: "even", 1: "odd"}
TRAINED = Schedule(optimizer="adam", epochs=8, steps=30, batch=64, lr=5e-3, weight_decay=0.01)


def bank(at: int) -> Bank:
    """The features of data set `at` of `test_deep.experience`."""
    return coded([f"class{(at + k) % 7}" for k in range(3)])


def of(trained: MetaLearner, unit: str = "share", goal: str = "max") -> Learned:
    return Learned.of(
        "nasbench201", SPACE, trained.experience, trained.standardiser, "codes-1", trained.shelf, trained.kernel, unit=unit,
        goal=goal,
    )  # fmt: skip


def trained(schedule: Schedule = TRAINED, scale: float = 1.0) -> MetaLearner:
    one = learner(schedule)
    told = experience(rows=200)
    one = MetaLearner(one.kernel, replace(told, values=told.values * scale), one.shelf, schedule)
    step = 0
    for epoch in range(schedule.epochs):
        for rows in one.batches.epoch(epoch):
            one.step(rows, step)
            step += 1
        one.end_epoch(epoch)
    one.finish()
    return one


@pytest.fixture(scope="module")
def learned() -> Learned:
    return of(trained())


def sample(n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return list(dict.fromkeys(SPACE.sample(rng) for _ in range(n)))


def convolutions(arch: tuple[int, ...]) -> int:
    return sum(option in (2, 3) for option in arch)


def test_embeddings_of_many_networks_are_computed_once_a_checkpoint(
    learned: Learned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned.save(tmp_path, {})
    archs = sample(2500)
    assert len(archs) >= MANY
    wanted = Transfer(Learned.load(tmp_path, "nasbench201", SPACE), bank(0)).posterior(archs)
    (file,) = tmp_path.glob("embeddings-*.safetensors")
    again = Learned.load(tmp_path, "nasbench201", SPACE)
    assert again.kernel is not None
    encode = again.kernel.encode
    monkeypatch.setattr(again.kernel, "encode", lambda few: encode(few) if len(few) < MANY else pytest.fail("computed again"))
    found = Transfer(again, bank(0)).posterior(archs)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    file.write_bytes(file.read_bytes()[:-9])
    found = Transfer(Learned.load(tmp_path, "nasbench201", SPACE), bank(0)).posterior(archs)
    assert torch.equal(found[0], wanted[0]), "a damaged file is written anew"
    assert Learned.load(tmp_path, "nasbench201", SPACE).experience.hash == learned.experience.hash


def test_a_checkpoint_says_what_it_was_saved_as(learned: Learned, tmp_path: Path) -> None:
    learned.save(tmp_path, {"seed": 3})
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".safetensors"]
    again = Learned.load(tmp_path, "nasbench201", SPACE)
    assert again.experience.hash == learned.experience.hash
    assert again.standardiser == learned.standardiser
    archs = sample(50)
    before, after = (Transfer(one, bank(0)).posterior(archs) for one in (learned, again))
    assert torch.allclose(before[0], after[0], atol=1e-6)
    assert torch.allclose(before[1], after[1], atol=1e-6)


def test_a_kernel_that_tells_no_data_sets_apart_is_saved_too(tmp_path: Path) -> None:
    one = learner(replace(TINY, optimizer="adam"), Build("tiny", datasets=False))
    one.end_epoch(0)
    one.finish()
    of(one).save(tmp_path, {})
    archs = sample(9)
    again = Learned.load(tmp_path, "nasbench201", SPACE)
    assert torch.allclose(Transfer(of(one)).posterior(archs)[0], Transfer(again).posterior(archs)[0], atol=1e-6)


def test_a_checkpoint_of_another_space_or_extractor_and_a_damaged_one_are_refused(learned: Learned, tmp_path: Path) -> None:
    learned.save(tmp_path, {})
    with pytest.raises(BadInput, match="was learned on nasbench201, not on macro"):
        Learned.load(tmp_path, "macro", SPACE)
    seen = Bank("conv-1", (np.zeros((3, 512), np.float32),))
    with pytest.raises(BadInput, match="learned with features of codes-1, and those given are of conv-1"):
        Transfer(learned, seen)
    with pytest.raises(BadInput, match="holds nothing learned"):
        Learned.load(tmp_path / "nowhere", "nasbench201", SPACE)
    file = tmp_path / WEIGHTS
    file.write_bytes(file.read_bytes()[:-4] + b"0000")
    for _ in range(2):  # damaged, then missing
        with pytest.raises(BadInput, match="checksum does not fit"):
            Learned.load(tmp_path, "nasbench201", SPACE)
        file.unlink(missing_ok=True)


def test_data_sets_with_opposite_rankings_get_opposite_first_beliefs(learned: Learned) -> None:
    archs = sample(300)
    count = np.array([convolutions(arch) for arch in archs])
    even, odd = (Transfer(learned, bank(at)).posterior(archs)[0].numpy() for at in (0, 1))
    assert np.corrcoef(even, count)[0, 1] > 0.5
    assert np.corrcoef(odd, count)[0, 1] < -0.5
    assert convolutions(archs[int(even.argmax())]) > convolutions(archs[int(odd.argmax())])


def test_an_unknown_data_set_is_none_of_those_known(learned: Learned) -> None:
    archs = sample(100)
    neutral = Transfer(learned).posterior(archs)[0]
    assert all((neutral - Transfer(learned, bank(at)).posterior(archs)[0]).abs().max() > 1e-3 for at in range(5))


UNITS = {"share": (1.0, 0.0), "percent": (100.0, 0.0), "error": (1.0, -1.0)}  # factor and shift; of errors the sign is turned


def spoken(unit: str) -> Learned:
    """What is learned of one history in a unit."""
    schedule, (scale, shift) = replace(TINY, optimizer="adam"), UNITS[unit]
    one = trained(schedule)
    told = replace(one.experience, values=one.experience.values * scale + shift)
    one = MetaLearner(learner(schedule).kernel, told, one.shelf, schedule)
    one.end_epoch(0)
    one.finish()
    return of(one, unit="other")


@pytest.mark.parametrize("unit", ["percent", "error"])
def test_units_and_directions_change_no_belief(unit: str) -> None:
    archs, asked = sample(12), sample(60, seed=5)
    values = np.array([0.6 + 0.02 * convolutions(arch) for arch in archs])

    def beliefs(unit: str) -> tuple[torch.Tensor, torch.Tensor]:
        scale, shift = UNITS[unit]
        model = Transfer(spoken(unit), bank(0))
        model.fit(archs, values * scale + shift)
        return model.posterior(asked)

    plain, other = beliefs("share"), beliefs(unit)
    assert torch.allclose(plain[0], other[0], atol=1e-6)
    assert torch.allclose(plain[1], other[1], atol=1e-6)


@pytest.mark.parametrize("unit", ["percent", "error"])
def test_units_and_directions_change_no_proposal(unit: str) -> None:
    """The same networks are asked for, one after the other."""

    def proposals(unit: str) -> list[Arch]:
        scale, shift = UNITS[unit]
        search, found = rival("tnas", Region(SPACE), 3, learned=Transfer(spoken(unit))), list[Arch]()
        while len(found) < 12:
            asked = search.ask()
            found += asked
            search.tell(asked, np.array([[-scale * (0.6 + 0.02 * convolutions(arch)) - shift] for arch in asked]))
        return found

    assert proposals("share") == proposals(unit)


def test_percents_told_to_a_history_of_shares_are_refused_or_scaled(learned: Learned) -> None:
    archs = sample(8)
    values = np.array([0.6 + 0.02 * convolutions(arch) for arch in archs])
    with pytest.raises(BadInput, match="is no share"):
        Transfer(learned, bank(0)).fit(archs, 100 * values)
    shares, percents = Transfer(learned, bank(0)), Transfer(learned, bank(0), scale=0.01)
    shares.fit(archs, values)
    percents.fit(archs, 100 * values)
    assert torch.allclose(shares.posterior(archs)[0], percents.posterior(archs)[0], atol=1e-9)


def test_what_a_history_knows_helps_and_what_misleads_is_dropped(learned: Learned) -> None:
    """Six evaluations on a data set that the history knows, and on one where all is the other way round."""
    seen, asked = sample(6, seed=9), sample(300, seed=10)
    count = np.array([convolutions(arch) for arch in asked])

    def correlation(deep: bool, sign: int, evaluations: int) -> float:
        archs = sample(evaluations, seed=9)
        model = Transfer(learned, bank(0), prior=deep, deep=deep)
        model.fit(archs, np.array([0.7 + sign * 0.03 * (convolutions(arch) - 3) for arch in archs]))
        return float(np.corrcoef(model.posterior(asked)[0], sign * count)[0, 1])

    assert correlation(True, 1, len(seen)) > correlation(False, 1, len(seen)) + 0.05
    assert correlation(True, -1, 30) > correlation(False, -1, 30) - 0.1


def test_the_same_values_give_the_same_beliefs_whatever_came_between(learned: Learned) -> None:
    archs, asked = sample(10), tuple(sample(40, seed=2))
    values = np.array([0.5 + 0.03 * convolutions(arch) for arch in archs])
    for tune in ("process", "fusion"):
        model = Transfer(learned, bank(0), tune=tune)  # type: ignore[arg-type]
        model.fit(archs, values)
        first = model.posterior(asked)
        model.fit(archs[:5], values[:5][::-1].copy())
        model.fit(archs, values)
        assert torch.equal(first[0], model.posterior(asked)[0])
        assert torch.isfinite(first[1]).all()


@pytest.mark.parametrize("build", [Build("tiny"), Build("tiny", plain=False)], ids=["both", "joint"])
def test_kernels_of_a_new_data_set_begin_together_as_strong_as_a_plain_one(build: Build) -> None:
    """In the proportion that was learned; of what is next to nothing 5 % are left."""
    made, shelf = kernel(build)
    known = Learned.of("nasbench201", SPACE, told := experience(), Standardiser.of(told.values), "codes-1", shelf, made)
    for joint, plain, share in ((0.2, 0.6, 0.25), (0.03, 9.0, 0.05), (20.0, 0.1, 0.95)):
        for part, variance in zip(made.process.kernel.kernels, (joint, plain), strict=False):  # type: ignore[union-attr]
            part.initialize(outputscale=variance)
        wanted = share if build.plain else 0.5
        begun = Transfer(known).fresh()
        assert isinstance(begun, AdditiveKernel)
        scales = [part.outputscale.item() for part in begun.kernels]
        medians = [part.outputscale_prior.loc.exp().item() for part in begun.kernels]
        assert scales == pytest.approx([wanted, 1 - wanted], rel=1e-5)
        assert medians == pytest.approx(scales, rel=1e-5)
        rows = Transfer(known).rows(sample(5))
        assert torch.allclose(begun(rows, diag=True), torch.ones(len(rows), dtype=torch.float64), atol=1e-5)


def test_following_moves_xi_and_leaves_what_was_learned(learned: Learned) -> None:
    archs, asked = sample(20), sample(40, seed=2)
    values = np.array([0.5 + 0.03 * convolutions(arch) ** 2 for arch in archs])
    before = [p.clone() for p in learned.kernel.parameters()]  # type: ignore[union-attr]
    still, moving = Transfer(learned, bank(1)), Transfer(learned, bank(1), tune="fusion")
    still.fit(archs, np.minimum(values, 1.0))
    moving.fit(archs, np.minimum(values, 1.0))
    here, there = moving.fusion.parameters(), learned.kernel.encoder.fusion.parameters()  # type: ignore[union-attr]
    moved = [not torch.equal(p, q) for p, q in zip(here, there, strict=True)]
    assert any(moved) == (moving.process.kernel is not None and not torch.equal(still.rows(asked), moving.rows(asked)))
    assert all(torch.equal(p, q) for p, q in zip(before, learned.kernel.parameters(), strict=True))  # type: ignore[union-attr]


def test_rows_that_are_alone_of_their_data_set_are_compared_with_each_other() -> None:
    archs = tuple(sample(5))
    of = [0, 1, 2, 3, 3]  # three data sets with one row each, one with two
    told = Experience(
        archs, ("a", "b", "c", "d"), np.arange(5), np.array(of), np.array([0.3, 0.5, 0.7, 0.2, 0.1]), np.zeros(5, bool)
    )
    spread = np.std([0.3, 0.5, 0.7])
    assert told.scores() == pytest.approx([-0.2 / spread, 0.0, 0.2 / spread, 1.0, -1.0])
    alike = replace(told, values=np.full(5, 0.5))
    assert alike.scores().tolist() == [0.0] * 5


def test_a_small_history_gives_a_plain_process_that_begins_with_the_best(tmp_path: Path) -> None:
    told = experience(rows=30, sets=2)
    assert not told.enough
    plain = Learned.of("nasbench201", SPACE, told, Standardiser.of(told.values), "none", None, None)
    plain.save(tmp_path, {})
    model = Transfer(Learned.load(tmp_path, "nasbench201", SPACE))
    archs = sample(8)
    with pytest.raises(BadInput, match="believes nothing before it is fitted"):
        model.posterior(archs)
    model.fit(archs, np.linspace(0.5, 0.6, len(archs)))
    assert torch.isfinite(model.posterior(archs)[0]).all()
    first = warm(told, 4)
    assert len(first) == 4
    scores = dict(zip(told.archs, told.scores(), strict=True))
    assert scores[first[0]] == max(scores.values())
    assert all(sum(a != b for a, b in zip(x, y, strict=True)) >= 2 for x in first for y in first if x is not y)
