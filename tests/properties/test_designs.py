"""Intervals of designs are widened by the errors of earlier ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matlode.properties import designs as module
from matlode.properties.designs import Designs, scale_errors, widen_intervals
from matlode.properties.endpoints import ENDPOINTS, Estimates

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


def test_half_of_the_errors_beyond_the_interval_widen_it():
    errors = np.linspace(0, 3, 99)  # of 100, the 90th is 2.72
    found = Designs({"bulk_modulus": errors}).widen({"bulk_modulus": around(100, 80, 125)})
    widened = found["bulk_modulus"]
    assert widened.value == 100
    assert np.log(widened.high / 100) == pytest.approx(errors[89] * np.log(1.25))


def test_intervals_never_shrink_and_few_errors_change_nothing():
    given_ = {"bulk_modulus": around(100, 80, 125), "band_gap": around(1, 0, 2)}
    for errors in (np.full(99, 0.1), np.full(8, 5.0)):
        found = Designs({"bulk_modulus": errors}).widen(given_)
        for name, estimates in found.items():
            np.testing.assert_allclose(estimates.low, given_[name].low)
            np.testing.assert_allclose(estimates.high, given_[name].high)


def test_they_serve_the_network_whose_errors_they_are(tmp_path, monkeypatch):
    designs = Designs({"bulk_modulus": np.arange(20.0)})
    designs.save(tmp_path, {}, built_on=module.hash_network(None))
    loaded = Designs.load(tmp_path)
    np.testing.assert_array_equal(loaded.errors["bulk_modulus"], np.arange(20.0))
    monkeypatch.setattr(module, "hash_network", lambda folder: "another network")
    assert Designs.load(tmp_path) is None
