"""Known structures as templates: what has this stoichiometry already?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers, element_symbols, parse_formula
from matlode.data.tables import Materials

MAX_TEMPLATE_ATOMS = 40
"""Larger cells are rarely the type of a simple formula, and dear to simulate."""
MAX_PER_TYPE = 4
"""Templates of one space group and cell size that are tried for one candidate."""
RADIUS_WEIGHT = 0.8
"""What 1 Å of difference in radius costs, in units of electronegativity."""


@dataclass(frozen=True)
class Substitution:
    """A template with its elements exchanged."""

    template: int
    """Row in the library."""
    exchange: Mapping[int, int]
    """Atomic number in the template → in the candidate."""
    distance: float
    """Mean change of electronegativity and radius over the atoms; 0 for the same elements."""


@dataclass(frozen=True)
class PrototypeLibrary:
    """Structures by anonymous formula (the sorted amounts of a reduced formula)."""

    materials: Materials
    by_amounts: Mapping[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def build(cls, materials: Materials) -> PrototypeLibrary:
        """Index the ordered structures of up to MAX_TEMPLATE_ATOMS atoms."""
        index: dict[tuple[int, ...], list[int]] = {}
        whole = np.add.reduceat(materials.crystals.occupancies < 1, materials.crystals.offsets[:-1])
        usable = (materials.crystals.n_atoms <= MAX_TEMPLATE_ATOMS) & (whole == 0)
        for row in np.flatnonzero(usable):
            amounts = parse_formula(str(materials.frame["formula"].iloc[row]))
            index.setdefault(tuple(sorted(amounts.values())), []).append(int(row))
        return cls(materials, {key: tuple(rows) for key, rows in index.items()})

    def substitutions(
        self,
        formula: str,
        n: int,
        *,
        exclude_own: bool = False,
        space_groups: Collection[int] = (),
    ) -> list[Substitution]:
        """The n likeliest ways of making ``formula`` from a template, nearest elements first.

        ``exclude_own`` leaves out entries of the very formula, for honest tests;
        ``space_groups`` are the only ones that templates may have (default: any).
        """
        wanted = {atomic_numbers()[s]: k for s, k in parse_formula(formula).items()}
        found = []
        for row in self.by_amounts.get(tuple(sorted(wanted.values())), ()):
            template = str(self.materials.frame["formula"].iloc[row])
            if exclude_own and template == formula:
                continue
            if space_groups and self.space_group(row) not in space_groups:
                continue
            amounts = {atomic_numbers()[s]: k for s, k in parse_formula(template).items()}
            found += [
                Substitution(row, exchange, _distance(exchange, amounts))
                for exchange in _exchanges(amounts, wanted)
            ]
        found.sort(key=lambda s: (s.distance, s.template))
        return self._few_per_type(found, n)

    def _few_per_type(self, ordered: list[Substitution], n: int) -> list[Substitution]:
        taken: Counter[tuple[int, int]] = Counter()
        kept = []
        for substitution in ordered:
            row = substitution.template
            kind = (self.space_group(row), int(self.materials.crystals.n_atoms[row]))
            if taken[kind] < MAX_PER_TYPE:
                taken[kind] += 1
                kept.append(substitution)
                if len(kept) == n:
                    break
        return kept

    def space_group(self, row: int) -> int:
        """Space-group number of a template."""
        return int(self.materials.frame["space_group"].iloc[row])


def describe(substitution: Substitution) -> str:
    """The exchange in words, such as "Ti → Zr, O stays"."""
    symbols = element_symbols()
    parts = [
        f"{symbols[a - 1]} stays" if a == b else f"{symbols[a - 1]} → {symbols[b - 1]}"
        for a, b in substitution.exchange.items()
    ]
    return ", ".join(parts)


def _exchanges(template: Mapping[int, int], wanted: Mapping[int, int]) -> Iterator[dict[int, int]]:
    """All ways of giving the template's elements new ones of equal amounts."""
    amounts = sorted(set(wanted.values()))
    old = [[z for z, k in template.items() if k == amount] for amount in amounts]
    new = [[z for z, k in wanted.items() if k == amount] for amount in amounts]
    for choice in product(*(permutations(group) for group in new)):
        yield {
            a: b
            for group, chosen in zip(old, choice, strict=True)
            for a, b in zip(group, chosen, strict=True)
        }


def _distance(exchange: Mapping[int, int], amounts: Mapping[int, int]) -> float:
    table = _element_sizes()
    total = sum(amounts.values())
    return float(
        sum(
            amounts[a] * (abs(table[a] - table[b]) @ np.array([1.0, RADIUS_WEIGHT]))
            for a, b in exchange.items()
        )
        / total
    )


@cache
def _element_sizes() -> NDArray[np.float64]:
    """(101, 2): Pauling electronegativity and atomic radius (Å) by atomic number."""
    import warnings

    from pymatgen.core import Element

    table = np.zeros((MAX_ATOMIC_NUMBER + 1, 2))
    with warnings.catch_warnings():
        # noble gases have no electronegativity, and pymatgen says so
        warnings.simplefilter("ignore")
        for z in range(1, MAX_ATOMIC_NUMBER + 1):
            element = Element.from_Z(z)
            x, radius = float(element.X or np.nan), float(element.atomic_radius or np.nan)
            table[z] = (1.5 if np.isnan(x) else x), (1.5 if np.isnan(radius) else radius)
    return table
