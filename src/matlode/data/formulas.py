"""Parse, reduce and write chemical formulas."""

from __future__ import annotations

import itertools
import math
import re
import string
from collections.abc import Mapping
from fractions import Fraction
from functools import cache, lru_cache
from types import MappingProxyType

import numpy as np

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
from matlode.data.formula_notation import write_conventional_formula
from matlode.errors import InputError

MAX_AMOUNT = 1_000_000
"""Largest amount of one element: larger than in any cell, and exact in floating point."""
MAX_DENOMINATOR = 100
"""Partial occupancies are converted to fractions with at most this denominator."""


@cache
def element_symbols() -> tuple[str, ...]:
    """Return the symbols of Z = 1..100; entry z - 1 belongs to atomic number z."""
    from pymatgen.core import Element

    return tuple(Element.from_Z(z).symbol for z in range(1, MAX_ATOMIC_NUMBER + 1))


@cache
def atomic_numbers() -> dict[str, int]:
    """Return the atomic number of each symbol, Z = 1..100."""
    return {symbol: z for z, symbol in enumerate(element_symbols(), start=1)}


def write_formula(amounts: Mapping[str, int]) -> str:
    """Write the elements in alphabetical order, with amounts divided by their common divisor.

    >>> write_formula({"Ti": 2, "O": 4})
    'O2Ti'
    """
    divisor = math.gcd(*amounts.values())
    counts = {symbol: amount // divisor for symbol, amount in sorted(amounts.items()) if amount}
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in counts.items())


@lru_cache(maxsize=2**17)
def parse_formula(text: str) -> Mapping[str, int]:
    """Return the integer amounts of the reduced formula.

    Raises InputError if ``text`` is not a formula.

    >>> dict(parse_formula("Fe4(SiO4)2"))
    {'Fe': 2, 'O': 4, 'Si': 1}
    """
    plain = _parse_plain_formula(text)
    if plain is not None:
        return MappingProxyType(plain)
    from pymatgen.core import Composition

    try:
        composition = Composition(text, strict=True)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise InputError(f'"{text[:80]}" is not a formula ({str(error)[:200]}).') from error
    amounts = {element.symbol: float(n) for element, n in composition.items()}
    if not amounts:
        raise InputError(f'"{text}" is not a formula: it names no element.')
    return MappingProxyType(_reduce(amounts, origin=text))


def _parse_plain_formula(text: str) -> dict[str, int] | None:
    """Parse a formula of symbols and integers only, ten times as fast as ``parse_formula``.

    Returns None for any other formula.
    """
    parts = _SYMBOL_AND_NUMBER.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        return None
    if max(len(number) for _, number in parts) > len(str(MAX_AMOUNT)):
        return None
    amounts: dict[str, int] = {}
    for symbol, number in sorted(parts):
        amounts[symbol] = amounts.get(symbol, 0) + int(number or 1)
    if (
        max(amounts.values()) > MAX_AMOUNT
        or not all(amounts.values())
        or not amounts.keys() <= atomic_numbers().keys()
    ):
        return None
    divisor = math.gcd(*amounts.values())
    return {symbol: n // divisor for symbol, n in amounts.items()}


_SYMBOL_AND_NUMBER = re.compile(r"([A-Z][a-z]?)([0-9]*)")


def canonicalise_formula(text: str) -> str:
    """Return the canonical form of a formula, by which matlode compares formulas.

    >>> canonicalise_formula("TiO2"), canonicalise_formula("Ti2O4")
    ('O2Ti', 'O2Ti')
    """
    return write_formula(parse_formula(text))


@cache
def format_formula(formula: str) -> str:
    """Return a formula as chemists write it, for display (``formula_notation``).

    >>> format_formula("O2Ti"), format_formula("CW"), format_formula("NiO3Ti")
    ('TiO2', 'WC', 'NiTiO3')
    """
    written = write_conventional_formula(parse_formula(formula))
    # table readers would interpret sodium nitride 1:1 as a missing value
    return formula if written == "NaN" else written


def anonymise_formula(formula: str) -> str:
    """Replace the elements of a formula by letters, in order of increasing amount.

    >>> anonymise_formula("CaO3Ti")
    'ABC3'
    """
    amounts = sorted(parse_formula(formula).values())
    letters = itertools.chain(string.ascii_uppercase, string.ascii_lowercase)
    return "".join(
        f"{letter}{n if n > 1 else ''}" for letter, n in zip(letters, amounts, strict=False)
    )


def chemical_system(formula: str) -> str:
    """Return the elements of a formula in alphabetical order, joined by hyphens.

    >>> chemical_system("TiO2")
    'O-Ti'
    """
    return "-".join(sorted(parse_formula(formula)))


def compute_formulas(crystals: Crystals) -> list[str]:
    """Return the canonical formula of each crystal; the order of the sites is irrelevant."""
    symbols = element_symbols()
    formulas = []
    for index in range(len(crystals)):
        rows = crystals.atoms(index)
        totals = np.bincount(crystals.numbers[rows], weights=crystals.occupancies[rows]).tolist()
        parts = {symbols[z - 1]: part for z, part in enumerate(totals) if part}
        if parts and all(part.is_integer() for part in parts.values()):
            # integer amounts, the usual case: using fractions would take ten times as long
            whole = {symbol: int(part) for symbol, part in parts.items()}
        else:
            whole = _reduce(parts, origin=f"crystal {index}")
        formulas.append(write_formula(whole))
    return formulas


def _reduce(amounts: Mapping[str, float], *, origin: str) -> dict[str, int]:
    huge = [symbol for symbol, n in amounts.items() if not n <= MAX_AMOUNT]
    if huge:
        raise InputError(
            f"{origin[:80]}: {amounts[huge[0]]:.3g} of {huge[0]}; wanted at most {MAX_AMOUNT:g}."
        )
    unknown = [symbol for symbol in amounts if symbol not in atomic_numbers()]
    if unknown:
        raise InputError(
            f"{origin}: element {unknown[0]} is outside H..{element_symbols()[-1]} "
            f"(Z = 1..{MAX_ATOMIC_NUMBER})."
        )
    parts = {s: Fraction(n).limit_denominator(MAX_DENOMINATOR) for s, n in sorted(amounts.items())}
    traces = [symbol for symbol, part in parts.items() if part == 0 and amounts[symbol] > 0]
    if traces:
        raise InputError(
            f"{origin}: {amounts[traces[0]]:g} of {traces[0]} is less than 1/{MAX_DENOMINATOR}; "
            "leave traces out."
        )
    parts = {symbol: part for symbol, part in parts.items() if part > 0}
    if not parts:
        raise InputError(f"{origin}: no element has a positive amount.")
    scale = math.lcm(*(part.denominator for part in parts.values()))
    counts = {symbol: int(part * scale) for symbol, part in parts.items()}
    divisor = math.gcd(*counts.values())
    return {symbol: n // divisor for symbol, n in counts.items()}
