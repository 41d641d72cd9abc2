"""Preferences about a decoded object as a whole; each reduces the merit where it is not met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from matlode.optimisation.familiarity import Familiarity
from matlode.screening.chemistry import ChargeNeutral
from matlode.screening.plausibility import MAX_RARITY, PatternBands
from matlode.screening.symmetry import SymmetryClassifier

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Decoded:
    """Latent points and the objects that they decode to."""

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
    """A soft condition with a penalty between 0 (met) and about 1 (not met at all)."""

    @abstractmethod
    def shortfall(self, decoded: Decoded) -> Array:
        """(n,), non-negative penalties."""


@dataclass(frozen=True, kw_only=True)
class Neutral(Preference):
    """Charges balance, or the material is an alloy or a covalent solid
    (``screening.chemistry.ChargeNeutral``)."""

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        return np.array([0.0 if _is_neutral(formula) else 1.0 for formula in decoded.formulas])


@cache
def _is_neutral(formula: str) -> bool:
    return ChargeNeutral().grade(formula).passed


@dataclass(frozen=True, kw_only=True)
class Plausible(Preference):
    """The pattern resembles real ones: the penalty is 0 up to the limit of the screen and 1 at the
    most unusual reference pattern."""

    bands: PatternBands

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        rarity = self.bands.rarity(decoded.patterns)
        return np.maximum(rarity - MAX_RARITY, 0) / (1 - MAX_RARITY)


@dataclass(frozen=True, kw_only=True)
class New(Preference):
    """The formula is not among the known ones."""

    known: Container[str]

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        return np.array([float(formula in self.known) for formula in decoded.formulas])


@dataclass(frozen=True, kw_only=True)
class Familiar(Preference):
    """The formula resembles formulas that have been made.

    The penalty is what its log odds of being made lack to those of a fully familiar formula.
    """

    familiarity: Familiarity

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        return self.familiarity.top - self.familiarity.score(decoded.formulas)


@dataclass(frozen=True, kw_only=True)
class Near(Preference):
    """Close to a material in the latent space.

    The penalty is the root mean square difference of the latent variables; their standard
    deviation over known materials is about 1.
    """

    point: Array
    """(d,), the first d latent variables: 24 for a formula alone, 88 with its pattern."""

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        apart = decoded.points[:, : len(self.point)] - self.point
        return np.sqrt(np.mean(apart**2, axis=1))


@dataclass(frozen=True, kw_only=True)
class PatternLike(Preference):
    """The decoded pattern is similar to a given one.

    The penalty is 2 (1 - c) with the cosine similarity c of the square roots of both patterns;
    square roots increase the weight of weak peaks.
    """

    pattern: NDArray[np.floating]
    """(1601,)."""

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        a, b = np.sqrt(decoded.patterns), np.sqrt(np.maximum(self.pattern, 0))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b)
        return 2 * (1 - (a @ b) / np.maximum(norms, 1e-12)).astype(float)


@dataclass(frozen=True, kw_only=True)
class SpaceGroups(Preference):
    """The pattern probably belongs to one of the space groups ``wanted``.

    The penalty is 1 minus their total probability. Structures are built in these space groups
    in any case (``realisation``); this preference directs the search towards them.
    """

    classifier: SymmetryClassifier
    wanted: tuple[int, ...]

    def shortfall(self, decoded: Decoded) -> Array:
        """See Preference."""
        chances = self.classifier.predict(decoded.patterns, decoded.compositions)
        inside: Array = chances[:, np.array(self.wanted) - 1].sum(axis=1)
        return 1.0 - inside
