"""Compiled kernels that draw peaks into profiles.

Positions and widths are in steps of an evenly spaced grid, so that the kernels work for every
axis. Gaussians of one width, the usual case, are interpolated in a table; other mixtures of
Gaussians and Lorentzians are computed from their formulas.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

CUT_OFF_SIGMAS = 6.0
"""Distance at which Gaussians are cut off; the value there is 1.5e-8 of the height, below the
resolution of float32."""
SUBSTEPS = 64
"""Table rows per grid step. The table fits into the fastest cache; parabolic interpolation between
rows is accurate to 1e-8 of the height for σ = 3 steps."""


def tabulate_gaussian(sigma: float) -> NDArray[np.float64]:
    """Tabulate Gaussians of height 1; σ is in grid steps.

    The rows (SUBSTEPS + 3) are centred at -1/SUBSTEPS, 0, ..., 1 + 1/SUBSTEPS relative to a grid
    point, and the columns (2 reach) are the grid points 1 - reach to reach around it.
    """
    reach = math.ceil(CUT_OFF_SIGMAS * sigma) + 1
    reach += -reach % 4  # fills whole vector registers
    centres = np.arange(-1, SUBSTEPS + 2) / SUBSTEPS
    offsets = np.arange(1 - reach, reach + 1) - centres[:, None]
    return np.exp(-0.5 * (offsets / sigma) ** 2)


@njit(cache=True, fastmath=True, nogil=True)
def add_equal_gaussians(position, height, ends, table, out):
    """Draw profiles of a batch of crystals from ``tabulate_gaussian``, scaled to maximum 1.

    The peaks ends[i]:ends[i + 1] of crystal i are drawn into out[i]; it is 0 if there are no
    peaks on the grid.
    """
    n = out.shape[1]
    substeps = len(table) - 3
    # unsigned, since tests for negative indices would prevent vectorisation of the loops
    width = np.uint64(table.shape[1])
    # with a margin on both sides for peaks near the ends of the grid
    profile = np.empty(n + 2 * table.shape[1])
    for i in range(len(out)):
        profile[:] = 0.0
        for p in range(ends[i], ends[i + 1]):
            near = math.floor(position[p])
            start = near + 1 + table.shape[1] // 2
            if start < 0 or start > n + table.shape[1]:
                continue
            shift = (position[p] - near) * substeps
            nearest = int(shift + 0.5)
            shift -= nearest
            left = 0.5 * shift * (shift - 1.0) * height[p]
            middle = (1.0 - shift * shift) * height[p]
            right = 0.5 * shift * (shift + 1.0) * height[p]
            first = np.uint64(start)
            row = np.uint64(nearest)
            for x in range(width):
                profile[first + x] += (
                    left * table[row, x]
                    + middle * table[row + np.uint64(1), x]
                    + right * table[row + np.uint64(2), x]
                )
        _normalise(profile[table.shape[1] : table.shape[1] + n], out[i])


@njit(cache=True, fastmath=True, nogil=True)
def add_peaks(position, gaussian, lorentzian, sigma, ends, out):
    """Draw profiles of a batch of crystals with individual peak widths, scaled to maximum 1.

    ``gaussian`` and ``lorentzian`` are the heights of the two components of a peak, which have
    the same full width at half maximum (2.355 ``sigma``). Lorentzians extend over the whole grid.
    """
    n = out.shape[1]
    profile = np.empty(n)
    for i in range(len(out)):
        profile[:] = 0.0
        for p in range(ends[i], ends[i + 1]):
            if gaussian[p] > 0.0:
                _add_gaussian(position[p], gaussian[p], sigma[p], profile)
            if lorentzian[p] > 0.0:
                half2 = 2.0 * math.log(2.0) * sigma[p] * sigma[p]
                for x in range(n):
                    profile[x] += lorentzian[p] * half2 / (half2 + (x - position[p]) ** 2)
        _normalise(profile, out[i])


@njit(cache=True, fastmath=True)
def _add_gaussian(position, height, sigma, profile):
    """Add a Gaussian to a profile, with a recurrence relation instead of exponentials."""
    reach = CUT_OFF_SIGMAS * sigma
    first = max(math.ceil(position - reach), 0)
    last = min(math.floor(position + reach), len(profile) - 1)
    curvature = 0.5 / (sigma * sigma)
    offset = first - position
    value = height * math.exp(-curvature * offset * offset)
    ratio = math.exp(-curvature * (2.0 * offset + 1.0))
    second = math.exp(-2.0 * curvature)
    for x in range(first, last + 1):
        profile[x] += value
        value *= ratio
        ratio *= second


@njit(cache=True, fastmath=True)
def _normalise(profile, out):
    top = 0.0
    for x in range(len(profile)):
        top = max(top, profile[x])
    # slightly too large, so that the strongest point is clipped to exactly 1
    scale = (1.0 + 4e-16) / top if top > 0.0 else 0.0
    for x in range(len(profile)):
        out[x] = min(profile[x] * scale, 1.0)
