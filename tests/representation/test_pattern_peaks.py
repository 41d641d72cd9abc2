from __future__ import annotations

import numpy as np
import pytest

from matlode.errors import InputError
from matlode.representation.pattern_peaks import has_peaks, require_peaks
from matlode.representation.patterns import MeasuredPattern

POINTS = np.arange(4000)


def pattern_of(intensity: np.ndarray) -> MeasuredPattern:
    return MeasuredPattern(
        two_theta_deg=10 + 0.02 * POINTS,
        intensity=intensity.astype(float),
        sigma=None,
        wavelength_angstrom=1.5406,
        source="made.xy",
    )


@pytest.mark.parametrize("level", [3, 50, 5000])
def test_counting_noise_and_slopes_are_no_peaks_and_peaks_are(level):
    rng = np.random.default_rng(28)
    hump = 1 + 2 * np.exp(-0.5 * ((POINTS - 1500) / 250) ** 2)
    background = level * (1 + 3 * np.exp(-POINTS / 800)) * hump
    peak = 12 * np.sqrt(background[2500]) * np.exp(-0.5 * ((POINTS - 2500) / 4.0) ** 2)
    for _ in range(10):
        assert not has_peaks(pattern_of(rng.poisson(background)))
        assert has_peaks(pattern_of(rng.poisson(background + peak)))
    assert has_peaks(pattern_of(background + peak))


def test_no_peaks_is_the_answer():
    noise = np.random.default_rng(28).poisson(100, len(POINTS))
    with pytest.raises(InputError, match="no peaks above the noise"):
        require_peaks(pattern_of(noise))
