"""Substitutions are crystals of their parents with one element exchanged, new ones only."""

import numpy as np
import pytest

from matlode.data.formulas import anonymise_formula
from matlode.realisation.substitution import MAX_ATOMS, N_SUBSTITUTES, substitute_elements
from matlode.representation.composition import composition_vectors, write_formulas

ELEMENTS = ("B", "C", "N", "O", "Ti", "Zr", "Hf", "V", "Nb", "Ta", "W", "Fe")


@pytest.fixture(scope="module")
def materials(starter):
    return starter


@pytest.fixture(scope="module")
def parents(materials):
    formulas = materials.frame["formula"]
    wanted = formulas.isin(["B2Ti", "CTi", "NTi"]).to_numpy()
    return np.flatnonzero(wanted & (materials.crystals.n_atoms <= MAX_ATOMS))


def _formulas(materials, crystals, rows):
    amounts = np.rint(composition_vectors(crystals) * crystals.n_atoms[:, None]).astype(int)
    return write_formulas(amounts // np.gcd.reduce(amounts, axis=1)[:, None])


def test_one_element_is_exchanged_and_the_rest_stays(materials, parents):
    crystals, rows = substitute_elements(materials, parents, 200, elements=ELEMENTS)
    before = materials.crystals.take(rows)
    np.testing.assert_array_equal(crystals.frac_coords, before.frac_coords)
    np.testing.assert_array_equal(crystals.lattices, before.lattices)
    for index in range(len(crystals)):
        old, new = before.numbers[before.atoms(index)], crystals.numbers[crystals.atoms(index)]
        changed = {(int(a), int(b)) for a, b in zip(old, new, strict=True) if a != b}
        assert len(changed) == 1
    for parent, formula in zip(
        materials.frame["formula"].iloc[rows], _formulas(materials, crystals, rows), strict=True
    ):
        assert anonymise_formula(formula) == anonymise_formula(parent)


def test_parents_come_in_their_order_and_elements_by_nearness(materials, parents):
    _, rows = substitute_elements(materials, parents, 1000, elements=ELEMENTS)
    places = [parents.tolist().index(row) for row in rows]
    assert places == sorted(places)
    few, first = substitute_elements(
        materials, parents[:1], 1, elements=("B", "Fe", "Zr", "C", "Ti")
    )
    assert len(few) == 1
    assert first.tolist() == parents[:1].tolist()
    (formula,) = _formulas(materials, few, first)
    assert "Zr" in formula or "C" in formula  # not iron for titanium


def test_what_is_known_or_was_given_before_is_left_out(materials, parents):
    crystals, rows = substitute_elements(materials, parents, 1000, elements=ELEMENTS)
    formulas = _formulas(materials, crystals, rows)
    groups = materials.frame["space_group"].iloc[rows]
    assert len(set(zip(formulas, groups, strict=True))) == len(formulas)
    again, rows = substitute_elements(
        materials, parents, 1000, elements=ELEMENTS, known=formulas[:3]
    )
    assert not set(_formulas(materials, again, rows)) & set(formulas[:3])


def test_no_more_than_asked_for_and_no_more_than_there_are(materials, parents):
    assert len(substitute_elements(materials, parents, 5, elements=ELEMENTS)[0]) == 5
    assert len(substitute_elements(materials, parents, 0, elements=ELEMENTS)[0]) == 0
    crystals, _ = substitute_elements(materials, parents[:1], 10_000, elements=ELEMENTS)
    assert 0 < len(crystals) <= 2 * N_SUBSTITUTES
