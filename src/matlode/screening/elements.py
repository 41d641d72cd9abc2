"""Rules on abundance, price, radioactivity and toxicity of the elements of a formula."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from matlode.data.formulas import parse_formula
from matlode.records import Candidate, Verdict
from matlode.screening.rule import Rule

TOXIC = {
    **dict.fromkeys(("As", "Cd", "Hg", "Pb"), "ICH Q3D class 1"),
    **dict.fromkeys(("Be", "Ni"), "IARC group 1"),
    "Tl": "ICH Q3D class 2B, acutely toxic",
}
"""Elements whose compounds are mostly toxic → source: the guideline ICH Q3D(R2) on elemental
impurities, or the carcinogens of IARC's monograph 100C."""


RADIOACTIVE = frozenset({
    "Tc", "Pm", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk",
    "Cf", "Es", "Fm",
})  # fmt: skip
"""Elements up to Z = 100 without a stable isotope (bismuth counts as stable)."""
NOBLE_METALS = frozenset({"Ru", "Rh", "Pd", "Os", "Ir", "Pt", "Ag", "Au"})
NOBLE_GASES = frozenset({"He", "Ne", "Ar", "Kr", "Xe", "Rn"})
KINDS: Mapping[str, Collection[str]] = {
    "radioactive": RADIOACTIVE,
    "noble_gases": NOBLE_GASES,
    "toxic": TOXIC,
    "noble_metals": NOBLE_METALS,
}
"""Kinds of elements that a goal allows or not, by the key in its section [elements]."""


@dataclass(frozen=True)
class NotableCounts:
    """Numbers of formulas that contain elements which a user may want to avoid."""

    formulas: int
    """All of them."""
    radioactive: int
    toxic: int
    noble_metals: int

    def in_words(self) -> str:
        """Such as "of 100 formulas, 3 contain toxic elements, 12 noble metals"; empty if none."""
        counts = {
            "radioactive elements": self.radioactive,
            "toxic elements": self.toxic,
            "noble metals": self.noble_metals,
        }
        parts = [f"{n} {'' if i else 'contain '}{kind}"
                 for i, (kind, n) in enumerate((k, n) for k, n in counts.items() if n)]  # fmt: skip
        return f"of {self.formulas} formulas, {', '.join(parts)}" if parts else ""


def count_notable(formulas: Iterable[str]) -> NotableCounts:
    """Count the formulas that contain radioactive (RADIOACTIVE) or toxic elements (TOXIC) or
    noble metals (NOBLE_METALS).

    >>> count_notable(["O2Ti", "CdTe", "AgCl", "PtAs2"]).in_words()
    'of 4 formulas, 2 contain toxic elements, 2 noble metals'
    """
    systems = [parse_formula(formula).keys() for formula in formulas]
    return NotableCounts(
        formulas=len(systems),
        radioactive=sum(not RADIOACTIVE.isdisjoint(system) for system in systems),
        toxic=sum(not system.isdisjoint(TOXIC) for system in systems),
        noble_metals=sum(not NOBLE_METALS.isdisjoint(system) for system in systems),
    )


@dataclass(frozen=True, kw_only=True)
class ElementRule(Rule):
    """Compares a property of the worst element with a limit. Informational, unless made
    required."""

    limit: float
    required: bool = False
    unit: ClassVar[str]
    """Unit of ``value`` and ``limit``."""
    largest_is_worst: ClassVar[bool]
    """Whether ``limit`` is an upper limit; otherwise it is a lower one."""

    @abstractmethod
    def value(self, symbol: str) -> float | None:
        """Value of an element that is compared with the limit; None if unknown."""

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        known = {s: self.value(s) for s in parse_formula(candidate.formula)}
        unknown = [s for s, value in known.items() if value is None]
        values = {s: value for s, value in known.items() if value is not None}
        if unknown or not values:
            reason = f"{', '.join(unknown)}: not known"
            return Verdict(self.name, False, "unknown", self.limit, reason)
        worst = (max if self.largest_is_worst else min)(values, key=lambda s: values[s])
        value = values[worst]
        passed = value <= self.limit if self.largest_is_worst else value >= self.limit
        sign = "at most" if self.largest_is_worst else "at least"
        reason = f"{worst}: {value:.3g} {self.unit}, limit {sign} {self.limit:.3g}"
        return Verdict(self.name, passed, value, self.limit, reason)


@dataclass(frozen=True, kw_only=True)
class Abundant(ElementRule):
    """Passes if every element has at least ``limit`` ppm by mass in the earth's crust (SMACT's
    table)."""

    limit: float = 1.0
    name = "abundant"
    unit = "ppm of the crust"
    largest_is_worst = False

    def value(self, symbol: str) -> float | None:
        """See ElementRule."""
        return _crustal_abundance(symbol)


@dataclass(frozen=True, kw_only=True)
class Affordable(ElementRule):
    """Passes if every element costs at most ``limit`` US dollars per kg (pymatgen's table, about
    2013)."""

    limit: float = 100.0
    name = "affordable"
    unit = "$/kg"
    largest_is_worst = True

    def value(self, symbol: str) -> float | None:
        """See ElementRule."""
        return _price_per_kg(symbol)


@dataclass(frozen=True, kw_only=True)
class NotRadioactive(Rule):
    """Passes if every element has a stable isotope (bismuth counts as stable)."""

    required: bool = False
    name = "not_radioactive"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        unstable = [s for s in parse_formula(candidate.formula) if not self.allows(s)]
        reason = f"{', '.join(unstable)} radioactive" if unstable else "no radioactive element"
        return Verdict(self.name, not unstable, float(len(unstable)), 0.0, reason)

    def allows(self, symbol: str) -> bool:
        """Whether a formula may contain the element."""
        return symbol not in RADIOACTIVE


@dataclass(frozen=True, kw_only=True)
class NotToxic(Rule):
    """Passes if no element is in ``TOXIC``."""

    required: bool = False
    name = "not_toxic"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        bad = [s for s in parse_formula(candidate.formula) if not self.allows(s)]
        reason = ", ".join(f"{s} ({TOXIC[s]})" for s in bad) or "no element known as toxic"
        return Verdict(self.name, not bad, float(len(bad)), 0.0, reason)

    def allows(self, symbol: str) -> bool:
        """Whether a formula may contain the element."""
        return symbol not in TOXIC


@cache
def _crustal_abundance(symbol: str) -> float | None:
    import smact

    with warnings.catch_warnings():
        # SMACT warns that noble gases have no electronegativity
        warnings.simplefilter("ignore")
        value = smact.Element(symbol).crustal_abundance
    return None if value is None else float(value)


@cache
def _price_per_kg(symbol: str) -> float | None:
    from pymatgen.analysis.cost import CostAnalyzer, CostDBElements

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(CostAnalyzer(CostDBElements()).get_cost_per_kg(symbol))
        except ValueError:  # not in the table
            return None
