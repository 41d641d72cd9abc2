"""Errors of the potentials for known materials, compared with those of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import save_artefact
from matlode.data.splits import TEST
from matlode.engine import Engine, Here
from matlode.errors import InputError
from matlode.evaluation.score_row import ScoreRow
from matlode.evidence.dossier import POTENTIAL_ERRORS
from matlode.evidence.examination import Calculation, Examination, calculate
from matlode.evidence.laboratory import get_cache_folder
from matlode.evidence.potentials import PRIMARY_POTENTIAL, SECOND_POTENTIAL
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.properties.endpoints import ENDPOINTS
from matlode.properties.scores import score
from matlode.training.table import TrainingTable

MAX_ATOMS = 8
"""Atoms of the largest primitive cells that are computed."""
MEASURED = {
    "bulk_modulus": "GPa",
    "shear_modulus": "GPa",
    "formation_energy": "eV/atom",
}
OUR_MODELS = "our models"
Array = NDArray[np.float64]

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class KnownRows:
    """Rows of test formulas with known moduli and formation energies."""

    table: TrainingTable
    rows: NDArray[np.intp]

    @property
    def labels(self) -> dict[str, Array]:
        """Endpoint → (n,)."""
        return {name: self.table.labels(ENDPOINTS[name])[self.rows] for name in MEASURED}


def measure_potentials(
    *,
    data: Path | None = None,
    models: Path | None = None,
    n_structures: int = 100,
    potentials: Sequence[str] = (PRIMARY_POTENTIAL, SECOND_POTENTIAL),
    cache: Path | None = None,
    engine: Engine | None = None,
    seed: int = 0,
    keep: Path | None = None,
    progress: Progress = silent,
) -> list[ScoreRow]:
    """Measure the errors of each potential, and of our models on the same rows.

    The rows are drawn from test formulas, which our models have not seen; the potentials were
    most likely trained on all of them. Materials are those of the Materials Project if the table
    states databases. A crystal whose relaxation does not converge, or that is elastically
    unstable, counts with the values computed for it. ``keep`` names a folder of models that
    the errors are saved in; reports show them. Raises InputError if the table has no such row.
    """
    known = _draw_rows(TrainingTable.load(data), n_structures, seed)
    examination = Examination(known.table.materials, models, cache=cache or get_cache_folder())
    structures = [known.table.materials.crystals.structure(int(row)) for row in known.rows]
    found: dict[str, dict[str, Array]] = {}
    for name in potentials:
        of_potential = examination.laboratory(name)
        work = [Calculation(structure, of_potential, elastic=True) for structure in structures]
        calculate(work, engine or Here(), progress)
        found[name] = _compute_properties(examination, name, structures)
    found[OUR_MODELS] = _predict_properties(known, Models(models))
    rows = []
    for endpoint, unit in MEASURED.items():
        truth = known.labels[endpoint]
        predicted = {model: values[endpoint] for model, values in found.items()}
        rows += _score_endpoint(endpoint, unit, truth, predicted)
    if keep is not None:
        header = {"rows": [row.to_json() for row in rows]}
        save_artefact(keep / POTENTIAL_ERRORS, kind=POTENTIAL_ERRORS, header=header, arrays={})
    return rows


def _score_endpoint(
    endpoint: str, unit: str, truth: Array, predicted: Mapping[str, Array]
) -> list[ScoreRow]:
    """One row per model, on the rows (n,) for which every model has a value."""
    usable = np.all([np.isfinite(values) for values in predicted.values()], axis=0) & (truth != 0)
    return [
        ScoreRow(
            endpoint=endpoint,
            unit=unit,
            model=model,
            rows=int(usable.sum()),
            split=f"known materials of test formulas, up to {MAX_ATOMS} atoms",
            scores={
                **score(ENDPOINTS[endpoint], truth[usable], values[usable]),
                "median_ratio": float(np.median((values / truth)[usable])),
            },
        )
        for model, values in predicted.items()
    ]


def _draw_rows(table: TrainingTable, n: int, seed: int) -> KnownRows:
    frame, crystals = table.materials.frame, table.materials.crystals
    usable = (table.roles == TEST) & (crystals.n_atoms <= MAX_ATOMS)
    usable &= np.all([~np.isnan(table.labels(ENDPOINTS[name])) for name in MEASURED], axis=0)
    if "database" in frame:
        usable &= (frame["database"] == "MP").to_numpy()
    if not usable.any():
        raise InputError(
            f"{table.source} has no test materials of up to {MAX_ATOMS} atoms with moduli and "
            "formation energy."
        )
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(usable))[:n]
    return KnownRows(table, rows)


def _compute_properties(
    examination: Examination, potential: str, structures: Sequence[Structure]
) -> dict[str, Array]:
    laboratory = examination.laboratory(potential)
    values: dict[str, list[float]] = {name: [] for name in MEASURED}
    for structure in structures:
        relaxed = laboratory.relaxed(structure)
        elastic = laboratory.elasticity(relaxed) if laboratory.has_elasticity(relaxed) else None
        energy = examination.formation(relaxed, laboratory)
        values["bulk_modulus"].append(np.nan if elastic is None else elastic.bulk_modulus_gpa)
        values["shear_modulus"].append(np.nan if elastic is None else elastic.shear_modulus_gpa)
        values["formation_energy"].append(np.nan if energy is None else energy)
    return {name: np.array(of) for name, of in values.items()}


def _predict_properties(known: KnownRows, models: Models) -> dict[str, Array]:
    table = known.table
    estimates = models.properties.predict(
        table.compositions[known.rows], table.patterns[known.rows], case="simulated",
        names=list(MEASURED), crystals=table.crystal_descriptors[known.rows],
    )  # fmt: skip
    return {name: estimates[name].value for name in MEASURED}
