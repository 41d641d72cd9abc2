"""Simulated patterns with the effects of real samples and instruments, for training models.

The effects are strain, texture, peak broadening, zero shift, background and noise. All random
numbers come from ``rng``: the same seed gives the same patterns on any number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.errors import InputError
from matlode.representation.diffraction import (
    FWHM_PER_SIGMA,
    STANDARD_SETTINGS,
    DiffractionSettings,
    compute_chunk_peaks,
    find_scattering_factors,
    run_in_chunks,
)
from matlode.representation.profiles import add_peaks


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Strength of each effect. 0 (1 for ``texture``) switches an effect off."""

    strain: float = 0.01
    """Standard deviation of each strain component; the symmetry of the crystal is preserved."""
    texture: float = 1.5
    """March's r is drawn log-uniformly from 1/texture to texture, for a random preferred
    direction with small indices."""
    sigma_deg: tuple[float, float] = (0.05, 0.25)
    """Range of the peak width, uniformly distributed and the same for all peaks of a pattern."""
    eta: tuple[float, float] = (0.0, 1.0)
    """Range of the Lorentzian fraction of the peaks, uniformly distributed."""
    zero_shift_deg: float = 0.05
    """Standard deviation of the zero shift in 2θ."""
    background: float = 0.1
    """Largest height of the smooth background, relative to the strongest peak."""
    counts: float = 1e4
    """Counts at the strongest point for Poisson noise; 0: no noise."""

    def __post_init__(self) -> None:
        smallest = min(self.strain, self.zero_shift_deg, self.background)
        if self.texture < 1 or smallest < 0:
            raise InputError(
                f"invalid augmentation: texture is {self.texture:g}, expected at least 1; the "
                f"smallest of strain, zero_shift_deg and background is {smallest:g}, expected at "
                "least 0."
            )


MEASURED_LIKE = Augmentation()
"""Typical for a laboratory diffractometer and an imperfect sample."""


def simulate_augmented_patterns(
    crystals: Crystals,
    rng: np.random.Generator,
    augmentation: Augmentation = MEASURED_LIKE,
    settings: DiffractionSettings = STANDARD_SETTINGS,
    *,
    n_threads: int | None = None,
) -> NDArray[np.float32]:
    """Simulate patterns (n, n_points) with the effects of measurements, strongest point 1.

    Peak width and shape are taken from ``augmentation``, everything else from ``settings``, whose
    axis must be 2θ. If the strain moves all reflections of a crystal off the grid, its pattern
    consists of background and noise. Raises ScatteringError as ``simulate_patterns`` does, and
    InputError for another axis.
    """
    if settings.axis != "two_theta":
        raise InputError(
            f'cannot augment patterns on the axis "{settings.axis}"; expected the axis 2θ '
            '("two_theta").'
        )
    n = len(crystals)
    strains = rng.normal(0, augmentation.strain, (n, 3, 3))
    strained = crystals.lattices @ (np.eye(3) + (strains + strains.transpose(0, 2, 1)) / 2)
    textures = _draw_textures(n, augmentation.texture, rng)
    shifts = rng.normal(0, augmentation.zero_shift_deg, n)
    sigmas = rng.uniform(*augmentation.sigma_deg, n)
    etas = rng.uniform(*augmentation.eta, n)
    patterns = np.empty((n, settings.n_points), np.float32)
    factors, per_s = find_scattering_factors(crystals, settings)

    def fill(chunk: slice) -> None:
        angle, area, ends = compute_chunk_peaks(
            crystals,
            chunk,
            settings,
            factors,
            per_s,
            strained[chunk],
            textures[chunk],
            outside=True,
        )
        owner = np.repeat(np.arange(n)[chunk], np.diff(ends))
        position = (angle + shifts[owner] - settings.two_theta_min_deg) / settings.step
        gaussian = area * (1 - etas[owner]) / math.sqrt(2 * math.pi)
        lorentzian = area * etas[owner] / (math.pi * FWHM_PER_SIGMA / 2)
        sigma = sigmas[owner] / settings.step
        add_peaks(position, gaussian, lorentzian, sigma, ends, patterns[chunk])

    run_in_chunks(fill, n, n_threads)
    if augmentation.background > 0:
        patterns += _draw_backgrounds(n, augmentation.background, settings, rng)
    if augmentation.counts > 0:
        patterns = rng.poisson(patterns * augmentation.counts).astype(np.float32)
    return patterns / np.maximum(patterns.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _draw_textures(n: int, largest: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (n, 4): a direction with indices -2..2 and March's r."""
    directions = rng.integers(-2, 3, (n, 3)).astype(float)
    directions[~directions.any(axis=1)] = (0, 0, 1)
    r = np.exp(rng.uniform(-math.log(largest), math.log(largest), n))
    return np.column_stack([directions, r])


def _draw_backgrounds(
    n: int, highest: float, settings: DiffractionSettings, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (n, n_points): air scattering, which decreases with 2θ, and one amorphous hump."""
    x = np.linspace(0, 1, settings.n_points)
    heights = rng.uniform(0, highest, (n, 2, 1))
    fall = np.exp(-rng.uniform(1, 8, (n, 1)) * x)
    centre, width = rng.uniform(0.1, 0.6, (n, 1)), rng.uniform(0.05, 0.2, (n, 1))
    hump = np.exp(-0.5 * ((x - centre) / width) ** 2)
    return (heights[:, 0] * fall + heights[:, 1] * hump) / 2
