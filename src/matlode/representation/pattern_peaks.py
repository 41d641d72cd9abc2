"""Whether a measured pattern has any peak above its noise."""

from __future__ import annotations

from typing import Final

import numpy as np

from matlode.errors import InputError
from matlode.representation.patterns import MeasuredPattern

WIDTHS: Final = (1, 3, 9, 27)
"""Widths of the sought peaks in points; each is compared with half as many points on both sides."""
MIN_SIGNIFICANCE: Final = 6.0
"""Height of a peak in standard deviations; of a million points of noise, none has 5."""
NOISE_POINTS: Final = 201
"""Points over which the noise is taken to be alike."""


def require_peaks(pattern: MeasuredPattern) -> MeasuredPattern:
    """Return the pattern. Raises InputError if it has no peaks."""
    if not has_peaks(pattern):
        raise InputError(
            f"{pattern.source}: no peaks above the noise; count longer, or check the file."
        )
    return pattern


def has_peaks(pattern: MeasuredPattern) -> bool:
    """Return whether a group of points lies above both of its sides by more than the noise.

    The noise is measured from the differences of neighbouring points.
    """
    from scipy.ndimage import median_filter

    intensity = pattern.intensity
    if len(intensity) < 3 * WIDTHS[1]:
        return True
    kinks = np.append(np.diff(intensity, 2), [0.0, 0.0])
    # the median of |x| of a normal distribution is 0.6745 σ; x has the variance 6 σ²
    noise = median_filter(abs(kinks), min(NOISE_POINTS, len(kinks))) / (0.6745 * np.sqrt(6))
    floor = max(float(np.median(noise)), 1e-9 * float(np.ptp(intensity)))
    noise = np.maximum(noise, floor / 3)
    sums = np.append(0.0, np.cumsum(intensity))
    for width in WIDTHS:
        if 3 * width > len(intensity):
            break
        boxes = (sums[width:] - sums[:-width]) / width
        middle, left, right = boxes[width:-width], boxes[: -2 * width], boxes[2 * width :]
        heights = middle - np.maximum(left, right)
        at = np.arange(len(heights)) + width + width // 2
        if (heights > MIN_SIGNIFICANCE * np.sqrt(2 / width) * noise[at]).any():
            return True
    return False
