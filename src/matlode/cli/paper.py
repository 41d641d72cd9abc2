"""Commands that reproduce the paper: its hyper-parameter search, its tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from matlode import completion
from matlode.cli.printing import digits, print_json, print_table
from matlode.cli.shared import AsJson, DataTable, ModelsFolder, refuse, show_command_progress

commands = typer.Typer()


@commands.command()
def tune(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="A reference model, such as reference-pattern-vae.",
            autocompletion=completion.complete_models,
        ),
    ],
    data: DataTable = None,
    space: Annotated[
        Path | None, typer.Option(help="TOML file of ranges (default: the paper's).")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of the study in all.")] = 50,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a trial (networks only).")] = 10,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Training rows, for a quick try (default: all).")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Database URL (default: study.db in the output folder).")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name in the storage (default: the model's).")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same study.")] = 0,
    pruner: Annotated[
        str,
        typer.Option(
            help="hyperband, median or none.", autocompletion=completion.of(completion.PRUNERS)
        ),
    ] = "hyperband",
    models: ModelsFolder = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: tuning/MODEL).")] = None,
    as_json: AsJson = False,
) -> None:
    """Search the hyper-parameters of a reference model. Continues where it was interrupted."""
    from matlode.paper.tune import TUNED, TuningSettings
    from matlode.paper.tune import tune as run_tune
    from matlode.training.model_table import MODELS

    if model in TUNED and MODELS[model].is_head:
        refuse(ctx, "epochs", when=f"for {model}: it is made of trees, which have no epochs")
    settings = TuningSettings(trials=trials, epochs=epochs, rows=rows, seed=seed, pruner=pruner)
    with show_command_progress(kept=True) as progress:
        tuning = run_tune(
            model, data=data, space=space, storage=storage, study=study, models=models, out=out,
            settings=settings, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(tuning.summary())
        return
    values = [tuning.measure, "", digits(tuning.start_value), digits(tuning.value)]
    names = [
        [r.name, str(r), digits(tuning.start[r.name]), digits(tuning.best[r.name])]
        for r in tuning.space
    ]
    title = f"{model}: {tuning.trials['complete']} trials, {tuning.trials['pruned']} more pruned"
    print_table(["", "range", tuning.start_name, "best found"], [values, *names], title=title)
    print(f"matlode train models --settings {tuning.folder}/best.toml")


@commands.command()
def reproduce(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the page, its tables and figures.")] = Path(
        "reproduction"
    ),
    data: DataTable = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of the paper's models; what it lacks is trained into it."),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Few rows, one epoch: a test that everything runs.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Runs behind each curve of S8.")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, help="Selects the held-out materials in the figures.")
    ] = 0,
) -> None:
    """Reproduce the paper's tables and figures."""
    from matlode.paper.reproduce import reproduce as make

    if quick:
        refuse(ctx, "seeds", when="with --quick, which sets the number of runs")
    with show_command_progress(kept=True) as progress:
        page = make(
            data=data, models=models, out=out, quick=quick, n_seeds=seeds, seed=seed,
            progress=progress,
        )  # fmt: skip
    print(page)
