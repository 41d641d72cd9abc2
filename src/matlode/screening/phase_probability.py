"""Probability that the best match of a search is the phase of the sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import crystal_system
from matlode.representation.observation import Observation
from matlode.screening.known_lines import STANDARD_MATCH, KnownLines, Match

CONFIDENT: Final = 0.5
"""Probability below which there is no confident match."""
LARGEST_MARGIN: Final = 0.1
"""Larger differences between scores tell no more."""
SMALLEST_MARGIN: Final = 0.002
"""Added to the differences, of which logarithms are taken."""


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

    A search among few crystals often ends with one that is far ahead of the others although the
    phase is not among them: a lead tells more in a search among many. The share of the calculated
    intensity that is not observed tells no more than these terms.
    """

    constant: float
    score: float
    """Per unit of the score of the best match."""
    margin: float
    """Per unit of the logarithm of the lead in score over the best match of another formula or
    crystal system; the lead is limited to LARGEST_MARGIN, SMALLEST_MARGIN is added."""
    margin_per_decade: float
    """Addition to ``margin`` per factor of 10 in the number of crystals searched."""
    decade: float
    """Per factor of 10 in the number of crystals searched."""
    unused: float
    """Per share of the allowed elements that the best match lacks."""

    def compute(
        self,
        matches: Sequence[Match],
        known: KnownLines,
        n_searched: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> float:
        """Return the probability that the first of ``matches`` is right, 0 without any.

        The matches are the best first. ``n_searched`` is the number of crystals that fulfil the
        conditions on the elements; ``allowed`` (MAX_ATOMIC_NUMBER,) are the allowed elements.
        """
        if not matches:
            return 0.0
        decades = math.log10(n_searched)
        lead = min(_find_lead(matches, known), LARGEST_MARGIN)
        logit = (
            self.constant
            + self.score * matches[0].score
            + (self.margin + self.margin_per_decade * decades) * math.log(lead + SMALLEST_MARGIN)
            + self.decade * decades
            + self.unused * _measure_unused(matches[0], known, allowed)
        )
        return 1 / (1 + math.exp(-logit))


def _find_lead(matches: Sequence[Match], known: KnownLines) -> float:
    """Lead in score of the first match over the next of another formula or crystal system."""

    def describe(match: Match) -> tuple[str, str]:
        group = int(known.space_groups[match.row])
        return str(known.formulas[match.row]), crystal_system(group)

    best = describe(matches[0])
    others = (matches[0].score - match.score for match in matches if describe(match) != best)
    return next(others, math.inf)


def _measure_unused(match: Match, known: KnownLines, allowed: NDArray[np.bool_] | None) -> float:
    """Share of the allowed elements that a match lacks."""
    if allowed is None:
        return 0.0
    return float((allowed & ~known.elements[match.row]).sum() / max(int(allowed.sum()), 1))


CONFIDENCE: Final = Confidence(
    constant=-7.79, score=12.92, margin=0.4, margin_per_decade=0.15, decade=0.18, unused=-1.22
)
"""Fitted to 240 simulated patterns of calibration formulas (30 of each rung of the ladder, 60 of
minerals; 40 % of the rungs without Kα2), each searched blind, with the elements allowed, and with
them required, with the right phase and with it hidden (weight 1/4, so that a fifth of all samples
are of phases that the table lacks), and to the same searches of the learning half of the measured
scans (weight 3)."""
