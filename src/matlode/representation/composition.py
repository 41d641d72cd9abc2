"""Conversion of formulas and crystals to composition vectors, and of vectors to formulas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals, pack_crystals
from matlode.data.formulas import atomic_numbers, element_symbols, parse_formula, write_formula

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pymatgen.core import Structure

ATOMIC_MASS_G = 1.66053906660e-24
EXACT = 1e-6
"""Largest deviation of fractions that equal those of a formula: the accuracy of float32."""
COMPLEXITY_COST = 0.003
"""Decrease of the largest error of the fractions that justifies one more atom in the formula."""


def composition_vectors(
    structures: Sequence[Structure] | Crystals | pa.Table | pd.DataFrame,
) -> NDArray[np.float64]:
    """Return the atomic fractions (n, 100) of n crystals.

    Column z - 1 belongs to the element with atomic number z; rows sum to 1. The order of the
    sites is irrelevant.

    >>> from matlode.testing import rutile
    >>> composition_vectors([rutile("TiO2")])[0, [7, 21]].round(3).tolist()
    [0.667, 0.333]
    """
    crystals = pack_crystals(structures)
    owners = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    totals = np.zeros((len(crystals), MAX_ATOMIC_NUMBER))
    np.add.at(totals, (owners, crystals.numbers - 1), crystals.occupancies)
    return totals / totals.sum(axis=1, keepdims=True)


def compute_formula_vectors(formulas: Sequence[str]) -> NDArray[np.float64]:
    """Return the atomic fractions (n, 100) of n formulas.

    Raises InputError if a text is not a formula.
    """
    z_of = atomic_numbers()
    vectors = np.zeros((len(formulas), MAX_ATOMIC_NUMBER))
    for row, formula in enumerate(formulas):
        for symbol, amount in parse_formula(formula).items():
            vectors[row, z_of[symbol] - 1] = amount
    return vectors / vectors.sum(axis=1, keepdims=True)


def compute_mean_masses(compositions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return mean atomic masses (n,), in u, of compositions (n, 100)."""
    return np.asarray(compositions, float) @ _tabulate_masses()


def compute_densities(
    volumes_per_atom_a3: NDArray[np.floating], mean_masses: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return densities in g/cm³ of volumes per atom (Å³) and mean atomic masses (u)."""
    return np.asarray(mean_masses, float) * ATOMIC_MASS_G / (volumes_per_atom_a3 * 1e-24)


@cache
def _tabulate_masses() -> NDArray[np.float64]:
    from pymatgen.core import Element

    return np.array([float(Element.from_Z(z).atomic_mass) for z in range(1, MAX_ATOMIC_NUMBER + 1)])


def find_integer_amounts(
    fractions: NDArray[np.floating], *, max_atoms: int = 20
) -> NDArray[np.int64]:
    """Return the simplest integer formulas (n, 100) for fraction vectors (n, 100).

    The fractions are rounded for each number of atoms up to ``max_atoms``. The formula that
    minimises the largest error of a fraction plus COMPLEXITY_COST per atom is chosen; a formula
    that is exact within EXACT is preferred. Every element with a positive fraction gets at least
    one atom; zeros stay zero. Rows are reduced (common divisor 1).
    """
    fractions = np.asarray(fractions, dtype=float)
    best = np.zeros(fractions.shape, np.int64)
    best_cost = np.full(len(fractions), np.inf)
    present = fractions > 0
    for n_atoms in range(1, max_atoms + 1):
        amounts = np.where(present, np.maximum(np.rint(fractions * n_atoms), 1), 0)
        totals = amounts.sum(axis=1)
        error = np.abs(amounts / np.maximum(totals, 1)[:, None] - fractions).max(axis=1)
        cost = np.where(error < EXACT, 0.0, error + COMPLEXITY_COST * totals)
        better = (totals <= max_atoms) & (cost < best_cost)
        best[better] = amounts[better]
        best_cost[better] = cost[better]
    # with more elements than max_atoms, each element gets one atom
    best = np.where(np.isinf(best_cost)[:, None], present, best)
    return best // np.maximum(np.gcd.reduce(best, axis=1), 1)[:, None]


def keep_largest(fractions: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Keep the n largest fractions of each row (m, 100) and renormalise the rows."""
    order = np.argsort(-fractions, axis=1, kind="stable")
    kept = np.array(fractions, dtype=float)
    np.put_along_axis(kept, order[:, n:], 0.0, axis=1)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def write_formulas(amounts: NDArray[np.integer]) -> list[str]:
    """Return the canonical formulas of integer amounts (n, 100)."""
    symbols = element_symbols()
    return [
        write_formula({symbols[z]: int(row[z]) for z in np.flatnonzero(row)}) for row in amounts
    ]


def find_integer_formulas(fractions: NDArray[np.floating], *, max_atoms: int = 20) -> list[str]:
    """Return the canonical formulas of fraction vectors (n, 100); see ``find_integer_amounts``."""
    return write_formulas(find_integer_amounts(fractions, max_atoms=max_atoms))
