"""The steps of a search, from proposals to the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matlode.run_records import CandidateRow, Counts, FunnelRow, RejectedFormula


@dataclass(frozen=True)
class Step:
    """A step of the funnel."""

    name: str
    n_in: int
    n_passed: int
    why: str = ""
    """Why the others did not pass, where there is no reason for each of them."""
    failed: tuple[RejectedFormula, ...] = ()
    is_informational: bool = False
    """Whether candidates that fail go on to the next step all the same."""


def list_steps(
    rules: Sequence[FunnelRow], candidates: Sequence[CandidateRow], counts: Counts | None
) -> list[Step]:
    """The funnel: rules, and the steps before and after them where the run counts these."""
    screens = [
        Step(
            rule.rule.replace("_", " "),
            rule.n_in,
            rule.n_passed,
            failed=rule.failed,
            is_informational=not rule.required,
        )
        for rule in rules
    ]
    if counts is None:
        return screens
    n_screened = rules[0].n_in if rules else len(candidates)
    return [
        Step(
            "proposals",
            max(counts.proposed, counts.evaluated),
            counts.evaluated,
            "led to no crystal: no known structure has the stoichiometry of a new formula",
        ),
        Step(
            "crystals evaluated, the likeliest to be stable of each formula",
            counts.formulas,
            n_screened,
            "have a lower score, or are close to a better one of the same elements",
        ),
        *screens,
        Step(
            "screened crystals",
            n_screened,
            len(candidates),
            "more of the same elements or structure type, or below the end of the table",
        ),
    ]
