"""Does a decoded pattern look like one that a crystal gives?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import find_model, load_artefact, save_artefact, understood
from matlode.errors import ArtefactError
from matlode.records import Candidate, Verdict
from matlode.representation.characteristics import CHARACTERISTICS, FLOOR, pattern_characteristics
from matlode.screening.rule import Rule

BAND_QUANTILES = (0.01, 0.99)
MAX_OUTSIDE = 3
"""A pattern may leave this many of the bands: of real ones a few per cent leave more."""
MAX_RARITY = 0.99
"""A pattern may be rarer than this share of the real ones."""
N_QUANTILES = 401
PLAUSIBILITY_MODEL = "pattern-characteristics"
SHRINKAGE = 0.05
"""Of correlations towards none: characteristics that nearly repeat each other must not blow up."""


@dataclass(frozen=True)
class PatternBands:
    """How each characteristic, and all of them together, are distributed among real patterns.

    Together: every characteristic is brought to a standard normal variable by its own
    distribution, and the Mahalanobis distance of these to their mean is what real patterns
    exceed rarely (a Gaussian copula; Nelsen, An Introduction to Copulas, 2006).
    """

    names: tuple[str, ...]
    quantiles: NDArray[np.float64]
    """(N_QUANTILES, n_characteristics), of real patterns, from the lowest to the highest."""
    precision: NDArray[np.float64]
    """(n_characteristics, n_characteristics), inverse correlation of the normal variables."""
    distances: NDArray[np.float64]
    """(N_QUANTILES,), quantiles of the squared Mahalanobis distance of real patterns."""

    @classmethod
    def fit(cls, patterns: NDArray[np.floating]) -> PatternBands:
        """Distributions of real patterns (n, n_points)."""
        values = pattern_characteristics(patterns)
        levels = np.linspace(0, 1, N_QUANTILES)
        quantiles = np.quantile(values, levels, axis=0)
        normal = _normal_scores(values, quantiles)
        correlation = np.corrcoef(normal, rowvar=False)
        correlation = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(values.shape[1])
        precision = np.asarray(np.linalg.inv(correlation), dtype=float)
        distances = np.asarray(np.quantile(_squared_distance(normal, precision), levels), float)
        return cls(tuple(CHARACTERISTICS), quantiles, precision, distances)

    @property
    def low(self) -> NDArray[np.float64]:
        """Lower ends of the bands, the quantile BAND_QUANTILES[0]."""
        return self.quantiles[round(BAND_QUANTILES[0] * (N_QUANTILES - 1))]

    @property
    def high(self) -> NDArray[np.float64]:
        """Upper ends of the bands."""
        return self.quantiles[round(BAND_QUANTILES[1] * (N_QUANTILES - 1))]

    def rarity(self, patterns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Share of real patterns that are more usual than these, (n,); 1 for those beyond all."""
        return self._rarity(pattern_characteristics(patterns))

    def strangeness(self, patterns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Squared Mahalanobis distance (n,) to the middle of real patterns: what ``rarity``
        ranks, and still tells apart what is stranger than all of them."""
        values = pattern_characteristics(patterns)
        return _squared_distance(_normal_scores(values, self.quantiles), self.precision)

    def judge(
        self,
        patterns: NDArray[np.floating],
        *,
        max_rarity: float = MAX_RARITY,
        max_outside: int = MAX_OUTSIDE,
    ) -> list[Verdict]:
        """One verdict per pattern (n, n_points); its value is the rarity."""
        values = pattern_characteristics(patterns)
        outside = (values < self.low) | (values > self.high)
        rarity = self._rarity(values)
        passed = (rarity <= max_rarity) & (outside.sum(axis=1) <= max_outside)
        return [
            Verdict(
                rule="plausible_pattern",
                passed=bool(passed[row]),
                value=float(rarity[row]),
                limit=max_rarity,
                reason=self._reason(values[row], outside[row], float(rarity[row])),
            )
            for row in range(len(values))
        ]

    def _rarity(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        distance = _squared_distance(_normal_scores(values, self.quantiles), self.precision)
        rarity = np.interp(distance, self.distances, np.linspace(0, 1, N_QUANTILES))
        # further digits depend on the size of the batch
        return np.round(rarity, 6)

    def _reason(
        self, values: NDArray[np.float64], outside: NDArray[np.bool_], rarity: float
    ) -> str:
        named = [
            f"{self.names[i]} {values[i]:.3g} outside {self.low[i]:.3g}..{self.high[i]:.3g}"
            for i in np.flatnonzero(outside)
        ]
        return (
            f"stranger than {rarity:.1%} of real patterns; {len(named)} of {len(self.names)} "
            "characteristics outside the band of real ones"
            + (f": {'; '.join(named[:3])}" if named else "")
        )

    @classmethod
    def load(cls, folder: Path | None = None) -> PatternBands:
        """The distributions in ``folder`` (else those that ship with matlode)."""
        artefact = load_artefact(find_model(PLAUSIBILITY_MODEL, folder))
        with understood(PLAUSIBILITY_MODEL):
            arrays = artefact.require("bands").arrays
            names = tuple(artefact.header["names"])
            if names != tuple(CHARACTERISTICS):
                raise ArtefactError(
                    f"the bands are those of {', '.join(names)}; this matlode computes "
                    f"{', '.join(CHARACTERISTICS)}. "
                    f"Run `matlode train models {PLAUSIBILITY_MODEL}`."
                )
            bands = cls(names, arrays["quantiles"], arrays["precision"], arrays["distances"])
            if not bands._can_be():
                raise ArtefactError(
                    "these are distributions of no patterns: quantiles that do not ascend, or "
                    f"correlations that none have. Run `matlode train models {PLAUSIBILITY_MODEL}`."
                )
            return bands

    def _can_be(self) -> bool:
        """Whether patterns can be distributed so."""
        n = len(self.names)
        return (
            self.quantiles.shape == (N_QUANTILES, n)
            and self.precision.shape == (n, n)
            and self.distances.shape == (N_QUANTILES,)
            and bool((np.diff(self.quantiles, axis=0) >= 0).all())
            and bool((np.diff(self.distances) >= 0).all())
            # no entry of an inverse exceeds its largest eigenvalue
            and bool((np.abs(self.precision) <= 1.001 / SHRINKAGE).all())
        )

    def save(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Write as an artefact."""
        save_artefact(
            folder / PLAUSIBILITY_MODEL,
            kind="bands",
            header={"names": list(self.names), **header},
            arrays={
                "quantiles": self.quantiles,
                "precision": self.precision,
                "distances": self.distances,
            },
        )


def shuffled_peaks(
    patterns: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.floating]:
    """Patterns (n, n_points) whose peaks stand in another order: every pattern is cut where it
    is nearly empty, and the pieces are put together again at random. What a screen should find.
    """
    out = np.empty_like(patterns)
    for row, pattern in enumerate(patterns):
        cuts = np.flatnonzero((pattern[1:] < FLOOR) & (pattern[:-1] >= FLOOR)) + 1
        pieces = np.split(pattern, cuts)
        out[row] = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
    return out


def _normal_scores(
    values: NDArray[np.float64], quantiles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values (n, k) as standard normal variables; those beyond all real ones count by how many
    spans of the outer tenth they are beyond."""
    from scipy.special import ndtri

    levels = np.linspace(0, 1, len(quantiles)).clip(0.5 / len(quantiles), 1 - 0.5 / len(quantiles))
    scores = np.empty_like(values)
    tenth = len(quantiles) // 10
    for column, table in enumerate(quantiles.T):
        scores[:, column] = ndtri(np.interp(values[:, column], table, levels))
        span = max(table[-1] - table[-1 - tenth], table[tenth] - table[0], 1e-12)
        beyond = np.maximum(values[:, column] - table[-1], 0) / span
        below = np.maximum(table[0] - values[:, column], 0) / span
        scores[:, column] += np.minimum(beyond, MAX_SPANS) - np.minimum(below, MAX_SPANS)
    return scores


MAX_SPANS = 10.0
"""What is further out is no stranger."""


def _squared_distance(
    normal: NDArray[np.float64], precision: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(((normal @ precision) * normal).sum(axis=1), dtype=float)


@dataclass(frozen=True, kw_only=True)
class PlausiblePattern(Rule):
    """The pattern's characteristics lie where those of real patterns do (Fig. S10)."""

    bands: PatternBands
    max_rarity: float = MAX_RARITY
    max_outside: int = MAX_OUTSIDE
    name = "plausible_pattern"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.judge([candidate])[0]

    def judge(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        if not candidates:
            return []
        patterns = np.stack([c.pattern for c in candidates])
        return self.bands.judge(patterns, max_rarity=self.max_rarity, max_outside=self.max_outside)
