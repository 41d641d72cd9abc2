"""The interface of samplers: all that was seen in, the next batch out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """Points that were seen, in the order in which they were told."""

    points: NDArray[np.floating]
    """(m, d)."""
    merits: Array
    """(m,), larger is better; of several objectives, weighed for this batch."""
    groups: NDArray[np.str_] | None = None
    """(m,), what kind of thing each was, so that a sampler can stay diverse."""
    n_known: int = 0
    """How many of them, the first, were not suggested but known before."""

    def in_box(self, bounds: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Points (of some ``rows``) as parts (0..1) of the box ``bounds`` (d, 2)."""
        low, width = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        return np.clip((self.points[rows].astype(float) - low) / width, 0, 1)


class Sampler(ABC):
    """Proposes points of a box, given all points seen so far.

    A suggestion depends on its arguments alone: a campaign that was interrupted goes on as if
    nothing had happened, and several workers may ask for batches at a time.
    """

    @abstractmethod
    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """(n, d) points inside ``bounds`` (d, 2)."""


@dataclass(frozen=True, kw_only=True)
class RandomSampler(Sampler):
    """Uniform in the box: the baseline."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        return out_of_box(rng.random((n, len(bounds))), bounds)


def out_of_box(unit: Array, bounds: Array) -> Array:
    """Points (n, d) of parts (0..1) of the box ``bounds`` (d, 2)."""
    return bounds[:, 0] + np.clip(unit, 0, 1) * (bounds[:, 1] - bounds[:, 0])


def best_rows(history: History, n: int, *, max_per_group: int) -> NDArray[np.intp]:
    """Rows of the n best points, best first, at most ``max_per_group`` of one group."""
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
