"""The command line: each command reads its options, calls one job, and prints.

Tables and JSON go to stdout, progress to stderr (`--quiet`: none, `--verbose`: as lines with
times). Exit status 0: done; 1: an error of ours, with advice; 2: wrong usage; 130: Ctrl-C, with how
to continue.
"""

from __future__ import annotations

import gc
import io
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import typer

from matlode.cli import (
    agents,
    benchmarks,
    checks,
    crystals,
    evaluations,
    local_page,
    paper,
    properties,
    searches,
    tables,
    training,
)
from matlode.cli.shared import Commands
from matlode.errors import MatlodeError
from matlode.terminal import Volume, volume
from matlode.version import __version__


class AllCommands(Commands):
    """The commands below `matlode`."""

    headings: ClassVar[Mapping[str, Sequence[str]]] = {
        "Find": ("app", "search", "resume", "show", "explain", "report", "relax", "properties"),
        "Your crystals and patterns": ("predict", "identify", "solve", "xrd"),
        "Use elsewhere": ("export", "mcp"),
        "Your data": ("data",),
        "Models": ("train",),
        "Measure": ("evaluate", "bench"),
        "Reproduce the paper": ("tune", "reproduce"),
        "This machine": ("doctor",),
    }


app = typer.Typer(
    help="Find functional crystals outside the known databases.",
    cls=AllCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help and errors: drawing boxes would take half of the start
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (searches, local_page, properties, crystals, paper, checks, agents):
    app.add_typer(module.commands)
app.add_typer(tables.commands, name="data")
app.add_typer(training.commands, name="train")
app.add_typer(evaluations.commands, name="evaluate")
app.add_typer(benchmarks.commands, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"matlode {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options before the name of a command."""


NO_MEMORY = ("can't allocate memory", "can't start new thread")
"""In messages of PyTorch and Python when memory is short."""


def main() -> None:
    """Run the command line; our errors end in one line of advice."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # file names may hold bytes that are not characters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except MatlodeError as error:
        if volume.get() is Volume.VERBOSE:
            traceback.print_exception(error)
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except (OSError, MemoryError, RuntimeError) as error:
        if (advice := _of_the_machine(error)) is None:
            raise
        print(advice, file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        # on the way out the collector would go through all modules once more, for 0.3 s
        gc.freeze()


def _of_the_machine(error: Exception) -> str | None:
    """Advice on errors of the machine: a full disk, missing rights, too little memory."""
    if isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY):
        return "MemoryError: not enough memory; close other programs, or process less at once."
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{type(error).__name__}: {place}{error.strerror}."
    return None
