"""The properties that matlode predicts, with their units and the table rows used as labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from matlode.errors import GoalError, InputError, suggest
from matlode.records import Cell

if TYPE_CHECKING:
    from matlode.data.tables import Materials  # pandas, which a goal is checked without

Task = Literal["regression", "probability"]
Transform = Literal["none", "log"]

VOLUME = "volume_per_atom"
"""Name of the endpoint that is known exactly where the crystal is."""


@dataclass(frozen=True)
class Estimates:
    """Predictions of one endpoint for n materials, (n,) each, in the endpoint's unit."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    """Lower end of the 90 % interval."""
    high: NDArray[np.float64]
    """Upper end of the 90 % interval."""

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Estimates:
        """Select rows by a mask or by indices."""
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
    """"log": the model learns the logarithm, for quantities that span orders of magnitude."""
    at_most: float | None = None
    """For a probability: the label is true where the column is at most this value."""
    at_least: float | None = None
    """For a probability: the label is true where the column is at least this value."""
    equals: str | None = None
    """For a probability: the label is true where the column is this text."""
    vintage_column: str | None = None
    """Column that names the source or version of each label."""
    vintages: tuple[str, ...] = ()
    """Only rows with these values of ``vintage_column`` are used. All rows are used if the table
    lacks the column, like the starter set, which has one vintage."""
    absolute: bool = False
    """The label is the column's absolute value."""
    per: str | None = None
    """The label is the column divided by this column, for example ``n_sites``."""
    lowest: float = -np.inf
    """Physical lower limit; predictions are clipped to it."""
    highest: float = np.inf
    """Physical upper limit; predictions are clipped to it."""

    def labels(self, materials: Materials) -> NDArray[np.float64]:
        """(n,), labels of a table in ``unit`` (0 or 1 for probabilities), NaN where unknown.

        Raises InputError if the column contains text instead of numbers.
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
            matches = words.astype(str).to_numpy() == self.equals
            return np.where(words.isna(), np.nan, matches.astype(float))
        try:
            values = materials.label(self.column)
            if self.absolute:
                values = np.abs(values)
            return values / materials.label(self.per) if self.per else values
        except (TypeError, ValueError) as error:
            held = materials.frame[self.column].dropna().astype(str).unique()
            raise InputError(
                f'property "{self.name}": column "{self.column}" is not numeric; it contains '
                f"{', '.join(repr(word) for word in held[:3])}. Provide numbers, or define a "
                'classification with the text to match (equals = "...").'
            ) from error

    def to_model(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transform values (n,) in ``unit`` to the scale of the model: ``transform`` is applied.
        The logarithm of zero is -inf."""
        if self.transform == "none":
            return values
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(values, 0.0))

    def from_model(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transform values (n,) in the scale of the model to ``unit``: inverse of ``to_model``."""
        return values if self.transform == "none" else np.exp(values)

    def estimates(self, raw: NDArray[np.float64], half: NDArray[np.float64]) -> Estimates:
        """Convert model outputs ``raw`` ± ``half``, (n,), to values and intervals in ``unit``.

        Limits and interval ends are computed in the scale of the model. The transform is
        monotone, so an interval that contains the truth there also contains it in ``unit``.
        """
        lowest, highest = self.to_model(np.array([self.lowest, self.highest]))
        value = np.clip(raw, lowest, highest)
        low, high = np.clip(raw - half, lowest, highest), np.minimum(value + half, highest)
        return Estimates(*(self.from_model(end) for end in (value, low, high)))

    def definition(self) -> dict[str, Cell | list[str]]:
        """The fields that differ from their defaults, for JSON."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if value != default
        }

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any]) -> Endpoint:
        """Create an endpoint from what ``definition`` returned.

        Raises TypeError for missing or unknown fields.
        """
        vintages = tuple(definition.get("vintages", ()))
        return cls(**{**definition, "vintages": vintages})


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
                transform="log",
                lowest=0.0,
            ),
            Endpoint(
                name="shear_modulus",
                unit="GPa",
                column="shear_modulus_vrh",
                description="Voigt-Reuss-Hill shear modulus, PBE",
                vintage_column="elastic_source",
                vintages=ELASTIC_SOURCES,
                transform="log",
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
                name="energy_above_hull",
                unit="eV/atom",
                column="energy_above_hull",
                description="energy above the convex hull, Materials Project 2018",
                vintage_column="hull_vintage",
                vintages=("MP-2018",),
                lowest=0.0,
            ),
            Endpoint(
                name="formation_energy_mp2021",
                unit="eV/atom",
                column="formation_energy_per_atom",
                description="formation energy from the elements, Materials Project 2021",
                vintage_column="label_vintage",
                vintages=("MP-2021",),
            ),
            Endpoint(
                name="energy_above_hull_mp2021",
                unit="eV/atom",
                column="energy_above_hull",
                description="energy above the convex hull, Materials Project 2021",
                vintage_column="hull_vintage",
                vintages=("MP-2021",),
                lowest=0.0,
            ),
            Endpoint(
                name="hull_probability_100_mev",
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
                name="hull_probability_50_mev",
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
"""name → endpoint, the built-in properties in the order in which they are shown. User-defined
properties come from a file (``own``) or with their models (``models.list_endpoints``)."""


OLD_NAMES = {
    "stable_probability": "hull_probability_100_mev",
    "near_hull_probability": "hull_probability_50_mev",
}
"""Former name → name."""


def find_endpoint(name: str, known: Mapping[str, Endpoint]) -> Endpoint:
    """Look up an endpoint by name or former name; raises GoalError that suggests the closest known
    name."""
    name = OLD_NAMES.get(name, name)
    if name not in known:
        raise GoalError(f'unknown property "{name}". {suggest(name, known)}')
    return known[name]
