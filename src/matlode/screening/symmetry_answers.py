"""The standard network of space groups at work, in NumPy; ``symmetry_nets`` learns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import N_SPACE_GROUPS
from matlode.latent.forward import (
    N_COARSE,
    Floats,
    Weights,
    as_part,
    composition_shapes,
    fitting,
    n_read,
    part,
    read_compositions,
    residual_net,
    residual_shapes,
)
from matlode.representation.diffraction import STANDARD_SETTINGS

SYMMETRY_MODEL = "standard-space-group"
REFERENCE_SYMMETRY_MODEL = "reference-space-group"


N_RELATIVE = 560
RELATIVE_RANGE = (0.97, 6.0)
"""Q over that of the first peak, as far as it is looked at."""
FIRST_PEAK = 0.02
"""The first peak is the first maximum above this part of the strongest point."""


def relative_patterns(patterns: Floats) -> Floats:
    """(n, N_RELATIVE) of patterns (n, 1601): intensities at multiples of the first peak's Q, even
    in their logarithm; 0 beyond the grid.

    Crystals with lattices of one shape look alike there, whatever their size.
    """
    middle = patterns[:, 1:-1]
    is_peak = (middle > patterns[:, :-2]) & (middle >= patterns[:, 2:]) & (middle > FIRST_PEAK)
    first = is_peak.argmax(axis=1)[:, None] + 1
    before, here, after = (np.take_along_axis(patterns, first + by, 1) for by in (-1, 0, 1))
    # the top of a parabola through three points
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


class Answering(Protocol):
    """A trained network of space groups at work."""

    @property
    def weights(self) -> Weights:
        """What it learned, by name."""

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """Logits (n, 230) of patterns (n, 1601) and compositions (n, 100), zeros of those
        unknown."""


@dataclass(frozen=True, eq=False)
class StandardAnswers:
    """A trained ``symmetry_nets.SymmetryNet`` at work."""

    weights: Weights

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], folder: Path) -> StandardAnswers:
        """The network that learned these ``arrays``; raises ArtefactError, naming ``folder``, for
        those of another."""
        composition, net = part(arrays, "composition"), part(arrays, "net")
        n_in = N_COARSE + N_RELATIVE + n_read(composition) + 1
        shapes = {
            **as_part("composition", composition_shapes(composition)),
            **as_part("net", residual_shapes(net, n_in, N_SPACE_GROUPS)),
        }
        return cls(fitting(arrays, shapes, folder))

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """See Answering."""
        read = read_compositions(part(self.weights, "composition"), compositions)
        known = (compositions > 0).any(axis=1, keepdims=True)
        seen = np.sqrt(patterns[:, ::2]), np.sqrt(relative_patterns(patterns))
        x = np.concatenate([*seen, read, known], axis=1, dtype=np.float32)
        return residual_net(part(self.weights, "net"), x)
