"""Measurements of the models: on held-out formulas, on harder splits, beside baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from matlode import completion
from matlode.cli.printing import (
    print_designs,
    print_json,
    print_scores,
    print_screens,
    print_table,
)
from matlode.cli.shared import (
    FORMER_COMMAND,
    AsJson,
    Commands,
    DataTable,
    FewWorkers,
    ModelsFolder,
    PropertiesFile,
    Scheduler,
    open_engine,
    refuse,
    show_command_progress,
)


class EvaluateCommands(Commands):
    """The commands below `matlode evaluate`, which was one command for properties."""

    def advise(self, word: str) -> str:
        """The new form of a property's name and of the former options."""
        return f"Properties are evaluated by `matlode evaluate properties {word}`."


commands = typer.Typer(
    help="Score the models on held-out data, beside baselines.",
    cls=EvaluateCommands,
    context_settings=FORMER_COMMAND,
    no_args_is_help=True,
)

Split = Annotated[
    str,
    typer.Option(
        help="random, formula, chemical_system or prototype.",
        autocompletion=completion.of(completion.SPLITS),
    ),
]
FoldsFolder = Annotated[Path, typer.Option(help="Folder that finished folds are kept in.")]


@commands.command("properties")
def evaluate_properties(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Properties (default: all).",
            autocompletion=completion.of(completion.PROPERTIES),
        ),
    ] = None,
    stored: Annotated[
        bool, typer.Option(help="Print the scores stored with the models; measure nothing.")
    ] = False,
    data: DataTable = None,
    models: ModelsFolder = None,
    properties: PropertiesFile = None,
    as_json: AsJson = False,
) -> None:
    """Predicted properties of test formulas, beside baselines."""
    from matlode.evaluation.properties import measure_scores, stored_scores

    if stored:
        refuse(ctx, "data", "properties", when="with --stored, which measures nothing")
        rows = stored_scores(names, models=models)
    else:
        with show_command_progress() as progress:
            rows = measure_scores(
                names, data=data, models=models, properties=properties, progress=progress
            )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_scores(rows)


@commands.command("latent")
def evaluate_latent(
    data: DataTable = None,
    models: ModelsFolder = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for figures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Latent spaces: reconstruction, samples, neighbours."""
    from matlode.evaluation.latent import measure_latent
    from matlode.evaluation.latent_figures import draw_latent_figures
    from matlode.latent.space import FACES

    with show_command_progress() as progress:
        rows = measure_latent(data=data, models=models, progress=progress)
        if figures is not None:
            draw_latent_figures(figures, data=data, models=models, progress=progress)
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    cells = [
        [row.name, *("" if (v := row.by_face[f]) is None else f"{v:.4g}" for f in FACES)]
        for row in rows
    ]
    print_table(["measure", *FACES], cells, title=f"latent spaces: {rows[0].measured_on}, unseen")


@commands.command("folds")
def evaluate_folds(
    split: Split = "chemical_system",
    data: DataTable = None,
    models: ModelsFolder = None,
    out: FoldsFolder = Path("folds"),
    workers: FewWorkers = 1,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Cross-validate the property network. Continues where it was interrupted."""
    from matlode.evaluation.cross_validation import cross_validate

    many = workers != 1 or scheduler is not None
    with show_command_progress(kept=True) as progress, open_engine(workers, scheduler) as engine:
        rows = cross_validate(
            split=split, data=data, out=out, models=models, engine=engine if many else None,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_scores(rows)


@commands.command("symmetry")
def evaluate_symmetry(
    split: Split = "chemical_system",
    data: DataTable = None,
    models: ModelsFolder = None,
    out: FoldsFolder = Path("folds"),
    as_json: AsJson = False,
) -> None:
    """Space groups on another split. Continues where it was interrupted."""
    from matlode.evaluation.symmetry import measure_symmetry

    with show_command_progress(kept=True) as progress:
        rows = measure_symmetry(split=split, data=data, out=out, models=models, progress=progress)
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_scores(rows)


@commands.command("realisation")
def evaluate_realisation(
    structures: Annotated[int, typer.Option(min=1, help="Structures to rebuild.")] = 300,
    data: DataTable = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Crystal structures that are built for hidden formulas."""
    from matlode.evaluation.realisation import measure_realisation

    with show_command_progress() as progress:
        rows = measure_realisation(
            data=data, models=models, n_structures=structures, progress=progress
        )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_scores(rows)


@commands.command("screens")
def evaluate_screens(
    phases: Annotated[
        int | None, typer.Option(min=1, help="Real phases to screen (default: all).")
    ] = None,
    wrong: Annotated[int, typer.Option(min=1, help="Wrong crystals of each kind.")] = 300,
    data: DataTable = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Screens, on stable phases and on wrong crystals."""
    from matlode.evaluation.screens import measure_screens

    with show_command_progress() as progress:
        rows = measure_screens(
            data=data, models=models, n_real=phases, n_wrong=wrong, progress=progress
        )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_screens(rows)


@commands.command("potentials")
def evaluate_potentials(
    structures: Annotated[
        int, typer.Option(min=1, max=100, help="Known structures to compute.")
    ] = 100,
    data: DataTable = None,
    models: ModelsFolder = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of models that the errors are written into, for reports."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Two ML potentials, on known materials."""
    from matlode.evaluation.potentials import measure_potentials

    with show_command_progress(kept=True) as progress, open_engine() as engine:
        rows = measure_potentials(
            data=data, models=models, n_structures=structures, keep=out, engine=engine,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_scores(rows)


@commands.command("designs")
def evaluate_designs(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of searches with evidence (matlode relax).")
    ],
    data: DataTable = None,
    models: ModelsFolder = None,
    offsets: Annotated[
        Path | None,
        typer.Option(help="JSON of the potential's offsets: element → eV per atom of it."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of models for what the errors tell about further candidates."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predictions for relaxed candidates: errors and coverage by goal."""
    from matlode.evaluation.designs import measure_designs

    with show_command_progress() as progress:
        rows = measure_designs(
            folders, data=data, models=models, offsets=offsets, out=out, progress=progress
        )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_designs(rows)


@commands.command("accuracy")
def evaluate_accuracy(
    ctx: typer.Context,
    data: DataTable = None,
    models: ModelsFolder = None,
    folds: Annotated[
        Path, typer.Option(help="Folder of `evaluate folds` and `evaluate symmetry`.")
    ] = Path("folds"),
    figures: Annotated[
        Path | None,
        typer.Option(help="Folder for figures; adds the scores of derived properties."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Page to write (default: docs/accuracy.md).")
    ] = None,
) -> None:
    """Write all scores into one page."""
    from matlode.evaluation.accuracy import PAGE, write_accuracy

    if figures is None:
        refuse(ctx, "data", when="without --figures: the scores stand in the models' headers")
    with show_command_progress() as progress:
        page = write_accuracy(
            data=data, models=models, folds=folds, figures=figures, out=out or PAGE,
            progress=progress,
        )  # fmt: skip
    print(page)
