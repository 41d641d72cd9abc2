"""Rules that judge a crystal: distances, volume, and whether it is a solid at all."""

from dataclasses import replace

import numpy as np
import pytest

from matlode.data.crystals import Crystals
from matlode.data.formulas import canonicalise_formula
from matlode.records import Candidate
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.environments import describe_crystals
from matlode.screening.distances import SoundDistances
from matlode.screening.rule import NOT_CHECKED
from matlode.screening.state import SolidAtRoomTemperature
from matlode.screening.volume import VolumeExpected
from matlode.testing import SMALL_CRYSTALS, check_rule, rock_salt


def make_candidate(formula, crystal=None):
    (composition,) = compute_formula_vectors([formula])
    name = canonicalise_formula(formula)
    groups = np.ones(230) / 230
    return Candidate(name, composition, np.ones(3), {}, groups, crystal=crystal)


def describe(structure):
    (facts,) = describe_crystals(Crystals.from_structures([structure]))
    return make_candidate(structure.composition.reduced_formula, facts)


@pytest.fixture
def rules(models):
    return SoundDistances(), VolumeExpected(model=models.expected_volume)


@pytest.mark.parametrize("name", SMALL_CRYSTALS)
def test_real_crystals_pass(name, rules):
    for rule in (*rules, SolidAtRoomTemperature()):
        candidate = describe(SMALL_CRYSTALS[name]())
        check_rule(rule, candidate)
        assert rule.check(candidate).passed
        assert rule.required


@pytest.mark.parametrize("factor", [0.5, 0.529177, 1.889726, 2.0])
def test_a_scaled_cell_fails(factor, rules):
    candidate = describe(rock_salt(a_angstrom=5.64 * factor))
    distances, volume = (rule.check(candidate) for rule in rules)
    assert not volume.passed
    assert f"{candidate.crystal.volume_per_atom_a3:.1f} Å³/atom; " in volume.reason
    assert not distances.passed or factor > 1


def test_limits_are_settings(rules):
    distances, volume = rules
    candidate = describe(rock_salt(a_angstrom=7.5))
    assert not volume.check(candidate).passed
    assert replace(volume, tolerance=3.0).check(candidate).passed
    assert not replace(distances, min_ratio=1.5).check(candidate).passed


def test_a_formula_with_a_pattern_alone_is_not_judged(rules):
    for rule in rules:
        check_rule(rule, make_candidate("NaCl"))
        assert rule.check(make_candidate("NaCl")).passed
        assert rule.check(make_candidate("NaCl")).value == NOT_CHECKED
    mixed = [make_candidate("NaCl"), describe(rock_salt())]
    assert [v.value == NOT_CHECKED for v in rules[1].check_all(mixed)] == [True, False]
    assert rules[1].check_all([]) == []


def test_a_crystal_states_its_own_space_group():
    assert make_candidate("NaCl").space_group == 1
    assert describe(rock_salt()).space_group == 225


@pytest.mark.parametrize("formula", ["He", "O2", "N2", "Hg", "ArNa", "KrO2", "XeNa"])
def test_gases_and_liquids_fail(formula):
    assert not SolidAtRoomTemperature().check(make_candidate(formula)).passed


@pytest.mark.parametrize("formula", ["C", "I", "Cs", "XeF2", "Fe3N", "H2O", "HgS"])
def test_solids_pass(formula):
    assert SolidAtRoomTemperature().check(make_candidate(formula)).passed
