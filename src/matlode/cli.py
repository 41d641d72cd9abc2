"""The commands. Each reads its options, calls one job, and prints.

Tables and JSON go to stdout, progress to stderr (`--quiet`: none, `--verbose`: as lines with
times). Exit status 0: done; 1: our error, with advice; 2: wrong usage; 130: Ctrl-C, and how to go
on is told.
"""

from __future__ import annotations

import json
import math
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from matlode import completion
from matlode.errors import MatlodeError
from matlode.terminal import Volume, shown_progress, volume

if TYPE_CHECKING:
    from matlode.jobs.check_data import PropertyCheck, TableCheck
    from matlode.jobs.evidence import Examination
    from matlode.jobs.search import Run
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


app = typer.Typer(
    help="Find functional crystals outside the known databases.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help and errors: drawing boxes would take half of the start
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Tables of materials.", cls=Commands, no_args_is_help=True)
app.add_typer(data_app, name="data")

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
RunFolder = Annotated[Path, typer.Argument(help="Folder of a search.")]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="MATLODE_STORAGE",
        help="Database URL that workers share, such as postgresql+psycopg://user@host/name "
        "(default: a file in the run folder).",
    ),
]


@app.command()
def search(
    goal: Annotated[
        Path | None, typer.Argument(help="Goal file (docs/goal.md); options come on top.")
    ] = None,
    maximize: Annotated[
        list[str] | None,
        typer.Option(
            help="Property to make as large as possible.",
            autocompletion=completion.of(completion.PROPERTIES),
        ),
    ] = None,
    minimize: Annotated[
        list[str] | None,
        typer.Option(
            help="Property to make as small as possible.",
            autocompletion=completion.of(completion.PROPERTIES),
        ),
    ] = None,
    near: Annotated[
        list[str] | None,
        typer.Option(
            help="Property to bring to a value: band_gap=1.4",
            autocompletion=completion.of(f"{name}=" for name in completion.PROPERTIES),
        ),
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            help='Range of a property: "band_gap=1.1..1.7"',
            autocompletion=completion.of(f"{name}=" for name in completion.PROPERTIES),
        ),
    ] = None,
    elements: Annotated[
        str | None, typer.Option(help="The only elements allowed, such as B,C,N,W.")
    ] = None,
    require: Annotated[str | None, typer.Option(help="Elements that must be there.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Forbidden elements, such as Co,Pb.")] = None,
    formula: Annotated[
        str | None, typer.Option(help="Stoichiometry, such as ABX3 or A2BO4.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Material to resemble: a formula or a structure file.")
    ] = None,
    like_pattern: Annotated[
        Path | None, typer.Option(help="Measured powder pattern to resemble.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Latent points to evaluate (default: 2048).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same table (default: 0).")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="tpe (default), tpe-independent (the paper's), gp, cma-es, gradient, "
            "map-elites or random.",
            autocompletion=completion.of(completion.SAMPLERS),
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder; must be new or empty.")] = Path(
        "runs/search"
    ),
    relax: Annotated[
        int, typer.Option(min=0, help="Relax so many of the best afterwards (`matlode relax`).")
    ] = 0,
    rounds: Annotated[
        int, typer.Option(min=1, help="Search again, corrected by what was computed (--relax).")
    ] = 1,
    storage: Storage = None,
    campaign: Annotated[
        str | None, typer.Option(help="Its name in the storage (default: that of the folder).")
    ] = None,
    known: KnownTable = None,
    models: ModelsFolder = None,
    screens: ScreensFile = None,
    as_json: AsJson = False,
) -> None:
    """The main job: search, screen, build crystal structures, report."""
    from matlode.errors import InputError
    from matlode.jobs.search import search as run_search
    from matlode.optimisation.goal_file import read_goal_file, with_options

    wishes = {
        "near": _pairs(near, number=True),
        "within": _pairs(within),
        "elements": _given(required=_symbols(require)),
        "formula": _given(stoichiometry=formula),
        "prefer": _given(like=like, like_pattern=like_pattern and str(like_pattern)),
        "search": _given(trials=trials, seed=seed, sampler=sampler),
    }
    toolbox = _toolbox(models, known, screens)
    wanted: dict[str, Any] = {
        "maximize": maximize or (),
        "minimize": minimize or (),
        "elements": _symbols(elements),
        "exclude": _symbols(exclude) or (),
        "goal": with_options(read_goal_file(goal) if goal else {}, _given(**wishes)),
    }
    if rounds > 1 and not relax:
        raise InputError("--rounds learns from what is computed; say how many with --relax.")
    examination = _examination(toolbox) if relax else None  # a missing package is told first
    with shown_progress(lambda: _going_on(out, storage, relax)) as progress:
        if examination is not None and rounds > 1:
            from matlode.jobs.rounds import search_in_rounds

            run = search_in_rounds(
                rounds, relax, out=out, toolbox=toolbox, examination=examination,
                progress=progress, **wanted,
            )  # fmt: skip
        else:
            run = run_search(
                out=out, storage=storage, campaign=campaign, toolbox=toolbox, progress=progress,
                **wanted,
            )  # fmt: skip
            if examination is not None:
                from matlode.jobs.relax import relax_run

                relax_run(run.folder, relax, examination, progress)
    _print_run(run, as_json)


@app.command()
def resume(run: RunFolder, storage: Storage = None, as_json: AsJson = False) -> None:
    """Go on with a search that was interrupted."""
    from matlode.jobs.rounds import resume_rounds
    from matlode.jobs.run_folder import ROUNDS_FILE
    from matlode.jobs.search import resume as resume_run

    with shown_progress(lambda: _going_on(run, storage)) as progress:
        if (run / ROUNDS_FILE).exists():
            finished = resume_rounds(run, progress=progress)
        else:
            finished = resume_run(run, storage=storage, progress=progress)
    _print_run(finished, as_json)


@app.command()
def work(
    storage: Annotated[str, typer.Argument(help="Database URL that the search was given.")],
    campaign: Annotated[str, typer.Argument(help="Name of the campaign.")],
    known: KnownTable = None,
    models: ModelsFolder = None,
) -> None:
    """Help with a search that another process began.

    Does batches until all are done.
    """
    from matlode.jobs.search import work as run_work

    with _progress(kept=True) as progress:
        n = run_work(storage, campaign, toolbox=_toolbox(models, known), progress=progress)
    print(f"{campaign}: all {n} points are evaluated.")


@app.command()
def relax(
    sources: Annotated[
        list[Path], typer.Argument(help="Folder of a search, or CIF and POSCAR files.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Of a run: so many of the best.")] = 10,
    judge: Annotated[
        str,
        typer.Option(
            help="Potential that everything is computed with.",
            autocompletion=completion.of(completion.POTENTIALS),
        ),
    ] = "sevennet-l3i5",
    witness: Annotated[
        str,
        typer.Option(
            help="Potential that is asked whether it agrees.",
            autocompletion=completion.of(completion.POTENTIALS),
        ),
    ] = "chgnet",
    hull: Annotated[bool, typer.Option(help="Relax the known phases that compete, too.")] = True,
    elastic: Annotated[bool, typer.Option(help="Elastic constants and phonons at Γ.")] = True,
    jobs: Annotated[int, typer.Option(min=0, help="Processes (default: one per core).")] = 0,
    out: Annotated[Path, typer.Option(help="Of structure files: folder of the results.")] = Path(
        "relaxed"
    ),
    known: KnownTable = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Evidence of two potentials: relax, hold against a hull, strain."""
    from matlode.jobs.relax import relax_files, relax_run, sources_of

    examination = replace(
        _examination(_toolbox(models, known)),
        judge=judge, witness=witness, n_jobs=jobs, hull=hull, elastic=elastic,
    )  # fmt: skip
    with _progress(kept=True) as progress:
        if len(sources) == 1 and sources[0].is_dir():
            rows = relax_run(sources[0], top, examination, progress)
        else:
            rows = relax_files(sources_of(sources), out, examination, progress)
    if as_json:
        _print_json(rows)
    else:
        _print_evidence(rows)


@app.command()
def show(run: RunFolder, storage: Storage = None, as_json: AsJson = False) -> None:
    """Print the candidates of a run, or where it stands."""
    from matlode.artefacts import understood
    from matlode.errors import InputError

    if not (run / "provenance.json").exists() and (run / "request.json").exists():
        from matlode.jobs.search import standing

        where = standing(run, storage)
        if as_json:
            _print_json(where)
            return
        best = (
            "none yet"
            if where["best_merit"] is None
            else (f"{where['best_formula']}, merit {where['best_merit']:.2f}")
        )
        print(
            f"{run}: {where['batches_done']} of {where['batches_wanted']} batches done, "
            f"{len(where['workers'])} in work; best: {best}. `matlode resume {run}` goes on."
        )
        return
    rows = _read_run(run, "candidates.json")
    with understood(run, InputError):
        if as_json:
            _print_json(rows)
        else:
            _print_candidates(rows, _read_run(run, "provenance.json"))


@app.command()
def explain(
    run: RunFolder,
    formula: Annotated[str, typer.Argument(help="A candidate.")],
    as_json: AsJson = False,
) -> None:
    """Tell why a candidate stands where it stands."""
    from matlode.artefacts import understood
    from matlode.data.formulas import canonical_formula
    from matlode.errors import InputError

    wanted = canonical_formula(formula)
    rows = _read_run(run, "candidates.json")
    with understood(run, InputError):
        for row in rows:
            if canonical_formula(row["formula"]) == wanted and as_json:
                _print_json(row)
                return
            if canonical_formula(row["formula"]) == wanted:
                print(f"{row['rank']}. {row['formula']}: {row['verdict']}, {row['novelty']}")
                for reason in row["reasons"].split(" | "):
                    print(f"  {reason}")
                print(f"  nearest known: {row['nearest_known']}; file: {row['structure_file']}")
                return
    near = get_close_matches(formula, [row["formula"] for row in rows], n=3, cutoff=0.4)
    advice = f" Near it: {', '.join(near)}." if near else ""
    raise InputError(f"{formula} is not among the {len(rows)} candidates of {run}.{advice}")


@app.command()
def report(run: RunFolder) -> None:
    """Write report.html of a run anew."""
    from matlode.report.html import write_report

    print(write_report(run))


@app.command()
def predict(
    sources: Annotated[
        list[Path], typer.Argument(help="CIF or POSCAR files, folders, Parquet tables.")
    ],
    known: KnownTable = None,
    models: ModelsFolder = None,
    screens: ScreensFile = None,
    as_json: AsJson = False,
) -> None:
    """Properties, verdicts and nearest known material of crystals."""
    from matlode.jobs.predict import predict as run_predict

    with _progress() as progress:
        answers = run_predict(sources, toolbox=_toolbox(models, known, screens), progress=progress)
    if as_json:
        _print_json(answers)
    else:
        _print_predictions(answers)


@app.command()
def solve(
    pattern: Annotated[Path, typer.Argument(help="Measured powder pattern (.xy, .xrdml, ...).")],
    formula: Annotated[str, typer.Option(help="Of the sample, such as TiO2.")],
    count: Annotated[int, typer.Option(min=1, help="Different structures.")] = 5,
    wavelength: Annotated[
        str | None,
        typer.Option(
            help="Å, or a radiation such as MoKa1 (default: the file's).",
            autocompletion=completion.of(completion.RADIATIONS),
        ),
    ] = None,
    hide_known: Annotated[
        bool, typer.Option(help="Leave out known structures of the very formula.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the CIFs.")] = None,
    known: KnownTable = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Crystal structures for a measured powder pattern."""
    from matlode.jobs.solve import solve as run_solve

    with _progress() as progress:
        answers = run_solve(
            pattern,
            formula,
            n=count,
            wavelength=wavelength,
            hide_known=hide_known,
            out=out,
            toolbox=_toolbox(models, known),
            progress=progress,
        )
    if as_json:
        _print_json(answers)
        return
    rows = [
        [
            str(a["rank"]), f"{a['match']:.3f}", str(a["space_group"]),
            f"{a['volume_per_atom_a3']:.2f}", f"{a['template']}: {a['substitution']}",
            a["file"] or "",
        ]
        for a in answers
    ]  # fmt: skip
    headings = ["", "match", "space group", "Å³/atom", "from", "file"]
    _print_table(headings, rows, title=answers[0]["formula"])


@app.command()
def identify(
    pattern: Annotated[Path, typer.Argument(help="Measured powder pattern (.xy, .xrdml, ...).")],
    elements: Annotated[
        str | None, typer.Option(help="The only elements that phases may hold, such as Li,Fe,P,O.")
    ] = None,
    require: Annotated[str | None, typer.Option(help="Elements that phases must hold.")] = None,
    wavelength: Annotated[
        str | None,
        typer.Option(help="Å, or a radiation such as MoKa1 (default: the file's)."),
    ] = None,
    known: KnownTable = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Folder of the table's index (default: in the user's cache)."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Phases to name.")] = 10,
    plot: Annotated[
        Path | None, typer.Option(help="Figure of the best phases over the pattern.")
    ] = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Known phases in a measured powder pattern, its space group, and what it may consist of."""
    from matlode.jobs.identify import Identifier
    from matlode.jobs.identify import identify as run_identify

    with _progress() as progress:
        answer = run_identify(
            pattern,
            elements=_symbols(elements),
            require=_symbols(require),
            wavelength=wavelength,
            top=top,
            plot=plot,
            identifier=Identifier(known, index, models, progress=progress),
        )
    if as_json:
        _print_json(answer)
    else:
        _print_identified(answer)


@app.command()
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
    from matlode.jobs.train import train_models

    with _progress(kept=True) as progress:
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


@app.command()
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
    from matlode.jobs.tune import TuningSettings
    from matlode.jobs.tune import tune as run_tune

    settings = TuningSettings(trials=trials, epochs=epochs, rows=rows, seed=seed, pruner=pruner)
    with _progress(kept=True) as progress:
        tuning = run_tune(
            model, data=data, space=space, storage=storage, study=study, models=models, out=out,
            settings=settings, progress=progress,
        )  # fmt: skip
    if as_json:
        _print_json(tuning.summary())
        return
    values = [tuning.measure, "", _digits(tuning.start_value), _digits(tuning.value)]
    names = [
        [r.name, str(r), _digits(tuning.start[r.name]), _digits(tuning.best[r.name])]
        for r in tuning.space
    ]
    title = f"{model}: {tuning.trials['complete']} trials, {tuning.trials['pruned']} more pruned"
    _print_table(["", "range", tuning.start_name, "best found"], [values, *names], title=title)
    print(f"matlode train --settings {tuning.folder}/best.toml")


@app.command()
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
        from matlode.jobs.accuracy import PAGE, write_accuracy

        with _progress() as progress:
            page = write_accuracy(
                data=data, models=models, folds=folds, figures=figures, out=out or PAGE,
                progress=progress,
            )  # fmt: skip
        print(page)
        return
    from matlode.jobs.cross_validation import cross_validate
    from matlode.jobs.evaluate import measure_scores, stored_scores
    from matlode.jobs.evaluate_potentials import measure_potentials
    from matlode.jobs.evaluate_realisation import measure_realisation
    from matlode.jobs.evaluate_symmetry import measure_symmetry

    with _progress(kept=endpoints in (["folds"], ["symmetry"], ["potentials"])) as progress:
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
        _print_json(rows)
    else:
        _print_scores(rows)


@app.command()
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
    from matlode.jobs.reproduce import reproduce as make

    with _progress(kept=True) as progress:
        page = make(
            data=data, models=models, out=out, quick=quick, n_seeds=seeds, seed=seed,
            progress=progress,
        )  # fmt: skip
    print(page)


def _evaluate_latent(
    data: Path | None, models: Path | None, figures: Path | None, *, as_json: bool
) -> None:
    from matlode.jobs.evaluate_latent import measure_latent
    from matlode.jobs.latent_figures import draw_latent_figures
    from matlode.latent.space import FACES

    with _progress() as progress:
        rows = measure_latent(data=data, models=models, progress=progress)
        if figures is not None:
            draw_latent_figures(figures, data=data, models=models, progress=progress)
    if as_json:
        _print_json(rows)
        return
    cells = [
        [row["measure"], *("" if row[f] is None else f"{row[f]:.4g}" for f in FACES)]
        for row in rows
    ]
    _print_table(["measure", *FACES], cells, title=f"latent spaces: {rows[0]['on']}, unseen")


@app.command()
def xrd(
    sources: Annotated[list[str], typer.Argument(help="Structure files, folders, tables.")],
    wavelength: Annotated[
        str,
        typer.Option(
            help="CuKa, MoKa1, AgKa, ... or a length in Å.",
            autocompletion=completion.of(completion.RADIATIONS),
        ),
    ] = "CuKa",
    low: Annotated[float, typer.Option("--from", help="First 2θ in degrees.")] = 10.0,
    high: Annotated[float, typer.Option("--to", help="Last 2θ in degrees.")] = 90.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for patterns as text, one .xy file per crystal.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Peak lists of crystals: 2θ, d, intensity, indices.

    The multiplicities of the indices, too.
    """
    from matlode.jobs.xrd import list_peaks, write_patterns
    from matlode.representation.diffraction import DiffractionSettings
    from matlode.representation.radiation import find_wavelength

    settings = DiffractionSettings(
        wavelength_angstrom=find_wavelength(wavelength),
        two_theta_min_deg=low,
        two_theta_max_deg=high,
        n_points=round((high - low) / 0.05) + 1,
    )
    with _progress() as progress:
        answers = list_peaks(sources, settings, progress)
        if out is not None:
            write_patterns(sources, out, settings)
    if as_json:
        _print_json(answers)
        return
    for answer in answers:
        title = f"{answer['id']}: {answer['formula'] or answer['error']}"
        rows = [
            [
                f"{peak['two_theta_deg']:.4f}",
                f"{peak['d_angstrom']:.5f}",
                f"{100 * peak['intensity']:.3f}",
                ", ".join(f"{f['hkl']} × {f['multiplicity']}" for f in peak["reflections"][:4]),
            ]
            for peak in answer["peaks"]
        ]
        _print_table(["2θ / °", "d / Å", "intensity", "h k l × multiplicity"], rows, title=title)


@app.command()
def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="xrd: the powder engine beside others; training: what it costs; predict: "
            "predictions, stage by stage; search: every sampler, on test functions, in the "
            "latent space, and what a suggestion costs; rediscovery: known phases are hidden from "
            "all models, and searched for; discovery: what becomes of proposals in potentials; "
            "identify: how often the phase of a powder pattern is found; scale: time and memory of "
            "long campaigns and large tables.",
            autocompletion=completion.of(completion.BENCHMARKS),
        ),
    ] = "xrd",
    data: DataTable = None,
    structures: Annotated[
        int | None,
        typer.Option(
            min=10,
            help="Structures (xrd: 600, predict: 10,000; discovery: 20 of each contestant; "
            "scale: a million).",
        ),
    ] = None,
    exact: Annotated[int, typer.Option(min=10, help="Structures held against brute force.")] = 2000,
    sampler: Annotated[
        list[str] | None,
        typer.Option(
            help="Of search: only these.", autocompletion=completion.of(completion.SAMPLERS)
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Runs of each (search: 20, rediscovery: 3)."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=64, help="Points per run (search: 2,048, rediscovery: 4,096, scale: a million)."
        ),
    ] = None,
    hide: Annotated[
        Path | None,
        typer.Option(help="Of rediscovery: file of formulas (default: 20 hard phases)."),
    ] = None,
    goal: Annotated[
        Path | None,
        typer.Option(help="Of rediscovery: goal file (default: the hardest)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of what is kept (search: arena, rediscovery: rediscovery)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure speed and exactness beside other engines, in one run."""
    from matlode.data.tables import full_table_path
    from matlode.errors import InputError, suggest
    from matlode.jobs.bench import bench_diffraction
    from matlode.jobs.bench_discovery import bench_discovery
    from matlode.jobs.bench_identify import bench_identify
    from matlode.jobs.bench_predict import bench_prediction
    from matlode.jobs.bench_rediscovery import GOAL, HARD_PHASES, SETTINGS, bench_rediscovery
    from matlode.jobs.bench_scale import bench_scale
    from matlode.jobs.bench_search import bench_search
    from matlode.jobs.bench_training import bench_training

    if what not in completion.BENCHMARKS:
        raise InputError(f'"{what}" has no benchmark. {suggest(what, completion.BENCHMARKS)}')
    with _progress(kept=what in ("search", "rediscovery", "discovery")) as progress:
        if what == "training":
            found = bench_training(data, progress=progress)
        elif what == "search":
            found = bench_search(
                sampler or (),
                n_seeds=seeds or 20,
                n_trials=trials or 2048,
                data=data,
                out=out or Path("arena"),
                progress=progress,
            )
        elif what == "rediscovery":
            found = bench_rediscovery(
                hide or HARD_PHASES,
                goal=goal or GOAL,
                settings=replace(SETTINGS, trials=trials or SETTINGS.trials),
                n_seeds=seeds or 3,
                data=data,
                out=out or Path("rediscovery"),
                progress=progress,
            )
        elif what == "discovery":
            toolbox = _toolbox(None, full_table_path(data))
            found = bench_discovery(
                n=structures or 20,
                examination=_examination(toolbox),
                toolbox=toolbox,
                out=out or Path("discovery"),
                progress=progress,
            )
        elif what == "identify":
            found = bench_identify(
                full_table_path(data), n_patterns=structures or 504, out=out, progress=progress
            )
        elif what == "scale":
            found = bench_scale(
                n_trials=trials or 1_000_000,
                n_structures=structures or 1_000_000,
                data=data,
                progress=progress,
            )
        elif what == "predict":
            found = bench_prediction(
                full_table_path(data), n_structures=structures or 10_000, progress=progress
            )
        else:
            found = bench_diffraction(
                full_table_path(data),
                n_structures=structures or 600,
                n_exact=exact,
                progress=progress,
            )
    if as_json:
        _print_json(found)
        return
    for title, rows in found.items():
        cells = [
            [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows
        ]
        _print_table(list(rows[0]), cells, title=title)


@app.command()
def doctor(models: ModelsFolder = None, as_json: AsJson = False) -> None:
    """What is installed and found here.

    Exit status 1 if something is wrong.
    """
    from dataclasses import asdict

    from matlode.jobs.doctor import examine_installation

    findings = examine_installation(models)
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        signs = {"ok": "✓", "absent": "–", "wrong": "✗"}
        rows = [[signs[f.state], f.about, f.name, f.found, f.advice] for f in findings]
        _print_table(["", "about", "what", "found", "advice"], rows)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


@data_app.command("features")
def data_features(
    table: Annotated[Path, typer.Argument(help="Parquet table of structures, of any size.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.npy, unusable.csv, arrays.json.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--what",
            help="patterns, compositions, composition-descriptors, pattern-descriptors.",
            autocompletion=completion.of(completion.ARRAYS),
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, such as tcp://host:8786.")
    ] = None,
) -> None:
    """Patterns and descriptors of a table as memory-mapped arrays; memory stays flat."""
    from contextlib import ExitStack

    from matlode.representation.streaming import stream_table

    with ExitStack() as stack:
        client = None
        if scheduler is not None:
            from distributed import Client

            client = stack.enter_context(Client(scheduler))
        progress = stack.enter_context(_progress())
        header = stream_table(table, out, names or ["patterns"], client=client, progress=progress)
    print(header)


@data_app.command("import")
def data_import(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files (CIF, POSCAR, CSV, JSON, JSONL, Parquet, XYZ), folders, or databases: "
            "mp:QUERY, optimade:URL, jarvis:SET, matminer:SET."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for materials.parquet, dropped.csv and provenance.json."),
    ],
    cell: Annotated[
        str,
        typer.Option(
            help="Of ordered crystals: primitive, conventional or as-is.",
            autocompletion=completion.of(completion.CELLS),
        ),
    ] = "primitive",
    column: Annotated[
        list[str] | None,
        typer.Option(help="NAME=THEIRS[:UNIT], such as bulk_modulus_vrh=k_vrh:Mbar."),
    ] = None,
    structure_column: Annotated[
        str | None, typer.Option(help="Column of a table that holds the crystal.")
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option(help="Keep rows of equal formula, space group and pattern.")
    ] = False,
    drop_disordered: Annotated[
        bool, typer.Option(help="Leave out crystals with mixed or partly filled sites.")
    ] = False,
    licence: Annotated[str | None, typer.Option(help="Of rows whose source states none.")] = None,
    optimade_filter: Annotated[
        str | None, typer.Option("--filter", help="OPTIMADE filter, such as 'nelements=2'.")
    ] = None,
) -> None:
    """Bring structures into one table; what cannot be used is told in dropped.csv."""
    from matlode.data.cells import parse_cell
    from matlode.data.labels import Column
    from matlode.jobs.import_data import ImportSettings, import_data

    settings = ImportSettings(
        cell=parse_cell(cell),
        columns=tuple(Column.parse(text) for text in column or ()),
        structure_column=structure_column,
        keep_duplicates=keep_duplicates,
        drop_disordered=drop_disordered,
        licence=licence,
        filter=optimade_filter,
    )
    with _progress() as progress:
        imported = import_data(sources, out, settings=settings, progress=progress)
    materials = imported.materials
    print(f"{len(materials)} materials, {len(materials.dropped)} dropped: {out}")
    for reason, count in imported.provenance["rows"]["dropped_by_reason"].items():
        print(f"{count:8d} {reason}")


@data_app.command("elements")
def data_elements(
    table: Annotated[
        Path | None, typer.Argument(help="Structure table (default: the starter set).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of models that they go into.")] = Path("models"),
    as_json: AsJson = False,
) -> None:
    """Energies of the elements in the potentials, which formation energies are counted from."""
    from matlode.data.tables import load_starter, read_table
    from matlode.jobs.evidence import Examination, element_references

    examination = Examination(read_table(table) if table else load_starter())
    with _progress(kept=True) as progress:
        references = element_references(examination, out, progress)
    if as_json:
        _print_json({potential: dict(found) for potential, found in references.energies.items()})
        return
    rows = [[potential, str(len(found))] for potential, found in references.energies.items()]
    _print_table(["potential", "elements"], rows, title=str(out))


@data_app.command("prototypes")
def data_prototypes(
    table: Annotated[
        Path | None, typer.Argument(help="Structure table (default: the starter set).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV to write (default: beside the table).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Structure types of a table's crystals, by Wyckoff sequence, with their usual names."""
    from matlode.data.tables import load_starter, read_table
    from matlode.realisation.structure_types import structure_types, types_file, write_types

    with _progress() as progress:
        types = structure_types(read_table(table) if table else load_starter(), progress=progress)
    if out is not None or table is not None:
        write_types(types, out or types_file(table))
    if as_json:
        _print_json(types.to_dict(orient="records"))
        return
    commonest = types.loc[types["prototype"] != "", ["prototype", "name"]].value_counts().head(20)
    rows = [[*map(str, kind), str(n)] for kind, n in zip(commonest.index, commonest, strict=True)]
    title = f"{types['prototype'].nunique()} types of {len(types)} crystals"
    _print_table(["type", "name", "crystals"], rows, title=title)


@data_app.command("info")
def data_info(data: DataTable = None, as_json: AsJson = False) -> None:
    """What a table holds: rows, formulas, labels."""
    from matlode.data.tables import load_materials

    materials = load_materials(data)
    frame = materials.frame
    counts = {
        str(column): int(frame[column].notna().sum())
        for column in frame.select_dtypes("number").columns
    }
    if as_json:
        dropped = [{"id": d.id, "reason": d.reason} for d in materials.dropped]
        formulas = int(frame["formula"].nunique())
        held = {"materials": len(frame), "formulas": formulas, "values": counts}
        _print_json({**held, "dropped": dropped})
        return
    print(f"{len(frame)} materials, {frame['formula'].nunique()} formulas")
    for row in materials.dropped:
        print(f"dropped {row.id}: {row.reason}")
    for column, count in counts.items():
        print(f"{column:36s} {count:8d} values")


@data_app.command("check")
def data_check(
    table: Annotated[Path, typer.Argument(help="Structure table, or its folder.")],
    properties: PropertiesFile = None,
    as_json: AsJson = False,
) -> None:
    """Is this enough to train on? Counts, elements, leakage, outliers, and a verdict."""
    from dataclasses import asdict

    from matlode.jobs.check_data import check_data

    with _progress() as progress:
        check = check_data(table, properties=properties, progress=progress)
    if as_json:
        _print_json(asdict(check))
    else:
        _print_check(check)


def main() -> None:
    """Run the command line; our errors end in one line of advice."""
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


def _of_the_machine(error: Exception) -> str | None:
    """What to do about what is no fault of ours: a full disk, missing rights, too little memory."""
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "MemoryError: the memory does not suffice; close other programs or do less at once."
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{type(error).__name__}: {place}{error.strerror}."
    return None


def _progress(*, kept: bool = False) -> AbstractContextManager[Progress]:
    """Of a command that, after Ctrl-C, goes on when it is given again (``kept``), or begins
    anew."""
    advice = "goes on from there" if kept else "begins anew, for nothing is kept"
    return shown_progress(lambda: f"The same command {advice}.")


def _going_on(out: Path, storage: str | None, n_relaxed: int = 0) -> str:
    """How, after Ctrl-C in a search."""
    from matlode.jobs.run_folder import REQUEST_FILE, ROUNDS_FILE

    if (out / ROUNDS_FILE).exists():
        return f"`matlode resume {out}` goes on."
    if (out / "report.html").exists():
        return f"The search is done; `matlode relax {out} --top {n_relaxed}` goes on."
    if not (out / REQUEST_FILE).exists():
        return "Nothing had been begun."
    # a storage's URL may hold a password
    again = f"`matlode resume {out}{' --storage URL' if storage else ''}` goes on"
    return f"{again}, and `matlode relax {out}` afterwards." if n_relaxed else f"{again}."


def _digits(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _symbols(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [part for part in text.replace(" ", ",").split(",") if part]


def _given(**options: Any) -> dict[str, Any]:
    """Options that were used."""
    return {name: value for name, value in options.items() if value not in (None, {}, [])}


def _pairs(texts: list[str] | None, *, number: bool = False) -> dict[str, Any]:
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


def _examination(toolbox: Toolbox) -> Examination:
    from matlode.jobs.evidence import Examination

    return Examination(toolbox.materials, toolbox.models_folder)


def _print_evidence(rows: Sequence[Mapping[str, Any]]) -> None:
    headings = [
        *("", "space group", "kept", "eV/atom", "other says", "above hull", "other says"),
        *("K", "G", "Γ THz"),
    ]
    columns = [
        "space_group", "unchanged", "formation_energy_ev", "witness_formation_energy_ev",
        "energy_above_hull_ev", "witness_energy_above_hull_ev", "bulk_modulus_gpa",
        "shear_modulus_gpa", "lowest_gamma_thz",
    ]  # fmt: skip
    cells = [[str(row["formula"]), *(_cell(row.get(name)) for name in columns)] for row in rows]
    _print_table(headings, cells, title="In the potentials")
    for row in rows:
        if row["fell_apart"]:
            print(f"{row['formula']} fell apart: {row['fell_apart']}.")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _toolbox(models: Path | None, known: Path | None, screens: Path | None = None) -> Toolbox:
    from matlode.jobs.toolbox import Toolbox
    from matlode.screening.funnel import read_screens

    return Toolbox(models, known, read_screens(screens) if screens else {})


def _print_run(run: Run, as_json: bool) -> None:
    rows = _read_run(run.folder, "candidates.json")
    if as_json:
        _print_json(rows)
        return
    _print_candidates(rows, run.provenance)
    seconds = sum(run.provenance["seconds"].values())
    print(
        f"\n{len(run.candidates)} candidates in {seconds:.0f} s. Look at {run.folder}/report.html"
    )


def _read_run(run: Path, name: str) -> Any:
    from matlode.artefacts import read_json
    from matlode.errors import InputError, suggest
    from matlode.jobs.run_folder import REQUEST_FILE

    try:
        return read_json(run / name)
    except FileNotFoundError as error:
        others = [file.parent.name for file in run.parent.glob(f"*/{name}")]
        if not run.exists():
            advice = f" {suggest(run.name, others)}" if others else ""
            raise InputError(f"{run}: no such run.{advice}") from error
        begun = (run / REQUEST_FILE).exists()
        advice = f" `matlode resume {run}` goes on with it." if begun else ""
        raise InputError(f"{run} is not a finished run: it has no {name}.{advice}") from error


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE, title=title or None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # a pipe has no width of its own; tables there are for other programs and for logs
    console = Console(
        width=None if sys.stdout.isatty() else 150, highlight=False, markup=False
    )  # what stands in brackets is meant
    console.print(table)


SYMBOLS = {
    "bulk_modulus": "K",
    "shear_modulus": "G",
    "vickers_hardness": "Hv",
    "volume_per_atom": "V",
}
"""Short headings; other properties stand under their names."""


def _print_candidates(
    rows: Sequence[dict[str, Any]], provenance: Mapping[str, Any], n: int = 25
) -> None:
    goal = provenance["goal"]
    shown = goal.get("shown", [objective["endpoint"] for objective in goal["objectives"]])
    # runs of before had K and G in every table, and no units beside them
    units = provenance.get("units", {"bulk_modulus": "GPa", "shear_modulus": "GPa"})
    wanted = [name for name in shown if f"{name}_low" in rows[0]] if rows else []
    headings = ["#", "formula", "system"]
    for name in wanted:
        unit = units.get(name, "")
        symbol = SYMBOLS.get(name, name)
        headings.append(f"P({symbol})" if unit == "probability" else _with_unit(symbol, unit))
    headings += ["E_f / eV", "P(stable)", "charges", "novelty", "structure (match)", "verdict"]
    _print_table(
        headings,
        [
            [
                str(row["rank"]),
                row["formula"],
                f"{row['crystal_system']} {row['space_group']}",
                *(_with_interval(row, name) for name in wanted),
                f"{row['formation_energy']:.2f}",
                f"{row['stable_probability']:.2f}",
                str(row["charge_neutral"]),
                row["novelty"],
                f"{row['structure_space_group']} ({row['structure_match']:.2f})",
                row["verdict"],
            ]
            for row in rows[:n]
        ],
        title=f"the first {min(n, len(rows))} of {len(rows)} candidates (90 % intervals)",
    )
    if not all(row.get("in_ranges", True) for row in rows):
        inside = sum(row["in_ranges"] and row["verdict"] == "accepted" for row in rows)
        asked = ", ".join(wanted["endpoint"] for wanted in goal.get("ranges", []))
        print(
            f"Accepted and, as decoded and as built, in the ranges of {asked}: {inside} of "
            f"{len(rows)}; `matlode explain` tells what another misses."
        )


def _with_unit(name: str, unit: str) -> str:
    return f"{name} / {unit}" if unit else name


def _with_interval(row: dict[str, Any], name: str) -> str:
    """Three digits of the value, and as many decimals at the ends of its interval."""
    value, low, high = (float(row[column]) for column in (name, f"{name}_low", f"{name}_high"))
    size = max(abs(value), abs(high))
    form = ".2e"
    if size == 0:
        form = ".2f"
    elif 1e-2 <= size < 1e6:
        # a value near zero takes the decimals of its interval
        decimals = 2 - math.floor(math.log10(max(abs(value), size / 10, 1e-2)))
        form = f".{min(max(decimals, 0), 3)}f"
    gap = "-" if low >= 0 else ".."
    return f"{value:{form}} ({low:{form}}{gap}{high:{form}})"


def _print_predictions(answers: Sequence[dict[str, Any]]) -> None:
    """Few crystals with all that is predicted, one below the other; many in one table with the
    core of it."""
    names = list(next((a["predictions"] for a in answers if a["predictions"]), {}))
    if len(answers) > MAX_IN_FULL:
        brought = {*_brought_endpoints()} - {*CORE_ENDPOINTS}
        names = [name for name in names if name not in brought]
        _print_table(
            ["file or id", "formula", "space group", *names, "nearest known"],
            [_prediction_cells(answer, names) for answer in answers],
        )
        print(f"{len(brought)} more properties with --json.")
        return
    for answer in answers:
        if answer["error"]:
            print(f"{answer.get('file') or answer.get('id')}: {answer['error']}")
            continue
        name, formula, group, *cells, nearest = _prediction_cells(answer, names)
        title = f"{name}: {formula}" + (f", space group {group}" if group else "")
        rows = [
            [_with_unit(n, answer["predictions"][n]["unit"]), cell]
            for n, cell in zip(names, cells, strict=True)
            if answer["predictions"]
        ]
        rows += [[v["rule"], v["reason"]] for v in answer["verdicts"]]
        if nearest:
            rows.append(["nearest known", nearest])
        _print_table(["", "value (90 % interval), or why"], rows, title=title)


MAX_IN_FULL = 3
CORE_ENDPOINTS = (
    "bulk_modulus", "shear_modulus", "vickers_hardness", "formation_energy",
    "stable_probability", "band_gap",
)  # fmt: skip


def _brought_endpoints() -> list[str]:
    from matlode.properties.derived import DERIVATIONS
    from matlode.properties.endpoints import ENDPOINTS

    return [*ENDPOINTS, *DERIVATIONS]


def _prediction_cells(answer: dict[str, Any], names: Sequence[str]) -> list[str]:
    name = Path(answer["file"]).name if "file" in answer else str(answer["id"])
    if answer["error"]:
        return [name, answer["error"], *[""] * (len(names) + 2)]
    cells = [
        f"{p['value']:.3g} ({p['low']:.3g}..{p['high']:.3g})"
        for p in (answer["predictions"][n] for n in names)
    ]
    return [name, answer["formula"], str(answer["space_group"]), *cells, answer["nearest_known"]]


def _print_identified(answer: Mapping[str, Any]) -> None:
    for note in answer["notes"]:
        print(f"{answer['pattern']}: {note}")
    headings = ["", "formula", "space group", "score", "match", "scale", "zero / °"]
    headings += ["explained", "missing", "id"]
    for title, phases in (
        (f"of {answer['known']:,} known crystals", answer["phases"]),
        ("in what the first leaves", answer["beside"]),
    ):
        rows = [
            [
                str(p["rank"]), p["formula"], f"{p['space_group']} ({p['crystal_system']})",
                f"{p['score']:.3f}", f"{p['match']:.3f}", f"{p['scale']:.4f}",
                f"{p['zero_shift_deg']:+.3f}", f"{p['explained']:.0%}", f"{p['missing']:.0%}",
                p["id"],
            ]
            for p in phases
        ]  # fmt: skip
        if rows:
            _print_table(headings, rows, title=title)
    if not answer["phases"]:
        print("no known crystal of these elements has a line where the pattern has one.")
    symmetry, composition = answer["symmetry"], answer["composition"]
    for name, part in (
        (f"pattern alone: {symmetry['answer']};", symmetry["crystal_systems"]),
        ("space groups:", symmetry["space_groups"]),
        ("latent neighbours:", composition["formulas"]),
        ("elements of these:", composition["elements"]),
    ):
        print(name, ", ".join(f"{key} {value:g}" for key, value in part.items()) or "none")


def _print_scores(rows: Sequence[dict[str, Any]]) -> None:
    metrics = ["mae", "mae_ln", "rmse", "r2", "r2_ln", "coverage", "interval_width"]
    metrics += ["auc", "brier", "accuracy", "f1", "space_group", "space_group_top_5"]
    metrics += ["crystal_system", "space_group_of_surest_half", "set_coverage", "set_size"]
    metrics += ["top_1", "top_1_se", "top_5", "top_5_se", "seconds"]
    for endpoint in dict.fromkeys(row["endpoint"] for row in rows):
        own = [row for row in rows if row["endpoint"] == endpoint]
        used = [m for m in metrics if any(m in row["scores"] for row in own)]
        name = _with_unit(endpoint, own[0]["unit"])
        title = f"{name}: {own[0]['rows']} rows; {own[0]['split']}"
        cells = [
            [row["model"], *(f"{row['scores'][m]:.4g}" if m in row["scores"] else "" for m in used)]
            for row in own
        ]
        _print_table(["model", *used], cells, title=title)


def _print_check(check: TableCheck) -> None:
    print(f"{check.source}: {check.rows:,} materials, {check.formulas:,} formulas")
    for reason, n in check.dropped.items():
        print(f"  {n:,} dropped: {reason}")
    print(f"  {check.twins:,} rows share formula and space group with another")
    print(f"  {check.formulas_in_two_roles} formulas in two roles of the split")
    if check.constant_columns:
        print(f"  constant columns, nothing to learn from: {', '.join(check.constant_columns)}")
    headings = ["property", "rows", "train / cal. / test", "range", "mean ± σ"]
    headings += ["elements (rare)", "outliers", "seen systems / types", "verdict"]
    _print_table(headings, [_check_cells(p) for p in check.properties])
    for p in check.properties:
        print(f"{_with_unit(p.name, p.unit)}: {p.verdict}")
        for reason in p.reasons:
            print(f"  {reason}")
        if p.rare_elements:
            print(f"  rare elements: {', '.join(p.rare_elements)}")
    if check.absent:
        print(f"without any value: {', '.join(check.absent)}")
    print(check.summary)


def _check_cells(p: PropertyCheck) -> list[str]:
    seen = (p.test_systems_in_train, p.test_prototypes_in_train)
    return [
        p.name,
        f"{p.rows:,}",
        " / ".join(f"{n:,}" for n in p.roles.values()),
        "" if p.minimum is None else f"{p.minimum:.3g}..{p.maximum:.3g}",
        "" if p.mean is None else f"{p.mean:.3g} ± {p.sigma:.3g}",
        f"{p.elements} ({len(p.rare_elements)})",
        str(p.outliers),
        " / ".join("-" if share is None else f"{share:.0%}" for share in seen),
        p.verdict,
    ]


if __name__ == "__main__":
    main()
