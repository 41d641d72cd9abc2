"""The interface of samplers: from the history of a search to its next batch of points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """Evaluated points, in the order of their evaluation."""

    points: NDArray[np.floating]
    """(m, d)."""
    merits: Array
    """(m,), larger is better; with several objectives, for the weights of this batch."""
    groups: NDArray[np.str_] | None = None
    """(m,), group of each point (its chemical system), for diversity."""
    n_known: int = 0
    """Number of points, the first ones, that were known before the search."""

    def to_unit_box(self, bounds: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Map points (of ``rows``) from the box ``bounds`` (d, 2) to the unit box."""
        low, width = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        return np.clip((self.points[rows].astype(float) - low) / width, 0, 1)


class Sampler(ABC):
    """Suggests points in a box, given all points evaluated so far.

    A suggestion depends on its arguments alone, so that an interrupted campaign resumes without
    any difference and several workers can request batches at the same time.
    """

    @abstractmethod
    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """Suggest points (n, d) inside ``bounds`` (d, 2)."""


@dataclass(frozen=True, kw_only=True)
class RandomSampler(Sampler):
    """Uniform distribution in the box, the baseline."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        return map_to_box(rng.random((n, len(bounds))), bounds)


def map_to_box(unit: Array, bounds: Array) -> Array:
    """Map points (n, d) from the unit box, clipped to it, to the box ``bounds`` (d, 2)."""
    return bounds[:, 0] + np.clip(unit, 0, 1) * (bounds[:, 1] - bounds[:, 0])


def select_best_rows(history: History, n: int, *, max_per_group: int) -> NDArray[np.intp]:
    """Select the rows of the n best points, best first, at most ``max_per_group`` per group."""
    order = np.argsort(-history.merits, kind="stable")
    if history.groups is None:
        return order[:n]
    taken: Counter[str] = Counter()
    rows = []
    for row in order:
        group = history.groups[row]
        if taken[group] < max_per_group:
            taken[group] += 1
            rows.append(row)
            if len(rows) == n:
                break
    return np.array(rows, dtype=np.intp)
