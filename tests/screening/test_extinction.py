import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matlode.representation.diffraction import simulate_patterns
from matlode.screening.extinction import FAMILIES, find_extinction_groups, find_indistinguishable
from matlode.testing import FAST_ENGINE, diamond, zinc_blende


def test_every_space_group_is_in_one_extinction_group():
    members = [n for family in FAMILIES for group in find_extinction_groups(family) for n in group]
    assert sorted(members) == list(range(1, 231))


@pytest.mark.parametrize(
    ("number", "others"),
    # International Tables A, 3.1.4: F - - -, P n a -, P 2₁/c, P - - c, P a - (cubic), I 4₁ - a
    [
        (225, (196, 202, 209, 216)),
        (62, (33,)),
        (14, ()),
        (194, (159, 163, 186, 190)),
        (205, ()),
        (88, ()),
        (176, (173, 182)),
    ],
)
def test_groups_of_the_international_tables(number, others):
    assert find_indistinguishable(number) == others


def test_alike_is_mutual():
    for number in range(1, 231):
        for other in find_indistinguishable(number):
            assert number in find_indistinguishable(other)


def test_a_body_centre_is_seen_and_a_missing_centre_of_symmetry_is_not():
    assert 229 not in find_indistinguishable(221)
    assert 216 in find_indistinguishable(225)
    # diamond and zinc blende differ by the condition of the d glide: 002 and 006 appear
    assert 216 not in find_indistinguishable(227)
    carbon, sphalerite = simulate_patterns([diamond("Si"), zinc_blende("AlP", a_angstrom=5.431)])
    two = 2 * np.degrees(np.arcsin(1.54184 / 5.431))
    at = round((two - 10) / 0.05)
    assert carbon[at - 3 : at + 4].max() < FAST_ENGINE
    assert sphalerite[at - 3 : at + 4].max() > 0.001


def test_conditions_hold_for_a_structure_in_a_general_position():
    # P 2₁/c with an atom on a general position: 0k0 with odd k and h0l with odd l are absent
    structure = Structure.from_spacegroup(
        14, Lattice.monoclinic(6.1, 7.3, 8.9, 103.0), ["Si"], [[0.13, 0.29, 0.41]]
    )
    (pattern,) = simulate_patterns([structure])
    for hkl, absent in (((0, 1, 0), True), ((1, 0, 1), True), ((0, 2, 0), False)):
        d = structure.lattice.d_hkl(hkl)
        at = round((2 * np.degrees(np.arcsin(1.54184 / 2 / d)) - 10) / 0.05)
        assert (pattern[at] < 1e-3) == absent, hkl
