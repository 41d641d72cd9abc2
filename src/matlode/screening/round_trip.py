"""Rule: encoding and decoding reproduces a candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from matlode.records import Candidate, Verdict
from matlode.representation.composition import write_formulas
from matlode.screening.rule import Rule

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


@dataclass(frozen=True, kw_only=True)
class RoundTrip(Rule):
    """Passes if the round trip through the latent space reproduces the formula, and the pattern
    with a cosine of at least ``min_cosine``. Other candidates are outside the training data of
    the autoencoders."""

    space: Callable[[], LatentSpace]
    """Called when it is needed, since it loads PyTorch."""
    min_cosine: float = 0.9
    """Smallest cosine of pattern and reconstruction; above 0.99 for known materials."""
    name = "round_trip"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.check_all([candidate])[0]

    def check_all(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        from matlode.latent.formula_limits import FormulaLimits

        if not candidates:
            return []
        compositions = np.array([c.composition for c in candidates])
        patterns = np.array([c.pattern for c in candidates], dtype=np.float32)
        space = self.space()
        points = space.encode(compositions, patterns)
        _, images = space.decode(points)
        norms = np.linalg.norm(patterns, axis=1) * np.linalg.norm(images, axis=1)
        cosines = (patterns * images).sum(axis=1) / np.maximum(norms, 1e-12)
        # as many elements and atoms as any of the candidates has
        fewest = np.where(compositions > 0, compositions, 1).min(axis=1)
        limits = FormulaLimits(
            max_elements=max(5, int((compositions > 0).sum(axis=1).max())),
            max_atoms=max(20, int(np.ceil(1 / fewest).max())),
        )
        names = write_formulas(space.formulas(points, limits))
        return [
            self._verdict(candidate, name, float(cosine))
            for candidate, name, cosine in zip(candidates, names, cosines, strict=True)
        ]

    def _verdict(self, candidate: Candidate, name: str, cosine: float) -> Verdict:
        same = name == candidate.formula
        found = "reproduces the formula" if same else f"gives {name}"
        reason = f"the round trip {found}, cosine of the patterns {cosine:.2f}"
        return Verdict(
            self.name, same and cosine >= self.min_cosine, cosine, self.min_cosine, reason
        )
