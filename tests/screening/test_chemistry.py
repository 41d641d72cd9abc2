import pytest

from matlode.data.formulas import canonicalise_formula, parse_formula
from matlode.screening.chemistry import BALANCED, UNBALANCED, ChargeNeutral, find_nearest_assignment


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
    ],
)
def test_textbook_charges_are_found(formula, charges):
    assignment = find_nearest_assignment(canonicalise_formula(formula))
    assert assignment.total == 0
    assert dict(assignment.charges) == charges


@pytest.mark.parametrize("formula", ["NaCl", "Fe3O4", "Na2Cl", "BaFeNbMnO7", "OsB2", "UO2"])
def test_the_total_is_the_sum_of_the_charges(formula):
    assignment = find_nearest_assignment(canonicalise_formula(formula))
    amounts = parse_formula(canonicalise_formula(formula))
    total = sum(assignment.charges[s] * n for s, n in amounts.items())
    assert total == pytest.approx(assignment.total, abs=1e-9)


def test_magnetite_has_mixed_valence():
    assignment = find_nearest_assignment("Fe3O4")
    assert assignment.charges["Fe"] == pytest.approx(8 / 3)


@pytest.mark.parametrize(
    ("formula", "grade"),
    [
        ("NaCl", "yes"),
        ("Na2Cl", "no"),
        ("TiAl3", "metallic"),
        ("OsB2", "covalent"),
        ("ReB3", "yes"),
        ("C", "covalent"),
        ("W", "metallic"),
        ("KNa2Cl4", "no"),
    ],
)
def test_grades(formula, grade):
    verdict = ChargeNeutral().grade(canonicalise_formula(formula))
    assert verdict.value == grade
    assert verdict.passed == (grade != "no")


def test_alloys_and_borides_are_explained_not_deleted():
    assert "charges do not apply" in ChargeNeutral().grade("Al3Ti").reason
    assert "need not balance" in ChargeNeutral().grade("B2Os").reason


def test_elements_without_states_have_no_assignment():
    assert find_nearest_assignment("HeO") is None


def test_many_elements_are_no_trouble():
    symbols = ["O", "F", "Cl", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Nb", "Mo", "Ru",
               "Rh", "Ta", "W", "Re", "Os", "Ir", "Pt", "S", "Se", "N", "P"]  # fmt: skip
    formula = canonicalise_formula("".join(symbols))
    # more assignments than 64 bits can count
    assert ChargeNeutral().grade(formula).value in (BALANCED, UNBALANCED)


@pytest.mark.parametrize(
    ("formula", "value", "reason"),
    [
        ("HeO", "no", "an element has no listed oxidation state"),
        ("B6Ca", "covalent", "charges need not balance (nearest assignment"),
        ("ClNa2", "no", "nearest assignment Cl-1 Na+1 has charge +1 per formula"),
    ],
)
def test_why_charges_do_not_balance_is_told(formula, value, reason):
    verdict = ChargeNeutral().grade(formula)
    assert verdict.value == value
    assert reason in verdict.reason
