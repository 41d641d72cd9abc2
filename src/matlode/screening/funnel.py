"""All rules on all candidates: verdicts, and a ledger of who fell where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matlode.records import Candidate, Verdict
from matlode.screening.chemistry import ChargeNeutral
from matlode.screening.novelty import KnownMaterials, Novel
from matlode.screening.plausibility import PatternBands, PlausiblePattern
from matlode.screening.rule import Rule
from matlode.screening.stability import LikelyStable
from matlode.screening.symmetry import ClearSymmetry


def standard_rules(known: KnownMaterials, bands: PatternBands) -> tuple[Rule, ...]:
    """Every rule, in the order in which the funnel counts."""
    return (
        LikelyStable(),
        PlausiblePattern(bands),
        ClearSymmetry(),
        ChargeNeutral(),
        Novel(known),
    )


@dataclass(frozen=True)
class Screened:
    """One candidate's verdicts."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]
    accepted: bool
    """Whether no required rule failed."""

    def verdict(self, rule: str) -> Verdict:
        """The verdict of one rule."""
        return next(verdict for verdict in self.verdicts if verdict.rule == rule)


def screen(candidates: Sequence[Candidate], rules: Sequence[Rule]) -> list[Screened]:
    """Every rule's verdict on every candidate; nobody is dropped."""
    required = {rule.name for rule in rules if rule.required}
    screened = []
    for candidate in candidates:
        verdicts = tuple(rule.check(candidate) for rule in rules)
        accepted = all(v.passed for v in verdicts if v.rule in required)
        screened.append(Screened(candidate, verdicts, accepted))
    return screened


def ledger(screened: Sequence[Screened], rules: Sequence[Rule]) -> list[dict[str, object]]:
    """Per required rule, in order: how many came in and how many went on."""
    remaining = list(screened)
    rows: list[dict[str, object]] = []
    for rule in rules:
        passed = [s for s in remaining if s.verdict(rule.name).passed]
        row = {"rule": rule.name, "required": rule.required}
        rows.append({**row, "in": len(remaining), "passed": len(passed)})
        if rule.required:
            remaining = passed
    return rows
