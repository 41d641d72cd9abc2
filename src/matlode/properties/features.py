"""The numbers that property heads are given, for either face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.records import Face
from matlode.representation.descriptors import (
    composition_descriptor_names,
    composition_descriptors,
    pattern_descriptor_names,
    pattern_descriptors,
)

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


@dataclass(frozen=True)
class ObjectFeatures:
    """Descriptors of a composition and a pattern, whether simulated, measured or decoded.

    The latent variables in it are those that the pattern encodes to, so a decoded pattern is
    judged by what it looks like and not by the point that it came from.
    """

    space: Callable[[], LatentSpace]
    """Asked when it is needed: it loads PyTorch."""

    def names(self) -> list[str]:
        """Names of the columns of ``compute``."""
        latent = [f"pattern_latent_{i}" for i in range(len(self.space().pattern.bounds))]
        return [*composition_descriptor_names(), *pattern_descriptor_names(), *latent]

    def compute(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """(n, n_columns) of compositions (n, 100) and patterns (n, 1601)."""
        return np.hstack(
            [
                composition_descriptors(compositions),
                pattern_descriptors(patterns),
                self.space().pattern.encode(patterns),
            ]
        )


@dataclass(frozen=True)
class LatentFeatures:
    """The paper's: the 88 latent variables."""

    space: Callable[[], LatentSpace]

    def names(self) -> list[str]:
        """Names of the columns of ``compute``."""
        return [f"latent_{i}" for i in range(self.space().size)]

    def compute(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """(n, 88) of compositions (n, 100) and patterns (n, 1601)."""
        return self.space().encode(compositions, patterns)


FEATURES: dict[Face, type[ObjectFeatures] | type[LatentFeatures]] = {
    "standard": ObjectFeatures,
    "reference": LatentFeatures,
}
"""face → features."""
