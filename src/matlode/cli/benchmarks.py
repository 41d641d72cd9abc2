"""Benchmarks: how fast and how exact the parts are, beside other programs and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from matlode import completion
from matlode.cli.printing import print_json, print_table
from matlode.cli.shared import (
    AsJson,
    Commands,
    DataTable,
    KnownTable,
    open_engine,
    show_command_progress,
)

commands = typer.Typer(
    help="Measure speed and exactness beside other programs.",
    cls=Commands,
    no_args_is_help=True,
)

MeasuredScans = Annotated[
    Path | None,
    typer.Option(help="Folder of measured patterns with known phases, instead of simulated ones."),
]
Results = Mapping[str, Sequence[Mapping[str, object]]]
"""Title of a table → its rows."""


@commands.command("xrd")
def bench_xrd(
    data: DataTable = None,
    structures: Annotated[int, typer.Option(min=10, help="Structures that are timed.")] = 600,
    exact: Annotated[
        int, typer.Option(min=10, help="Structures compared with brute force.")
    ] = 2000,
    as_json: AsJson = False,
) -> None:
    """Powder patterns: time and exactness."""
    from matlode.benchmarks.diffraction import bench_diffraction
    from matlode.data.tables import find_full_table

    with show_command_progress() as progress:
        found = bench_diffraction(
            find_full_table(data), n_structures=structures, n_exact=exact, progress=progress
        )
    _print(found, as_json)


@commands.command("predict")
def bench_predict(
    data: DataTable = None,
    structures: Annotated[int, typer.Option(min=10, help="Structures to predict.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Predictions: the start of the command, then stage by stage."""
    from matlode.benchmarks.prediction import bench_prediction
    from matlode.data.tables import find_full_table

    with show_command_progress() as progress:
        found = bench_prediction(find_full_table(data), n_structures=structures, progress=progress)
    _print(found, as_json)


@commands.command("search")
def bench_search(
    data: DataTable = None,
    sampler: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this sampler (may be repeated; default: all).",
            autocompletion=completion.of(completion.SAMPLERS),
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each sampler.")] = 20,
    trials: Annotated[int, typer.Option(min=64, help="Points per run.")] = 2048,
    out: Annotated[Path, typer.Option(help="Folder for results and figures.")] = Path("arena"),
    as_json: AsJson = False,
) -> None:
    """Samplers: on functions, in the latent space, cost of suggestions."""
    from matlode.benchmarks.search import bench_search

    with show_command_progress(kept=True) as progress:
        found = bench_search(
            sampler or (), n_seeds=seeds, n_trials=trials, data=data, out=out, progress=progress
        )
    _print(found, as_json)


@commands.command("search-cost")
def bench_search_cost(
    trials: Annotated[
        int | None, typer.Option(min=64, help="Proposals of the search (default: 8,192).")
    ] = None,
    known: KnownTable = None,
    as_json: AsJson = False,
) -> None:
    """Seconds of each stage of a search."""
    from matlode.benchmarks.search_cost import N_CRYSTALS, bench_search_cost

    with show_command_progress() as progress:
        found = bench_search_cost(n_trials=trials or N_CRYSTALS, known=known, progress=progress)
    _print(found, as_json)


@commands.command("rediscovery")
def bench_rediscovery(
    data: DataTable = None,
    hide: Annotated[
        Path | None,
        typer.Option(
            help="File of formulas to hide (default: 20 hard phases, and 100 of four other goals)."
        ),
    ] = None,
    goal: Annotated[
        Path | None, typer.Option(help="Goal file for --hide (default: the hardest materials).")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Searches.")] = 3,
    trials: Annotated[
        int | None, typer.Option(min=64, help="Proposals per search (default: 8,192).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for models and results.")] = Path("rediscovery"),
    as_json: AsJson = False,
) -> None:
    """How many known phases a search finds if they are hidden."""
    from matlode.benchmarks.rediscovery import SETTINGS, bench_rediscovery

    with show_command_progress(kept=True) as progress:
        found = bench_rediscovery(
            hide,
            goal=goal,
            settings=replace(SETTINGS, trials=trials or SETTINGS.trials),
            n_seeds=seeds,
            data=data,
            out=out,
            progress=progress,
        )
    _print(found, as_json)


@commands.command("discovery")
def bench_discovery(
    data: DataTable = None,
    structures: Annotated[int, typer.Option(min=10, help="Proposals of each method.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Searches.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("discovery"),
    as_json: AsJson = False,
) -> None:
    """Proposals of a search and of baselines, in two ML potentials."""
    from matlode.benchmarks.discovery import bench_discovery
    from matlode.data.tables import find_full_table
    from matlode.evidence.examination import Examination
    from matlode.jobs.known import Known

    with show_command_progress(kept=True) as progress, open_engine() as engine:
        known = Known(find_full_table(data))
        found = bench_discovery(
            n=structures,
            n_seeds=seeds,
            examination=Examination(known.materials),
            known=known,
            out=out,
            engine=engine,
            progress=progress,
        )
    _print(found, as_json)


@commands.command("identify")
def bench_identify(
    data: DataTable = None,
    structures: Annotated[int, typer.Option(min=10, help="Patterns to identify.")] = 504,
    out: Annotated[
        Path | None, typer.Option(help="Folder for finished parts (default: kept nowhere).")
    ] = None,
    measured: MeasuredScans = None,
    as_json: AsJson = False,
) -> None:
    """How often the phase of a powder pattern is found."""
    from matlode.benchmarks.identify import bench_identify
    from matlode.benchmarks.identify_scans import bench_scans
    from matlode.data.tables import find_full_table

    if measured is not None:
        with show_command_progress() as progress:
            found = bench_scans(measured, find_full_table(data), out=out, progress=progress)
        _print(found, as_json)
        return
    with show_command_progress(kept=out is not None) as progress:
        found = bench_identify(
            find_full_table(data), n_patterns=structures, out=out, progress=progress
        )
    _print(found, as_json)


@commands.command("solve")
def bench_solve(
    measured: Annotated[Path, typer.Option(help="Folder of measured patterns with known phases.")],
    data: DataTable = None,
    as_json: AsJson = False,
) -> None:
    """How often a structure is found for a measured pattern, its formula hidden."""
    from matlode.benchmarks.solve_scans import bench_solve
    from matlode.data.tables import find_full_table

    with show_command_progress() as progress:
        found = bench_solve(measured, find_full_table(data), progress)
    _print(found, as_json)


@commands.command("scale")
def bench_scale(
    data: DataTable = None,
    trials: Annotated[int, typer.Option(min=64, help="Points of the largest search.")] = 1_000_000,
    structures: Annotated[
        int, typer.Option(min=10, help="Structures of the largest table.")
    ] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """Time and memory of long searches and large tables."""
    from matlode.benchmarks.scale import bench_scale

    with show_command_progress() as progress:
        found = bench_scale(n_trials=trials, n_structures=structures, data=data, progress=progress)
    _print(found, as_json)


@commands.command("coordinator")
def bench_coordinator(as_json: AsJson = False) -> None:
    """How many workers one process keeps busy, by simulation."""
    from matlode.benchmarks.coordinator import bench_coordinator

    with show_command_progress() as progress:
        found = bench_coordinator(progress=progress)
    _print(found, as_json)


def _print(found: Results, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for title, rows in found.items():
        cells = [
            [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows
        ]
        print_table(list(rows[0]), cells, title=title)
