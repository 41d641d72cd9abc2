"""Measured patterns for search-match: square roots of intensity at several peak widths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.representation.diffraction import STANDARD_SETTINGS, DiffractionSettings
from matlode.representation.kalpha2 import strip_kalpha2
from matlode.representation.pattern_grid import GriddedPattern, to_grid
from matlode.representation.pattern_peaks import has_peaks
from matlode.representation.patterns import MeasuredPattern

MATCH_SETTINGS: Final = DiffractionSettings(
    two_theta_min_deg=3.0, two_theta_max_deg=90.0, n_points=2176, peak_sigma_deg=0.1
)
"""Compared range: Cu Kα, d from 1.09 to 29 Å, steps of 0.04°."""
LOG_Q_STEP: Final = 0.0015
"""Bin width in the first stage, corresponding to 0.15 % of the lattice constants."""
_HALF_ANGLES = np.radians(
    np.array([MATCH_SETTINGS.two_theta_min_deg, MATCH_SETTINGS.two_theta_max_deg]) / 2
)
_FIRST_LOG_Q, _LAST_LOG_Q = np.log(np.sin(_HALF_ANGLES)).tolist()
N_LOG_Q: Final = int((_LAST_LOG_Q - _FIRST_LOG_Q) / LOG_Q_STEP) + 2
POINTS_PER_SIGMA: Final = 3.0
"""Grid points per standard deviation of the peaks, so that broad profiles need few points."""
SHRINKAGE: Final = 3.0
"""Intensities below this many standard deviations of the noise are set to 0."""
OFFSET_SIGMAS: Final = 2.5
"""Largest error of the background, in standard deviations of the noise."""
OFFSET_WINDOW_DEG: Final = 3.0
"""Width of the window in which this error is estimated."""


@dataclass(frozen=True)
class View:
    """An observed profile at one peak width, on a grid of n points."""

    start: float
    """First point of the grid in degrees 2θ, or in ln Q up to a constant."""
    step: float
    """Step of the grid."""
    sigma: float
    """Standard deviation of the peaks in units of the grid."""
    roots: NDArray[np.float64]
    """(n,), square roots of intensity, with norm 1; 0 where not measured."""
    seen: NDArray[np.float64]
    """(n,), 1 where measured, else 0."""


@dataclass(frozen=True)
class Observation:
    """A measured pattern without background, converted to the wavelength of MATCH_SETTINGS."""

    gridded: GriddedPattern
    source: str
    has_peaks: bool
    """Whether a peak stands above the noise of the measured pattern."""

    @classmethod
    def of(cls, pattern: MeasuredPattern) -> Observation:
        """Convert a measured pattern. Raises the same errors as ``to_grid``."""
        return cls(clean_pattern(pattern, MATCH_SETTINGS), pattern.source, has_peaks(pattern))

    @property
    def limits_deg(self) -> tuple[float, float]:
        """First and last measured 2θ."""
        seen = MATCH_SETTINGS.grid[self.gridded.measured]
        return float(seen[0]), float(seen[-1])

    def without(self, profile: NDArray[np.floating]) -> Observation:
        """Subtract a calculated profile (n_points,), in units of the total observed intensity."""
        observed = self.gridded.intensity
        left = (observed - profile * observed.sum()).clip(min=0)
        return replace(self, gridded=replace(self.gridded, intensity=left))

    @property
    def own_sigma_deg(self) -> float:
        """Standard deviation of the observed peaks in degrees 2θ."""
        return self.gridded.peak_sigma_deg or MATCH_SETTINGS.peak_sigma_deg

    def view_unbroadened(self) -> View:
        """Return the profile on the grid of MATCH_SETTINGS."""
        seen = self.gridded.measured.astype(float)
        roots = _normalise(np.sqrt(self.gridded.intensity))
        fine = MATCH_SETTINGS
        return View(fine.two_theta_min_deg, fine.step, self.own_sigma_deg, roots, seen)

    def view(self, sigma_deg: float) -> View:
        """Return the profile with peaks broadened to ``sigma_deg``, unless they are broader.

        The grid is as coarse as the peak width allows (POINTS_PER_SIGMA).
        """
        from scipy.ndimage import gaussian_filter1d

        fine, measured = MATCH_SETTINGS.grid, self.gridded.measured.astype(float)
        curve, own = self.gridded.intensity, self.own_sigma_deg
        if sigma_deg > own:
            kernel = np.sqrt(sigma_deg**2 - own**2) / MATCH_SETTINGS.step
            curve = gaussian_filter1d(curve, kernel, mode="constant")
        sigma_deg = max(sigma_deg, own)
        step = max(sigma_deg / POINTS_PER_SIGMA, MATCH_SETTINGS.step)
        grid = np.arange(fine[0], fine[-1] + 1e-9, step)
        seen = np.interp(grid, fine, measured) > 0.5
        roots = np.sqrt(np.interp(grid, fine, curve).clip(min=0)) * seen
        return View(float(fine[0]), step, sigma_deg, _normalise(roots), seen.astype(float))

    def bin_log_q(self, sigma: float, margin: int) -> View:
        """Return the intensity in N_LOG_Q bins evenly spaced in ln Q.

        ``margin`` bins are added on both sides. The profile is broadened by ``sigma`` (in ln Q).
        """
        from scipy.ndimage import gaussian_filter1d

        fine = np.log(np.sin(np.radians(MATCH_SETTINGS.grid / 2)))
        middle = _FIRST_LOG_Q + LOG_Q_STEP * np.arange(-margin, N_LOG_Q + margin)
        edges = np.append(middle, middle[-1] + LOG_Q_STEP) - LOG_Q_STEP / 2
        # the intensity of a step in 2θ is distributed evenly over the corresponding range of ln Q
        borders = np.concatenate([fine[:1], (fine[1:] + fine[:-1]) / 2, fine[-1:]])
        area = np.concatenate([[0.0], np.cumsum(self.gridded.intensity)])
        sums = np.diff(np.interp(edges, borders, area))
        measured = self.gridded.measured.astype(float)
        seen = np.interp(middle, fine, measured, left=0, right=0) > 0.5
        broad = gaussian_filter1d(sums, sigma / LOG_Q_STEP, mode="constant")
        roots = np.sqrt(broad.clip(min=0)) * seen
        return View(_FIRST_LOG_Q, LOG_Q_STEP, sigma, _normalise(roots), seen.astype(float))


def clean_pattern(
    pattern: MeasuredPattern, settings: DiffractionSettings = STANDARD_SETTINGS
) -> GriddedPattern:
    """Convert a pattern to the grid of ``settings`` without Kα2 lines, background and noise.

    Raises the same errors as ``to_grid``.
    """
    return _suppress_noise(to_grid(strip_kalpha2(pattern), settings))


def _suppress_noise(gridded: GriddedPattern) -> GriddedPattern:
    """Shrink intensities near the noise towards 0, as square roots make much of them.

    The background runs along the lower edge of the noise: the local median is subtracted, at most
    OFFSET_SIGMAS. The rest is multiplied by the non-negative garrotte (Breiman, Technometrics 37,
    373, 1995).
    """
    from scipy.ndimage import median_filter

    noise = gridded.noise
    middle = median_filter(gridded.intensity, round(OFFSET_WINDOW_DEG / gridded.settings.step))
    observed = gridded.intensity - np.minimum(middle, OFFSET_SIGMAS * noise)
    ratio = SHRINKAGE * noise / observed.clip(min=1e-12)
    return replace(gridded, intensity=observed.clip(min=0) * (1 - ratio**2).clip(min=0))


def _normalise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / max(float(np.linalg.norm(values)), 1e-12)


def convert_to_log_q_bins(two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert angles to positions in the bins of ``Observation.bin_log_q`` without margin."""
    return (np.log(np.sin(np.radians(two_theta_deg / 2))) - _FIRST_LOG_Q) / LOG_Q_STEP
