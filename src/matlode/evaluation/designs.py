"""How well intervals hold what a potential computes for the candidates of searches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.structures import read_structure
from matlode.errors import InputError
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.properties.designs import (
    CALIBRATED,
    Designs,
    compute_factor,
    hash_network,
    scale_errors,
)
from matlode.properties.endpoints import ENDPOINTS, Estimates
from matlode.records import Cell
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.environments import describe_crystals
from matlode.run_folder import RunFolder
from matlode.run_records import EvidenceRow

COMPUTED = {
    "bulk_modulus": "bulk_modulus_gpa",
    "shear_modulus": "shear_modulus_gpa",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RelaxedDesigns:
    """Candidates of one goal that the primary potential has computed."""

    goal: str
    """The goal, in words."""
    errors: Mapping[str, Floats]
    """Endpoint → errors (n,) in half widths of the interval, NaN where nothing was computed."""


@dataclass(frozen=True, kw_only=True)
class CoverageRow:
    """Coverage of one endpoint's intervals for the designs of one goal, or of all."""

    goal: str
    endpoint: str
    rows: int
    coverage: float
    """Fraction inside the intervals of the models."""
    widened: float
    """Fraction inside the intervals, widened by what the designs of all *other* goals tell."""
    factor: float
    """By how much they are widened."""

    def to_json(self) -> dict[str, Cell]:
        """The object that ``matlode evaluate designs --json`` prints."""
        return dict(vars(self))


def measure_designs(
    folders: Sequence[Path],
    *,
    models: Path | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> list[CoverageRow]:
    """Compare the predictions for relaxed candidates of searches with what the primary potential
    computed for them; the intervals are those before any widening.

    ``folders`` are run folders with evidence (``matlode relax``). Structures that fell apart, or
    whose relaxation did not converge, are left out. The errors of all designs are saved in ``out``,
    a folder of models, from which they widen the intervals of further candidates.

    Raises InputError for a folder without evidence.
    """
    loaded = Models(models)
    designs: dict[str, list[RelaxedDesigns]] = {}
    for done, folder in enumerate(folders):
        progress("designs", done, len(folders), str(folder))
        found = _read_designs(RunFolder(folder), loaded)
        designs.setdefault(found.goal, []).append(found)
    progress("designs", len(folders), len(folders))
    goals = [_join(of_goal) for of_goal in designs.values()]
    rows = [row for name in CALIBRATED for row in _measure_coverage(name, goals)]
    if out is not None:
        errors = {name: _known(goal.errors[name] for goal in goals) for name in CALIBRATED}
        header = {"coverage": [row.to_json() for row in rows]}
        known = {name: of for name, of in errors.items() if len(of)}
        Designs(known).save(out, header, built_on=hash_network(models))
    return rows


def _read_designs(run: RunFolder, models: Models) -> RelaxedDesigns:
    evidence = run.read_evidence()
    if evidence is None:
        raise InputError(
            f"{run.path} has no evidence; run `matlode relax {run.path} --top 20` to compute it."
        )
    rows = [row for row in evidence.structures if row.relaxed and not row.fell_apart]
    by_file = {Path(row.structure_file).name: row for row in run.read_candidates()}
    files = [run.find_structure(by_file[row.source_file]) for row in rows]
    structures = [read_structure(file) for file in files if file is not None]
    if len(structures) < len(rows):
        raise InputError(f"{run.path} lacks structure files that its evidence names.")
    goal = run.read_provenance().goal.words
    if not rows:
        return RelaxedDesigns(goal, {name: np.zeros(0) for name in CALIBRATED})
    crystals = Crystals.from_structures(structures)
    estimates = models.properties.predict(
        composition_vectors(crystals),
        simulate_patterns(structures),
        case="simulated",
        names=CALIBRATED,
        crystals=np.array([facts.descriptors for facts in describe_crystals(crystals)]),
    )
    return RelaxedDesigns(goal, {name: _scale(name, estimates[name], rows) for name in CALIBRATED})


def _scale(name: str, estimates: Estimates, rows: Sequence[EvidenceRow]) -> Floats:
    computed = np.array([_find_computed(name, row) for row in rows], dtype=float)
    return scale_errors(ENDPOINTS[name], estimates, computed)


def _find_computed(name: str, row: EvidenceRow) -> float | None:
    if name == "formation_energy":
        return row.formation_energy_ev
    mechanics = row.mechanics
    if mechanics is None or not mechanics.born_stable:
        return None
    return float(getattr(mechanics, COMPUTED[name]))


def _join(designs: Sequence[RelaxedDesigns]) -> RelaxedDesigns:
    errors = {name: np.concatenate([d.errors[name] for d in designs]) for name in CALIBRATED}
    return RelaxedDesigns(designs[0].goal, errors)


def _known(errors: Iterable[Floats]) -> Floats:
    found = np.concatenate([np.zeros(0), *errors])
    return found[~np.isnan(found)]


def _measure_coverage(name: str, goals: Sequence[RelaxedDesigns]) -> list[CoverageRow]:
    """One row per goal, and one for all."""
    rows = []
    for goal in goals:
        own = _known([goal.errors[name]])
        if not len(own):
            continue
        others = _known(other.errors[name] for other in goals if other is not goal)
        factor = compute_factor(others)
        rows.append(
            CoverageRow(
                goal=goal.goal,
                endpoint=name,
                rows=len(own),
                coverage=float((own <= 1).mean()),
                widened=float((own <= factor).mean()),
                factor=factor,
            )
        )
    n = sum(row.rows for row in rows)
    if n:
        mean = {
            entry: sum(row.rows * getattr(row, entry) for row in rows) / n
            for entry in ("coverage", "widened", "factor")
        }
        rows.append(CoverageRow(goal="all", endpoint=name, rows=n, **mean))
    return rows
