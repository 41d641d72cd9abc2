"""Elements from the names of atoms in files: symbols, isotopes, ions, labels."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache

from matlode.data.formulas import atomic_numbers
from matlode.errors import InputError

_HYDROGEN_ISOTOPES = frozenset("DT")
_GROUPS = frozenset(("oh", "oh1", "oh2", "h2o", "wat", "water", "nh3", "nh4", "ch3", "ow"))
"""Names of groups of atoms that are written as one site, in lower case."""
_TYPE = re.compile(r"(?:\d{1,3})?([A-Za-z]{1,2})\d{0,2}(?:[+-]\d*\.?\d*|\d*\.?\d*[+-])?")
"""Isotope, symbol, number or charge: ``7Li``, ``Fe3+``, ``O-2``, ``Na1``, ``Fe2.5+``."""


@lru_cache(maxsize=4096)
def parse_atom_type(text: str) -> int:
    """Return the atomic number of an atom type: a symbol, perhaps with isotope and charge.

    Heavy hydrogen (D, T, 2H) is hydrogen. Raises InputError for anything else.

    >>> parse_atom_type("Fe3+"), parse_atom_type("7Li"), parse_atom_type("D")
    (26, 3, 1)
    """
    match = _TYPE.fullmatch(text.strip())
    if match is None or text.strip().lower() in _GROUPS:
        raise InputError(
            f'the atom type "{text[:40]}" is not one element; give each atom with its own symbol'
        )
    number = _find_number(match[1])
    if number is None:
        raise InputError(f'the atom type "{text[:40]}" is no element of Z = 1..100')
    return number


def parse_atom_label(label: str, elements: Container[str] = ()) -> int:
    """Return the atomic number of a site label such as ``Na1``, ``O1A`` or ``FeM1``.

    ``elements`` are the symbols of the formula of the file, if it states one; they decide between
    the element of two letters and that of one (``CA1``). Raises InputError if the label does not
    begin with an element, or is the name of a group of atoms.
    """
    match = re.match(r"\d{0,3}([A-Za-z]+)", label.strip())
    letters = match[1] if match else ""
    if not letters or letters.lower() in _GROUPS:
        raise InputError(
            f'the site "{label[:40]}" has no atom type, and its label is no element; add '
            "_atom_site_type_symbol"
        )
    two, one = letters[:2].capitalize(), letters[:1].upper()
    known = [s for s in dict.fromkeys((two, one)) if _find_number(s) is not None]
    # "OW" and "FeM" begin with O and Fe; "Xx" begins with no element
    stated = [symbol for symbol in known if symbol in elements]
    if not known or (len(letters) > 1 and letters[1].islower() and two not in known):
        raise InputError(f'the label "{label[:40]}" begins with no element')
    number = _find_number((stated or known)[0])
    assert number is not None
    return number


def _find_number(symbol: str) -> int | None:
    symbol = symbol.capitalize()
    return 1 if symbol in _HYDROGEN_ISOTOPES else atomic_numbers().get(symbol)
