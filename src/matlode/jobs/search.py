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
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from matlode import __version__
from matlode.artefacts import find_model, load_header, shipped_models, write_json
from matlode.data.formulas import chemical_system
from matlode.data.tables import checksum
from matlode.errors import GoalError, InputError, suggest
from matlode.jobs.run_folder import Proposal, candidate_table, write_results
from matlode.jobs.toolbox import Toolbox
from matlode.jobs.wishes import likeness_starts, preferences_of
from matlode.optimisation.campaign import BATCH, Campaign, Trials, select_diverse
from matlode.optimisation.goal import Goal, Scale, merit
from matlode.optimisation.goal_file import make_goal, read_goal_file, with_options
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.preferences import Decoded
from matlode.optimisation.samplers import SAMPLERS
from matlode.progress import Progress, silent
from matlode.properties.network import VOLUME
from matlode.realisation.builder import Builder
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.records import Candidate
from matlode.report.html import write_report
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.funnel import screen


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long and how widely the main job looks."""

    trials: int = 2048
    """Evaluated latent points."""
    seed: int = 0
    sampler: str = "tpe"
    """One of SAMPLERS."""
    n_start: int = 1500
    """Known materials that the search starts from (drawn at random, if there are more)."""
    n_screened: int = 400
    """Distinct formulas that are screened."""
    n_realised: int = 200
    """Of these, the best that structures are built for."""
    n_candidates: int = 100
    """Rows of the final table."""
    max_per_system: int = 4
    """Formulas of one chemical system in the table."""


REQUEST_FILE = "request.json"


@dataclass(frozen=True)
class Run:
    """A finished search."""

    folder: Path
    candidates: pd.DataFrame
    """The table of candidates.csv."""
    provenance: Mapping[str, Any]


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


def search(
    *,
    maximize: Sequence[str] = (),
    minimize: Sequence[str] = (),
    elements: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    goal: Path | Mapping[str, Any] | None = None,
    out: str | Path = "runs/search",
    storage: str | None = None,
    campaign: str | None = None,
    settings: SearchSettings | None = None,
    toolbox: Toolbox | None = None,
    progress: Progress = silent,
) -> Run:
    """Search the latent space, screen, realise as crystal structures, and write a run folder.

    ``goal`` is a goal file (docs/goal.md) or its sections; ``maximize`` and ``minimize`` name
    further endpoints, ``elements`` the only ones allowed, ``exclude`` those that never are.
    The folder ``out`` must be new or empty; it then holds candidates.csv and .json,
    verdicts.csv, structures/*.cif, patterns.npz, trials.csv, funnel.json, provenance.json and
    report.html. Batches of the search are kept in ``storage`` (a database URL; default: a file
    in the folder) under the name ``campaign`` (default: that of the folder): other workers may
    join, and ``resume`` goes on after an interruption. The same arguments give the same table.

    Raises GoalError for a goal that makes no sense, InputError if ``out`` is in use.
    """
    sections = dict(goal) if isinstance(goal, Mapping) else read_goal_file(goal) if goal else {}
    chosen = {} if elements is None else {"allowed": list(elements)}
    options = {
        "maximize": list(maximize),
        "minimize": list(minimize),
        "elements": {**chosen, **({"forbidden": list(exclude)} if exclude else {})},
    }
    sections = with_options(sections, {name: option for name, option in options.items() if option})
    settings = _settings(settings or SearchSettings(), sections.get("search", {}))
    toolbox = toolbox or Toolbox()
    if "screens" in sections:
        toolbox = replace(toolbox, screens={**toolbox.screens, **sections["screens"]})
    request = Request(sections, settings, toolbox)
    request.goal()  # an impossible one is told before there is a folder
    folder = _new_folder(Path(out))
    request.save(folder, storage, campaign or folder.resolve().name)
    return _run(folder, request, storage, progress)


def resume(folder: str | Path, *, storage: str | None = None, progress: Progress = silent) -> Run:
    """Go on with a search that was interrupted; of one that is finished, the run.

    ``storage`` is needed again where the search was given one: URLs may hold passwords, so
    they are not kept. Raises InputError for what is no run folder, and while another process
    works on it.
    """
    folder = Path(folder)
    if (folder / "provenance.json").exists() and (folder / "report.html").exists():
        table = pd.read_csv(folder / "candidates.csv", keep_default_na=False)
        return Run(folder, table, json.loads((folder / "provenance.json").read_text()))
    return _run(folder, Request.load(folder), storage, progress)


def work(
    url: str, campaign: str, *, toolbox: Toolbox | None = None, progress: Progress = silent
) -> int:
    """Do batches of a campaign that another process began, until all are done; returns how
    many points the campaign has then.

    Raises InputError if there is no such campaign, GoalError if the models or known materials
    here are others.
    """
    ledger, wanted = Ledger.join(url, campaign)
    request = Request(
        wanted["goal"],
        SearchSettings(**wanted["settings"]),
        replace(toolbox or Toolbox(), screens=wanted["screens"]),
    )
    if json.loads(json.dumps(request.decisive())) != wanted:
        raise GoalError(
            f'"{campaign}" was begun with other models or known materials than those here; '
            "give the same --models and --known."
        )
    prepared, start = prepared_campaign(request.goal(), request.toolbox, request.settings)
    n, seed = request.settings.trials, request.settings.seed
    with closing(ledger):
        trials, _ = prepared.run(start, n, seed, ledger=ledger, progress=progress)
    return len(trials) - len(start)


@dataclass(frozen=True)
class Request:
    """All that decides how a search goes."""

    sections: Mapping[str, Any]
    """Of the goal."""
    settings: SearchSettings
    toolbox: Toolbox

    def goal(self) -> Goal:
        """The goal, checked; raises GoalError."""
        return make_goal(
            self.sections,
            known_elements=self.toolbox.known_elements,
            endpoints=self.toolbox.endpoints,
        )

    def decisive(self) -> dict[str, Any]:
        """What two workers must agree on."""
        known = self.toolbox.known_table
        return {
            "goal": dict(self.sections),
            "settings": asdict(self.settings),
            "screens": dict(self.toolbox.screens),
            "models": _model_digests(self.toolbox),
            "known": "starter set" if known is None else checksum(known),
        }

    def save(self, folder: Path, storage: str | None, campaign: str) -> None:
        """Write request.json, which ``resume`` reads; a storage's URL is not in it."""
        places = {
            name: None if path is None else str(path.resolve())
            for name, path in (("models", self.toolbox.models_folder),
                               ("known", self.toolbox.known_table))
        }  # fmt: skip
        write_json(
            folder / REQUEST_FILE,
            {
                "schema": 1,
                "campaign": campaign,
                "shared": storage is not None,
                "places": places,
                **self.decisive(),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Request:
        """Read back what ``save`` wrote.

        Raises InputError for what is no run folder, GoalError if the models are others now.
        """
        found = read_request(folder)
        models, known = (
            None if found["places"][name] is None else Path(found["places"][name])
            for name in ("models", "known")
        )
        request = cls(
            found["goal"],
            SearchSettings(**found["settings"]),
            Toolbox(models, known, found["screens"]),
        )
        now = json.loads(json.dumps(request.decisive()))
        changed = [name for name, value in now.items() if found[name] != value]
        if changed:
            raise GoalError(
                f"{folder} was begun with other {' and '.join(changed)} than are here now; "
                "begin a new search."
            )
        return request


def read_request(folder: Path) -> dict[str, Any]:
    """What request.json of a run folder holds; raises InputError if it is none."""
    try:
        return json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no run folder: it has no {REQUEST_FILE}.") from error
    except ValueError as error:
        raise InputError(f"{folder / REQUEST_FILE} is damaged ({error}).") from error


def standing(folder: Path, storage: str | None = None) -> dict[str, Any]:
    """Where an unfinished search stands: batches done and wanted, workers, the best so far."""
    request = read_request(folder)
    if request["shared"] and storage is None:
        raise InputError(f"{folder} keeps its batches elsewhere; give --storage.")
    ledger, _ = Ledger.join(storage or _local_storage(folder), request["campaign"])
    wanted = -(-request["settings"]["trials"] // BATCH)
    with closing(ledger):
        return {"batches_wanted": wanted, **ledger.standing()}


def _run(folder: Path, request: Request, storage: str | None, progress: Progress) -> Run:
    saved = read_request(folder)
    if saved["shared"] and storage is None:
        raise InputError(f"{folder} keeps its batches elsewhere; give --storage again.")
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another process works on {folder}; wait, or choose another --out."
        ) from error
    url = storage or _local_storage(folder)
    with lock, closing(Ledger.open(url, saved["campaign"], request.decisive())) as ledger:
        if storage is None:
            ledger.release_all()
        return _finish(folder, request, ledger, progress)


def _local_storage(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / 'campaign.db'}"


def _finish(folder: Path, request: Request, ledger: Ledger, progress: Progress) -> Run:
    """All stages; those of a search that was interrupted find their batches in the ledger."""
    toolbox, settings = request.toolbox, request.settings
    watch = Stopwatch()
    with watch.stage("load"):
        progress("load", 0, 1, "models and known materials")
        goal = request.goal()
        campaign, start = prepared_campaign(goal, toolbox, settings)
        progress("load", 1, 1, f"{len(start)} known starting points")
    with watch.stage("search"):
        trials, n_known = campaign.run(
            start, settings.trials, settings.seed, ledger=ledger, progress=progress
        )
    with watch.stage("screen"):
        found = trials.take(np.arange(n_known, len(trials)))
        screened = _screen(campaign, found, toolbox, settings)
        accepted = sum(p.screened.accepted for p in screened)
        progress("screen", 1, 1, f"{accepted} of {len(screened)} accepted")
    with watch.stage("realise"):
        built = _realise(screened[: settings.n_realised], campaign, toolbox, progress)
        if goal.space_groups:  # a limit: only a structure can keep it
            built = [proposal for proposal in built if proposal.built is not None]
        proposals = _rank(built, settings)
    with watch.stage("write"):
        table = candidate_table(proposals, toolbox, goal)
        write_results(folder, table, proposals, screened, trials, n_known, goal, toolbox)
    provenance = _provenance(goal, settings, toolbox, watch)
    write_json(folder / "provenance.json", provenance)
    write_report(folder)
    progress("write", 1, 1, str(folder))
    return Run(folder, table, provenance)


def _settings(settings: SearchSettings, given: Mapping[str, Any]) -> SearchSettings:
    """Settings with those of a goal file's [search]; raises GoalError for unknown ones."""
    for name, value in given.items():
        if name not in asdict(settings):
            raise GoalError(f'[search] has no "{name}". {suggest(name, asdict(settings))}')
        if type(value) is not type(getattr(settings, name)):
            raise GoalError(
                f"[search] {name} = {value!r}; wanted such as {getattr(settings, name)!r}."
            )
    settings = replace(settings, **given)
    if settings.sampler not in SAMPLERS:
        raise GoalError(
            f'"{settings.sampler}" is no sampler. {suggest(settings.sampler, SAMPLERS)}'
        )
    for name, value in asdict(settings).items():
        if name not in ("seed", "sampler") and value < 1:
            raise GoalError(f"{name} must be at least 1, not {value}.")
    return settings


def _new_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        advice = " `matlode resume` goes on with it," if (folder / REQUEST_FILE).exists() else ""
        raise InputError(f"{folder} is not empty;{advice} choose another --out or delete it.")
    (folder / "structures").mkdir(parents=True)
    return folder


def prepared_campaign(
    goal: Goal, toolbox: Toolbox, settings: SearchSettings
) -> tuple[Campaign, NDArray[np.floating]]:
    """The campaign, and the latent points of the known materials that it starts from."""
    compositions = toolbox.known.compositions
    fitting = np.flatnonzero(~(compositions[:, ~goal.allowed_mask] > 0).any(axis=1))
    # too few known materials of these elements: start from all, decoded without the others
    rows = fitting if len(fitting) >= 50 else np.arange(len(compositions))
    rng = np.random.default_rng(settings.seed)
    rows = np.sort(rng.permutation(rows)[: settings.n_start])
    patterns = simulate_patterns(toolbox.materials.crystals.take(rows))
    known = toolbox.models.predict(
        compositions[rows], patterns, case="simulated", names=goal.endpoints
    )
    start = toolbox.space.encode(compositions[rows], patterns)
    start = np.concatenate([start, likeness_starts(goal, toolbox, start, rng)])
    campaign = Campaign(
        goal,
        toolbox.space,
        toolbox.models,
        Scale.fit(goal, known, toolbox.endpoints),
        SAMPLERS[settings.sampler],
        preferences_of(goal, toolbox),
    )
    return campaign, start


def _screen(
    campaign: Campaign, trials: Trials, toolbox: Toolbox, settings: SearchSettings
) -> list[Proposal]:
    """The best distinct formulas with their verdicts: accepted ones first, then by merit."""
    merits = trials.merits(campaign.goal)
    rows = select_diverse(
        trials, merits, settings.n_screened, max_per_system=2 * settings.max_per_system
    )
    chosen = trials.take(rows)
    _, patterns = campaign.space.decode(chosen.points)
    candidates = toolbox.candidates(
        [str(f) for f in chosen.formulas], chosen.compositions, patterns, case="decoded"
    )
    if campaign.goal.space_groups:
        candidates = [_among(candidate, campaign.goal.space_groups) for candidate in candidates]
    screened = screen(candidates, toolbox.rules)
    proposals = [Proposal(s, float(merits[row])) for s, row in zip(screened, rows, strict=True)]
    return sorted(proposals, key=_rank_key)


def _among(candidate: Candidate, space_groups: Sequence[int]) -> Candidate:
    """The candidate if its space group is one of some: their chances given that."""
    wanted = np.zeros(len(candidate.space_groups), dtype=bool)
    wanted[np.array(space_groups) - 1] = True
    chances = np.where(wanted, candidate.space_groups, 0.0)
    chances = chances / chances.sum() if chances.sum() > 0 else wanted / wanted.sum()
    inside = tuple(group for group in candidate.space_group_set if wanted[group - 1])
    return replace(candidate, space_groups=chances, space_group_set=inside)


def _rank_key(proposal: Proposal) -> tuple[bool, bool, float]:
    return not proposal.screened.accepted, proposal.built is None, -proposal.merit


def _realise(
    proposals: Sequence[Proposal], campaign: Campaign, toolbox: Toolbox, progress: Progress
) -> list[Proposal]:
    """Proposals with their structures, and with merits that hold for these too.

    A point of latent space may promise what no structure of its formula keeps. So the built
    structure's own pattern is given to the models again, and of the two merits the lower one
    counts.
    """
    builder = Builder(PrototypeLibrary.build(toolbox.materials))
    done: list[Proposal] = []
    for proposal in proposals:
        volume = proposal.candidate.predictions[VOLUME].value
        built = builder.realise(proposal.candidate, volume, space_groups=campaign.goal.space_groups)
        done.append(replace(proposal, built=built))
        n_built = sum(p.built is not None for p in done)
        progress("realise", len(done), len(proposals), f"{n_built} structures")
    rows = [i for i, proposal in enumerate(done) if proposal.built is not None]
    if rows:
        patterns = np.array([p.built.pattern for p in done if p.built is not None])
        compositions = np.array([done[i].candidate.composition for i in rows])
        estimates = toolbox.models.predict(compositions, patterns, case="simulated")
        formulas = [done[i].candidate.formula for i in rows]
        points = campaign.space.encode(compositions, patterns)
        gains, shortfalls = campaign.judged(
            Decoded(points, formulas, compositions, patterns), estimates
        )
        merits = merit(campaign.goal, gains, shortfalls)
        for i, merit_built, predictions in zip(
            rows, merits, toolbox.predictions(estimates), strict=True
        ):
            lower = min(done[i].merit, float(merit_built))
            done[i] = replace(done[i], merit=lower, built_predictions=predictions)
    return done


def _rank(proposals: Sequence[Proposal], settings: SearchSettings) -> list[Proposal]:
    """Accepted before rejected, with a structure before without, then by merit; at most
    ``max_per_system`` of one chemical system."""
    per_system: dict[str, int] = {}
    ranked = []
    for proposal in sorted(proposals, key=_rank_key):
        system = chemical_system(proposal.candidate.formula)
        per_system[system] = per_system.get(system, 0) + 1
        if per_system[system] <= settings.max_per_system:
            ranked.append(proposal)
    return ranked[: settings.n_candidates]


def _provenance(
    goal: Goal, settings: SearchSettings, toolbox: Toolbox, watch: Stopwatch
) -> dict[str, Any]:
    return {
        "schema": 1,
        "goal": {"words": goal.in_words(), "shown": goal.shown, **asdict(goal)},
        "settings": asdict(settings),
        "known_materials": {
            "table": "starter set" if toolbox.known_table is None else toolbox.known_table.name,
            "rows": len(toolbox.materials),
            "sha256": None if toolbox.known_table is None else checksum(toolbox.known_table),
        },
        "units": {name: endpoint.unit for name, endpoint in toolbox.endpoints.items()},
        "models": _model_digests(toolbox),
        "trained_on": _trained_on(toolbox),
        "versions": {
            "matlode": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "pymatgen", "moyopy")},
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "seconds": watch.seconds,
        "peak_memory_gb": _peak_memory_gb(),
    }


def _model_digests(toolbox: Toolbox) -> dict[str, str]:
    """Model → checksum of its header; the user's own stand in for shipped ones of their names."""
    roots = [shipped_models(), *([toolbox.models_folder] if toolbox.models_folder else [])]
    models = {
        path.parent.name: path for root in roots for path in sorted(root.glob("*/model.json"))
    }
    return {name: checksum(path) for name, path in sorted(models.items())}


def _trained_on(toolbox: Toolbox) -> Any:
    place = find_model("standard-pattern-vae", toolbox.models_folder)
    return load_header(place).get("trained_on")


def _peak_memory_gb() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kilobytes elsewhere
    return round(peak / (1e9 if sys.platform == "darwin" else 1e6), 2)
