"""Atoms that are too near to each other to exist."""

from __future__ import annotations

import numpy as np
from numba import njit

from matlode.data.crystals import FULL_SITE, Crystals

SAME_PLACE_A = 0.02
"""Species nearer than this share a mixed site."""
MIN_DISTANCE_A = 0.5
"""Below any distance of two atoms (H2: 0.74 Å)."""


def find_crowded_atoms(crystals: Crystals) -> dict[int, str]:
    """Return {crystal: reason} for crystals with atoms that cannot be there together.

    These are species at one place whose occupancies sum to more than 1, and two sites nearer
    than ``MIN_DISTANCE_A`` that are filled more than alternately.
    """
    finite = np.asarray(np.isfinite(crystals.lattices.reshape(-1, 9)).all(axis=1))
    finite[finite] &= abs(np.linalg.det(crystals.lattices[finite])) > 0
    bad_atoms = ~np.isfinite(crystals.frac_coords).all(axis=1)
    owners = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    finite[owners[bad_atoms]] = False
    heights = np.ones((len(crystals), 3))
    heights[finite] = 1 / np.linalg.norm(np.linalg.inv(crystals.lattices[finite]), axis=1)
    found = _find_crowded(
        crystals.lattices, heights, crystals.frac_coords, crystals.occupancies, crystals.offsets,
        finite,
    )  # fmt: skip
    return {
        int(index): f"{amount:.3g} atoms stand at one place; a site holds at most one"
        if distance < SAME_PLACE_A
        else f"two atoms are {distance:.2g} Å apart; expected at least {MIN_DISTANCE_A:g} Å"
        for index, distance, amount in zip(
            np.flatnonzero(found[:, 0] >= 0), *found[found[:, 0] >= 0].T, strict=True
        )
    }


@njit(cache=True)
def _find_crowded(lattices, heights, frac_coords, occupancies, offsets, usable):  # pragma: no cover
    """Return (n, 2): distance and amount of the first crowded pair of each crystal, or -1."""
    found = np.full((len(lattices), 2), -1.0)
    for crystal in range(len(lattices)):
        start, end = offsets[crystal], offsets[crystal + 1]
        if not usable[crystal] or end - start == 0:
            continue
        totals = np.zeros(end - start)
        for pass_ in range(2):
            limit = SAME_PLACE_A if pass_ == 0 else MIN_DISTANCE_A
            nearest = _visit_pairs(
                lattices[crystal], heights[crystal], frac_coords[start:end],
                occupancies[start:end], totals, limit, pass_ == 0,
            )  # fmt: skip
            if pass_ == 0 and totals.max() > FULL_SITE:
                found[crystal, 0], found[crystal, 1] = 0.0, totals.max()
                break
            if pass_ == 1 and nearest >= 0:
                found[crystal, 0], found[crystal, 1] = nearest, 2.0
    return found


@njit(cache=True)
def _visit_pairs(lattice, heights, places, occupancies, totals, limit, adding):  # pragma: no cover
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
                            and (distance >= SAME_PLACE_A or i == j)
                            and totals[i] + totals[j] > FULL_SITE
                            and (shortest < 0 or distance < shortest)
                        ):
                            shortest = distance
    return shortest
