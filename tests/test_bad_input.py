"""What cannot be done is refused in one line, with the exit code of its kind, before anything is made or lost."""

import re
from pathlib import Path

import pytest
from command import TINY, nas, train

from nas_suite.run import RECORD, Run


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tiny supernet."""
    folder = tmp_path_factory.mktemp("runs") / "supernet"
    said = train(folder)
    assert said.code == 0, said.err
    return folder


DIGITS = ("train-supernet", "mixpath", "--data", "digits", *TINY)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("serch",), ("'serch'", "did you mean 'search'?")),
        (("spaces", "shwo"), ("'shwo'", "did you mean 'show'?")),
        (("search", "mixpath", "--bugdet", 3), ("'--bugdet'", "did you mean '--budget'?")),
        (("doctor", "--hlep"), ("'--hlep'", "did you mean '--help'?")),
        (("search",), ("Missing argument 'METHOD'", "nas search --help")),
        (("search", "mixpath", "--budget", "many"), ("'--budget'", "integer")),
        (("search", "mixpath", "--budget", 0), ("'--budget'",)),
        (("train-supernet", "mixpaht"), ("unknown method 'mixpaht'", "did you mean 'mixpath'?", "fairnas")),
        (("train-supernet", "mixpath", "--space", "mixpath-s9"), ("unknown space 'mixpath-s9'", "did you mean")),
        (("train-supernet", "mixpath", "--data", "digit"), ("unknown data 'digit'", "did you mean 'digits'?")),
        (("train-supernet", "mixpath", "--recipe", "mixpath-digit"), ("did you mean 'mixpath-digits'?",)),
        (("train-supernet", "mixpath", "--config", "none.toml"), ("none.toml", "cannot be read")),
        ((*DIGITS, "--set", "method.population_size=3"), ("no setting 'population_size'", "did you mean 'population'?")),
        ((*DIGITS, "--set", "method.norm=linaer"), ("norm", "linaer", "linear")),
        ((*DIGITS, "--set", "method.epochs=few"), ("epochs", "few", "integer")),
        ((*DIGITS, "--set", "method.epochs=0"), ("'mixpath': epochs = 0 does not fit: input should be greater than",)),
        ((*DIGITS, "--set", "method.epochs=true"), ("epochs = True does not fit",)),
        ((*DIGITS, "--epochs", 3, "--set", "method.warmup_epochs=3"), ("warmup_epochs = 3", "epochs = 3")),
        ((*DIGITS, "--set", "method.pad=100"), ("method.pad = 100", "8")),
        ((*DIGITS, "--set", "space.width=inf"), ("width = inf", "finite")),
        ((*DIGITS, "--set", "space.width=1e9"), ("width must be above 0 and at most 64, got 1000000000.0",)),
        ((*DIGITS, "--set", "data.size=1000000"), ("data.size = 1000000", "4096")),
        ((*DIGITS, "--set", "data.limit=true"), ("limit = True",)),
        ((*DIGITS, "--seed", 1 << 70), ("seed", "2**63")),
        ((*DIGITS, "--device", "meta"), ("'meta'", "cuda:N, mps")),
        ((*DIGITS, "--device", "mkldnn"), ("'mkldnn'", "cuda:N, mps")),
        ((*DIGITS, "--set", "space.m=9"), ("mixpath-s1", "m must be")),
        ((*DIGITS, "--set", "data.limit=0"), ("limit",)),
        ((*DIGITS, "--set", "retrain.optimizer=sdg"), ("optimizer", "sdg")),
        ((*DIGITS, "--set", "metod.lr=1"), ("'metod'", "did you mean 'method'?")),
        ((*DIGITS, "--set", "lr=1"), ("'lr=1'", "part.field=value")),
        ((*DIGITS, "--set", "space.image_size=32"), ("space.image_size", "32", "8")),
        ((*DIGITS, "--device", "tpu9"), ("device", "tpu9")),
        ((*DIGITS, "--precision", "fp12"), ("fp12", "bf16")),
        (("spaces", "show", "mixpath-s5"), ("unknown space 'mixpath-s5'", "did you mean")),
        (("spaces", "show", "mixpath-s1", "--arch", "e6k3"), ("has 1 token,", "12")),
        (("spaces", "show", "mixpath-s1", "--arch", "-".join(["e6k3"] * 11 + ["e6k4"])), ("e6k4", "did you mean")),
        (("spaces", "sample", "mixpath-s1", "--set", "method.lr=1"), ("method.lr", "space")),
        (("data", "info", "cifar11"), ("unknown data 'cifar11'", "did you mean 'cifar10'?")),
        (("data", "get", "cifar"), ("'cifar'", "did you mean 'cifar10'?")),
        (("data", "get", "mnist", "--mirror", "ftp://x"), ("ftp://x", "http")),
        (("data", "info", "folder", "--set", "data.pth=x"), ("'pth'", "did you mean 'path'?")),
        (("recipe", "show", "mixpath"), ("unknown recipe 'mixpath'",)),
        (("recipe", "cp", "mixpath-digits", "no/such/folder/r.toml"), ("no folder",)),
        (("search", "mixpath", "--run", "nothing"), ("no run 'nothing'",)),
        (("search", "mixpath", "--max", "macs"), ("macs=300M",)),
        (("search", "mixpath", "--max", "macs=-3"), ("macs=-3",)),
        (("search", "mixpath", "--max", "macs=3T"), ("macs=3T",)),
        (("search", "mixpath", "--max", "macs=3", "--max", "macs=4"), ("twice",)),
        (("runs", "show", "nothing"), ("no run 'nothing'",)),
        (("runs", "resume", "nothing"), ("no run 'nothing'",)),
        (("report", "nothing"), ("no run 'nothing'",)),
        (("retrain", "nothing", "--best", 1, "--knee"), ("--best", "--knee", "--arch")),
    ],
    ids=lambda value: " ".join(map(str, value))[-60:] if isinstance(value, tuple) else None,
)
def test_a_wrong_word_is_refused_with_the_near_one(words: tuple[object, ...], parts: tuple[str, ...], tmp_path: Path) -> None:
    for more in ((), ("--json",)):
        said = nas(*words, *more)
        assert said.code == 2, said.err
        assert all(part in said.error for part in parts), said.error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("folder", 2, "which is no folder"), ("npz", 2, "which is no file"), ("cifar10", 3, "nas data get cifar10")],
)
def test_data_that_are_not_where_they_are_said_to_be_are_refused(name: str, code: int, words: str) -> None:
    for command in (("data", "info", name), ("train-supernet", "mixpath", "--data", name)):
        said = nas(*command, "--set", "data.path=/nowhere")
        assert said.code == code
        assert "/nowhere" in said.error
        assert words in said.error


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("space.width=-1", "space 'mixpath-s1': width must be above 0 and at most 64, got -1.0"),
        ("space.stem_stride=3", "space 'mixpath-s1': stem_stride must be 1 or 2, got 3"),
    ],
)
def test_a_setting_that_cannot_be_is_named_alone(setting: str, words: str) -> None:
    assert nas(*DIGITS, "--set", setting).error == words


@pytest.mark.parametrize(
    "words",
    [
        ("train-supernet", "mixpath", "--space", "mixpath-s9"),
        ("train-supernet", "mixpath", "--data", "digit"),
    ],
)
def test_nothing_is_said_of_work_before_names_are_checked(words: tuple[str, ...]) -> None:
    said = nas(*words)
    assert said.code == 2
    assert said.err.startswith("error: ")


def test_missing_data_exit_with_3_and_the_command_that_gets_them(tmp_path: Path) -> None:
    said = nas("train-supernet", "mixpath", "--json")
    assert said.code == 3
    assert "nas data get cifar10" in said.error
    assert not (tmp_path / "runs").exists()


def test_a_search_without_a_supernet_exits_with_3_and_says_how_to_make_one() -> None:
    said = nas("search", "spos")
    assert said.code == 3
    assert "nas train-supernet spos" in said.error
    assert nas("search", "sops").code == 2


def test_a_bound_that_no_network_meets_exits_with_4_and_says_what_can_be_reached(supernet: Path, tmp_path: Path) -> None:
    said = nas("search", "mixpath", "--run", supernet, "--max", "macs=10K", "--json")
    assert said.code == 4
    assert "macs <= 10000" in said.error
    assert "reaches down to" in said.error
    assert not (tmp_path / "runs").exists()


def test_a_target_that_is_there_is_kept(supernet: Path, tmp_path: Path) -> None:
    before = sorted((file.name, file.stat().st_mtime_ns) for file in supernet.iterdir())
    assert f"nas runs resume {supernet}" in train(supernet).error
    assert sorted((file.name, file.stat().st_mtime_ns) for file in supernet.iterdir()) == before
    (tmp_path / "mine").write_text("mine")
    assert "already there" in train(tmp_path / "mine").error
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("search", "spos"), ("mixpath, not spos",)),
        (("search", "mixpath", "--objective", "eror"), ("'eror'", "did you mean 'error'?")),
        (("search", "mixpath", "--objective", "macs", "--objective", "macs"), ("twice",)),
        (("search", "mixpath", "--max", "mac=3M"), ("mac", "did you mean 'macs'?")),
        (("search", "mixpath", "--set", "space.m=1"), ("space.m", "2", "1")),
        (("search", "mixpath", "--set", "data.limit=50"), ("data.limit", "96", "50")),
        (("search", "mixpath", "--set", "method.norm=vanilla"), ("method.norm", "linear", "vanilla")),
        (("search", "mixpath", "--set", "method.norm=exponential"), ("method.norm", "linear", "exponential")),
        (("search", "mixpath", "--calib-images", 1), ("--calib-images",)),
        (("search", "mixpath", "--set", "method.calib_images=0"), ("calib_images = 0", "greater than or equal to 2")),
        (("search", "mixpath", "--set", "method.strategy=evolution", "--set", "method.population=0"), ("population = 0",)),
        (("search", "mixpath", "--set", "method.strategy=nsga3"), ("strategy", "nsga3")),
        (("search", "mixpath", "--set", "method.lr=0.1"), ("method.lr has no effect", "budget, strategy, population")),
        (("search", "mixpath", "--set", "method.bugdet=3"), ("'bugdet'", "did you mean 'budget'?")),
    ],
    ids=lambda value: " ".join(map(str, value))[-60:] if isinstance(value, tuple) else None,
)
def test_a_search_that_does_not_fit_its_supernet_is_refused(
    words: tuple[object, ...], parts: tuple[str, ...], supernet: Path, tmp_path: Path
) -> None:
    said = nas(*words, "--run", supernet)
    assert said.code == 2, said.err
    assert all(part in said.error for part in parts), said.error
    assert not (tmp_path / "runs").exists()


def test_what_a_run_is_not_good_for_is_refused(supernet: Path) -> None:
    assert "--arch" in nas("retrain", supernet).error
    assert "--arch" in nas("evaluate", supernet).error
    assert "12" in nas("evaluate", supernet, "--arch", "e3k3").error
    assert "--best" in nas("retrain", supernet, "--best", 0).error
    assert "method.lr has no effect" in nas("retrain", supernet, "--set", "method.lr=1").error


def test_a_folder_that_is_no_run_is_neither_shown_nor_removed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "precious"
    folder.mkdir(parents=True)
    (folder / "file").write_text("kept")
    for words in (("runs", "show"), ("runs", "rm", "--yes"), ("report",), ("evaluate",)):
        assert "no run" in nas(*words, folder).error
        assert "no run" in nas(*words, "precious").error
    (folder / RECORD).write_text('{"schema": 9}')
    assert "schema" in nas("runs", "rm", folder, "--yes").error
    (folder / RECORD).write_text("{")
    assert "cannot be read" in nas("runs", "rm", folder, "--yes").error
    assert (folder / "file").read_text() == "kept"
    assert [run["status"] for run in nas("runs", "list", "--json").data] == ["unreadable"]


def test_a_damaged_checkpoint_is_refused(supernet: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(supernet, copy)
    for checkpoint in Run.open(copy).checkpoints():
        weights = checkpoint / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    said = nas("search", "mixpath", "--run", copy)
    assert said.code == 2
    assert "checksum" in said.error
    assert not (tmp_path / "runs").exists()


def test_a_search_takes_from_a_file_what_a_search_can_take(supernet: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("seed = 3\n[method]\nlr = 0.7\nepochs = 9\nbudget = 4\npopulation = 4\n[retrain]\nepochs = 2\n")
    found = nas("search", "mixpath", "--run", supernet, "--config", file, "--json").data
    assert found["evaluated"] == 4
    plan, trained = (Run.open(path).record["plan"] for path in (Path(found["run"]["path"]), supernet))
    assert (plan["seed"], plan["settings"]["retrain"]["epochs"]) == (3, 2)
    for name in ("lr", "epochs"):  # the supernet was trained with others, and a search does not change that
        assert plan["settings"]["method"][name] == trained["settings"]["method"][name]
    file.write_text("[data]\nlimit = 50\n")
    assert "data.limit" in nas("search", "mixpath", "--run", supernet, "--config", file).error


def test_the_device_that_was_used_is_shown(supernet: Path) -> None:
    used = Run.open(supernet).record["environment"]
    assert (used["device"].split(":")[0] in ("cpu", "cuda", "mps"), used["precision"]) == (True, "fp32")
    out = nas("runs", "show", supernet).out
    assert f"{used['device']} (auto)" in re.search(r"^device +(.*)$", out, re.M)[1]  # type: ignore[index]


def test_help_promises_the_settings_that_a_command_takes() -> None:
    def told(*words: str) -> str:
        return " ".join(re.sub(r"[│╭╰─╮╯]", " ", nas(*words, "--help").out).split())

    for words in (("spaces", "show"), ("spaces", "sample"), ("latency", "build"), ("latency", "show")):
        assert "Any setting of the space, such as space.width=0.5" in told(*words)
        assert "method." not in told(*words)
    assert "Any setting of the data set" in told("data", "info")
    assert "method.lr" not in told("data", "info") + told("bench", "make") + told("retrain") + told("search")
    assert "method.budget" in told("search")
