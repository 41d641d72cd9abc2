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
    the shortest distance of two sites that are too full; -1 if there are none.

    Atoms are compared with those of neighbouring boxes, so time and memory grow as their number.
    """
    shortest = -1.0
    # in thin cells, the nearest image is not that of the nearest fractional coordinates
    reach = np.zeros(3, np.int64)
    for axis in range(3):
        if heights[axis] < 2 * limit:
            reach[axis] = min(int(np.ceil(limit / heights[axis])), 10)
    if adding:
        totals += occupancies
    boxes = _count_boxes(heights, limit, len(places))
    box_of = np.empty((len(places), 3), np.int64)
    first = np.full(boxes.prod(), -1)
    following = np.empty(len(places), np.int64)
    for i in range(len(places) - 1, -1, -1):
        for axis in range(3):
            inside = places[i, axis] - np.floor(places[i, axis])
            box_of[i, axis] = min(int(inside * boxes[axis]), boxes[axis] - 1)
        box = (box_of[i, 0] * boxes[1] + box_of[i, 1]) * boxes[2] + box_of[i, 2]
        following[i] = first[box]
        first[box] = i
    sides = np.where(boxes > 1, 1, 0)
    for i in range(len(places)):
        for a in range(box_of[i, 0] - sides[0], box_of[i, 0] + sides[0] + 1):
            for b in range(box_of[i, 1] - sides[1], box_of[i, 1] + sides[1] + 1):
                for c in range(box_of[i, 2] - sides[2], box_of[i, 2] + sides[2] + 1):
                    box = (a % boxes[0] * boxes[1] + b % boxes[1]) * boxes[2] + c % boxes[2]
                    j = first[box]
                    while j >= 0:
                        if j >= i:
                            distance = _visit_pair(
                                lattice, heights, places, occupancies, totals, limit, adding,
                                same_place, full, reach, i, j,
                            )  # fmt: skip
                            if distance >= 0 and (shortest < 0 or distance < shortest):
                                shortest = distance
                        j = following[j]
    return shortest


@njit(cache=True)
def _count_boxes(heights, limit, n):  # pragma: no cover
    """Return (3,), numbers of boxes along the axes, wider than ``limit`` and at most 4 n in all.

    There are one, or three and more, so that a box has no neighbour twice.
    """
    boxes = np.ones(3, np.int64)
    if n < 32:  # boxes would cost more than they save
        return boxes
    for axis in range(3):
        boxes[axis] = max(int(min(heights[axis] / limit, float(n))), 1)
    while float(boxes[0]) * float(boxes[1]) * float(boxes[2]) > 4 * n:
        widest = boxes.argmax()
        boxes[widest] = boxes[widest] // 2
    for axis in range(3):
        if boxes[axis] < 3:
            boxes[axis] = 1
    return boxes


@njit(cache=True)
def _visit_pair(
    lattice, heights, places, occupancies, totals, limit, adding, same_place, full, reach, i, j
):  # pragma: no cover
    """Do what ``_visit_pairs`` does for all images of the atoms i and j."""
    shortest = -1.0
    if i == j and reach.max() == 0:
        return shortest
    shift = places[j] - places[i]
    shift -= np.rint(shift)
    for axis in range(3):
        if abs(shift[axis]) * heights[axis] > limit and reach[axis] == 0:
            return shortest
    for u in range(-reach[0], reach[0] + 1):
        for v in range(-reach[1], reach[1] + 1):
            for w in range(-reach[2], reach[2] + 1):
                if i == j and u == 0 and v == 0 and w == 0:
                    continue
                square = 0.0
                for k in range(3):
                    square += (
                        (shift[0] + u) * lattice[0, k]
                        + (shift[1] + v) * lattice[1, k]
                        + (shift[2] + w) * lattice[2, k]
                    ) ** 2
                distance = np.sqrt(square)
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
