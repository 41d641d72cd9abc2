"""Known structures as templates: what has this stoichiometry already?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
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
class Stoichiometry:
    """The templates of one anonymous formula."""

    rows: NDArray[np.intp]
    """(m,), in the library."""
    elements: NDArray[np.int64]
    """(m, k), atomic numbers in the order of the amounts, which are sorted."""


@dataclass(frozen=True)
class PrototypeLibrary:
    """Structures by anonymous formula (the sorted amounts of a reduced formula)."""

    materials: Materials
    by_amounts: Mapping[tuple[int, ...], Stoichiometry]

    @classmethod
    def build(cls, materials: Materials) -> PrototypeLibrary:
        """Index the ordered structures of up to MAX_TEMPLATE_ATOMS atoms."""
        index: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
        partial = np.add.reduceat(
            materials.crystals.occupancies < 1, materials.crystals.offsets[:-1]
        )
        usable = (materials.crystals.n_atoms <= MAX_TEMPLATE_ATOMS) & (partial == 0)
        for row in np.flatnonzero(usable):
            amounts, elements = _by_amount(str(materials.frame["formula"].iloc[row]))
            index.setdefault(amounts, []).append((int(row), elements))
        return cls(
            materials,
            {
                amounts: Stoichiometry(
                    np.array([row for row, _ in found]), np.array([z for _, z in found])
                )
                for amounts, found in index.items()
            },
        )

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
        amounts, elements = _by_amount(formula)
        known = self.by_amounts.get(amounts)
        if known is None:
            return []
        keep = np.ones(len(known.rows), dtype=bool)
        if exclude_own:
            keep &= (np.sort(known.elements, axis=1) != np.sort(elements)).any(axis=1)
        if space_groups:
            keep &= np.isin(self.space_groups[known.rows], list(space_groups))
        rows, old = known.rows[keep], known.elements[keep]
        new = np.array(list(_orders(amounts, elements)))
        weights = np.array(amounts) / sum(amounts)
        distances = np.stack([element_distances()[old, order] @ weights for order in new], axis=1)
        kept = []
        for place in self._few_per_type(rows, distances, n):
            at, order = divmod(int(place), len(new))
            exchange = dict(zip(old[at].tolist(), new[order].tolist(), strict=True))
            kept.append(Substitution(int(rows[at]), exchange, float(distances[at, order])))
        return kept

    def crystals(self, substitutions: Sequence[Substitution]) -> Crystals:
        """The templates with their elements exchanged, in the templates' cells."""
        crystals = self.materials.crystals.take([s.template for s in substitutions])
        numbers = crystals.numbers.copy()
        for index, substitution in enumerate(substitutions):
            atoms = crystals.atoms(index)
            for old, new in substitution.exchange.items():
                numbers[atoms][crystals.numbers[atoms] == old] = new
        return replace(crystals, numbers=numbers)

    def _few_per_type(
        self, rows: NDArray[np.intp], distances: NDArray[np.float64], n: int
    ) -> list[int]:
        """Places in ``distances`` (m, orders), flat, of the n least, few of one type."""
        taken: Counter[tuple[int, int]] = Counter()
        kept: list[int] = []
        for place in np.argsort(distances, axis=None, kind="stable"):
            row = rows[place // distances.shape[1]]
            kind = (int(self.space_groups[row]), int(self.materials.crystals.n_atoms[row]))
            if taken[kind] < MAX_PER_TYPE:
                taken[kind] += 1
                kept.append(int(place))
                if len(kept) == n:
                    break
        return kept

    @cached_property
    def space_groups(self) -> NDArray[np.int64]:
        """(n,), of every structure of the library."""
        return self.materials.frame["space_group"].to_numpy(dtype=np.int64)


def describe(substitution: Substitution) -> str:
    """The exchange in words, such as "Ti → Zr, O stays"."""
    symbols = element_symbols()
    parts = [
        f"{symbols[a - 1]} stays" if a == b else f"{symbols[a - 1]} → {symbols[b - 1]}"
        for a, b in substitution.exchange.items()
    ]
    return ", ".join(parts)


def _by_amount(formula: str) -> tuple[tuple[int, ...], list[int]]:
    """Amounts of a canonical formula, sorted, and the atomic numbers in that order."""
    pairs = sorted((amount, atomic_numbers()[s]) for s, amount in parse_formula(formula).items())
    return tuple(amount for amount, _ in pairs), [z for _, z in pairs]


def _orders(amounts: Sequence[int], elements: Sequence[int]) -> Iterator[list[int]]:
    """All orders of the elements in which each has its amount."""
    groups = [
        [z for z, k in zip(elements, amounts, strict=True) if k == amount]
        for amount in sorted(set(amounts))
    ]
    for choice in product(*(permutations(group) for group in groups)):
        yield [z for group in choice for z in group]


@cache
def element_distances() -> NDArray[np.float64]:
    """(101, 101), how much two elements differ in electronegativity and radius."""
    table = _element_sizes()
    return np.asarray(abs(table[:, None] - table[None]) @ np.array([1.0, RADIUS_WEIGHT]))


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
