"""Units of the label columns, and the conversion of other units. Units are converted only here.

The cell and the formula unit are units too, so that values per cell or per mole of formula units
can be converted to values per atom, row by row.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.errors import InputError

if TYPE_CHECKING:
    from pint import Unit, UnitRegistry

UNITS = {
    "volume": "angstrom**3",
    "volume_per_atom": "angstrom**3/atom",
    "density": "g/cm**3",
    "formation_energy_per_atom": "eV/atom",
    "energy_above_hull": "eV/atom",
    "band_gap": "eV",
    "bulk_modulus_vrh": "GPa",
    "shear_modulus_vrh": "GPa",
    "total_magnetization": "bohr_magneton/cell",
    "debye_temperature": "K",
    "thermal_conductivity_300K": "W/m/K",
    "minimum_thermal_conductivity_600K": "W/m/K",
    "thermal_expansion_300K": "1/K",
    "cv_300K_per_atom": "J/mol_atoms/K",
    "eps_electronic_poly": "dimensionless",
    "eps_total_poly": "dimensionless",
    "n_refr": "dimensionless",
    "piezo_eij_max": "C/m**2",
    "ph_last_dos_peak_cm": "1/cm",
    "Tc_jarvis": "K",
}
"""Unit of each known label column, in the notation of pint."""

PER_CELL_COLUMNS = tuple(name for name, unit in UNITS.items() if unit.endswith("/cell"))
"""Labels that are proportional to the size of the cell."""

ENTITIES = ("atom", "cell", "formula")
"""Entities that a value can refer to; ``mol`` is a mole of formula units, ``mol_atoms`` one of
atoms."""

_LOGARITHM = "log10("


def convert_to_canonical(
    values: NDArray[np.floating | np.integer],
    column: str,
    unit: str,
    *,
    atoms_per_cell: NDArray[np.floating | np.integer],
    atoms_per_formula: NDArray[np.floating | np.integer],
) -> NDArray[np.float64]:
    """Convert values (n,) from ``unit`` to the unit of ``column``; the counts are (n,) too.

    ``unit`` is in the notation of pint, which may include ``atom``, ``cell`` and ``formula``, or
    ``log10(UNIT)``. Raises InputError if the column has no known unit, or if the unit is unknown
    or has another dimension.

    >>> one = np.ones(1)
    >>> ones = {"atoms_per_cell": one, "atoms_per_formula": one}
    >>> convert_to_canonical(one, "bulk_modulus_vrh", "Mbar", **ones)
    array([100.])
    """
    if column not in UNITS:
        raise InputError(
            f'cannot convert "{unit}": column "{column}" has no known unit; omit the unit, or '
            f"choose one of the columns {', '.join(UNITS)}."
        )
    values = np.asarray(values, dtype=float)
    if unit.startswith(_LOGARITHM) and unit.endswith(")"):
        values, unit = 10.0**values, unit[len(_LOGARITHM) : -1]
    counts = {"atom": None, "cell": atoms_per_cell, "formula": atoms_per_formula}
    registry = _registry()
    wanted = registry.Unit(UNITS[column])
    given = _parse_unit(unit, column)
    for entity, count in counts.items():
        # a value per cell of n atoms is divided by n to get the value per atom
        whole = given if count is None else given * registry.Unit(entity) / registry.Unit("atom")
        if whole.is_compatible_with(wanted):
            converted = registry.Quantity(values, whole).to(wanted).magnitude
            return converted if count is None else converted / np.asarray(count, dtype=float)
    raise InputError(
        f'column "{column}": cannot convert "{unit}" to {UNITS[column]}; give a unit of the '
        f"same kind (including {', '.join(f'/{entity}' for entity in ENTITIES)})."
    )


def _parse_unit(unit: str, column: str) -> Unit:
    from pint.errors import PintError

    try:
        return _registry().Unit(unit)
    except (PintError, ValueError, TypeError, AssertionError, AttributeError, SyntaxError) as error:
        raise InputError(
            f'column "{column}": unknown unit "{unit}"; expected {UNITS[column]} or a unit that '
            "can be converted to it."
        ) from error


@cache
def _registry() -> UnitRegistry:
    from pint import UnitRegistry

    registry = UnitRegistry()
    registry.define("atom = [atom]")
    registry.define("cell = [cell]")
    registry.define("formula = mole / 6.02214076e23")
    registry.define("mol_atoms = 6.02214076e23 atom")
    return registry
