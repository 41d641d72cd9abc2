"""How likely a known crystal is the phase of a sample, before its pattern is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.screening.formula_lists import MADE, FormulaLists

GASES: Final = (1, 2, 7, 8, 9, 10, 17, 18, 36, 54, 86)
"""Atomic numbers of the elements that are gases at room conditions."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Disadvantages of unlikely crystals, in units of the cosine of patterns."""

    per_strain: float = 0.006
    """Price of each strain that the symmetry of the lattice leaves free: a triclinic lattice with
    six can be fitted to patterns that a cubic one cannot."""
    not_made: float = 0.0065
    """For formulas that are in no list of compounds that were made."""
    hull_per_ev: float = 0.05
    """Per eV/atom above the hull."""
    largest_hull_ev: float = 0.05
    """Energies above the hull beyond this are no less likely; unknown ones count as this."""

    @property
    def worst(self) -> float:
        """The lowest value."""
        return -(6 * self.per_strain + self.not_made + self.hull_per_ev * self.largest_hull_ev)

    def compute(
        self,
        n_strains: NDArray[np.uint8],
        made: NDArray[np.bool_],
        hull_energies: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the sums for n crystals, (n,); all arguments are (n,)."""
        hull = np.nan_to_num(hull_energies, nan=self.largest_hull_ev).clip(0, self.largest_hull_ev)
        costs = self.per_strain * n_strains + self.not_made * ~made + self.hull_per_ev * hull
        return np.asarray(-costs, dtype=np.float32)


def find_made(formulas: Sequence[str]) -> NDArray[np.bool_]:
    """Find canonical formulas that are in the list of those that were made: (n,)."""
    found = FormulaLists.load().find(formulas)
    return np.array([each is not None and each.name == MADE for each in found], bool)
