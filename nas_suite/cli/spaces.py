"""`nas spaces`: what can be searched."""

from typing import Annotated

import typer

from nas_suite.cli.answer import answer, facts, note, short
from nas_suite.cli.common import Architecture, Commands, Json, SpaceName, SpaceSets, example, settings_of
from nas_suite.cli.layout import Prose, Table
from nas_suite.run import quoted
from nas_suite.words import plural

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Search spaces: list them, look into one, draw architectures.")


@app.command("list", epilog=example("nas spaces list"))
def list_spaces(as_json: Json = False) -> None:
    """List the search spaces."""
    from nas_suite import catalogue

    found = catalogue.spaces()
    counts = [("–", "–") if s["size"] is None else (str(s["variables"]), short(s["size"])) for s in found]
    rows = [(s["name"], *count, Prose(s["about"])) for s, count in zip(found, counts, strict=True)]
    answer("spaces list", found, as_json, [Table(("space", "variables", "networks", "about"), rows)])


@app.command(epilog=example("nas spaces show mixpath-s1 --set space.m=2", "nas spaces show mixpath-s4 --arch 331P --json"))
def show(name: SpaceName, arch: Architecture = None, sets: SpaceSets = None, as_json: Json = False) -> None:
    """Show a space: its settings, variables and supernet, and what an architecture costs."""
    from nas_suite import catalogue

    found = catalogue.space(name, settings_of("space", sets), arch)
    supernet = found["supernet"]
    heads = {"space": name, "networks": sized(found["size"], found["spellings"])}
    if supernet:
        heads["supernet"] = f"{plural(supernet['parameters'], 'parameter')} ({supernet['norm']} shadow batch norms)"
    heads |= {f"space.{key}": value for key, value in found["settings"].items()}
    parts = [facts(heads), "", variables(found["variables"])]
    if arch is not None:
        counts = {"parameters": f"{found['parameters']:,}", "multiply-adds": f"{found['macs']:,}"}
        parts += ["", found["arch"], facts(counts)]
    answer("spaces show", found, as_json, parts)


def sized(networks: int, spellings: int | None) -> Prose:
    """How many networks a space has, and how many combinations of options where these are more."""
    more = (
        f" distinct, of {spellings:,} spellings: several can mean one network, or none" if (spellings or 0) > networks else ""
    )
    return Prose(f"{networks:,}{more}")


def variables(found: list[dict]) -> Table:
    """A row for each variable; variables in a row with the same options share one."""
    groups: list[tuple[list[str], list[str]]] = []
    for variable in found:
        if groups and groups[-1][1] == variable["options"]:
            groups[-1][0].append(variable["name"])
        else:
            groups.append(([variable["name"]], variable["options"]))
    rows = [(f"{names[0]} … {names[-1]}" if names[1:] else names[0], str(len(o)), spelt(o)) for names, o in groups]
    return Table(("variable", "options", "spelt"), rows)


def spelt(labels: list[str]) -> Prose:
    """Options as an architecture's text spells them; many whole numbers in a row by the first and the last."""
    numbers = [int(label) for label in labels if label.isdecimal()]
    row = len(labels) > 8 and numbers == list(range(numbers[0], numbers[0] + len(labels))) if numbers else False
    return Prose(f"{labels[0]} … {labels[-1]}" if row else " ".join(labels))


@app.command(epilog=example("nas spaces sample mixpath-s1 -n 3 --seed 7"))
def sample(
    name: SpaceName,
    count: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    sets: SpaceSets = None,
    as_json: Json = False,
) -> None:
    """Draw random architectures of a space, one a line."""
    from nas_suite import catalogue

    found = catalogue.samples(name, settings_of("space", sets), count, seed)
    answer("spaces sample", found, as_json, found)
    note(f"next: nas spaces show {name} --arch {quoted(found[0])}")
