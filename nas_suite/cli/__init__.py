"""The command line `nas`: its commands, and errors as one line and an exit code."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_suite.cli import (
    bench,
    compare,
    data,
    doctor,
    history,
    latency,
    meta,
    rank,
    recipes,
    runs,
    search,
    spaces,
    train,
    tune,
)
from nas_suite.cli.answer import drop, note, printing
from nas_suite.cli.common import Commands, example
from nas_suite.errors import BadInput, Interrupted, suggest
from nas_suite.run import Run, handle

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # typer's own, and click's where typer stands on click
CODES = (
    "Exit codes: 0 done; 1 a fault of ours; 2 bad input; 3 data or benchmark missing; 4 target not reachable; "
    "130 or 143 stopped by a signal, state saved."
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # what a disk, or a file that is printed into, may answer
LOOK, RESULTS = "Look around", "Results"

app = typer.Typer(
    name="nas",
    cls=Commands,
    help="Neural architecture search: train a supernet, search it, retrain what was found.",
    epilog="\n\n".join((CODES, example("nas train-supernet mixpath --recipe mixpath-digits"))),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("doctor", rich_help_panel=LOOK, epilog=example("nas doctor"))(doctor.doctor)
app.add_typer(spaces.app, name="spaces", rich_help_panel=LOOK)
app.add_typer(data.app, name="data", rich_help_panel=LOOK)
app.add_typer(recipes.app, name="recipe", rich_help_panel=LOOK)
app.add_typer(bench.app, name="bench", rich_help_panel=LOOK)
app.add_typer(history.app, name="history", rich_help_panel=LOOK)
app.add_typer(latency.app, name="latency", rich_help_panel=LOOK)
app.add_typer(train.app)
app.command("tune", rich_help_panel=train.WORK, epilog=tune.EXAMPLES)(tune.tune)
app.command("meta-train", rich_help_panel=train.WORK, epilog=meta.EXAMPLES)(meta.meta_train)
app.add_typer(search.app)
app.command("rank", rich_help_panel=RESULTS, epilog=rank.EXAMPLES)(rank.rank)
app.command("compare", rich_help_panel=RESULTS, epilog=compare.EXAMPLES)(compare.compare)
app.add_typer(runs.app, name="runs", rich_help_panel=RESULTS)
app.command(
    "report",
    rich_help_panel=RESULTS,
    epilog=example("nas report retrain_mixpath-s1_digits-1", "nas report RUN RUN --out report.html"),
)(runs.report)


def show_version(asked: bool) -> bool:
    if asked:
        from nas_suite import __version__

        typer.echo(f"nas-suite {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def nas(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def main() -> None:
    """The console script."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # None where it was closed before the start
    sys.exit(invoke(sys.argv[1:]))


def invoke(args: Sequence[str]) -> int:
    """Runs one command line; returns its exit code. Errors are one line on stderr, faults a short traceback."""
    from typer.main import get_command

    try:
        with plain_into_pipes():
            code = get_command(app).main(list(args), prog_name="nas", standalone_mode=False) or 0
        with printing():  # help and the version, which are no answers of ours, may still lie in a buffer
            return code
    except UsageError as error:
        if line := usage(error):
            note(f"error: {line}")
        return 2
    except BadInput as error:
        note(f"error: {' '.join(str(error).split())}")
        return error.exit_code
    except Interrupted as stop:
        note(f"stopped by {stop}; everything up to the last {'step' if stop.whole else 'checkpoint'} is saved")
        note(f"resume with: nas runs resume {handle(Run.open(Path(stop.run)))}")
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        note("interrupted")
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            drop(sys.stdout)
            note(f"error: cannot write: {error.strerror}; make room, or print elsewhere")
            return 2
        note("".join(traceback.format_exception(error, limit=-3)).rstrip())
        note("error: this is a fault of nas-suite, not of yours; please report these lines with those of `nas doctor`")
        return 1


@contextlib.contextmanager
def plain_into_pipes() -> Iterator[None]:
    """Within: help has no colours unless stdout is a terminal. Left alone, typer colours it wherever GITHUB_ACTIONS is set."""
    name = "_TYPER_FORCE_DISABLE_TERMINAL"
    if sys.stdout.isatty() or name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]


PLAINLY = (
    ("Value error, ", ""),
    ("Input should be greater than or equal to", "it must be at least"),
    ("Input should be less than or equal to", "it must be at most"),
    ("Input should be", "it must be"),
)
"""Words of the library that checks options, and ours."""


def usage(error: Any) -> str:
    """One line for a command line that cannot be parsed, with the near word; empty where help was printed instead."""
    text, context = " ".join(error.format_message().split()).rstrip("."), error.ctx
    for theirs, ours in PLAINLY:
        text = text.replace(theirs, ours)
    if type(error).__name__ == "NoSuchOption":  # click's and typer's own have no name in common that could be imported
        known = ["--help"] + [option for param in context.command.params for option in param.opts if option.startswith("--")]
        text = f"no such option {error.option_name!r}{suggest(error.option_name, known, most=40)}"
    return f"{text}; see {context.command_path} --help" if text and context else text
