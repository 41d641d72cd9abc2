from __future__ import annotations

import moyopy
import pytest

from matlode.testing import SMALL_CRYSTALS, perovskite, rock_salt

# International Tables A, and bond lengths that follow from the cells by hand
SPACE_GROUPS = {
    "rock_salt": 225,
    "caesium_chloride": 221,
    "fluorite": 225,
    "zinc_blende": 216,
    "diamond": 227,
    "body_centred_cubic": 229,
    "face_centred_cubic": 225,
    "hexagonal_close_packed": 194,
    "rutile": 136,
    "perovskite": 221,
}
NEAREST_NEIGHBOURS_ANGSTROM = {
    "rock_salt": 5.6402 / 2,
    "caesium_chloride": 4.123 * 3**0.5 / 2,
    "fluorite": 5.4626 * 3**0.5 / 4,
    "zinc_blende": 5.4093 * 3**0.5 / 4,
    "diamond": 5.43102 * 3**0.5 / 4,
    "body_centred_cubic": 2.8665 * 3**0.5 / 2,
    "face_centred_cubic": 3.6149 / 2**0.5,
    "hexagonal_close_packed": (3.2094**2 / 3 + 5.2105**2 / 4) ** 0.5,
    "rutile": 1.949,  # Abrahams and Bernstein (1971): four bonds of 1.949 Å
    "perovskite": 3.905 / 2,
}
BOND_LENGTH_PRINTED_TO = 1e-3


@pytest.mark.parametrize("name", SMALL_CRYSTALS)
def test_crystal_has_the_space_group_of_its_type(name):
    structure = SMALL_CRYSTALS[name]()
    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), structure.atomic_numbers
    )
    assert moyopy.MoyoDataset(cell).number == SPACE_GROUPS[name]


@pytest.mark.parametrize("name", SMALL_CRYSTALS)
def test_nearest_neighbours_are_where_the_cell_puts_them(name):
    structure = SMALL_CRYSTALS[name]()
    shortest = min(n.nn_distance for site in structure.get_all_neighbors(4.5) for n in site)
    assert shortest == pytest.approx(NEAREST_NEIGHBOURS_ANGSTROM[name], abs=BOND_LENGTH_PRINTED_TO)


def test_formula_and_cell_can_be_chosen():
    structure = rock_salt("MgO", a_angstrom=4.21)
    assert structure.reduced_formula == "MgO"
    assert structure.volume == pytest.approx(4.21**3)
    assert perovskite("CaTiO3")[0].specie.symbol == "Ca"
