import numpy as np
import pytest
from numpy.testing import assert_allclose

from matlode.data.crystals import pack_crystals
from matlode.representation.diffraction import simulate_patterns
from matlode.screening import known_patterns
from matlode.screening.known_patterns import KnownPatterns, compute_fingerprints
from matlode.testing import (
    SINGLE_PRECISION,
    SMALL_CRYSTALS,
    caesium_chloride,
    diamond,
    rock_salt,
    rutile,
)

CRYSTALS = [build() for build in SMALL_CRYSTALS.values()]


@pytest.fixture(scope="module")
def known():
    return KnownPatterns(pack_crystals(CRYSTALS))


def test_a_known_crystal_is_nearest_to_itself(known):
    for row, near in enumerate(known.nearest(simulate_patterns(CRYSTALS))):
        assert (near.row, near.scale) == (row, 1)
        assert near.cosine == pytest.approx(1, abs=SINGLE_PRECISION)


def test_fingerprints_have_length_1_and_no_scale():
    patterns = simulate_patterns(CRYSTALS)
    prints = compute_fingerprints(patterns)
    assert_allclose(np.linalg.norm(prints, axis=1), 1, atol=SINGLE_PRECISION)
    assert_allclose(compute_fingerprints(7 * patterns), prints, atol=SINGLE_PRECISION)
    assert not compute_fingerprints(np.zeros((1, 1601))).any()


@pytest.mark.parametrize("percent", [-4, -2, 2, 4])
def test_a_crystal_of_another_size_is_still_its_kind(known, percent):
    scaled = rock_salt(a_angstrom=5.6402 * (1 + percent / 100))
    (near,) = known.nearest(simulate_patterns([scaled]))
    assert near.row == list(SMALL_CRYSTALS).index("rock_salt")
    assert near.scale == pytest.approx(1 + percent / 100, abs=0.011)
    assert near.cosine > 0.9


def test_the_nearest_does_not_depend_on_the_batch(known):
    patterns = simulate_patterns([rutile(a_angstrom=4.7), diamond("C", a_angstrom=3.567)] * 40)
    together = known.nearest(patterns)
    for pattern, near in zip(patterns[:2], together[:2], strict=True):
        (alone,) = known.nearest(pattern[None])
        assert (alone.row, alone.scale) == (near.row, near.scale)
        assert alone.cosine == pytest.approx(near.cosine, abs=SINGLE_PRECISION)
    assert known.nearest(patterns[:0]) == []


def test_of_equal_patterns_the_first_is_named():
    twice = KnownPatterns(pack_crystals([rutile(), caesium_chloride(), caesium_chloride()]))
    assert twice.nearest(simulate_patterns([caesium_chloride()]))[0].row == 1


def test_crystals_without_a_pattern_are_near_to_nothing():
    tiny = diamond(a_angstrom=0.5)
    known = KnownPatterns(pack_crystals([tiny, rutile()]))
    assert not known.fingerprints[0].any()
    assert known.nearest(simulate_patterns([rutile()]))[0].row == 1


def test_the_nearest_does_not_depend_on_how_many_are_compared_at_once(known, monkeypatch):
    patterns = simulate_patterns(CRYSTALS)
    expected = known.nearest(patterns)
    monkeypatch.setattr(known_patterns, "PATTERNS_AT_ONCE", 3)
    found = known.nearest(patterns)
    assert [(n.row, n.scale) for n in found] == [(n.row, n.scale) for n in expected]
