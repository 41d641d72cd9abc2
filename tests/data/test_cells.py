from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from matlode.data.cells import Cell, count_sites, is_disordered, parse_cell, reduce_cells
from matlode.data.crystals import Crystals
from matlode.data.formulas import compute_formulas
from matlode.data.symmetry import CELL_SYMPREC_A
from matlode.errors import InputError
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import SMALL_CRYSTALS, rock_salt
from tests.data.test_crystals import assert_same

SAME_CRYSTAL = 5e-5
"""1 - cosine of patterns whose atoms were moved by CELL_SYMPREC_A at most."""
MIXED = Structure(Lattice.cubic(3.8), [{"Cu": 0.25, "Au": 0.75}, "Cu"], [[0, 0, 0], [0.5] * 3])


def roots(crystals: Crystals) -> np.ndarray:
    root = np.sqrt(simulate_patterns(crystals, dtype=float))
    return root / np.linalg.norm(root, axis=1, keepdims=True)


@pytest.mark.parametrize("cell", Cell)
def test_the_crystal_stays_the_same_in_every_cell(starter, cell):
    some = starter.crystals.take(np.arange(0, len(starter), 40))
    reduced = reduce_cells(some, cell)
    assert compute_formulas(reduced) == compute_formulas(some)
    assert_allclose(reduced.volumes_per_atom_a3, some.volumes_per_atom_a3, rtol=1e-5)
    cosines = (roots(some) * roots(reduced)).sum(axis=1)
    assert 1 - cosines.min() < SAME_CRYSTAL


@pytest.mark.parametrize("cell", Cell)
def test_pymatgen_sees_the_same_crystal(starter, cell):
    some = starter.crystals.take(np.arange(0, len(starter), 400))
    strict = StructureMatcher(ltol=0.01, stol=0.02, angle_tol=0.5, scale=False)
    for before, after in zip(some.structures(), reduce_cells(some, cell).structures(), strict=True):
        assert strict.fit(before, after)


@pytest.mark.parametrize("build", SMALL_CRYSTALS.values())
def test_supercells_have_the_primitive_cell_of_the_crystal(build):
    both = Crystals.from_structures([build(), build() * (2, 1, 3)])
    once, twice = reduce_cells(both, Cell.PRIMITIVE).n_atoms
    assert once == twice == len(build().get_primitive_structure())


def test_rock_salt_has_two_atoms_primitive_and_eight_conventional():
    eight = Crystals.from_structures([rock_salt()])
    assert reduce_cells(eight, Cell.PRIMITIVE).n_atoms.tolist() == [2]
    assert reduce_cells(eight, Cell.CONVENTIONAL).n_atoms.tolist() == [8]
    assert_same(reduce_cells(eight, Cell.AS_IS), eight)


def test_disordered_crystals_are_kept_as_they_are():
    both = Crystals.from_structures([MIXED * (2, 1, 1), rock_salt()])
    assert_array_equal(is_disordered(both), [True, False])
    reduced = reduce_cells(both, Cell.PRIMITIVE)
    assert_same(reduced.take([0]), both.take([0]))
    assert reduced.n_atoms.tolist() == [6, 2]
    assert count_sites(reduced).tolist() == [4, 2]


def test_no_crystals_have_no_cells():
    empty = Crystals.from_structures([])
    assert_same(reduce_cells(empty, Cell.PRIMITIVE), empty)
    assert CELL_SYMPREC_A < 0.1


def test_an_unknown_cell_is_told():
    with pytest.raises(InputError, match=r'unknown cell "primitve"\. Did you mean "primitive'):
        parse_cell("primitve")
