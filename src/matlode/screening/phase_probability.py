"""Probability that the best match of a search is the phase of the sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matlode.screening.known_lines import Match

CONFIDENT: Final = 0.5
"""Probability below which there is no confident match."""


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Logistic regression of whether the best match is right."""

    constant: float = 0.0
    score: float = 0.0
    """Per unit of the score of the best match."""
    margin: float = 0.0
    """Per unit of the difference between the scores of the two best phases, up to LARGEST_MARGIN."""
    missing: float = 0.0
    """Per share of the calculated intensity that is not observed."""

    def compute(self, matches: Sequence[Match], missing: float) -> float:
        """Return the probability that the first of ``matches`` (distinct, best first) is right.

        ``missing`` is the share of its calculated intensity that is not observed. Without a
        second phase the margin is LARGEST_MARGIN.
        """
        best = matches[0].score
        second = matches[1].score if len(matches) > 1 else -math.inf
        margin = min(best - second, LARGEST_MARGIN)
        logit = (
            self.constant + self.score * best + self.margin * margin + self.missing * missing
        )
        return 1 / (1 + math.exp(-logit))


LARGEST_MARGIN: Final = 0.1
"""Larger differences of scores tell no more."""
CONFIDENCE: Final = Confidence(constant=-20.0, score=22.0, margin=40.0, missing=-1.0)
