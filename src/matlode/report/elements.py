"""The elements of a list of candidates, as a periodic table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from matlode.data.formulas import element_symbols, parse_formula
from matlode.errors import InputError


@dataclass(frozen=True)
class ElementCell:
    """An element's place in the periodic table, from 1, and how many formulas contain it."""

    symbol: str
    name: str
    row: int
    column: int
    formulas: int = 0
    share: float = 0.0
    """``formulas`` as a share of the most frequent element's, 0..1."""


def arrange_elements(formulas: Iterable[str] = ()) -> tuple[ElementCell, ...]:
    """Return a cell for each element; texts that are not formulas are not counted."""
    from pymatgen.core import Element

    counts = Counter(symbol for formula in formulas for symbol in _find_elements(formula))
    most = max(counts.values(), default=1)
    cells = []
    for symbol in element_symbols():
        element = Element(symbol)
        row, column = element.row, element.group
        if element.is_lanthanoid or element.is_actinoid:  # below the table, as it is printed
            row, column = row + 2, element.Z - (57 if element.is_lanthanoid else 89) + 3
        n = counts[symbol]
        cells.append(ElementCell(symbol, element.long_name, row, column, n, n / most))
    return tuple(cells)


def _find_elements(formula: str) -> Iterable[str]:
    try:
        return parse_formula(formula)
    except InputError:
        return ()
