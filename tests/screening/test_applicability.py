from dataclasses import replace

import numpy as np
import pytest

from matlode.properties.applicability import N_QUANTILES, Applicability
from matlode.records import Candidate
from matlode.representation.composition import compute_formula_vectors
from matlode.screening.applicability import Applicable
from matlode.testing import check_rule


@pytest.fixture
def rule():
    pairs = np.full((100, 100), 200)
    pairs[4, 74] = pairs[74, 4] = 3
    pairs[83, 83] = 7
    empty = np.zeros((0, 16))
    quantiles = np.linspace(0, 10, N_QUANTILES)
    return Applicable(
        applicability=Applicability(
            empty, empty, empty, empty, pairs, quantiles, np.array([90_840])
        )
    )


def candidate(formula, distance):
    (composition,) = compute_formula_vectors([formula])
    return Candidate(formula, composition, np.ones(3), {}, np.ones(230) / 230, (), distance)


def test_rule_keeps_the_contract(rule):
    for formula, distance in (("BRe", 2.0), ("Po", np.inf), ("ClNa", 9.95)):
        check_rule(rule, candidate(formula, distance))


def test_only_what_is_further_than_nearly_all_fails(rule):
    assert not rule.required
    passed = [rule.check(candidate("ClNa", d)).passed for d in (0.0, 9.9, 9.91, np.inf, np.nan)]
    assert passed == [True, True, False, False, False]
    assert replace(rule, max_share=0.5).check(candidate("ClNa", 5.1)).limit == 5


def test_reasons_say_which_pair_is_rare_and_who_lies_further_out(rule):
    verdict = rule.check(candidate("BRe", 9.0))
    assert verdict.reason == (
        "10.0% of known materials that the models never saw are further out; its rarest pair of "
        "elements, B and Re, is in 3 of 90,840 training formulas"
    )
    assert rule.check(candidate("O2Po", np.inf)).reason.startswith("the models hardly know Po (7)")
    assert "Si is in 200 of" in rule.check(candidate("Si", 1.0)).reason
    assert "not known" in rule.check(candidate("Si", np.nan)).reason
