"""What a CIF states of its content beside the atoms: formula, Z, density, cell volume."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from matlode.data.cif_symmetry import Tags
from matlode.data.formulas import atomic_numbers

FRACTION_TOLERANCE = 0.02
"""Difference of atomic fractions that is attributed to rounded occupancies."""
AMOUNT_TOLERANCE = 0.05
"""Relative difference of the number of atoms in the cell."""
DENSITY_TOLERANCE = 0.05
VOLUME_TOLERANCE = 0.02
G_PER_CM3 = 1.66053906660
"""One atomic mass unit per Å³, CODATA 2018."""
_PART = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")


def find_contradiction(
    tags: Tags, amounts: Mapping[str, float], volume_a3: float, *, heavy_hydrogen: bool
) -> str | None:
    """Return what the file states against what was read, with both numbers; None if they agree.

    ``amounts`` are the atoms per cell by symbol, of a cell of ``volume_a3``. With
    ``heavy_hydrogen`` (D or T), masses are unknown and the density is not compared.
    """
    stated_volume = _read(tags, "_cell_volume")
    if stated_volume and abs(volume_a3 / stated_volume - 1) > VOLUME_TOLERANCE:
        return (
            f"cell volume of {stated_volume:g} Å³ stated, {volume_a3:.6g} Å³ computed from the cell"
        )
    formula = read_formula(tags)
    if formula and (reason := _compare_formula(tags, formula, amounts)):
        return reason
    density = _read(tags, "_exptl_crystal_density_diffrn")
    if density and not heavy_hydrogen:
        computed = compute_density(amounts, volume_a3)
        # some write kg/m³
        if min(abs(computed / d - 1) for d in (density, density / 1000)) > DENSITY_TOLERANCE:
            return f"density of {density:g} g/cm³ stated, {computed:.4g} g/cm³ read"
    return None


def confirm_amounts(tags: Tags) -> bool:
    """Return whether the file states how many atoms of which elements a cell holds."""
    return bool(read_formula(tags) and _read(tags, "_cell_formula_units_z"))


def read_formula(tags: Tags) -> dict[str, float] | None:
    """Return the amounts of ``_chemical_formula_sum``; None if absent or not understood."""
    text = next(iter(tags.get("_chemical_formula_sum", ())), "")
    parts = _PART.findall(text)
    if not parts or "".join(map("".join, parts)) != "".join(text.split()):
        return None
    amounts: dict[str, float] = {}
    for symbol, number in parts:
        symbol = "H" if symbol in ("D", "T") else symbol
        if symbol not in atomic_numbers() or number == ".":
            return None
        amounts[symbol] = amounts.get(symbol, 0.0) + float(number or 1)
    return amounts if sum(amounts.values()) > 0 else None


def compute_density(amounts: Mapping[str, float], volume_a3: float) -> float:
    """Return the density in g/cm³ of ``amounts`` of atoms by symbol in ``volume_a3``."""
    from pymatgen.core import Element

    mass = sum(float(Element(symbol).atomic_mass) * n for symbol, n in amounts.items())
    return mass / volume_a3 * G_PER_CM3


def _compare_formula(
    tags: Tags, stated: Mapping[str, float], read: Mapping[str, float]
) -> str | None:
    n_stated, n_read = sum(stated.values()), sum(read.values())
    for symbol in sorted(stated.keys() | read.keys()):
        wanted, found = stated.get(symbol, 0) / n_stated, read.get(symbol, 0) / n_read
        if abs(wanted - found) > FRACTION_TOLERANCE:
            return (
                f"formula {_write(stated)} stated, {_write(read)} read ({symbol}: {wanted:.1%} of "
                f"the atoms stated, {found:.1%} read)"
            )
    units = _read(tags, "_cell_formula_units_z")
    if not units:
        return None
    # pymatgen writes the formula of the whole cell, and Z of the reduced formula
    reduced = n_stated / _common_divisor(stated)
    wanted_amounts = (units * n_stated, units * reduced)
    if all(abs(n_read / n - 1) > AMOUNT_TOLERANCE for n in wanted_amounts):
        return (
            f"{units:g} × {_write(stated)} = {wanted_amounts[0]:g} atoms per cell stated, "
            f"{n_read:.6g} read"
        )
    return None


def _common_divisor(amounts: Mapping[str, float]) -> float:
    numbers = list(amounts.values())
    if any(abs(n - round(n)) > 1e-6 for n in numbers):
        return min(numbers)
    return float(math.gcd(*(round(n) for n in numbers)) or 1)


def _write(amounts: Mapping[str, float]) -> str:
    return "".join(f"{symbol}{n:.4g}" for symbol, n in sorted(amounts.items()))


def _read(tags: Tags, tag: str) -> float | None:
    """Return a positive number of the file, else None."""
    from gemmi import cif

    number = float(cif.as_number(next(iter(tags.get(tag, ())), "?") or "?"))
    return number if 0 < number < 1e12 else None
