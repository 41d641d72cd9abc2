"""How far a composition is from those that the property network learned from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_FORMULAS = 50
"""An element in fewer training formulas was not learned: what holds it is infinitely far."""
N_AXES = 16
MAX_LANDMARKS = 14_000
"""Landmarks of 16 axes take 224 kB. With 4,000 of them the distance sorts errors worse."""
N_QUANTILES = 1001
_DECIMALS = 2
"""Of distances, which are about 1 to 10: further ones depend on the size of the batch."""
_BATCH = 128


@dataclass(frozen=True, eq=False)
class Applicability:
    """How far a composition is from the training compositions, as the network reads them.

    The distance to the nearest of some training compositions ("landmarks") in the main axes of
    the network's own reading (Janet et al., Chem. Sci. 10, 7913, 2019); infinite with an element
    that was hardly trained on. It needs no training table.
    """

    centre: NDArray[np.float32]
    """(n_read,)."""
    axes: NDArray[np.float32]
    """(n_read, N_AXES), principal axes."""
    landmarks: NDArray[np.int8]
    """(n_landmarks, N_AXES), in steps."""
    step: NDArray[np.float32]
    """(1,)."""
    pairs: NDArray[np.int32]
    """(100, 100), training formulas that hold both elements; on the diagonal, the element."""
    quantiles: NDArray[np.float64]
    """(N_QUANTILES,), of the finite distances of unseen known materials."""
    n_formulas: NDArray[np.int64]
    """(1,), training formulas that ``pairs`` counts."""

    @classmethod
    def fit(
        cls,
        readings: NDArray[np.floating],
        compositions: NDArray[np.floating],
        unseen: tuple[NDArray[np.floating], NDArray[np.floating]],
    ) -> Applicability:
        """Of distinct training compositions (m, 100) and what the network reads of the first n
        of them (n, n_read): the landmarks. ``unseen``: readings and compositions of others."""
        centre = readings.mean(axis=0, dtype=float).astype(np.float32)
        apart = readings - centre
        axes = np.linalg.eigh(apart.T @ apart)[1][:, ::-1][:, :N_AXES].astype(np.float32)
        chosen = np.random.default_rng(0).permutation(len(apart))[:MAX_LANDMARKS]
        places = apart[chosen] @ axes
        step = np.float32(abs(places).max() / 127 or 1.0)
        present = (compositions > 0).astype(np.int32)
        new = cls(
            centre=centre,
            axes=axes,
            landmarks=np.rint(places / step).astype(np.int8),
            step=np.array([step]),
            pairs=present.T @ present,
            quantiles=np.zeros(N_QUANTILES),
            n_formulas=np.array([len(compositions)]),
        )
        found = new.distances(*unseen)
        found = found[np.isfinite(found)]
        if not len(found):
            return new
        return replace(new, quantiles=np.quantile(found, np.linspace(0, 1, N_QUANTILES)))

    def distances(
        self, readings: NDArray[np.floating], compositions: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """(n,), of compositions (n, 100) that the network reads as (n, n_read)."""
        places = (readings - self.centre) @ self.axes
        nearest = np.empty(len(places), np.int64)
        for at in range(0, len(places), _BATCH):
            products = places[at : at + _BATCH] @ self._landmarks.T
            nearest[at : at + _BATCH] = (products - self._half_squares).argmax(axis=1)
        found = np.linalg.norm(places - self._landmarks[nearest], axis=1)
        unlearned = (compositions > 0) @ (self.pairs.diagonal() < MIN_FORMULAS)
        return np.where(unlearned, np.inf, found.astype(float).round(_DECIMALS))

    def share_nearer(self, distance: float) -> float:
        """Share of unseen known materials that are nearer than ``distance``, 0..1."""
        return float(np.interp(distance, self.quantiles, np.linspace(0, 1, len(self.quantiles))))

    def limit(self, share: float) -> float:
        """The distance that this share of unseen known materials do not exceed."""
        return float(np.interp(share, np.linspace(0, 1, len(self.quantiles)), self.quantiles))

    def rarest_pair(self, composition: NDArray[np.floating]) -> tuple[int, int, int]:
        """Atomic numbers of the two elements of (100,) that the fewest training formulas hold
        together, and how many do; of an element alone, twice its own."""
        present = np.flatnonzero(composition > 0)
        first, second = np.triu_indices(len(present), k=int(len(present) > 1))
        counts = self.pairs[present[first], present[second]]
        at = int(counts.argmin())
        return int(present[first[at]]) + 1, int(present[second[at]]) + 1, int(counts[at])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What an artefact keeps, by name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @cached_property
    def _landmarks(self) -> NDArray[np.float32]:
        return self.landmarks * self.step

    @cached_property
    def _half_squares(self) -> NDArray[np.float32]:
        """Of all landmarks of a product, the one that it is larger than by most is nearest."""
        return (self._landmarks**2).sum(axis=1) / 2
