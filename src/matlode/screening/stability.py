"""Rule: the material is probably stable."""

from __future__ import annotations

from dataclasses import dataclass

from matlode.records import Candidate, Verdict
from matlode.screening.rule import Rule


@dataclass(frozen=True, kw_only=True)
class LikelyStable(Rule):
    """Passes if the energy above the hull is at most 0.05 eV/atom with at least the probability
    ``min_probability``."""

    min_probability: float = 0.23
    name = "likely_stable"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        chance = candidate.predictions["hull_probability_50_mev"]
        energy = candidate.predictions["formation_energy"]
        return Verdict(
            rule=self.name,
            passed=chance.value >= self.min_probability,
            value=chance.value,
            limit=self.min_probability,
            reason=(
                f"within 0.05 eV/atom of the hull with probability {chance.value:.2f} "
                f"({chance.low:.2f}..{chance.high:.2f}); formation energy {energy.value:.2f} "
                f"({energy.low:.2f}..{energy.high:.2f}) eV/atom"
            ),
        )
