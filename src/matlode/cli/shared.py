"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from matlode.terminal import Volume, shown_progress, volume

if TYPE_CHECKING:
    from matlode.evidence.examination import Examination
    from matlode.jobs.toolbox import Toolbox
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
    """Options that every command shares: of a command of their own, so that typer makes them."""


def _set_volume(loud: Volume, given: bool) -> bool:
    if given:
        volume.set(loud)
    return given


class Commands(TyperGroup):
    """A group whose commands all are as loud as they are told, before their names or after."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        options = get_command(loudness).params
        commands = [c for c in self.commands.values() if not isinstance(c, Commands)]
        for command in (self, *commands):
            command.params += options


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ModelsFolder = Annotated[
    Path | None,
    typer.Option(
        "--models", help="Folder of models; what it lacks is taken from the shipped ones."
    ),
]
PropertiesFile = Annotated[
    Path | None,
    typer.Option("--properties", help="TOML file of own properties (docs/own-properties.md)."),
]
KnownTable = Annotated[
    Path | None,
    typer.Option("--known", help="Parquet table of known materials (default: the starter set)."),
]
ScreensFile = Annotated[
    Path | None,
    typer.Option("--screens", help="TOML file that sets and switches screening rules."),
]
DataTable = Annotated[
    Path | None,
    typer.Option("--data", help="Structure table, or its folder (default: $MATLODE_DATA)."),
]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="MATLODE_STORAGE",
        help="Database URL that workers share, such as postgresql+psycopg://user@host/name "
        "(default: a file in the run folder).",
    ),
]


def progress_of(*, kept: bool = False) -> AbstractContextManager[Progress]:
    """Of a command that, after Ctrl-C, goes on when it is given again (``kept``), or begins
    anew."""
    advice = "goes on from there" if kept else "begins anew, for nothing is kept"
    return shown_progress(lambda: f"The same command {advice}.")


def toolbox_of(models: Path | None, known: Path | None, screens: Path | None = None) -> Toolbox:
    """What options name, and what ships in its place."""
    from matlode.jobs.toolbox import Toolbox
    from matlode.screening.funnel import read_screens

    return Toolbox(models, known, read_screens(screens) if screens else {})


def examination_of(toolbox: Toolbox) -> Examination:
    """Both potentials and this machine, as they are without options."""
    from matlode.evidence.examination import Examination

    return Examination(toolbox.materials, toolbox.models_folder)


def symbols_in(text: str | None) -> list[str] | None:
    """["B", "C"] of "B, C"."""
    if text is None:
        return None
    return [part for part in text.replace(" ", ",").split(",") if part]


def given(**options: Any) -> dict[str, Any]:
    """Options that were used."""
    return {name: value for name, value in options.items() if value not in (None, {}, [])}


def pairs_in(texts: list[str] | None, *, number: bool = False) -> dict[str, Any]:
    """{"band_gap": "1.1..1.7"} of ["band_gap=1.1..1.7"]."""
    from matlode.errors import GoalError

    pairs: dict[str, Any] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if name.strip().endswith(("<", ">")):  # band_gap>=1
            name, value = name.strip()[:-1], name.strip()[-1] + value
        elif not sign and (found := re.fullmatch(r"([^<>]+)([<>].*)", text)):
            name, value = found[1], found[2]
        if not value.strip():
            raise GoalError(f'"{text}": wanted a property and a value, such as band_gap=1.4.')
        try:
            pairs[name.strip()] = float(value) if number else value.strip()
        except ValueError as error:
            raise GoalError(f'"{text}": {value!r} is no number.') from error
    return pairs
