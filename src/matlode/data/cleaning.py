"""What makes a crystal unusable, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals

MIN_VOLUME_PER_ATOM_A3 = 2.0
"""Below any known solid (diamond has 5.7, H in metals about 2.5)."""
MAX_VOLUME_PER_ATOM_A3 = 500.0
"""Above any dense crystal; such cells are gases or broken files."""


def crystal_problems(crystals: Crystals) -> list[str | None]:
    """Per crystal: None, or why it cannot be used."""
    reasons: list[str | None] = [None] * len(crystals)
    with np.errstate(invalid="ignore", over="ignore"):
        volumes = crystals.volumes_a3
    for index in np.flatnonzero(_are_suspicious(crystals, volumes)):
        reasons[index] = _problem(crystals, index, float(volumes[index]))
    return reasons


def _are_suspicious(crystals: Crystals, volumes_a3: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,), whether anything that ``_problem`` objects to is there; all crystals at once."""
    n = len(crystals)
    owners = np.repeat(np.arange(n), crystals.n_atoms)
    bad_atoms = (
        ~np.isfinite(crystals.frac_coords).all(axis=1)
        | (crystals.numbers < 1)
        | (crystals.numbers > MAX_ATOMIC_NUMBER)
    )
    amounts = np.bincount(owners, crystals.occupancies, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_atom = volumes_a3 / amounts
    # comparisons with NaN are false, so that NaN is suspicious too
    fits = (per_atom >= MIN_VOLUME_PER_ATOM_A3) & (per_atom <= MAX_VOLUME_PER_ATOM_A3)
    return (np.bincount(owners[bad_atoms], minlength=n) > 0) | ~fits


def _problem(crystals: Crystals, index: int | np.intp, volume_a3: float) -> str | None:
    rows = crystals.atoms(index)
    numbers = crystals.numbers[rows]
    if len(numbers) == 0:
        return "no atoms"
    if not (np.isfinite(crystals.lattices[index]).all() and np.isfinite(volume_a3)):
        return "cell has a value that is not finite"
    if not np.isfinite(crystals.frac_coords[rows]).all():
        return "a coordinate is not finite"
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        wrong = int(numbers.max() if numbers.max() > MAX_ATOMIC_NUMBER else numbers.min())
        return f"element Z = {wrong} is outside 1..{MAX_ATOMIC_NUMBER}"
    amount = float(crystals.occupancies[rows].sum())
    if not amount > 0:
        return "all sites are empty"
    per_atom = volume_a3 / amount
    if not MIN_VOLUME_PER_ATOM_A3 <= per_atom <= MAX_VOLUME_PER_ATOM_A3:
        return (
            f"{per_atom:.3g} Å³ per atom; a crystal has "
            f"{MIN_VOLUME_PER_ATOM_A3:g}..{MAX_VOLUME_PER_ATOM_A3:g}"
        )
    return None
