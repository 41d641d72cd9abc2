"""Patterns as instruments and samples make them: strained, textured, broad, noisy, shifted.

For training models that are to read measured patterns. All chance comes from ``rng``: the same
seed gives the same patterns on any number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.errors import InputError
from matlode.representation.diffraction import (
    FWHM_PER_SIGMA,
    STANDARD_SETTINGS,
    DiffractionSettings,
    for_each_chunk,
    peaks_of_chunk,
    usable_factors,
)
from matlode.representation.profiles import add_peaks


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far patterns may stray. 0 (for ``texture``: 1) switches a part off."""

    strain: float = 0.01
    """Standard deviation of each component of the strain; the crystal's symmetry is kept."""
    texture: float = 1.5
    """March's r is drawn between 1/texture and texture, evenly in its logarithm, along a random
    direction of small indices."""
    sigma_deg: tuple[float, float] = (0.05, 0.25)
    """Width of the peaks, the same for all peaks of a pattern, evenly between."""
    eta: tuple[float, float] = (0.0, 1.0)
    """Lorentzian part of the peaks, evenly between."""
    zero_shift_deg: float = 0.05
    """Standard deviation of the zero shift in 2θ."""
    background: float = 0.1
    """Largest height of a smooth background, as a part of the strongest peak."""
    counts: float = 1e4
    """Counts at the strongest point; Poisson noise. 0: no noise."""

    def __post_init__(self) -> None:
        if self.texture < 1 or min(self.strain, self.zero_shift_deg, self.background) < 0:
            raise InputError("texture must be at least 1, and the other widths at least 0.")


MEASURED_LIKE = Augmentation()
"""A laboratory diffractometer and an imperfect sample."""


def augmented_patterns(
    crystals: Crystals,
    rng: np.random.Generator,
    augmentation: Augmentation = MEASURED_LIKE,
    settings: DiffractionSettings = STANDARD_SETTINGS,
    *,
    n_threads: int | None = None,
) -> NDArray[np.float32]:
    """(n, n_points), patterns of crystals as measurements might show them, strongest point 1.

    Width and shape are the augmentation's, the rest of ``settings`` holds; the axis must be 2θ.
    A crystal whose reflections all strain away from the grid leaves its background and noise.
    Raises ScatteringError as ``simulate_patterns`` does, InputError for another axis.
    """
    if settings.axis != "two_theta":
        raise InputError(f'patterns are augmented on the axis 2θ, not on "{settings.axis}".')
    n = len(crystals)
    strains = rng.normal(0, augmentation.strain, (n, 3, 3))
    strained = crystals.lattices @ (np.eye(3) + (strains + strains.transpose(0, 2, 1)) / 2)
    textures = _textures(n, augmentation.texture, rng)
    shifts = rng.normal(0, augmentation.zero_shift_deg, n)
    sigmas = rng.uniform(*augmentation.sigma_deg, n)
    etas = rng.uniform(*augmentation.eta, n)
    patterns = np.empty((n, settings.n_points), np.float32)
    factors, per_s = usable_factors(crystals, settings)

    def fill(chunk: slice) -> None:
        angle, area, ends = peaks_of_chunk(
            crystals, chunk, settings, factors, per_s, strained[chunk], textures[chunk]
        )
        owner = np.repeat(np.arange(n)[chunk], np.diff(ends))
        position = (angle + shifts[owner] - settings.two_theta_min_deg) / settings.step
        gaussian = area * (1 - etas[owner]) / math.sqrt(2 * math.pi)
        lorentzian = area * etas[owner] / (math.pi * FWHM_PER_SIGMA / 2)
        sigma = sigmas[owner] / settings.step
        add_peaks(position, gaussian, lorentzian, sigma, ends, patterns[chunk])

    for_each_chunk(fill, n, n_threads)
    if augmentation.background > 0:
        patterns += _backgrounds(n, augmentation.background, settings, rng)
    if augmentation.counts > 0:
        patterns = rng.poisson(patterns * augmentation.counts).astype(np.float32)
    return patterns / np.maximum(patterns.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _textures(n: int, largest: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 4), a direction of indices -2..2 and March's r."""
    directions = rng.integers(-2, 3, (n, 3)).astype(float)
    directions[~directions.any(axis=1)] = (0, 0, 1)
    r = np.exp(rng.uniform(-math.log(largest), math.log(largest), n))
    return np.column_stack([directions, r])


def _backgrounds(
    n: int, highest: float, settings: DiffractionSettings, rng: np.random.Generator
) -> NDArray[Any]:
    """(n, n_points), air scatter that falls with 2θ, and one broad hump of something amorphous."""
    x = np.linspace(0, 1, settings.n_points)
    heights = rng.uniform(0, highest, (n, 2, 1))
    fall = np.exp(-rng.uniform(1, 8, (n, 1)) * x)
    centre, width = rng.uniform(0.1, 0.6, (n, 1)), rng.uniform(0.05, 0.2, (n, 1))
    hump = np.exp(-0.5 * ((x - centre) / width) ** 2)
    return (heights[:, 0] * fall + heights[:, 1] * hump) / 2
