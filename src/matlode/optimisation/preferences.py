"""Soft wishes about a decoded object as a whole: each costs merit where it is not met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from matlode.screening.chemistry import ChargeNeutral
from matlode.screening.plausibility import MAX_RARITY, PatternBands
from matlode.screening.symmetry import SymmetryClassifier

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Decoded:
    """Latent points with what they decode to."""

    points: NDArray[np.floating]
    """(n, 88)."""
    formulas: Sequence[str]
    """Canonical."""
    compositions: NDArray[np.floating]
    """(n, 100)."""
    patterns: NDArray[np.floating]
    """(n, 1601)."""


@dataclass(frozen=True, kw_only=True)
class Preference(ABC):
    """What is missing of a wish, 0 where it is met and about 1 where it is not at all."""

    @abstractmethod
    def shortfall(self, decoded: Decoded) -> Array:
        """(n,), not negative."""


@dataclass(frozen=True, kw_only=True)
class Neutral(Preference):
    """Charges balance, or need not (``screening.chemistry``)."""

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        return np.array([0.0 if _is_neutral(formula) else 1.0 for formula in decoded.formulas])


@cache
def _is_neutral(formula: str) -> bool:
    return ChargeNeutral().grade(formula).passed


@dataclass(frozen=True, kw_only=True)
class Plausible(Preference):
    """The pattern is as usual as real ones: nothing is missing up to the screen's limit, all at
    the strangest real pattern."""

    bands: PatternBands

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        rarity = self.bands.rarity(decoded.patterns)
        return np.maximum(rarity - MAX_RARITY, 0) / (1 - MAX_RARITY)


@dataclass(frozen=True, kw_only=True)
class New(Preference):
    """The formula is none of the known ones."""

    known: Container[str]

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        return np.array([float(formula in self.known) for formula in decoded.formulas])


@dataclass(frozen=True, kw_only=True)
class Near(Preference):
    """Near to a material in the latent space: the root mean square difference of the latent
    variables, whose own scatter over known materials is about 1."""

    point: Array
    """(d,), the first d latent variables: 24 of a formula alone, 88 with its pattern."""

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        apart = decoded.points[:, : len(self.point)] - self.point
        return np.sqrt(np.mean(apart**2, axis=1))


@dataclass(frozen=True, kw_only=True)
class PatternLike(Preference):
    """The decoded pattern looks like another: twice what the cosine of their square roots lacks
    to 1. Square roots let weak peaks count."""

    pattern: NDArray[np.floating]
    """(1601,)."""

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        a, b = np.sqrt(decoded.patterns), np.sqrt(np.maximum(self.pattern, 0))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b)
        return 2 * (1 - (a @ b) / np.maximum(norms, 1e-12)).astype(float)


@dataclass(frozen=True, kw_only=True)
class SpaceGroups(Preference):
    """The pattern is likely of one of some space groups (which structures are built in, see
    ``realisation``, is a limit that they keep; this makes the search look there)."""

    classifier: SymmetryClassifier
    wanted: tuple[int, ...]

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        chances = self.classifier.predict(decoded.patterns, decoded.compositions)
        inside: Array = chances[:, np.array(self.wanted) - 1].sum(axis=1)
        return 1.0 - inside
