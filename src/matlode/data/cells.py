"""Conversion of crystals to their primitive or conventional standard cell."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.symmetry import CELL_SYMPREC_A, COORDINATE_DIGITS, find_symmetry
from matlode.errors import InputError, suggest


class Cell(StrEnum):
    """The cell that crystals are converted to."""

    PRIMITIVE = "primitive"
    CONVENTIONAL = "conventional"
    AS_IS = "as-is"


def parse_cell(text: str) -> Cell:
    """Convert a name to a Cell. Raises InputError if it is unknown."""
    try:
        return Cell(text)
    except ValueError as error:
        raise InputError(f'unknown cell "{text}". {suggest(text, list(Cell))}') from error


def reduce_cells(crystals: Crystals, cell: Cell) -> Crystals:
    """Convert ordered crystals to their standard cell (moyopy); disordered ones are unchanged."""
    if cell is Cell.AS_IS or not len(crystals):
        return crystals
    ordered = ~is_disordered(crystals)
    reduced = [
        _reduce_cell(crystals, index, cell) if ordered[index] else crystals.take([index])
        for index in range(len(crystals))
    ]
    return Crystals.concatenate(reduced)


def is_disordered(crystals: Crystals) -> NDArray[np.bool_]:
    """Return (n,), whether each crystal has a mixed or partially occupied site."""
    part = np.zeros(len(crystals), dtype=bool)
    owners = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    part[owners[crystals.occupancies != 1]] = True
    return part


def count_sites(crystals: Crystals) -> NDArray[np.int64]:
    """Return (n,), the number of sites per cell; a mixed site counts once."""
    counts = crystals.n_atoms.copy()
    for index in map(int, np.flatnonzero(is_disordered(crystals))):
        places = np.round(crystals.frac_coords[crystals.atoms(index)] % 1, COORDINATE_DIGITS)
        counts[index] = len(np.unique(places, axis=0))
    return counts


def _reduce_cell(crystals: Crystals, index: int, cell: Cell) -> Crystals:
    import moyopy

    rows = crystals.atoms(index)
    given = moyopy.Cell(
        crystals.lattices[index].tolist(),
        crystals.frac_coords[rows].tolist(),
        crystals.numbers[rows].tolist(),
    )
    found = find_symmetry(given, CELL_SYMPREC_A)
    if found is None:
        return crystals.take([index])
    standard = found.prim_std_cell if cell is Cell.PRIMITIVE else found.std_cell
    return _pack_cell(standard.basis, standard.numbers, standard.positions)


def _pack_cell(
    basis: Sequence[Sequence[float]],
    numbers: Sequence[int],
    positions: Sequence[Sequence[float]],
) -> Crystals:
    return Crystals.from_arrays([np.array(basis)], [np.array(numbers)], [np.array(positions)])
