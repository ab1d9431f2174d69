"""`nas recipe`: whole plans that ship with the suite."""

from pathlib import Path
from typing import Annotated

import typer

from nas_suite.cli.answer import answer, note
from nas_suite.cli.common import Commands, Json, complete_recipe, example
from nas_suite.cli.layout import Prose, Table
from nas_suite.errors import BadInput

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Recipes: whole plans, with what they cost and what to expect.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A recipe of `nas recipe ls`.", autocompletion=complete_recipe)]


@app.command(epilog=example("nas recipe ls"))
def ls(as_json: Json = False) -> None:
    """List the recipes."""
    from nas_suite.plan import recipes

    found = [{"name": r.name, "about": r.about, "cost": r.cost, "expect": r.expect} for r in recipes()]
    rows = [(r["name"], *(Prose(r[key]) for key in ("about", "cost", "expect"))) for r in found]
    answer("recipe ls", found, as_json, [Table(("recipe", "about", "cost", "expect"), rows)])


@app.command(epilog=example("nas recipe show mixpath-digits"))
def show(name: Name, as_json: Json = False) -> None:
    """Print a recipe."""
    from nas_suite.plan import recipe

    found = recipe(name)
    data = {"name": name, "about": found.about, "cost": found.cost, "expect": found.expect, "text": found.text}
    answer("recipe show", data, as_json, [found.text.rstrip("\n")])


@app.command(epilog=example("nas recipe cp mixpath-digits my.toml"))
def cp(
    name: Name,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", show_default="NAME.toml", help="Where to.")] = None,
    as_json: Json = False,
) -> None:
    """Copy a recipe into a file of yours, to change it."""
    from nas_suite.plan import Plan, read, recipe
    from nas_suite.run import write_atomic

    text = recipe(name).text
    target = file or Path(f"{name}.toml")
    if target.exists() or not target.parent.is_dir():
        raise BadInput(f"{target} is already there" if target.exists() else f"there is no folder {target.parent}")
    write_atomic(target, text.encode(), "name another file")
    answer("recipe cp", {"name": name, "file": str(target)}, as_json, [f"{name} is in {target}"])
    note(f"next: nas train-supernet {read(Plan(), text, name).method} --config {target}")
