"""The main job: from a goal to ranked candidates, crystal structures and a report."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from matlode.artefacts import (
    convert_read_errors,
    convert_write_errors,
    find_model,
    find_shipped_models,
    load_header,
    lock_folder,
)
from matlode.data.tables import checksum
from matlode.engine import Engine, Here
from matlode.errors import GoalError, InputError, suggest
from matlode.jobs.candidate_table import ALWAYS_SHOWN, write_results
from matlode.jobs.deprecated import accept_toolbox
from matlode.jobs.details import find_polymorphs, write_details
from matlode.jobs.goal_check import check_goal
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.options import Names, Numbers, Ranges, make_sections
from matlode.jobs.runs import Run
from matlode.jobs.screens import load_rules
from matlode.jobs.shortlist import (
    Proposal,
    build_crystals,
    count_rejections,
    fit_crystals,
    propose_crystals,
    rank_proposals,
    select_references,
    select_trials,
)
from matlode.jobs.starts import EVALUATED, Prepared, SearchSettings, prepare_campaign
from matlode.latent.forward import one_thread
from matlode.optimisation.campaign import count_blocks
from matlode.optimisation.evaluators import CrystalEvaluator
from matlode.optimisation.goal import Goal
from matlode.optimisation.goal_file import make_goal, merge_options
from matlode.optimisation.record import Record, usable_storage
from matlode.optimisation.samplers import SAMPLERS
from matlode.optimisation.trials import Trials
from matlode.progress import Progress, silent
from matlode.report.html import write_report
from matlode.run_folder import (
    CANDIDATES_FILE,
    CANDIDATES_SCHEMA,
    REQUEST_FILE,
    STRUCTURES_FOLDER,
    RunFolder,
)
from matlode.run_records import FunnelRow, Places, SavedRequest
from matlode.screening.rule import Rule
from matlode.version import __version__


@dataclass
class Stopwatch:
    """Seconds per stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)


@accept_toolbox
def search(
    *,
    maximize: Names | Mapping[str, float] | None = None,
    minimize: Names | Mapping[str, float] | None = None,
    near: Numbers | None = None,
    within: Ranges | None = None,
    elements: Names | None = None,
    require: Names | None = None,
    exclude: Names | None = None,
    max_price: float | None = None,
    no_toxic: bool = False,
    formula: str | None = None,
    prototype: str | None = None,
    space_group: Names | int | Sequence[int] | None = None,
    crystal_system: Names | None = None,
    like: str | Path | None = None,
    like_pattern: str | Path | None = None,
    trials: int | None = None,
    seed: int | None = None,
    sampler: str | None = None,
    risk: float | None = None,
    goal: str | Path | Mapping[str, Any] | None = None,
    out: str | Path = "runs/search",
    storage: str | None = None,
    campaign: str | None = None,
    settings: SearchSettings | None = None,
    models: Models | None = None,
    known: Known | None = None,
    screens: Mapping[str, object] | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Run:
    """Search the latent space, screen, realise as crystal structures, and write a run folder.

    The first keywords are the options of `matlode search` (docs/goal.md); a text where several
    names are meant holds one, or several with commas between. ``goal`` is a goal file or its
    sections; the options come on top of it. ``settings`` are all settings of a search; ``trials``,
    ``seed``, ``sampler`` and ``risk`` replace theirs.

    The folder ``out`` must be new or empty; it then holds candidates.csv and .json,
    verdicts.csv, structures/*.cif, patterns.npz, trials.csv, map.csv, details.json, funnel.json,
    provenance.json and report.html. Finished blocks of the search are kept in ``storage`` (a
    database URL; default: a file in the folder) under the name ``campaign`` (default: that of the
    folder), so that ``resume`` continues after an interruption. The workers of ``engine``
    (default: this process) evaluate. The same arguments give the same table, on any engine.

    Raises GoalError for a goal that makes no sense, InputError if ``out`` is in use.

    >>> run = search(
    ...     maximize="bulk_modulus", within={"density": "< 8"}, exclude="Co,Pb", trials=8192,
    ...     out="runs/light",
    ... )  # doctest: +SKIP
    >>> search(maximize="bulk_module")
    Traceback (most recent call last):
    matlode.errors.GoalError: unknown property "bulk_module". Did you mean "bulk_modulus"?
    """
    models, known = models or Models(), known or Known()
    sections = make_sections(
        goal, maximize=maximize, minimize=minimize, near=near, within=within, elements=elements,
        require=require, exclude=exclude, max_price=max_price, no_toxic=no_toxic, formula=formula,
        prototype=prototype, space_group=space_group, crystal_system=crystal_system, like=like,
        like_pattern=like_pattern, trials=trials, seed=seed, sampler=sampler, risk=risk,
    )  # fmt: skip
    check_goal(sections, models.folder, known.table)
    settings = _settings(settings or SearchSettings(), sections.get("search", {}))
    screens = {**(screens or {}), **sections.get("screens", {})}
    request = Request(sections, settings, models, known, screens)
    # these raise for an impossible goal and unknown screens, before a folder is made
    request.goal()
    load_rules(models, known, screens)
    folder = _new_folder(Path(out))
    request.save(folder, storage, campaign or folder.resolve().name)
    return _run(folder, request, storage, engine, progress, is_new=True)


def resume(
    folder: str | Path,
    *,
    storage: str | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Run:
    """Go on with a search that was interrupted; of one that is finished, the run.

    ``storage`` is needed again where the search was given one: URLs may hold passwords, so
    they are not kept. Raises InputError for what is no run folder, and while another process
    works on it.

    >>> len(resume("runs/hard"))
    20
    """
    folder = Path(folder)
    run = RunFolder(folder)
    if run.has_results and run.has_report:
        return Run(folder)
    return _run(folder, Request.load(folder), storage, engine, progress)


@dataclass(frozen=True)
class Request:
    """All that decides how a search goes."""

    sections: Mapping[str, Any]
    """Of the goal."""
    settings: SearchSettings
    models: Models
    known: Known
    screens: Mapping[str, object]
    """Limits of rules, and which are switched off or on (``choose_rules``)."""

    def goal(self) -> Goal:
        """The goal, checked; raises GoalError, also for models that tell too little."""
        unknown = [name for name in ALWAYS_SHOWN if name not in self.models.endpoints]
        if unknown:
            raise GoalError(
                f"every candidate is shown with its {', '.join(unknown)}, of which the property "
                "network here knows nothing; train it on a table that has them."
            )
        sections = self.sections
        if self.settings.evaluate == "points":  # the paper knows no familiarity
            sections = merge_options({"prefer": {"familiar": False}}, sections)
        goal = make_goal(
            sections,
            known_elements=self.known.elements,
            endpoints=self.models.endpoints,
            risk=self.settings.risk,
        )
        if goal.prototype and self.settings.evaluate != "crystals":
            raise GoalError(
                f"prototype = {goal.prototype!r} is a limit of crystals, but [search] evaluate is "
                f'"{self.settings.evaluate}"; leave one of them out.'
            )
        return goal

    def decisive(self) -> dict[str, Any]:
        """What the results depend on."""
        table = self.known.table
        return {
            "goal": dict(self.sections),
            "settings": asdict(self.settings),
            "screens": dict(self.screens),
            "models": _model_digests(self.models),
            "known": "starter set" if table is None else checksum(table),
        }

    def save(self, folder: Path, storage: str | None, campaign: str) -> None:
        """Write request.json, which ``resume`` reads; a storage's URL is not in it."""
        models, known = (
            None if path is None else str(path.resolve())
            for path in (self.models.folder, self.known.table)
        )
        request = SavedRequest(
            schema=1,
            campaign=campaign,
            shared=storage is not None,
            places=Places(models=models, known=known),
            **self.decisive(),
        )
        RunFolder(folder).write_request(request)

    @classmethod
    def load(cls, folder: Path) -> Request:
        """Read back what ``save`` wrote.

        Raises InputError for what is no run folder, GoalError if the models are others now.
        """
        found = RunFolder(folder).read_request()
        with convert_read_errors(folder / REQUEST_FILE, InputError):
            models, known = (
                None if path is None else Path(path)
                for path in (found.places.models, found.places.known)
            )
            settings = _settings(SearchSettings(), found.settings)
            request = cls(found.goal, settings, Models(models), Known(known), found.screens)
            now = json.loads(json.dumps(request.decisive()))
            changed = [name for name, value in now.items() if getattr(found, name) != value]
        if changed:
            raise GoalError(
                f"{folder} was begun with other {' and '.join(changed)} than the present ones; "
                "start a new search."
            )
        return request


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far an unfinished search is."""

    blocks_done: int
    blocks_wanted: int
    best_merit: float | None
    """None before the first block is done."""
    best_formula: str | None


def read_standing(folder: Path, storage: str | None = None) -> Standing:
    """Where an unfinished search stands: blocks done and wanted, the best so far."""
    request, url = _find_storage(folder, storage)
    n_trials = _settings(SearchSettings(), request.settings).trials
    with usable_storage(url), closing(Record.join(url, request.campaign)) as record:
        state = record.read_state()
        return Standing(blocks_wanted=count_blocks(n_trials), **state._asdict())


def _run(
    folder: Path,
    request: Request,
    storage: str | None,
    engine: Engine | None,
    progress: Progress,
    *,
    is_new: bool = False,
) -> Run:
    saved, url = _find_storage(folder, storage)
    with (
        one_thread(),  # the last digits of a product must not depend on how many are free
        lock_folder(folder),
        usable_storage(url),
        closing(Record.open(url, saved.campaign, request.decisive(), is_new=is_new)) as record,
    ):
        return _finish(folder, request, record, engine or Here(), progress)


def _find_storage(folder: Path, storage: str | None) -> tuple[SavedRequest, str]:
    """The request of a run, and the URL of its record."""
    saved = RunFolder(folder).read_request()
    if saved.shared and storage is None:
        raise InputError(f"{folder} keeps its record elsewhere; give --storage again.")
    return saved, storage or f"sqlite:///{RunFolder(folder.resolve()).campaign_path}"


def _finish(
    folder: Path, request: Request, record: Record, engine: Engine, progress: Progress
) -> Run:
    """Run all stages; an interrupted search continues from the blocks in the record."""
    models, known, settings = request.models, request.known, request.settings
    watch = Stopwatch()
    with watch.stage("load"):
        progress("load", 0, 3, "models")
        goal = request.goal()
        progress("load", 1, 3, "known materials")
        n_known_materials = len(known.catalogue.formulas)
        progress("load", 2, 3, f"starting points out of {n_known_materials:,} known materials")
        prepared = prepare_campaign(goal, models, known, settings)
        progress("load", 3, 3, f"{len(prepared.known)} known starting points")
    with watch.stage("search"):
        trials = prepared.campaign.run(
            prepared.known, settings.trials, settings.seed,
            engine=engine, record=record, progress=progress,
        )  # fmt: skip
    with watch.stage("screen"):
        rules = load_rules(models, known, request.screens)
        screened, references, funnel = _screen(trials, prepared, request, rules, progress)
        proposals = rank_proposals(screened, settings)
        evaluator = prepared.campaign.evaluator
        polymorphs = (
            find_polymorphs(proposals, trials, evaluator)
            if isinstance(evaluator, CrystalEvaluator)
            else [()] * len(proposals)
        )
    with watch.stage("write"):
        progress("write", 0, 3, "tables and structures")
        run = RunFolder(folder)
        write_results(
            run, proposals, references, funnel, trials, goal, models, known, rules,
        )  # fmt: skip
        progress("write", 1, 3, "details")
        write_details(
            run, proposals, screened, trials, polymorphs, known_rows=prepared.known_rows,
            n_known=len(prepared.known), n_proposed=settings.trials, goal=goal, models=models,
            known=known,
        )  # fmt: skip
    provenance = _provenance(goal, request, watch)
    run.write_provenance(provenance)
    progress("write", 2, 3, "report")
    write_report(folder)
    progress("write", 3, 3, str(folder))
    return Run(folder)


def _screen(
    trials: Trials,
    prepared: Prepared,
    request: Request,
    rules: Sequence[Rule],
    progress: Progress,
) -> tuple[list[Proposal], list[Proposal], list[FunnelRow]]:
    """The best trials and the best known materials, as screened crystals, and the funnel."""
    models, known = request.models, request.known
    evaluator, goal = prepared.campaign.evaluator, prepared.campaign.goal
    rows, merits = select_trials(trials, goal, request.settings), trials.merits(goal)
    best, funnel = np.zeros(0, dtype=np.intp), []
    if isinstance(evaluator, CrystalEvaluator):
        types = known.structure_types
        built = build_crystals(trials.take(rows), evaluator, models, types)
        best = select_references(trials, evaluator)
        built_known = build_crystals(trials.take(best), evaluator, models, types)
    else:
        filters, built_known = load_rules(models, known, PAPER_SCREENS), []
        built, filtered = fit_crystals(
            trials.take(rows), models, known.builder, filters, goal, progress
        )
        funnel = count_rejections(filtered, filters)
    screened = propose_crystals(trials, rows, merits, built, models, rules, goal, progress)
    merits = evaluator.valuation.compute_known_merits(trials.gains, trials.shortfalls)
    references = propose_crystals(
        trials, best, merits, built_known, models, rules, goal, designed=False
    )
    funnel += count_rejections([one.screened for one in screened], rules)
    return screened, references, funnel


MAX_COUNT = 10_000_000
"""Largest number of trials and of other things in the settings of a search."""
PAPER_SCREENS = {
    "plausible_pattern": True,
    "clear_symmetry": True,
    **dict.fromkeys(("charge_neutral", "solid_at_room_temperature", "novel", "applicable"), False),
}
"""Filters of decoded patterns, as in Korolev et al. 2020 (Figures S9, S10)."""


def _settings(settings: SearchSettings, given: Mapping[str, Any]) -> SearchSettings:
    """Settings with those of a goal file's [search]; raises GoalError for unknown ones."""
    for name, value in given.items():
        if name not in asdict(settings):
            raise GoalError(f'[search] has no "{name}". {suggest(name, asdict(settings))}')
        wanted = getattr(settings, name)
        fits = type(value) is type(wanted) or (type(value) is int and isinstance(wanted, float))
        if not fits:
            raise GoalError(f"[search] {name} = {value!r}: expected a value such as {wanted!r}.")
    settings = replace(settings, **given)
    if settings.sampler not in SAMPLERS:
        raise GoalError(
            f'unknown sampler "{settings.sampler}". {suggest(settings.sampler, SAMPLERS)}'
        )
    if settings.evaluate not in EVALUATED:
        raise GoalError(
            f'unknown [search] evaluate "{settings.evaluate}". '
            f"{suggest(settings.evaluate, EVALUATED)}"
        )
    for name, value in asdict(settings).items():
        if name.endswith("_share") or name == "risk":
            if not 0 <= value <= 1:
                raise GoalError(f"{name} must be from 0 to 1, not {value}.")
        elif name == "seed":
            if not 0 <= value < 2**32:
                raise GoalError(f"seed must be from 0 to {2**32 - 1}, not {value}.")
        elif isinstance(value, int) and not 1 <= value <= MAX_COUNT:
            raise GoalError(f"{name} must be from 1 to {MAX_COUNT:,}, not {value}.")
    return settings


def _new_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        run = RunFolder(folder)
        advice = (
            " `matlode show` or `Run.load` reads what it found,"
            if run.has_results
            else " `matlode resume` continues it," * run.is_begun
        )
        raise InputError(f"{folder} is not empty;{advice} choose another folder or delete it.")
    with convert_write_errors(folder):
        try:
            (folder / STRUCTURES_FOLDER).mkdir(parents=True)
        except FileExistsError as error:  # made by another since we looked
            raise InputError(f"another process works on {folder}; choose another --out.") from error
    return folder


def _provenance(goal: Goal, request: Request, watch: Stopwatch) -> dict[str, Any]:
    models, table = request.models, request.known.table
    return {
        "schema": 1,
        "schemas": {CANDIDATES_FILE: CANDIDATES_SCHEMA},
        "goal": {"words": goal.in_words(), "shown": goal.shown, **asdict(goal)},
        "settings": asdict(request.settings),
        "known_materials": {
            "table": "starter set" if table is None else table.name,
            "rows": len(request.known.materials),
            "sha256": None if table is None else checksum(table),
        },
        "units": {name: endpoint.unit for name, endpoint in models.endpoints.items()},
        "models": _model_digests(models),
        "trained_on": load_header(find_model("standard-pattern-vae", models.folder)).get(
            "trained_on"
        ),
        "versions": {
            "matlode": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "pymatgen", "moyopy")},
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "seconds": watch.seconds,
        "peak_memory_gb": peak_memory_gb(),
    }


def _model_digests(used: Models) -> dict[str, str]:
    """Model → checksum of its header; models in the folder replace shipped ones."""
    roots = [find_shipped_models(), *([used.folder] if used.folder else [])]
    models = {
        path.parent.name: path for root in roots for path in sorted(root.glob("*/model.json"))
    }
    return {name: checksum(path) for name, path in sorted(models.items())}


def peak_memory_gb() -> float | None:
    """The most that this process has held; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kilobytes elsewhere
    return round(peak / (1e9 if sys.platform == "darwin" else 1e6), 2)
