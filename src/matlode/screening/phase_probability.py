"""Probability that the best match of a search is the phase of the sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from matlode.representation.observation import Observation
from matlode.screening.known_lines import STANDARD_MATCH, Match

CONFIDENT: Final = 0.5
"""Probability below which there is no confident match."""
LARGEST_MARGIN: Final = 0.1
"""Larger differences between scores tell no more."""


@dataclass(frozen=True)
class Overlap:
    """Common intensity of an observed pattern and the calculated one of a phase."""

    explained: float
    """Share of the observed intensity that the phase explains."""
    missing: float
    """Share of the calculated intensity that is not observed."""


def measure_overlap(match: Match, seen: Observation) -> Overlap:
    """Compare the profiles of a match and a pattern at the width of the last pass."""
    view = seen.view(STANDARD_MATCH.passes[-1].sigma_deg)
    observed, profile = view.roots**2, match.lines.profile(match.fit, view)
    common = float(np.minimum(profile, observed).sum())
    return Overlap(
        explained=common / max(float(observed.sum()), 1e-12),
        missing=1 - common / max(float(profile.sum()), 1e-12),
    )


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Logistic regression of whether the best match is right.

    The share of the observed intensity that is explained tells no more than these terms.
    """

    constant: float
    score: float
    """Per unit of the score of the best match."""
    margin: float
    """Per unit of the difference between the scores of the two best phases, up to
    LARGEST_MARGIN."""
    missing: float
    """Per share of the calculated intensity that is not observed."""

    def compute(self, matches: Sequence[Match], seen: Observation) -> float:
        """Return the probability that the first of ``matches`` is right, 0 without any.

        The matches are distinct phases, the best first.
        """
        if not matches:
            return 0.0
        best = matches[0].score
        second = matches[1].score if len(matches) > 1 else -math.inf
        overlap = measure_overlap(matches[0], seen)
        logit = (
            self.constant
            + self.score * best
            + self.margin * min(best - second, LARGEST_MARGIN)
            + self.missing * overlap.missing
        )
        return 1 / (1 + math.exp(-logit))


CONFIDENCE: Final = Confidence(constant=-7.5, score=7.8, margin=31.9, missing=-2.1)
"""Fitted to 600 searches for simulated patterns (with and without elements), to the same searches
with the right phase hidden (weight 1/4, so that a fifth of all samples are of phases that the table
lacks), and to 36 searches of the learning half of measured scans (weight 3)."""
