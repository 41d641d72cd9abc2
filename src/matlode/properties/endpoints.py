"""The properties that matlode knows, each with its unit and the rows it may be learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matlode.data.tables import Materials
from matlode.errors import GoalError, suggest

Task = Literal["regression", "probability"]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One predicted property."""

    name: str
    unit: str
    column: str
    """Column of the structure table that holds the label."""
    description: str
    task: Task = "regression"
    at_most: float | None = None
    """For a probability: the label is true where the column is at most this."""
    vintage_column: str | None = None
    vintages: tuple[str, ...] = ()
    """Only rows with these values of ``vintage_column`` are pooled; tables without the column
    (such as the starter set, which has one vintage) are used whole."""
    lowest: float = -np.inf
    """Physical lower limit; predictions below it are put on it."""

    def labels(self, materials: Materials) -> NDArray[np.float64]:
        """(n,), the labels of a table in ``unit`` (0 or 1 for probabilities), NaN if unknown."""
        values = materials.label(self.column)
        if self.vintage_column and self.vintage_column in materials.frame:
            pooled = materials.frame[self.vintage_column].isin(self.vintages).to_numpy()
            values = np.where(pooled, values, np.nan)
        if self.at_most is not None:
            return np.where(np.isnan(values), np.nan, values <= self.at_most)
        return values


ELASTIC_SOURCES = (
    "AFLOW AEL",
    "MP-2025 (matcalc)",
    "MP-2018 rounded to integers",
    "MP tensor->VRH (trachote)",
    "de Jong 2015 (matminer 0.3.2)",
)
"""Voigt-Reuss-Hill moduli; JARVIS reports Voigt averages and stays out."""

ENDPOINTS: dict[str, Endpoint] = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint(
            name="bulk_modulus",
            unit="GPa",
            column="bulk_modulus_vrh",
            description="Voigt-Reuss-Hill bulk modulus, PBE",
            vintage_column="elastic_source",
            vintages=ELASTIC_SOURCES,
            lowest=0.0,
        ),
        Endpoint(
            name="shear_modulus",
            unit="GPa",
            column="shear_modulus_vrh",
            description="Voigt-Reuss-Hill shear modulus, PBE",
            vintage_column="elastic_source",
            vintages=ELASTIC_SOURCES,
            lowest=0.0,
        ),
        Endpoint(
            name="formation_energy",
            unit="eV/atom",
            column="formation_energy_per_atom",
            description="formation energy from the elements, Materials Project 2018",
            vintage_column="label_vintage",
            vintages=("MP-2018",),
        ),
        Endpoint(
            name="stable_probability",
            unit="probability",
            column="energy_above_hull",
            description="chance that the energy above the hull is at most 0.1 eV/atom, "
            "Materials Project 2018",
            task="probability",
            at_most=0.1,
            vintage_column="hull_vintage",
            vintages=("MP-2018",),
            lowest=0.0,
        ),
        Endpoint(
            name="volume_per_atom",
            unit="Å³/atom",
            column="volume_per_atom",
            description="cell volume per atom, PBE",
            vintage_column="database",
            vintages=("MP", "AFLOW", "WBM"),
            lowest=2.0,
        ),
    )
}
"""name → endpoint, in the order in which they are shown."""


def find_endpoint(name: str) -> Endpoint:
    """The endpoint of this name; raises GoalError with the nearest known one."""
    if name not in ENDPOINTS:
        raise GoalError(f'"{name}" is not a property. {suggest(name, ENDPOINTS)}')
    return ENDPOINTS[name]
