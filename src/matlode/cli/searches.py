"""Commands about a search and its run folder."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matlode import completion
from matlode.cli.printing import print_candidates, print_evidence, print_json
from matlode.cli.shared import (
    AsJson,
    KnownTable,
    ModelsFolder,
    Scheduler,
    ScreensFile,
    Storage,
    Workers,
    given,
    load_screens,
    make_examination,
    open_engine,
    parse_numbers,
    parse_pairs,
    refuse,
    show_command_progress,
    split_symbols,
)
from matlode.terminal import show_progress

if TYPE_CHECKING:
    from matlode.jobs.rounds import Wishes
    from matlode.jobs.search import Run, Standing
    from matlode.run_folder import RunFolder
    from matlode.run_records import CandidateRow


RunPath = Annotated[Path, typer.Argument(help="Folder of a search.")]

commands = typer.Typer()


def _present_name(option: str) -> str:
    """The name of an option that was called otherwise until version 0.1."""
    return {"judge": "potential", "witness": "second-potential"}.get(option, option)


@commands.command()
def search(
    ctx: typer.Context,
    goal: Annotated[
        Path | None, typer.Argument(help="Goal file (docs/goal.md); options come on top.")
    ] = None,
    maximize: Annotated[
        list[str] | None,
        typer.Option(
            help="Property to maximize; `matlode properties` lists them.",
            autocompletion=completion.of(completion.PROPERTIES),
        ),
    ] = None,
    minimize: Annotated[
        list[str] | None,
        typer.Option(
            help="Property to minimize.",
            autocompletion=completion.of(completion.PROPERTIES),
        ),
    ] = None,
    near: Annotated[
        list[str] | None,
        typer.Option(
            help="Property to bring near a value: band_gap=1.4 (PBE gap).",
            autocompletion=completion.of(f"{name}=" for name in completion.PROPERTIES),
        ),
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            help='Range of a property: "band_gap=1.1..1.7" (PBE gap).',
            autocompletion=completion.of(f"{name}=" for name in completion.PROPERTIES),
        ),
    ] = None,
    elements: Annotated[
        str | None, typer.Option(help="The only elements allowed, such as B,C,N,W.")
    ] = None,
    require: Annotated[str | None, typer.Option(help="Elements that must occur.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Forbidden elements, such as Co,Pb.")] = None,
    formula: Annotated[
        str | None, typer.Option(help="Stoichiometry, such as ABX3 or A2BO4.")
    ] = None,
    prototype: Annotated[
        str | None,
        typer.Option(
            help="Structure of all crystals: perovskite, spinel, rock salt, ...",
            autocompletion=completion.of(completion.PROTOTYPES),
        ),
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
    risk: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="0: predicted values count; 1: the bad ends of their 90 % intervals "
            "(default: 0.25).",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder; must be new or empty.")] = Path(
        "runs/search"
    ),
    relax: Annotated[
        int, typer.Option(min=0, help="Best candidates to verify afterwards (`matlode relax`).")
    ] = 0,
    rounds: Annotated[
        int, typer.Option(min=1, help="Searches, each corrected by --relax of those before.")
    ] = 1,
    storage: Storage = None,
    campaign: Annotated[
        str | None, typer.Option(help="Name in the storage (default: that of the folder).")
    ] = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    known: KnownTable = None,
    models: ModelsFolder = None,
    screens: ScreensFile = None,
    as_json: AsJson = False,
) -> None:
    """Search for materials, screen them, build crystal structures."""
    from matlode.jobs.known import Known
    from matlode.jobs.models import Models
    from matlode.jobs.search import search as run_search
    from matlode.optimisation.goal_file import merge_options, read_goal_file

    sections = {
        "near": parse_numbers(near),
        "within": parse_pairs(within),
        "elements": given(required=split_symbols(require)),
        "formula": given(stoichiometry=formula),
        "symmetry": given(prototype=prototype),
        "prefer": given(like=like, like_pattern=like_pattern and str(like_pattern)),
        "search": given(trials=trials, seed=seed, sampler=sampler, risk=risk),
    }
    loaded, table = Models(models), Known(known)
    limits = load_screens(screens)
    wishes: Wishes = {
        "maximize": maximize or (),
        "minimize": minimize or (),
        "elements": split_symbols(elements),
        "exclude": split_symbols(exclude) or (),
        "goal": merge_options(read_goal_file(goal) if goal else {}, given(**sections)),
    }
    if rounds > 1 and not relax:
        ctx.fail("--rounds needs --relax N: each round learns from N verified candidates.")
    if rounds > 1:
        refuse(ctx, "storage", "campaign", when="with --rounds, which keeps each search in --out")
    # before the search, so that a missing package is reported first
    examination = make_examination(table.materials, models) if relax else None
    advise = partial(_advise_after_interrupt, out, storage, relax)
    with show_progress(advise) as progress, open_engine(workers, scheduler) as engine:
        if examination is not None and rounds > 1:
            from matlode.jobs.rounds import search_in_rounds

            run = search_in_rounds(
                rounds, relax, out=out, models=loaded, known=table, screens=limits,
                examination=examination, engine=engine, progress=progress, **wishes,
            )  # fmt: skip
        else:
            run = run_search(
                out=out, storage=storage, campaign=campaign, models=loaded, known=table,
                screens=limits, engine=engine, progress=progress, **wishes,
            )  # fmt: skip
            if examination is not None:
                from matlode.jobs.relax import relax_run

                relax_run(run.folder, relax, examination, progress, engine=engine)
    _print_run(run, as_json)


@commands.command()
def resume(
    ctx: typer.Context,
    run: RunPath,
    storage: Storage = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Continue a search that was interrupted."""
    from matlode.jobs.rounds import resume_rounds
    from matlode.jobs.search import resume as resume_run
    from matlode.run_folder import RunFolder

    advise = partial(_advise_after_interrupt, run, storage)
    with show_progress(advise) as progress, open_engine(workers, scheduler) as engine:
        if RunFolder(run).is_in_rounds:
            refuse(ctx, "storage", when=f"for {run}, a folder of rounds")
            finished = resume_rounds(run, engine=engine, progress=progress)
        else:
            finished = resume_run(run, storage=storage, engine=engine, progress=progress)
    _print_run(finished, as_json)


@commands.command(context_settings={"token_normalize_func": _present_name})
def relax(
    ctx: typer.Context,
    sources: Annotated[
        list[Path], typer.Argument(help="Folder of a search, or CIF and POSCAR files.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Best candidates of a search.")] = 10,
    potential: Annotated[
        str,
        typer.Option(
            help="ML potential for all results, or MODULE:FACTORY of any ASE calculator.",
            autocompletion=completion.of(completion.POTENTIALS),
        ),
    ] = "sevennet-l3i5",
    second_potential: Annotated[
        str,
        typer.Option(
            help="Potential that the energies are checked with.",
            autocompletion=completion.of(completion.POTENTIALS),
        ),
    ] = "chgnet",
    hull: Annotated[bool, typer.Option(help="Energy above the hull of known phases.")] = True,
    elastic: Annotated[bool, typer.Option(help="Elastic constants and phonons at Γ.")] = True,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    out: Annotated[Path, typer.Option(help="Folder for the results of structure files.")] = Path(
        "relaxed"
    ),
    known: KnownTable = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Verify candidates with two ML potentials (relaxation, hull energy, elasticity)."""
    from matlode.jobs.known import Known
    from matlode.jobs.relax import make_sources, relax_files, relax_run

    of_run = len(sources) == 1 and sources[0].is_dir()
    if of_run:
        refuse(ctx, "out", when="for a search: the results go into its folder")
    else:
        refuse(ctx, "top", when="for structure files: all of them are relaxed")
    examination = replace(
        make_examination(Known(known).materials, models),
        primary=potential, secondary=second_potential, hull=hull, elastic=elastic,
    )  # fmt: skip
    with (
        show_command_progress(kept=True) as progress,
        open_engine(workers, scheduler) as engine,
    ):
        if of_run:
            rows = relax_run(sources[0], top, examination, progress, engine=engine)
        else:
            rows = relax_files(make_sources(sources), out, examination, progress, engine=engine)
    if as_json:
        print_json([row.to_columns() for row in rows])
    else:
        print_evidence(rows)


@commands.command()
def show(
    ctx: typer.Context, run: RunPath, storage: Storage = None, as_json: AsJson = False
) -> None:
    """Print the candidates of a search, or its progress."""
    from matlode.artefacts import convert_read_errors
    from matlode.errors import InputError
    from matlode.run_folder import RunFolder

    folder = RunFolder(run)
    if folder.is_begun and not folder.has_results:
        from matlode.jobs.search import read_standing

        _print_standing(run, read_standing(run, storage), as_json)
        return
    rows = folder.read_rows()
    refuse(ctx, "storage", when=f"for {run}: the search is finished")
    with convert_read_errors(run, InputError):
        if as_json:
            print_json([row.to_columns() for row in rows])
        else:
            print_candidates(rows, folder.read_provenance())


def _print_standing(run: Path, where: Standing, as_json: bool) -> None:
    if as_json:
        print_json(where.to_json())
        return
    best = (
        "none yet"
        if where.best_merit is None
        else f"{where.best_formula}, merit {where.best_merit:.2f}"
    )
    print(
        f"{run}: {where.blocks_done} of {where.blocks_wanted} blocks done; best: {best}. "
        f"`matlode resume {run}` continues the search."
    )


@commands.command()
def explain(
    run: RunPath,
    formula: Annotated[str, typer.Argument(help="Formula of a candidate.")],
    as_json: AsJson = False,
) -> None:
    """Explain the rank of a candidate: its verdicts and reasons."""
    from matlode.artefacts import convert_read_errors
    from matlode.data.formulas import canonicalise_formula
    from matlode.errors import InputError
    from matlode.run_folder import RunFolder

    wanted = canonicalise_formula(formula)
    folder = RunFolder(run)
    rows = folder.read_candidates()
    with convert_read_errors(run, InputError):
        row = next((row for row in rows if canonicalise_formula(row.formula) == wanted), None)
        if row is not None and as_json:
            print_json(row.to_columns())
            return
    if row is not None:
        _print_explanation(folder, row)
        return
    near = get_close_matches(formula, [row.formula for row in rows], n=3, cutoff=0.4)
    advice = f" Similar: {', '.join(near)}." if near else ""
    raise InputError(f"{formula} is not among the {len(rows)} candidates of {run}.{advice}")


def _print_explanation(folder: RunFolder, row: CandidateRow) -> None:
    explanation = folder.explain(row)
    print(f"{row.rank}. {row.formula}: {row.verdict}, {row.novelty}")
    for missed in explanation.missed or ():
        print(f"  note {missed}")
    if explanation.missed is None and not row.in_ranges:  # a run without records of it
        print("  note outside the ranges of the goal")
    for found in explanation.verdicts:
        print(f"  {_OUTCOMES[found.outcome]} {found.verdict.rule}: {found.verdict.reason}")
    print(f"  {explanation.story}")
    print(f"  nearest known: {row.nearest_known}; file: {row.structure_file}")


_OUTCOMES = {"passed": "ok", "failed": "NO", "noted": "note"}
"""Outcome of a rule → how it is printed."""


@commands.command()
def report(run: RunPath) -> None:
    """Rewrite report.html of a search."""
    from matlode.report.html import write_report

    print(write_report(run))


def _advise_after_interrupt(out: Path, storage: str | None, n_relaxed: int = 0) -> str:
    """How to continue after Ctrl-C in a search."""
    from matlode.run_folder import RunFolder

    folder = RunFolder(out)
    if folder.is_in_rounds:
        return f"`matlode resume {out}` continues the rounds."
    if folder.has_report:
        return (
            f"The search is done; `matlode relax {out} --top {n_relaxed}` continues the relaxation."
        )
    if not folder.is_begun:
        return "Nothing had been begun."
    # a storage's URL may hold a password
    again = f"`matlode resume {out}{' --storage URL' if storage else ''}` continues the search"
    return f"{again}, and `matlode relax {out}` relaxes afterwards." if n_relaxed else f"{again}."


def _print_run(run: Run, as_json: bool) -> None:
    from matlode.run_folder import RunFolder

    folder = RunFolder(run.folder)
    rows = folder.read_rows()
    if as_json:
        print_json([row.to_columns() for row in rows])
        return
    provenance = folder.read_provenance()
    print_candidates(rows, provenance)
    seconds = sum(provenance.seconds.values())
    if notable := folder.read_details().notable_elements:
        print(f"Elements: {notable}.")
    n_candidates = sum(not row.is_known for row in rows)
    print(f"\n{n_candidates} candidates in {seconds:.0f} s. Look at {folder.report_path}")
