"""The atoms of a cell from its asymmetric unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matlode.data.space_group_names import Operations

SAME_ATOM_A = 0.5
"""Images of one site that are nearer than this are one atom at a special position."""
SAME_SITE_A = 0.02
"""Species nearer than this share one mixed site."""
MAX_ROUNDS = 5
"""Times that the mean of the images is taken; two are enough for rounded coordinates."""


def expand_site(
    place: NDArray[np.float64],
    operations: Operations,
    lattice: NDArray[np.float64],
    *,
    limit_a: float = SAME_ATOM_A,
) -> NDArray[np.float64]:
    """Return the (k, 3) distinct images of a site in the cell, fractional in 0..1.

    Images nearer than ``limit_a`` to the site are one atom, at their mean: coordinates of few
    digits are moved to the special position that they are meant to be.
    """
    if len(operations) == 1:
        return place[None] % 1
    near = np.zeros(len(operations), dtype=bool)
    for _ in range(MAX_ROUNDS):
        images = operations.rotations @ place + operations.translations
        shifts = images - place
        shifts -= np.rint(shifts)
        now = np.linalg.norm(shifts @ lattice, axis=1) < limit_a
        if (now == near).all() or now.sum() == 1:
            break
        place = place + shifts[now].mean(axis=0)
        near = now
    if now.sum() == 1:
        return images % 1
    return _find_distinct(images % 1, lattice, limit_a)


def _find_distinct(
    images: NDArray[np.float64], lattice: NDArray[np.float64], limit_a: float
) -> NDArray[np.float64]:
    left, distinct = images, []
    while len(left):
        shifts = left - left[0]
        shifts -= np.rint(shifts)
        far = np.linalg.norm(shifts @ lattice, axis=1) >= limit_a
        distinct.append(left[0])
        left = left[far]
    return np.array(distinct)


def join_mixed_sites(
    places: NDArray[np.float64], occupancies: NDArray[np.float64], lattice: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return (n,), for each species the index of the first one that shares its site.

    ``places`` (n, 3) are fractional, ``occupancies`` (n,). Only partial occupancies can share.
    """
    from scipy.spatial import cKDTree

    owners = np.arange(len(places))
    partial = np.flatnonzero(occupancies < 1)
    if len(partial) < 2:
        return owners
    # distances of fractional coordinates are at most those in Å over the smallest spacing
    spacing = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0).max()
    tree = cKDTree(places[partial] % 1 % 1, boxsize=1)
    for i, j in sorted(tree.query_pairs(min(SAME_SITE_A / spacing, 0.4))):
        shift = places[partial[i]] - places[partial[j]]
        shift -= np.rint(shift)
        if np.linalg.norm(shift @ lattice) < SAME_SITE_A:
            owners[partial[j]] = min(owners[partial[j]], owners[partial[i]])
    return owners
