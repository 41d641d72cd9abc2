"""Atoms that are too near to each other to exist."""

from __future__ import annotations

import numpy as np

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
    from matlode.data.crowding_kernels import find_crowded

    finite = np.asarray(np.isfinite(crystals.lattices.reshape(-1, 9)).all(axis=1))
    finite[finite] &= abs(np.linalg.det(crystals.lattices[finite])) > 0
    bad_atoms = ~np.isfinite(crystals.frac_coords).all(axis=1)
    owners = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    finite[owners[bad_atoms]] = False
    heights = np.ones((len(crystals), 3))
    heights[finite] = 1 / np.linalg.norm(np.linalg.inv(crystals.lattices[finite]), axis=1)
    found = find_crowded(
        crystals.lattices, heights, crystals.frac_coords, crystals.occupancies, crystals.offsets,
        finite, SAME_PLACE_A, MIN_DISTANCE_A, FULL_SITE,
    )  # fmt: skip
    return {
        int(index): f"{amount:.3g} atoms stand at one place; a site holds at most one"
        if distance < SAME_PLACE_A
        else f"two atoms are {distance:.2g} Å apart; expected at least {MIN_DISTANCE_A:g} Å"
        for index, distance, amount in zip(
            np.flatnonzero(found[:, 0] >= 0), *found[found[:, 0] >= 0].T, strict=True
        )
    }
