"""Random crystals have the formula, the symmetry and the size that was asked for."""

import numpy as np

from matlode.data.formulas import compute_formulas
from matlode.data.symmetry import find_dataset
from matlode.realisation.random_filling import MAX_ATOMS, N_SPACE_GROUPS, fill_randomly

CHANCES = np.zeros(230)
CHANCES[[61, 193, 224, 1]] = [0.4, 0.3, 0.2, 0.1]
LIKELY = {62, 194, 225, 2}


def test_crystals_are_of_the_formula_in_likely_space_groups():
    crystals, groups = fill_randomly("B3TiY2", CHANCES, 12)
    assert len(crystals) == len(groups) == 12
    assert set(compute_formulas(crystals)) == {"B3TiY2"}
    assert (crystals.n_atoms <= MAX_ATOMS).all()
    order = np.argsort(-CHANCES, kind="stable")[:N_SPACE_GROUPS] + 1
    assert set(groups) <= set(order.tolist())
    assert len(set(groups)) > 1
    found = [find_dataset(crystals, index).number for index in range(len(crystals))]
    # random sites may happen to be more symmetric, never less
    assert np.mean(np.array(found) == groups) > 0.7


def test_the_same_formula_gives_the_same_crystals():
    first, _ = fill_randomly("B3TiY2", CHANCES, 5)
    again, _ = fill_randomly("B3TiY2", CHANCES, 5)
    np.testing.assert_array_equal(first.frac_coords, again.frac_coords)
    np.testing.assert_array_equal(first.lattices, again.lattices)


def test_only_wanted_space_groups_are_filled():
    _, groups = fill_randomly("B3TiY2", CHANCES, 6, space_groups=[62])
    assert set(groups) == {62}


def test_what_fits_nowhere_gives_nothing():
    crystals, groups = fill_randomly("B33Ti", CHANCES, 6)
    assert len(crystals) == len(groups) == 0
