"""How many known materials meet what is asked for, and how their properties are distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matlode.app.wishes import Wishes
from matlode.data.formulas import atomic_numbers
from matlode.jobs.known import Known
from matlode.properties.endpoints import ENDPOINTS
from matlode.screening.elements import KINDS

N_BINS = 40
SHOWN = (0.01, 0.99)
"""Quantiles of the labels that a distribution is drawn between."""


@dataclass(frozen=True)
class Distribution:
    """Labels of one property."""

    low: float
    high: float
    step: float
    """A power of ten; ``low`` and ``high`` are multiples of it."""
    middle: float
    """The median."""
    counts: tuple[int, ...]
    """(N_BINS,), labels in equal bins from ``low`` to ``high``; outliers are in the outer bins."""
    labelled: int

    def clip(self, value: float) -> float:
        """The nearest value between ``low`` and ``high``."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Met:
    """How many known materials meet a wish."""

    met: int
    labelled: int
    """Those that have labels of all ranges that are asked for."""


@dataclass(frozen=True)
class KnownValues:
    """Labels of known materials."""

    known: Known

    @cached_property
    def labels(self) -> Mapping[str, NDArray[np.float64]]:
        """Property → (n,), NaN where unknown."""
        found = {name: e.labels(self.known.materials) for name, e in ENDPOINTS.items()}
        return {name: values for name, values in found.items() if np.isfinite(values).any()}

    def describe(self, name: str) -> Distribution | None:
        """Distribution of a property; None if no material has a label."""
        values = self.labels.get(name)
        if values is None:
            return None
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, SHOWN)
        if low == high:
            return None
        step = 10.0 ** math.floor(math.log10((high - low) / 50))
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        counts, _ = np.histogram(np.clip(values, low, high), N_BINS, (low, high))
        middle = round(float(np.median(values)) / step) * step
        return Distribution(low, high, step, middle, tuple(map(int, counts)), len(values))

    def count(self, wishes: Wishes) -> Met:
        """Count the known materials within all ranges and limits on elements.

        Objectives without a range, prices and structures are not considered.
        """
        meets = self._have_elements(wishes)
        labelled = np.ones(len(meets), dtype=bool)
        for wish in wishes.properties:
            values = self.labels.get(wish.property)
            if wish.kind != "within" or values is None:
                continue
            labelled &= np.isfinite(values)
            low = -np.inf if wish.low is None else wish.low
            high = np.inf if wish.high is None else wish.high
            meets &= (values >= low) & (values <= high)
        return Met(int((meets & labelled).sum()), int(labelled.sum()))

    def _have_elements(self, wishes: Wishes) -> NDArray[np.bool_]:
        present = self.known.catalogue.compositions > 0
        kinds = {"toxic": wishes.toxic, "noble_metals": wishes.noble_metals,
                 "radioactive": wishes.radioactive}  # fmt: skip
        forbidden = {symbol for kind, ok in kinds.items() if not ok for symbol in KINDS[kind]}
        required = set(wishes.list_elements("required"))
        forbidden = (forbidden - required) | set(wishes.list_elements("forbidden"))
        rows = {symbol: number - 1 for symbol, number in atomic_numbers().items()}
        without = ~present[:, [rows[s] for s in sorted(forbidden) if s in rows]].any(axis=1)
        with_all = present[:, [rows[s] for s in sorted(required)]].all(axis=1)
        number = present.sum(axis=1)
        return np.asarray(without & with_all & (number >= 2) & (number <= wishes.most_elements))
