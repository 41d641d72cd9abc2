"""Rule: the characteristics of a pattern are distributed as in patterns of real crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import convert_read_errors, find_model, load_artefact, save_artefact
from matlode.errors import ArtefactError
from matlode.records import Candidate, Verdict
from matlode.representation.characteristics import CHARACTERISTICS, FLOOR, compute_characteristics
from matlode.screening.rule import Rule

BAND_QUANTILES = (0.01, 0.99)
"""Lower and upper end of the band of each characteristic."""
MAX_OUTSIDE = 3
"""Characteristics that may be outside their bands; a few per cent of reference patterns have
more."""
MAX_RARITY = 0.99
"""Largest rarity that passes: a pattern may be more unusual than this fraction of the reference
patterns."""
N_QUANTILES = 401
PLAUSIBILITY_MODEL = "pattern-characteristics"
SHRINKAGE = 0.05
"""Shrinkage of the correlations towards zero, since nearly redundant characteristics would make the
inverse ill-conditioned."""


@dataclass(frozen=True)
class PatternBands:
    """Marginal and joint distribution of the characteristics of reference patterns.

    The joint distribution is a Gaussian copula (Nelsen, An Introduction to Copulas, 2006): each
    characteristic is transformed to a standard normal variable, and the Mahalanobis distance of
    these from their mean measures how unusual a pattern is.
    """

    names: tuple[str, ...]
    """Characteristics, in the order of the columns."""
    quantiles: NDArray[np.float64]
    """(N_QUANTILES, n_characteristics), quantiles of reference patterns in ascending order."""
    precision: NDArray[np.float64]
    """(n_characteristics, n_characteristics), inverse correlation of the normal variables."""
    distances: NDArray[np.float64]
    """(N_QUANTILES,), quantiles of the squared Mahalanobis distance of reference patterns."""

    @classmethod
    def fit(cls, patterns: NDArray[np.floating]) -> PatternBands:
        """Fit to reference patterns (n, n_points)."""
        values = compute_characteristics(patterns)
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
        """(n_characteristics,), lower ends of the bands: the quantile BAND_QUANTILES[0]."""
        return self.quantiles[round(BAND_QUANTILES[0] * (N_QUANTILES - 1))]

    @property
    def high(self) -> NDArray[np.float64]:
        """(n_characteristics,), upper ends of the bands: the quantile BAND_QUANTILES[1]."""
        return self.quantiles[round(BAND_QUANTILES[1] * (N_QUANTILES - 1))]

    def rarity(self, patterns: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,), fraction of reference patterns that are less unusual than each of ``patterns``
        (n, n_points); 1 if all are."""
        return self._rarity(compute_characteristics(patterns))

    def strangeness(self, patterns: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,), squared Mahalanobis distance of patterns (n, n_points) from the mean of the
        reference patterns. Unlike ``rarity`` it also ranks patterns beyond all of these."""
        values = compute_characteristics(patterns)
        return _squared_distance(_normal_scores(values, self.quantiles), self.precision)

    def check_all(
        self,
        patterns: NDArray[np.floating],
        *,
        max_rarity: float = MAX_RARITY,
        max_outside: int = MAX_OUTSIDE,
    ) -> list[Verdict]:
        """One verdict per pattern (n, n_points), whose value is the rarity."""
        values = compute_characteristics(patterns)
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
        # further digits depend on the batch size
        return np.round(rarity, 6)

    def _reason(
        self, values: NDArray[np.float64], outside: NDArray[np.bool_], rarity: float
    ) -> str:
        named = [
            f"{self.names[i]} {values[i]:.3g} outside {self.low[i]:.3g}..{self.high[i]:.3g}"
            for i in np.flatnonzero(outside)
        ]
        return (
            f"more unusual than {rarity:.1%} of reference patterns; {len(named)} of "
            f"{len(self.names)} characteristics outside their band"
            + (f": {'; '.join(named[:3])}" if named else "")
        )

    @classmethod
    def load(cls, folder: Path | None = None) -> PatternBands:
        """Load the distributions in ``folder``, or those that ship with matlode.

        Raises ArtefactError if they are of other characteristics or damaged.
        """
        artefact = load_artefact(find_model(PLAUSIBILITY_MODEL, folder))
        with convert_read_errors(PLAUSIBILITY_MODEL):
            arrays = artefact.require("bands").arrays
            names = tuple(artefact.header["names"])
            if names != tuple(CHARACTERISTICS):
                raise ArtefactError(
                    f"{PLAUSIBILITY_MODEL} has the characteristics {', '.join(names)}; this "
                    f"version of matlode computes {', '.join(CHARACTERISTICS)}. "
                    f"Run `matlode train models {PLAUSIBILITY_MODEL}`."
                )
            bands = cls(names, arrays["quantiles"], arrays["precision"], arrays["distances"])
            if not bands._is_possible():
                raise ArtefactError(
                    f"{PLAUSIBILITY_MODEL} is damaged: quantiles decrease or correlations are "
                    f"impossible. Run `matlode train models {PLAUSIBILITY_MODEL}`."
                )
            return bands

    def _is_possible(self) -> bool:
        """Whether shapes and values are those of a distribution."""
        n = len(self.names)
        return (
            self.quantiles.shape == (N_QUANTILES, n)
            and self.precision.shape == (n, n)
            and self.distances.shape == (N_QUANTILES,)
            and bool((np.diff(self.quantiles, axis=0) >= 0).all())
            and bool((np.diff(self.distances) >= 0).all())
            # no entry of the inverse exceeds its largest eigenvalue
            and bool((np.abs(self.precision) <= 1.001 / SHRINKAGE).all())
        )

    def save(self, folder: Path, header: Mapping[str, object]) -> None:
        """Write the artefact to a folder in ``folder``."""
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


def shuffle_peaks(patterns: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """Permute the peaks of patterns (n, n_points), to test that the screen rejects the results.

    Each pattern is cut where its intensity is nearly zero, and the pieces are joined in random
    order.
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
    """Transform values (n, k) to standard normal variables by their ``quantiles``.

    Beyond the outermost quantile, the excess in units of the span of the outer tenth is added,
    up to MAX_SPANS.
    """
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
"""Largest excess over the outermost quantile, in spans of the outer tenth."""


def _squared_distance(
    normal: NDArray[np.float64], precision: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(((normal @ precision) * normal).sum(axis=1), dtype=float)


@dataclass(frozen=True, kw_only=True)
class PlausiblePattern(Rule):
    """Passes if the characteristics of the pattern are in the range of reference patterns
    (Fig. S10)."""

    bands: PatternBands
    max_rarity: float = MAX_RARITY
    max_outside: int = MAX_OUTSIDE
    name = "plausible_pattern"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.check_all([candidate])[0]

    def check_all(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        if not candidates:
            return []
        patterns = np.stack([c.pattern for c in candidates])
        return self.bands.check_all(
            patterns, max_rarity=self.max_rarity, max_outside=self.max_outside
        )
