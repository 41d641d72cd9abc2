"""Limits of formulas that are decoded. Without PyTorch, so that goals are checked at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers, parse_formula

MAX_SITES = 5
"""Largest number of elements in a stoichiometry, whose assignments are enumerated."""


def _every_element() -> NDArray[np.bool_]:
    """(100,), all true."""
    return np.ones(MAX_ATOMIC_NUMBER, dtype=bool)


def _no_element() -> NDArray[np.bool_]:
    """(100,), all false."""
    return np.zeros(MAX_ATOMIC_NUMBER, dtype=bool)


@dataclass(frozen=True, eq=False)
class FormulaLimits:
    """Constraints that every decoded formula satisfies by construction.

    ``optimisation.goal`` rejects limits that no formula can satisfy.
    """

    allowed: NDArray[np.bool_] = field(default_factory=_every_element)
    """(100,), elements that a formula may contain."""
    required: NDArray[np.bool_] = field(default_factory=_no_element)
    """(100,), elements that a formula must contain."""
    min_elements: int = 1
    max_elements: int = 5
    max_atoms: int = 20
    """Largest number of atoms in the reduced formula."""
    sites: tuple[tuple[int, NDArray[np.bool_]], ...] = ()
    """A stoichiometry: for each site the number of atoms and a mask (100,) of the elements that
    it may hold. The numbers of atoms have no common divisor. If given, it determines the numbers
    of elements and atoms."""

    def in_order(self, order: NDArray[np.integer]) -> FormulaLimits:
        """Permute the limits: element i of the result is element ``order[i]`` of these (100,)."""
        sites = tuple((amount, which[order]) for amount, which in self.sites)
        return replace(
            self, allowed=self.allowed[order], required=self.required[order], sites=sites
        )

    def admit(self, formula: str) -> bool:
        """Whether a reduced formula is within the limits."""
        amounts = {atomic_numbers()[s] - 1: n for s, n in parse_formula(formula).items()}
        elements = list(amounts)
        if not (
            self.allowed[elements].all() and amounts.keys() >= set(np.flatnonzero(self.required))
        ):
            return False
        if self.sites:
            return len(elements) == len(self.sites) and any(
                all(
                    amounts[element] == amount and which[element]
                    for element, (amount, which) in zip(order, self.sites, strict=True)
                )
                for order in permutations(elements)
            )
        few_atoms = sum(amounts.values()) <= self.max_atoms
        return few_atoms and self.min_elements <= len(elements) <= self.max_elements
