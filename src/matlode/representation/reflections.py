"""Compiled kernels of the powder engine: one crystal to its profile.

Kinematic diffraction as in De Graef and McHenry, *Structure of Materials* (2012), chapters
11 and 12, the physics of pymatgen's XRDCalculator: F(g) = Σ f_j occ_j exp(2πi g·r_j),
I = |F|² (1 + cos²2θ) / (sin²θ cosθ). Friedel's law halves the reciprocal lattice. Structure
factors factor into exp(2πi hx) exp(2πi ky) exp(2πi lz), so that the inner loop over l holds
multiplications only and runs in SIMD registers; the longest cell axis is put on l.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

MERGE_TOLERANCE_DEG = 1e-5
"""Reflections closer than this to a peak's first belong to it (pymatgen's TWO_THETA_TOL)."""
WEAK_PEAK = 1e-5
"""Peaks below this part of the strongest are left out (pymatgen's SCALED_INTENSITY_TOL)."""
CUT_OFF_SIGMAS = 6.0
"""A Gaussian is 1.5e-8 of its height there: below float32 resolution of the profile."""


@njit(cache=True, fastmath=True)
def _phase_row(real, imag, middle, n, fraction, amplitude):
    """exp(2πi q x) for q = -middle..n, times an amplitude, by complex recurrence."""
    c = math.cos(2 * math.pi * fraction)
    s = math.sin(2 * math.pi * fraction)
    real[middle] = amplitude
    imag[middle] = 0.0
    r, i = amplitude, 0.0
    for q in range(1, n + 1):
        r, i = r * c - i * s, r * s + i * c
        real[middle + q] = r
        imag[middle + q] = i
        if q <= middle:
            real[middle - q] = r
            imag[middle - q] = -i


@njit(cache=True, fastmath=True)
def _reciprocal(cell):
    """Rows a*, b*, c* with a·a* = 1 (no 2π)."""
    out = np.empty((3, 3))
    for axis in range(3):
        u = cell[(axis + 1) % 3]
        v = cell[(axis + 2) % 3]
        out[axis, 0] = u[1] * v[2] - u[2] * v[1]
        out[axis, 1] = u[2] * v[0] - u[0] * v[2]
        out[axis, 2] = u[0] * v[1] - u[1] * v[0]
    volume = cell[0, 0] * out[0, 0] + cell[0, 1] * out[0, 1] + cell[0, 2] * out[0, 2]
    return out / volume


@njit(cache=True, fastmath=True)
def _reflections(
    cell, frac, occ, elements, starts, g_min, g_max, wavelength, factors, per_s2, angle, height
):
    """Angles (degrees 2θ) and intensities of all reflections with g_min ≤ |g| ≤ g_max.

    Atoms are sorted by element; elements[e] owns atoms starts[e]:starts[e + 1].
    factors[e] tabulates the scattering factor over s² at 1 / per_s2 intervals.
    Returns how many were written into ``angle`` and ``height``.
    """
    reciprocal = _reciprocal(cell)
    n_atoms = frac.shape[0]
    n_elements = elements.shape[0]
    limit = np.empty(3, np.int64)
    for axis in range(3):
        length = math.sqrt(cell[axis, 0] ** 2 + cell[axis, 1] ** 2 + cell[axis, 2] ** 2)
        limit[axis] = int(g_max * length + 1e-9)
    h_max, k_max, l_max = limit[0], limit[1], limit[2]
    n_l = 2 * l_max + 1
    h_real = np.empty((n_atoms, h_max + 1))
    h_imag = np.empty((n_atoms, h_max + 1))
    k_real = np.empty((n_atoms, 2 * k_max + 1))
    k_imag = np.empty((n_atoms, 2 * k_max + 1))
    l_real = np.empty((n_atoms, n_l))
    l_imag = np.empty((n_atoms, n_l))
    for j in range(n_atoms):
        _phase_row(h_real[j], h_imag[j], 0, h_max, frac[j, 0], occ[j])
        _phase_row(k_real[j], k_imag[j], k_max, k_max, frac[j, 1], 1.0)
        _phase_row(l_real[j], l_imag[j], l_max, l_max, frac[j, 2], 1.0)
    sum_real = np.empty(n_l)
    sum_imag = np.empty(n_l)
    f_real = np.empty(n_l)
    f_imag = np.empty(n_l)
    cc = reciprocal[2, 0] ** 2 + reciprocal[2, 1] ** 2 + reciprocal[2, 2] ** 2
    g2_min = g_min * g_min
    g2_max = g_max * g_max
    n = 0
    for h in range(h_max + 1):
        for k in range(0 if h == 0 else -k_max, k_max + 1):
            # |g|² = aa + 2 bc l + cc l²: the span of l inside the limiting sphere
            x = h * reciprocal[0, 0] + k * reciprocal[1, 0]
            y = h * reciprocal[0, 1] + k * reciprocal[1, 1]
            z = h * reciprocal[0, 2] + k * reciprocal[1, 2]
            aa = x * x + y * y + z * z
            bc = x * reciprocal[2, 0] + y * reciprocal[2, 1] + z * reciprocal[2, 2]
            inside = bc * bc - cc * (aa - g2_max)
            if inside < 0:
                continue
            root = math.sqrt(inside)
            first = max(math.ceil((-bc - root) / cc - 1e-9), -l_max)
            last = min(math.floor((-bc + root) / cc + 1e-9), l_max)
            if h == 0 and k == 0:
                first = max(first, 1)
            width = last - first + 1
            if width <= 0:
                continue
            base = l_max + first
            for t in range(width):
                f_real[t] = 0.0
                f_imag[t] = 0.0
            for e in range(n_elements):
                for t in range(width):
                    sum_real[t] = 0.0
                    sum_imag[t] = 0.0
                for j in range(starts[e], starts[e + 1]):
                    a, b = h_real[j, h], h_imag[j, h]
                    c, d = k_real[j, k_max + k], k_imag[j, k_max + k]
                    p = a * c - b * d
                    q = a * d + b * c
                    row_real = l_real[j]
                    row_imag = l_imag[j]
                    for t in range(width):
                        u = row_real[base + t]
                        v = row_imag[base + t]
                        sum_real[t] += p * u - q * v
                        sum_imag[t] += p * v + q * u
                table = factors[elements[e]]
                for t in range(width):
                    ell = first + t
                    at = (aa + 2.0 * bc * ell + cc * ell * ell) * 0.25 * per_s2
                    cell_index = int(at)
                    f = table[cell_index] + (table[cell_index + 1] - table[cell_index]) * (
                        at - cell_index
                    )
                    f_real[t] += f * sum_real[t]
                    f_imag[t] += f * sum_imag[t]
            for t in range(width):
                ell = first + t
                g2 = aa + 2.0 * bc * ell + cc * ell * ell
                if g2 > g2_max or g2 < g2_min:
                    continue
                sin2 = 0.25 * wavelength * wavelength * g2
                cos_two_theta = 1.0 - 2.0 * sin2
                polarisation = (1.0 + cos_two_theta * cos_two_theta) / (
                    sin2 * math.sqrt(1.0 - sin2)
                )
                height[n] = (f_real[t] * f_real[t] + f_imag[t] * f_imag[t]) * polarisation
                angle[n] = math.degrees(2.0 * math.asin(math.sqrt(sin2)))
                n += 1
    return n


@njit(cache=True, fastmath=True)
def _merge(angle, height, n):
    """Peaks sorted by angle, reflections within the tolerance of a peak's first added up.

    A peak stands at the mean of its reflections, weighted by height, so that the absent ones
    of a supercell do not move it.
    By gap, not by rounding to a bin: symmetry-equivalent reflections differ by round-off,
    and a bin edge between them would split a peak in two.
    """
    order = np.argsort(angle[:n])
    peak_angle = np.empty(n)
    peak_height = np.empty(n)
    offset = np.empty(n)
    m = -1
    for index in order:
        if m >= 0 and angle[index] - peak_angle[m] < MERGE_TOLERANCE_DEG:
            peak_height[m] += height[index]
            offset[m] += height[index] * (angle[index] - peak_angle[m])
        else:
            m += 1
            peak_angle[m] = angle[index]
            peak_height[m] = height[index]
            offset[m] = 0.0
    for p in range(m + 1):
        if peak_height[p] > 0.0:
            peak_angle[p] += offset[p] / peak_height[p]
    return peak_angle[: m + 1], peak_height[: m + 1]


@njit(cache=True, fastmath=True)
def _broaden(peak_angle, peak_height, start, step, sigma, profile):
    """Add a Gaussian per peak to the empty ``profile``, by recurrence instead of exponentials."""
    strongest = 0.0
    for p in range(len(peak_height)):
        strongest = max(strongest, peak_height[p])
    weakest = WEAK_PEAK * strongest
    reach = CUT_OFF_SIGMAS * sigma
    curvature = 0.5 / (sigma * sigma)
    second = math.exp(-2.0 * curvature * step * step)
    for p in range(len(peak_angle)):
        if peak_height[p] <= weakest:
            continue
        first = max(math.ceil((peak_angle[p] - reach - start) / step), 0)
        last = min(math.floor((peak_angle[p] + reach - start) / step), len(profile) - 1)
        if last < first:
            continue
        offset = start + first * step - peak_angle[p]
        value = peak_height[p] * math.exp(-curvature * offset * offset)
        ratio = math.exp(-curvature * (2.0 * offset * step + step * step))
        for x in range(first, last + 1):
            profile[x] += value
            value *= ratio
            ratio *= second


@njit(cache=True, fastmath=True)
def crystal_peaks(cell, frac, occ, numbers, start, stop, wavelength, factors, per_s2):
    """Merged peaks of one crystal, angles in degrees 2θ within [start, stop].

    Atoms must be sorted by atomic number; the longest cell axis should be the last.
    """
    n_atoms = len(numbers)
    elements = np.empty(n_atoms, np.int64)
    starts = np.empty(n_atoms + 1, np.int64)
    n_elements = 0
    for atom in range(n_atoms):
        if atom == 0 or numbers[atom] != elements[n_elements - 1]:
            elements[n_elements] = numbers[atom]
            starts[n_elements] = atom
            n_elements += 1
    starts[n_elements] = n_atoms
    g_min = 2.0 * math.sin(math.radians(start / 2)) / wavelength
    g_max = 2.0 * math.sin(math.radians(stop / 2)) / wavelength
    # no more reflections than lattice points in half the box around the limiting sphere
    room = 1.0
    for axis in range(3):
        length = math.sqrt(cell[axis, 0] ** 2 + cell[axis, 1] ** 2 + cell[axis, 2] ** 2)
        room *= 2.0 * math.floor(g_max * length + 1e-9) + 1.0
    angle = np.empty(int(room / 2) + 1)
    height = np.empty(int(room / 2) + 1)
    n = _reflections(
        cell, frac, occ, elements[:n_elements], starts, g_min, g_max, wavelength, factors,
        per_s2, angle, height,
    )  # fmt: skip
    return _merge(angle, height, n)


@njit(cache=True, nogil=True)
def profiles(
    cells, frac, occ, numbers, offsets, start, stop, step, sigma, wavelength, factors, per_s2, out
):
    """Max-normalised profiles of a batch, into ``out`` (n, n_points); empty ones stay zero."""
    for i in range(len(cells)):
        first, last = offsets[i], offsets[i + 1]
        peak_angle, peak_height = crystal_peaks(
            cells[i], frac[first:last], occ[first:last], numbers[first:last], start, stop,
            wavelength, factors, per_s2,
        )  # fmt: skip
        profile = np.zeros(out.shape[1])
        _broaden(peak_angle, peak_height, start, step, sigma, profile)
        top = 0.0
        for x in range(len(profile)):
            top = max(top, profile[x])
        if top > 0.0:
            for x in range(len(profile)):
                out[i, x] = profile[x] / top
