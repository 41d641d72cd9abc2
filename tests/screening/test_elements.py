from types import SimpleNamespace

import pytest

from matlode.data.formulas import element_symbols
from matlode.errors import GoalError, InputError
from matlode.jobs.screens import load_rules
from matlode.screening.elements import (
    RADIOACTIVE,
    Abundant,
    Affordable,
    NotRadioactive,
    NotToxic,
    count_notable,
)
from matlode.screening.funnel import OPTIONAL, choose_rules, read_screens


def of(formula):
    return SimpleNamespace(formula=formula)


@pytest.mark.parametrize(
    ("rule", "good", "bad", "culprit"),
    [
        (Abundant(), "CaO3Ti", "AuCu", "Au"),
        (Affordable(), "FeO", "IrO2", "Ir"),
        (NotRadioactive(), "Bi2O3", "O2U", "U"),
        (NotToxic(), "O2Sn", "CdTe", "Cd"),
    ],
)
def test_the_worst_element_decides_and_is_named(rule, good, bad, culprit):
    assert rule.check(of(good)).passed
    verdict = rule.check(of(bad))
    assert not verdict.passed
    assert culprit in verdict.reason


@pytest.mark.parametrize("rule", [Abundant(), Affordable()])
def test_what_nobody_knows_does_not_pass(rule):
    verdict = rule.check(of("FePm"))
    assert not verdict.passed
    assert verdict.reason == "Pm: not known"


def test_limits_are_monotone():
    for formula in ("FeO", "CoO", "AgCl", "IrO2"):
        passed = [Affordable(limit=x).check(of(formula)).passed for x in (0.01, 1, 100, 1e6)]
        assert passed == sorted(passed)
        passed = [Abundant(limit=x).check(of(formula)).passed for x in (1e-5, 1, 100, 1e6)]
        assert passed == sorted(passed, reverse=True)


def test_screens_are_switched_and_set(tmp_path, models, known, rules):
    file = tmp_path / "screens.toml"
    file.write_text(
        "novel = false\nnot_toxic = true\n"
        "abundant = { limit = 10.0, required = true }\nlikely_stable = { min_probability = 0.8 }\n"
    )
    standard = {rule.name: rule for rule in rules}
    assert not standard.keys() & set(OPTIONAL)
    chosen = {rule.name: rule for rule in load_rules(models, known, read_screens(file))}
    assert chosen.keys() == standard.keys() - {"novel"} | {"not_toxic", "abundant"}
    assert (chosen["abundant"].limit, chosen["abundant"].required) == (10.0, True)
    assert chosen["likely_stable"].min_probability == 0.8
    assert not chosen["not_toxic"].required


@pytest.mark.parametrize(
    ("screens", "told"),
    [
        ({"likely_stabel": True}, 'Did you mean "likely_stable"'),
        ({"abundant": {"limits": 3}}, 'unknown setting "limits"'),
        ({"abundant": {"limit": "much"}}, "expected a number"),
        ({"abundant": {"required": 1}}, "expected true or false"),
        ({"abundant": 3}, r"expected true, false or a table of settings \(required, limit\)"),
    ],
)
def test_screens_that_cannot_be_meant_so(rules, screens, told):
    with pytest.raises(GoalError, match=told):
        choose_rules([Abundant(), *rules], screens)


def test_a_file_that_is_not_toml(tmp_path):
    (tmp_path / "x.toml").write_text("= 3")
    with pytest.raises(InputError, match="not a readable TOML"):
        read_screens(tmp_path / "x.toml")


@pytest.mark.parametrize(("formula", "n"), [("NaCl", 0), ("PbO", 1), ("PbHgO2", 2)])
def test_toxic_elements_are_counted_against_none(formula, n):
    verdict = NotToxic().check(of(formula))
    assert (verdict.value, verdict.limit, verdict.passed) == (n, 0, n == 0)


def test_radioactive_elements_are_those_of_pymatgen():
    from pymatgen.core import Element

    assert {s for s in element_symbols() if Element(s).is_radioactive} == RADIOACTIVE


def test_formulas_with_notable_elements_are_counted_once_each():
    counts = count_notable(["CdPb", "PtAg", "O2U", "UPd3", "NaCl"])
    assert (counts.formulas, counts.radioactive, counts.toxic, counts.noble_metals) == (5, 2, 1, 2)
    assert counts.in_words() == (
        "of 5 formulas, 2 contain radioactive elements, 1 toxic elements, 2 noble metals"
    )
    assert count_notable(["NaCl"]).in_words() == ""
