"""Commands about a search and its run folder."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matlode import completion
from matlode.cli.printing import print_candidates, print_evidence, print_json
from matlode.cli.shared import (
    AsJson,
    FewWorkers,
    KnownTable,
    ModelsFolder,
    Scheduler,
    ScreensFile,
    Storage,
    Workers,
    is_given,
    load_screens,
    open_engine,
    refuse,
    show_command_progress,
)
from matlode.terminal import show_progress

if TYPE_CHECKING:
    from matlode.jobs.runs import Run
    from matlode.jobs.search import Standing


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
            help="Properties to maximize, with commas between; `matlode properties` lists them.",
            autocompletion=completion.of(completion.PROPERTIES),
        ),
    ] = None,
    minimize: Annotated[
        list[str] | None,
        typer.Option(
            help="Properties to minimize.",
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
    max_price: Annotated[
        float | None, typer.Option(min=0, help="Highest price of an element in $/kg.")
    ] = None,
    no_toxic: Annotated[
        bool, typer.Option("--no-toxic", help="Without As, Be, Cd, Hg, Ni, Pb and Tl.")
    ] = False,
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
    space_group: Annotated[
        str | None, typer.Option(help="Numbers or symbols of space groups: 225,P6/mmm.")
    ] = None,
    crystal_system: Annotated[
        str | None,
        typer.Option(
            help="Crystal systems, such as cubic,hexagonal.",
            autocompletion=completion.of(completion.CRYSTAL_SYSTEMS),
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Material to resemble: a formula or a structure file.")
    ] = None,
    like_pattern: Annotated[
        Path | None, typer.Option(help="Measured powder pattern to resemble.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Proposals to evaluate (default: 8192).")
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
    workers: FewWorkers = 1,
    scheduler: Scheduler = None,
    known: KnownTable = None,
    models: ModelsFolder = None,
    screens: ScreensFile = None,
    as_json: AsJson = False,
) -> None:
    """Search for materials, screen them, build crystal structures."""
    started = time.perf_counter()
    from matlode.jobs.goal_check import check_goal
    from matlode.jobs.options import make_sections

    sections = make_sections(
        goal, maximize=maximize, minimize=minimize, near=near, within=within, elements=elements,
        require=require, exclude=exclude, max_price=max_price, no_toxic=no_toxic, formula=formula,
        prototype=prototype, space_group=space_group, crystal_system=crystal_system, like=like,
        like_pattern=like_pattern, trials=trials, seed=seed, sampler=sampler, risk=risk,
    )  # fmt: skip
    check_goal(sections, models, known)  # before what follows imports PyTorch
    if rounds > 1 and not relax:
        ctx.fail("--rounds needs --relax N: each round learns from N verified candidates.")
    if rounds > 1:
        refuse(ctx, "storage", "campaign", when="with --rounds, which keeps each search in --out")
    from matlode.jobs.known import Known
    from matlode.jobs.models import Models
    from matlode.jobs.search import search as run_search

    loaded, table = Models(models), Known(known)
    limits = load_screens(screens)
    examination = None
    if relax:  # before the search, so that a missing package is reported first
        from matlode.evidence.examination import Examination

        examination = Examination(table.materials, models)
    advise = partial(_advise_after_interrupt, out, storage, relax)
    with show_progress(advise) as progress, open_engine(workers, scheduler) as engine:
        if examination is not None and rounds > 1:
            from matlode.jobs.rounds import search_in_rounds

            run = search_in_rounds(
                rounds, relax, out=out, models=loaded, known=table, screens=limits,
                examination=examination, engine=engine, progress=progress, goal=sections,
            )  # fmt: skip
        else:
            run = run_search(
                goal=sections, out=out, storage=storage, campaign=campaign, models=loaded,
                known=table, screens=limits, engine=engine, progress=progress,
            )  # fmt: skip
            if examination is not None:
                from matlode.jobs.relax import relax_run

                relax_run(run.folder, relax, examination, progress, engine=engine)
    _print_run(run, as_json, started)


@commands.command()
def resume(
    ctx: typer.Context,
    run: RunPath,
    storage: Storage = None,
    workers: FewWorkers = 1,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Continue a search that was interrupted."""
    started = time.perf_counter()
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
    _print_run(finished, as_json, started)


@commands.command(context_settings={"token_normalize_func": _present_name})
def relax(
    ctx: typer.Context,
    sources: Annotated[
        list[Path], typer.Argument(help="Folder of a search, or CIF and POSCAR files.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Best candidates of a search.")] = 10,
    only: Annotated[
        str | None,
        typer.Option(help="In place of the best: ranks or formulas, with commas between."),
    ] = None,
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
    from matlode.jobs.models import Models
    from matlode.jobs.relax import relax as run_relax

    if len(sources) == 1 and sources[0].is_dir():
        refuse(ctx, "out", when="for a search: the results go into its folder")
    else:
        refuse(ctx, "top", "only", when="for structure files: all of them are relaxed")
    with (
        show_command_progress(kept=True) as progress,
        open_engine(workers, scheduler) as engine,
    ):
        rows = run_relax(
            sources, top=top, only=only or (), potential=potential,
            second_potential=second_potential, hull=hull, elastic=elastic, out=out,
            models=Models(models), known=Known(known), engine=engine, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json([row.to_columns() for row in rows])
    else:
        print_evidence(rows)


@commands.command()
def show(
    ctx: typer.Context,
    run: RunPath,
    top: Annotated[int, typer.Option(min=1, help="Number of candidates to print.")] = 25,
    storage: Storage = None,
    as_json: AsJson = False,
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
            last = top if is_given(ctx, "top") else len(rows)  # a program gets all of them
            print_json([row.to_columns() for row in rows if row.rank <= last])
        else:
            print_candidates(rows, folder.read_provenance(), top)


def _print_standing(run: Path, where: Standing, as_json: bool) -> None:
    if as_json:
        print_json(vars(where))
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
    candidate: Annotated[str, typer.Argument(help="Formula or rank of a candidate.")],
    as_json: AsJson = False,
) -> None:
    """Explain the rank of a candidate: its verdicts and reasons."""
    from matlode.artefacts import convert_read_errors
    from matlode.errors import InputError
    from matlode.jobs.runs import Run
    from matlode.jobs.runs import explain as explain_candidate

    with convert_read_errors(run, InputError):
        if as_json:
            print_json(Run(run)[candidate].row.to_columns())
        else:
            print(explain_candidate(run, candidate))


@commands.command()
def report(run: RunPath) -> None:
    """Rewrite report.html of a search."""
    from matlode.report.html import write_report

    print(write_report(run))


@commands.command()
def export(
    run: RunPath,
    to: Annotated[
        str,
        typer.Option(
            help="cif, poscar, extxyz, ase-db, pymatgen, optimade, csv or lemat.",
            autocompletion=completion.of(completion.FORMATS),
        ),
    ],
    out: Annotated[Path, typer.Option(help="New file; a new folder for cif and poscar.")],
    top: Annotated[int | None, typer.Option(min=1, help="Best candidates (default: all).")] = None,
) -> None:
    """Write the candidates of a search in a format of other programs.

    A crystal that potentials relaxed is written as relaxed.
    """
    from matlode.exchange.formats import export as run_export

    print(run_export(run, to, out, top=top))


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


def _print_run(run: Run, as_json: bool, started: float) -> None:
    """Print the candidates, and how long it took since ``started`` (``time.perf_counter``)."""
    from matlode.run_folder import RunFolder

    folder = RunFolder(run.folder)
    rows = folder.read_rows()
    if as_json:
        print_json([row.to_columns() for row in rows])
        return
    provenance = folder.read_provenance()
    print_candidates(rows, provenance)
    if notable := folder.read_details().notable_elements:
        print(f"Elements: {notable}.")
    n_candidates = sum(not row.is_known for row in rows)
    seconds = time.perf_counter() - started
    print(f"\n{n_candidates} candidates in {seconds:.0f} s. Look at {folder.report_path}")
