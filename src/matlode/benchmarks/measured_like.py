"""Simulation of powder patterns of known crystals as a laboratory diffractometer measures them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.representation.diffraction import (
    CU_K_ALPHA_ANGSTROM,
    FWHM_PER_SIGMA,
    DiffractionSettings,
    compute_chunk_peaks,
    find_scattering_factors,
)
from matlode.representation.patterns import MeasuredPattern

MEASUREMENT: Final = DiffractionSettings(n_points=4001)
"""Cu Kα, 10..90° in steps of 0.02°."""
DOUBLET: Final = ((1.540598, 2 / 3), (1.544426, 1 / 3))
"""Wavelengths (Å) and relative intensities of Cu Kα1 and Kα2."""
GONIOMETER_RADIUS_MM: Final = 200.0


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """Deviations of a measurement from the ideal pattern of a crystal."""

    name: str
    scale: float = 0.0
    """Standard deviation of the relative error of the cell lengths."""
    strain: float = 0.0
    """Standard deviation of each component of an additional strain that keeps the symmetry."""
    zero_deg: float = 0.0
    """Standard deviation of the zero shift in 2θ."""
    displacement_mm: float = 0.0
    """Standard deviation of the sample displacement."""
    texture: float = 1.0
    """March's r is between 1/texture and texture, along a random direction of small indices."""
    impurity: float = 0.0
    """Largest intensity of an impurity phase relative to the main phase; the smallest is 5 %."""
    background: float = 0.05
    """Approximate largest height of the background relative to the strongest peak."""
    counts: float = 1e4
    """Counts at the strongest point."""


LADDER: Final = (
    Difficulty(name="noise and background"),
    Difficulty(name="+ cell 1 %, strain 0.3 %", scale=0.01, strain=0.003),
    Difficulty(
        name="+ zero 0.05°, height 0.1 mm", scale=0.01, strain=0.003, zero_deg=0.05,
        displacement_mm=0.1,
    ),
    Difficulty(
        name="+ texture to r = 1/2..2", scale=0.01, strain=0.003, zero_deg=0.05,
        displacement_mm=0.1, texture=2.0,
    ),
    Difficulty(
        name="+ impurity to 20 %, 5,000 counts", scale=0.01, strain=0.003, zero_deg=0.05,
        displacement_mm=0.1, texture=2.0, impurity=0.2, background=0.2, counts=5e3,
    ),
    Difficulty(
        name="hard: all of it 1.5 times, 1,000 counts", scale=0.015, strain=0.006, zero_deg=0.08,
        displacement_mm=0.15, texture=3.0, impurity=0.35, background=0.4, counts=1e3,
    ),
)  # fmt: skip
"""Difficulties in increasing order."""


def simulate_measured_pattern(
    crystals: Crystals, row: int, other: int, difficulty: Difficulty, rng: np.random.Generator
) -> MeasuredPattern | None:
    """Simulate a measurement of crystal ``row``, with crystal ``other`` as the impurity if
    ``difficulty`` has one; None for a crystal without lines in the range."""
    angle, area = _simulate_lines(crystals, row, difficulty, rng)
    if len(angle) == 0:
        return None
    if difficulty.impurity:
        other_angle, other_area = _simulate_lines(crystals, other, difficulty, rng)
        part = rng.uniform(0.05, difficulty.impurity)
        angle = np.concatenate([angle, other_angle])
        area = np.concatenate([area, other_area * part * area.sum() / max(other_area.sum(), 1e-9)])
    zero, height = rng.normal(0, (difficulty.zero_deg, difficulty.displacement_mm))
    both = [_move_to_wavelength(angle, area, *line) for line in DOUBLET]
    angle, area = (np.concatenate(part) for part in zip(*both, strict=True))
    # a sample displaced by s shifts lines by 2 s cosθ / R
    shift = np.degrees(2 * height / GONIOMETER_RADIUS_MM) * np.cos(np.radians(angle / 2))
    profile = _draw_profile(angle + zero + shift, area, rng)
    expected = (profile + _draw_background(difficulty.background, rng)) * difficulty.counts
    return MeasuredPattern(
        two_theta_deg=MEASUREMENT.grid,
        intensity=rng.poisson(expected).astype(float),
        sigma=None,
        wavelength_angstrom=CU_K_ALPHA_ANGSTROM,
        source=f"simulated: {row}",
    )


def _simulate_lines(
    crystals: Crystals, row: int, difficulty: Difficulty, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one = crystals.take([row])
    strain = rng.normal(0, difficulty.strain, (3, 3))
    strained = one.lattices @ (
        (1 + rng.normal(0, difficulty.scale)) * np.eye(3) + (strain + strain.T) / 2
    )
    direction = rng.integers(-2, 3, 3).astype(float)
    if not direction.any():
        direction[2] = 1
    r = math.exp(rng.uniform(-1, 1) * math.log(difficulty.texture))
    factors, per_s = find_scattering_factors(one, MEASUREMENT)
    angle, area, _ = compute_chunk_peaks(
        one, slice(0, 1), MEASUREMENT, factors, per_s, strained, np.array([[*direction, r]])
    )
    return angle, area


def _move_to_wavelength(
    angle: NDArray[np.float64], area: NDArray[np.float64], wavelength: float, part: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sine = np.sin(np.radians(angle / 2)) * wavelength / MEASUREMENT.wavelength_angstrom
    return 2 * np.degrees(np.arcsin(sine.clip(max=1))), part * area


def _draw_profile(
    angle: NDArray[np.float64], area: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Pseudo-Voigt peaks of random width, 0.06..0.2° at low angles, and random shape."""
    from matlode.representation.profiles import add_peaks

    eta = rng.uniform(0.2, 0.9)
    fwhm = rng.uniform(0.06, 0.2) * np.sqrt(1 + np.tan(np.radians(angle / 2)) ** 2)
    sigma = fwhm / FWHM_PER_SIGMA / MEASUREMENT.step
    gaussian = area / sigma * (1 - eta) / math.sqrt(2 * math.pi)
    lorentzian = area / sigma * eta / (math.pi * FWHM_PER_SIGMA / 2)
    position = (angle - MEASUREMENT.two_theta_min_deg) / MEASUREMENT.step
    profile = np.empty((1, MEASUREMENT.n_points))
    add_peaks(position, gaussian, lorentzian, sigma, np.array([0, len(angle)]), profile)
    return profile[0]


def _draw_background(highest: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Air scattering that decreases with 2θ, a broad hump, and a constant."""
    x = np.linspace(0, 1, MEASUREMENT.n_points)
    fall = rng.uniform(0.3, 1) * np.exp(-rng.uniform(2, 8) * x)
    hump = np.exp(-0.5 * ((x - rng.uniform(0.1, 0.4)) / rng.uniform(0.05, 0.15)) ** 2)
    return highest * (fall + rng.uniform(0, 0.5) * hump + 0.05)
