"""Predictions of the standard space-group network in NumPy; ``symmetry_nets`` trains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import N_SPACE_GROUPS
from matlode.latent.forward import (
    N_COARSE,
    Floats,
    Weights,
    apply_residual_net,
    check_weights,
    composition_shapes,
    encode_compositions,
    n_encoded,
    prefix_shapes,
    residual_shapes,
    select_part,
)
from matlode.representation.diffraction import STANDARD_SETTINGS

SYMMETRY_MODEL = "standard-space-group"
REFERENCE_SYMMETRY_MODEL = "reference-space-group"


N_RELATIVE = 560
"""Points of a pattern relative to its first peak."""
RELATIVE_RANGE = (0.97, 6.0)
"""First and last point of such a pattern, as a multiple of the first peak's Q."""
FIRST_PEAK = 0.02
"""The first peak is the first maximum above this fraction of the strongest point."""


def compute_relative_patterns(patterns: Floats) -> Floats:
    """Resample patterns (n, 1601) at multiples of the first peak's Q; returns (n, N_RELATIVE).

    The multiples are uniform in their logarithm; intensities beyond the grid are 0. The results
    are similar for lattices of equal shape and different size.
    """
    middle = patterns[:, 1:-1]
    is_peak = (middle > patterns[:, :-2]) & (middle >= patterns[:, 2:]) & (middle > FIRST_PEAK)
    first = is_peak.argmax(axis=1)[:, None] + 1
    before, here, after = (np.take_along_axis(patterns, first + by, 1) for by in (-1, 0, 1))
    # maximum of a parabola through three points
    shift = 0.5 * (before - after) / np.minimum(before - 2 * here + after, -1e-6)
    low, step = STANDARD_SETTINGS.two_theta_min_deg, STANDARD_SETTINGS.step
    sine = np.sin(np.deg2rad(low + step * (first + shift.clip(-1, 1))) / 2).astype(np.float32)
    nearest, farthest = RELATIVE_RANGE
    multiples = np.geomspace(nearest, farthest, N_RELATIVE, dtype=np.float32)
    angle = 2 * np.rad2deg(np.arcsin(np.minimum(sine * multiples, 1)))
    place = (angle - np.float32(low)) / np.float32(step)
    last = patterns.shape[1] - 1
    whole = np.floor(place.clip(0, last - 1))
    left, part = whole.astype(np.intp), place - whole
    values = [np.take_along_axis(patterns, left + by, 1) for by in (0, 1)]
    between = values[0] * (1 - part) + values[1] * part
    return np.where((place >= 0) & (place <= last), between, np.float32(0)).clip(min=0)


class SymmetryPredictor(Protocol):
    """Interface of a trained space-group network."""

    @property
    def weights(self) -> Weights:
        """Weights by name."""

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """Logits (n, 230) for patterns (n, 1601) and compositions (n, 100); rows of zeros stand for
        unknown compositions."""


@dataclass(frozen=True, eq=False)
class StandardPredictor:
    """A trained ``symmetry_nets.SymmetryNet`` in NumPy."""

    weights: Weights

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]], folder: Path) -> StandardPredictor:
        """Create the network from its weights ``arrays``.

        Raises ArtefactError, naming ``folder``, if they belong to another network or are damaged.
        """
        composition, net = select_part(arrays, "composition"), select_part(arrays, "net")
        n_in = N_COARSE + N_RELATIVE + n_encoded(composition) + 1
        shapes = {
            **prefix_shapes("composition", composition_shapes(composition)),
            **prefix_shapes("net", residual_shapes(net, n_in, N_SPACE_GROUPS)),
        }
        return cls(check_weights(arrays, shapes, folder))

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """See ``SymmetryPredictor``."""
        read = encode_compositions(select_part(self.weights, "composition"), compositions)
        known = (compositions > 0).any(axis=1, keepdims=True)
        seen = np.sqrt(patterns[:, ::2]), np.sqrt(compute_relative_patterns(patterns))
        x = np.concatenate([*seen, read, known], axis=1, dtype=np.float32)
        return apply_residual_net(select_part(self.weights, "net"), x)
