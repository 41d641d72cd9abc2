"""Intervals of candidates that a search chose, from candidates that a potential has computed.

A search finds what its models overrate, so that intervals which hold 90 % of known materials hold
fewer of its winners. The factors here widen them: conformal quantiles of the errors of earlier
designs, in units of the half widths of their intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    ARRAYS_FILE,
    HEADER_FILE,
    convert_read_errors,
    find_model,
    load_artefact,
    save_artefact,
)
from matlode.data.tables import checksum
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates
from matlode.properties.intervals import compute_conformal_quantile
from matlode.properties.network import NETWORK_MODEL

DESIGNS_MODEL = "designs"
CALIBRATED = ("bulk_modulus", "shear_modulus", "formation_energy")
"""Endpoints that a potential computes, too."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Designs:
    """Errors of the predictions for designs that were computed with a potential."""

    errors: Mapping[str, Floats]
    """Endpoint of CALIBRATED → errors (n,) in half widths of the interval, by ``scale_errors``."""

    def widen(self, estimates: Mapping[str, Estimates]) -> dict[str, Estimates]:
        """Multiply the half widths of intervals, in the scale of the model, by the factor that the
        errors of their endpoint give (``compute_factor``)."""
        found = dict(estimates)
        for name in self.errors.keys() & estimates.keys():
            factor = compute_factor(self.errors[name])
            found[name] = widen_intervals(ENDPOINTS[name], estimates[name], factor)
        return found

    @classmethod
    def load(cls, folder: Path | None) -> Designs | None:
        """Load the designs in a folder of models, else the shipped ones; None if there are none of
        the property network in use."""
        place = find_model(DESIGNS_MODEL, folder)
        if not (place / HEADER_FILE).exists():
            return None
        with convert_read_errors(place):
            artefact = load_artefact(place).require(DESIGNS_MODEL)
            if artefact.header["built_on"] != hash_network(folder):
                return None
            arrays = artefact.arrays
            return cls({name: arrays[name].astype(float) for name in CALIBRATED if name in arrays})

    def save(self, folder: Path, header: Mapping[str, object], *, built_on: str) -> None:
        """Write the artefact to a folder of models; ``built_on`` is the hash of the network."""
        save_artefact(
            folder / DESIGNS_MODEL,
            kind=DESIGNS_MODEL,
            header={**header, "built_on": built_on},
            arrays=dict(self.errors),
        )


def hash_network(folder: Path | None) -> str:
    """SHA-256 of the weights of the property network, whose errors are those of the designs."""
    return checksum(find_model(NETWORK_MODEL, folder) / ARRAYS_FILE)


def compute_factor(errors: Floats) -> float:
    """Conformal quantile of ``errors`` (n,); 1 if it is smaller, or if there are too few errors."""
    factor = max(compute_conformal_quantile(errors), 1.0)
    return factor if np.isfinite(factor) else 1.0


def scale_errors(endpoint: Endpoint, estimates: Estimates, computed: Floats) -> Floats:
    """Errors (n,) of predictions in units of the half width on the side of the ``computed`` values
    (n,), in the scale of the model; NaN where nothing was computed."""
    value, low, high, truth = map(
        endpoint.to_model, (estimates.value, estimates.low, estimates.high, computed)
    )
    half = np.where(truth > value, high - value, value - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(abs(truth - value) / half)


def widen_intervals(endpoint: Endpoint, estimates: Estimates, factor: float) -> Estimates:
    """Multiply both half widths, in the scale of the model, by ``factor``."""
    value, low, high = map(endpoint.to_model, (estimates.value, estimates.low, estimates.high))
    ends = (value - factor * (value - low), value + factor * (high - value))
    low, high = (
        np.clip(endpoint.from_model(end), endpoint.lowest, endpoint.highest) for end in ends
    )
    return Estimates(estimates.value, low, high)
