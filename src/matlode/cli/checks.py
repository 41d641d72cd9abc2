"""Commands about this machine: what is installed, and how fast it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from matlode import completion
from matlode.cli.printing import print_json, print_table
from matlode.cli.shared import (
    AsJson,
    DataTable,
    ModelsFolder,
    make_examination,
    progress_of,
)

commands = typer.Typer()


@commands.command()
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
        typer.Option(min=1, help="Runs of each (search: 20, rediscovery, discovery: 3)."),
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
    from matlode.benchmarks.diffraction import bench_diffraction
    from matlode.benchmarks.discovery import bench_discovery
    from matlode.benchmarks.identify import bench_identify
    from matlode.benchmarks.prediction import bench_prediction
    from matlode.benchmarks.rediscovery import GOAL, HARD_PHASES, SETTINGS, bench_rediscovery
    from matlode.benchmarks.scale import bench_scale
    from matlode.benchmarks.search import bench_search
    from matlode.benchmarks.training import bench_training
    from matlode.data.tables import full_table_path
    from matlode.errors import InputError, suggest
    from matlode.jobs.known import Known

    if what not in completion.BENCHMARKS:
        raise InputError(f'"{what}" has no benchmark. {suggest(what, completion.BENCHMARKS)}')
    with progress_of(kept=what in ("search", "rediscovery", "discovery")) as progress:
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
            known = Known(full_table_path(data))
            found = bench_discovery(
                n=structures or 20,
                n_seeds=seeds or 3,
                examination=make_examination(known.materials, None),
                known=known,
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
        print_json(found)
        return
    for title, rows in found.items():
        cells = [
            [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows
        ]
        print_table(list(rows[0]), cells, title=title)


@commands.command()
def doctor(models: ModelsFolder = None, as_json: AsJson = False) -> None:
    """What is installed and found here.

    Exit status 1 if something is wrong.
    """
    from dataclasses import asdict

    from matlode.jobs.doctor import examine_installation

    findings = examine_installation(models)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        signs = {"ok": "✓", "absent": "–", "wrong": "✗"}
        rows = [[signs[f.state], f.about, f.name, f.found, f.advice] for f in findings]
        print_table(["", "about", "what", "found", "advice"], rows)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)
