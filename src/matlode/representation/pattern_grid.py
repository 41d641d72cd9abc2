"""Measured powder patterns on the grid of the simulated ones."""

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
"""How the background is found: peaked signal's asymmetric least squares (Oller-Moreno et al. 2014).

Of the methods of pybaselines it was the one that held on noisy, weak, noise-free and
background-free patterns alike; arPLS is closer to the truth with noise and far off without.
"""

GAP_STEPS: Final = 5
"""A hole wider than this many steps was not measured."""
MIN_COVERED: Final = 1 / 8
"""Part of the grid that has to be measured."""
STRONG_PEAK: Final = 0.25
"""Prominence, of the highest point, from which a peak tells the width."""
BACKGROUND_SCALE_DEG: Final = 0.9
"""Length over which the background may bend: wider than peaks, narrower than amorphous humps."""
BACKGROUND_ASYMMETRY: Final = 0.3
"""Weight of points just above the background; that of points below is 0.7."""


@dataclass(frozen=True, kw_only=True)
class GriddedPattern:
    """A measured pattern as the simulated ones are: on the grid, the strongest point 1."""

    intensity: NDArray[np.float64]
    """(settings.n_points,), ≥ 0; 0 where not measured."""
    measured: NDArray[np.bool_]
    """(settings.n_points,), where the measurement reaches."""
    settings: DiffractionSettings
    """Grid and wavelength."""
    peak_sigma_deg: float | None = None
    """Width of the strong peaks as they are on the grid; None where no peak tells."""
    notes: tuple[str, ...] = ()
    """Those of the measured pattern, and what was done to it."""


def to_grid(
    pattern: MeasuredPattern,
    settings: DiffractionSettings = STANDARD_SETTINGS,
    *,
    background: Background | None = "psalsa",
    match_width: bool = True,
    peak_sigma_deg: float | None = None,
) -> GriddedPattern:
    """The pattern on ``settings.two_theta_deg`` and at its wavelength, the strongest point 1.

    Positions change through Q, intensities so that the area of a peak, free of Lorentz and
    polarisation factor (unpolarised beam, no monochromator), stays. Where points are denser
    than the grid they are averaged, elsewhere interpolated; holes wider than ``GAP_STEPS``
    steps are not measured. ``match_width`` broadens peaks to ``settings.peak_sigma_deg``;
    ``peak_sigma_deg`` is the instrument's width on the grid, the median of the strong peaks if
    None. What falls below the background is 0.

    Raises GridMismatchError if less than ``MIN_COVERED`` of the grid was measured and
    InputError if no peak is left.
    """
    if background not in (None, *get_args(Background)):
        known = suggest(str(background), get_args(Background))
        raise InputError(f'"{background}" is no way to find a background. {known}')
    if settings.axis != "two_theta":
        raise InputError(f'measured patterns go on the axis 2θ, not on "{settings.axis}".')
    if peak_sigma_deg is not None and peak_sigma_deg < 0:
        raise InputError(f"peak_sigma_deg is {peak_sigma_deg:g}; wanted 0 or more.")
    two_theta, intensity = _at_wavelength(pattern, settings.wavelength_angstrom)
    measured = _covered(two_theta, settings)
    if measured.mean() < MIN_COVERED:
        raise GridMismatchError(
            f"{pattern.source}: {pattern.two_theta_deg[0]:.2f}..{pattern.two_theta_deg[-1]:.2f}° "
            f"at λ = {pattern.wavelength_angstrom:g} Å covers {measured.mean():.0%} of the grid "
            f"{settings.two_theta_min_deg:g}..{settings.two_theta_max_deg:g}° at "
            f"λ = {settings.wavelength_angstrom:g} Å; wanted {MIN_COVERED:.1%} or more. Check the "
            "wavelength, or measure further."
        )
    curve = _resample(two_theta, intensity, settings)
    notes = list(pattern.notes)
    stretches = _stretches(measured)
    if match_width:
        if peak_sigma_deg is None:
            peak_sigma_deg = _peak_sigma(curve, stretches, settings.step)
        curve = _broaden(curve, stretches, peak_sigma_deg, settings, notes)
        if peak_sigma_deg is not None:
            peak_sigma_deg = max(peak_sigma_deg, settings.peak_sigma_deg)
    if background is not None:
        curve = _without_background(curve, stretches, settings)
    curve = np.where(measured, curve, 0.0).clip(min=0)
    if curve.max() <= 0:
        raise InputError(f"{pattern.source}: nothing rises above the background on the grid.")
    return GriddedPattern(
        intensity=curve / curve.max(),
        measured=measured,
        settings=settings,
        peak_sigma_deg=peak_sigma_deg,
        notes=tuple(notes),
    )


def _at_wavelength(
    pattern: MeasuredPattern, wavelength_angstrom: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """2θ and intensity as that wavelength would have given them."""
    old = pattern.two_theta_deg
    if pattern.wavelength_angstrom == wavelength_angstrom:
        return old, pattern.intensity
    q = to_q(old, "two_theta", pattern.wavelength_angstrom)
    new = from_q(q, "two_theta", wavelength_angstrom)
    seen = np.isfinite(new) & (old > 0) & (old < 180) & (new < 180)
    old, new = old[seen], new[seen]
    # d(2θ) of the same dQ goes as 1 / (λ cosθ)
    stretch = (wavelength_angstrom * np.cos(np.radians(old / 2))) / (
        pattern.wavelength_angstrom * np.cos(np.radians(new / 2))
    )
    factor = _lorentz_polarisation(new) / _lorentz_polarisation(old) / stretch
    return new, pattern.intensity[seen] * factor


def _lorentz_polarisation(two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    theta = np.radians(two_theta_deg / 2)
    return (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))


def _covered(two_theta: NDArray[np.float64], settings: DiffractionSettings) -> NDArray[np.bool_]:
    grid = settings.two_theta_deg
    if len(two_theta) < 2:
        return np.zeros(len(grid), dtype=bool)
    steps = np.diff(two_theta)
    # a point at the very end may miss the grid by round-off
    slack = 1e-6 * settings.step
    inside = (grid >= two_theta[0] - slack) & (grid <= two_theta[-1] + slack)
    hole = steps > GAP_STEPS * max(float(np.median(steps)), settings.step)
    right = np.searchsorted(two_theta, grid).clip(1, len(steps))
    near = np.minimum(abs(grid - two_theta[right - 1]), abs(grid - two_theta[right]))
    return inside & (~hole[right - 1] | (near <= slack))


def _resample(
    two_theta: NDArray[np.float64], intensity: NDArray[np.float64], settings: DiffractionSettings
) -> NDArray[np.float64]:
    """Means over the grid's steps where points are denser than these, else interpolated."""
    grid, step = settings.two_theta_deg, settings.step
    edges = np.append(grid - step / 2, grid[-1] + step / 2).clip(two_theta[0], two_theta[-1])
    spans = np.diff(two_theta)
    area = np.append(0.0, np.cumsum(spans * (intensity[1:] + intensity[:-1]) / 2))
    # the area up to an edge is exact: the trapezium of the interval it falls in is cut
    left = (np.searchsorted(two_theta, edges, side="right") - 1).clip(0, len(spans) - 1)
    height = np.interp(edges, two_theta, intensity)
    until = area[left] + (edges - two_theta[left]) * (height + intensity[left]) / 2
    widths = np.diff(edges)
    means = np.diff(until) / np.where(widths > 0, widths, 1.0)
    span = spans[np.searchsorted(two_theta, grid).clip(1, len(spans)) - 1]
    dense = (span < 0.99 * step) & (widths > 0)
    return np.where(dense, means, np.interp(grid, two_theta, intensity))


def _stretches(measured: NDArray[np.bool_]) -> list[slice]:
    """Runs of measured points."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], measured, [False]]).astype(int)))
    return [slice(*pair) for pair in edges.reshape(-1, 2).tolist()]


def _peak_sigma(curve: NDArray[np.float64], stretches: list[slice], step: float) -> float | None:
    """Median standard deviation of the strong peaks in degrees; None without any."""
    from scipy.signal import find_peaks, peak_widths

    highest = max(np.ptp(curve[stretch]) for stretch in stretches)
    widths: list[float] = []
    for stretch in stretches:
        peaks, _ = find_peaks(curve[stretch], prominence=STRONG_PEAK * highest)
        widths += peak_widths(curve[stretch], peaks, rel_height=0.5)[0].tolist()
    return float(np.median(widths)) * step / FWHM_PER_SIGMA if widths else None


def _broaden(
    curve: NDArray[np.float64],
    stretches: list[slice],
    sigma_deg: float | None,
    settings: DiffractionSettings,
    notes: list[str],
) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter1d

    wanted = settings.peak_sigma_deg
    if sigma_deg is None or sigma_deg >= wanted:
        found = "no peak tells its width" if sigma_deg is None else f"peaks of σ = {sigma_deg:.3f}°"
        notes.append(f"{found}; not broadened to σ = {wanted:g}°.")
        return curve
    kernel = np.sqrt(wanted**2 - sigma_deg**2)
    notes.append(f"peaks of σ = {sigma_deg:.3f}° broadened to {wanted:g}°.")
    broad = curve.copy()
    for stretch in stretches:
        broad[stretch] = gaussian_filter1d(curve[stretch], kernel / settings.step, mode="nearest")
    return broad


def _without_background(
    curve: NDArray[np.float64], stretches: list[slice], settings: DiffractionSettings
) -> NDArray[np.float64]:
    from pybaselines.whittaker import psalsa

    # a penalty on second differences grows as the fourth power of a length in steps
    stiffness = (BACKGROUND_SCALE_DEG / settings.step) ** 4
    left = curve.copy()
    for stretch in stretches:
        part = curve[stretch]
        if len(part) >= MIN_POINTS and np.ptp(part) > 0:
            left[stretch] = part - psalsa(part, lam=stiffness, p=BACKGROUND_ASYMMETRY)[0]
    return left
