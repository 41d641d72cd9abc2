"""Small changes of formulas: another element, or other amounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import atomic_numbers, element_symbols, write_formula
from matlode.realisation.prototypes import PrototypeLibrary, compute_element_distances

N_SUBSTITUTES = 8
"""Elements that may replace one, the nearest in electronegativity and radius."""
Amounts = Mapping[str, int]
"""Symbol → number of atoms in the reduced formula."""


@dataclass(frozen=True)
class FormulaEditor:
    """Changes formulas at random, to elements and stoichiometries of known materials."""

    library: PrototypeLibrary
    elements: Sequence[str]
    """Symbols of the elements that may be put in."""

    def exchange_element(self, amounts: Amounts, rng: np.random.Generator) -> str:
        """Canonical formula with one element exchanged for one of the nearest."""
        old = str(rng.choice(sorted(amounts)))
        near = [symbol for symbol in self._substitutes[old] if symbol not in amounts]
        new = str(rng.choice(near[:N_SUBSTITUTES])) if near else old
        return write_formula({new if s == old else s: amount for s, amount in amounts.items()})

    def exchange_amounts(self, amounts: Amounts, rng: np.random.Generator) -> str:
        """Canonical formula of the same elements with the amounts of a known material."""
        known = self._stoichiometries.get(len(amounts))
        if known is None:
            return write_formula(amounts)
        ways, weights = known
        chosen = rng.permutation(ways[rng.choice(len(ways), p=weights)])
        return write_formula(dict(zip(amounts, chosen.tolist(), strict=True)))

    def change_amount(self, amounts: Amounts, rng: np.random.Generator) -> str:
        """Canonical formula with up to two atoms of one element more or less."""
        symbol = str(rng.choice(sorted(amounts)))
        changed = max(1, amounts[symbol] + int(rng.choice([-2, -1, 1, 2])))
        return write_formula({**amounts, symbol: changed})

    @cached_property
    def _substitutes(self) -> dict[str, list[str]]:
        """Element → elements that may replace it, the nearest first."""
        allowed = np.array([atomic_numbers()[symbol] for symbol in self.elements])
        order = np.argsort(compute_element_distances()[1:][:, allowed], axis=1, kind="stable")
        return {
            symbol: [element_symbols()[allowed[at] - 1] for at in of_one]
            for symbol, of_one in zip(element_symbols(), order, strict=False)
        }

    @cached_property
    def _stoichiometries(self) -> dict[int, tuple[list[tuple[int, ...]], NDArray[np.float64]]]:
        """Number of elements → amounts that have templates, and their shares of these."""
        counts: dict[int, dict[tuple[int, ...], int]] = {}
        for amounts, known in self.library.by_amounts.items():
            counts.setdefault(len(amounts), {})[amounts] = len(known.rows)
        return {
            size: (list(of), np.array(list(of.values())) / sum(of.values()))
            for size, of in counts.items()
        }
