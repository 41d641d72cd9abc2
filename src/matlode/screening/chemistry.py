"""Rule: formal charges balance, or the solid is metallic or covalent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from matlode.data.formulas import format_formula, parse_formula
from matlode.records import Candidate, Verdict
from matlode.screening.bonding import (
    explain_anion_bonds,
    explain_chains,
    explain_covalent_bonds,
    explain_metal_bonds,
)
from matlode.screening.oxidation_states import (
    MAX_COST,
    NON_METALS,
    Assignment,
    find_nearest_assignment,
)
from matlode.screening.rule import Rule

BALANCED, METALLIC, COVALENT, UNBALANCED = "yes", "metallic", "covalent", "no"

USUAL_COST = 1.0
"""Up to this cost (``Assignment.cost``) an assignment is preferred to bonds between anions."""


@dataclass(frozen=True, kw_only=True)
class ChargeNeutral(Rule):
    """Passes if formal charges balance, or for alloys and covalent solids, where they need not."""

    name = "charge_neutral"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.grade(candidate.formula)

    def grade(self, formula: str) -> Verdict:
        """Verdict on a canonical formula; its value is "yes", "metallic", "covalent" or "no".

        >>> ChargeNeutral().grade("ClNa2").reason
        'Na2Cl: nearest assignment Cl-1 Na+1 has charge +1 per formula'
        """
        value, reason = _grade(formula)
        return Verdict(
            rule=self.name,
            passed=value != UNBALANCED,
            value=value,
            limit=BALANCED,
            reason=f"{format_formula(formula)}: {reason}",
        )


@lru_cache(maxsize=2**16)
def _grade(formula: str) -> tuple[str, str]:
    amounts = parse_formula(formula)
    non_metals = amounts.keys() & NON_METALS
    if len(amounts) == 1:
        return COVALENT if non_metals else METALLIC, "an element carries no charge"
    if not non_metals:
        return METALLIC, "all metals: an alloy or intermetallic, charges do not apply"
    covalent = explain_covalent_bonds(amounts)
    if covalent and non_metals < amounts.keys():
        return COVALENT, covalent
    assignment = find_nearest_assignment(formula)
    cost = assignment.cost if assignment and assignment.total == 0 else float("inf")
    if cost <= USUAL_COST:
        return BALANCED, f"balanced as {assignment}"
    for value, reason in (
        (COVALENT, covalent or explain_anion_bonds(amounts)),
        (METALLIC, explain_metal_bonds(amounts)),
        (COVALENT, explain_chains(amounts)),
    ):
        if reason:
            return value, reason
    if cost <= MAX_COST:
        return BALANCED, f"balanced as {assignment}"
    return UNBALANCED, _explain_nearest(assignment)


def _explain_nearest(assignment: Assignment | None) -> str:
    if assignment is None:
        return "an element has no listed oxidation state beside these anions"
    if assignment.total == 0:
        return f"balanced only as {assignment}, states that hardly occur"
    return f"nearest assignment {assignment} has charge {assignment.total:+g} per formula"
