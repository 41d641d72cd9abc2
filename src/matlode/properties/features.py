"""Input features of the property heads, for both sets of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.records import Face
from matlode.representation.descriptors import (
    compute_composition_descriptors,
    compute_pattern_descriptors,
    list_composition_descriptors,
    list_pattern_descriptors,
)

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


@dataclass(frozen=True)
class ObjectFeatures:
    """Descriptors of a composition and of a simulated, measured or decoded pattern.

    They include the latent variables that the pattern is encoded to. Features of a decoded
    pattern thus depend on the pattern alone and not on the point from which it was decoded.
    """

    space: Callable[[], LatentSpace]
    """Called when it is needed, since it loads PyTorch."""

    def names(self) -> list[str]:
        """Column names of ``compute``."""
        latent = [f"pattern_latent_{i}" for i in range(len(self.space().pattern.bounds))]
        return [*list_composition_descriptors(), *list_pattern_descriptors(), *latent]

    def compute(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Features (n, n_columns) of compositions (n, 100) and patterns (n, 1601)."""
        return np.hstack(
            [
                compute_composition_descriptors(compositions),
                compute_pattern_descriptors(patterns),
                self.space().pattern.encode(patterns),
            ]
        )


@dataclass(frozen=True)
class LatentFeatures:
    """The features of the paper: the 88 latent variables."""

    space: Callable[[], LatentSpace]
    """Called when it is needed, since it loads PyTorch."""

    def names(self) -> list[str]:
        """Column names of ``compute``."""
        return [f"latent_{i}" for i in range(self.space().size)]

    def compute(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Features (n, 88) of compositions (n, 100) and patterns (n, 1601)."""
        return self.space().encode(compositions, patterns)


FEATURES: dict[Face, type[ObjectFeatures] | type[LatentFeatures]] = {
    "standard": ObjectFeatures,
    "reference": LatentFeatures,
}
"""face → features."""
