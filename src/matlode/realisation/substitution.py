"""Element substitution: known crystals with one of their elements exchanged."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.formulas import (
    atomic_numbers,
    element_symbols,
    parse_formula,
    write_formula,
)
from matlode.data.tables import Materials
from matlode.realisation.prototypes import compute_element_distances

N_SUBSTITUTES = 8
"""Number of substitutes per element: those nearest in electronegativity and radius."""
MAX_ATOMS = 24
"""Largest cell of a parent; larger ones are expensive and rarely the type of a simple formula."""


def substitute_elements(
    materials: Materials,
    parents: Sequence[int] | NDArray[np.intp],
    n: int,
    *,
    elements: Sequence[str],
    known: Container[str] = (),
) -> tuple[Crystals, NDArray[np.intp]]:
    """Substitute elements in known crystals: up to n crystals and the rows of their parents (n,).

    ``parents`` are rows of ``materials``, the most promising first. Each element of a parent is
    exchanged in turn for the nearest of ``elements``. Crystals keep the cell of the parent.
    ``known`` formulas are left out, and so are repeated pairs of formula and space group.
    """
    chosen = list(islice(_exchanges(materials, parents, elements, known), n))
    rows = np.array([row for row, *_ in chosen], dtype=np.intp)
    crystals = materials.crystals.take(rows)
    numbers = crystals.numbers.copy()
    for index, (_, old, new, _) in enumerate(chosen):
        atoms = numbers[crystals.atoms(index)]
        atoms[atoms == old] = new
    return replace(crystals, numbers=numbers), rows


def list_substituted_formulas(
    materials: Materials,
    parents: Sequence[int] | NDArray[np.intp],
    *,
    elements: Sequence[str],
    known: Container[str] = (),
) -> Iterator[str]:
    """Distinct canonical formulas of ``substitute_elements``, in its order."""
    seen: set[str] = set()
    for *_, formula in _exchanges(materials, parents, elements, known):
        if formula not in seen:
            seen.add(formula)
            yield formula


def _exchanges(
    materials: Materials,
    parents: Sequence[int] | NDArray[np.intp],
    elements: Sequence[str],
    known: Container[str],
) -> Iterator[tuple[int, int, int, str]]:
    """Yield row, old and new atomic number, and formula of each exchange."""
    allowed = np.array([atomic_numbers()[symbol] for symbol in elements])
    formulas = materials.frame["formula"].to_numpy(dtype=str)
    groups = materials.frame["space_group"].to_numpy(dtype=np.int64)
    seen: set[tuple[str, int]] = set()
    for row in parents:
        if materials.crystals.n_atoms[row] > MAX_ATOMS:
            continue
        amounts = parse_formula(formulas[row])
        for symbol in amounts:
            old = atomic_numbers()[symbol]
            order = np.argsort(compute_element_distances()[old, allowed], kind="stable")
            near = [int(z) for z in allowed[order] if element_symbols()[z - 1] not in amounts]
            for new in near[:N_SUBSTITUTES]:
                name = element_symbols()[new - 1]
                formula = write_formula(
                    {name if s == symbol else s: amount for s, amount in amounts.items()}
                )
                key = formula, int(groups[row])
                if formula not in known and key not in seen:
                    seen.add(key)
                    yield int(row), old, new, formula
