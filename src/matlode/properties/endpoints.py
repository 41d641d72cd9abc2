"""The properties that matlode knows, each with its unit and the rows it may be learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matlode.data.tables import Materials
from matlode.errors import GoalError, InputError, suggest

Task = Literal["regression", "probability"]
Transform = Literal["none", "log"]


@dataclass(frozen=True)
class Estimates:
    """Predictions of one endpoint for n materials, (n,) each, in the endpoint's unit."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    """Low end of the 90 % interval."""
    high: NDArray[np.float64]
    """High end of the 90 % interval."""

    def take(self, rows: NDArray[Any]) -> Estimates:
        """Those of some rows (a mask or indices)."""
        return Estimates(self.value[rows], self.low[rows], self.high[rows])


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One predicted property."""

    name: str
    unit: str
    column: str
    """Column of the structure table that holds the label."""
    description: str = ""
    task: Task = "regression"
    transform: Transform = "none"
    """"log": the model learns the logarithm, for quantities that span powers of ten."""
    at_most: float | None = None
    """For a probability: the label is true where the column is at most this."""
    at_least: float | None = None
    """For a probability: the label is true where the column is at least this."""
    equals: str | None = None
    """For a probability: the label is true where the column holds this word."""
    vintage_column: str | None = None
    vintages: tuple[str, ...] = ()
    """Only rows with these values of ``vintage_column`` are pooled; tables without the column
    (such as the starter set, which has one vintage) are used whole."""
    absolute: bool = False
    """The label is the column's absolute value."""
    per: str | None = None
    """The label is the column divided by this one, such as per cell by ``n_sites``."""
    lowest: float = -np.inf
    """Physical lower limit; predictions below it are put on it."""
    highest: float = np.inf
    """Physical upper limit; predictions above it are put on it."""

    def labels(self, materials: Materials) -> NDArray[np.float64]:
        """(n,), the labels of a table in ``unit`` (0 or 1 for probabilities), NaN if unknown.

        Raises InputError if the column holds words where numbers are wanted.
        """
        values = self._values(materials)
        if self.vintage_column and self.vintage_column in materials.frame:
            pooled = materials.frame[self.vintage_column].isin(self.vintages).to_numpy()
            values = np.where(pooled, values, np.nan)
        if self.at_most is None and self.at_least is None:
            return values
        low = -np.inf if self.at_least is None else self.at_least
        high = np.inf if self.at_most is None else self.at_most
        return np.where(np.isnan(values), np.nan, (values >= low) & (values <= high))

    def _values(self, materials: Materials) -> NDArray[np.float64]:
        if self.equals is not None and self.column in materials.frame:
            words = materials.frame[self.column]
            said = words.astype(str).to_numpy() == self.equals
            return np.where(words.isna(), np.nan, said.astype(float))
        try:
            values = materials.label(self.column)
            if self.absolute:
                values = np.abs(values)
            return values / materials.label(self.per) if self.per else values
        except (TypeError, ValueError) as error:
            held = materials.frame[self.column].dropna().astype(str).unique()
            raise InputError(
                f'property "{self.name}": column "{self.column}" is not numeric; it holds '
                f"{', '.join(repr(word) for word in held[:3])}. Give numbers, or make it a "
                'classification that says which word is meant (equals = "...").'
            ) from error

    def to_model(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the model learns, in place of values (n,) in ``unit``; zero becomes -inf in a
        logarithm."""
        if self.transform == "none":
            return values
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(values, 0.0))

    def from_model(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (n,) in ``unit`` of what the model says: the inverse of ``to_model``."""
        return values if self.transform == "none" else np.exp(values)

    def estimates(self, raw: NDArray[np.float64], half: NDArray[np.float64]) -> Estimates:
        """Values and intervals of what the model says, (n,), ± ``half``.

        Limits and interval are taken in the model's own scale: a logarithm there is as monotone
        as its inverse, so what the interval holds it still holds in the unit.
        """
        lowest, highest = self.to_model(np.array([self.lowest, self.highest]))
        value = np.clip(raw, lowest, highest)
        low, high = np.clip(raw - half, lowest, highest), np.minimum(value + half, highest)
        return Estimates(*(self.from_model(end) for end in (value, low, high)))

    def definition(self) -> dict[str, Any]:
        """What JSON keeps: every field that differs from its default."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if value != default
        }

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any]) -> Endpoint:
        """Read back what ``definition`` gave."""
        values: dict[str, Any] = {**definition}
        return cls(**{**values, "vintages": tuple(values.get("vintages", ()))})


ELASTIC_SOURCES = (
    "AFLOW AEL",
    "MP-2025 (matcalc)",
    "MP-2018 rounded to integers",
    "MP tensor->VRH (trachote)",
    "de Jong 2015 (matminer 0.3.2)",
)
"""Voigt-Reuss-Hill moduli; JARVIS reports Voigt averages and stays out."""

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {
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
                name="formation_probability",
                unit="probability",
                column="formation_energy_per_atom",
                description="chance that the formation energy is not positive, Materials "
                "Project 2018",
                at_most=0.0,
                vintage_column="label_vintage",
                vintages=("MP-2018",),
                task="probability",
                lowest=0.0,
                highest=1.0,
            ),
            Endpoint(
                name="stable_probability",
                unit="probability",
                column="energy_above_hull",
                description="chance that the energy above the hull is at most 0.1 eV/atom, "
                "Materials Project 2018",
                at_most=0.1,
                vintage_column="hull_vintage",
                vintages=("MP-2018",),
                task="probability",
                lowest=0.0,
                highest=1.0,
            ),
            Endpoint(
                name="near_hull_probability",
                unit="probability",
                column="energy_above_hull",
                description="the same for at most 0.05 eV/atom",
                at_most=0.05,
                vintage_column="hull_vintage",
                vintages=("MP-2018",),
                task="probability",
                lowest=0.0,
                highest=1.0,
            ),
            Endpoint(
                name="volume_per_atom",
                unit="Å³/atom",
                column="volume_per_atom",
                description="cell volume per atom, PBE",
                transform="log",
                vintage_column="database",
                vintages=("MP", "AFLOW", "WBM"),
                lowest=2.0,
            ),
            Endpoint(
                name="band_gap",
                unit="eV",
                column="band_gap",
                description="Kohn-Sham gap, PBE, Materials Project 2018",
                lowest=0.0,
                vintage_column="gap_vintage",
                vintages=("MP-2018",),
            ),
            Endpoint(
                name="metal_probability",
                unit="probability",
                column="band_gap",
                description="chance of no gap, PBE, Materials Project 2018",
                at_most=0.0,
                vintage_column="gap_vintage",
                vintages=("MP-2018",),
                task="probability",
                lowest=0.0,
                highest=1.0,
            ),
            Endpoint(
                name="magnetic_moment",
                unit="µB/atom",
                column="total_magnetization",
                description="magnetic moment of the ferromagnetic cell per atom, PBE",
                absolute=True,
                per="n_sites",
                lowest=0.0,
            ),
            Endpoint(
                name="magnetic_probability",
                unit="probability",
                column="total_magnetization",
                description="chance that the cell has more than 0.05 µB, PBE",
                absolute=True,
                at_least=0.05,
                task="probability",
                lowest=0.0,
                highest=1.0,
            ),
            Endpoint(
                name="debye_temperature",
                unit="K",
                column="debye_temperature",
                description="AFLOW AGL",
                transform="log",
                lowest=0.0,
            ),
            Endpoint(
                name="thermal_conductivity",
                unit="W/m/K",
                column="thermal_conductivity_300K",
                description="lattice thermal conductivity at 300 K, AFLOW AGL",
                transform="log",
                lowest=0.0,
            ),
            Endpoint(
                name="thermal_expansion",
                unit="1/K",
                column="thermal_expansion_300K",
                description="volume expansion at 300 K, AFLOW AGL",
                transform="log",
                lowest=0.0,
            ),
            Endpoint(
                name="refractive_index",
                unit="",
                column="n_refr",
                description="of the electronic dielectric tensor, PBE",
                transform="log",
                lowest=1.0,
            ),
            Endpoint(
                name="dielectric_constant",
                unit="",
                column="eps_total_poly",
                description="polycrystalline average with the ionic part, PBE",
                transform="log",
                lowest=1.0,
            ),
            Endpoint(
                name="piezoelectric_maximum",
                unit="C/m²",
                column="piezo_eij_max",
                description="largest longitudinal piezoelectric modulus, PBE",
                transform="log",
                lowest=0.0,
            ),
        )
    }
)
"""name → endpoint, those that matlode brings, in the order in which they are shown. A user's
own come from a file (``own``) or with their models (``models.known_endpoints``)."""


def find_endpoint(name: str, known: Mapping[str, Endpoint]) -> Endpoint:
    """The endpoint of this name; raises GoalError with the nearest known one."""
    if name not in known:
        raise GoalError(f'"{name}" is not a property. {suggest(name, known)}')
    return known[name]
