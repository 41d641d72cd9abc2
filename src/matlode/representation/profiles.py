"""Compiled kernels of the powder engine: peaks to profiles.

Positions and widths are in steps of an evenly spaced grid, so that one kernel serves every
axis. Gaussians of one width, the usual case, are added up from a table; any other mixture of
Gaussian and Lorentzian from its formula.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

CUT_OFF_SIGMAS = 6.0
"""A Gaussian is 1.5e-8 of its height there: below float32 resolution of the profile."""
SUBSTEPS = 64
"""Rows per grid step of the table, which the fastest cache holds; between them, parabolas are
exact to 1e-8 of the height where σ is three steps."""


def gaussian_table(sigma: float) -> NDArray[np.float64]:
    """Gaussians of height 1, σ in grid steps, that stand at -1/SUBSTEPS, 0, ... 1 + 1/SUBSTEPS
    after a grid point: (SUBSTEPS + 3, 2 reach), the points from 1 - reach to reach around it."""
    reach = math.ceil(CUT_OFF_SIGMAS * sigma) + 1
    reach += -reach % 4  # whole registers
    centres = np.arange(-1, SUBSTEPS + 2) / SUBSTEPS
    offsets = np.arange(1 - reach, reach + 1) - centres[:, None]
    return np.exp(-0.5 * (offsets / sigma) ** 2)


@njit(cache=True, fastmath=True, nogil=True)
def add_equal_gaussians(position, height, ends, table, out):
    """Max-normalised profiles of a batch of crystals from ``gaussian_table``.

    Peaks ends[i]:ends[i + 1] belong to crystal i and end in out[i]; a crystal without peaks on
    the grid leaves zeros.
    """
    n = out.shape[1]
    substeps = len(table) - 3
    # unsigned, since a look whether an index is negative would keep loops from being vectors
    width = np.uint64(table.shape[1])
    # a margin on both sides takes what falls off the grid, so that no peak needs a special case
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
    """Max-normalised profiles of a batch of crystals, each peak with its own width.

    ``gaussian`` and ``lorentzian`` are the heights of a peak's two parts, which have the same
    full width at half maximum (2.355 ``sigma``). Lorentzians have no end on the grid.
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
    """By recurrence instead of exponentials."""
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
    # a hair too large, so that the strongest point is cut to 1 exactly
    scale = (1.0 + 4e-16) / top if top > 0.0 else 0.0
    for x in range(len(profile)):
        out[x] = min(profile[x] * scale, 1.0)
