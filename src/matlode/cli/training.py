"""Commands that train models."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import typer

from matlode import completion
from matlode.cli.shared import FORMER_COMMAND, Commands, DataTable, refuse, show_command_progress


class TrainCommands(Commands):
    """The commands below `matlode train`, which was one command."""

    def advise(self, word: str) -> str:
        """The new form of a model's name and of the former options."""
        if word == "--properties":
            return "Your own properties are trained by `matlode train properties FILE`."
        return f"Models are trained by `matlode train models {word}`."


commands = typer.Typer(
    help="Train models on a table of structures.",
    cls=TrainCommands,
    context_settings=FORMER_COMMAND,
    no_args_is_help=True,
)

OutFolder = Annotated[Path, typer.Option(help="Folder for the models.")]
Settings = Annotated[
    Path | None,
    typer.Option(help="TOML file of hyper-parameters, such as `matlode tune` writes."),
]
Force = Annotated[bool, typer.Option(help="Also train models that are up to date.")]


@commands.command("models")
def train_models(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models (default: those of --settings, else the standard ones).",
            autocompletion=completion.complete_models,
        ),
    ] = None,
    data: DataTable = None,
    out: OutFolder = Path("models"),
    settings: Settings = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the networks, for a quick try.")
    ] = None,
    force: Force = False,
) -> None:
    """Train the models that matlode brings.

    Continues from checkpoints where it was interrupted; prints held-out scores.
    """
    from matlode.training.model_table import MODELS
    from matlode.training.train import train_models

    wanted = names or _models_in(settings)
    if names:
        _refuse_settings(ctx, settings, names)
    if wanted and all(name in MODELS and not MODELS[name].is_network for name in wanted):
        refuse(ctx, "epochs", when=f"for {', '.join(wanted)}: none of them is a network")
    with show_command_progress(kept=True) as progress:
        headers = train_models(
            names or None, data=data, out=out, settings=settings, epochs=epochs, force=force,
            progress=progress,
        )  # fmt: skip
    _print_scores(headers)


@commands.command("properties")
def train_properties(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="TOML file of your own properties (docs/own-properties.md).")
    ],
    data: DataTable = None,
    out: OutFolder = Path("models"),
    settings: Settings = None,
    force: Force = False,
) -> None:
    """Train models of your own properties.

    They build on the latent space and the property network in --out, else on the shipped ones;
    prints held-out scores.
    """
    from matlode.properties.models import head_name
    from matlode.properties.own import read_properties
    from matlode.training.train import train_models

    names = [head_name(name, "standard") for name in read_properties(file)]
    _refuse_settings(ctx, settings, names)
    with show_command_progress(kept=True) as progress:
        headers = train_models(
            names, data=data, out=out, properties=file, settings=settings, force=force,
            progress=progress,
        )  # fmt: skip
    _print_scores(headers)


def _models_in(settings: Path | None) -> list[str]:
    """The models that a settings file has tables for."""
    from matlode.artefacts import read_toml

    return list(read_toml(settings)) if settings else []


def _refuse_settings(ctx: typer.Context, settings: Path | None, names: Collection[str]) -> None:
    """End with a usage error if a settings file is about none of these models."""
    found = _models_in(settings)
    if settings and not set(found) & set(names):
        when = f"for {', '.join(names)}: {settings} sets {', '.join(found) or 'nothing'}"
        refuse(ctx, "settings", when=when)


def _print_scores(headers: Mapping[str, Mapping[str, object]]) -> None:
    for name, header in headers.items():
        print(name, json.dumps(header.get("scores", {})))
