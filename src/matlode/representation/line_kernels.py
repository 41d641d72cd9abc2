"""Compiled kernels of search-match: how well known crystals explain a measured pattern.

Two stages. ``correlate`` looks at all known crystals, as few lines on an axis even in ln Q where a
larger lattice is a shift. ``fit_cells`` strains the cells of the best, within what their lattice
allows, until their full profiles meet the measured one. Both compare square roots of intensity,
so that weak lines count and texture, which multiplies intensities, hurts less.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

kernel = njit(cache=True, fastmath=True, nogil=True)
CUT_OFF_SIGMAS = 3.5
"""Where the Gaussian of a line ends: 0.2 % of its height."""


@kernel
def merge_lines(log_q, intensity, ends, distance, most, bins, amplitudes, counts):
    """Lines ends[i]:ends[i + 1] of crystal i, ascending in ln Q (given in bins), as at most
    ``most`` lines that are farther apart than ``distance``.

    Writes, per crystal, positions (rounded), square roots of intensity and how many there are.
    Their squares sum to 1 before the weakest are left out.
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
    """The best cosine over shifts of each crystal of ``rows``, less the cost of the shift.

    Lines starts[row]:starts[row + 1] of a crystal stand at ``bins``; ``roots`` and ``seen``
    (what was observed there, and whether) have a margin of half the shifts on both sides.
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
def profile_match(
    metric, zero_deg, damping, products, intensity, wavelength, start_deg, step_deg, sigma_deg,
    roots, seen, profile,
):  # fmt: skip
    """Cosine of the square roots of a profile, drawn into ``profile``, and of an observed one.

    ``metric``: the reciprocal one (6,), as factors of ``products`` (n, 6) of indices;
    ``damping``: B in Å², of all atoms. ``roots`` (n_points,) are of length 1, 0 where nothing was
    ``seen``.
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
    """Strain a cell until its profile meets the observed one; returns match less costs, and match.

    ``values``, in and out, are the strain along each of the ``directions`` (n, 6) of the metric,
    the zero shift and the damping; ``costs`` are per their squares. Two rounds of search along
    each, with half its step in the second; what has no step stays as it is.
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
                else:  # the top of the parabola through the best of five
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
                cosine = profile_match(
                    trial, values[n], values[n + 1], products, intensity, wavelength, start_deg,
                    step_deg, sigma_deg, roots, seen, profile,
                )  # fmt: skip
                if t < 5:
                    heights[t] = cosine - cost
                if cosine - cost > score:
                    score, match, best = cosine - cost, cosine, values[axis]
            values[axis] = best
    return score, match
