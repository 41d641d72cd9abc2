"""Every rule of the standard funnel keeps the contract, on good and on strange candidates."""

from itertools import pairwise

import numpy as np
import pytest

from matlode.data.formulas import canonicalise_formula
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.funnel import ledger, screen
from matlode.testing import check_rule, rock_salt, rutile

NAMES = (
    "likely_stable", "plausible_pattern", "clear_symmetry", "charge_neutral", "novel", "applicable",
)  # fmt: skip


@pytest.fixture(scope="module")
def candidates(models):
    formulas = [canonicalise_formula(f) for f in ("NaCl", "TiO2", "Na2Cl", "Xe7Rn", "BaFeNbMnO7")]
    noise = np.random.default_rng(0).random((3, 1601)).astype(np.float32)
    patterns = np.vstack(
        [simulate_patterns([rock_salt(), rutile()]), noise / noise.max(1)[:, None]]
    )
    compositions = compute_formula_vectors(formulas)
    return models.predict_candidates(formulas, compositions, patterns, case="simulated")


@pytest.mark.parametrize("index", range(len(NAMES)))
def test_rule_keeps_the_contract(index, candidates, rules):
    assert rules[index].name == NAMES[index]
    for candidate in candidates:
        check_rule(rules[index], candidate)


def test_salt_passes_and_is_known_noise_does_not(candidates, rules):
    salt, titania, *strange = screen(candidates, rules)
    assert salt.accepted
    assert titania.accepted
    assert not salt.verdict("novel").passed
    assert "NaCl" in salt.verdict("novel").reason
    assert not any(s.accepted for s in strange)
    assert not strange[0].verdict("charge_neutral").passed
    assert not strange[0].verdict("plausible_pattern").passed


def test_nobody_is_lost_in_the_ledger(candidates, rules):
    screened = screen(candidates, rules)
    rows = ledger(screened, rules)
    assert rows[0]["in"] == len(candidates)
    for before, after in pairwise(rows):
        assert after["in"] == (before["passed"] if before["required"] else before["in"])
    assert rows[-1]["in"] == sum(s.accepted for s in screened)
