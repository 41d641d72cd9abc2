"""The main job: from a goal to ranked candidates, crystal structures and a report."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode import __version__
from matlode.artefacts import find_model, load_header, shipped_models, write_json
from matlode.data.formulas import chemical_system, element_symbols
from matlode.data.tables import checksum
from matlode.errors import GoalError, InputError, suggest
from matlode.jobs.run_folder import Proposal, candidate_table, write_results
from matlode.jobs.toolbox import Toolbox
from matlode.optimisation.campaign import Campaign, Trials, select_diverse
from matlode.optimisation.goal import STABILITY, Goal, Scale, make_goal, merit
from matlode.optimisation.samplers import SAMPLERS
from matlode.progress import Progress, silent
from matlode.properties.network import VOLUME
from matlode.realisation.builder import Builder
from matlode.realisation.prototypes import PrototypeLibrary
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
    out: str | Path = "runs/search",
    settings: SearchSettings | None = None,
    toolbox: Toolbox | None = None,
    progress: Progress = silent,
) -> Run:
    """Search the latent space, screen, realise as crystal structures, and write a run folder.

    ``maximize`` and ``minimize`` name endpoints; ``elements`` are the only ones allowed,
    ``exclude`` never are. The folder ``out`` must be new or empty; it then holds
    candidates.csv and .json, verdicts.csv, structures/*.cif, patterns.npz, trials.csv,
    funnel.json, provenance.json and report.html. The same arguments give the same table.

    Raises GoalError for a goal that makes no sense, InputError if ``out`` is in use.
    """
    settings = settings or SearchSettings()
    if settings.sampler not in SAMPLERS:
        raise GoalError(
            f'"{settings.sampler}" is no sampler. {suggest(settings.sampler, SAMPLERS)}'
        )
    if settings.trials < 1:
        raise GoalError(f"trials must be at least 1, not {settings.trials}.")
    toolbox = toolbox or Toolbox()
    watch = Stopwatch()
    with watch.stage("load"):
        progress("load", 0, 1, "models and known materials")
        goal = make_goal(
            maximize=maximize,
            minimize=minimize,
            elements=elements,
            exclude=exclude,
            known_elements=_elements_of(toolbox.known.compositions),
            endpoints=toolbox.endpoints,
        )
        folder = _new_folder(Path(out))
        campaign, start = _prepare(goal, toolbox, settings)
        progress("load", 1, 1, f"{len(start)} known starting points")
    rng = np.random.default_rng(settings.seed)
    with watch.stage("search"):
        trials, n_known = campaign.run(start, settings.trials, rng, progress=progress)
    with watch.stage("screen"):
        found = trials.take(np.arange(n_known, len(trials)))
        screened = _screen(campaign, found, toolbox, settings)
        accepted = sum(p.screened.accepted for p in screened)
        progress("screen", 1, 1, f"{accepted} of {len(screened)} accepted")
    with watch.stage("realise"):
        built = _realise(screened[: settings.n_realised], campaign, toolbox, progress)
        proposals = _rank(built, settings)
    with watch.stage("write"):
        table = candidate_table(proposals, toolbox, goal)
        write_results(folder, table, proposals, screened, trials, n_known, goal, toolbox)
    provenance = _provenance(goal, settings, toolbox, watch)
    write_json(folder / "provenance.json", provenance)
    write_report(folder)
    progress("write", 1, 1, str(folder))
    return Run(folder, table, provenance)


def _elements_of(compositions: NDArray[np.floating]) -> list[str]:
    return [element_symbols()[z] for z in np.flatnonzero(compositions.any(axis=0))]


def _new_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; choose another --out or delete it.")
    (folder / "structures").mkdir(parents=True)
    return folder


def _prepare(
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
    scale = Scale.fit(goal, known)
    campaign = Campaign(goal, toolbox.space, toolbox.models, scale, SAMPLERS[settings.sampler])
    return campaign, toolbox.space.encode(compositions[rows], patterns)


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
    screened = screen(candidates, toolbox.rules)
    proposals = [Proposal(s, float(merits[row])) for s, row in zip(screened, rows, strict=True)]
    return sorted(proposals, key=_rank_key)


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
        done.append(replace(proposal, built=builder.realise(proposal.candidate, volume)))
        n_built = sum(p.built is not None for p in done)
        progress("realise", len(done), len(proposals), f"{n_built} structures")
    rows = [i for i, proposal in enumerate(done) if proposal.built is not None]
    if rows:
        patterns = np.array([p.built.pattern for p in done if p.built is not None])
        compositions = np.array([done[i].candidate.composition for i in rows])
        estimates = toolbox.models.predict(compositions, patterns, case="simulated")
        gains = campaign.scale.gains(campaign.goal, estimates)
        merits = merit(campaign.goal, gains, estimates[STABILITY].value)
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
    roots = [shipped_models(), *([toolbox.models_folder] if toolbox.models_folder else [])]
    # a model of the user's own stands in for the shipped one of its name
    models = {
        path.parent.name: path for root in roots for path in sorted(root.glob("*/model.json"))
    }
    return {
        "schema": 1,
        "goal": {"words": goal.in_words(), **asdict(goal)},
        "settings": asdict(settings),
        "known_materials": {
            "table": "starter set" if toolbox.known_table is None else toolbox.known_table.name,
            "rows": len(toolbox.materials),
            "sha256": None if toolbox.known_table is None else checksum(toolbox.known_table),
        },
        "units": {name: endpoint.unit for name, endpoint in toolbox.endpoints.items()},
        "models": {name: checksum(path) for name, path in sorted(models.items())},
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
