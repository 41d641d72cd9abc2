from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from matlode.artefacts import save_artefact
from matlode.data.crystals import pack_crystals
from matlode.data.formulas import canonicalise_formula
from matlode.data.splits import TRAIN, split_by_formula
from matlode.errors import ArtefactError
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.known_patterns import KnownPatterns
from matlode.screening.novelty import FORMULA_FILTER, FormulaFilter, KnownMaterials
from matlode.testing import ROUND_OFF, diamond, perovskite, rock_salt, rutile
from tests.strategies import formula_texts

MAX_FALSE_POSITIVES = 0.003

formulas = st.lists(formula_texts().map(canonicalise_formula), max_size=30)


def numbered(letter: str, n: int) -> list[str]:
    return [f"{letter}{i}O{j}" for i in range(1, n + 1) for j in range(1, 101)]


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
def trained_on() -> FormulaFilter:
    return FormulaFilter.build(["ClNa", "O2Ti", "O3SrTi", "Si", "CuO", "Fe2O3"])


@given(formulas)
def test_nothing_that_was_put_in_is_ever_missed(members):
    known = FormulaFilter.build(members)
    assert all(formula in known for formula in members)
    assert known.n_formulas == len(set(members))


@pytest.mark.parametrize("n", [1, 10, 100])
def test_few_that_were_not_put_in_are_found(n):
    known = FormulaFilter.build(numbered("A", n))
    assert all(formula in known for formula in numbered("A", n))
    share = np.mean([formula in known for formula in numbered("B", 200)])
    assert share < MAX_FALSE_POSITIVES


def test_real_formulas_are_told_from_their_neighbours(starter):
    real = set(starter.frame["formula"])
    known = FormulaFilter.build(real)
    assert all(formula in known for formula in real)
    doubled = {canonicalise_formula(f"({formula})7H3") for formula in real} - real
    assert np.mean([formula in known for formula in doubled]) < MAX_FALSE_POSITIVES


def test_a_filter_of_nothing_knows_nothing():
    empty = FormulaFilter.build([])
    assert not any(formula in empty for formula in numbered("A", 10))


@given(formulas, st.randoms(use_true_random=False))
def test_order_and_repetition_of_the_members_do_not_matter(members, random):
    again = members * 2
    random.shuffle(again)
    assert_array_equal(FormulaFilter.build(again).bits, FormulaFilter.build(members).bits)


@pytest.mark.parametrize("n", [1, 5, 30])
def test_a_saved_filter_answers_alike(tmp_path, n):
    members, others = numbered("A", n)[: 7 * n], numbered("B", n)
    known = FormulaFilter.build(members)
    known.save(tmp_path, {"trained_on": "a sample"})
    loaded = FormulaFilter.load(tmp_path)
    assert loaded.n_formulas == known.n_formulas
    for formula in [*members, *others]:
        assert (formula in loaded) == (formula in known)


@pytest.mark.parametrize("n_formulas", [0, 10**30])
def test_a_filter_of_another_size_is_refused(tmp_path, n_formulas):
    bits = FormulaFilter.build(["ClNa", "O2Ti", "CSi", "CTi", "NTi"]).bits
    header = {"n_formulas": n_formulas}
    save_artefact(tmp_path / FORMULA_FILTER, kind="filter", header=header, arrays={"bits": bits})
    with pytest.raises(ArtefactError, match="need"):
        FormulaFilter.load(tmp_path)


def test_another_artefact_is_refused(tmp_path):
    save_artefact(tmp_path / FORMULA_FILTER, kind="bands", header={}, arrays={})
    with pytest.raises(ArtefactError, match='is a "bands", expected a "filter"'):
        FormulaFilter.load(tmp_path)


def test_known_formulas_are_named_with_their_source(known, trained_on):
    (verdict,) = known.judge(
        ["O2Ti"], compute_formula_vectors(["O2Ti"]), [136], trained_on=trained_on
    )
    assert not verdict.passed
    assert (verdict.rule, verdict.value, verdict.limit) == ("novel", "known", "novel")
    assert verdict.reason == "known: TiO2 (mp-2) in space group 136"


def test_a_known_formula_is_named_though_another_composition_is_nearer(known, trained_on):
    # decoded fractions only round to the formula
    decoded = compute_formula_vectors(["O3SrTi"])
    (verdict,) = known.judge(["O2Ti"], decoded, [136], trained_on=trained_on)
    assert verdict.reason == "known: TiO2 (mp-2) in space group 136"


def test_formulas_that_were_trained_on_are_known_without_a_structure(known, trained_on):
    (verdict,) = known.judge(["CuO"], compute_formula_vectors(["CuO"]), [15], trained_on=trained_on)
    assert not verdict.passed
    assert verdict.reason == "known: among the formulas that the models were trained on"


def test_new_formulas_are_placed_beside_the_nearest_known_one(known, trained_on):
    verdicts = known.judge(
        ["O3SrZr", "Ge"],
        compute_formula_vectors(["O3SrZr", "Ge"]),
        [221, 227],
        trained_on=trained_on,
    )
    assert [verdict.passed for verdict in verdicts] == [True, True]
    assert verdicts[0].reason == (
        "not among 4 formulas at hand and 6 trained on; nearest SrTiO3 (mp-3), "
        "0.20 of the atoms differ; ABC3 in space group 221 as SrTiO3 (mp-3)"
    )
    assert verdicts[1].reason.endswith(
        "1.00 of the atoms differ; A in space group 227 as Si (mp-4)"
    )


def test_what_is_not_at_hand_is_placed_beside_the_nearest_pattern(known, trained_on):
    crystals = [rock_salt(), rutile(), perovskite(), diamond()]
    aware = replace(known, patterns=KnownPatterns(pack_crystals(crystals)))
    formulas = ["BrNa", "ClNa", "O2Ti"]
    patterns = simulate_patterns([rock_salt(a_angstrom=5.76), rock_salt(), rutile()])
    new, salt, polymorph = aware.judge(
        formulas, compute_formula_vectors(formulas), [225] * 3, patterns, trained_on=trained_on
    )
    assert new.reason.endswith(
        "nearest pattern: NaCl (mp-1), cosine 1.00 with a lattice 2 % larger"
    )
    assert salt.reason == "known: NaCl (mp-1) in space group 225"
    assert polymorph.reason.endswith("not in 225; nearest pattern: TiO2 (mp-2), cosine 1.00")


def test_a_known_formula_in_another_space_group_is_a_polymorph(known, trained_on):
    (verdict,) = known.judge(
        ["O2Ti"], compute_formula_vectors(["O2Ti"]), [141], trained_on=trained_on
    )
    assert (verdict.passed, verdict.value) == (False, "new polymorph")
    assert verdict.reason == "known in space group 136 (TiO2 (mp-2)), not in 141"


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


def test_the_filter_that_ships_knows_the_training_formulas(starter):
    """Its bits were set by another process: the hash functions are part of the format."""
    formulas = starter.frame["formula"].to_numpy()
    shipped = FormulaFilter.load()
    assert all(formula in shipped for formula in formulas[split_by_formula(formulas) == TRAIN])
