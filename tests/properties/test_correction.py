"""Answers are learned where they were given, and fade to what all materials share."""

import numpy as np

from matlode.latent.space import LatentSpace
from matlode.properties.correction import CORRECTED, Correction
from matlode.properties.endpoints import Estimates
from matlode.properties.models import PropertyModels

RNG = np.random.default_rng(0)


def compositions(n, elements=(5, 6, 7, 22, 40, 74)):
    found = np.zeros((n, 100))
    for row in found:
        chosen = RNG.choice(elements, size=2, replace=False) - 1
        row[chosen] = RNG.dirichlet([2.0, 2.0])
    return found


COMPUTED = compositions(12)


def estimates(n):
    value = RNG.uniform(100, 400, n)
    return {name: Estimates(value, 0.8 * value, 1.3 * value) for name in (*CORRECTED, "band_gap")}


def corrected(log_ratios, x, given):
    correction = Correction(COMPUTED, dict.fromkeys(CORRECTED, np.asarray(log_ratios)))
    return correction.apply(given, x)


def test_without_answers_nothing_changes():
    given = estimates(4)
    nothing = Correction(np.zeros((0, 100)), {name: np.zeros(0) for name in CORRECTED})
    assert nothing.apply(given, compositions(4)) == given


def test_models_that_were_right_stay_as_they_are():
    given = estimates(5)
    for name, found in corrected(np.zeros(12), compositions(5), given).items():
        np.testing.assert_allclose(found.value, given[name].value)


def test_errors_no_larger_than_a_potentials_own_teach_nothing():
    given = estimates(12)
    found = corrected(RNG.normal(0, 0.03, 12), COMPUTED, given)["bulk_modulus"]
    np.testing.assert_array_equal(found.value, given["bulk_modulus"].value)


def test_what_was_computed_is_believed():
    ratios = RNG.normal(0, 0.3, 12)
    given = estimates(12)
    found = corrected(ratios, COMPUTED, given)["bulk_modulus"]
    left = np.log(found.value / given["bulk_modulus"].value) - ratios
    assert np.abs(left).mean() < 0.7 * np.abs(ratios).mean()


def test_far_away_only_the_common_part_is_corrected():
    far = compositions(6, elements=(3, 11, 19, 37, 55, 87))
    given = estimates(6)
    found = corrected(np.full(12, -0.3), far, given)["bulk_modulus"]
    factor = np.log(found.value / given["bulk_modulus"].value)
    assert (factor < -0.15).all()
    assert (factor > -0.3).all()


def test_intervals_move_with_their_values_and_others_stay():
    given = estimates(5)
    found = corrected(RNG.normal(-0.1, 0.2, 12), compositions(5), given)
    for name in CORRECTED:
        factor = found[name].value / given[name].value
        np.testing.assert_allclose(found[name].low, given[name].low * factor)
        np.testing.assert_allclose(found[name].high, given[name].high * factor)
    assert found["band_gap"] == given["band_gap"]


def test_a_folder_of_models_brings_its_correction(tmp_path):
    space = LatentSpace.load()
    plain = PropertyModels.load(lambda: space)
    assert plain.correction is None
    Correction(COMPUTED, {"bulk_modulus": np.full(12, -0.2)}).save(tmp_path, {"rounds": 1})
    corrected = PropertyModels.load(lambda: space, tmp_path)
    patterns = np.zeros((12, 1601), dtype=np.float32)
    patterns[:, 500] = 1.0
    names = ("bulk_modulus", "shear_modulus", "youngs_modulus", "band_gap")
    before = plain.predict(COMPUTED, patterns, case="simulated", names=names)
    after = corrected.predict(COMPUTED, patterns, case="simulated", names=names)
    ratio = after["bulk_modulus"].value / before["bulk_modulus"].value
    np.testing.assert_allclose(np.log(ratio), -0.2, atol=0.03)
    # what follows from the moduli follows
    assert (after["youngs_modulus"].value < before["youngs_modulus"].value).all()
    np.testing.assert_array_equal(after["band_gap"].value, before["band_gap"].value)
