"""Kα2 lines are removed where there are any, and patterns without them stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from matlode.representation.kalpha2 import RATIO, find_anode, strip_kalpha2
from matlode.representation.patterns import MeasuredPattern
from matlode.representation.radiation import find_wavelength

ALPHA1, ALPHA2 = find_wavelength("CuKa1"), find_wavelength("CuKa2")
PEAKS_DEG = (25.0, 44.0, 63.0, 82.0)


def peaks(two_theta_deg, wavelength):
    """Gaussian peaks whose Kα1 is at PEAKS_DEG."""
    sines = np.sin(np.radians(np.array(PEAKS_DEG) / 2)) * wavelength / ALPHA1
    centres = 2 * np.degrees(np.arcsin(sines))
    return sum(np.exp(-0.5 * ((two_theta_deg - c) / 0.04) ** 2) for c in centres)


@pytest.fixture
def alpha1_only():
    x = np.arange(10, 90, 0.02)
    noise = np.random.default_rng(0).normal(0, 1, len(x))
    return MeasuredPattern(
        two_theta_deg=x, intensity=1000 * peaks(x, ALPHA1) + 50 + noise, sigma=None,
        wavelength_angstrom=ALPHA1, source="made",
    )  # fmt: skip


@pytest.mark.parametrize("wavelength", [ALPHA1, find_wavelength("CuKa")])
def test_the_doublet_becomes_its_first_line(alpha1_only, wavelength):
    x = alpha1_only.two_theta_deg
    both = alpha1_only.intensity + RATIO * 1000 * peaks(x, ALPHA2)
    stripped = strip_kalpha2(replace(alpha1_only, intensity=both, wavelength_angstrom=wavelength))
    assert stripped.wavelength_angstrom == pytest.approx(ALPHA1, rel=1e-6)
    assert "Kα2" in stripped.notes[-1]
    # the background loses the share of Kα2, too
    left = stripped.intensity - 50 / (1 + RATIO) - 1000 * peaks(x, ALPHA1)
    assert np.abs(left).max() < 20


def test_a_pattern_of_one_line_is_not_changed(alpha1_only):
    assert strip_kalpha2(alpha1_only) is alpha1_only


def test_peaks_wider_than_the_doublet_are_not_changed(alpha1_only):
    wide = gaussian_filter1d(alpha1_only.intensity, 10)
    pattern = replace(alpha1_only, intensity=wide)
    assert strip_kalpha2(pattern) is pattern


def test_wavelengths_of_no_anode_are_not_changed(alpha1_only):
    synchrotron = replace(alpha1_only, wavelength_angstrom=0.4139)
    assert strip_kalpha2(synchrotron) is synchrotron


@pytest.mark.parametrize(
    ("wavelength", "anode"),
    [(1.5406, "Cu"), (1.5418, "Cu"), (0.7093, "Mo"), (1.7890, "Co"), (1.0, None)],
)
def test_anodes_are_known_by_their_wavelengths(wavelength, anode):
    assert find_anode(wavelength) == anode
