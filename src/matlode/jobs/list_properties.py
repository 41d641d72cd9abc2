"""The properties that can be asked for, with units, typical values and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.data.tables import load_starter
from matlode.properties.derived import DERIVATIONS, compute_labels
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.models import list_endpoints
from matlode.properties.stored import StoredScore, read_stored_scores

MEANINGS: Mapping[str, str] = {
    "formation_energy": "energy of formation from the elements, PBE",
    "formation_probability": "chance that the formation energy is not positive, PBE",
    "hull_probability_100_mev": "chance that the energy above the hull is at most 0.1 eV/atom, PBE",
    "hull_probability_50_mev": "chance that the energy above the hull is at most 0.05 eV/atom, PBE",
    "band_gap": "PBE Kohn-Sham gap, smaller than a measured gap",
    "metal_probability": "chance that the PBE Kohn-Sham gap is zero",
    "debye_temperature": "Debye temperature, AFLOW AGL",
    "refractive_index": "refractive index of the electronic dielectric tensor, PBE",
    "dielectric_constant": "polycrystalline average with the ionic part, PBE",
    "vickers_hardness": "Vickers hardness from bulk and shear modulus, Mazhnik and Oganov 2019",
    "vickers_hardness_chen": "Vickers hardness from bulk and shear modulus, Chen et al. 2011",
    "youngs_modulus": "Young's modulus from bulk and shear modulus, isotropic solid",
    "poisson_ratio": "Poisson ratio from bulk and shear modulus, isotropic solid",
    "pugh_ratio": "bulk over shear modulus; above 1.75 ductile",
    "heat_capacity_cv": "per mole of atoms at 300 K, from the Debye temperature",
    "heat_capacity_cp": "per mole of atoms at 300 K, Cᵥ and thermal expansion",
    "thermal_conductivity_600k": "lattice thermal conductivity at 600 K, from that at 300 K",
    "density": "mass density from volume and composition",
}
"""Of properties whose ``Endpoint.description``, which trained models keep, is not a phrase that
stands alone."""
MEASURED_MODEL = "standard, simulated pattern"
"""The scores that are shown: of predictions from the pattern of the real structure."""
TYPICAL = (0.05, 0.95)
"""Quantiles of the labels between which values are typical."""


@dataclass(frozen=True, kw_only=True)
class PropertyInfo:
    """One property that can be asked for."""

    name: str
    unit: str
    meaning: str
    typical_low: float | None
    """5 % quantile of the starter set in ``unit``; None without labels and for probabilities."""
    typical_high: float | None
    """95 % quantile."""
    measure: str | None
    """What ``error`` is: "mae" in ``unit``, or "auc", the area under the ROC curve."""
    error: float | None
    """On test formulas; None where none is stored with the model."""
    test_rows: int | None
    """Rows that ``error`` was measured on."""


def list_properties(models: Path | None = None) -> list[PropertyInfo]:
    """Properties that matlode brings, those derived from them, and those of the user's own models
    in the folder ``models``.

    Typical ranges are those of the starter set, errors those stored with the models.
    """
    known = list_endpoints(models)
    derived = {name: derivation.endpoint for name, derivation in DERIVATIONS.items()}
    endpoints = {**ENDPOINTS, **derived, **{n: e for n, e in known.items() if n not in ENDPOINTS}}
    labels = compute_labels(known, load_starter())
    scores = {s.endpoint: s for s in read_stored_scores(models) if s.model == MEASURED_MODEL}
    return [
        _info(name, endpoint, labels[name], scores.get(name))
        for name, endpoint in endpoints.items()
    ]


def _info(
    name: str, endpoint: Endpoint, labels: NDArray[np.float64], stored: StoredScore | None
) -> PropertyInfo:
    low = high = None
    values = labels[np.isfinite(labels)]
    if len(values) and endpoint.task == "regression":
        low, high = map(float, np.quantile(values, TYPICAL))
    measure = "auc" if endpoint.task == "probability" else "mae"
    return PropertyInfo(
        name=name,
        unit=endpoint.unit,
        meaning=MEANINGS.get(name, endpoint.description),
        typical_low=low,
        typical_high=high,
        measure=measure if stored else None,
        error=stored.scores[measure] if stored else None,
        test_rows=stored.test_rows if stored else None,
    )
