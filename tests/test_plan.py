"""Plans: sources in their order, near words for wrong ones, and recipes that all can be built."""

from pathlib import Path

import pytest

from nas_suite.errors import BadInput
from nas_suite.methods import METHODS
from nas_suite.plan import Plan, compose, read, recipes
from nas_suite.registry import checked
from nas_suite.spaces import SPACES
from nas_suite.standalone import Recipe


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("seed = 3\n[method]\nepochs = 7\nlr = 0.3\n[space]\nm = 1\n")
    plan = compose(Plan(), "mixpath-digits", file, ["method.lr=0.4", "space.kernels=3,5,7"], epochs=9, seed=None)
    assert (plan.data, plan.seed, plan.recipe) == ("digits", 3, "mixpath-digits")
    assert plan.part("method")["epochs"] == 9
    assert plan.part("method")["lr"] == 0.4
    assert plan.part("space")["m"] == 1
    assert plan.part("space")["kernels"] == ["3", "5", "7"]
    assert plan.part("space")["width"] == 0.2


def test_settings_of_another_space_do_not_carry_over() -> None:
    plan = compose(Plan(), "mixpath-digits", sets=["space.m=1"], space="mixpath-s4")
    assert plan.part("space") == {"m": 1}
    assert plan.part("data") == {"size": 8}


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
