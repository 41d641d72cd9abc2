"""Predictions for designs are corrected by the errors of earlier ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matlode.properties import designs as module
from matlode.properties.designs import (
    CHANCES,
    REFERENCE,
    Designs,
    EnergyShift,
    scale_errors,
    widen_intervals,
)
from matlode.properties.endpoints import ENDPOINTS, Estimates
from matlode.properties.forest import LEAF, Forest
from matlode.properties.intervals import compute_conformal_quantile

K, ENERGY = ENDPOINTS["bulk_modulus"], ENDPOINTS["formation_energy"]


def around(value, low, high):
    return Estimates(*(np.array([end], dtype=float) for end in (value, low, high)))


@pytest.mark.parametrize("endpoint", [K, ENERGY])
@given(
    value=st.floats(50, 300), below=st.floats(0.05, 0.5), above=st.floats(0.05, 0.5),
    error=st.floats(-0.4, 0.4), factor=st.floats(1, 3),
)  # fmt: skip
def test_errors_shrink_by_the_factor_that_widens(endpoint, value, below, above, error, factor):
    raw = float(endpoint.to_model(np.array([value]))[0])
    ends = endpoint.from_model(np.array([raw, raw - below, raw + above]))
    estimates = around(*ends)
    truth = endpoint.from_model(np.array([raw + error]))
    before = scale_errors(endpoint, estimates, truth)
    after = scale_errors(endpoint, widen_intervals(endpoint, estimates, factor), truth)
    np.testing.assert_allclose(after, before / factor, rtol=1e-6, atol=1e-9)
    assert (before <= 1) == (estimates.low <= truth <= estimates.high)


CRYSTALS = np.zeros((1, 3))
COMPOSITIONS = np.eye(100)[[25]]


def one_tree(value):
    """A forest that predicts the same value everywhere."""
    return Forest(
        np.array([LEAF], np.int16), np.array([value], np.float32), np.zeros(1, np.int32), 0.0, False
    )


def test_half_of_the_errors_beyond_the_interval_widen_it():
    errors = np.linspace(0, 3, 99)  # of 100, the 90th is 2.72
    given_ = {"bulk_modulus": around(100, 80, 125)}
    widened = Designs({"bulk_modulus": errors}).apply(given_, COMPOSITIONS, CRYSTALS)
    assert widened["bulk_modulus"].value == 100
    high = widened["bulk_modulus"].high
    assert np.log(high / 100) == pytest.approx(errors[89] * np.log(1.25))


def test_intervals_never_shrink_and_few_errors_change_nothing():
    given_ = {"bulk_modulus": around(100, 80, 125), "band_gap": around(1, 0, 2)}
    for errors in (np.full(99, 0.1), np.full(8, 5.0)):
        found = Designs({"bulk_modulus": errors}).apply(given_, COMPOSITIONS, CRYSTALS)
        for name, estimates in found.items():
            np.testing.assert_allclose(estimates.low, given_[name].low)
            np.testing.assert_allclose(estimates.high, given_[name].high)


def predicted():
    return {
        REFERENCE: around(-1, -1.1, -0.9),
        "energy_above_hull": around(0.02, 0, 0.1),
        "hull_probability_50_mev": around(0.9, 0.9, 0.9),
        "hull_probability_100_mev": around(0.95, 0.95, 0.95),
    }


def test_energies_are_shifted_and_chances_follow():
    errors = np.linspace(-1.5, 1.5, 199)
    shift = EnergyShift(one_tree(0.25), errors)
    found = Designs({}, shift).apply(predicted(), COMPOSITIONS, CRYSTALS)
    assert found[REFERENCE].value == pytest.approx(-0.75)
    hull = found["energy_above_hull"]
    assert hull.value == pytest.approx(0.27)
    assert hull.low == 0  # and not below
    # the scale is 0.1 eV/atom and half of the shift
    width = compute_conformal_quantile(abs(errors)) * 0.225
    assert hull.high == pytest.approx(0.27 + width)
    near, close = (found[name].value[0] for name in CHANCES)
    assert near == pytest.approx((errors * 0.225 + 0.27 <= 0.05).mean(), abs=0.01)
    assert near < close < 0.5


def test_of_other_estimates_only_those_given_come_back():
    shift = EnergyShift(one_tree(0.0), np.linspace(-1, 1, 99))
    given_ = predicted() | {"band_gap": around(1, 0, 2)}
    del given_["hull_probability_100_mev"]
    found = Designs({}, shift).apply(given_, COMPOSITIONS, CRYSTALS)
    assert found.keys() == given_.keys()
    assert found["band_gap"] is given_["band_gap"]


def test_they_serve_the_network_whose_errors_they_are(tmp_path, monkeypatch):
    shift = EnergyShift(one_tree(0.25), np.linspace(-1, 1, 99))
    designs = Designs({"bulk_modulus": np.arange(20.0)}, shift)
    designs.save(tmp_path, {}, built_on=module.hash_network(None))
    loaded = Designs.load(tmp_path)
    np.testing.assert_array_equal(loaded.errors["bulk_modulus"], np.arange(20.0))
    before, after = (
        one.apply(predicted(), COMPOSITIONS, CRYSTALS)["energy_above_hull"]
        for one in (designs, loaded)
    )
    np.testing.assert_array_equal(before.high, after.high)
    monkeypatch.setattr(module, "hash_network", lambda folder: "another network")
    assert Designs.load(tmp_path) is None
