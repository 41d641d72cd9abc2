"""Structure families by common name: the AFLOW labels that count as "perovskite", "spinel", ..."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from matlode.errors import GoalError, InputError, suggest

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from matlode.data.tables import Materials

SHELL = 1.33
"""Atoms up to this multiple of the shortest distance belong to the first coordination shell."""
MAX_BOND_A = 4.5
"""Longest distance in a coordination shell, in Å."""


@dataclass(frozen=True)
class Family:
    """Structure types with a common name."""

    stoichiometry: str
    """Such as "ABX3"."""
    labels: tuple[str, ...]
    """AFLOW labels (space group and Wyckoff letters); the order of the elements is irrelevant."""
    octahedral_labels: tuple[str, ...] = ()
    """Labels that other types share: they count if B has octahedra that share corners only."""
    aliases: tuple[str, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "perovskite": Family(
        "ABX3",
        ("ABC3_cP5_221_a_b_c", "ABC3_tP5_99_a_b_ac", "ABC3_oS10_38_a_b_ae", "ABC3_oS10_38_a_b_ad",
         "ABC3_oI20_74_a_e_eg", "ABC3_tI20_140_b_c_ah", "ABC3_tI20_140_a_d_bh",
         "ABC3_tP10_127_a_c_bg"),
        # shared with carbonates, nitrates, halates, selenites or LiNiF3
        ("ABC3_oP20_62_a_c_cd", "ABC3_hR30_161_a_a_b", "ABC3_hR30_167_a_b_e", "ABC3_hR15_160_a_a_b",
         "ABC3_hR15_155_a_b_d", "ABC3_hR30_148_ab_c_f", "ABC3_tI20_139_ab_d_eh",
         "ABC3_oP20_33_a_a_3a", "ABC3_oP20_26_ab_c_ab2c", "ABC3_oS40_63_2c_d_efg",
         "ABC3_mC20_12_ab_h_g2i", "ABC3_mC40_15_ae_f_3f", "ABC3_aP20_2_abeh_2i_6i"),
    ),
    "cubic perovskite": Family("ABX3", ("ABC3_cP5_221_a_b_c",)),
    "double perovskite": Family(
        "A2BCX6",
        ("A2BCD6_cF40_225_c_a_b_e", "A2BCD6_tI20_87_d_a_b_eh", "A2BCD6_mP20_14_e_a_d_3e",
         "A2BCD6_mP20_14_e_a_b_3e", "A2BCD6_hR30_148_c_a_b_f"),
        aliases=("elpasolite",),
    ),
    "vacancy-ordered perovskite": Family(
        "A2BX6", ("A2BC6_cF36_225_c_a_e",), aliases=("K2PtCl6",)
    ),
    "Ruddlesden-Popper": Family("A2BX4", ("A2BC4_tI14_139_e_a_ce",), aliases=("K2NiF4",)),
    "spinel": Family("AB2X4", ("AB2C4_cF56_227_a_d_e", "AB2C4_cF56_227_b_c_e")),
    "garnet": Family("A3B2C3X12", ("A3B2C3D12_cI160_230_c_a_d_h",)),
    "ilmenite": Family("ABX3", ("ABC3_hR30_148_c_c_f",)),
    "pyrochlore": Family("A2B2X7", ("A2B2C7_cF88_227_c_d_af",)),
    "corundum": Family("A2X3", ("A2B3_hR30_167_c_e",)),
    "rock salt": Family("AX", ("AB_cF8_225_a_b",), aliases=("halite", "rocksalt", "NaCl")),
    "caesium chloride": Family("AX", ("AB_cP2_221_a_b",), aliases=("CsCl", "cesium chloride")),
    "zinc blende": Family("AX", ("AB_cF8_216_a_c",), aliases=("zincblende", "sphalerite")),
    "wurtzite": Family("AX", ("AB_hP4_186_b_b",)),
    "nickel arsenide": Family("AX", ("AB_hP4_194_a_c",), aliases=("nickeline", "NiAs")),
    "chalcopyrite": Family("ABX2", ("ABC2_tI16_122_a_b_d",)),
    "fluorite": Family("AX2", ("AB2_cF12_225_a_c",), aliases=("CaF2",)),
    "antifluorite": Family("A2X", ("A2B_cF12_225_c_a",)),
    "rutile": Family("AX2", ("AB2_tP6_136_a_f",)),
    "pyrite": Family("AX2", ("AB2_cP12_205_a_c",)),
    "cadmium iodide": Family("AX2", ("AB2_hP3_164_a_d",), aliases=("CdI2",)),
    "molybdenite": Family("AX2", ("AB2_hP6_194_c_f",), aliases=("MoS2",)),
    "skutterudite": Family("AX3", ("AB3_cI32_204_c_g",)),
    "tetradymite": Family("A2X3", ("A2B3_hR15_166_c_ac",), aliases=("Bi2Te3",)),
    "half-Heusler": Family("ABX", ("ABC_cF12_216_a_b_c",)),
    "Heusler": Family("A2BX", ("A2BC_cF16_225_c_a_b",), aliases=("full Heusler",)),
    "inverse Heusler": Family(
        "A2BX",
        ("A2BC_cF16_216_bc_a_d", "A2BC_cF16_216_bd_a_c", "A2BC_cF16_216_ac_b_d"),
    ),
    "ThCr2Si2": Family("AB2X2", ("AB2C2_tI10_139_a_d_e",)),
    "A15": Family("A3X", ("A3B_cP8_223_c_a",), aliases=("Nb3Sn",)),
    "Laves": Family(
        "AB2",
        ("AB2_cF24_227_b_c", "AB2_cF24_227_a_d", "AB2_hP12_194_f_ah", "AB2_hP24_194_ef_fgh"),
        aliases=("Laves phase",),
    ),
}  # fmt: skip
"""Name → family. Which types share a label was checked against the starter set: delafossite and
α-NaFeO₂, anatase and ThSi₂, calcite and R-3c perovskites have the same labels; the first two pairs
are therefore left out."""


def find_family(name: str) -> tuple[str, Family]:
    """Find a structure family and its name in FAMILIES, whatever the case, hyphens or alias.

    Raises GoalError for an unknown name, suggesting the most similar one.

    >>> find_family("half heusler")[0], find_family("Halite")[0]
    ('half-Heusler', 'rock salt')
    """
    known = {_simplify(alias): name for name in FAMILIES
             for alias in (name, *FAMILIES[name].aliases)}  # fmt: skip
    found = known.get(_simplify(name))
    if found is None:
        names = [*FAMILIES, *(alias for family in FAMILIES.values() for alias in family.aliases)]
        raise GoalError(
            f'unknown prototype "{name}". {suggest(name, names)} Known: {", ".join(FAMILIES)}.'
        )
    return found, FAMILIES[found]


def _simplify(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower()


def find_templates(materials: Materials, types: Mapping[str, str], name: str) -> frozenset[str]:
    """Find the materials whose structure type belongs to a family: their ids.

    ``types`` maps ids to text that begins with the AFLOW label (``structure_types.read_types``).
    Raises GoalError for an unknown ``name``, InputError if no material belongs to it.
    """
    found, family = find_family(name)
    sure = {normalise_label(label) for label in family.labels}
    unsure = {normalise_label(label) for label in family.octahedral_labels}
    ids = materials.frame["id"].astype(str).tolist()
    keys = [normalise_label(types[i].split(" ")[0]) if types.get(i) else "" for i in ids]
    rows = [row for row, key in enumerate(keys) if key in unsure]
    crystals = zip(rows, materials.crystals.take(rows).structures(), strict=True) if rows else ()
    octahedral = {ids[row] for row, structure in crystals if has_corner_octahedra(structure)}
    templates = octahedral | {i for i, key in zip(ids, keys, strict=True) if key in sure}
    if not templates:
        advice = (
            "pass a table that contains one with --known"
            if types
            else "determine the structure types of the table first (`matlode data prototypes`)"
        )
        raise InputError(f"no known structure is a {found}; {advice}.")
    return frozenset(templates)


@cache
def normalise_label(label: str) -> str:
    """Write an AFLOW label with its sites in ascending order, so that labels of one type are equal
    whatever the elements.

    >>> normalise_label("AB3C_cP5_221_a_c_b") == normalise_label("ABC3_cP5_221_b_a_c")
    True
    """
    formula, pearson, group, *letters = label.split("_")
    amounts = [int(n or 1) for n in re.findall(r"[A-Z](\d*)", formula)]
    sites = sorted(f"{amount}{letter}" for amount, letter in zip(amounts, letters, strict=True))
    return "_".join([pearson, group, *sites])


def has_corner_octahedra(structure: Structure) -> bool:
    """Whether an ABX3 crystal has BX6 octahedra that share corners only, as in perovskites.

    X is the most frequent element, B the one nearest to it. False in carbonates and nitrates,
    where B has three neighbours, and in post-perovskites and BaNiO3, where octahedra share edges
    or faces.
    """
    amounts = structure.composition.get_el_amt_dict()
    anion = max(amounts, key=lambda symbol: amounts[symbol])
    shells = {
        symbol: [_find_shell(structure, site, anion) for site in _find_sites(structure, symbol)]
        for symbol in amounts
        if symbol != anion
    }
    centre = min(shells, key=lambda symbol: min(distance for distance, _ in shells[symbol]))
    octahedra = [shell for _, shell in shells[centre]]
    return all(len(shell) == 6 for shell in octahedra) and _count_shared(octahedra) <= 1


def _find_sites(structure: Structure, symbol: str) -> list[int]:
    return [i for i, site in enumerate(structure) if site.specie.symbol == symbol]


_Image = tuple[int, tuple[int, ...]]
"""Number of a site and the cell it is in."""


def _find_shell(structure: Structure, site: int, symbol: str) -> tuple[float, set[_Image]]:
    """Shortest distance (Å) from a site to an element, and the atoms of its first shell."""
    near = [
        atom
        for atom in structure.get_neighbors(structure[site], MAX_BOND_A)
        if atom.specie.symbol == symbol
    ]
    shortest = min((atom.nn_distance for atom in near), default=float("inf"))
    return shortest, {
        (atom.index, tuple(round(shift) for shift in atom.image))
        for atom in near
        if atom.nn_distance < SHELL * shortest
    }


def _count_shared(polyhedra: list[set[_Image]]) -> int:
    """Largest number of atoms that two polyhedra share, in any cells."""
    largest = 0
    for first, one in enumerate(polyhedra):
        for second, other in enumerate(polyhedra):
            shifts = Counter(
                tuple(a - b for a, b in zip(cell, other_cell, strict=True))
                for site, cell in one
                for other_site, other_cell in other
                if site == other_site
            )
            if first == second:
                shifts.pop((0, 0, 0), None)
            largest = max(largest, *shifts.values(), 0)
    return largest
