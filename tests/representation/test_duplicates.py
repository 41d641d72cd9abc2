from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from matlode.data.cells import Cell, reduce_cells
from matlode.data.crystals import Crystals
from matlode.data.formulas import compute_formulas
from matlode.data.symmetry import find_space_group
from matlode.representation import duplicates
from matlode.representation.duplicates import SAME_PATTERN_COSINE, Duplicate, find_duplicates
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
SAME = [{0, 2}, {1, 5, 8}, {3}, {4}, {6}, {7}]


def found_in(crystals: Crystals, *labels, **options) -> list[Duplicate]:
    groups = [find_space_group(crystals, index) for index in range(len(crystals))]
    return find_duplicates(crystals, compute_formulas(crystals), groups, *labels, **options)


def staying(found: list[Duplicate], n: int) -> list[int]:
    dropped = {duplicate.row for duplicate in found}
    assert len(dropped) == len(found)
    return [row for row in range(n) if row not in dropped]


@given(st.permutations(range(len(CRYSTALS))), st.data())
def test_of_equal_rows_the_one_with_most_labels_stays_then_the_earliest(order, data):
    crystals = Crystals.from_structures([CRYSTALS[row] for row in order])
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(order), max_size=len(order)))
    found = found_in(crystals, labels)
    best = {
        max((row for row in range(len(order)) if order[row] in same), key=lambda r: (labels[r], -r))
        for same in SAME
    }
    assert set(staying(found, len(order))) == best
    for duplicate in found:
        assert duplicate.of in best
        assert any({order[duplicate.row], order[duplicate.of]} <= same for same in SAME)
        assert SAME_PATTERN_COSINE <= duplicate.cosine <= 1 + 1e-6


@pytest.mark.parametrize("cell", Cell)
def test_the_choice_of_cell_does_not_matter(cell):
    crystals = reduce_cells(Crystals.from_structures(CRYSTALS), cell)
    assert staying(found_in(crystals), len(CRYSTALS)) == [0, 1, 3, 4, 6, 7]


def test_a_crystal_is_its_own_duplicate_whatever_its_cell(starter):
    some = starter.crystals.take(np.arange(0, len(starter), 100))
    n = len(some)
    twice = Crystals.concatenate([some, reduce_cells(some, Cell.CONVENTIONAL)])
    assert {d.row for d in found_in(twice)} >= set(range(n, 2 * n))


@given(st.integers(1, 12), st.integers(0, 99), st.floats(0.3, 0.999))
def test_no_two_that_stay_are_equal_however_many_are_looked_at_at_once(size, seed, threshold):
    """On random patterns of one group, by the definition, one by one."""
    draw = np.random.default_rng(seed)
    roots = draw.random((24, 4), dtype=np.float32) ** 4
    roots /= np.linalg.norm(roots, axis=1, keepdims=True)
    roots[:2] = 0  # without a pattern
    rows = draw.permutation(24)
    blocks = [(rows[a : a + size], roots[rows[a : a + size]]) for a in range(0, 24, size)]
    found = {d.row: d for d in duplicates._find_equal(blocks, threshold)}
    stay: list[int] = []
    for row in rows:
        equal = [of for of in stay if roots[row] @ roots[of] >= threshold]
        if not equal:
            stay.append(row)
        elif abs(roots[row] @ roots[equal[0]] - threshold) > 1e-5:
            assert found[row].of in equal
    assert sorted({*rows} - set(found)) == sorted(stay)


def test_batches_do_not_matter(monkeypatch):
    crystals = Crystals.from_structures(CRYSTALS)
    whole = found_in(crystals)
    for size in (1, 2, 5):
        monkeypatch.setattr(duplicates, "PATTERNS_AT_ONCE", size)
        assert [(d.row, d.of) for d in found_in(crystals)] == [(d.row, d.of) for d in whole]


def test_a_lower_threshold_finds_more():
    crystals = Crystals.from_structures(CRYSTALS)
    few, many = ({d.row for d in found_in(crystals, threshold=t)} for t in (0.998, 0.1))
    assert few < many


def test_many_equal_ones_take_no_more_memory_than_one(monkeypatch):
    """As a trajectory of a molecular dynamics run would, of one formula and space group."""
    many = Crystals.from_structures([rock_salt()]).take(np.zeros(20_000, int))
    one = duplicates.compute_pattern_roots(many.take([0]))
    monkeypatch.setattr(
        duplicates, "compute_pattern_roots", lambda part: np.repeat(one, len(part), 0)
    )
    tracemalloc.start()
    found = find_duplicates(many, ["ClNa"] * len(many), [225] * len(many))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [d.of for d in found] == [0] * 19_999
    assert peak < 250e6  # all pairs would be 200 million


def test_formula_and_space_group_must_agree():
    crystals = Crystals.from_structures([rock_salt()] * 3)
    (found,) = find_duplicates(crystals, ["A", "A", "B"], [225, 225, 225])
    assert (found.row, found.of) == (1, 0)
    assert find_duplicates(crystals, ["A"] * 3, [1, 2, 3]) == []


def test_crystals_without_a_pattern_are_no_duplicates():
    # einsteinium has no tabulated scattering factor
    strange = Structure(Lattice.cubic(4), ["Es"], [[0, 0, 0]])
    crystals = Crystals.from_structures([strange, strange, rock_salt(), rock_salt()])
    assert [(d.row, d.of) for d in found_in(crystals)] == [(3, 2)]
    assert found_in(crystals.take([0, 1])) == []


def test_a_perovskite_and_a_strained_one_are_two():
    # 0.5 % of strain moves the reflections at 60° by two standard deviations of a peak
    crystals = Crystals.from_structures([perovskite(), perovskite(a_angstrom=3.905 * 1.005)])
    assert found_in(crystals) == []
