"""Plans: sources in their order, near words for wrong ones, and recipes that all can be built."""

import math
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from command import nas

from nas_suite.data import DATA
from nas_suite.errors import BadInput
from nas_suite.methods import METHODS
from nas_suite.plan import Plan, compose, read, recipes
from nas_suite.registry import Typed, checked, defaults, settable
from nas_suite.spaces import SPACES
from nas_suite.standalone import Recipe


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("seed = 3\n[method]\nepochs = 7\nlr = 0.3\n[space]\nm = 1\n")
    plan = compose(Plan(), "mixpath-digits", file, ["method.lr=0.4", "space.kernels=3,5,7"], epochs=9, seed=None)
    assert (plan.data, plan.seed, plan.recipe) == ("digits", 3, "mixpath-digits")
    assert plan.part("method")["epochs"] == 9
    assert plan.part("method")["lr"] == "0.4"
    assert plan.part("space")["m"] == 1
    assert plan.part("space")["kernels"] == "3,5,7"
    assert plan.part("space")["width"] == 0.2


def test_settings_of_another_space_do_not_carry_over() -> None:
    plan = compose(Plan(), "mixpath-digits", sets=["space.m=1"], space="mixpath-s4")
    assert plan.part("space") == {"m": "1"}
    assert plan.part("data") == {"size": 8}


def test_settings_of_a_file_or_recipe_that_names_other_data_begin_anew(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('use = { data = "lists" }\n[data]\nsize = 32')
    base = Plan(
        data="digits", space="tfnas", settings={"data": {"noise": 0.5}, "space": {"width": 0.5}, "deploy": {"width": 1.0}}
    )
    assert compose(base, config=file).part("data") == {"size": 32}
    made = compose(base, "tfnas-retrain-imagenet")
    assert (made.data, made.part("data"), made.part("deploy")) == ("lists", {"size": 224, "val_fraction": 0.02}, {"width": 1.0})
    file.write_text('use = { data = "digits" }\n[data]\nsize = 16')
    assert compose(base, config=file).part("data") == {"noise": 0.5, "size": 16}


def test_settings_of_a_file_that_names_no_space_are_those_of_the_space_that_is_given(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[space]\nwidth = 0.5\n[data]\nsize = 8\n")
    plan = compose(Plan(), config=file, space="mixpath-s3", data="digits")
    assert (plan.part("space"), plan.part("data")) == ({"width": 0.5}, {"size": 8})
    over = compose(Plan(), recipe_name="mixpath-s4-digits", config=file, space="mixpath-s3")
    assert over.part("space") == {"width": 0.5}, "the recipe's own are of its space"


def test_the_paths_of_a_recipe_are_those_of_its_own_method(tmp_path: Path) -> None:
    assert compose(Plan(), "mixpath-digits").part("space")["m"] == 2
    assert "m" not in compose(Plan(), "mixpath-digits", method="spos").part("space")
    assert compose(Plan(), "mixpath-digits", sets=["space.m=3"], method="spos").part("space")["m"] == "3"
    file = tmp_path / "my.toml"
    file.write_text('use = { method = "fairnas" }')
    assert "m" not in compose(Plan(), "mixpath-digits", file).part("space")
    file.write_text("[space]\nm = 3")
    assert compose(Plan(), "mixpath-digits", file, method="spos").part("space")["m"] == 3


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("path", "my flöwers, 1", Path("my flöwers, 1")),
        ("path", "123", Path("123")),
        ("path", "2024-01-01", Path("2024-01-01")),
        ("path", "1e3", Path("1e3")),
        ("path", "true", Path("true")),
        ("path", '"a, b"', Path("a, b")),
        ("path", "['a']", Path("['a']")),
        ("size", "12", 12),
        ("val_fraction", "0.25", 0.25),
    ],
)
def test_a_typed_value_is_read_as_its_setting_says(name: str, text: str, meant: object) -> None:
    assert checked(DATA.load("folder"), "data", {name: Typed(text)}) == {name: meant}


@pytest.mark.parametrize("text", ["3,5,7", "[3, 5, 7]", "['3', 5, 7]"])
def test_a_typed_list_is_a_list(text: str) -> None:
    assert checked(SPACES.load("mixpath-s1"), "space", {"kernels": Typed(text)}) == {"kernels": (3, 5, 7)}


def test_typed_switches_words_and_numbers() -> None:
    method = METHODS.load("mixpath")
    typed = {"flip": Typed("false"), "norm": Typed("vanilla"), "lr": Typed("1e-2"), "strategy": Typed('"random"')}
    assert checked(method, "method", typed) == {"flip": False, "norm": "vanilla", "lr": 0.01, "strategy": "random"}


OUTSIDE = {
    "epochs": (0, True, 1.5),
    "batch_size": (0, 1),
    "lr": (0, -1, math.inf, math.nan, True),
    "min_lr": (-9, math.nan),
    "warmup_epochs": (-1,),
    "momentum": (1, 2, -0.1, math.nan),
    "weight_decay": (-1, math.inf),
    "clip": (-1, math.nan),
    "label_smoothing": (1, 3, -0.1),
    "pad": (-1,),
    "cutout": (-1,),
}
OF_METHODS = {
    "calib_images": (0, -5),
    "score_images": (-1,),
    "budget": (0, -3),
    "population": (0, 1),
    "crossover": (7, -1, math.nan),
    "mutation": (5, -1),
}
OF_DERIVING = {
    "latency": (0, -1, math.inf, math.nan, True),
    "choice_lr": (0, -1, math.nan),
    "choice_momentum": (1, -0.1),
    "choice_weight_decay": (-1, math.inf),
    "latency_weight": (-1, math.nan),
    "temperature": (0, -5, math.inf),
    "temperature_decay": (0, 1.1, math.nan),
    "least_share": (-0.1, 1.5),
    "jitter": (-0.1, 1.5),
    "hue": (-0.1, 0.6),
}
OF_TRAININGS = {
    "budget": (0, -3, True),
    "init_size": (0,),
    "search_epochs": (0, 1.5),
    "search_width": (0, -1, math.nan),
    "finalists": (-1,),
    "finalist_seeds": (0,),
    "parallel": (0,),
    "patience": (-1,),
    "max_seconds": (-1, math.inf),
}
OF_RETRAINING = {"ema": (1, 1.5, -1), "drop_path": (1, 2, -1), "dropout": (1, -0.1), "jitter": (-0.1, 1.5), "hue": (-0.1, 0.6)}


@pytest.mark.parametrize("name", METHODS.names())
def test_what_a_method_cannot_do_is_refused(name: str) -> None:
    method = METHODS.load(name)
    if method.direct:
        refused(method, OF_TRAININGS)
        return
    outside = {setting: values for setting, values in OUTSIDE.items() if setting in settable(method)}
    assert len(outside) >= len(OUTSIDE) - method.derives
    refused(method, outside | (OF_DERIVING if method.derives else OF_METHODS))


def test_what_retraining_cannot_do_is_refused() -> None:
    refused(Recipe, OUTSIDE | OF_RETRAINING)


def refused(cls: type, outside: dict) -> None:
    assert checked(cls, "it", defaults(cls)) == defaults(cls)
    for name, values in outside.items():
        for value in values:
            for given in (value, Typed(str(value).lower())):
                with pytest.raises(BadInput, match=f"^it: {name} = .* does not fit: input should"):
                    checked(cls, "it", {name: given})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": {"epochs": 5, "warmup_epochs": 5}}, "warmup_epochs = 5 must be less than epochs = 5"),
        ({"retrain": {"epochs": 2}}, "retrain: warmup_epochs = 5 must be less than epochs = 2; set retrain.warmup_epochs"),
        ({"data": {"limit": True}}, "limit = True"),
        ({"data": {"size": 1_000_000}}, "data.size = 1000000 must be at most 4096"),
        ({"data": {"size": 8}, "method": {"pad": 8}}, "method.pad = 8 must be less than the side of the images of digits, 8"),
        ({"data": {"size": 8}, "retrain": {"pad": 9}}, "retrain.pad = 9"),
        ({"space": {"width": math.inf}}, "width = inf"),
        ({"space": {"width": 1e9}}, "width must be above 0 and at most 64"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict, said: str) -> None:
    from nas_suite.pipeline import prepare

    with pytest.raises(BadInput) as caught:
        prepare(Plan(data="digits", settings=settings))
    assert said in str(caught.value)


@pytest.mark.parametrize("space", ["mixpath-s1", "mixpath-s2", "mixpath-s3", "mixpath-s4"])
@pytest.mark.parametrize("width", [0.0, -1.0, 65.0, math.inf, math.nan])
def test_a_width_that_no_network_has_is_refused(space: str, width: float) -> None:
    with pytest.raises(ValueError, match="width must be above 0 and at most 64"):
        SPACES.load(space)(width=width)


@pytest.mark.parametrize("space", ["mixpath-s1", "mixpath-s2", "mixpath-s3", "mixpath-s4"])
@pytest.mark.parametrize("settings", [{"classes": 10**20}, {"image_size": 10**20}, {"channels": 10**20}], ids=str)
def test_images_that_no_network_reads_are_refused(space: str, settings: dict) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} must be .*, got 10{{18}}"):
        SPACES.load(space)(**settings)


def test_cells_without_end_are_refused() -> None:
    with pytest.raises(ValueError, match="cells must be 1 to 64, got 1000000000"):
        SPACES.load("mixpath-s4")(cells=10**9)


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("space", SPACES.names())
def test_a_single_path_method_starts_with_one_path_where_nobody_says_otherwise(method: str, space: str) -> None:
    from nas_suite.pipeline import typed

    if not issubclass(SPACES.load(space), METHODS.load(method).needs):
        pytest.skip(f"{method} needs a {METHODS.load(method).needs.__name__}")
    bounded, single = "m" in settable(SPACES.load(space)), METHODS.load(method).single_path
    plan = compose(Plan(), method=method, space=space, data="digits")
    assert typed(plan).part("space") == ({"m": 1} if bounded and single else {})
    if bounded:
        assert typed(compose(plan, sets=["space.m=2"])).part("space") == {"m": 2}


def test_a_run_records_the_single_path() -> None:
    from nas_suite.pipeline.setting import prepare, settled

    plan = compose(Plan(), method="spos", space="mixpath-s2", data="digits")
    setting = prepare(plan)
    assert setting.space.m == 1  # type: ignore[attr-defined]
    assert settled(setting).record()["settings"]["space"]["m"] == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [("no_such_module:Space", "No module named"), ("math:Space", "no attribute 'Space'"), ("math:pi", "no dataclass")],
)
def test_an_entry_point_that_is_broken_is_named(value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[EntryPoint]:
        return [EntryPoint("broken", value, group)]

    monkeypatch.setattr("nas_suite.registry.entry_points", points)
    shown = nas("spaces", "show", "broken")
    assert shown.code == 2
    assert all(part in shown.error for part in ("space 'broken' cannot be loaded", value, SPACES.group, reason))
    listed = {s["name"]: s for s in nas("spaces", "list", "--json").data}
    assert listed["broken"]["size"] is None
    assert reason in listed["broken"]["about"]
    assert listed["mixpath-s4"]["size"] == 34
    assert "cannot be loaded" in nas("spaces", "list").out
    assert "cannot be loaded" in nas("data", "list").out


@pytest.mark.parametrize("recipe", recipes(), ids=lambda r: r.name)
def test_every_recipe_names_what_there_is_and_says_what_it_costs(recipe: object) -> None:
    plan = read(Plan(), recipe.text, recipe.name)  # type: ignore[attr-defined]
    assert recipe.about  # type: ignore[attr-defined]
    assert recipe.cost  # type: ignore[attr-defined]
    assert recipe.expect  # type: ignore[attr-defined]
    checked(METHODS.load(plan.method), "method", plan.part("method"))
    SPACES.build(plan.space, plan.part("space"))
    Recipe(**checked(Recipe, "retrain", plan.part("retrain")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = ", "no TOML"),
        ("sede = 1", "did you mean 'seed'"),
        ("method = 3", "must be a table"),
        ('use = { metod = "mixpath" }', "did you mean 'method'"),
        ("use = 3", "use must be a table"),
        ('use = "digits"', "use must be a table"),
        ('threads = "many"', "threads"),
        ('seed = "one"', "seed"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_near_word(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        compose(Plan(), config=file)
    assert str(file) in str(caught.value)


def test_numbers_below_0_are_refused() -> None:
    for bad in ({"seed": -1}, {"threads": -1}):
        with pytest.raises(BadInput, match="at least 0"):
            compose(Plan(), **bad)
    with pytest.raises(BadInput, match=r"below 2\*\*63"):
        compose(Plan(), seed=1 << 63)


@pytest.mark.parametrize("word", ["lr=0.1", "method.lr", "metod.lr=1", "=1", "method.=1"])
def test_a_set_word_that_is_wrong_is_refused(word: str) -> None:
    with pytest.raises(BadInput, match="--set"):
        compose(Plan(), sets=[word])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        compose(Plan(), config=tmp_path / "nothing.toml")


def test_a_plan_comes_back_from_its_record() -> None:
    plan = compose(Plan(), "mixpath-digits", seed=5)
    assert Plan.from_record(plan.record()) == plan
    with pytest.raises(BadInput, match="plan cannot be read"):
        Plan.from_record({"method": "mixpath", "planet": "earth"})
