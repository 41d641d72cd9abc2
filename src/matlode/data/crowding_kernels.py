"""Compiled search for atoms that are too near to each other."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def find_crowded(
    lattices, heights, frac_coords, occupancies, offsets, usable, same_place, apart, full
):  # pragma: no cover
    """Return (n, 2): distance and amount of the first crowded pair of each crystal, or -1."""
    found = np.full((len(lattices), 2), -1.0)
    for crystal in range(len(lattices)):
        start, end = offsets[crystal], offsets[crystal + 1]
        if not usable[crystal] or end - start == 0:
            continue
        totals = np.zeros(end - start)
        for pass_ in range(2):
            limit = same_place if pass_ == 0 else apart
            nearest = _visit_pairs(
                lattices[crystal], heights[crystal], frac_coords[start:end],
                occupancies[start:end], totals, limit, pass_ == 0, same_place, full,
            )  # fmt: skip
            if pass_ == 0 and totals.max() > full:
                found[crystal, 0], found[crystal, 1] = 0.0, totals.max()
                break
            if pass_ == 1 and nearest >= 0:
                found[crystal, 0], found[crystal, 1] = nearest, 2.0
    return found


@njit(cache=True)
def _visit_pairs(
    lattice, heights, places, occupancies, totals, limit, adding, same_place, full
):  # pragma: no cover
    """Sum the occupancies within ``limit`` of each atom into ``totals`` (if ``adding``), or return
    the shortest distance of two sites that are too full; -1 if there are none."""
    shortest = -1.0
    # in thin cells, the nearest image is not that of the nearest fractional coordinates
    reach = np.zeros(3, np.int64)
    for axis in range(3):
        if heights[axis] < 2 * limit:
            reach[axis] = min(int(np.ceil(limit / heights[axis])), 10)
    if adding:
        totals += occupancies
    for i in range(len(places)):
        for j in range(i, len(places)):
            if i == j and reach.max() == 0:
                continue
            shift = places[j] - places[i]
            shift -= np.rint(shift)
            if abs(shift[0]) * heights[0] > limit and reach[0] == 0:
                continue
            if abs(shift[1]) * heights[1] > limit and reach[1] == 0:
                continue
            if abs(shift[2]) * heights[2] > limit and reach[2] == 0:
                continue
            for u in range(-reach[0], reach[0] + 1):
                for v in range(-reach[1], reach[1] + 1):
                    for w in range(-reach[2], reach[2] + 1):
                        if i == j and u == 0 and v == 0 and w == 0:
                            continue
                        x = np.zeros(3)
                        for k in range(3):
                            x[k] = (
                                (shift[0] + u) * lattice[0, k]
                                + (shift[1] + v) * lattice[1, k]
                                + (shift[2] + w) * lattice[2, k]
                            )
                        distance = np.sqrt(x[0] ** 2 + x[1] ** 2 + x[2] ** 2)
                        if distance >= limit:
                            continue
                        if adding and i != j:
                            totals[i] += occupancies[j]
                            totals[j] += occupancies[i]
                        elif (
                            not adding
                            and (distance >= same_place or i == j)
                            and totals[i] + totals[j] > full
                            and (shortest < 0 or distance < shortest)
                        ):
                            shortest = distance
    return shortest
