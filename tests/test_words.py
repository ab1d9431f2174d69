"""Numbers in words: one thing is no things, and nothing less is not minus nothing."""

import re
from pathlib import Path

import pytest

from nas_suite.cli import answer, rankings, statistics
from nas_suite.report import words
from nas_suite.words import plural

PACKAGE = Path(__file__).resolve().parents[1] / "nas_suite"


def test_one_thing_is_not_called_things() -> None:
    assert [plural(n, "network") for n in (0, 1, 2, 1000)] == ["0 networks", "1 network", "2 networks", "1,000 networks"]
    assert [plural(n, "class", "classes") for n in (1, 3)] == ["1 class", "3 classes"]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_things_are_counted_by_one_helper(path: Path) -> None:
    """What is printed never puts a number of one's own before a plural that `plural` could have put."""
    things = "networks|images|tokens|pairs|rounds|epochs|trainings|repeats|sites|points|stages|labels|fields"
    found = re.search(rf"[\])](:,)?\}} ({things})\b(?! of \d)", path.read_text())
    assert not found, found


def test_zero_has_no_sign() -> None:
    assert {statistics.number(-1e-9), rankings.three(-1e-9), words.three(-1e-9)} == {"0.000"}
    assert {answer.percent(-1e-9), words.percent(-1e-9)} == {"0.00 %"}
    assert rankings.said({"of": "a", "and": "b", "tau": -1e-9, "low": -1e-9, "high": 0.1, "real": False}) == (
        "a less b: +0.000 (+0.000 … +0.100): inside the noise"
    )
    assert words.signed(-1e-9) == "+0.000"
