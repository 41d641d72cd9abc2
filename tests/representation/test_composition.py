from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
from matlode.data.formulas import (
    atomic_numbers,
    canonicalise_formula,
    compute_formulas,
    parse_formula,
)
from matlode.errors import InputError
from matlode.representation.composition import (
    COMPLEXITY_COST,
    composition_vectors,
    compute_formula_vectors,
    find_integer_amounts,
    find_integer_formulas,
    keep_largest,
    write_formulas,
)
from matlode.testing import ROUND_OFF, perovskite, rock_salt
from tests.strategies import crystals, formula_texts

MAX_EXACT_ATOMS = 20
"""Up to here no simpler formula is near enough to win over the exact one."""


@given(crystals(max_atoms=6), st.randoms(use_true_random=False))
def test_composition_ignores_site_order_and_supercell(structure, random):
    sites = list(structure)
    random.shuffle(sites)
    variants = [structure, Structure.from_sites(sites), structure * (2, 2, 1)]
    once, shuffled, supercell = composition_vectors(variants)
    assert_allclose(shuffled, once, atol=ROUND_OFF)
    assert_allclose(supercell, once, atol=ROUND_OFF)


@given(st.lists(crystals(max_atoms=4), min_size=1, max_size=4))
def test_a_batch_is_its_crystals_one_by_one(structures):
    singles = np.vstack([composition_vectors([structure]) for structure in structures])
    assert_array_equal(composition_vectors(structures), singles)


@given(st.lists(crystals(max_atoms=6), min_size=1, max_size=3))
def test_fractions_are_positive_and_sum_to_one(structures):
    vectors = composition_vectors(structures)
    assert vectors.shape == (len(structures), MAX_ATOMIC_NUMBER)
    assert_allclose(vectors.sum(axis=1), 1, atol=ROUND_OFF)
    for row, structure in zip(vectors, structures, strict=True):
        assert (np.flatnonzero(row) + 1).tolist() == sorted(set(structure.atomic_numbers))


@given(crystals(max_atoms=6))
def test_a_crystal_and_its_formula_have_one_vector(structure):
    formula = compute_formulas(Crystals.from_structures([structure]))
    assert_allclose(
        composition_vectors([structure]), compute_formula_vectors(formula), atol=ROUND_OFF
    )


@given(formula_texts(max_atoms=MAX_EXACT_ATOMS, max_amount=MAX_EXACT_ATOMS))
def test_formula_to_vector_and_back_is_the_identity(text):
    assert find_integer_formulas(compute_formula_vectors([text])) == [canonicalise_formula(text)]


def test_every_short_formula_comes_back():
    symbols = ("H", "O", "Si", "Fe")
    counts = [
        drawn
        for drawn in itertools.product(range(MAX_EXACT_ATOMS + 1), repeat=len(symbols))
        if 0 < sum(drawn) <= MAX_EXACT_ATOMS and math.gcd(*drawn) == 1
    ]
    columns = [atomic_numbers()[symbol] - 1 for symbol in symbols]
    exact = np.zeros((len(counts), MAX_ATOMIC_NUMBER), dtype=int)
    exact[:, columns] = counts
    assert_array_equal(find_integer_amounts(exact / exact.sum(axis=1, keepdims=True)), exact)


@given(st.floats(0.01, 0.99), st.integers(4, 20), st.integers(0, 98))
def test_the_cheapest_formula_of_two_elements_is_taken(share, max_atoms, z):
    vector = np.zeros((1, MAX_ATOMIC_NUMBER))
    vector[0, z : z + 2] = share, 1 - share
    found = find_integer_amounts(vector, max_atoms=max_atoms)[0, z : z + 2]

    def cost(one: int, other: int) -> float:
        n_atoms = one + other
        return abs(one / n_atoms - share) + COMPLEXITY_COST * n_atoms

    every = itertools.product(range(1, max_atoms), repeat=2)
    best = min(cost(*counts) for counts in every if sum(counts) <= max_atoms)
    assert cost(*found) <= best + ROUND_OFF


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=30), st.integers(1, 20))
def test_no_element_is_lost_or_added(weights, max_atoms):
    vector = np.zeros((1, MAX_ATOMIC_NUMBER))
    vector[0, : len(weights)] = np.array(weights) / sum(weights)
    (found,) = find_integer_amounts(vector, max_atoms=max_atoms)
    assert_array_equal(found > 0, vector[0] > 0)
    assert np.gcd.reduce(found) == 1
    assert found.sum() <= max(max_atoms, len(weights))


@given(st.lists(formula_texts(), min_size=1, max_size=4))
def test_amounts_are_written_as_canonical_formulas(texts):
    rows = np.zeros((len(texts), MAX_ATOMIC_NUMBER), dtype=int)
    for row, text in enumerate(texts):
        for symbol, n in parse_formula(text).items():
            rows[row, atomic_numbers()[symbol] - 1] = 2 * n
    assert write_formulas(rows) == [canonicalise_formula(text) for text in texts]


def test_vectors_of_known_crystals():
    salt, titanate = composition_vectors([rock_salt(), perovskite()])
    assert {z + 1: salt[z] for z in np.flatnonzero(salt)} == {11: 0.5, 17: 0.5}
    assert {z + 1: titanate[z] for z in np.flatnonzero(titanate)} == {8: 0.6, 22: 0.2, 38: 0.2}


def test_partial_occupancy_counts_in_part():
    alloy = Structure(Lattice.cubic(4), [{"Cu": 0.5, "Au": 0.25}, "O"], [[0] * 3, [0.5] * 3])
    (vector,) = composition_vectors([alloy])
    assert_allclose(vector[[28, 78, 7]], np.array([0.5, 0.25, 1.0]) / 1.75)


def test_noise_is_read_as_the_simple_formula():
    vector = np.zeros((1, MAX_ATOMIC_NUMBER))
    vector[0, [7, 21]] = 0.6634, 0.3366  # Ti 22, O 8
    assert find_integer_formulas(vector) == ["O2Ti"]


def test_more_elements_than_atoms_get_one_atom_each():
    vector = compute_formula_vectors(["LiBeBCNOF"])
    assert find_integer_formulas(vector, max_atoms=5) == ["BBeCFLiNO"]


def test_what_is_no_formula_is_refused():
    with pytest.raises(InputError, match='"NaCl2-" is not a formula'):
        compute_formula_vectors(["NaCl", "NaCl2-"])


def test_keep_largest_keeps_shares():
    kept = keep_largest(np.array([[0.5, 0.1, 0.4]]), 2)
    np.testing.assert_allclose(kept, [[5 / 9, 0, 4 / 9]])
