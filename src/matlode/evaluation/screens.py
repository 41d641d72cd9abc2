"""How many real phases the screens accept, and how many crystals that are wrong on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from matlode.data.cleaning import find_problems
from matlode.data.crystals import Crystals
from matlode.data.formulas import compute_formulas, element_symbols, parse_formula
from matlode.data.splits import TEST, split_by_formula
from matlode.data.tables import Materials, load_materials
from matlode.errors import InputError
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.predict import CrystalPrediction, predict
from matlode.jobs.screens import load_rules
from matlode.progress import Progress, silent
from matlode.screening.state import FLUID_ELEMENTS

ON_HULL_EV = 0.001
"""Phases at most this far above the hull (eV/atom) count as stable."""
ANION_CHARGES: Mapping[str, int] = {
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1),
    **dict.fromkeys(("O", "S", "Se", "Te"), -2),
}
CLASSES: Mapping[str, tuple[str, ...]] = {
    "oxides": ("O",),
    "halides": ("F", "Cl", "Br", "I"),
    "chalcogenides": ("S", "Se", "Te"),
    "pnictides": ("N", "P", "As", "Sb"),
    "hydrides": ("H",),
    "borides, carbides, silicides": ("B", "C", "Si", "Ge"),
}
"""Class of a compound → its most electronegative element."""
SCALES: Mapping[str, float] = {
    "lengths x 0.5": 0.5,
    "lengths x 2": 2.0,
    "lengths x 10": 10.0,
    "bohr read as ångström": 1.889726,
    "ångström read as bohr": 0.529177,
}
"""Kind of wrong crystal → factor of all lengths."""
FCC = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
NOBLE_CELLS_A = {"He": 4.24, "Ne": 4.46, "Ar": 5.31, "Kr": 5.65, "Xe": 6.13, "Rn": 6.50}
"""Edges of the cubic cells (Å) of the solids (Kittel, Introduction to Solid State Physics)."""
MOLECULE_CELLS_A = {
    "H": (5.31, 0.74), "N": (5.66, 1.10), "O": (5.40, 1.21), "F": (5.60, 1.42), "Cl": (6.90, 1.99),
}  # fmt: skip
"""Edge of a cubic cell of the structure of α-N2, and length of the bond, Å."""


@dataclass(frozen=True)
class ScreenRow:
    """What the screens say of one group of crystals."""

    group: str
    is_real: bool
    """Whether the crystals are known phases; otherwise they are wrong on purpose."""
    n: int
    accepted: int
    rejections: Mapping[str, int]
    """Required rule (or "not readable", "no pattern") → crystals that fail it; a crystal may fail
    several."""

    @property
    def accepted_share(self) -> float:
        """Fraction of the crystals that are accepted."""
        return self.accepted / self.n

    def to_json(self) -> dict[str, object]:
        """The object that `matlode evaluate screens --json` prints."""
        return {
            "group": self.group,
            "real": self.is_real,
            "n": self.n,
            "accepted": self.accepted,
            "rejections": dict(self.rejections),
        }


def measure_screens(
    *,
    data: Path | None = None,
    models: Path | None = None,
    n_real: int | None = None,
    n_wrong: int = 300,
    seed: int = 0,
    progress: Progress = silent,
) -> list[ScreenRow]:
    """Screen stable test phases, all and by class of chemistry, and crystals that are wrong.

    The phases are test rows of the table (``data``, else $MATLODE_DATA, else the starter set)
    that are at most 1 meV/atom above their hull: at most ``n_real`` of them, drawn with ``seed``.
    Wrong crystals are made of at most ``n_wrong`` of these per kind. Raises InputError if the
    table has no such phase.
    """
    table = load_materials(data)
    apply_rules = _make_screen(Models(models), progress)
    phases = _select_phases(table, n_real, np.random.default_rng(seed))
    answers = apply_rules(phases)
    classes = np.array([classify_formula(formula) for formula in phases.frame["formula"]])
    rows = [_count("all", True, answers)]
    for name in sorted(set(classes), key=lambda name: -(classes == name).sum()):
        own = [answer for answer, of in zip(answers, classes, strict=True) if of == name]
        rows.append(_count(name, True, own))
    for name, wrong in make_wrong_crystals(table, phases, n_wrong, np.random.default_rng(seed)):
        rows.append(_count(name, False, apply_rules(wrong)))
    return rows


def classify_formula(formula: str) -> str:
    """Return the class of chemistry of a formula.

    >>> classify_formula("O3SrTi"), classify_formula("AlNi3"), classify_formula("Fe")
    ('oxides', 'intermetallics', 'elements')
    """
    from pymatgen.core import Element

    elements = [Element(symbol) for symbol in parse_formula(formula)]
    if len(elements) == 1:
        return "elements"
    if all(element.is_metal for element in elements):
        return "intermetallics"
    last = max(elements, key=lambda element: element.X).symbol
    return next((name for name, symbols in CLASSES.items() if last in symbols), "others")


def find_exchange(formula: str) -> tuple[str, str] | None:
    """Return the cation and the anion of an ionic compound whose exchange cannot balance.

    These are the most electropositive and the most electronegative element of a balanced compound
    of one anion and of metals with a single common oxidation state each. The anion is the more
    abundant of the two, so the exchange leaves a positive charge that no anion can take.

    >>> find_exchange("Al2O3"), find_exchange("ClNa"), find_exchange("O2Ti")
    (('Al', 'O'), None, ('Ti', 'O'))
    """
    from pymatgen.core import Element

    amounts = parse_formula(formula)
    if len(amounts) < 2:
        return None
    cation, *others, anion = sorted(amounts, key=lambda symbol: Element(symbol).X)
    states = [Element(symbol).common_oxidation_states for symbol in (cation, *others)]
    if anion not in ANION_CHARGES or any(len(q) != 1 or q[0] <= 0 for q in states):
        return None
    charges = [*(q[0] for q in states), ANION_CHARGES[anion]]
    ordered = [amounts[symbol] for symbol in (cation, *others, anion)]
    balanced = sum(q * n for q, n in zip(charges, ordered, strict=True)) == 0
    return (cation, anion) if balanced and amounts[anion] > amounts[cation] else None


def make_wrong_crystals(
    table: Materials, phases: Materials, n: int, rng: np.random.Generator
) -> Iterator[tuple[str, Materials]]:
    """Yield the kinds of wrong crystals, at most ``n`` of each, made of real ``phases``.

    Solid gases are built, and taken from the whole ``table``.
    """
    chosen = phases.take(np.sort(rng.permutation(len(phases))[:n]))
    for name, factor in SCALES.items():
        crystals = replace(chosen.crystals, lattices=factor * chosen.crystals.lattices)
        yield name, replace(chosen, crystals=crystals)
    pairs = [find_exchange(formula) for formula in phases.frame["formula"]]
    ionic = rng.permutation(np.flatnonzero([pair is not None for pair in pairs]))[:n]
    if len(ionic):
        swapped = [
            _exchange(phases.crystals.take([row]), *pair)
            for row in np.sort(ionic)
            if (pair := pairs[row]) is not None
        ]
        yield "cation and anion exchanged", _as_materials(Crystals.concatenate(swapped))
    known = table.crystals.take(table.frame["formula"].isin(FLUID_ELEMENTS).to_numpy())
    yield "solid gases", _as_materials(Crystals.concatenate([build_solid_gases(), known]))


def build_solid_gases() -> Crystals:
    """Build cubic crystals of the noble gases and of diatomic molecules."""
    z_of = {symbol: z for z, symbol in enumerate(element_symbols(), start=1)}
    lattices, numbers, places = [], [], []
    for symbol, edge in NOBLE_CELLS_A.items():
        lattices.append(edge * np.eye(3))
        numbers.append(np.full(4, z_of[symbol]))
        places.append(np.array(FCC))
    signs = np.array([(1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, -1, -1)])  # Pa-3
    for symbol, (edge, bond) in MOLECULE_CELLS_A.items():
        half = bond / 2 / np.sqrt(3) / edge * signs[[0, 2, 1, 3]]
        lattices.append(edge * np.eye(3))
        numbers.append(np.full(8, z_of[symbol]))
        places.append(np.concatenate([np.array(FCC) + half, np.array(FCC) - half]))
    return Crystals.from_arrays(lattices, numbers, places)


def _exchange(crystal: Crystals, first: str, second: str) -> Crystals:
    a, b = (element_symbols().index(symbol) + 1 for symbol in (first, second))
    numbers = crystal.numbers
    return replace(crystal, numbers=np.where(numbers == a, b, np.where(numbers == b, a, numbers)))


def _as_materials(crystals: Crystals) -> Materials:
    ids = [f"crystal {row}" for row in range(len(crystals))]
    formulas = compute_formulas(crystals)
    return Materials(pd.DataFrame({"id": ids, "formula": formulas}), crystals)


def _select_phases(table: Materials, n: int | None, rng: np.random.Generator) -> Materials:
    """Stable phases of the test split, in the order of the table."""
    stable = table.label("energy_above_hull") <= ON_HULL_EV
    rows = np.flatnonzero(stable & (split_by_formula(table.frame["formula"]) == TEST))
    if not len(rows):
        raise InputError(
            "the table has no test rows within 1 meV/atom of the hull; it needs a column "
            "energy_above_hull (eV/atom) with such rows."
        )
    return replace(table.take(np.sort(rng.permutation(rows)[:n])), dropped=())


def _make_screen(models: Models, progress: Progress) -> Callable[[Materials], list[Sequence[str]]]:
    """Return a function that predicts crystals as `matlode predict` does, and lists for each the
    required rules that it fails."""
    known = Known()
    required = {rule.name for rule in load_rules(models, known) if rule.required}

    def apply_rules(materials: Materials) -> list[Sequence[str]]:
        reasons = find_problems(materials.crystals)
        readable = np.array([reason is None for reason in reasons])
        found = iter(
            predict(materials.take(readable), models=models, known=known, progress=progress)
        )
        return [
            _list_failures(next(found), required) if ok else ["not readable"] for ok in readable
        ]

    return apply_rules


def _list_failures(answer: CrystalPrediction, required: set[str]) -> list[str]:
    if answer.error is not None:
        return ["no pattern"]
    return [v.rule for v in answer.verdicts if v.rule in required and not v.passed]


def _count(group: str, is_real: bool, failures: Sequence[Sequence[str]]) -> ScreenRow:
    counts = Counter(rule for of_one in failures for rule in of_one)
    accepted = sum(not of_one for of_one in failures)
    return ScreenRow(group, is_real, len(failures), accepted, dict(counts.most_common()))
