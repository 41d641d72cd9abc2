"""The order in which chemists and databases write the elements of a formula.

Metals come first, then nonmetals, the most electronegative last. Among metals, no single order fits
everything: in oxides, chalcogenides and halides the cation of lower charge comes first (NiTiO3,
FeCr2O4, CuInSe2); elsewhere electronegativity decides within a block, and the metals of the p-block
follow the others (Nb3Sn, Ti2AlC, LaNi5).
"""

from __future__ import annotations

from collections.abc import Mapping


def _read_symbols(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LARGE_METALS = _read_symbols(
    "Fr Cs Rb K Na Li Ra Ba Sr Ca Eu Yb "
    "Ac La Ce Pr Nd Pm Sm Gd Tb Dy Y Ho Er Tm Lu Sc Th Pa U Np Pu Am Cm Bk Cf Es Fm"
)
"""Metals of the s- and f-block, with yttrium and scandium: always first, in this order."""
CATIONS = _read_symbols(
    "Mg Be Ag Cu Tl Hg Pb Bi Cd Zn Ni Co Mn Fe In Ga Al Cr Pd Pt Au Sn Zr Hf Ti V Ge Nb Ta Mo W Tc "
    "Ru Rh Re Os Ir Sb As"
)
"""Other metals in the order in which they are written before anions, roughly by charge."""
ALLOYED = _read_symbols(
    "Mg Zr Hf Mn Ta Ti Nb V Cr Fe Co Ni Cu Re Tc Ag Mo Pd Os Ru Ir Pt Rh W Au Cd Zn Hg Be "
    "Al In Ga Tl Sn Ge Pb Bi"
)
"""The same metals in the order in which they are written without such anions."""
NONMETALS = _read_symbols("B Si C Sb As P N H Po Te Se S O At I Br Cl F")
METALS = frozenset({*LARGE_METALS, *CATIONS} - {"Sb", "As"})
NOBLE_GASES = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")
ANIONS = frozenset({"O", "S", "Se", "Te", "F", "Cl", "Br", "I"})
HALOGENS = ("Cl", "Br", "I")
CENTRES = ("C", "N", "P", "As", "S", "Se", *HALOGENS)
"""Nonmetals of oxo-anions, which are put in brackets where there are several."""


def write_conventional_formula(amounts: Mapping[str, int]) -> str:
    """Write a reduced formula with its elements in the usual order; several hydroxide or oxo-anions
    are put in brackets.

    >>> write_conventional_formula({"O": 3, "Ti": 1, "Ni": 1})
    'NiTiO3'
    >>> write_conventional_formula({"O": 8, "P": 2, "Ca": 3})
    'Ca3(PO4)2'
    """
    order = sorted(amounts, key=_rank_elements(amounts).index)
    group = _find_repeated_group(amounts)
    if not group:
        return _join({symbol: amounts[symbol] for symbol in order})
    count = amounts[group[0]]
    single = {symbol: amounts[symbol] // count for symbol in group}
    outside = {symbol: amounts[symbol] for symbol in order if symbol not in group}
    return f"{_join(outside)}({_join(single)}){count}"


def _rank_elements(amounts: Mapping[str, int]) -> tuple[str, ...]:
    """All elements in the order in which they are written beside these."""
    metals = CATIONS if ANIONS & amounts.keys() else ALLOYED
    nonmetals = [symbol for symbol in NONMETALS if symbol not in metals]
    oxygen, hydrogen = amounts.get("O", 0), amounts.get("H", 0)
    for halogen in HALOGENS:  # chlorates, but not oxychlorides
        if 0 < 3 * amounts.get(halogen, 0) <= oxygen:
            nonmetals.insert(nonmetals.index("Se"), nonmetals.pop(nonmetals.index(halogen)))
    if oxygen and hydrogen:
        nonmetals.remove("H")
        nonmetals.insert(_place_hydrogen(amounts, nonmetals), "H")
    return (*NOBLE_GASES, *LARGE_METALS, *metals, *nonmetals)


def _place_hydrogen(amounts: Mapping[str, int], nonmetals: list[str]) -> int:
    """Index of hydrogen among the ``nonmetals`` of a compound with oxygen: behind it in hydroxides,
    first in acids and their salts."""
    has_metal = bool(amounts.keys() & METALS)
    if amounts.keys() & set(nonmetals) == {"O"}:
        return nonmetals.index("O") + (has_metal and amounts["O"] == amounts["H"])
    organic = not has_metal and amounts.keys() & {"C", "N"}
    return nonmetals.index("N") + 1 if organic else 0


def _find_repeated_group(amounts: Mapping[str, int]) -> tuple[str, str] | None:
    """The two elements of an anion that occurs several times, if all their atoms are in it."""
    rest = amounts.keys() - METALS - {"O"}
    if not amounts.keys() & METALS or "O" not in amounts or len(rest) != 1:
        return None
    (centre,) = rest
    if amounts[centre] == 1:
        return None
    if centre == "H":
        return ("O", "H") if amounts["O"] == amounts["H"] else None
    ratios = (3, 4) if centre in CENTRES else ()
    return (centre, "O") if amounts["O"] in [n * amounts[centre] for n in ratios] else None


def _join(amounts: Mapping[str, int]) -> str:
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in amounts.items())
