"""Rule: the composition is within the applicability domain of the property models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matlode.data.formulas import element_symbols
from matlode.properties.applicability import MIN_FORMULAS, Applicability
from matlode.records import Candidate, Verdict
from matlode.screening.rule import Rule

UNKNOWN = "unknown"
"""Value of a verdict whose distance is infinite or not known."""


@dataclass(frozen=True, kw_only=True)
class Applicable(Rule):
    """Passes if the distance of the composition from the training compositions is at most that of
    nearly all held-out known materials. Informational, unless made required."""

    applicability: Applicability
    max_share: float = 0.99
    """Fraction of held-out known materials whose distance sets the limit."""
    required: bool = False
    name = "applicable"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        limit = self.applicability.limit(self.max_share)
        distance = candidate.chemistry_distance
        return Verdict(
            rule=self.name,
            # false for NaN
            passed=bool(distance <= limit),
            value=distance if np.isfinite(distance) else UNKNOWN,
            limit=limit,
            reason=f"{self._place(candidate)}; {self._rarest(candidate)}",
        )

    def _place(self, candidate: Candidate) -> str:
        distance = candidate.chemistry_distance
        if np.isnan(distance):
            return "how far it is from the training formulas is not known"
        counts = self.applicability.pairs.diagonal()
        unlearned = [
            f"{element_symbols()[z]} ({counts[z]})"
            for z in np.flatnonzero(candidate.composition > 0)
            if counts[z] < MIN_FORMULAS
        ]
        if unlearned:
            return (
                f"the models hardly know {', '.join(unlearned)}: in brackets the training "
                f"formulas, {MIN_FORMULAS} are needed"
            )
        beyond = 1 - self.applicability.share_nearer(distance)
        return f"{beyond:.1%} of known materials that the models never saw are further out"

    def _rarest(self, candidate: Candidate) -> str:
        first, second, count = self.applicability.rarest_pair(candidate.composition)
        one, other = element_symbols()[first - 1], element_symbols()[second - 1]
        of_all = f"{count:,} of {int(self.applicability.n_formulas[0]):,} training formulas"
        if one == other:
            return f"{one} is in {of_all}"
        return f"its rarest pair of elements, {one} and {other}, is in {of_all}"
