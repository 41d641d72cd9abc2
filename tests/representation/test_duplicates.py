from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from matlode.data.cells import Cell, reduce_cells
from matlode.data.crystals import Crystals
from matlode.data.formulas import reduced_formulas
from matlode.data.structures import space_group_number
from matlode.representation import duplicates
from matlode.representation.duplicates import (
    SAME_PATTERN_COSINE,
    Pair,
    choose_keepers,
    duplicate_pairs,
)
from matlode.testing import diamond, fluorite, perovskite, rock_salt, rutile, zinc_blende

CRYSTALS = [
    rock_salt(),
    rutile(),
    rock_salt() * (1, 2, 1),
    rock_salt(a_angstrom=5.7),
    fluorite("TiO2"),
    rutile().get_primitive_structure() * (1, 1, 2),
    zinc_blende("NaCl"),
    diamond(),
    rutile(u=0.3049),
]
SAME = {frozenset({0, 2}), frozenset({1, 5}), frozenset({1, 8}), frozenset({5, 8})}


def pairs_of(crystals: Crystals, **options) -> list[Pair]:
    groups = [space_group_number(crystals, index) for index in range(len(crystals))]
    return duplicate_pairs(crystals, reduced_formulas(crystals), groups, **options)


def as_sets(pairs: list[Pair], names=range(1000)) -> set[frozenset[int]]:
    return {frozenset({names[pair.first], names[pair.second]}) for pair in pairs}


@given(st.permutations(range(len(CRYSTALS))))
def test_the_order_of_rows_does_not_matter(order):
    crystals = Crystals.from_structures([CRYSTALS[row] for row in order])
    assert as_sets(pairs_of(crystals), order) == SAME


@pytest.mark.parametrize("cell", Cell)
def test_the_choice_of_cell_does_not_matter(cell):
    crystals = reduce_cells(Crystals.from_structures(CRYSTALS), cell)
    assert as_sets(pairs_of(crystals)) == SAME


def test_a_crystal_is_its_own_duplicate_and_the_pair_is_symmetric(starter):
    some = starter.crystals.take(np.arange(0, len(starter), 100))
    n = len(some)
    twice = Crystals.concatenate([some, reduce_cells(some, Cell.CONVENTIONAL)])
    found = as_sets(pairs_of(twice))
    assert {frozenset({row, row + n}) for row in range(n)} <= found


def test_batches_do_not_matter(monkeypatch):
    crystals = Crystals.from_structures(CRYSTALS)
    whole = pairs_of(crystals)
    monkeypatch.setattr(duplicates, "PATTERNS_AT_ONCE", 1)
    assert as_sets(pairs_of(crystals)) == as_sets(whole)


def test_a_lower_threshold_finds_more():
    crystals = Crystals.from_structures(CRYSTALS)
    assert as_sets(pairs_of(crystals)) < as_sets(pairs_of(crystals, threshold=0.1))
    for pair in pairs_of(crystals):
        assert SAME_PATTERN_COSINE <= pair.cosine <= 1 + 1e-6


def test_formula_and_space_group_must_agree():
    crystals = Crystals.from_structures([rock_salt()] * 3)
    assert duplicate_pairs(crystals, ["A", "A", "B"], [225, 225, 225])[0].second == 1
    assert duplicate_pairs(crystals, ["A"] * 3, [1, 2, 3]) == []


def test_crystals_without_a_pattern_are_no_duplicates():
    # einsteinium has no tabulated scattering factor
    strange = Structure(Lattice.cubic(4), ["Es"], [[0, 0, 0]])
    crystals = Crystals.from_structures([strange, strange, rock_salt(), rock_salt()])
    assert as_sets(pairs_of(crystals)) == {frozenset({2, 3})}
    assert pairs_of(crystals.take([0, 1])) == []


@st.composite
def graphs(draw):
    n = draw(st.integers(2, 8))
    edges = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=12))
    pairs = [Pair(a, b, 1.0) for a, b in sorted(edges) if a < b]
    return pairs, np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))


@given(graphs())
def test_what_is_dropped_has_its_equal_among_what_stays(graph):
    pairs, n_labels = graph
    dropped = choose_keepers(pairs, n_labels)
    for row, pair in dropped.items():
        kept = pair.second if pair.first == row else pair.first
        assert kept not in dropped
        assert (n_labels[kept], -kept) > (n_labels[row], -row)
    assert all(pair.first in dropped or pair.second in dropped for pair in pairs)


def test_more_labels_stay_then_the_earlier():
    pairs = [Pair(0, 1, 1.0), Pair(0, 2, 1.0), Pair(1, 2, 1.0)]
    assert set(choose_keepers(pairs, np.array([1, 1, 1]))) == {1, 2}
    assert set(choose_keepers(pairs, np.array([1, 3, 1]))) == {0, 2}


def test_a_perovskite_and_a_strained_one_are_two():
    # 0.5 % of strain moves the reflections at 60° by two standard deviations of a peak
    crystals = Crystals.from_structures([perovskite(), perovskite(a_angstrom=3.905 * 1.005)])
    assert pairs_of(crystals) == []
