from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher

from matlode.data.crystals import pack_crystals
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.formula_lists import (
    COMPUTED,
    MADE,
    TRAINED_ON,
    FormulaList,
    FormulaLists,
)
from matlode.screening.known_patterns import KnownPatterns
from matlode.screening.novelty import KnownMaterials
from matlode.testing import ROUND_OFF, diamond, perovskite, rock_salt, rutile
from tests.strategies import formula_texts


@pytest.fixture
def known() -> KnownMaterials:
    at_hand = ("ClNa", "O2Ti", "O3SrTi", "Si")
    return KnownMaterials(
        at_hand,
        ("mp-1", "mp-2", "mp-3", "mp-4"),
        (225, 136, 221, 227),
        compute_formula_vectors(at_hand),
    )


@pytest.fixture
def lists() -> FormulaLists:
    return FormulaLists((
        FormulaList.build(MADE, "the lists of a laboratory", ["ClNa", "O2Ti", "CuO"]),
        FormulaList.build(COMPUTED, "a database", ["O3SrTi", "Fe2O3"]),
        FormulaList.build(TRAINED_ON, "the training table", ["BN"]),
    ))  # fmt: skip


@pytest.fixture
def judge(known, lists):
    """The verdict on one formula in a space group."""

    def judge(formula, group, **more):
        composition = compute_formula_vectors([formula])
        return known.check_all([formula], composition, [group], lists=lists, **more)[0]

    return judge


def test_a_known_structure_is_named_with_its_source(judge):
    verdict = judge("O2Ti", 136)
    assert not verdict.passed
    assert (verdict.rule, verdict.limit) == ("novel", "in none of the lists")
    assert verdict.value == "known structure"
    assert verdict.reason == "known structure: TiO2 (mp-2) in space group 136"


def test_a_known_formula_is_named_though_another_composition_is_nearer(known, lists):
    # decoded fractions only round to the formula
    decoded = compute_formula_vectors(["O3SrTi"])
    (verdict,) = known.check_all(["O2Ti"], decoded, [136], lists=lists)
    assert verdict.reason == "known structure: TiO2 (mp-2) in space group 136"


def test_made_formulas_in_another_space_group_name_the_known_ones(judge):
    verdict = judge("O2Ti", 141)
    assert (verdict.passed, verdict.value) == (False, "made")
    assert verdict.reason == (
        "made: in the lists of a laboratory (3 formulas); "
        "known in space group 136 (TiO2 (mp-2)), not in 141"
    )


def test_made_formulas_without_a_structure_name_the_nearest_material(judge):
    verdict = judge("CuO", 136)
    assert (verdict.passed, verdict.value) == (False, "made")
    assert verdict.reason == (
        "made: in the lists of a laboratory (3 formulas); nearest TiO2 (mp-2), 0.50 of the atoms "
        "differ; no known material is AB in space group 136"
    )


@pytest.mark.parametrize(
    ("formula", "source"),
    [
        ("O3SrTi", "a database (2 formulas); known in space group 221 (SrTiO3 (mp-3)), not in 2"),
        ("Fe2O3", "a database (2 formulas); nearest"),
        ("BN", "the training table (1 formulas); nearest"),
        ("Si", "the table of known materials (4 formulas); known in space group 227 (Si (mp-4))"),
    ],
)
def test_other_known_formulas_are_computed(judge, formula, source):
    verdict = judge(formula, 2)
    assert (verdict.passed, verdict.value) == (False, "computed")
    assert verdict.reason.startswith(f"computed: in {source}")


def test_formulas_in_no_list_are_placed_beside_the_nearest_known_one(judge):
    perovskite, germanium = judge("O3SrZr", 221), judge("Ge", 227)
    assert perovskite.passed
    assert perovskite.value == germanium.value == "in none of the lists"
    assert perovskite.reason == (
        "in none of the lists (6 formulas); nearest SrTiO3 (mp-3), "
        "0.20 of the atoms differ; ABC3 in space group 221 as SrTiO3 (mp-3)"
    )
    assert germanium.reason.endswith("1.00 of the atoms differ; A in space group 227 as Si (mp-4)")


def test_a_hidden_formula_is_in_none_of_the_lists(known, lists):
    (verdict,) = known.check_all(
        ["CuO"], compute_formula_vectors(["CuO"]), [15], lists=lists.without(["CuO"])
    )
    assert verdict.reason.startswith("in none of the lists (5 formulas); nearest")


CRYSTALS = [rock_salt(), rutile(), perovskite(), diamond()]


def test_other_than_known_structures_are_placed_beside_the_nearest_pattern(known, lists):
    aware = replace(known, patterns=KnownPatterns(pack_crystals(CRYSTALS)))
    formulas = ["BrNa", "ClNa", "O2Ti"]
    patterns = simulate_patterns([rock_salt(a_angstrom=5.76), rock_salt(), rutile()])
    new, salt, made = aware.check_all(
        formulas, compute_formula_vectors(formulas), [225] * 3, patterns, lists=lists
    )
    assert new.reason.endswith(
        "nearest pattern: NaCl (mp-1), cosine 1.00 with a lattice 2 % larger"
    )
    assert salt.reason == "known structure: NaCl (mp-1) in space group 225"
    assert made.reason.endswith("not in 225; nearest pattern: TiO2 (mp-2), cosine 1.00")


def test_only_a_structure_that_fits_the_known_crystal_is_known(known, lists):
    aware = replace(known, patterns=KnownPatterns(pack_crystals(CRYSTALS)))
    elongated = rutile()
    elongated.apply_strain([0.0, 0.0, 0.9])  # space group 136 as before
    larger = rutile() * (2, 1, 1)
    structures = [lambda: larger, lambda: elongated, None]
    same, other, unseen = aware.check_all(
        ["O2Ti"] * 3, compute_formula_vectors(["O2Ti"] * 3), [136] * 3,
        lists=lists, structures=structures,
    )  # fmt: skip
    assert same.value == unseen.value == "known structure"
    assert other.value == "made"
    assert other.reason.endswith("known in space group 136 (TiO2 (mp-2)), with another structure")


def test_structures_are_only_compared_with_crystals_of_their_formula_and_space_group(
    known, lists, monkeypatch
):
    aware = replace(known, patterns=KnownPatterns(pack_crystals(CRYSTALS)))
    compared = []
    monkeypatch.setattr(
        StructureMatcher, "fit", lambda self, a, b: compared.append(b.reduced_formula) or True
    )
    formulas, groups = ["ClNa", "O2Ti", "BrNa"], [225, 225, 225]
    aware.check_all(
        formulas, compute_formula_vectors(formulas), groups,
        lists=lists, structures=[rock_salt] * 3,
    )  # fmt: skip
    assert compared == ["NaCl"]


@given(st.lists(formula_texts(), min_size=1, max_size=6), formula_texts())
def test_distance_is_the_share_of_atoms_to_exchange(members, formula):
    compositions = compute_formula_vectors(members)
    known = KnownMaterials(
        tuple(members),
        tuple(members),
        (1,) * len(members),
        compositions,
    )
    (x,) = compute_formula_vectors([formula])
    ((index, distance),) = known.nearest(x[None])
    kept = np.minimum(compositions, x).sum(axis=1)
    assert distance == pytest.approx(1 - kept.max(), abs=ROUND_OFF)
    assert kept[index] == pytest.approx(kept.max(), abs=ROUND_OFF)
    own = known.nearest(compositions)
    assert all(distance == pytest.approx(0, abs=ROUND_OFF) for _, distance in own)
