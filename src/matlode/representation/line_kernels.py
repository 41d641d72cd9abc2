"""Compiled kernels of search-match, which compare known crystals with a measured pattern.

There are two stages. ``correlate`` compares the strongest lines of all known crystals on an axis
evenly spaced in ln Q, on which a change of lattice size is a shift. ``fit_cell`` strains the cells
of the best crystals, within the symmetry of their lattice, and compares full profiles. Both use
square roots of intensity, which give more weight to weak lines and reduce the effect of texture.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

kernel = njit(cache=True, fastmath=True, nogil=True)
CUT_OFF_SIGMAS = 3.5
"""Distance at which the Gaussian of a line is cut off; the value there is 0.2 % of its height."""


@kernel
def merge_lines(log_q, intensity, ends, distance, most, bins, amplitudes, counts):
    """Merge lines closer than ``distance`` and keep the strongest ``most`` lines of each crystal.

    The lines ends[i]:ends[i + 1] of crystal i must be ascending in ln Q, in units of bins.
    Writes rounded positions, square roots of intensity, and the number of lines of each crystal.
    The intensities sum to 1 before the weakest lines are removed.
    """
    longest = 0
    for i in range(len(ends) - 1):
        longest = max(longest, ends[i + 1] - ends[i])
    position, total = np.empty((2, max(longest, 1)))
    for i in range(len(ends) - 1):
        n = 0
        start = -1e9
        everything = 0.0
        for p in range(ends[i], ends[i + 1]):
            if log_q[p] - start > distance:
                start = log_q[p]
                position[n] = 0.0
                total[n] = 0.0
                n += 1
            position[n - 1] += log_q[p] * intensity[p]
            total[n - 1] += intensity[p]
            everything += intensity[p]
        order = np.argsort(-total[:n])
        counts[i] = min(n, most)
        for k in range(counts[i]):
            line = order[k]
            bins[i, k] = int(position[line] / total[line] + 0.5)
            amplitudes[i, k] = math.sqrt(total[line] / everything)


@kernel
def correlate(bins, amplitudes, starts, rows, roots, seen, cost, scores, shifts):
    """Write the largest cosine minus cost over all shifts, and this shift, for each of ``rows``.

    ``bins`` and ``amplitudes`` of a crystal are starts[row]:starts[row + 1]. ``roots`` (square
    roots of the observed intensity) and ``seen`` (1 where measured) have a margin of half the
    number of shifts on both sides.
    """
    n_shifts = len(cost)
    dot = np.empty(n_shifts, np.float32)
    norm2 = np.empty(n_shifts, np.float32)
    for i in range(len(rows)):
        dot[:] = 0.0
        norm2[:] = 1e-6
        for k in range(starts[rows[i]], starts[rows[i] + 1]):
            at = np.uint64(bins[k])
            a = amplitudes[k]
            for s in range(np.uint64(n_shifts)):
                dot[s] += a * roots[at + s]
                norm2[s] += a * a * seen[at + s]
        best = -1.0
        for s in range(n_shifts):
            score = dot[s] / math.sqrt(norm2[s]) - cost[s]
            if score > best:
                best = score
                shifts[i] = s - n_shifts // 2
        scores[i] = best


@kernel
def match_profile(
    metric, zero_deg, damping, products, intensity, wavelength, start_deg, step_deg, sigma_deg,
    roots, seen, profile,
):  # fmt: skip
    """Draw a profile and return its cosine similarity to an observed one (square roots of both).

    ``metric`` (6,) is the reciprocal metric, and 1/d² is ``products @ metric`` with the products
    of indices (n, 6); ``damping`` is the displacement factor B of all atoms in Å². ``roots``
    (n_points,) has norm 1 and is 0 where not ``seen``.
    """
    profile[:] = 0.0
    reach = CUT_OFF_SIGMAS * sigma_deg / step_deg
    curvature = 0.5 * (step_deg / sigma_deg) ** 2
    second = math.exp(-2.0 * curvature)
    n_points = len(profile)
    for r in range(len(intensity)):
        g2 = 0.0
        for j in range(6):
            g2 += metric[j] * products[r, j]
        sine = 0.5 * wavelength * math.sqrt(max(g2, 0.0))
        if sine >= 1.0:
            continue
        position = (math.degrees(2.0 * math.asin(sine)) + zero_deg - start_deg) / step_deg
        first = max(math.ceil(position - reach), 0)
        last = min(math.floor(position + reach), n_points - 1)
        if first > last:
            continue
        offset = first - position
        value = intensity[r] * math.exp(-curvature * offset * offset - 0.5 * damping * g2)
        ratio = math.exp(-curvature * (2.0 * offset + 1.0))
        for x in range(first, last + 1):
            profile[x] += value
            value *= ratio
            ratio *= second
    dot = 0.0
    norm2 = 1e-12
    for x in range(n_points):
        here = profile[x] * seen[x]
        dot += roots[x] * math.sqrt(here)
        norm2 += here
    return dot / math.sqrt(norm2)


@kernel
def fit_cell(
    metric, directions, values, steps, costs, products, intensity, wavelength, start_deg,
    step_deg, sigma_deg, roots, seen,
):  # fmt: skip
    """Strain a cell to fit an observed profile; return the match minus costs, and the match.

    ``values`` (modified in place) are the strains along the ``directions`` (n, 6) of the metric,
    the zero shift and the damping; ``costs`` are the penalties per square of each value. Two
    rounds of line searches are made, the second with half the steps; values with step 0 are kept.
    """
    n = len(directions)
    profile = np.empty(len(roots))
    trial = np.empty(6)
    heights = np.empty(5)
    score = match = 0.0
    for sweep in range(2):
        for axis in range(n + 2):
            step = steps[axis] / (sweep + 1)
            if step == 0.0:
                continue
            start = best = values[axis]
            score = -10.0
            for t in range(6):
                if t < 5:
                    here = start + (t - 2) * step
                else:  # the maximum of the parabola through the best point and its neighbours
                    k = round((best - start) / step) + 2
                    if k == 0 or k == 4:
                        break
                    bend = heights[k - 1] - 2.0 * heights[k] + heights[k + 1]
                    if bend >= 0.0:
                        break
                    here = best + 0.5 * step * (heights[k - 1] - heights[k + 1]) / bend
                values[axis] = here if axis <= n else max(here, 0.0)
                cost = 0.0
                for d in range(n + 2):
                    cost += costs[d] * values[d] * values[d]
                for j in range(6):
                    trial[j] = metric[j]
                    for d in range(n):
                        trial[j] += values[d] * directions[d, j]
                cosine = match_profile(
                    trial, values[n], values[n + 1], products, intensity, wavelength, start_deg,
                    step_deg, sigma_deg, roots, seen, profile,
                )  # fmt: skip
                if t < 5:
                    heights[t] = cosine - cost
                if cosine - cost > score:
                    score, match, best = cosine - cost, cosine, values[axis]
            values[axis] = best
    return score, match
