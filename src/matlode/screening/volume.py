"""Rule: the volume of a crystal is one that its composition can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matlode.properties.expected_volume import ExpectedVolume
from matlode.records import Candidate, Verdict
from matlode.screening.rule import Rule, skip_verdict


@dataclass(frozen=True, kw_only=True)
class VolumeExpected(Rule):
    """Passes if the crystal's volume per atom is in the band that holds 99.5 % of known crystals of
    such compositions, enlarged on both sides by the factor 1 + ``tolerance``."""

    model: ExpectedVolume
    tolerance: float = 0.1
    name = "expected_volume"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.check_all([candidate])[0]

    def check_all(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        if all(candidate.crystal is None for candidate in candidates):
            return [skip_verdict(self.name, "band") for _ in candidates]
        band = self.model.predict_band(np.stack([c.composition for c in candidates]))
        lows = (band.low / (1 + self.tolerance)).tolist()
        highs = (band.high * (1 + self.tolerance)).tolist()
        return [
            self._verdict(candidate, *row)
            for candidate, *row in zip(candidates, band.value.tolist(), lows, highs, strict=True)
        ]

    def _verdict(self, candidate: Candidate, expected: float, low: float, high: float) -> Verdict:
        limit = f"{low:.1f}..{high:.1f} Å³/atom"
        if candidate.crystal is None:
            return skip_verdict(self.name, limit)
        own = candidate.crystal.volume_per_atom_a3
        return Verdict(
            rule=self.name,
            passed=low <= own <= high,
            value=own,
            limit=limit,
            reason=f"{own:.1f} Å³/atom; {expected:.1f} expected for this composition, at least "
            f"{low:.1f} and at most {high:.1f}",
        )
