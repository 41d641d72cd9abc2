"""Search for the known material whose powder pattern is most similar to a given one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matlode.data.batches import split_range
from matlode.data.crystals import Crystals
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.representation.duplicates import PATTERNS_AT_ONCE, compute_pattern_roots

N_BINS = 96
"""Number of bins of a fingerprint, uniform in ln Q; one bin is 2.2 % of a lattice constant."""
SHIFTS = (0, -1, 1, -2, 2)
"""Shifts, in bins, at which fingerprints are compared; among equal cosines the first is used.

Crystals of one structure type differ mainly in size, which shifts their pattern on ln Q. For 1,563
unseen materials whose structure type is in the starter set, the most similar pattern of that set
has the same anonymous formula and space group in 33 % of cases with shifts, and in 19 % without.
"""
SAME_COSINE = 1e-6
"""Cosines that differ by less are equal: rounding depends on the batch size."""
_AT_ONCE = 64


@dataclass(frozen=True)
class NearestPattern:
    """The most similar known pattern."""

    row: int
    """Row of the known material."""
    cosine: float
    """Cosine similarity of the fingerprints (square roots of binned intensities), 0..1."""
    scale: float
    """Lattice constants of the given material relative to those of the known one."""


@dataclass(frozen=True, eq=False)
class KnownPatterns:
    """Patterns of known crystals, simulated when they are first needed."""

    crystals: Crystals

    @cached_property
    def fingerprints(self) -> NDArray[np.float32]:
        """(n, N_BINS), 29 MB for 75,000 crystals; zeros for crystals without a pattern."""
        parts = [np.zeros((0, N_BINS), np.float32)]
        for part in split_range(len(self.crystals), PATTERNS_AT_ONCE):
            rows = np.arange(part.start, part.stop)
            parts.append(compute_fingerprints(compute_pattern_roots(self.crystals.take(rows)) ** 2))
        return np.concatenate(parts)

    def nearest(self, patterns: NDArray[np.floating]) -> list[NearestPattern]:
        """The known pattern most similar to each of ``patterns`` (n, 1601); the first if equal.

        The similarity is the largest cosine over all SHIFTS.
        """
        found: list[NearestPattern] = []
        for part in split_range(len(patterns), _AT_ONCE):
            found += self._nearest(compute_fingerprints(patterns[part]))
        return found

    def _nearest(self, fingerprints: NDArray[np.float32]) -> list[NearestPattern]:
        shifted = np.stack([_shift(fingerprints, by) for by in SHIFTS])
        cosines = np.empty((len(fingerprints), len(self.fingerprints)), np.float32)
        for part in split_range(len(self.fingerprints), PATTERNS_AT_ONCE):
            products = shifted.reshape(-1, N_BINS) @ self.fingerprints[part].T
            cosines[:, part] = products.reshape(len(SHIFTS), len(fingerprints), -1).max(axis=0)
        rows = (cosines > cosines.max(axis=1, keepdims=True) - SAME_COSINE).argmax(axis=1)
        of_shift = (shifted * self.fingerprints[rows]).sum(axis=2)
        best = (of_shift > of_shift.max(axis=0) - SAME_COSINE).argmax(axis=0)
        return [
            NearestPattern(int(row), min(float(of_shift[i, n]), 1.0), float(_SCALES[i]))
            for n, (row, i) in enumerate(zip(rows, best, strict=True))
        ]


def compute_fingerprints(patterns: NDArray[np.floating]) -> NDArray[np.float32]:
    """Compute fingerprints (n, N_BINS) of patterns (n, 1601).

    A fingerprint consists of the square roots of the intensity in bins uniform in ln Q,
    normalised to length 1. Square roots give weak lines weight.
    """
    summed = np.add.reduceat(np.maximum(patterns, 0), _EDGES[:-1], axis=1, dtype=np.float32)
    roots = np.sqrt(summed)
    length = np.linalg.norm(roots, axis=1, keepdims=True)
    return np.divide(roots, length, out=np.zeros_like(roots), where=length > 0)


def _shift(fingerprints: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    """Shift ``by`` bins to larger Q; intensity that leaves the grid is lost."""
    moved = np.zeros_like(fingerprints)
    moved[:, max(by, 0) : N_BINS + min(by, 0)] = fingerprints[:, max(-by, 0) : N_BINS - max(by, 0)]
    return moved


_LOG_Q = np.log(np.sin(np.radians(STANDARD_SETTINGS.two_theta_deg / 2)))
_STEPS = np.linspace(_LOG_Q[0], _LOG_Q[-1], N_BINS + 1)
_EDGES = np.searchsorted(_LOG_Q, _STEPS)
_SCALES = np.exp(np.array(SHIFTS) * (_STEPS[1] - _STEPS[0]))
