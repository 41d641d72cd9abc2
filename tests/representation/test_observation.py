"""What search-match sees of a pattern does not depend on how it was counted."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from matlode.errors import GridMismatchError
from matlode.representation.diffraction import DiffractionSettings, simulate_patterns
from matlode.representation.observation import (
    LOG_Q_STEP,
    MATCH_SETTINGS,
    N_LOG_Q,
    Observation,
    convert_to_log_q_bins,
)
from matlode.representation.patterns import MeasuredPattern
from matlode.testing import rutile

FINE = DiffractionSettings(n_points=4001, peak_sigma_deg=0.08)


@pytest.fixture(scope="module")
def pattern():
    (curve,) = simulate_patterns([rutile()], FINE)
    return MeasuredPattern(
        two_theta_deg=FINE.grid,
        intensity=1000.0 * curve + 20,
        sigma=None,
        wavelength_angstrom=FINE.wavelength_angstrom,
        source="rutile",
    )


def test_views_do_not_depend_on_the_scale_of_intensity(pattern):
    seen = Observation.of(pattern)
    more = Observation.of(replace(pattern, intensity=pattern.intensity * 37))
    for sigma in (0.15, 0.6):
        assert_allclose(more.view(sigma).roots, seen.view(sigma).roots, atol=1e-6)
    assert_allclose(more.bin_log_q(0.004, 5).roots, seen.bin_log_q(0.004, 5).roots, atol=1e-6)


def test_views_are_of_length_1_and_nothing_is_where_nothing_was_measured(pattern):
    seen = Observation.of(pattern)
    for view in (seen.view_unbroadened(), seen.view(0.3), seen.bin_log_q(0.004, 20)):
        assert np.linalg.norm(view.roots) == pytest.approx(1)
        assert not view.roots[view.seen == 0].any()
    assert seen.limits_deg == pytest.approx((10, 90), abs=MATCH_SETTINGS.step)


def test_a_line_is_in_the_bin_of_its_angle(pattern):
    margin = 7
    view = Observation.of(pattern).bin_log_q(0.001, margin)
    strongest = FINE.grid[pattern.intensity.argmax()]
    (there,) = convert_to_log_q_bins(np.array([strongest])) + margin
    around = slice(int(there) - 20, int(there) + 21)
    assert abs(view.roots[around].argmax() - 20) <= 2
    assert len(view.roots) == N_LOG_Q + 2 * margin
    assert view.step == LOG_Q_STEP


def test_what_is_taken_off_is_gone(pattern):
    seen = Observation.of(pattern)
    rest = seen.without(seen.view_unbroadened().roots ** 2)
    assert rest.gridded.intensity.max() < 1e-6


def test_too_little_is_told(pattern):
    few = slice(0, 300)
    short = replace(
        pattern, two_theta_deg=pattern.two_theta_deg[few], intensity=pattern.intensity[few]
    )
    with pytest.raises(GridMismatchError, match="rutile"):
        Observation.of(short)


@pytest.mark.parametrize("sigma_deg", [0.15, 0.25, 0.6])
def test_a_view_is_what_wider_peaks_would_have_given(pattern, sigma_deg):
    view = Observation.of(pattern).view(sigma_deg)
    (curve,) = simulate_patterns([rutile()], replace(FINE, peak_sigma_deg=view.sigma))
    grid = view.start + view.step * np.arange(len(view.roots))
    assert grid[-1] <= MATCH_SETTINGS.two_theta_max_deg < grid[-1] + view.step
    wider = np.sqrt(np.interp(grid, FINE.grid, curve, left=0)) * view.seen
    assert view.roots @ wider / np.linalg.norm(wider) > 0.9995


def test_beyond_what_was_measured_nothing_is_seen_on_either_side(pattern):
    margin = 12
    view = Observation.of(pattern).bin_log_q(0.004, margin)
    assert not view.seen[:margin].any()
    assert not view.seen[-margin:].any()
