"""Charges of formulas: the textbook's compounds pass, made-up ones fail."""

import pytest

from matlode.data.formulas import canonicalise_formula, parse_formula, write_formula
from matlode.data.splits import CALIBRATION, split_by_formula
from matlode.screening.chemistry import BALANCED, UNBALANCED, ChargeNeutral


@pytest.mark.parametrize(
    ("formula", "grade"),
    [
        ("NaCl", "yes"),
        ("Na2Cl", "no"),
        ("TiAl3", "metallic"),
        ("OsB2", "covalent"),
        ("ReB3", "covalent"),
        ("TiN", "covalent"),
        ("Li3N", "yes"),
        ("Li5N3", "no"),
        ("AlLiN", "no"),
        ("BaN2", "covalent"),
        ("NNa3", "yes"),
        ("BaI3N", "no"),
        ("SrB6N8", "no"),
        ("BaSi7N10", "yes"),
        ("HgSeI3", "no"),
        ("AsSI3", "no"),
        ("FeS2", "covalent"),
        ("CoSb3", "covalent"),
        ("Na2O2", "covalent"),
        ("CsI3", "covalent"),
        ("K2S5", "covalent"),
        ("NaN3", "covalent"),
        ("Pb3O4", "yes"),
        ("Ba3PbO", "metallic"),
        ("Nb3Cl8", "metallic"),
        ("Ti4Cu2O", "metallic"),
        ("LaNi5H7", "metallic"),
        ("NaS4Cl", "no"),
        ("Ti3O", "metallic"),
        ("CaO4", "no"),
        ("K4O", "no"),
        ("Ca2H", "no"),
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


def test_many_elements_are_no_trouble():
    symbols = ["O", "F", "Cl", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Nb", "Mo", "Ru",
               "Rh", "Ta", "W", "Re", "Os", "Ir", "Pt", "S", "Se", "N", "P"]  # fmt: skip
    formula = canonicalise_formula("".join(symbols))
    # more assignments than 64 bits can count
    assert ChargeNeutral().grade(formula).value in (BALANCED, UNBALANCED)


@pytest.mark.parametrize(
    ("formula", "value", "reason"),
    [
        ("HeO", "no", "an element has no listed oxidation state beside these anions"),
        ("B6Ca", "covalent", "bonds of B, charges need not balance"),
        ("ClNa2", "no", "nearest assignment Cl-1 Na+1 has charge +1 per formula"),
    ],
)
def test_why_charges_do_not_balance_is_told(formula, value, reason):
    verdict = ChargeNeutral().grade(formula)
    assert verdict.value == value
    assert reason in verdict.reason


def exchange_amounts(formula):
    """The formula with the amounts of its most positive metal and of O or a halogen exchanged."""
    amounts = dict(parse_formula(formula))
    anion = next((s for s in ("F", "O", "Cl", "Br", "I") if s in amounts), None)
    metal = next((s for s in ("K", "Na", "Li", "Ba", "Ca", "Mg", "Al", "Zn") if s in amounts), None)
    if anion is None or metal is None or amounts[anion] == amounts[metal]:
        return None
    amounts[anion], amounts[metal] = amounts[metal], amounts[anion]
    return write_formula(amounts)


def test_known_formulas_pass_and_exchanged_ones_fail(starter):
    frame = starter.frame
    formulas = sorted(set(frame["formula"][split_by_formula(frame["formula"]) == CALIBRATION]))
    wrong = {exchange_amounts(f) for f in formulas} - {None} - set(frame["formula"])
    passed = [ChargeNeutral().grade(f).passed for f in formulas]
    passed_wrong = [ChargeNeutral().grade(f).passed for f in wrong]
    assert sum(passed) / len(passed) > 0.97
    assert sum(passed_wrong) / len(passed_wrong) < 0.15


@pytest.mark.parametrize("formula", ["AuCs3Xe", "HeNa2", "BaPbXe", "Xe", "KrSn2Sr3", "ArAuCs"])
def test_noble_gases_are_judged_without_an_error(formula):
    assert ChargeNeutral().grade(formula).value in ("yes", "metallic", "covalent", "no")
