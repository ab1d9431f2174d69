"""The house keeps its rules: floors, duty lines, abstract or final classes, words that stay out."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nas_suite"
FLOORS = (
    ("errors", "words"),
    ("disk",),
    ("registry", "space", "run", "depthwise", "scaling"),
    ("data", "plan", "cells", "edgecells", "objective", "engine", "layers", "supernet", "foreign", "graph"),
    (
        "cost",
        "ground",
        "chain",
        "cellnet",
        "search",
        "standalone",
        "artefact",
        "tables",
        "rank",
        "workers",
        "prefix",
        "cellrows",
        "proxies",
        "encoders",
        "history",
    ),
    ("method", "multipath", "elastic", "latency", "surrogate", "candidates", "tuning"),
    ("oneshot", "target", "bayes", "local"),
    ("methods", "spaces", "rivals"),
    ("importers",),
    ("pipeline", "catalogue"),
    ("telling",),
    ("statistics", "report"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))
FREE = {"__init__", "__main__", "recipes"}  # the public names, the way in, and folders of data


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def ours(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=ours)
def test_a_module_imports_only_from_floors_below(path: Path) -> None:
    here = room(ours(path))
    if here in FREE:
        return
    assert here in FLOOR, f"{here} stands on no floor: add it to FLOORS"
    for module in imports(path):
        if module.split(".")[0] != "nas_suite" or module == "nas_suite":
            continue
        there = room(module)
        if there == here and here in ("methods", "spaces"):
            pytest.fail(f"{ours(path)} imports its sibling {module}")
        assert there == here or there in FREE or FLOOR[there] < FLOOR[here], f"{ours(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=ours)
def test_a_module_says_its_duty_in_one_line_and_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text()
    duty = ast.get_docstring(ast.parse(text)) or ""
    assert re.match(r"\S.*[.!?…]?$", duty.split("\n")[0]), f"{ours(path)} has no duty line"
    assert text.count("\n") <= 400, f"{ours(path)} is too long for one sitting: look for the missing noun"


@pytest.mark.parametrize("path", MODULES, ids=ours)
def test_words_that_stay_out(path: Path) -> None:
    text = path.read_text()
    for pattern in (r"\bhasattr\(", r"except:", r"pickle\.load", r"weights_only=False", r"\bTODO\b", r"^\s*print\("):
        if not (pattern.endswith(r"print\(") and room(ours(path)) == "cli"):
            assert not re.search(pattern, text, re.M), f"{ours(path)} has {pattern}"


def test_pymoo_and_plotly_are_imported_in_one_room_each() -> None:
    homes = {"pymoo": "search", "plotly": "report", "sqlalchemy": "history", "gpytorch": "surrogate", "botorch": "surrogate"}
    homes["optuna"] = "tuning"
    for path in MODULES:
        for module in imports(path):
            home = homes.get(module.split(".")[0])
            assert home in (None, room(ours(path))), f"{ours(path)} imports {module}"


def test_no_class_of_ours_inherits_from_a_final_one() -> None:
    concrete, bases = set(), []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names = {ast.unparse(b).split("[")[0] for b in node.bases}
                abstract = "ABC" in names or any(
                    "abstractmethod" in ast.unparse(d) for f in node.body for d in getattr(f, "decorator_list", [])
                )
                bases.append((path, node.name, names))
                if not abstract:
                    concrete.add(node.name)
    allowed = {"BadInput", "Method", "Choice"}  # errors form a family; Method and Choice leave `step` and branches to others
    for path, name, names in bases:
        assert not (names & concrete - allowed), f"{ours(path)}: {name} inherits from the final {names & concrete}"


def test_importing_the_package_imports_no_torch() -> None:
    import subprocess

    light = "nas_suite, nas_suite.spaces, nas_suite.methods, nas_suite.plan, nas_suite.data, nas_suite.run"
    code = f"import sys, {light}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_the_pipeline_imports_nothing_that_most_commands_do_without() -> None:
    import subprocess

    heavy = "{'gpytorch', 'botorch', 'sqlalchemy', 'pymoo', 'plotly', 'sklearn'}"
    code = f"import sys, nas_suite.pipeline; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
