"""Space groups: their crystal systems, and their determination with moyopy.

All tolerances of symmetry searches are defined here, each named by its purpose.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.errors import InputError

if TYPE_CHECKING:
    import moyopy
    from moyopy import MoyoDataset
    from pymatgen.core import Structure

LABEL_SYMPREC_A = 0.1
"""Tolerance of all reported space groups in Å: labels of tables, built and relaxed structures.
With one tolerance, the label of a crystal changes only if the crystal changes."""
CELL_SYMPREC_A = 0.01
"""Tolerance for the conversion to standard cells in Å, which moves atoms to symmetric positions.

For 1,500 structures of the starter set, the cosine similarity of the powder patterns (square
roots of intensity) before and after is at least 0.99997 with this tolerance, 0.82 with 0.1 Å.
"""
CIF_SYMPREC_A = 0.01
"""Tolerance for writing CIF files in Å. The structures were symmetrised before, so a small
tolerance finds their symmetry."""
RELAXATION_SYMPREC_A = 0.05
"""Tolerance in Å of the symmetry that is preserved in relaxations and elastic constants."""
COORDINATE_DIGITS = 6
"""Decimal digits to which the fractional coordinates of the species of a mixed site agree."""

# hides moyo's messages on operations of centred cells, unless the application configures logging
logging.getLogger("moyo").addHandler(logging.NullHandler())

N_SPACE_GROUPS = 230
MAX_SYMMETRISATIONS = 5
"""Two are enough for nearly all structures."""

CRYSTAL_SYSTEMS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}
"""First and last space-group number by crystal system (International Tables A)."""


def crystal_system(space_group: int) -> str:
    """Return the crystal system of a space-group number.

    Raises InputError if the number is not in 1..230.

    >>> crystal_system(225)
    'cubic'
    """
    for name, (first, last) in CRYSTAL_SYSTEMS.items():
        if first <= space_group <= last:
            return name
    raise InputError(
        f"unknown space group {space_group}; expected a number from 1 to {N_SPACE_GROUPS}."
    )


def find_standard_cell(
    structure: Structure, *, symprec_a: float = LABEL_SYMPREC_A
) -> tuple[Structure, int]:
    """Return the symmetrised conventional standard cell of an ordered structure, and its
    space-group number.

    A symmetrised cell may have a higher symmetry within the tolerance than the structure that it
    was made from, so this is repeated until the number is that of the returned cell.
    """
    from moyopy.interface import MoyoAdapter

    space_group = 0
    for _ in range(MAX_SYMMETRISATIONS):
        dataset = _analyse_structure(structure, symprec_a)
        structure = MoyoAdapter.get_structure(dataset.std_cell)
        if dataset.number == space_group:
            break
        space_group = int(dataset.number)
    return structure, space_group


def make_symmetrised_cif(structure: Structure) -> str:
    """CIF text with the symmetry of an ordered structure, found with CIF_SYMPREC_A."""
    from pymatgen.io.cif import CifWriter

    # with pymatgen's angle tolerance of 5 degrees, spglib would make a and b equal that are not
    return str(CifWriter(structure, symprec=CIF_SYMPREC_A, angle_tolerance=-1))


def find_primitive_cell(structure: Structure, *, symprec_a: float) -> Structure:
    """Return the symmetrised primitive standard cell of an ordered structure."""
    from moyopy.interface import MoyoAdapter

    dataset = _analyse_structure(structure, symprec_a)
    primitive: Structure = MoyoAdapter.get_structure(dataset.prim_std_cell)
    return primitive


def _analyse_structure(structure: Structure, symprec_a: float) -> MoyoDataset:
    from moyopy import MoyoDataset
    from moyopy.interface import MoyoAdapter

    return MoyoDataset(MoyoAdapter.from_structure(structure), symprec=symprec_a)


def find_symmetry(cell: moyopy.Cell, symprec_a: float) -> MoyoDataset | None:
    """Return moyopy's symmetry dataset for a tolerance in Å; None if moyopy fails."""
    from moyopy import MoyoDataset

    try:
        return MoyoDataset(cell, symprec=symprec_a)
    except ValueError:
        return None
    except BaseException as error:
        # nearly degenerate cells can cause a panic in Rust, which is not an Exception
        if type(error).__name__ != "PanicException":
            raise
        return None


def find_space_group(crystals: Crystals, index: int) -> int:
    """Return the space-group number of a crystal; 1 if moyopy fails.

    Mixed sites are treated as occupied by their main element.
    """
    dataset = find_dataset(crystals, index)
    return 1 if dataset is None else int(dataset.number)


def find_dataset(crystals: Crystals, index: int) -> MoyoDataset | None:
    """Return moyopy's symmetry dataset of a crystal; None if moyopy fails.

    Mixed sites are treated as occupied by their main element.
    """
    from moyopy import Cell

    rows = crystals.atoms(index)
    places, numbers = crystals.frac_coords[rows], crystals.numbers[rows]
    if (crystals.occupancies[rows] < 1).any():
        places, numbers = _find_main_elements(places, numbers, crystals.occupancies[rows])
    cell = Cell(crystals.lattices[index].tolist(), places.tolist(), numbers.tolist())
    return find_symmetry(cell, LABEL_SYMPREC_A)


def _find_main_elements(
    places: NDArray[np.float64], numbers: NDArray[np.int64], occupancies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distinct places (n, 3), and the atomic number of the largest occupancy (n,)."""
    by_part = np.argsort(-occupancies, kind="stable")
    rounded = np.round(places[by_part] % 1, COORDINATE_DIGITS)
    _, first = np.unique(rounded, axis=0, return_index=True)
    return places[by_part[first]], numbers[by_part[first]]
