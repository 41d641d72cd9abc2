"""Space groups: what they are called, and how they are found in crystals (moyopy).

Whoever asks for a space group takes a tolerance from here, named by its reason.
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
"""Tolerance of every space group that is reported, in Å: labels of tables, built and relaxed
structures. One tolerance for all, so that a crystal changes its label only if it changes."""
CELL_SYMPREC_A = 0.01
"""Tolerance for finding the cell, Å. A standard cell has its atoms moved onto the symmetry found.

On 1,500 structures of the starter set the powder patterns (square roots of intensity) before
and after have a cosine of at least 0.99997 with this tolerance, 0.82 with 0.1 Å.
"""
CIF_SYMPREC_A = 0.01
"""Tolerance for writing CIF files, Å: structures were symmetrised before, so a tight one finds
their symmetry again."""
RELAXATION_SYMPREC_A = 0.05
"""Tolerance of the symmetry that relaxations and elastic constants keep, Å."""
COORDINATE_DIGITS = 6
"""Species of a mixed site stand at one place: fractional coordinates equal to so many digits."""

# moyo remarks on operations of centred cells; nobody but a caller's own log wants to know
logging.getLogger("moyo").addHandler(logging.NullHandler())

N_SPACE_GROUPS = 230

CRYSTAL_SYSTEMS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}
"""name → first and last space-group number (International Tables A)."""


def crystal_system(space_group: int) -> str:
    """The crystal system of a space-group number.

    >>> crystal_system(225)
    'cubic'
    """
    for name, (first, last) in CRYSTAL_SYSTEMS.items():
        if first <= space_group <= last:
            return name
    raise InputError(
        f"space group {space_group} does not exist; numbers run from 1 to {N_SPACE_GROUPS}."
    )


def standard_cell(
    structure: Structure, *, symprec_a: float = LABEL_SYMPREC_A
) -> tuple[Structure, int]:
    """The conventional standard cell of an ordered structure, symmetrised, and its space-group
    number."""
    from moyopy.interface import MoyoAdapter

    dataset = _dataset(structure, symprec_a)
    standard: Structure = MoyoAdapter.get_structure(dataset.std_cell)
    return standard, int(dataset.number)


def primitive_cell(structure: Structure, *, symprec_a: float) -> Structure:
    """The primitive standard cell of an ordered structure."""
    from moyopy.interface import MoyoAdapter

    primitive: Structure = MoyoAdapter.get_structure(_dataset(structure, symprec_a).prim_std_cell)
    return primitive


def _dataset(structure: Structure, symprec_a: float) -> MoyoDataset:
    from moyopy import MoyoDataset
    from moyopy.interface import MoyoAdapter

    return MoyoDataset(MoyoAdapter.from_structure(structure), symprec=symprec_a)


def find_symmetry(cell: moyopy.Cell, symprec_a: float) -> MoyoDataset | None:
    """What moyopy finds within a tolerance in Å; None if it finds nothing, or gives up on it."""
    from moyopy import MoyoDataset

    try:
        return MoyoDataset(cell, symprec=symprec_a)
    except ValueError:
        return None
    except BaseException as error:
        # a panic of its Rust, which is no Exception, on cells that are hardly any
        if type(error).__name__ != "PanicException":
            raise
        return None


def find_space_group(crystals: Crystals, index: int) -> int:
    """Space-group number of a crystal by moyopy; mixed sites count as their main element."""
    dataset = find_dataset(crystals, index)
    return 1 if dataset is None else int(dataset.number)


def find_dataset(crystals: Crystals, index: int) -> MoyoDataset | None:
    """What moyopy finds of a crystal's symmetry, mixed sites as their main element; None if it
    finds nothing within the tolerance."""
    from moyopy import Cell

    rows = crystals.atoms(index)
    places, numbers = crystals.frac_coords[rows], crystals.numbers[rows]
    if (crystals.occupancies[rows] < 1).any():
        places, numbers = _main_elements(places, numbers, crystals.occupancies[rows])
    cell = Cell(crystals.lattices[index].tolist(), places.tolist(), numbers.tolist())
    return find_symmetry(cell, LABEL_SYMPREC_A)


def _main_elements(
    places: NDArray[np.float64], numbers: NDArray[np.int64], occupancies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each place (n, 3) once, with the atomic number (n,) that has the largest part of it."""
    by_part = np.argsort(-occupancies, kind="stable")
    rounded = np.round(places[by_part] % 1, COORDINATE_DIGITS)
    _, first = np.unique(rounded, axis=0, return_index=True)
    return places[by_part[first]], numbers[by_part[first]]
