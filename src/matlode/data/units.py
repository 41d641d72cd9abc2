"""Units of the label columns, and how other units become them. Units are converted nowhere else.

A cell and a formula unit are units of their own, so that a value per cell or per mole of
formula units can become a value per atom, row by row.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.errors import InputError

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
"""Unit of each label column that matlode knows, as pint writes it."""

PER_CELL_COLUMNS = tuple(name for name, unit in UNITS.items() if unit.endswith("/cell"))
"""Labels that grow with the cell."""

ENTITIES = ("atom", "cell", "formula")
"""What a value may be per; ``mol`` is a mole of formula units, ``mol_atoms`` of atoms."""

_LOGARITHM = "log10("


def to_canonical(
    values: NDArray[Any],
    column: str,
    unit: str,
    *,
    atoms_per_cell: NDArray[Any],
    atoms_per_formula: NDArray[Any],
) -> NDArray[np.float64]:
    """Values (n,) given in ``unit`` in the unit of ``column``; the counts are (n,) too.

    ``unit`` is anything pint reads, with ``atom``, ``cell`` and ``formula`` beside it, or
    ``log10(UNIT)``. Raises InputError if the column has no known unit, the unit is unknown,
    or it measures something else.

    >>> one = np.ones(1)
    >>> to_canonical(one, "bulk_modulus_vrh", "Mbar", atoms_per_cell=one, atoms_per_formula=one)
    array([100.])
    """
    if column not in UNITS:
        raise InputError(
            f'column "{column}" has no unit that matlode knows, so "{unit}" cannot be '
            f"converted; leave the unit out, or name one of {', '.join(UNITS)}."
        )
    values = np.asarray(values, dtype=float)
    if unit.startswith(_LOGARITHM) and unit.endswith(")"):
        values, unit = 10.0**values, unit[len(_LOGARITHM) : -1]
    counts = {"atom": None, "cell": atoms_per_cell, "formula": atoms_per_formula}
    registry = _registry()
    wanted = registry.Unit(UNITS[column])
    given = _parse(unit, column)
    for entity, count in counts.items():
        # a value per cell of n atoms is 1/n of it per atom
        whole = given if count is None else given * registry.Unit(entity) / registry.Unit("atom")
        if whole.is_compatible_with(wanted):
            converted = registry.Quantity(values, whole).to(wanted).magnitude
            return converted if count is None else converted / np.asarray(count, dtype=float)
    raise InputError(
        f'column "{column}": cannot convert "{unit}" to {UNITS[column]}; give a unit of the '
        f"same kind ({', '.join(f'/{entity}' for entity in ENTITIES)} included)."
    )


def _parse(unit: str, column: str) -> Any:
    from pint.errors import PintError

    try:
        return _registry().Unit(unit)
    except (PintError, ValueError, TypeError, AssertionError, AttributeError, SyntaxError) as error:
        raise InputError(
            f'column "{column}": "{unit}" is not a unit; wanted {UNITS[column]} or one that '
            "converts to it."
        ) from error


@cache
def _registry() -> Any:
    from pint import UnitRegistry

    registry = UnitRegistry()
    registry.define("atom = [atom]")
    registry.define("cell = [cell]")
    registry.define("formula = mole / 6.02214076e23")
    registry.define("mol_atoms = 6.02214076e23 atom")
    return registry
