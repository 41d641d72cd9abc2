"""Fit the lines of one crystal to an observed pattern by straining its cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.representation.diffraction import (
    NO_TEXTURE,
    compute_g_limits,
    find_scattering_factors,
)
from matlode.representation.observation import MATCH_SETTINGS, View

WEAK_LINE = 2e-3
"""Lines weaker than this fraction of the strongest are excluded from a fit."""
MOST_LINES = 400
"""Largest number of lines in a fit, the strongest of the crystal."""
LATTICE_TOLERANCE = 1e-3
"""Relative deviation of squared lengths up to which axes count as equal. It is large because cells
in tables are rounded; too high a symmetry only reduces the number of strains."""
Factors = tuple[NDArray[np.float64], float]
"""Result of ``find_scattering_factors``."""
TYPICAL_DAMPING_A2 = 0.5
"""Displacement factor B with which a fit begins, in Å²."""


@dataclass(frozen=True, kw_only=True)
class FitCosts:
    """Penalties of strains and shifts per square of their values, in units of the cosine."""

    scale: float = 7.0
    """1 % in all lengths costs 0.002: this distinguishes isotypic crystals by their size."""
    shape: float = 70.0
    """Strains that change the shape; 1 % in one length, at constant volume, costs 0.010."""
    zero_per_deg2: float = 0.2
    """A zero shift of 0.1° costs 0.002."""
    damping_per_a4: float = 0.002
    """A displacement factor B of 1 Å², a usual value, costs 0.002."""


@dataclass(frozen=True)
class CellFit:
    """The strain of a crystal, and its agreement with the observed pattern."""

    match: float
    """Cosine similarity of the square roots of the profiles, 0..1."""
    score: float
    """``match`` minus the penalties of strain, zero shift and damping."""
    strains: NDArray[np.float64]
    """(k,), coefficients of ``StrainedLines.tensors``."""
    zero_deg: float = 0.0
    """Zero shift: observed minus calculated 2θ."""
    damping_a2: float = TYPICAL_DAMPING_A2
    """Displacement factor B of all atoms in Å²."""


@dataclass(frozen=True)
class StrainedLines:
    """The n lines of a crystal as a function of the reciprocal metric of its cell."""

    metric: NDArray[np.float64]
    """(6,), components 11, 22, 33, 23, 13, 12 in Å⁻²."""
    products: NDArray[np.float64]
    """(n, 6), products of indices; 1/d² is ``products @ metric``."""
    intensity: NDArray[np.float64]
    """(n,), at the wavelength of MATCH_SETTINGS."""
    tensors: NDArray[np.float64]
    """(k, 3, 3), strain tensors of ``find_lattice_strains``."""
    directions: NDArray[np.float64]
    """(k, 6), derivative of the metric with respect to each strain."""

    @classmethod
    def of(cls, crystals: Crystals, index: int, factors: Factors | None = None) -> StrainedLines:
        """Return the lines of one crystal of a batch.

        ``factors`` are the result of ``find_scattering_factors`` for the batch (None: computed).
        Raises ScatteringError for elements without scattering factors.
        """
        cell = crystals.lattices[index]
        factors = factors or find_scattering_factors(crystals, MATCH_SETTINGS)
        hkl, intensity = _find_reflections(crystals, index, *factors)
        h, k, ell = hkl
        star = np.linalg.inv(cell)
        tensors = find_lattice_strains(cell)
        return cls(
            _pack_symmetric(star.T @ star),
            np.stack([h * h, k * k, ell * ell, 2 * k * ell, 2 * h * ell, 2 * h * k], axis=1),
            intensity,
            tensors,
            np.array([_pack_symmetric(-2 * star.T @ tensor @ star) for tensor in tensors]),
        )

    def scaled(self, strain: float) -> CellFit:
        """Return a starting point of a fit with all lengths scaled by 1 + ``strain``."""
        strains = np.zeros(len(self.tensors))
        strains[0] = strain * np.sqrt(3)
        return CellFit(0.0, 0.0, strains)

    def fitted(self, start: CellFit, view: View, costs: FitCosts, *, strain_only: bool) -> CellFit:
        """Fit the lines to an observed profile, beginning at ``start``.

        ``strain_only`` keeps the zero shift and the damping constant.
        """
        from matlode.representation.line_kernels import fit_cell

        n = len(start.strains)
        values = np.array([*start.strains, start.zero_deg, start.damping_a2])
        # a step shifts a line at 60° by the width of a peak
        steps = np.array([np.radians(view.sigma)] * n + [view.sigma / 3, 0.5])
        if strain_only:
            steps[n:] = 0
        shapes = [costs.shape] * (n - 1)
        weights = np.array([costs.scale, *shapes, costs.zero_per_deg2, costs.damping_per_a4])
        score, match = fit_cell(
            self.metric, self.directions, values, steps, weights, self.products, self.intensity,
            MATCH_SETTINGS.wavelength_angstrom, view.start, view.step, view.sigma, view.roots,
            view.seen,
        )  # fmt: skip
        return CellFit(match, score, values[:n], float(values[n]), float(values[n + 1]))

    def draw(self, fit: CellFit, view: View) -> NDArray[np.float64]:
        """Return (n,), the calculated profile on the grid of a view; 0 where not measured.

        The sum over a line is proportional to its intensity (electrons² of the cell, with Lorentz
        and polarisation factors), whatever the width and the step of the view.
        """
        from matlode.representation.line_kernels import match_profile

        profile = np.empty(len(view.roots))
        match_profile(
            self.metric + fit.strains @ self.directions, fit.zero_deg, fit.damping_a2,
            self.products, self.intensity, MATCH_SETTINGS.wavelength_angstrom, view.start,
            view.step, view.sigma, view.roots, view.seen, profile,
        )  # fmt: skip
        return np.asarray(profile * view.seen * (view.step / view.sigma))

    def profile(self, fit: CellFit, view: View) -> NDArray[np.float64]:
        """Return (n,), the calculated profile on the grid of a view.

        It is scaled to the observed profile, in units of the total observed intensity, by the
        projection of the square roots of the two profiles.
        """
        profile = self.draw(fit, view)
        root_scale = (np.sqrt(profile) @ view.roots) / max(float(profile.sum()), 1e-12)
        return np.asarray(profile * root_scale**2)

    def two_theta_deg(self, fit: CellFit) -> NDArray[np.float64]:
        """Return (m,), the positions of the lines of a fit, ascending."""
        inverse_d2 = self.products @ (self.metric + fit.strains @ self.directions)
        sines = MATCH_SETTINGS.wavelength_angstrom / 2 * np.sqrt(inverse_d2)
        return np.sort(2 * np.degrees(np.arcsin(sines[sines < 1]))) + fit.zero_deg

    def strain(self, fit: CellFit) -> NDArray[np.float64]:
        """Return (3, 3), the symmetric strain of a fit: observed cell = known cell (1 + strain)."""
        return np.tensordot(fit.strains, self.tensors, 1)


_LIMITS_OF_G = tuple(np.multiply(compute_g_limits(MATCH_SETTINGS), (0.95, 1.05)).tolist())
"""Wider than the range of MATCH_SETTINGS, since strain can move lines into it."""


def _pack_symmetric(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def _find_reflections(
    crystals: Crystals, index: int, factors: NDArray[np.float64], per_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return indices (3, n) and intensities (n,) of the lines of a crystal."""
    from matlode.representation.reflections import bound_reflections, compute_reflections

    at = crystals.atoms(index)
    cell = crystals.lattices[index]
    g_min, g_max = _LIMITS_OF_G
    cells = cell[None]
    room = int(bound_reflections(cells, cells, g_max)[0])
    g2, height = np.empty((2, room))
    multiplicity = np.empty(room, np.int64)
    hkl = np.empty((3, room))
    n = compute_reflections(
        cell, cell, crystals.frac_coords[at], crystals.occupancies[at], crystals.numbers[at],
        NO_TEXTURE, g_min, g_max, MATCH_SETTINGS.wavelength_angstrom, factors, per_s,
        g2, height, multiplicity, hkl,
    )  # fmt: skip
    strong = np.flatnonzero(height[:n] > WEAK_LINE * height[:n].max(initial=0.0))
    strongest = strong[np.argsort(-height[strong], kind="stable")[:MOST_LINES]]
    return hkl[:, strongest], height[strongest]


def find_lattice_strains(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (k, 3, 3), orthonormal strains that preserve the symmetry of a lattice.

    The rows of ``cell`` are the cell vectors. The first strain scales all lengths equally.

    >>> [len(find_lattice_strains(np.diag(lengths))) for lengths in ([4, 4, 4.0], [4, 4, 6.0])]
    [1, 2]
    """
    from matlode.representation.reflections import find_lattice_operations

    found = np.empty((24, 3, 3))
    n, tolerance = 0, LATTICE_TOLERANCE
    while n == 0 and tolerance > 1e-8:  # a near miss, which a smaller tolerance may resolve
        n = find_lattice_operations(cell @ cell.T, tolerance, found)
        tolerance /= 8
    rotations = np.linalg.inv(cell) @ found[:n] @ cell if n else np.eye(3)[None]
    images = rotations[:, None] @ _DEVIATORS @ rotations[:, None].transpose(0, 1, 3, 2)
    _, sizes, basis = np.linalg.svd(images.mean(axis=0).reshape(len(_DEVIATORS), 9))
    free = basis[: int((sizes > 1e-6).sum())].reshape(-1, 3, 3)
    return np.concatenate([[np.eye(3) / np.sqrt(3)], free])


_DEVIATORS = np.array(
    [
        np.diag([1.0, -1.0, 0.0]),
        np.diag([1.0, 1.0, -2.0]) / np.sqrt(3),
        *(
            [[float({i, j} == {a, b}) for b in range(3)] for a in range(3)]
            for i, j in ((0, 1), (0, 2), (1, 2))
        ),
    ]
) / np.sqrt(2)
"""(5, 3, 3), an orthonormal basis of the traceless symmetric tensors."""
