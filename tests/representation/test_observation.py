"""Noise is shrunk, peaks stay, and a pattern without peaks says so."""

import numpy as np
import pytest

from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.representation.observation import Observation, clean_pattern
from matlode.representation.patterns import MeasuredPattern
from matlode.testing import rutile

GRID = STANDARD_SETTINGS.grid


def count(expected, seed=0):
    return MeasuredPattern(
        two_theta_deg=GRID,
        intensity=np.random.default_rng(seed).poisson(expected).astype(float),
        sigma=None,
        wavelength_angstrom=STANDARD_SETTINGS.wavelength_angstrom,
        source="made",
    )


@pytest.fixture(scope="module")
def curve():
    return simulate_patterns([rutile()])[0].astype(float)


def test_noise_is_suppressed_and_peaks_are_kept(curve):
    clean = clean_pattern(count(5000 * curve + 400))
    empty = curve < 1e-6
    assert np.mean(clean.intensity[empty] > 0) < 0.1
    strong = curve > 0.4
    assert clean.intensity[strong] == pytest.approx(curve[strong] / curve.max(), abs=0.1)


def test_the_estimated_noise_is_that_of_the_counts(curve):
    found = clean_pattern(count(5000 * curve + 400))
    highest = 5000  # the strongest peak above the background
    assert np.median(found.noise) == pytest.approx(np.sqrt(400) / highest, rel=0.3)


def test_standard_deviations_of_the_file_are_used(curve):
    pattern = count(400 * curve + 400)
    given = MeasuredPattern(**{**vars(pattern), "sigma": np.full(len(GRID), 5.0)})
    assert np.median(clean_pattern(given).noise) < np.median(clean_pattern(pattern).noise)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_peaks_are_told_from_noise(curve, seed):
    assert Observation.of(count(2000 * curve + 100, seed)).has_peaks
    assert not Observation.of(count(np.full(len(GRID), 200.0), seed)).has_peaks
