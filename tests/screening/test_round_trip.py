"""Known materials come back from the latent space; noise does not."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from matlode.data.formulas import canonicalise_formula
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.round_trip import RoundTrip
from matlode.testing import check_rule, rock_salt, rutile


@pytest.fixture(scope="module")
def rule(models):
    return RoundTrip(space=partial(getattr, models, "space"))


@pytest.fixture(scope="module")
def candidates(models):
    noise = np.random.default_rng(0).random((1, 1601)).astype(np.float32)
    formulas = [canonicalise_formula(f) for f in ("NaCl", "TiO2", "NaCl")]
    patterns = np.vstack([simulate_patterns([rock_salt(), rutile()]), noise])
    compositions = compute_formula_vectors(formulas)
    return models.predict_candidates(formulas, compositions, patterns, case="simulated")


def test_known_materials_come_back_and_noise_does_not(rule, candidates):
    salt, titania, noise = rule.check_all(candidates)
    assert salt.passed
    assert titania.passed
    assert "reproduces the formula" in salt.reason
    assert not noise.passed
    assert noise.value < salt.value


def test_rule_keeps_the_contract(rule, candidates):
    for candidate in candidates:
        check_rule(rule, candidate)
    assert rule.check_all([]) == []


def test_a_formula_that_comes_back_as_another_does_not_pass(rule, candidates):
    # of more atoms than any formula that the autoencoder has learned
    formula = canonicalise_formula("Na37Cl41Xe17")
    (composition,) = compute_formula_vectors([formula])
    strange = replace(candidates[0], formula=formula, composition=composition)
    (verdict,) = rule.check_all([strange])
    assert not verdict.passed
    assert "reproduces" not in verdict.reason


def test_a_verdict_does_not_depend_on_the_company(rule, candidates):
    for candidate, together in zip(candidates, rule.check_all(candidates), strict=True):
        alone = rule.check(candidate)
        assert together.passed == alone.passed
        assert together.value == pytest.approx(alone.value, abs=1e-4)


def test_as_many_atoms_come_back_as_there_are(rule, models):
    formula = canonicalise_formula("Ca5P3O12F")  # more than the 20 of usual limits
    (candidate,) = models.predict_candidates(
        [formula],
        compute_formula_vectors([formula]),
        simulate_patterns([rutile()]),
        case="simulated",
    )
    assert "reproduces the formula" in rule.check(candidate).reason
