"""How far predictions for the candidates of searches are from what a potential computes, and what
these errors tell about further candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import read_json
from matlode.data.crystals import Crystals
from matlode.data.formulas import element_symbols
from matlode.data.splits import CALIBRATION
from matlode.data.structures import read_structure
from matlode.errors import InputError
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.properties.designs import (
    READ,
    REFERENCE,
    WIDENED,
    Designs,
    EnergyShift,
    collect_features,
    compute_factor,
    hash_network,
    scale_energy_errors,
    scale_errors,
)
from matlode.properties.endpoints import ENDPOINTS, Estimates
from matlode.properties.forest import Forest
from matlode.properties.intervals import compute_conformal_quantile
from matlode.properties.trees import TreeSettings, fit_trees
from matlode.records import Cell
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.environments import describe_crystals
from matlode.run_folder import RunFolder
from matlode.run_records import EvidenceRow
from matlode.training.table import TrainingTable

TREES = TreeSettings(
    n_rounds=150, max_depth=4, lambda_=5.0, subsample=0.7, colsample_bytree=0.3, max_bin=64
)
HUBER_SLOPE_EV = 0.1
MIN_DESIGNS = 50
"""Designs that a correction is learned from, of energies those of at least two goals."""
KNOWN_PER_DESIGN = 2
"""Known crystals of the calibration rows that the trees learn from beside each design: structures
that are right, of which searches build few."""
NEAR_HULL_EV = 0.05
FORMATION_ENERGIES = (REFERENCE, "formation_energy")
"""Of known crystals the first label is taken, else the second with its own prediction."""
ALL = "all"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RelaxedDesigns:
    """Candidates of searches that a potential has computed, each crystal once."""

    goals: NDArray[np.str_]
    """(n,), goals in words."""
    estimates: dict[str, Estimates]
    """Endpoint → predictions (n,) before any correction by designs."""
    features: Floats
    """(n, n_columns), of ``collect_features``."""
    energies_ev: Floats
    """(n,), computed formation energies."""
    bulk_moduli_gpa: Floats
    """(n,), computed; NaN where they are unknown."""
    known_features: Floats
    """(m, n_columns), of known crystals that no model was trained on."""
    known_errors_ev: Floats
    """(m,), their formation energies less the predicted ones."""

    @property
    def names(self) -> list[str]:
        """The goals."""
        return sorted(set(self.goals.tolist()))


@dataclass(frozen=True, kw_only=True)
class DesignRow:
    """One quantity for the designs of one goal, or of all, as predicted and as corrected by what
    the designs of all *other* goals tell."""

    goal: str
    endpoint: str
    rows: int
    error: float
    """Mean absolute error, in the unit of the endpoint."""
    error_corrected: float
    coverage: float
    """Fraction of computed values inside the 90 % intervals."""
    coverage_corrected: float
    width_ratio: float
    """Mean width of the corrected intervals over that of the others."""
    auc: float | None = None
    """Of the chance to be within NEAR_HULL_EV of the hull, if both classes are there."""
    auc_corrected: float | None = None

    def to_json(self) -> dict[str, Cell]:
        """The object that ``matlode evaluate designs --json`` prints."""
        return dict(vars(self))


def measure_designs(
    folders: Sequence[Path],
    *,
    data: Path | None = None,
    models: Path | None = None,
    offsets: Path | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> list[DesignRow]:
    """Compare the predictions for relaxed candidates of searches with what the primary potential
    computed, before and after the corrections that the designs of other goals tell.

    ``folders`` are run folders with evidence (``matlode relax``). Crystals that fell apart or did
    not come to rest are left out; one that several runs found counts once for each goal. The
    corrections also learn from the calibration rows of the table ``data`` (default: $MATLODE_DATA,
    else the starter set). ``offsets`` is a JSON file of errors of the potential's formation
    energies, element → eV per atom of it, that are subtracted. What all designs together tell is
    saved in ``out``, a folder of models, for further searches.

    Raises InputError for a folder without evidence.
    """
    table = TrainingTable.load(data)
    designs = _read_designs(folders, table, Models(models), _read_offsets(offsets), progress)
    rows = [*_measure_energies(designs), *_measure_moduli(designs)]
    if out is not None:
        errors = {"bulk_modulus": _known(_scale_moduli(designs))}
        shift = None
        if _are_enough(designs):
            left_out = _predict_left_out(designs)
            scaled = scale_energy_errors(
                designs.estimates[REFERENCE], left_out, designs.energies_ev
            )
            forest = _fit_shift(designs, np.ones(len(designs.goals), dtype=bool))
            shift = EnergyShift(forest, np.sort(scaled))
        Designs({name: of for name, of in errors.items() if len(of) >= MIN_DESIGNS}, shift).save(
            out,
            {"designs": len(designs.goals), "scores": [row.to_json() for row in rows]},
            built_on=hash_network(models),
        )
    return rows


def _read_offsets(file: Path | None) -> Floats:
    """(100,), offsets of the elements in eV/atom."""
    given = {} if file is None else read_json(file)
    if not isinstance(given, dict) or not given.keys() <= set(element_symbols()):
        raise InputError(f"{file} is not a JSON object of elements and their offsets in eV/atom.")
    return np.array([given.get(symbol, 0.0) for symbol in element_symbols()], dtype=float)


def _read_designs(
    folders: Sequence[Path],
    table: TrainingTable,
    models: Models,
    offsets: Floats,
    progress: Progress,
) -> RelaxedDesigns:
    goals, structures, found = [], [], []
    seen = set()
    for done, folder in enumerate(folders):
        progress("designs", done, len(folders), str(folder))
        run = RunFolder(folder)
        evidence = run.read_evidence()
        if evidence is None:
            raise InputError(
                f"{folder} has no evidence; run `matlode relax {folder} --top 20` to compute it."
            )
        goal = run.read_provenance().goal.words
        by_file = {Path(row.structure_file).name: row for row in run.read_candidates()}
        for row in evidence.structures:
            candidate = by_file[row.source_file]
            key = (goal, candidate.formula, candidate.space_group)
            if not row.relaxed or row.fell_apart or key in seen:
                continue
            file = run.find_structure(candidate)
            if file is None:
                raise InputError(f"{folder} lacks {candidate.structure_file}.")
            seen.add(key)
            goals.append(goal)
            structures.append(read_structure(file))
            found.append(row)
    progress("designs", len(folders), len(folders))
    if not found:
        raise InputError("no candidate of these folders came to rest; relax more of them.")
    crystals = Crystals.from_structures(structures)
    compositions = composition_vectors(crystals)
    described = np.array([facts.descriptors for facts in describe_crystals(crystals)])
    estimates = models.properties.predict(
        compositions, simulate_patterns(structures), case="simulated", names=[*READ, *WIDENED],
        crystals=described,
    )  # fmt: skip
    return RelaxedDesigns(
        np.array(goals),
        estimates,
        collect_features(estimates, compositions, described),
        np.array([row.formation_energy_ev for row in found]) - compositions @ offsets,
        np.array([_find_bulk_modulus(row) for row in found], dtype=float),
        *_read_known(table, models, KNOWN_PER_DESIGN * len(found)),
    )


def _read_known(table: TrainingTable, models: Models, n: int) -> tuple[Floats, Floats]:
    """Features and errors of up to ``n`` calibration rows, drawn at random."""
    labels = {name: table.labels(ENDPOINTS[name]) for name in FORMATION_ENERGIES}
    known = ~np.isnan(list(labels.values())).all(axis=0)
    rows = np.flatnonzero((table.roles == CALIBRATION) & known)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:n])
    compositions, crystals = table.compositions[rows], table.crystal_descriptors[rows]
    estimates = models.properties.predict(
        compositions, table.patterns[rows], case="simulated",
        names=list(dict.fromkeys([*READ, *FORMATION_ENERGIES])), crystals=crystals,
    )  # fmt: skip
    first, second = (labels[name][rows] - estimates[name].value for name in FORMATION_ENERGIES)
    errors = np.where(np.isnan(first), second, first)
    return collect_features(estimates, compositions, crystals), errors


def _find_bulk_modulus(row: EvidenceRow) -> float | None:
    mechanics = row.mechanics
    return mechanics.bulk_modulus_gpa if mechanics is not None and mechanics.born_stable else None


def _are_enough(designs: RelaxedDesigns) -> bool:
    return len(designs.goals) >= MIN_DESIGNS and len(designs.names) > 1


def _fit_shift(designs: RelaxedDesigns, rows: NDArray[np.bool_]) -> Forest:
    """Trees for the errors of the predicted formation energies of these rows, and of known
    crystals."""
    errors = designs.energies_ev - designs.estimates[REFERENCE].value
    return fit_trees(
        np.concatenate([designs.features[rows], designs.known_features]),
        np.concatenate([errors[rows], designs.known_errors_ev]),
        TREES,
        objective="reg:pseudohubererror",
        huber_slope=HUBER_SLOPE_EV,
    )


def _predict_left_out(designs: RelaxedDesigns) -> Floats:
    """(n,), shifts of the energies by trees that learned from the designs of the other goals."""
    shift = np.zeros(len(designs.goals))
    for goal in designs.names:
        own = designs.goals == goal
        shift[own] = _fit_shift(designs, ~own).predict(designs.features[own])
    return shift


def _measure_energies(designs: RelaxedDesigns) -> list[DesignRow]:
    if not _are_enough(designs):
        return []
    predicted, computed = designs.estimates[REFERENCE], designs.energies_ev
    shift = _predict_left_out(designs)
    scaled = scale_energy_errors(predicted, shift, computed)
    half = (predicted.high - predicted.low) / 2
    unit = abs(computed - predicted.value - shift) / abs(scaled)
    corrected = np.zeros(len(scaled))
    for goal in designs.names:
        own = designs.goals == goal
        corrected[own] = compute_conformal_quantile(abs(scaled[~own])) * unit[own]
    errors = abs(computed - predicted.value)
    inside = (computed >= predicted.low) & (computed <= predicted.high)
    hull = designs.estimates["energy_above_hull"].value
    near = hull + computed - predicted.value <= NEAR_HULL_EV
    chances = designs.estimates["hull_probability_50_mev"].value
    return [
        DesignRow(
            goal=goal,
            endpoint=REFERENCE,
            rows=int(own.sum()),
            error=float(errors[own].mean()),
            error_corrected=float(abs(computed - predicted.value - shift)[own].mean()),
            coverage=float(inside[own].mean()),
            coverage_corrected=float((abs(scaled) * unit <= corrected)[own].mean()),
            width_ratio=float(corrected[own].mean() / half[own].mean()),
            auc=_compute_auc(near[own], chances[own]),
            auc_corrected=_compute_auc(near[own], -(hull + shift)[own]),
        )
        for goal, own in _list_groups(designs)
    ]


def _compute_auc(truth: NDArray[np.bool_], score: Floats) -> float | None:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, score)) if 0 < truth.sum() < len(truth) else None


def _list_groups(designs: RelaxedDesigns) -> list[tuple[str, NDArray[np.bool_]]]:
    groups = [(goal, designs.goals == goal) for goal in designs.names]
    return [*groups, (ALL, np.ones(len(designs.goals), dtype=bool))]


def _scale_moduli(designs: RelaxedDesigns) -> Floats:
    """(n,), errors of the bulk moduli in half widths of their intervals; NaN where unknown."""
    name = "bulk_modulus"
    return scale_errors(ENDPOINTS[name], designs.estimates[name], designs.bulk_moduli_gpa)


def _measure_moduli(designs: RelaxedDesigns) -> list[DesignRow]:
    """Coverage of bulk moduli, whose intervals are only widened."""
    scaled = _scale_moduli(designs)
    errors = abs(designs.bulk_moduli_gpa - designs.estimates["bulk_modulus"].value)
    factors = np.ones(len(scaled))
    for goal in designs.names:
        own = designs.goals == goal
        factors[own] = compute_factor(_known(scaled[~own]))
    rows = []
    for goal, own in _list_groups(designs):
        own = own & ~np.isnan(scaled)
        if own.any():
            error = float(errors[own].mean())
            rows.append(
                DesignRow(
                    goal=goal,
                    endpoint="bulk_modulus",
                    rows=int(own.sum()),
                    error=error,
                    error_corrected=error,
                    coverage=float((scaled[own] <= 1).mean()),
                    coverage_corrected=float((scaled <= factors)[own].mean()),
                    width_ratio=float(factors[own].mean()),
                )
            )
    return rows


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]
