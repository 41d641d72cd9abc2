"""Options that several commands share, what is made of them, and how commands are grouped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command

from matlode.terminal import Volume, show_progress, volume

if TYPE_CHECKING:
    from matlode.engine import Engine
    from matlode.progress import Progress

loudness = typer.Typer(add_completion=False)


@loudness.command()
def _loudness(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            expose_value=False,
            callback=lambda given: _set_volume(Volume.QUIET, given),
            help="No progress.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            expose_value=False,
            callback=lambda given: _set_volume(Volume.VERBOSE, given),
            help="Progress as lines with times, and where errors come from.",
        ),
    ] = False,
) -> None:
    """Options that every command takes: of a command of their own, so that typer makes them."""


def _set_volume(loud: Volume, given: bool) -> bool:
    if given:
        volume.set(loud)
    return given


class Commands(TyperGroup):
    """A group of commands that all take --quiet and --verbose, before their names or after."""

    headings: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Heading in the help → the commands below it; the others stand below the last one."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        options = get_command(loudness).params
        commands = [c for c in self.commands.values() if not isinstance(c, Commands)]
        for command in (self, *commands):
            command.params += options

    def sections(self) -> dict[str, list[str]]:
        """Heading → names of its commands, in the order in which help shows them."""
        placed = {name for names in self.headings.values() for name in names}
        rest = [name for name in self.commands if name not in placed]
        found = {heading: list(names) for heading, names in self.headings.items()}
        return {**found, "Commands": rest} if rest else found

    def format_commands(self, ctx: object, formatter: Any) -> None:
        """Write the commands with their first sentences, in one column under all headings."""
        width = max(map(len, self.commands))
        for heading, names in self.sections().items():
            rows = []
            for name in names:
                text = self.commands[name].get_short_help_str(formatter.width - 6 - width)
                rows.append((name.ljust(width), text))  # padded: sections align by themselves
            with formatter.section(heading):
                formatter.write_dl(rows)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; where there is none, a usage error with what
        ``advise`` says, unless a command is spelled like it."""
        word = args[0]
        typo = word[0] != "-" and get_close_matches(word, self.commands, cutoff=0.75)
        if word not in self.commands and not typo and (advice := self.advise(word)):
            ctx.fail(f"No such command {word!r}. {advice}")
        return super().resolve_command(ctx, args)

    def advise(self, word: str) -> str:
        """What to write in place of a word that is not a command, if that is known."""
        return ""


FORMER_COMMAND = {"ignore_unknown_options": True}
"""Context settings of a group that was one command: ``advise`` answers its former options, too."""


def is_given(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter was given on the command line: not by the environment or by default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse(ctx: typer.Context, *names: str, when: str) -> None:
    """End with a usage error if one of these options was given, which has no effect ``when``."""
    for option in ctx.command.params:
        if option.name in names and is_given(ctx, option.name):
            ctx.fail(f"{option.opts[0]} has no effect {when}; leave it out.")


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ModelsFolder = Annotated[
    Path | None,
    typer.Option(
        "--models", help="Folder of models; models that it lacks are taken from the shipped ones."
    ),
]
PropertiesFile = Annotated[
    Path | None,
    typer.Option("--properties", help="TOML file of your own properties (docs/own-properties.md)."),
]
KnownTable = Annotated[
    Path | None,
    typer.Option("--known", help="Parquet table of known materials (default: the starter set)."),
]
ScreensFile = Annotated[
    Path | None,
    typer.Option("--screens", help="TOML file that switches screening rules and sets limits."),
]
DataTable = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Structure table, or its folder (default: $MATLODE_DATA, else the starter set).",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="MATLODE_STORAGE",
        help="Database URL of the record, such as postgresql+psycopg://user@host/name "
        "(default: a file in the run folder).",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        envvar="MATLODE_WORKERS",
        min=0,
        help="Processes on this machine (default: one per core; not with --scheduler).",
    ),
]
FewWorkers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="Processes on this machine (default: this one with a thread per core; 0: one per "
        "core).",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        envvar="MATLODE_SCHEDULER",
        help="Address of a Dask scheduler whose workers compute, such as tcp://host:8786.",
    ),
]


def open_engine(workers: int = 0, scheduler: str | None = None) -> Engine:
    """Where a command computes: a Dask cluster, processes (0: one per core), or this process."""
    from matlode.engine import Here, Processes

    if scheduler is not None:
        from matlode.cluster import Cluster

        return Cluster(scheduler)
    return Here() if workers == 1 else Processes(workers)


def show_command_progress(*, kept: bool = False) -> AbstractContextManager[Progress]:
    """Progress of a command that, after Ctrl-C, continues when it is run again (``kept``), or
    starts from the beginning."""
    advice = "continues from there" if kept else "starts from the beginning; nothing was kept"
    return show_progress(lambda: f"The same command {advice}.")


def load_screens(file: Path | None) -> dict[str, object]:
    """Settings of the screening rules in a TOML file; none without a file."""
    from matlode.screening.funnel import read_screens

    return read_screens(file) if file else {}


def fail_if_nothing_read(errors: Sequence[str | None]) -> None:
    """End with exit status 1 if no source is without an error, so that scripts notice."""
    if all(error is not None for error in errors):
        raise typer.Exit(1)
