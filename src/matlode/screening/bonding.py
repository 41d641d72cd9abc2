"""Solids whose formal charges need not balance: covalent networks, anions or metals bonded to
their like."""

from __future__ import annotations

from collections.abc import Mapping, Set

from matlode.screening.oxidation_states import (
    MAX_COST,
    MOST_NEGATIVE,
    NON_METALS,
    list_anions,
    list_states,
)

CARBON_LIKE = frozenset({"B", "C", "Si", "Ge"})
PARTNERS = CARBON_LIKE | {"N", "P", "As", "Sb"}
"""With metals these form borides, carbides, silicides, nitrides, ... whose bonds are covalent
or metallic: formal charges need not balance."""
CHAINS = PARTNERS | {"S", "Se", "Te"}
"""Anions that bond to each other, as in FeS₂, K₂S₅ or CoSb₃."""
RARELY_NEGATIVE = CHAINS - {"N"}
"""Non-metals that take electrons in the place of metals."""
MIN_CHAIN_CHARGE = 0.25
"""Smallest mean charge, negative, of an atom in chains of anions (K₂Se₈)."""
MAX_NITROGEN_CHARGE = 1.0
"""Largest mean charge, negative, of bonded N atoms: that of N₂²⁻, beside N₃⁻ in azides."""
S_BLOCK = frozenset({"Li", "Na", "K", "Rb", "Cs", "Be", "Mg", "Ca", "Sr", "Ba", "Ra"})
RARE_EARTHS = frozenset({
    "Sc", "Y", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb",
    "Lu", "Ac", "Th",
})  # fmt: skip
SALT_LIKE_NITRIDES = (S_BLOCK | RARE_EARTHS, S_BLOCK | {"Al", "Zn", "Cd"})
"""Groups of metals whose nitrides must balance. Rare earths beside Al keep electrons (La3AlN)."""
HALIDES = frozenset({"Cl", "Br", "I"})
MIN_CLUSTER_CHARGE = dict.fromkeys(RARE_EARTHS | {"Zr", "Hf"}, 1.0) | dict.fromkeys(
    ("Nb", "Ta", "Mo", "W", "Re"), 1.8
)
"""Metals with bonds to each other in their chlorides, bromides and iodides (Nb₃Cl₈, Y₆CoI₁₀) →
smallest mean charge."""
ELECTRONS_TAKEN = {
    "Au": 1.0, "Pt": 2.0, "Ga": 5.0, "In": 5.0, "Tl": 5.0, "Sn": 4.0, "Pb": 4.0, "Bi": 3.0,
}  # fmt: skip
"""Metals → electrons that they take from s-block and rare-earth metals (Ba₃PbO, Rb₃AuO)."""
MIN_TAKEN = 0.5
"""Fewest electrons that each of their atoms takes."""
MAX_INSIDE = 0.34
"""Largest number of atoms of other metals inside a cluster per metal atom of the cluster."""
PEROXIDE_CATIONS = S_BLOCK | {"Zn", "Cd", "Hg", "H"}
SUPEROXIDE_CATIONS = frozenset({"Na", "K", "Rb", "Cs"})
PEROXO_METALS = frozenset({"Ti", "V", "Cr", "Nb", "Mo", "Ta", "W", "U"})
"""Metals that also have peroxides, beside cations of these."""
POLYHALIDE_CATIONS = frozenset({"K", "Rb", "Cs"})
D_METALS = frozenset({
    "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zr", "Nb", "Mo", "Ru", "Rh", "Pd", "Hf", "Ta",
    "W", "Re", "Os", "Ir", "Pt",
})  # fmt: skip
GROUPS_8_TO_10 = frozenset({"Fe", "Co", "Ni", "Ru", "Rh", "Pd", "Os", "Ir", "Pt"})
SUBOXIDES = (
    ("O", frozenset({"Ti", "Zr", "Hf", "V", "Nb", "Ta"}), D_METALS),
    ("O", frozenset({"Rb", "Cs"}), S_BLOCK),
    ("N", frozenset({"Ca", "Sr", "Ba"}), S_BLOCK),
)
"""Non-metal, hosts of which a compound holds one, all its metals (Zr₃O, Ti₄Cu₂O, Cs₃O, Ba₂N)."""
MAX_DISSOLVED = 1 / 3
"""Largest share of atoms of these non-metals."""
MAX_HYDROGEN = 3.5
"""Largest number of hydrogen atoms per metal atom."""


def explain_covalent_bonds(amounts: Mapping[str, int]) -> str:
    """Borides, carbides, silicides, nitrides, ...; empty for other compounds."""
    partners = amounts.keys() & NON_METALS
    metals = amounts.keys() - partners
    # these metals have no electrons to spare for a nitride that does not balance
    is_salt_like = "N" in amounts and any(metals <= group for group in SALT_LIKE_NITRIDES)
    if not partners <= PARTNERS or (metals and is_salt_like):
        return ""
    kind = "covalent" if partners == amounts.keys() else "metallic or covalent"
    return f"{kind} bonds of {', '.join(sorted(partners))}, charges need not balance"


def explain_anion_bonds(amounts: Mapping[str, int]) -> str:
    """Peroxides, polyhalides and boron cages; empty for other compounds."""
    others = amounts.keys() - {"O"}
    if "O" in amounts and others <= PEROXIDE_CATIONS | PEROXO_METALS and others & PEROXIDE_CATIONS:
        most = -0.5 if others <= SUPEROXIDE_CATIONS else -1.0
        if _can_balance(amounts, {"O": (-2.0, most)}):
            return "a peroxide or superoxide, with bonds between O atoms"
    halogens = amounts.keys() & (HALIDES | {"F"})
    if halogens and amounts.keys() - halogens <= POLYHALIDE_CATIONS:
        ends = (-1.0, -1.0 / 7)
        if halogens == amounts.keys() or _can_balance(amounts, dict.fromkeys(halogens, ends)):
            return "a polyhalide, with bonds between halogen atoms"
    in_cages = amounts.get("B", 0) >= 3 and amounts.keys() & (HALIDES | {"H"})
    if in_cages and _can_balance(amounts, {"B": (0.5, 3.0)}):
        return "a cage of B atoms, charges need not balance"
    return ""


def explain_metal_bonds(amounts: Mapping[str, int]) -> str:
    """Compounds with more metal than their anions can oxidise; empty for other compounds."""
    metals, anions = amounts.keys() - NON_METALS, amounts.keys() & NON_METALS
    for explain in (_explain_dissolved, _explain_clusters, _explain_negative_metals):
        if reason := explain(amounts, metals, anions):
            return reason
    return ""


def _explain_dissolved(amounts: Mapping[str, int], metals: Set[str], anions: Set[str]) -> str:
    n_metal = sum(amounts[metal] for metal in metals)
    if anions == {"H"} and not metals <= S_BLOCK and amounts["H"] <= MAX_HYDROGEN * n_metal:
        return "a hydride of d metals, whose bonds are metallic or covalent"
    for anion, hosts, others in SUBOXIDES:
        share = amounts.get(anion, 0) / sum(amounts.values())
        if anions == {anion} and metals & hosts and metals <= others and share <= MAX_DISSOLVED:
            return f"{anion} dissolved in a metal"
    return ""


def _explain_clusters(amounts: Mapping[str, int], metals: Set[str], anions: Set[str]) -> str:
    clustered = metals & MIN_CLUSTER_CHARGE.keys()
    # other metals, without a charge, sit inside the clusters
    inside = dict.fromkeys(metals - S_BLOCK - clustered, (0.0, 0.0))
    n_inside, n = (sum(amounts[metal] for metal in group) for group in (inside, clustered))
    ends = {metal: (MIN_CLUSTER_CHARGE[metal], 3.0) for metal in clustered}
    if (
        clustered
        and anions & HALIDES
        and not anions & {"O", "F"}
        and n_inside <= MAX_INSIDE * n
        and _can_balance(amounts, ends | inside)
    ):
        return f"a halide with bonds between atoms of {', '.join(sorted(clustered))}"
    return ""


def _explain_negative_metals(amounts: Mapping[str, int], metals: Set[str], anions: Set[str]) -> str:
    taking, giving = metals & ELECTRONS_TAKEN.keys(), metals & (S_BLOCK | RARE_EARTHS)
    if not (taking and giving and metals == taking | giving):
        return ""
    if len(anions) > 1 or anions & RARELY_NEGATIVE or not anions <= MOST_NEGATIVE.keys():
        return ""
    spans = {s: _list_ends(s, 0, amounts, frozenset(anions)) for s in giving}
    ends = {s: (span[1], span[1]) for s, span in spans.items() if span}
    ends |= {s: (-ELECTRONS_TAKEN[s], -MIN_TAKEN) for s in taking}
    if _can_balance(amounts, ends):
        return f"{', '.join(sorted(taking))} with electrons of {', '.join(sorted(giving))}"
    return ""


def _can_balance(amounts: Mapping[str, int], ends: Mapping[str, tuple[float, float]]) -> bool:
    """Whether charges can balance if those of some elements lie between ``ends``, and the others
    have a usual state."""
    for anions in list_anions(amounts):
        low = high = 0.0
        for symbol, n in amounts.items():
            span = ends.get(symbol) or _list_ends(symbol, n, amounts, anions)
            if span is None:
                break
            low, high = low + n * span[0], high + n * span[1]
        else:
            if low <= 0 <= high:
                return True
    return False


def _list_ends(
    symbol: str, n: int, amounts: Mapping[str, int], anions: frozenset[str]
) -> tuple[float, float] | None:
    """Lowest and highest usual state of an element beside ``anions``; None if it has none."""
    states = list_states(symbol, n, amounts, anions)
    usual = [state for state, cost in states.items() if cost <= MAX_COST]
    return (float(min(usual)), float(max(usual))) if usual else None


def explain_chains(amounts: Mapping[str, int]) -> str:
    """Compounds with bonds between anions or, beside soft anions only, between metals."""
    hard = amounts.keys() & {"F", "Cl", "Br", "I", "O"}
    metals = amounts.keys() - NON_METALS
    chains = amounts.keys() & CHAINS
    if hard & {"O", "F"}:
        return ""
    is_carbide_like = bool(metals & RARE_EARTHS) if hard else not metals & S_BLOCK
    if not is_carbide_like:
        chains -= CARBON_LIKE
        if amounts.keys() - metals != {"N"}:  # azides
            chains -= {"N"}
    bonded = {} if hard else _list_bonded_metals(metals, amounts)
    for anions in list_anions(amounts):
        chained = chains & anions
        ends = {
            s: (-MAX_NITROGEN_CHARGE if s == "N" else float(MOST_NEGATIVE[s]), -MIN_CHAIN_CHARGE)
            for s in chained
        }
        for metal, least in bonded.items():
            most = _list_ends(metal, 0, amounts, anions)
            ends[metal] = (least, max(least, most[1] if most else 0.0))
        if chained and _can_balance(amounts, ends):
            return f"bonds between {' or '.join(sorted(chained))} atoms or between metals"
    return ""


def _list_bonded_metals(metals: Set[str], amounts: Mapping[str, int]) -> dict[str, float]:
    """Metals that bond to each other in chalcogenides (Ni₃S₂, Pd₁₇Se₁₅, KCo₂S₂, LaS, Er₅Ni₂Te₂),
    with their smallest mean charge."""
    least = dict.fromkeys(metals & D_METALS, 1.0 if metals & S_BLOCK else 0.0)
    if not metals & S_BLOCK:
        least |= dict.fromkeys(metals & (RARE_EARTHS | {"U"}), 0.0 if "Te" in amounts else 2.0)
        if metals & GROUPS_8_TO_10 or "Te" in amounts:
            least |= dict.fromkeys(metals & ELECTRONS_TAKEN.keys(), 0.0)
    return least
