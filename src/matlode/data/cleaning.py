"""Find crystals that cannot be used, with the reason."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import FULL_SITE, MAX_ATOMIC_NUMBER, Crystals

MIN_VOLUME_PER_ATOM_A3 = 2.0
"""Below that of any known solid (diamond: 5.7, H in metals: about 2.5)."""
MAX_VOLUME_PER_ATOM_A3 = 500.0
"""Above that of any dense crystal; larger cells are gases or damaged files."""
MAX_EDGE_A = 1000.0
"""Longest allowed cell vector; the longest of 74,760 known cells has 162 Å."""
MAX_SKEW = 1000.0
"""Largest product of the edges divided by the volume: 1 for a rectangular cell, 130 for the most
skewed known cell. Beyond these two limits, lattice planes would need too much memory."""
MAX_COORDINATE = 1e6
"""Largest fractional coordinate; larger ones have too few digits after the decimal point."""


def find_problems(crystals: Crystals) -> list[str | None]:
    """Return for each crystal None, or the reason why it cannot be used."""
    # imports numba, which a goal is checked without
    from matlode.data.crowding import find_crowded_atoms

    reasons: list[str | None] = [None] * len(crystals)
    with np.errstate(invalid="ignore", over="ignore"):
        volumes = crystals.volumes_a3
    for index in np.flatnonzero(_are_suspicious(crystals, volumes)):
        reasons[index] = _describe_problem(crystals, index, float(volumes[index]))
    for crowded, reason in find_crowded_atoms(crystals).items():
        reasons[crowded] = reasons[crowded] or reason
    return reasons


def _are_suspicious(crystals: Crystals, volumes_a3: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (n,), whether ``_describe_problem`` would find a problem; fast for many crystals."""
    n = len(crystals)
    owners = np.repeat(np.arange(n), crystals.n_atoms)
    bad_atoms = (
        ~(abs(crystals.frac_coords) <= MAX_COORDINATE).all(axis=1)
        | (crystals.numbers < 1)
        | (crystals.numbers > MAX_ATOMIC_NUMBER)
        | ~((crystals.occupancies > 0) & (crystals.occupancies <= FULL_SITE))
    )
    amounts = np.bincount(owners, crystals.occupancies, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_atom = volumes_a3 / amounts
    # comparisons with NaN are false, so NaN is suspicious too
    fits = (per_atom >= MIN_VOLUME_PER_ATOM_A3) & (per_atom <= MAX_VOLUME_PER_ATOM_A3)
    edges = _edge_lengths(crystals)
    with np.errstate(over="ignore", invalid="ignore"):
        fits &= (edges.max(axis=1) <= MAX_EDGE_A) & (edges.prod(axis=1) <= MAX_SKEW * volumes_a3)
    return (np.bincount(owners[bad_atoms], minlength=n) > 0) | ~fits


def _edge_lengths(crystals: Crystals) -> NDArray[np.float64]:
    """Return (n, 3), the lengths of the cell vectors."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt((crystals.lattices**2).sum(axis=2)).reshape(-1, 3)


def _describe_problem(crystals: Crystals, index: int | np.intp, volume_a3: float) -> str | None:
    rows = crystals.atoms(index)
    numbers = crystals.numbers[rows]
    if len(numbers) == 0:
        return "no atoms"
    if not (np.isfinite(crystals.lattices[index]).all() and np.isfinite(volume_a3)):
        return "cell has a value that is not finite"
    if not np.isfinite(crystals.frac_coords[rows]).all():
        return "a coordinate is not finite"
    furthest = float(abs(crystals.frac_coords[rows]).max())
    if furthest > MAX_COORDINATE:
        return (
            f"a fractional coordinate is {furthest:.3g}; beyond {MAX_COORDINATE:g} no place is left"
        )
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        wrong = int(numbers.max() if numbers.max() > MAX_ATOMIC_NUMBER else numbers.min())
        return f"element Z = {wrong} is outside 1..{MAX_ATOMIC_NUMBER}"
    amount = float(crystals.occupancies[rows].sum())
    if amount == 0:
        return "all sites are empty"
    odd = crystals.occupancies[rows]
    odd = odd[~((odd > 0) & (odd <= FULL_SITE))]
    if len(odd):
        return f"an occupancy is {odd[0]:g}; wanted above 0 and at most 1"
    per_atom = volume_a3 / amount
    if not MIN_VOLUME_PER_ATOM_A3 <= per_atom <= MAX_VOLUME_PER_ATOM_A3:
        return (
            f"{per_atom:.3g} Å³ per atom; a crystal has "
            f"{MIN_VOLUME_PER_ATOM_A3:g}..{MAX_VOLUME_PER_ATOM_A3:g}"
        )
    longest = float(_edge_lengths(crystals)[index].max())
    skew = float(_edge_lengths(crystals)[index].prod() / volume_a3)
    if not (longest <= MAX_EDGE_A and skew <= MAX_SKEW):
        return (
            f"its longest edge has {longest:.3g} Å, its edges' product is {skew:.3g} times its "
            f"volume; wanted at most {MAX_EDGE_A:g} Å and {MAX_SKEW:g}"
        )
    return None
