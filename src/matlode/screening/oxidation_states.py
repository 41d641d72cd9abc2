"""Oxidation states of a formula, weighted by how often they occur beside the anions present."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from matlode.data.formulas import parse_formula

MOST_NEGATIVE: Mapping[str, int] = {
    "F": -1, "O": -2, "Cl": -1, "N": -3, "Br": -1, "I": -1, "S": -2, "Se": -2, "C": -4, "Te": -2,
    "P": -3, "As": -3, "H": -1, "Sb": -3, "B": -3, "Si": -4, "Ge": -4,
}  # fmt: skip
"""Non-metals → most negative state, in the order in which they take electrons: none is negative
if one before it is positive. Hydrogen stands before boron and silicon (BH₄⁻) and behind carbon."""
ORDER = {symbol: place for place, symbol in enumerate(MOST_NEGATIVE)}
_HALIDES = {"F": 1, "Cl": 1, "Br": 1, "I": 1}
HIGHEST_WITH: Mapping[str, Mapping[str, int]] = {
    "H": {"O": 1, "N": 1, "S": 1, "Se": 1, "C": 1, "Te": 1, "P": 1, "As": 1, **_HALIDES},
    "B": {"F": 3, "O": 3, "N": 3, "Cl": 3, "Br": 3, "I": 3, "S": 3, "Se": 3, "H": 3, "P": 3,
          "As": 3, "C": 3, "Te": 3},
    "C": {"F": 4, "O": 4, "N": 4, "Cl": 4, "Br": 4, "I": 4, "S": 4, "Se": 4},
    "Si": {"F": 4, "O": 4, "N": 4, "Cl": 4, "Br": 4, "I": 4, "S": 4, "Se": 4, "Te": 4, "P": 4,
           "As": 4, "C": 4, "H": 4},
    "Ge": {"F": 4, "O": 4, "N": 4, "Cl": 4, "Br": 4, "I": 4, "S": 4, "Se": 4, "Te": 4, "P": 4,
           "As": 4, "H": 4},
    "N": {"O": 5, "F": 3},
    "P": {"F": 5, "O": 5, "N": 5, "Cl": 5, "Br": 5, "I": 3, "S": 5, "Se": 5, "H": 1},
    "As": {"F": 5, "O": 5, "Cl": 3, "Br": 3, "I": 3, "S": 5, "Se": 5, "Te": 3},
    "Sb": {"F": 5, "O": 5, "Cl": 5, "Br": 5, "I": 3, "S": 5, "Se": 5, "Te": 3},
    "S": {"F": 6, "O": 6, "Cl": 4, "Br": 2, "N": 4},
    "Se": {"F": 6, "O": 6, "Cl": 4, "Br": 4},
    "Te": {"F": 6, "O": 6, "Cl": 4, "Br": 4, "I": 4},
    "Cl": {"O": 7}, "Br": {"O": 7, "F": 5}, "I": {"O": 7, "F": 7},
    "Xe": {"O": 8, "F": 6}, "Kr": {"F": 2},
}  # fmt: skip
"""Non-metal → more electronegative partner → highest state that the partner does not reduce
(Greenwood and Earnshaw, Chemistry of the Elements, 1997): halogens are positive beside O and F,
nitrogen beside O and F, As⁵⁺ not beside I⁻."""
NON_METALS = frozenset({*HIGHEST_WITH, *MOST_NEGATIVE, "He", "Ne", "Ar"})
MIXED_NON_METALS = frozenset({"Ge", "Sb", "Se", "Te"})
"""Non-metals that have two states in one oxide, as Te⁴⁺ and Te⁶⁺ in CsTe₂O₆."""
MIN_SHARE, MIN_SHARE_OF_NON_METAL = 0.002, 0.01
"""A state with a smaller share of an element's occurrences in the ICSD is ignored."""
REDUCING = frozenset({"Br", "I", "Se", "Te"})
MAX_BESIDE_REDUCING = 4
"""Highest state beside REDUCING anions of metals for which no compound with the anion is listed."""
SHARE_OF_CHARGE = 0.5
"""Share of an element's positive charge that anions which do not reduce it must carry."""
SHARE_IF_REDUCED = 0.05
"""Factor on the share of a state that no compound with the anion has, although a higher one has."""
MAX_COST = 2.0
"""Highest cost (``Assignment.cost``) of an assignment that counts as balanced."""
COST_OF_MIXING = 0.3
"""Cost of one metal having two states, in powers of ten."""


@dataclass(frozen=True)
class Assignment:
    """Mean charges of the elements, and their sum."""

    charges: Mapping[str, float]
    total: float
    """Charge per formula unit."""
    cost: float = 0.0
    """How unusual the states are: sum over the elements of log10 (occurrences of the element's
    most common state / occurrences of this state)."""

    def __str__(self) -> str:
        return " ".join(f"{symbol}{charge:+.3g}" for symbol, charge in self.charges.items())


@lru_cache(maxsize=2**16)
def find_nearest_assignment(formula: str) -> Assignment | None:
    """Find the most usual oxidation states whose total charge is zero, or nearest to zero.

    States are weighted by their occurrences in the ICSD, those of metals by the occurrences beside
    the anions of the formula (Davies et al., Faraday Discuss. 211, 553, 2018). Non-metals are
    positive only beside anions that do not reduce them (HIGHEST_WITH). If no integer states
    balance, one metal may have mixed valence (Fe₃O₄). Returns None if no states are known.

    >>> print(find_nearest_assignment("TiO2"), find_nearest_assignment("Fe3O4"))
    O-2 Ti+4 Fe+2.67 O-2
    """
    amounts = parse_formula(formula)
    best: Assignment | None = None
    for anions in list_anions(amounts):
        states = {s: list_states(s, n, amounts, anions) for s, n in amounts.items()}
        if not all(states.values()):
            continue
        for found in (_combine_states(amounts, states), _mix_valences(amounts, states)):
            if found and (best is None or _rank(found) < _rank(best)):
                best = found
    return best


def _rank(assignment: Assignment) -> tuple[float, float]:
    return abs(assignment.total), assignment.cost


def list_anions(symbols: Iterable[str]) -> Iterator[frozenset[str]]:
    """Sets of elements that may be the negative ones."""
    ordered = sorted(ORDER.keys() & set(symbols), key=lambda s: ORDER[s])
    for n in range(1, len(ordered) + 1):
        yield frozenset(ordered[:n])


def list_states(
    symbol: str, amount: int, amounts: Mapping[str, int], anions: frozenset[str]
) -> dict[int, float]:
    """Possible states of an element beside ``anions`` → cost (``Assignment.cost``)."""
    if symbol in anions:
        return {MOST_NEGATIVE[symbol]: _cost_of_anion(symbol, anions)}
    charges = {a: -amounts[a] * MOST_NEGATIVE[a] for a in anions}
    whole = sum(charges.values())
    found: dict[int, float] = {}
    for state, shares in _tabulate_shares(symbol).items():
        fitting = {a: charge for a, charge in charges.items() if a in shares}
        if fitting and sum(fitting.values()) >= SHARE_OF_CHARGE * amount * state:
            found[state] = sum(shares[a] * charge for a, charge in fitting.items()) / whole
    top = max(found.values(), default=1.0)
    return {state: math.log10(top / share) for state, share in found.items()}


@cache
def _cost_of_anion(symbol: str, anions: frozenset[str]) -> float:
    """Cost of a negative state: zero unless the element is usually positive beside the others."""
    counts = _read_counts()[symbol]
    beside = HIGHEST_WITH.get(symbol, {}).keys() & anions
    weight = 2.0 if "O" in beside or "F" in beside else 1.0
    usual = max((n for q, n in counts.items() if q), default=1)
    return weight * math.log10(usual / counts[MOST_NEGATIVE[symbol]]) if beside else 0.0


def _combine_states(
    amounts: Mapping[str, int], states: Mapping[str, Mapping[int, float]]
) -> Assignment:
    """The integer states with the total nearest to zero, the most usual ones of these."""
    sums = _sum_states(amounts, states)
    total = min(sums, key=lambda t: (abs(t), sums[t][0]))
    cost, chosen = sums[total]
    return Assignment(dict(zip(amounts, chosen, strict=True)), total, cost)


def _sum_states(
    amounts: Mapping[str, int], states: Mapping[str, Mapping[int, float]]
) -> dict[int, tuple[float, tuple[int, ...]]]:
    """Each possible total → lowest cost and the states that give it."""
    sums: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for symbol, of_one in states.items():
        longer: dict[int, tuple[float, tuple[int, ...]]] = {}
        for total, (cost, chosen) in sums.items():
            for state, more in of_one.items():
                at = total + amounts[symbol] * state
                if at not in longer or cost + more < longer[at][0]:
                    longer[at] = cost + more, (*chosen, state)
        sums = longer
    return sums


def _mix_valences(
    amounts: Mapping[str, int], states: Mapping[str, Mapping[int, float]]
) -> Assignment | None:
    """The most usual states that balance if one metal has a mean charge between two of its own."""
    best: Assignment | None = None
    for symbol, of_one in states.items():
        if (symbol in NON_METALS and symbol not in MIXED_NON_METALS) or len(of_one) < 2:
            continue
        others = {s: {0: 0.0} if s == symbol else of for s, of in states.items()}
        for total, (cost, chosen) in _sum_states(amounts, others).items():
            mean = -total / amounts[symbol]
            mixed = _cost_of_mean(of_one, mean)
            if mixed is not None and (best is None or cost + mixed < best.cost):
                charges: dict[str, float] = dict(zip(amounts, chosen, strict=True))
                best = Assignment({**charges, symbol: mean}, 0, cost + mixed)
    return best


def _cost_of_mean(states: Mapping[int, float], mean: float) -> float | None:
    """Cost of a mean charge between two states; None outside their range."""
    below = [cost for state, cost in states.items() if state < mean]
    above = [cost for state, cost in states.items() if state > mean]
    if not below or not above:
        return None
    return max(min(below), min(above)) + COST_OF_MIXING


@cache
def _tabulate_shares(symbol: str) -> Mapping[int, Mapping[str, float]]:
    """Positive states of an element → anion → share of the element's occurrences beside it."""
    counts = {q: n for q, n in _read_counts().get(symbol, {}).items() if q}
    total = max(1, sum(counts.values()))
    is_metal = symbol not in NON_METALS
    least = MIN_SHARE if is_metal else MIN_SHARE_OF_NON_METAL
    shares = {q: n / total for q, n in counts.items() if q > 0 and n / total >= least}
    return {
        state: {
            anion: part
            for anion in (MOST_NEGATIVE if is_metal else HIGHEST_WITH.get(symbol, {}))
            if (part := _share_beside(symbol, state, share, anion))
        }
        for state, share in shares.items()
    }


def _share_beside(symbol: str, state: int, share: float, anion: str) -> float:
    """Share of a state beside an anion, from the ``share`` in all compounds if none is listed."""
    if symbol in HIGHEST_WITH:
        return share if state <= HIGHEST_WITH[symbol][anion] else 0.0
    listed = _read_shares_beside().get(anion, {}).get(symbol)
    if listed:
        reduced = SHARE_IF_REDUCED * share if state < max(listed) else 0.0
        return max(listed.get(state, 0.0), reduced)
    return 0.0 if anion in REDUCING and state > MAX_BESIDE_REDUCING else share


@cache
def _read_counts() -> Mapping[str, Mapping[int, int]]:
    """Element → state → number of occurrences in the ICSD of 2024, from SMACT."""
    counts: dict[str, dict[int, int]] = {}
    for row in _read_smact("oxidation_states_icsd24_counts.json"):
        counts.setdefault(row["element"], {})[row["oxidation_state"]] = row["results_count"]
    return counts


@cache
def _read_shares_beside() -> Mapping[str, Mapping[str, Mapping[int, float]]]:
    """Anion → metal → state → share, from SMACT."""
    table: dict[str, dict[str, dict[int, float]]] = {}
    for anion, species, share in _read_smact("oxidation_state_probability_table.json"):
        symbol = species.rstrip("0123456789")
        states = table.setdefault(anion.split("-")[0], {}).setdefault(symbol, {})
        if share > 0:
            states[int(species.removeprefix(symbol))] = share
    return table


def _read_smact(name: str) -> list[Any]:
    found: list[Any] = json.loads(
        (resources.files("smact") / "data" / name).read_text(encoding="utf-8")
    )
    return found
