"""Rule: formal charges balance, or the solid is metallic or covalent."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import format_formula, parse_formula
from matlode.records import Candidate, Verdict
from matlode.screening.rule import Rule

COVALENT_PARTNERS = frozenset({"B", "C", "Si", "Ge", "N", "P", "As", "H"})
"""With metals these form borides, carbides, silicides, nitrides, ... whose bonds are covalent
or metallic: formal charges need not balance."""

BALANCED, METALLIC, COVALENT, UNBALANCED = "yes", "metallic", "covalent", "no"

MAX_ASSIGNMENTS = 200_000
"""Largest number of assignments tried per formula, the most common states first."""


@dataclass(frozen=True)
class Assignment:
    """Formal charges of the elements, and their sum."""

    charges: Mapping[str, float]
    total: float
    """Charge per formula unit."""

    def __str__(self) -> str:
        return " ".join(f"{symbol}{charge:+.3g}" for symbol, charge in self.charges.items())


def find_nearest_assignment(formula: str) -> Assignment | None:
    """Find the assignment of oxidation states whose total charge is nearest to zero.

    The states are those that SMACT lists from the ICSD (Davies et al., J. Open Source Softw. 4,
    1361, 2019); pymatgen's common states are tried first. An element is never positive if a less
    electronegative one is negative. If no integer states balance, one metal may have mixed
    valence (Fe₃O₄). Returns None if an element has no listed state.

    >>> print(find_nearest_assignment("TiO2"), find_nearest_assignment("Fe3O4"))
    O-2 Ti+4 Fe+2.67 O-2
    """
    amounts = parse_formula(formula)
    if not all(_oxidation_states(symbol) for symbol in amounts):
        return None
    candidates = _ordered_assignments(tuple(amounts))
    if not len(candidates):
        return None
    totals = candidates @ np.array(list(amounts.values()))
    best = int(abs(totals).argmin())  # the first of several
    if totals[best] != 0:
        mixed = _mixed_valence(amounts, candidates, totals)
        if mixed is not None:
            return mixed
    charges = candidates[best].tolist()
    return Assignment(dict(zip(amounts, charges, strict=True)), int(totals[best]))


def _ordered_assignments(symbols: tuple[str, ...]) -> NDArray[np.int64]:
    """(n, n_symbols), assignments consistent with electronegativity, the most common first."""
    states = [np.array(_oxidation_states(symbol)) for symbol in symbols]
    shape = [len(of_one) for of_one in states]
    for place in range(len(shape)):  # the first elements keep their most common state
        if math.prod(shape[place + 1 :]) >= MAX_ASSIGNMENTS:
            shape[place] = 1
    tried = np.arange(min(math.prod(shape), MAX_ASSIGNMENTS))
    ranks = np.unravel_index(tried, shape)
    charges = [of_one[rank] for of_one, rank in zip(states, ranks, strict=True)]
    allowed = np.ones(len(tried), dtype=bool)
    order = sorted(range(len(symbols)), key=lambda place: _electronegativity(symbols[place]))
    for lower, higher in pairwise(order):
        # going up in electronegativity, no positive charge after a negative one
        allowed &= (charges[lower] > 0) | (charges[higher] < 0)
    # metals change their state more easily than anions
    weights = [rank**2 * np.where(q < 0, 4, 1) for rank, q in zip(ranks, charges, strict=True)]
    unusual = np.sum(weights, axis=0)[allowed]
    return np.stack(charges, axis=1)[allowed][np.argsort(unusual, kind="stable")]


def _mixed_valence(
    amounts: Mapping[str, int], candidates: NDArray[np.int64], totals: NDArray[np.int64]
) -> Assignment | None:
    """The first candidate that balances if one metal has a mean charge between its smallest and
    largest common ones."""
    common = [[q for q in _common_states(symbol) if q > 0] for symbol in amounts]
    lowest = np.array([min(states, default=0) for states in common])
    highest = np.array([max(states, default=0) for states in common])
    needed = candidates - totals[:, None] / np.array(list(amounts.values()))
    fits = (candidates > 0) & (lowest < needed) & (needed < highest)
    if not fits.any():
        return None
    row, place = divmod(int(fits.argmax()), len(amounts))
    charges = dict(zip(amounts, candidates[row].tolist(), strict=True))
    charges[list(amounts)[place]] = float(needed[row, place])
    return Assignment(charges, 0)


@dataclass(frozen=True, kw_only=True)
class ChargeNeutral(Rule):
    """Passes if formal charges balance, or for alloys and covalent solids, where they need not."""

    name = "charge_neutral"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.grade(candidate.formula)

    def grade(self, formula: str) -> Verdict:
        """Verdict on a canonical formula; its value is "yes", "metallic", "covalent" or "no".

        >>> ChargeNeutral().grade("ClNa2").reason
        'Na2Cl: nearest assignment Cl-1 Na+1 has charge +1 per formula'
        """
        value, reason = self._grade(formula)
        return Verdict(
            rule=self.name,
            passed=value != UNBALANCED,
            value=value,
            limit=BALANCED,
            reason=f"{format_formula(formula)}: {reason}",
        )

    def _grade(self, formula: str) -> tuple[str, str]:
        symbols = set(parse_formula(formula))
        if len(symbols) == 1:
            return METALLIC if _all_metals(symbols) else COVALENT, "an element carries no charge"
        if _all_metals(symbols):
            return METALLIC, "all metals: an alloy or intermetallic, charges do not apply"
        assignment = find_nearest_assignment(formula)
        if assignment is not None and assignment.total == 0:
            return BALANCED, f"balanced as {assignment}"
        others = {symbol for symbol in symbols if not _all_metals({symbol})}
        nearest = (
            "an element has no listed oxidation state"
            if assignment is None
            else f"nearest assignment {assignment} has charge {assignment.total:+g} per formula"
        )
        if others <= COVALENT_PARTNERS:
            return COVALENT, (
                f"covalent or interstitial solid of {', '.join(sorted(others))}, charges need "
                f"not balance ({nearest})"
            )
        return UNBALANCED, nearest


@cache
def _oxidation_states(symbol: str) -> tuple[int, ...]:
    from smact.data_loader import lookup_element_oxidation_states_icsd24

    listed = lookup_element_oxidation_states_icsd24(symbol) or ()
    common = _common_states(symbol)
    rest = sorted((q for q in listed if q and q not in common), key=lambda q: (abs(q), q))
    return (*common, *rest) if listed else ()


@cache
def _common_states(symbol: str) -> tuple[int, ...]:
    from pymatgen.core import Element

    return tuple(q for q in Element(symbol).common_oxidation_states if q)


@cache
def _electronegativity(symbol: str) -> float:
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(Element(symbol).X)
    return value if value == value else 0.0


def _all_metals(symbols: set[str]) -> bool:
    return all(_is_metal(symbol) for symbol in symbols)


@cache
def _is_metal(symbol: str) -> bool:
    from pymatgen.core import Element

    return bool(Element(symbol).is_metal)
