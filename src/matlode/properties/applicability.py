"""Distance of a composition from the training compositions of the property network."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matlode.data.batches import split_range

MIN_FORMULAS = 50
"""Elements in fewer training formulas count as not learned: the distance of a composition that
contains one is infinite."""
N_AXES = 16
"""Principal axes of the encodings that are kept."""
MAX_LANDMARKS = 14_000
"""Landmarks take 224 kB with 16 axes. With only 4,000, the distance ranks errors worse."""
N_QUANTILES = 1001
_DECIMALS = 2
"""Distances (about 1 to 10) are rounded to these: further digits depend on the batch size."""
_BATCH = 128


@dataclass(frozen=True, eq=False)
class Applicability:
    """Distance of a composition from the training compositions in the network's encoding.

    The distance to the nearest of a sample of training compositions ("landmarks") along the
    principal axes of the network's encoding of compositions (Janet et al., Chem. Sci. 10, 7913,
    2019). It is infinite for a composition with an element in fewer than MIN_FORMULAS training
    formulas. The training table is not needed.
    """

    centre: NDArray[np.float32]
    """(n_encoded,), mean encoding."""
    axes: NDArray[np.float32]
    """(n_encoded, N_AXES), principal axes."""
    landmarks: NDArray[np.int8]
    """(n_landmarks, N_AXES), coordinates in units of ``step``."""
    step: NDArray[np.float32]
    """(1,)."""
    pairs: NDArray[np.int32]
    """(100, 100), number of training formulas that contain both elements; on the diagonal, of
    those that contain the element."""
    quantiles: NDArray[np.float64]
    """(N_QUANTILES,), quantiles of the finite distances of held-out known materials."""
    n_formulas: NDArray[np.int64]
    """(1,), number of training formulas counted in ``pairs``."""

    @classmethod
    def fit(
        cls,
        encodings: NDArray[np.floating],
        compositions: NDArray[np.floating],
        unseen: tuple[NDArray[np.floating], NDArray[np.floating]],
    ) -> Applicability:
        """Fit to distinct training compositions (m, 100).

        ``encodings`` (n, n_encoded) are those of the first n by the network, from which
        the landmarks are drawn; ``unseen`` are encodings and compositions of held-out materials.
        """
        centre = encodings.mean(axis=0, dtype=float).astype(np.float32)
        apart = encodings - centre
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
        self, encodings: NDArray[np.floating], compositions: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """(n,), distances of compositions (n, 100) from their ``encodings`` (n, n_encoded)."""
        places = (encodings - self.centre) @ self.axes
        nearest = np.empty(len(places), np.int64)
        for rows in split_range(len(places), _BATCH):
            products = places[rows] @ self._landmarks.T
            nearest[rows] = (products - self._half_squares).argmax(axis=1)
        found = np.linalg.norm(places - self._landmarks[nearest], axis=1)
        unlearned = (compositions > 0) @ (self.pairs.diagonal() < MIN_FORMULAS)
        return np.where(unlearned, np.inf, found.astype(float).round(_DECIMALS))

    def share_nearer(self, distance: float) -> float:
        """Fraction (0..1) of held-out known materials whose distance is below ``distance``."""
        return float(np.interp(distance, self.quantiles, np.linspace(0, 1, len(self.quantiles))))

    def limit(self, share: float) -> float:
        """The distance that a fraction ``share`` of held-out known materials do not exceed."""
        return float(np.interp(share, np.linspace(0, 1, len(self.quantiles)), self.quantiles))

    def rarest_pair(self, composition: NDArray[np.floating]) -> tuple[int, int, int]:
        """The pair of elements in a composition (100,) with the fewest training formulas.

        Returns both atomic numbers and the number of formulas that contain both. For a single
        element both atomic numbers are the same.
        """
        present = np.flatnonzero(composition > 0)
        first, second = np.triu_indices(len(present), k=int(len(present) > 1))
        counts = self.pairs[present[first], present[second]]
        at = int(counts.argmin())
        return int(present[first[at]]) + 1, int(present[second[at]]) + 1, int(counts[at])

    def arrays(self) -> dict[str, NDArray[np.number]]:
        """Arrays by name, as an artefact stores them."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @cached_property
    def _landmarks(self) -> NDArray[np.float32]:
        return self.landmarks * self.step

    @cached_property
    def _half_squares(self) -> NDArray[np.float32]:
        """(n_landmarks,), |l|²/2: the nearest landmark maximises x·l - |l|²/2."""
        return (self._landmarks**2).sum(axis=1) / 2
