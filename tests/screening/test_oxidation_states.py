"""Oxidation states: what textbooks say, and what no compound has."""

import pytest

from matlode.data.formulas import canonicalise_formula, parse_formula
from matlode.screening.oxidation_states import MAX_COST, MOST_NEGATIVE, find_nearest_assignment


def assign(formula):
    return find_nearest_assignment(canonicalise_formula(formula))


# textbook oxidation states (Greenwood and Earnshaw, Chemistry of the Elements, 1997)
@pytest.mark.parametrize(
    ("formula", "charges"),
    [
        ("NaCl", {"Na": 1, "Cl": -1}),
        ("TiO2", {"Ti": 4, "O": -2}),
        ("CaTiO3", {"Ca": 2, "Ti": 4, "O": -2}),
        ("LiFePO4", {"Li": 1, "Fe": 2, "P": 5, "O": -2}),
        ("Si3N4", {"Si": 4, "N": -3}),
        ("MgAl2O4", {"Mg": 2, "Al": 3, "O": -2}),
        ("NaClO4", {"Na": 1, "Cl": 7, "O": -2}),
        ("KCuO2", {"K": 1, "Cu": 3, "O": -2}),
        ("LaFeAsO", {"La": 3, "Fe": 2, "As": -3, "O": -2}),
        ("CsPbI3", {"Cs": 1, "Pb": 2, "I": -1}),
        ("NaBH4", {"Na": 1, "B": 3, "H": -1}),
    ],
)
def test_textbook_charges_are_found(formula, charges):
    found = assign(formula)
    assert found.total == 0
    assert dict(found.charges) == charges
    assert found.cost <= MAX_COST


@pytest.mark.parametrize("formula", ["NaCl", "Fe3O4", "Na2Cl", "BaFeNbMnO7", "BaI3N", "UO2"])
def test_the_total_is_the_sum_of_the_charges(formula):
    found = assign(formula)
    amounts = parse_formula(canonicalise_formula(formula))
    total = sum(found.charges[s] * n for s, n in amounts.items())
    assert total == pytest.approx(found.total, abs=1e-9)


@pytest.mark.parametrize("formula", ["BaI3N", "HgSeI3", "AsSI3", "NaN5", "SrB2Cl", "LaO4F", "CF9"])
def test_no_element_is_below_its_most_negative_state_or_oxidised_by_a_weaker_one(formula):
    charges = assign(formula).charges
    assert all(q >= MOST_NEGATIVE[s] for s, q in charges.items() if s in MOST_NEGATIVE)
    ordered = [charges[s] for s in MOST_NEGATIVE if s in charges]
    assert sorted(ordered, key=lambda q: q > 0) == ordered


@pytest.mark.parametrize(
    ("formula", "symbol", "mean"), [("Fe3O4", "Fe", 8 / 3), ("CsTe2O6", "Te", 5.5)]
)
def test_one_element_may_have_two_states(formula, symbol, mean):
    assert assign(formula).charges[symbol] == pytest.approx(mean)


def test_unusual_states_cost_more():
    assert assign("FeO").cost < assign("SrFeO3").cost < assign("AgO").cost


def test_elements_without_states_have_no_assignment():
    assert find_nearest_assignment("HeO") is None
