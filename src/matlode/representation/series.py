"""Compiled kernels that compute peaks and time-series characteristics of patterns."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

PEAK_THRESHOLD = 0.02
"""Maxima below this fraction of the strongest point are not counted as peaks."""


@njit(cache=True, nogil=True)
def find_peak_indices(pattern, threshold=PEAK_THRESHOLD):
    """Return the grid indices of local maxima above ``threshold``, in order of angle."""
    found = np.empty(len(pattern), np.int64)
    n = 0
    for x in range(1, len(pattern) - 1):
        here = pattern[x]
        if here > threshold and here > pattern[x - 1] and here >= pattern[x + 1]:
            found[n] = x
            n += 1
    return found[:n]


@njit(cache=True, nogil=True)
def read_peaks(patterns, two_theta_deg, d_angstrom, n_first, n_strongest, out):
    """Compute the rows of ``descriptors.compute_pattern_descriptors`` for a batch of patterns."""
    n_points = patterns.shape[1]
    strongest = np.empty(n_strongest + 1, np.int64)
    for i in range(len(patterns)):
        pattern = patterns[i]
        peaks = find_peak_indices(pattern)
        for p in range(min(len(peaks), n_first)):
            out[i, p] = d_angstrom[peaks[p]]
        kept = 0
        for peak in peaks:
            # insertion from the weak end, after peaks of equal height
            place = kept
            while place > 0 and pattern[strongest[place - 1]] < pattern[peak]:
                strongest[place] = strongest[place - 1]
                place -= 1
            strongest[place] = peak
            kept = min(kept + 1, n_strongest)
        for p in range(kept):
            out[i, n_first + p] = d_angstrom[strongest[p]]
            out[i, n_first + n_strongest + p] = pattern[strongest[p]]
        total = first_moment = second = 0.0
        for x in range(n_points):
            total += pattern[x]
            first_moment += pattern[x] * two_theta_deg[x]
        for x in range(n_points):
            second += (pattern[x] - total / n_points) ** 2
        at = n_first + 2 * n_strongest
        out[i, at] = len(peaks)
        out[i, at + 1] = first_moment / total if total > 0 else 0.0
        out[i, at + 2] = total
        out[i, at + 3] = math.sqrt(second / n_points)


@njit(cache=True, nogil=True)
def characterise(patterns, floor, out):
    """Compute the columns of ``characteristics.CHARACTERISTICS`` for a batch of patterns.

    Values below ``floor`` are set to zero.
    """
    n = patterns.shape[1]
    x = np.empty(n)
    for i in range(len(patterns)):
        total = 0.0
        for p in range(n):
            x[p] = patterns[i, p] if patterns[i, p] >= floor else 0.0
            total += x[p]
        mean = total / n
        second, third, fourth, slope = _moments(x, mean)
        sigma = math.sqrt(second)
        spread = max(sigma, 1e-6)
        energy, first, last = _energies(x)
        change, squared_change = _changes(x)
        above, longest, beyond = _levels(x, mean, 3.0 * sigma)
        highest = x.argmax()
        out[i, 0] = mean
        out[i, 1] = sigma
        out[i, 2] = third / spread**3
        out[i, 3] = fourth / spread**4
        out[i, 4] = energy
        out[i, 5] = change
        out[i, 6] = squared_change
        out[i, 7] = above
        out[i, 8] = longest
        out[i, 9] = _count_peaks(x, 3)
        out[i, 10] = beyond
        out[i, 11] = _lagged(x, mean, 3) / max(second, 1e-12)
        out[i, 12] = _lagged(x, mean, 10) / max(second, 1e-12)
        out[i, 13] = _c3(x, 6)
        out[i, 14] = _binned_entropy(x, 10)
        out[i, 15] = highest / n
        out[i, 16] = _index_of_half(x) / n
        out[i, 17] = first / max(energy, 1e-12)
        out[i, 18] = last / max(energy, 1e-12)
        out[i, 19] = slope


@njit(cache=True)
def _moments(x, mean):
    """Return the second to fourth central moments, and the slope of the linear trend."""
    n = len(x)
    middle = (n - 1) / 2
    second = third = fourth = trend = weight = 0.0
    for p in range(n):
        c = x[p] - mean
        second += c * c
        third += c * c * c
        fourth += c * c * c * c
        trend += c * (p - middle)
        weight += (p - middle) ** 2
    return second / n, third / n, fourth / n, trend / weight


@njit(cache=True)
def _energies(x):
    """Return the sum of squares, and its parts in the first and the last quarter."""
    n = len(x)
    # as in numpy.array_split, the first parts are one element longer
    first_end = n // 4 + (1 if n % 4 > 0 else 0)
    last_start = n - n // 4
    energy = first = last = 0.0
    for p in range(n):
        square = x[p] * x[p]
        energy += square
        if p < first_end:
            first += square
        elif p >= last_start:
            last += square
    return energy, first, last


@njit(cache=True)
def _changes(x):
    """Return the mean absolute change, and the square root of the sum of squared changes."""
    total = squares = 0.0
    for p in range(1, len(x)):
        step = x[p] - x[p - 1]
        total += abs(step)
        squares += step * step
    return total / (len(x) - 1), math.sqrt(squares)


@njit(cache=True)
def _levels(x, mean, far):
    """Return the number of points above the mean, their longest run, and the fraction beyond
    ``far`` from the mean."""
    above = run = longest = beyond = 0
    for value in x:
        run = run + 1 if value > mean else 0
        above += value > mean
        longest = max(longest, run)
        beyond += abs(value - mean) > far
    return above, longest, beyond / len(x)


@njit(cache=True)
def _count_peaks(x, support):
    """Count the points that are higher than ``support`` neighbours on either side."""
    n_peaks = 0
    for p in range(support, len(x) - support):
        shift = 1
        while shift <= support and x[p] > x[p - shift] and x[p] > x[p + shift]:
            shift += 1
        n_peaks += shift > support
    return n_peaks


@njit(cache=True)
def _lagged(x, mean, lag):
    total = 0.0
    for p in range(lag, len(x)):
        total += (x[p] - mean) * (x[p - lag] - mean)
    return total / (len(x) - lag)


@njit(cache=True)
def _c3(x, lag):
    total = 0.0
    for p in range(2 * lag, len(x)):
        total += x[p] * x[p - lag] * x[p - 2 * lag]
    return total / (len(x) - 2 * lag)


@njit(cache=True)
def _binned_entropy(x, bins):
    low, high = x.min(), x.max()
    span = max(high - low, 1e-12)
    count = np.zeros(bins, np.int64)
    for value in x:
        count[min(int(bins * (value - low) / span), bins - 1)] += 1
    entropy = 0.0
    for c in count:
        if c > 0:
            entropy -= c / len(x) * math.log(c / len(x))
    return entropy


@njit(cache=True)
def _index_of_half(x):
    """Return the number of points that contain half of the sum."""
    total = 0.0
    for value in x:
        total += value
    mass = 0.0
    for p in range(len(x)):
        mass += x[p]
        if mass >= 0.5 * total * (1 - 1e-12):
            return p + 1
    return len(x)
