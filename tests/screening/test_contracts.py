"""Every rule of the standard funnel keeps the contract, on good and on strange candidates."""

from itertools import pairwise

import numpy as np
import pytest

from matlode.data.formulas import canonicalise_formula
from matlode.jobs.screens import load_rules
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.funnel import ledger, screen
from matlode.testing import check_rule, rock_salt, rutile

NAMES = (
    "likely_stable", "sound_distances", "expected_volume", "charge_neutral",
    "solid_at_room_temperature", "novel", "applicable",
)  # fmt: skip
OPTIONAL_NAMES = ("plausible_pattern", "clear_symmetry", "round_trip")


@pytest.fixture(scope="module")
def optional_rules(models, known):
    """The rules on decoded patterns, which apply only if they are selected."""
    chosen = load_rules(models, known, dict.fromkeys(OPTIONAL_NAMES, True))
    return {rule.name: rule for rule in chosen if rule.name in OPTIONAL_NAMES}


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


@pytest.mark.parametrize("name", OPTIONAL_NAMES)
def test_optional_rule_keeps_the_contract(name, candidates, optional_rules):
    assert optional_rules[name].required
    for candidate in candidates:
        check_rule(optional_rules[name], candidate)


def test_salt_passes_and_is_known_noise_does_not(candidates, rules):
    salt, titania, *strange = screen(candidates, rules)
    assert salt.accepted
    assert titania.accepted
    assert not salt.verdict("novel").passed
    assert "NaCl" in salt.verdict("novel").reason
    assert not any(s.accepted for s in strange[:2])
    assert not strange[0].verdict("charge_neutral").passed
    assert not strange[1].verdict("solid_at_room_temperature").passed


def test_noise_is_no_plausible_pattern(candidates, optional_rules):
    salt, _, noise, *_ = optional_rules["plausible_pattern"].check_all(candidates)
    assert salt.passed
    assert not noise.passed


def test_nobody_is_lost_in_the_ledger(candidates, rules):
    screened = screen(candidates, rules)
    rows = ledger(screened, rules)
    assert rows[0]["in"] == len(candidates)
    for before, after in pairwise(rows):
        assert after["in"] == (before["passed"] if before["required"] else before["in"])
    assert rows[-1]["in"] == sum(s.accepted for s in screened)
