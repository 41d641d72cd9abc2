"""Commands about given crystals and measured patterns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from matlode import completion
from matlode.cli.printing import (
    print_identified,
    print_json,
    print_json_list,
    print_predictions,
    print_summary_of_patterns,
    print_table,
)
from matlode.cli.shared import (
    AsJson,
    FewWorkers,
    KnownTable,
    ModelsFolder,
    Scheduler,
    ScreensFile,
    fail_if_nothing_read,
    load_screens,
    open_engine,
    show_command_progress,
)
from matlode.terminal import stdout_is_terminal

if TYPE_CHECKING:
    from matlode.jobs.predict import CrystalPrediction

commands = typer.Typer()
Library = Annotated[
    list[Path] | None,
    typer.Option(help="Folder or file of your own crystals (CIF), added to the known ones."),
]


@commands.command()
def predict(
    sources: Annotated[
        list[Path], typer.Argument(help="CIF or POSCAR files, folders, Parquet tables.")
    ],
    known: KnownTable = None,
    models: ModelsFolder = None,
    screens: ScreensFile = None,
    workers: FewWorkers = 1,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Predict properties, verdicts and the nearest known material."""
    from matlode.jobs.known import Known
    from matlode.jobs.models import Models
    from matlode.jobs.predict import stream_predictions

    with show_command_progress() as progress, open_engine(workers, scheduler) as engine:
        answers = stream_predictions(
            sources,
            models=Models(models),
            known=Known(known),
            screens=load_screens(screens),
            engine=engine,
            progress=progress,
        )
        # a terminal shows how far it is until all is known
        if as_json and not stdout_is_terminal():
            errors: list[str | None] = []
            print_json_list(_keep_error(answer, errors) for answer in answers)
            fail_if_nothing_read(errors)
            return
        together = list(answers)
    if as_json:
        print_json([answer.to_json() for answer in together])
    else:
        print_predictions(together)
    fail_if_nothing_read([answer.error for answer in together])


def _keep_error(answer: CrystalPrediction, errors: list[str | None]) -> dict[str, object]:
    errors.append(answer.error)
    return answer.to_json()


@commands.command()
def solve(
    pattern: Annotated[Path, typer.Argument(help="Measured powder pattern (.xy, .xrdml, ...).")],
    formula: Annotated[str, typer.Option(help="Formula of the sample, such as TiO2.")],
    count: Annotated[int, typer.Option(min=1, help="Number of different structures.")] = 5,
    wavelength: Annotated[
        str | None,
        typer.Option(
            help="Å, or a radiation such as MoKa1 (default: the file's).",
            autocompletion=completion.of(completion.RADIATIONS),
        ),
    ] = None,
    hide_known: Annotated[
        bool, typer.Option(help="Leave out known structures of this formula.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the CIFs.")] = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Refine the best with rietx, into --out (extra).")
    ] = False,
    known: KnownTable = None,
    library: Library = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Find crystal structures for a measured powder pattern."""
    from matlode.jobs.known import Known
    from matlode.jobs.models import Models
    from matlode.jobs.solve import solve as run_solve

    with show_command_progress() as progress:
        answers = run_solve(
            pattern,
            formula,
            n=count,
            wavelength=wavelength,
            hide_known=hide_known,
            out=out,
            refine=refine,
            models=Models(models),
            known=Known(known, library=tuple(library or ())),
            progress=progress,
        )
    if as_json:
        print_json([answer.to_json() for answer in answers])
        return
    rows = [
        [
            str(a.rank), f"{a.match:.3f}", f"{a.rwp:.3f}", str(a.space_group),
            f"{a.volume_per_atom_a3:.2f}",
            f"{a.template}: {a.substitution}", a.file or "",
        ]
        for a in answers
    ]  # fmt: skip
    headings = ["", "match", "Rwp", "space group", "Å³/atom", "from", "file"]
    print_table(headings, rows, title=answers[0].formula)


@commands.command()
def identify(
    patterns: Annotated[
        list[Path], typer.Argument(help="Measured powder patterns (.xy, .xrdml, ...).")
    ],
    elements: Annotated[
        str | None, typer.Option(help="Elements that phases may contain, such as Li,Fe,P,O.")
    ] = None,
    require: Annotated[str | None, typer.Option(help="Elements that phases must contain.")] = None,
    wavelength: Annotated[
        str | None,
        typer.Option(help="Å, or a radiation such as MoKa1 (default: the file's)."),
    ] = None,
    known: KnownTable = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Folder of the table's index (default: in the user's cache)."),
    ] = None,
    library: Library = None,
    top: Annotated[int, typer.Option(min=1, help="Number of phases.")] = 10,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the phases over the pattern: file, or folder for many patterns."),
    ] = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Identify known phases in measured powder patterns.

    Also their space groups and likely elements, from the patterns alone.
    """
    from matlode.jobs.identify import identify as run_identify
    from matlode.jobs.identify import identify_files
    from matlode.jobs.known import Known
    from matlode.jobs.models import Models

    with show_command_progress() as progress:
        options: dict[str, Any] = {
            "elements": elements,
            "require": require,
            "wavelength": wavelength,
            "top": top,
            "models": Models(models),
            "known": Known(known, index, progress, tuple(library or ())),
            "progress": progress,
        }
        if len(patterns) == 1:
            answer = run_identify(patterns[0], plot=plot, **options)
            print_json(answer.to_json()) if as_json else print_identified(answer)
            return
        answers = identify_files(patterns, plots=plot, **options)
        if as_json and not stdout_is_terminal():
            print_json_list(answer.to_json() for answer in answers)
            return
        together = list(answers)
    if as_json:
        print_json([answer.to_json() for answer in together])
    else:
        print_summary_of_patterns(together)


@commands.command()
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
    """List powder peaks: 2θ, d, intensity, indices with multiplicities."""
    from matlode.jobs.xrd import xrd as list_peaks

    with show_command_progress() as progress:
        answers = list_peaks(
            sources, wavelength=wavelength, two_theta_min_deg=low, two_theta_max_deg=high,
            out=out, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json([answer.to_json() for answer in answers])
        fail_if_nothing_read([answer.error for answer in answers])
        return
    for answer in answers:
        title = f"{answer.id}: {answer.formula or answer.error}"
        rows = [
            [
                f"{peak.two_theta_deg:.4f}",
                f"{peak.d_angstrom:.5f}",
                f"{100 * peak.intensity:.3f}",
                ", ".join(f"{list(f.hkl)} × {f.multiplicity}" for f in peak.reflections[:4]),
            ]
            for peak in answer.peaks
        ]
        print_table(["2θ / °", "d / Å", "intensity", "h k l × multiplicity"], rows, title=title)
    fail_if_nothing_read([answer.error for answer in answers])
