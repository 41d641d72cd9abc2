"""Conversion of measured powder patterns to the grid of simulated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from matlode.errors import GridMismatchError, InputError, suggest
from matlode.representation.diffraction import (
    FWHM_PER_SIGMA,
    STANDARD_SETTINGS,
    DiffractionSettings,
)
from matlode.representation.patterns import MIN_POINTS, MeasuredPattern
from matlode.representation.radiation import from_q, to_q

Background = Literal["psalsa"]
"""Method of the background subtraction: peaked signal's asymmetric least squares (Oller-Moreno et
al. 2014).

It was the only method of pybaselines that worked for noisy, weak, noise-free and background-free
patterns; arPLS is more accurate with noise, but inaccurate without.
"""

GAP_STEPS: Final = 5
"""Gaps wider than this number of steps count as not measured."""
MIN_COVERED: Final = 1 / 8
"""Smallest fraction of the grid that has to be measured."""
STRONG_PEAK: Final = 0.25
"""Smallest prominence of the peaks that determine the width, relative to the highest point."""
BACKGROUND_SCALE_DEG: Final = 0.9
"""Length scale of the background: wider than peaks, narrower than amorphous humps."""
BACKGROUND_ASYMMETRY: Final = 0.3
"""Weight of points just above the background; that of points below is 0.7."""
PEAK_SIGMAS: Final = 6.0
"""Smallest prominence of peaks in standard deviations of the noise."""
NOISE_WINDOW_DEG: Final = 3.0
"""Width of the window in which the noise is estimated; peaks fill less than half of it."""


@dataclass(frozen=True, kw_only=True)
class GriddedPattern:
    """A measured pattern on the grid of simulated patterns; the strongest point is 1."""

    intensity: NDArray[np.float64]
    """(settings.n_points,), ≥ 0; 0 where not measured."""
    measured: NDArray[np.bool_]
    """(settings.n_points,), whether the point was measured."""
    settings: DiffractionSettings
    """Grid and wavelength."""
    peak_sigma_deg: float | None
    """Standard deviation of the strong peaks on the grid; None if unknown."""
    noise: NDArray[np.float64]
    """(settings.n_points,), standard deviation of the counting noise of ``intensity``."""
    notes: tuple[str, ...] = ()
    """Notes of the measured pattern and of the conversion."""


def to_grid(
    pattern: MeasuredPattern,
    settings: DiffractionSettings = STANDARD_SETTINGS,
    *,
    background: Background | None = "psalsa",
    match_width: bool = True,
    peak_sigma_deg: float | None = None,
) -> GriddedPattern:
    """Convert a pattern to the grid and wavelength of ``settings``; the strongest point is 1.

    Positions are converted through Q. Intensities are scaled such that the areas of peaks,
    without Lorentz and polarisation factors (unpolarised beam, no monochromator), do not change.
    Points are averaged where they are denser than the grid, and interpolated elsewhere; gaps
    wider than ``GAP_STEPS`` steps count as not measured. ``match_width`` broadens peaks to
    ``settings.peak_sigma_deg``. ``peak_sigma_deg`` is the width of the measured peaks; None: the
    median of the strong peaks. Values below the background are set to 0.

    Raises GridMismatchError if less than ``MIN_COVERED`` of the grid was measured, and InputError
    if there is no peak above the background, or for an invalid argument.
    """
    if background not in (None, *get_args(Background)):
        known = suggest(str(background), get_args(Background))
        raise InputError(f'unknown background method "{background}". {known}')
    if settings.axis != "two_theta":
        raise InputError(
            f'cannot convert measured patterns to the axis "{settings.axis}"; expected the axis '
            '2θ ("two_theta").'
        )
    if peak_sigma_deg is not None and peak_sigma_deg < 0:
        raise InputError(f"peak_sigma_deg is {peak_sigma_deg:g}; expected 0 or more.")
    two_theta, intensity, noise = _change_wavelength(pattern, settings.wavelength_angstrom)
    measured = _find_measured(two_theta, settings)
    if measured.mean() < MIN_COVERED:
        raise GridMismatchError(
            f"{pattern.source}: {pattern.two_theta_deg[0]:.2f}..{pattern.two_theta_deg[-1]:.2f}° "
            f"at λ = {pattern.wavelength_angstrom:g} Å covers {measured.mean():.0%} of the grid "
            f"{settings.two_theta_min_deg:g}..{settings.two_theta_max_deg:g}° at "
            f"λ = {settings.wavelength_angstrom:g} Å; expected at least {MIN_COVERED:.1%}. Check "
            "the wavelength, or measure a wider range."
        )
    curve = _resample(two_theta, intensity, settings)
    noise = _resample_noise(two_theta, noise, settings)
    notes = list(pattern.notes)
    stretches = _find_stretches(measured)
    if match_width:
        if peak_sigma_deg is None:
            peak_sigma_deg = _measure_sigma(curve, noise, stretches, settings.step)
        kernel_deg = _find_kernel(peak_sigma_deg, settings, notes)
        curve = _broaden(curve, stretches, kernel_deg / settings.step)
        # sum of the squares of a normalised Gaussian's values
        noise = noise / max(1.0, np.sqrt(2 * np.sqrt(np.pi) * kernel_deg / settings.step))
        if peak_sigma_deg is not None:
            peak_sigma_deg = max(peak_sigma_deg, settings.peak_sigma_deg)
    if background is not None:
        curve = _subtract_background(curve, stretches, settings)
    curve = np.where(measured, curve, 0.0).clip(min=0)
    if curve.max() <= 0:
        raise InputError(
            f"{pattern.source}: no intensity above the background on the grid; check the range "
            "and the wavelength."
        )
    return GriddedPattern(
        intensity=curve / curve.max(),
        measured=measured,
        noise=noise / curve.max(),
        settings=settings,
        peak_sigma_deg=peak_sigma_deg,
        notes=tuple(notes),
    )


def _change_wavelength(
    pattern: MeasuredPattern, wavelength_angstrom: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return 2θ, intensity and its noise as measured with another wavelength."""
    old, noise = pattern.two_theta_deg, _estimate_noise(pattern)
    if pattern.wavelength_angstrom == wavelength_angstrom:
        return old, pattern.intensity, noise
    q = to_q(old, "two_theta", pattern.wavelength_angstrom)
    new = from_q(q, "two_theta", wavelength_angstrom)
    seen = np.isfinite(new) & (old > 0) & (old < 180) & (new < 180)
    old, new = old[seen], new[seen]
    # d(2θ) for a given dQ is proportional to λ / cosθ
    stretch = (wavelength_angstrom * np.cos(np.radians(old / 2))) / (
        pattern.wavelength_angstrom * np.cos(np.radians(new / 2))
    )
    factor = _compute_lp_factor(new) / _compute_lp_factor(old) / stretch
    return new, pattern.intensity[seen] * factor, noise[seen] * factor


def _estimate_noise(pattern: MeasuredPattern) -> NDArray[np.float64]:
    """Return the standard deviation of the noise of each point, (n,).

    It is that of the file, or else the running median of second differences: many files contain
    no counts, but scaled or smoothed intensities.
    """
    from scipy.ndimage import median_filter

    if pattern.sigma is not None:
        return pattern.sigma
    second = np.abs(np.diff(pattern.intensity, 2))
    second = np.concatenate([second[:1], second, second[-1:]])
    step = float(np.median(np.diff(pattern.two_theta_deg)))
    size = max(3, round(NOISE_WINDOW_DEG / step))
    # 1.4826 median |x| = σ(x), and the variance of a second difference is 6 σ²
    return np.asarray(1.4826 / np.sqrt(6) * median_filter(second, size, mode="nearest"))


def _resample_noise(
    two_theta: NDArray[np.float64], noise: NDArray[np.float64], settings: DiffractionSettings
) -> NDArray[np.float64]:
    """Noise of the mean of the points in each step of the grid, (n_points,)."""
    spans = np.interp(settings.two_theta_deg, two_theta, np.gradient(two_theta))
    points = np.maximum(settings.step / spans, 1.0)
    return np.asarray(np.interp(settings.two_theta_deg, two_theta, noise) / np.sqrt(points))


def _compute_lp_factor(two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    theta = np.radians(two_theta_deg / 2)
    return (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))


def _find_measured(
    two_theta: NDArray[np.float64], settings: DiffractionSettings
) -> NDArray[np.bool_]:
    grid = settings.two_theta_deg
    if len(two_theta) < 2:
        return np.zeros(len(grid), dtype=bool)
    steps = np.diff(two_theta)
    # a point at either end may lie outside because of round-off
    slack = 1e-6 * settings.step
    inside = (grid >= two_theta[0] - slack) & (grid <= two_theta[-1] + slack)
    hole = steps > GAP_STEPS * max(float(np.median(steps)), settings.step)
    right = np.searchsorted(two_theta, grid).clip(1, len(steps))
    near = np.minimum(abs(grid - two_theta[right - 1]), abs(grid - two_theta[right]))
    return inside & (~hole[right - 1] | (near <= slack))


def _resample(
    two_theta: NDArray[np.float64], intensity: NDArray[np.float64], settings: DiffractionSettings
) -> NDArray[np.float64]:
    """Average over the steps of the grid where points are denser, else interpolate."""
    grid, step = settings.two_theta_deg, settings.step
    edges = np.append(grid - step / 2, grid[-1] + step / 2).clip(two_theta[0], two_theta[-1])
    spans = np.diff(two_theta)
    area = np.append(0.0, np.cumsum(spans * (intensity[1:] + intensity[:-1]) / 2))
    # the area up to an edge is exact, including the part of the trapezium that contains the edge
    left = (np.searchsorted(two_theta, edges, side="right") - 1).clip(0, len(spans) - 1)
    height = np.interp(edges, two_theta, intensity)
    until = area[left] + (edges - two_theta[left]) * (height + intensity[left]) / 2
    widths = np.diff(edges)
    means = np.diff(until) / np.where(widths > 0, widths, 1.0)
    span = spans[np.searchsorted(two_theta, grid).clip(1, len(spans)) - 1]
    dense = (span < 0.99 * step) & (widths > 0)
    return np.where(dense, means, np.interp(grid, two_theta, intensity))


def _find_stretches(measured: NDArray[np.bool_]) -> list[slice]:
    """Return the runs of measured points."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], measured, [False]]).astype(int)))
    return [slice(*pair) for pair in edges.reshape(-1, 2).tolist()]


def _measure_sigma(
    curve: NDArray[np.float64], noise: NDArray[np.float64], stretches: list[slice], step: float
) -> float | None:
    """Return the median standard deviation of the strong peaks in degrees; None without any."""
    from scipy.signal import find_peaks, peak_widths

    highest = max(np.ptp(curve[stretch]) for stretch in stretches)
    widths: list[float] = []
    for stretch in stretches:
        limits = np.maximum(STRONG_PEAK * highest, PEAK_SIGMAS * noise[stretch])
        peaks, _ = find_peaks(curve[stretch], prominence=limits)
        widths += peak_widths(curve[stretch], peaks, rel_height=0.5)[0].tolist()
    return float(np.median(widths)) * step / FWHM_PER_SIGMA if widths else None


def _find_kernel(sigma_deg: float | None, settings: DiffractionSettings, notes: list[str]) -> float:
    """Return the width of the Gaussian that broadens the peaks to those of ``settings``."""
    wanted = settings.peak_sigma_deg
    if sigma_deg is None or sigma_deg >= wanted:
        found = "no peak tells its width" if sigma_deg is None else f"peaks of σ = {sigma_deg:.3f}°"
        notes.append(f"{found}; not broadened to σ = {wanted:g}°.")
        return 0.0
    notes.append(f"peaks of σ = {sigma_deg:.3f}° broadened to {wanted:g}°.")
    return float(np.sqrt(wanted**2 - sigma_deg**2))


def _broaden(
    curve: NDArray[np.float64], stretches: list[slice], kernel: float
) -> NDArray[np.float64]:
    """Broaden the measured parts of a curve by a Gaussian; ``kernel`` is its σ in steps."""
    from scipy.ndimage import gaussian_filter1d

    if kernel == 0:
        return curve
    broad = curve.copy()
    for stretch in stretches:
        broad[stretch] = gaussian_filter1d(curve[stretch], kernel, mode="nearest")
    return broad


def _subtract_background(
    curve: NDArray[np.float64], stretches: list[slice], settings: DiffractionSettings
) -> NDArray[np.float64]:
    from pybaselines.whittaker import psalsa

    # the penalty on second differences scales with the fourth power of the length in steps
    stiffness = (BACKGROUND_SCALE_DEG / settings.step) ** 4
    left = curve.copy()
    for stretch in stretches:
        part = curve[stretch]
        if len(part) >= MIN_POINTS and np.ptp(part) > 0:
            left[stretch] = part - psalsa(part, lam=stiffness, p=BACKGROUND_ASYMMETRY)[0]
    return left
