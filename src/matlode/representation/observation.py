"""A measured pattern as search-match compares it: square roots of intensity, at several widths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.representation.diffraction import DiffractionSettings
from matlode.representation.pattern_grid import GriddedPattern, to_grid
from matlode.representation.patterns import MeasuredPattern

MATCH_SETTINGS: Final = DiffractionSettings(
    two_theta_min_deg=3.0, two_theta_max_deg=90.0, n_points=2176, peak_sigma_deg=0.1
)
"""What is compared: Cu Kα, d from 1.09 to 29 Å, steps of 0.04°."""
LOG_Q_STEP: Final = 0.0015
"""Bins of the first stage: 0.15 % of the lattice constants."""
_HALF_ANGLES = np.radians(
    np.array([MATCH_SETTINGS.two_theta_min_deg, MATCH_SETTINGS.two_theta_max_deg]) / 2
)
_FIRST_LOG_Q, _LAST_LOG_Q = np.log(np.sin(_HALF_ANGLES)).tolist()
N_LOG_Q: Final = int((_LAST_LOG_Q - _FIRST_LOG_Q) / LOG_Q_STEP) + 1
POINTS_PER_SIGMA: Final = 3.0
"""Of the grid of a view: broad profiles are drawn on few points."""


@dataclass(frozen=True)
class View:
    """An observed profile at one width."""

    start: float
    """First point of the grid: degrees 2θ, or ln Q but for a constant."""
    step: float
    """Of the grid."""
    sigma: float
    """Standard deviation of its peaks, in the grid's unit."""
    roots: NDArray[np.float64]
    """(n,), square roots of intensity, of length 1; 0 where nothing was measured."""
    seen: NDArray[np.float64]
    """(n,), 1 where it was measured, else 0."""


@dataclass(frozen=True)
class Observation:
    """A measured pattern without background, at the wavelength of MATCH_SETTINGS."""

    gridded: GriddedPattern
    source: str

    @classmethod
    def of(cls, pattern: MeasuredPattern) -> Observation:
        """Raises as ``to_grid`` does."""
        return cls(to_grid(pattern, MATCH_SETTINGS), pattern.source)

    @property
    def limits_deg(self) -> tuple[float, float]:
        """First and last 2θ that were measured."""
        seen = MATCH_SETTINGS.grid[self.gridded.measured]
        return float(seen[0]), float(seen[-1])

    def without(self, profile: NDArray[np.floating]) -> Observation:
        """What is left when a calculated profile (n_points,) is taken off; both are parts of the
        whole observed intensity."""
        observed = self.gridded.intensity
        left = (observed - profile * observed.sum()).clip(min=0)
        return replace(self, gridded=replace(self.gridded, intensity=left))

    @property
    def own_sigma_deg(self) -> float:
        """Width of its peaks."""
        return self.gridded.peak_sigma_deg or MATCH_SETTINGS.peak_sigma_deg

    def as_it_is(self) -> View:
        """On the grid of MATCH_SETTINGS."""
        seen = self.gridded.measured.astype(float)
        roots = _of_length_1(np.sqrt(self.gridded.intensity))
        fine = MATCH_SETTINGS
        return View(fine.two_theta_min_deg, fine.step, self.own_sigma_deg, roots, seen)

    def view(self, sigma_deg: float) -> View:
        """The profile with its peaks broadened to ``sigma_deg``, unless they are broader, on a
        grid that is as coarse as this allows."""
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
        return View(float(fine[0]), step, sigma_deg, _of_length_1(roots), seen.astype(float))

    def on_log_q(self, sigma: float, margin: int) -> View:
        """Intensity in N_LOG_Q bins even in ln Q, and ``margin`` more on both sides; ``sigma``,
        in ln Q, is what the profile is broadened by."""
        from scipy.ndimage import gaussian_filter1d

        fine = np.log(np.sin(np.radians(MATCH_SETTINGS.grid / 2)))
        middle = _FIRST_LOG_Q + LOG_Q_STEP * np.arange(-margin, N_LOG_Q + margin)
        edges = np.append(middle, middle[-1] + LOG_Q_STEP) - LOG_Q_STEP / 2
        # the area of a step of 2θ is spread evenly over what it is in ln Q
        borders = np.concatenate([fine[:1], (fine[1:] + fine[:-1]) / 2, fine[-1:]])
        area = np.concatenate([[0.0], np.cumsum(self.gridded.intensity)])
        sums = np.diff(np.interp(edges, borders, area))
        measured = self.gridded.measured.astype(float)
        seen = np.interp(middle, fine, measured, left=0, right=0) > 0.5
        broad = gaussian_filter1d(sums, sigma / LOG_Q_STEP, mode="constant")
        roots = np.sqrt(broad.clip(min=0)) * seen
        return View(_FIRST_LOG_Q, LOG_Q_STEP, sigma, _of_length_1(roots), seen.astype(float))


def _of_length_1(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / max(float(np.linalg.norm(values)), 1e-12)


def log_q_bins(two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles as positions in the bins of ``Observation.on_log_q`` without margin."""
    return (np.log(np.sin(np.radians(two_theta_deg / 2))) - _FIRST_LOG_Q) / LOG_Q_STEP
