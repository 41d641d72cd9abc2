"""Commands that train, tune and score models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from matlode import completion
from matlode.cli.printing import digits, print_json, print_scores, print_table
from matlode.cli.shared import AsJson, DataTable, ModelsFolder, PropertiesFile, progress_of

commands = typer.Typer()


@commands.command()
def train(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models to train (default: the standard ones, or own properties).",
            autocompletion=completion.trainable,
        ),
    ] = None,
    data: DataTable = None,
    properties: PropertiesFile = None,
    out: Annotated[Path, typer.Option(help="Folder that the models go into.")] = Path("models"),
    settings: Annotated[
        Path | None,
        typer.Option(help="TOML file of hyper-parameters, such as `matlode tune` writes."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the networks, for a quick try.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Also train what is there already.")] = False,
) -> None:
    """Remake the models. Goes on from checkpoints; prints held-out scores."""
    from matlode.training.train import train_models

    with progress_of(kept=True) as progress:
        headers = train_models(
            names or None,
            data=data,
            out=out,
            properties=properties,
            settings=settings,
            epochs=epochs,
            force=force,
            progress=progress,
        )
    for name, header in headers.items():
        print(name, json.dumps(header.get("scores", {})))


@commands.command()
def tune(
    model: Annotated[
        str,
        typer.Argument(
            help="A reference model, such as reference-pattern-vae.",
            autocompletion=completion.trainable,
        ),
    ],
    data: DataTable = None,
    space: Annotated[
        Path | None, typer.Option(help="TOML file of ranges (default: the paper's).")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="That the study shall have in all.")] = 50,
    epochs: Annotated[int, typer.Option(min=1, help="Of a network's trial.")] = 10,
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
    """Search the hyper-parameters of a reference model. Goes on where it was interrupted."""
    from matlode.paper.tune import TuningSettings
    from matlode.paper.tune import tune as run_tune

    settings = TuningSettings(trials=trials, epochs=epochs, rows=rows, seed=seed, pruner=pruner)
    with progress_of(kept=True) as progress:
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
    print(f"matlode train --settings {tuning.folder}/best.toml")


@commands.command()
def evaluate(
    endpoints: Annotated[
        list[str] | None,
        typer.Argument(
            help='Properties (default: all); "latent" for the latent spaces, "folds" to '
            'cross-validate the property network, "symmetry" for space groups on other splits, '
            '"realisation" for structures of hidden formulas, "potentials" for these on known '
            'materials, "accuracy" to write all scores into one page.',
            autocompletion=completion.of(completion.EVALUATIONS + completion.PROPERTIES),
        ),
    ] = None,
    data: DataTable = None,
    models: ModelsFolder = None,
    properties: PropertiesFile = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Of the latent spaces, of accuracy: draw figures into this folder."),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Of folds: random, formula, chemical_system or prototype.",
            autocompletion=completion.of(completion.SPLITS),
        ),
    ] = "chemical_system",
    folds: Annotated[
        Path, typer.Option(help="Of accuracy: folder of finished folds and space groups.")
    ] = Path("folds"),
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that finished folds are kept in (default: folds); of accuracy, the "
            "page (default: docs/accuracy.md); of potentials, folder of models that get the errors."
        ),
    ] = None,
    structures: Annotated[
        int,
        typer.Option(
            min=1, help="Of realisation: hidden structures; of potentials, at most 100: known ones."
        ),
    ] = 300,
    stored: Annotated[
        bool, typer.Option(help="Print the scores stored with the models; measure nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score the models on held-out formulas, beside the baselines."""
    if endpoints == ["latent"]:
        _evaluate_latent(data, models, figures, as_json=as_json)
        return
    if endpoints == ["accuracy"]:
        from matlode.evaluation.accuracy import PAGE, write_accuracy

        with progress_of() as progress:
            page = write_accuracy(
                data=data, models=models, folds=folds, figures=figures, out=out or PAGE,
                progress=progress,
            )  # fmt: skip
        print(page)
        return
    from matlode.evaluation.cross_validation import cross_validate
    from matlode.evaluation.potentials import measure_potentials
    from matlode.evaluation.properties import measure_scores, stored_scores
    from matlode.evaluation.realisation import measure_realisation
    from matlode.evaluation.symmetry import measure_symmetry

    with progress_of(kept=endpoints in (["folds"], ["symmetry"], ["potentials"])) as progress:
        if endpoints in (["folds"], ["symmetry"]):
            measure = cross_validate if endpoints == ["folds"] else measure_symmetry
            rows = measure(
                split=split, data=data, out=out or folds, models=models, progress=progress
            )
        elif endpoints == ["potentials"]:
            rows = measure_potentials(
                data=data, models=models, n_structures=min(structures, 100), keep=out,
                progress=progress,
            )  # fmt: skip
        elif endpoints == ["realisation"]:
            rows = measure_realisation(
                data=data, models=models, n_structures=structures, progress=progress
            )
        elif stored:
            rows = stored_scores(endpoints, models=models)
        else:
            rows = measure_scores(
                endpoints, data=data, models=models, properties=properties, progress=progress
            )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_scores(rows)


def _evaluate_latent(
    data: Path | None, models: Path | None, figures: Path | None, *, as_json: bool
) -> None:
    from matlode.evaluation.latent import measure_latent
    from matlode.evaluation.latent_figures import draw_latent_figures
    from matlode.latent.space import FACES

    with progress_of() as progress:
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


@commands.command()
def reproduce(
    out: Annotated[Path, typer.Option(help="Folder of the page, its tables and figures.")] = Path(
        "reproduction"
    ),
    data: DataTable = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of the paper's models; what it lacks is trained into it."),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Few rows, one epoch: shows that it works, no more.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Runs behind each curve of S8.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Which held-out materials are shown.")] = 0,
) -> None:
    """Make the paper's tables and figures again, by its recipe and by ours."""
    from matlode.paper.reproduce import reproduce as make

    with progress_of(kept=True) as progress:
        page = make(
            data=data, models=models, out=out, quick=quick, n_seeds=seeds, seed=seed,
            progress=progress,
        )  # fmt: skip
    print(page)
