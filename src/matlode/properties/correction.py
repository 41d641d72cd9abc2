"""What a potential's answers teach about the models' errors, near and far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import HEADER_FILE, load_artefact, save_artefact, understood
from matlode.properties.endpoints import Estimates
from matlode.representation.descriptors import composition_descriptors

CORRECTION_MODEL = "correction"
CORRECTED = ("bulk_modulus",)
"""Positive quantities, whose errors are ratios, and which a potential knows better than the
models do; shear moduli it does not (docs/evidence.md)."""
NOISE = 0.1
"""Of a potential's ln K about what the models could learn from composition."""
SHARED = 0.5
"""Part of the variance that all materials have in common: a potential that is soft everywhere."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Correction:
    """A Gaussian process of the logarithm of computed over predicted, on the composition's
    statistics.

    Where nothing like a material has been computed, only the common part of the errors is
    corrected; and nothing at all where the errors are no larger than a potential's own.
    """

    compositions: Array
    """(n, 100), of what was computed."""
    log_ratios: Mapping[str, Array]
    """Endpoint of CORRECTED → (n,), of the models without correction."""

    def applied(
        self, estimates: Mapping[str, Estimates], compositions: NDArray[np.floating]
    ) -> dict[str, Estimates]:
        """Estimates of compositions (m, 100); values and intervals are multiplied alike."""
        found = dict(estimates)
        names = [name for name in CORRECTED if name in found]
        if not names or not len(self.compositions):
            return found
        alike = self._correlation(self._features(compositions), self._own)
        for name in names:
            log_ratio = self.log_ratios[name]
            # by moments: what the errors are beyond the noise
            variance = max(float((log_ratio**2).mean()) - NOISE**2, 0.0)
            gram = variance * self._own_correlation + NOISE**2 * np.eye(len(log_ratio))
            factor = np.exp(variance * alike @ np.linalg.solve(gram, log_ratio))
            of = found[name]
            found[name] = Estimates(of.value * factor, of.low * factor, of.high * factor)
        return found

    @cached_property
    def _statistics(self) -> tuple[Array, Array]:
        raw = composition_descriptors(self.compositions).astype(float)
        spread = raw.std(axis=0)
        return raw.mean(axis=0), np.where(spread > 1e-9, spread, np.inf)

    def _features(self, compositions: NDArray[np.floating]) -> Array:
        mean, spread = self._statistics
        return (composition_descriptors(compositions).astype(float) - mean) / spread

    @cached_property
    def _own(self) -> Array:
        return self._features(self.compositions)

    @cached_property
    def _own_correlation(self) -> Array:
        return self._correlation(self._own, self._own)

    def _correlation(self, x: Array, y: Array) -> Array:
        """A common part and one that fades over the median distance of what was computed."""
        far = ((x[:, None] - y[None]) ** 2).sum(axis=2)
        own = ((self._own[:, None] - self._own[None]) ** 2).sum(axis=2)
        length = np.median(own[own > 0]) if (own > 0).any() else 1.0
        return SHARED + (1 - SHARED) * np.exp(-far / length)

    @classmethod
    def load(cls, folder: Path | None) -> Correction | None:
        """That of a folder of models; None if it has none."""
        if folder is None or not (folder / CORRECTION_MODEL / HEADER_FILE).exists():
            return None
        with understood(folder / CORRECTION_MODEL):
            arrays = load_artefact(folder / CORRECTION_MODEL).require(CORRECTION_MODEL).arrays
            return cls(arrays["compositions"], {name: arrays[name] for name in CORRECTED})

    def save(self, folder: Path, header: Mapping[str, object]) -> None:
        """Write as an artefact in a folder of models, where ``PropertyModels`` finds it."""
        save_artefact(
            folder / CORRECTION_MODEL,
            kind=CORRECTION_MODEL,
            header=header,
            arrays={"compositions": self.compositions, **self.log_ratios},
        )
