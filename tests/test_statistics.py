"""Statistics of supernets: the law of sums on equal and on fresh paths, γ and β, likeness, accuracies; nothing is changed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import nas, train
from pictures import MEAN, STD, pictures
from torch import nn

from nas_suite import statistics
from nas_suite.cli.statistics import tables
from nas_suite.errors import BadInput
from nas_suite.method import Problem
from nas_suite.methods.mixpath import MixPath
from nas_suite.run import Run
from nas_suite.space import SupernetSpace
from nas_suite.spaces.mixpath_s1 import MixPathS1
from nas_suite.spaces.mixpath_s3 import MixPathS3
from nas_suite.spaces.mixpath_s4 import MixPathS4, MultiPathCell
from nas_suite.statistics import FILE, Extent, measure
from nas_suite.supernet import NORMS, PathSum

SMALL = Extent(images=64, networks=2, calib_images=32, score_images=24)
SPACES: dict[str, Any] = {
    "s1": MixPathS1(width=0.1, m=3, kernels=(3, 5, 7), image_size=8, classes=4),
    "s4": MixPathS4(width=0.0625, m=3, stacks=2, cells=1, image_size=8, classes=4),
}
BOTH = pytest.mark.parametrize("name", SPACES)


def method(space: SupernetSpace, norm: Any = "linear", **settings: Any) -> MixPath:
    problem = Problem(space, pictures(96), pictures(48), MEAN, STD)
    return MixPath(problem, norm=norm, epochs=1, batch_size=16, pad=1, cutout=0, **settings)


def level(supernet: nn.Module) -> None:
    """Makes all paths of every site the same function."""
    for site in supernet.modules():
        if isinstance(site, MultiPathCell):
            for position in site.positions:
                position.branches = nn.ModuleList([site.positions[0].branches[0]] * 3)
        elif isinstance(site, PathSum):
            small = site.paths[0]
            for path in site.paths[1:]:
                around = (path[0].kernel_size[0] - small[0].kernel_size[0]) // 2
                with torch.no_grad():
                    path[0].weight.copy_(nn.functional.pad(small[0].weight, (around,) * 4))
                path[1].load_state_dict(small[1].state_dict())


def visited(trained: MixPath) -> MixPath:
    """With running statistics of one batch in every norm of sums: exact means over visits."""
    space, (x, _) = trained.problem.space, next(trained.batches().epoch(0))
    for part in trained.supernet.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    trained.supernet.train()
    for number in range(60):
        trained.supernet(x, space.with_paths(statistics.random_for(0, number), 1 + number % space.m))
    return trained


@BOTH
def test_equal_paths_have_i_times_the_mean_and_i_squared_times_the_variance(name: str) -> None:
    trained = method(SPACES[name])
    level(trained.supernet)
    found = measure(visited(trained), SMALL)
    for site in found["law"]["sites"]:
        assert site["rho"] == pytest.approx(1, rel=1e-4)
        for row in site["rows"]:
            i = row["paths"]
            assert row["mean_law"] == i
            assert row["variance_law"] == pytest.approx(i * i, rel=1e-4)
            assert row["measured"] == pytest.approx({"mean": i, "variance": i * i}, rel=1e-4)
    if name == "s4":  # of S1, each expansion meets other features
        for row in found["law"]["summary"]:
            i = row["paths"]
            assert row["trained"]["mean"]["mean"] == pytest.approx(i, rel=1e-3)
            assert row["trained"]["variance"]["max"] == pytest.approx(i * i, rel=1e-3)
    for site in found["cosines"]:
        assert torch.allclose(torch.tensor(site["matrix"]), torch.ones(len(site["paths"]), len(site["paths"])), atol=1e-4)


@BOTH
def test_fresh_paths_follow_the_law_with_their_correlation(name: str) -> None:
    """Means exactly; variances to a few percent, for paths' variances are not quite equal; far from i²."""
    found = measure(method(SPACES[name]), SMALL)
    sites = len([part for part in SPACES[name].supernet("linear").modules() if isinstance(part, PathSum)])
    assert len(found["law"]["sites"]) == len(found["cosines"]) == sites
    for row in found["law"]["summary"]:
        i = row["paths"]
        assert row["measured"]["mean"]["max"] == pytest.approx(i, rel=1e-3)
        assert row["measured"]["variance"]["mean"] == pytest.approx(row["variance_law"]["mean"], rel=0.05)
        assert i == 1 or row["variance_law"]["mean"] < 0.8 * i * i
    matrix = torch.tensor(found["cosines"][0]["matrix"])
    assert torch.allclose(matrix.diagonal(), torch.ones(len(matrix)), atol=1e-4)
    assert torch.allclose(matrix, matrix.T)
    assert 0 < float(matrix[0, 1]) < 0.9


def test_the_official_bias_shows_in_the_means() -> None:
    trained = method(MixPathS4(width=0.0625, m=2, stacks=1, cells=1, image_size=8, classes=4, node5_bias=True))
    for part in trained.supernet.modules():
        if isinstance(part, MultiPathCell):
            nn.init.constant_(part.merge.bias, 3.0)
    _, two = measure(trained, SMALL)["law"]["summary"]
    assert two["measured"]["mean"]["mean"] < 1.6


@BOTH
def test_nothing_of_the_supernet_changes_and_the_same_is_measured_again(name: str) -> None:
    trained = method(SPACES[name])
    for step, batch in enumerate(trained.batches().epoch(0)):
        trained.step(batch, step)
    before = {key: value.clone() for key, value in trained.supernet.state_dict().items()}
    hooks = [dict(part._forward_pre_hooks) for part in trained.supernet.modules()]
    first, second = measure(trained, SMALL), measure(trained, SMALL)
    assert first == second
    assert all(torch.equal(value, before[key]) for key, value in trained.supernet.state_dict().items())
    assert [dict(part._forward_pre_hooks) for part in trained.supernet.modules()] == hooks
    assert trained.supernet.training


@pytest.mark.parametrize("norm", NORMS)
def test_spread_and_running_statistics_by_kind_of_norm(norm: str) -> None:
    trained = method(SPACES["s4"], norm)
    for part in trained.supernet.modules():
        if isinstance(part, PathSum):
            for at, one in enumerate(part.norm.norms):
                nn.init.constant_(one.weight, 1.0 + at)
    found = measure(visited(trained), SMALL)
    count = len(trained.supernet.cells[0].norm.norms)
    assert len(found["affine"]["first"]) == count == {"linear": 3, "exponential": 7}.get(norm, 1)
    assert found["affine"]["spread"]["gamma"] == pytest.approx(torch.arange(count).double().std(correction=0).item())
    assert found["affine"]["spread"]["beta"] == 0
    gammas = [group["gamma"]["mean"] for group in found["affine"]["groups"]]
    assert gammas == pytest.approx({"linear": [1, 2, 3], "exponential": [2, 5, 7]}.get(norm, [1, 1, 1]))
    assert all((row["trained"] is None) == (count == 1) for row in found["law"]["summary"])


@BOTH
def test_accuracies_by_number_of_paths_are_those_of_the_scorer(name: str) -> None:
    space = SPACES[name]
    trained = method(space, calib_images=SMALL.calib_images, score_images=SMALL.score_images)
    found = measure(trained, SMALL)["by_paths"]
    assert [(entry["paths"], entry["calibrated"]) for entry in found] == [(i, c) for i in (1, 2, 3) for c in (True, False)]
    arch = space.with_paths(statistics.random_for(0, 2, 1), 2)
    assert found[2]["accuracies"][1] == trained.scoring.accuracy(arch)


@BOTH
def test_networks_with_so_many_paths_have_them_in_every_block(name: str) -> None:
    space, seen = SPACES[name], []
    supernet = space.supernet("linear").eval()
    for part in supernet.modules():
        if isinstance(part, PathSum):
            part.norm.register_forward_pre_hook(lambda _, given: seen.append(len(given[1])))
    for paths in range(1, space.m + 1):
        arch = space.with_paths(statistics.random_for(paths), paths)
        assert space.canonical(arch) == arch
        seen.clear()
        supernet(torch.randn(2, 3, 8, 8), arch)
        assert set(seen) == {paths}


def test_a_space_without_sums_says_so() -> None:
    space = MixPathS3(width=0.1, kernels=(3, 5), image_size=32, classes=4)
    problem = Problem(space, pictures(32, 32, 32), pictures(16, 32, 32), MEAN, STD)
    with pytest.raises(BadInput, match=r"MixPathS3 sums no paths: .* nothing to measure"):
        measure(MixPath(problem, batch_size=16), SMALL)


def test_the_command_measures_once_and_prints_tables_or_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "supernet"
    assert train(folder).code == 0
    found = statistics.of_run(Run.open(folder), extent=SMALL)
    assert found == json.loads((folder / FILE).read_text())
    assert found["step"] == 3
    with monkeypatch.context() as patch:
        patch.setattr(statistics, "measure", lambda *_: pytest.fail("measured again"))
        data = nas("runs", "show", folder, "--statistics", "--json").data
        text = nas("runs", "show", folder, "--statistics").out
    assert data["statistics"] == found
    assert data["run"]["name"] == "supernet"
    assert "linear norms, sums of at most 2 paths, 24 sites" in text
    assert "choices.0.rates.1" in text
    assert "choices.1.rates.0" not in text
    (folder / FILE).write_text('{"step": 2}')
    assert statistics.of_run(Run.open(folder), extent=SMALL) == found


def test_a_run_of_another_kind_or_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"schema": 1, "kind": "search", "status": "done", "plan": {}})
    with pytest.raises(BadInput, match="not a trained supernet"):
        statistics.of_run(run)


def test_tables_of_one_path_have_no_correlation() -> None:
    found = measure(method(MixPathS1(width=0.1, m=1, kernels=(3,), image_size=8, classes=4)), SMALL)
    assert found["law"]["rho"] is None
    assert len(tables(found)) > 8
