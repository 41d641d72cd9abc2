"""Addresses of a material in public databases. The page only links to them; it requests nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from matlode.data.formulas import format_formula, parse_formula, write_formula
from matlode.errors import InputError

MATERIALS_PROJECT = "https://materialsproject.org/materials"
OPTIMADE = "https://optimade.materialsproject.org/v1/structures"
COD = "https://www.crystallography.net/cod/result"


@dataclass(frozen=True)
class Link:
    """A link that leaves the page."""

    title: str
    address: str


def link_id(identifier: str) -> str:
    """Return the address of a Materials Project entry; empty for an id of another source.

    >>> link_id("mp-149"), link_id("agm001")
    ('https://materialsproject.org/materials/mp-149', '')
    """
    source, _, number = identifier.partition("-")
    known = source == "mp" and number.isascii() and number.isdecimal()
    return f"{MATERIALS_PROJECT}/{identifier}" if known else ""


def link_formula(formula: str) -> tuple[Link, ...]:
    """Return searches for a formula; none if the text is not a formula.

    >>> [link.title for link in link_formula("TaB2")]
    ['Materials Project', 'OPTIMADE', 'COD']
    """
    try:
        amounts = parse_formula(formula)
    except InputError:
        return ()
    # as COD writes formulas: carbon first (Hill)
    hill = sorted(amounts, key=lambda symbol: (symbol != "C", symbol))
    hill_formula = " ".join(f"{s}{amounts[s] if amounts[s] > 1 else ''}" for s in hill)
    reduced = f'chemical_formula_reduced="{write_formula(amounts)}"'
    return (
        Link("Materials Project", f"{MATERIALS_PROJECT}?formula={quote(format_formula(formula))}"),
        Link("OPTIMADE", f"{OPTIMADE}?filter={quote(reduced)}"),
        Link("COD", f"{COD}?formula={quote(hill_formula)}"),
    )
