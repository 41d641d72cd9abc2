"""The commands. Each reads its options, calls one job, and prints.

Tables and JSON go to stdout, progress to stderr (`--quiet`: none, `--verbose`: as lines with
times). Exit status 0: done; 1: our error, with advice; 2: wrong usage; 130: Ctrl-C, and how to go
on is told.
"""

from __future__ import annotations

import gc
import io
import sys
import traceback

import typer

from matlode.cli import checks, crystals, models, searches, tables
from matlode.cli.shared import Commands
from matlode.errors import MatlodeError
from matlode.terminal import Volume, volume

app = typer.Typer(
    help="Find functional crystals outside the known databases.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help and errors: drawing boxes would take half of the start
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (searches, crystals, models, checks):
    app.add_typer(module.commands)
app.add_typer(tables.commands, name="data")


NO_MEMORY = ("can't allocate memory", "can't start new thread")
"""In texts of what PyTorch and Python raise when there is too little of it."""


def main() -> None:
    """Run the command line; our errors end in one line of advice."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # names of files may hold what is no character
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
    """What to do about what is no fault of ours: a full disk, missing rights, too little memory."""
    if isinstance(error, MemoryError) or any(said in str(error) for said in NO_MEMORY):
        return "MemoryError: the memory does not suffice; close other programs or do less at once."
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{type(error).__name__}: {place}{error.strerror}."
    return None
