"""Rule: the composition is solid at room temperature."""

from __future__ import annotations

from dataclasses import dataclass

from matlode.data.formulas import parse_formula
from matlode.records import Candidate, Verdict
from matlode.screening.rule import Rule

NOBLE_GASES = frozenset({"He", "Ne", "Ar", "Kr", "Xe", "Rn"})
FLUID_ELEMENTS = frozenset({"H", "N", "O", "F", "Cl", "Br", "Hg"}) | NOBLE_GASES
"""Elements that are gases or liquids at 298 K and 1 bar."""


@dataclass(frozen=True, kw_only=True)
class SolidAtRoomTemperature(Rule):
    """Passes unless the candidate is an element that is a gas or a liquid, or contains a noble gas.

    Fluorides and oxides of xenon pass: XeF2 is a solid.
    """

    name = "solid_at_room_temperature"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        symbols = set(parse_formula(candidate.formula))
        fluid = symbols & (FLUID_ELEMENTS if len(symbols) == 1 else NOBLE_GASES)
        if symbols & {"F", "O"}:
            fluid -= {"Xe"}
        names = ", ".join(sorted(fluid))
        if not fluid:
            reason = "neither a gaseous or liquid element nor a compound of a noble gas"
        elif len(symbols) == 1:
            reason = f"the element {names} is a gas or a liquid at room temperature"
        else:
            reason = f"contains the noble gas {names}, which forms no solid compound of this kind"
        return Verdict(self.name, not fluid, names or "none", "none", reason)
