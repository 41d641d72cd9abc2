"""The volume per atom that a composition is expected to have, without any structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import convert_read_errors, find_model, load_artefact, save_artefact
from matlode.data.batches import split_range
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.errors import ArtefactError
from matlode.latent.forward import (
    ROWS_AT_ONCE,
    Floats,
    Weights,
    apply_residual_net,
    check_weights,
    composition_shapes,
    encode_compositions,
    halve_precision,
    n_encoded,
    prefix_shapes,
    residual_shapes,
    select_part,
)
from matlode.properties.endpoints import Estimates
from matlode.properties.intervals import COVERAGE, compute_conformal_quantile

VOLUME_MODEL = "expected-volume"
BAND_COVERAGE = 0.995
"""Fraction of known crystals whose volume is inside the band of the screening rule."""
MAX_BAND_RATIO = 3.0
"""Largest ratio of an end of the band and the expected volume. Compositions of rare kinds would
otherwise have bands that reject nothing."""
MAX_LOG_WIDTH = (-5.0, -1.3)
"""Logarithms of the network's widths are clipped to this range."""
_FACTORS = "factors"


@dataclass(frozen=True, eq=False)
class ExpectedVolume:
    """Predicts ln(volume per atom) and the width of its error from a composition.

    The network corrects a mean of element volumes (``volume_net.VolumeNet``). Both ends of an
    interval are conformal quantiles of signed errors divided by the width.
    """

    weights: Weights
    factors: NDArray[np.float64]
    """(2, 2), lower and upper quantile of the scaled errors: of the 90 % interval, then of the
    band."""

    @classmethod
    def calibrate(
        cls, weights: Weights, compositions: NDArray[np.floating], volumes: NDArray[np.floating]
    ) -> ExpectedVolume:
        """Fit the intervals to held-out compositions (n, 100) and volumes (n,), Å³/atom."""
        model = cls(weights, np.zeros((2, 2)))
        logarithms, widths = model._evaluate(compositions)
        errors = (np.log(volumes) - logarithms) / widths
        levels = [(1 + coverage) / 2 for coverage in (COVERAGE, BAND_COVERAGE)]
        ends = [
            [-compute_conformal_quantile(-errors, coverage=level),
             compute_conformal_quantile(errors, coverage=level)]
            for level in levels
        ]  # fmt: skip
        # with few rows a quantile is infinite; the largest error is then the best estimate
        largest = [errors.min(initial=0.0), errors.max(initial=0.0)]
        factors = np.where(np.isfinite(ends), ends, largest)
        return cls(weights, np.stack([factors[:, 0].clip(max=0), factors[:, 1].clip(min=0)], 1))

    def predict(self, compositions: NDArray[np.floating]) -> Estimates:
        """Volumes in Å³/atom with 90 % intervals, (n,) each, for compositions (n, 100)."""
        return self._estimate(compositions, 0)

    def predict_band(self, compositions: NDArray[np.floating]) -> Estimates:
        """The same with the wider intervals that contain 99.5 % of known crystals, up to
        MAX_BAND_RATIO."""
        band = self._estimate(compositions, 1)
        low, high = band.value / MAX_BAND_RATIO, band.value * MAX_BAND_RATIO
        return Estimates(band.value, np.maximum(band.low, low), np.minimum(band.high, high))

    def _estimate(self, compositions: NDArray[np.floating], row: int) -> Estimates:
        logarithms, widths = self._evaluate(compositions)
        low, high = self.factors[row]
        ends = (logarithms, logarithms + low * widths, logarithms + high * widths)
        return Estimates(*map(np.exp, ends))

    def _evaluate(
        self, compositions: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logarithms of the volumes and widths of their errors, (n,) each."""
        # one block after the other: threads would wait for each other in so small a network
        given = np.asarray(compositions, np.float32)
        blocks = split_range(len(given), ROWS_AT_ONCE) or [slice(0, 0)]
        raw = np.concatenate([self._apply(given[rows]) for rows in blocks])
        widths = np.exp(raw[:, 1].clip(*MAX_LOG_WIDTH).astype(float))
        return raw[:, 0].astype(float), widths

    def _apply(self, compositions: Floats) -> Floats:
        read = encode_compositions(select_part(self.weights, "composition"), compositions)
        out = apply_residual_net(select_part(self.weights, "net"), read)
        # not by BLAS, whose last digits depend on how many threads are free
        out[:, 0] += np.log((compositions * np.exp(self.weights["volumes"])).sum(axis=1))
        return out

    def save(self, folder: Path, header: Mapping[str, object]) -> None:
        """Write the artefact to a folder in ``folder``; weights are stored in half precision."""
        arrays = {**halve_precision(self.weights), _FACTORS: self.factors}
        save_artefact(
            folder / VOLUME_MODEL,
            kind="volume",
            header={"unit": "Å³/atom", **header},
            arrays=arrays,
        )

    @classmethod
    def load(cls, folder: Path | None = None) -> ExpectedVolume:
        """Load the model in ``folder``, or the one that ships with matlode.

        Raises ArtefactError if it is damaged or does not fit the code.
        """
        place = find_model(VOLUME_MODEL, folder)
        artefact = load_artefact(place).require("volume")
        with convert_read_errors(place):
            arrays = {**artefact.arrays}
            factors = arrays.pop(_FACTORS).astype(float)
            composition, net = select_part(arrays, "composition"), select_part(arrays, "net")
            shapes = {
                "volumes": (MAX_ATOMIC_NUMBER,),
                **prefix_shapes("composition", composition_shapes(composition)),
                **prefix_shapes("net", residual_shapes(net, n_encoded(composition), 2)),
            }
            weights = check_weights(arrays, shapes, place)
            ordered = factors.shape == (2, 2) and (factors[:, 0] <= 0).all()
            if not (ordered and (factors[:, 1] >= 0).all() and np.isfinite(factors).all()):
                raise ArtefactError(
                    f"{place}: factors of the intervals are impossible; run `matlode train models "
                    f"{VOLUME_MODEL}` to train the model again."
                )
            return cls(weights, factors)
