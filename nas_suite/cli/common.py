"""What commands share: their options, completion, and words into values."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

from nas_suite.cli.answer import note
from nas_suite.errors import BadInput, suggest
from nas_suite.registry import Registry
from nas_suite.run import all_runs

SETTINGS = "Settings"
SUFFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}


ORDER = (
    "doctor",
    "spaces",
    "data",
    "recipe",
    "bench",
    "history",
    "latency",
    "train-supernet",
    "rank",
    "compare",
    "tune",
    "meta-train",
    "search",
    "retrain",
    "evaluate",
    "runs",
    "report",
)


class Commands(TyperGroup):
    """A group that lists its commands in the order of work and answers a wrong name with the near one."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise BadInput(f"{ctx.command_path} has no command {args[0]!r}{suggest(args[0], self.list_commands(ctx), 24)}")
        return super().resolve_command(ctx, args)


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(("Example:" if len(lines) == 1 else "Examples:", *lines))


def starting(names: Sequence[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def registered(registry: Registry, incomplete: str) -> list[str]:
    return starting(registry.names(), incomplete)


def complete_space(incomplete: str) -> list[str]:
    from nas_suite.spaces import SPACES

    return registered(SPACES, incomplete)


def complete_method(incomplete: str) -> list[str]:
    from nas_suite.methods import METHODS

    return registered(METHODS, incomplete)


def complete_data(incomplete: str) -> list[str]:
    from nas_suite.data import DATA

    return registered(DATA, incomplete)


def complete_recipe(incomplete: str) -> list[str]:
    from nas_suite.plan import recipes

    return starting([recipe.name for recipe in recipes()], incomplete)


def complete_run(incomplete: str) -> list[str]:
    return starting([run.name for run in all_runs()], incomplete)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]


def setting(which: str, *parts: str) -> Any:
    """The option --set of a command that takes settings of these parts."""
    return typer.Option(
        "--set",
        metavar="PART.FIELD=VALUE",
        help=f"{which}. Repeatable.",
        autocompletion=lambda incomplete: starting([f"{part}." for part in parts], incomplete),
        rich_help_panel=SETTINGS,
    )


Words: TypeAlias = list[str] | None
Sets = Annotated[
    Words,
    setting(
        "Any setting of method, space, data, deploy or retrain, such as method.lr=0.05",
        *("method", "space", "data", "deploy", "retrain"),
    ),
]
SpaceSets = Annotated[Words, setting("Any setting of the space, such as space.width=0.5", "space")]
DataSets = Annotated[Words, setting("Any setting of the data set, such as data.val_fraction=0.2", "data")]
Recipe = Annotated[
    str | None,
    typer.Option(help="A recipe of `nas recipe ls`.", autocompletion=complete_recipe, rich_help_panel=SETTINGS),
]
Config = Annotated[Path | None, typer.Option(help="A TOML file like those of `nas recipe show`.", rich_help_panel=SETTINGS)]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random.", rich_help_panel=SETTINGS)]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training images.", rich_help_panel=SETTINGS)]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images a step.", rich_help_panel=SETTINGS)]
CalibImages = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=2,
        help="Training images that calibrate batch norms before a network is scored.",
        rich_help_panel=SETTINGS,
    ),
]
Lr = Annotated[float | None, typer.Option(help="Learning rate at its highest.", rich_help_panel=SETTINGS)]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default="auto", rich_help_panel=SETTINGS)
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="auto, fp32 or bf16; auto: bf16 where the hardware has it.", show_default="auto", rich_help_panel=SETTINGS
    ),
]
Out = Annotated[Path | None, typer.Option(help="The run's folder.", show_default="a new one under runs/")]
SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="A space of `nas spaces list`.", autocompletion=complete_space)]
DataName = Annotated[str, typer.Argument(metavar="DATA", help="A data set of `nas data list`.", autocompletion=complete_data)]
MethodName = Annotated[
    str,
    typer.Argument(
        metavar="METHOD",
        help="mixpath, spos, fairnas, tfnas, tnas, or a searcher such as random.",
        autocompletion=complete_method,
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its name or its folder.", autocompletion=complete_run)]
Architecture = Annotated[
    str | None, typer.Option(metavar="TEXT", help="An architecture, as `nas spaces sample` or a search prints it.")
]


def bounds(words: Sequence[str]) -> dict[str, float]:
    """`macs=300M` words as costs and their upper bounds."""
    found: dict[str, float] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (equals and name) or (bound := amount(value)) is None:
            raise BadInput(f"--max {word!r} is not of the form COST=NUMBER with a number above 0, such as macs=300M (K, M, G)")
        if name in found:
            raise BadInput(f"--max bounds {name} twice")
        found[name] = bound
    return found


def amount(text: str) -> float | None:
    """A number above 0 with an optional suffix K, M or G; None where it is none."""
    suffix = text[-1:].upper() if text[-1:].isalpha() else ""
    try:
        value = float(text.removesuffix(text[-1:]) if suffix else text) * SUFFIXES[suffix]
    except (ValueError, KeyError):
        return None
    return value if 0 < value < float("inf") else None


def settings_of(part: str, sets: Sequence[str] | None) -> dict[str, Any]:
    """`--set` words of a command that knows one part alone, as that part's settings."""
    from nas_suite.plan import assignments

    found = assignments(sets or ())
    for other, name, _ in found:
        if other != part:
            raise BadInput(f"--set {other}.{name}: only settings of {part} count here, such as {part}.{name}")
    return {name: value for _, name, value in found}


def agreed(question: str) -> bool:
    """Whether the answer on stdin is yes; no answer is none."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    reply = sys.stdin.readline()
    if not sys.stdin.isatty():  # nobody's return key ended the line
        note("")
    return reply.strip().lower() in ("y", "yes")
