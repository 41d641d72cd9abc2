"""Correction of model errors, learned from moduli computed with a machine-learning potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import HEADER_FILE, convert_read_errors, load_artefact, save_artefact
from matlode.properties.endpoints import Estimates
from matlode.representation.descriptors import compute_composition_descriptors

CORRECTION_MODEL = "correction"
CORRECTED = ("bulk_modulus",)
"""Positive quantities that a potential computes more accurately than the models predict them;
their errors are ratios. Shear moduli are not (docs/evidence.md)."""
NOISE = 0.1
"""Standard deviation of a potential's ln K that composition does not explain."""
SHARED = 0.5
"""Fraction of the variance that is common to all materials, such as a potential that is too soft
everywhere."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Correction:
    """Gaussian process of ln(computed / predicted) on descriptors of the composition.

    For materials unlike any that was computed, only the common part of the errors is corrected.
    Nothing is corrected if the errors are no larger than those of the potential (NOISE).
    """

    compositions: Array
    """(n, 100), compositions of the computed materials."""
    log_ratios: Mapping[str, Array]
    """Endpoint of CORRECTED → (n,), ln(computed / predicted without correction)."""

    def apply(
        self, estimates: Mapping[str, Estimates], compositions: NDArray[np.floating]
    ) -> dict[str, Estimates]:
        """Correct the estimates of compositions (m, 100).

        Values and both ends of their intervals are multiplied by the same factor.
        """
        found = dict(estimates)
        names = [name for name in CORRECTED if name in found]
        if not names or not len(self.compositions):
            return found
        alike = self._correlation(self._features(compositions), self._own)
        for name in names:
            log_ratio = self.log_ratios[name]
            # by moments: variance of the errors beyond the noise
            variance = max(float((log_ratio**2).mean()) - NOISE**2, 0.0)
            gram = variance * self._own_correlation + NOISE**2 * np.eye(len(log_ratio))
            factor = np.exp(variance * alike @ np.linalg.solve(gram, log_ratio))
            of = found[name]
            found[name] = Estimates(of.value * factor, of.low * factor, of.high * factor)
        return found

    @cached_property
    def _statistics(self) -> tuple[Array, Array]:
        raw = compute_composition_descriptors(self.compositions).astype(float)
        spread = raw.std(axis=0)
        return raw.mean(axis=0), np.where(spread > 1e-9, spread, np.inf)

    def _features(self, compositions: NDArray[np.floating]) -> Array:
        mean, spread = self._statistics
        return (compute_composition_descriptors(compositions).astype(float) - mean) / spread

    @cached_property
    def _own(self) -> Array:
        return self._features(self.compositions)

    @cached_property
    def _own_correlation(self) -> Array:
        return self._correlation(self._own, self._own)

    def _correlation(self, x: Array, y: Array) -> Array:
        """Covariance (n_x, n_y) in units of the variance: a common part, and one that decays over
        the median distance of the computed materials."""
        far = ((x[:, None] - y[None]) ** 2).sum(axis=2)
        own = ((self._own[:, None] - self._own[None]) ** 2).sum(axis=2)
        length = np.median(own[own > 0]) if (own > 0).any() else 1.0
        return SHARED + (1 - SHARED) * np.exp(-far / length)

    @classmethod
    def load(cls, folder: Path | None) -> Correction | None:
        """Load the correction in a folder of models; None if there is none."""
        if folder is None or not (folder / CORRECTION_MODEL / HEADER_FILE).exists():
            return None
        with convert_read_errors(folder / CORRECTION_MODEL):
            arrays = load_artefact(folder / CORRECTION_MODEL).require(CORRECTION_MODEL).arrays
            return cls(arrays["compositions"], {name: arrays[name] for name in CORRECTED})

    def save(self, folder: Path, header: Mapping[str, object]) -> None:
        """Write the artefact to a folder of models, from which ``PropertyModels`` loads it."""
        save_artefact(
            folder / CORRECTION_MODEL,
            kind=CORRECTION_MODEL,
            header=header,
            arrays={"compositions": self.compositions, **self.log_ratios},
        )
