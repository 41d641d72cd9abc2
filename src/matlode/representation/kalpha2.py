"""Removal of the Kα2 lines from measured powder patterns."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.representation.patterns import MeasuredPattern
from matlode.representation.radiation import find_wavelength

ANODES: Final = ("Cu", "Mo", "Co", "Fe", "Cr", "Ag")
RATIO: Final = 0.5
"""Intensity of Kα2 relative to Kα1, from the numbers of 2p electrons."""
SAME_WAVELENGTH: Final = 5e-4
"""Largest relative difference of a wavelength from Kα1 or the mean of Kα1 and Kα2 of an anode."""
ITERATIONS: Final = 12
"""Rounds of the removal; each leaves half of the remaining Kα2 intensity."""
BASELINE_DEG: Final = 3.0
"""Width of the window whose median is the local background."""
MOST_NEGATIVE: Final = 0.04
"""Largest intensity below the background, relative to that above it, after the removal from a
pattern with Kα2; the removal from a pattern without digs a hole beside every sharp peak."""
WIDEST_PEAK_DEG: Final = 0.3
"""Full width of peaks that hide the two lines; nothing is removed then."""
STRONG_PEAK: Final = 0.25
"""Smallest prominence of the peaks that tell the width, relative to the range of the pattern."""


def strip_kalpha2(pattern: MeasuredPattern) -> MeasuredPattern:
    """Remove the Kα2 lines (Rachinger, J. Sci. Instrum. 25, 254, 1948).

    The pattern is returned as it is if its wavelength is of no known anode, if its peaks are
    wider than the doublet, or if it has no Kα2 lines: instruments with monochromators have none,
    and many files give the wavelength of Kα1 for patterns of both lines.
    """
    anode = find_anode(pattern.wavelength_angstrom)
    if anode is None:
        return pattern
    alpha1, alpha2 = (find_wavelength(f"{anode}Ka{line}") for line in "12")
    # where Kα1 of the reflection is whose Kα2 is at each point
    sines = np.sin(np.radians(pattern.two_theta_deg / 2)) * alpha1 / alpha2
    partners = 2 * np.degrees(np.arcsin(sines))
    total = pattern.intensity
    stripped = total / (1 + RATIO)
    for _ in range(ITERATIONS):
        stripped = total - RATIO * np.interp(partners, pattern.two_theta_deg, stripped)
    if _measure_width(pattern) > WIDEST_PEAK_DEG or not _has_kalpha2(pattern, stripped):
        return pattern
    mean = abs(pattern.wavelength_angstrom / alpha1 - 1) > SAME_WAVELENGTH / 2
    return replace(
        pattern,
        intensity=stripped,
        wavelength_angstrom=alpha1 if mean else pattern.wavelength_angstrom,
        notes=(*pattern.notes, "Kα2 lines removed."),
    )


def find_anode(wavelength_angstrom: float) -> str | None:
    """Symbol of the anode whose Kα1, or mean of Kα1 and Kα2, is a wavelength; None if of none."""
    for anode in ANODES:
        lengths = [find_wavelength(f"{anode}Ka{line}") for line in ("1", "")]
        if min(abs(wavelength_angstrom / one - 1) for one in lengths) < SAME_WAVELENGTH:
            return anode
    return None


def _measure_width(pattern: MeasuredPattern) -> float:
    """Median full width of the strong peaks at half height, in degrees."""
    from scipy.signal import find_peaks, peak_widths

    limit = STRONG_PEAK * np.ptp(pattern.intensity)
    peaks, _ = find_peaks(pattern.intensity, prominence=limit)
    if not len(peaks):
        return 0.0
    step = float(np.median(np.diff(pattern.two_theta_deg)))
    return float(np.median(peak_widths(pattern.intensity, peaks)[0])) * step


def _has_kalpha2(pattern: MeasuredPattern, stripped: NDArray[np.float64]) -> bool:
    from scipy.ndimage import median_filter

    step = float(np.median(np.diff(pattern.two_theta_deg)))
    points = max(3, round(BASELINE_DEG / step))
    raised = stripped - median_filter(stripped, points, mode="nearest")
    limit = 4 * 1.4826 * np.median(abs(raised))
    below = -raised[raised < -limit].sum()
    return bool(below < MOST_NEGATIVE * raised[raised > limit].sum())
