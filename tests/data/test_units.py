from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from matlode.data.units import UNITS, convert_to_canonical
from matlode.errors import InputError
from matlode.testing import ROUND_OFF

ONE = np.ones(1)
FOUR_DIGITS = 5e-4
"""Textbook values are printed with four digits."""


def convert(value: float, column: str, unit: str, cell: float = 1, formula: float = 1) -> float:
    """One value, of a crystal with so many atoms per cell and per formula unit."""
    counts = {"atoms_per_cell": cell * ONE, "atoms_per_formula": formula * ONE}
    return float(convert_to_canonical(value * ONE, column, unit, **counts)[0])


@pytest.mark.parametrize("column", UNITS)
def test_the_own_unit_changes_nothing(column):
    assert convert(3.5, column, UNITS[column], cell=7, formula=3) == pytest.approx(3.5)


@given(st.floats(-1e6, 1e6), st.sampled_from(["meV", "kJ", "Ry", "hartree", "erg"]))
def test_there_and_back_is_where_it_began(value, unit):
    there = convert(value, "band_gap", unit)
    back = there / convert(1.0, "band_gap", unit)
    assert back == pytest.approx(value, rel=ROUND_OFF, abs=ROUND_OFF)


@given(st.integers(1, 200), st.floats(-10, 10))
def test_per_cell_and_per_atom_differ_by_the_atoms(atoms, value):
    column = "formation_energy_per_atom"
    per_cell = convert(value * atoms, column, "eV/cell", cell=atoms)
    assert per_cell == pytest.approx(convert(value, column, "eV/atom"), rel=1e-9, abs=1e-12)


def test_each_row_has_its_own_count():
    energies = convert_to_canonical(
        np.array([-2.0, -2.0, np.nan]),
        "energy_above_hull",
        "eV/formula",
        atoms_per_cell=np.array([9, 9, 9]),
        atoms_per_formula=np.array([2, 4, 4]),
    )
    assert_allclose(energies, [-1.0, -0.5, np.nan])


@pytest.mark.parametrize(
    ("value", "column", "unit", "formula", "expected"),
    [
        # CRC Handbook, standard enthalpy of formation of NaCl; 96.485 kJ/mol per eV
        (-411.2, "formation_energy_per_atom", "kJ/mol", 2, -2.1309),
        (96.4853, "formation_energy_per_atom", "kJ/mol_atoms", 5, 1.0),
        # 1 Mbar = 100 GPa; 1 psi = 6.8948 kPa
        (4.43, "bulk_modulus_vrh", "Mbar", 1, 443.0),
        (1e6, "shear_modulus_vrh", "psi", 1, 6.8948),
        (13.6057, "band_gap", "eV", 1, 13.6057),
        (1.0, "band_gap", "Ry", 1, 13.6057),
        (25.0, "debye_temperature", "degC", 1, 298.15),
        (3.0, "bulk_modulus_vrh", "log10(GPa)", 1, 1000.0),
        # Dulong and Petit: 3 R = 24.943 J/mol/K per mole of atoms
        (2.0, "cv_300K_per_atom", "cal/mol_atoms/K", 1, 8.368),
    ],
)
def test_known_conversions(value, column, unit, formula, expected):
    got = convert(value, column, unit, formula=formula)
    assert got == pytest.approx(expected, rel=FOUR_DIGITS)


@pytest.mark.parametrize(
    ("column", "unit", "text"),
    [
        ("bulk_modulus_vrh", "eV", r'"bulk_modulus_vrh": cannot convert "eV" to GPa'),
        ("formation_energy_per_atom", "eV", r'cannot convert "eV" to eV/atom; .* /cell, /formula'),
        ("band_gap", "furlongs3", r'"band_gap": unknown unit "furlongs3"; expected eV'),
        ("band_gap", "eV/", r'unknown unit "eV/"'),
        ("hardness", "GPa", r'"hardness" has no known unit'),
    ],
)
def test_what_cannot_be_converted_is_told(column, unit, text):
    with pytest.raises(InputError, match=text):
        convert(1.0, column, unit)
