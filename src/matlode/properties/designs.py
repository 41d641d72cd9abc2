"""Predictions for crystals that a search built, from such crystals that a potential has computed.

A search finds what its models overrate: crystals with wrong structures that are predicted to be
stable, and the luckiest errors among the right ones. Crystals built by earlier searches, relaxed
with a potential, tell by how much. Their errors shift the energies of further ones (boosted trees)
and widen the intervals (conformal quantiles of the errors for goals that the trees did not see).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    ARRAYS_FILE,
    HEADER_FILE,
    convert_read_errors,
    find_model,
    flatten_groups,
    grouped,
    load_artefact,
    save_artefact,
)
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.tables import checksum
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates
from matlode.properties.forest import Forest
from matlode.properties.intervals import compute_conformal_quantile
from matlode.properties.network import NETWORK_MODEL
from matlode.representation.descriptors import compute_composition_descriptors

DESIGNS_MODEL = "designs"
REFERENCE = "formation_energy_mp2021"
"""The endpoint whose errors are learned: potentials' energies have its corrections."""
ENERGIES = (REFERENCE, "formation_energy", "energy_above_hull", "energy_above_hull_mp2021")
"""Endpoints that a wrong formation energy shifts, all by the same amount."""
READ = (REFERENCE, "energy_above_hull", "hull_probability_50_mev")
"""Predictions that the shift depends on."""
CHANCES = ("hull_probability_50_mev", "hull_probability_100_mev")
WIDENED = ("bulk_modulus",)
"""Endpoints that a potential computes more accurately than the models predict them, whose intervals
are widened."""
SHIFT_WEIGHT = 0.5
"""Part of the shift that enters the scale of the errors, beside the half width of the interval."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EnergyShift:
    """Energies that the models predict too low, or too high, for built crystals."""

    forest: Forest
    """Features (``collect_features``) → computed minus predicted energy, eV/atom."""
    errors: Floats
    """(m,), ascending: computed minus shifted energies, in units of ``_scale_shifted``."""

    def apply(self, estimates: Mapping[str, Estimates], features: Floats) -> dict[str, Estimates]:
        """Shift the energies and their intervals, and derive the chances to be near the hull.

        The chance is the fraction of ``errors`` for which the shifted energy is at most the limit.
        """
        shift = self.forest.predict(features)
        scale = _scale_shifted(estimates[REFERENCE], shift)
        width = compute_conformal_quantile(abs(self.errors)) * scale
        found = dict(estimates)
        for name in ENERGIES:
            if name in found:
                energy, lowest = found[name].value + shift, ENDPOINTS[name].lowest
                ends = (np.maximum(end, lowest) for end in (energy, energy - width, energy + width))
                found[name] = Estimates(*ends)
        for name in CHANCES:
            limit = ENDPOINTS[name].at_most
            assert limit is not None
            room = (limit - estimates["energy_above_hull"].value - shift) / scale
            below = np.searchsorted(self.errors, room, side="right") + 0.5
            chance = below / (len(self.errors) + 1)
            if name in found:
                found[name] = Estimates(chance, chance, chance)
        return found


@dataclass(frozen=True)
class Designs:
    """What built crystals that a potential has computed tell about further ones."""

    errors: Mapping[str, Floats] = field(default_factory=dict)
    """Endpoint of WIDENED → errors (n,) in half widths of the interval (``scale_errors``)."""
    shift: EnergyShift | None = None

    def apply(
        self,
        estimates: Mapping[str, Estimates],
        compositions: NDArray[np.floating],
        crystals: NDArray[np.floating],
    ) -> dict[str, Estimates]:
        """Correct ``estimates``, which hold those of READ, for built crystals with these
        compositions (n, 100) and descriptors (n, n_descriptors)."""
        found = dict(estimates)
        if self.shift is not None:
            features = collect_features(estimates, compositions, crystals)
            found = self.shift.apply(estimates, features)
        for name in self.errors.keys() & found.keys():
            factor = compute_factor(self.errors[name])
            found[name] = widen_intervals(ENDPOINTS[name], found[name], factor)
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
            shift = None
            if "shift_errors" in arrays:
                forest = Forest.from_arrays(grouped(arrays)["shift"])
                shift = EnergyShift(forest, arrays["shift_errors"].astype(float))
            return cls({n: arrays[n].astype(float) for n in WIDENED if n in arrays}, shift)

    def save(self, folder: Path, header: Mapping[str, Any], *, built_on: str) -> None:
        """Write the artefact to a folder of models; ``built_on`` is the hash of the network."""
        arrays: dict[str, NDArray[Any]] = dict(self.errors)
        if self.shift is not None:
            arrays |= flatten_groups({"shift": self.shift.forest.arrays()})
            arrays["shift_errors"] = self.shift.errors
        save_artefact(
            folder / DESIGNS_MODEL,
            kind=DESIGNS_MODEL,
            header={**header, "built_on": built_on},
            arrays=arrays,
        )


def collect_features(
    estimates: Mapping[str, Estimates],
    compositions: NDArray[np.floating],
    crystals: NDArray[np.floating],
) -> Floats:
    """Features (n, n_columns) of the energy shift: the predictions of READ with their intervals,
    the descriptors of the crystals, and those of the compositions without the fractions."""
    predicted = [end for name in READ for end in vars(estimates[name]).values()]
    described = compute_composition_descriptors(compositions)[:, MAX_ATOMIC_NUMBER:]
    return np.column_stack([*predicted, crystals, described])


def scale_energy_errors(estimates: Estimates, shift: Floats, computed: Floats) -> Floats:
    """Errors (n,) of shifted predictions of REFERENCE, in units of the scale of their intervals."""
    return (computed - estimates.value - shift) / _scale_shifted(estimates, shift)


def _scale_shifted(estimates: Estimates, shift: Floats) -> Floats:
    half = (estimates.high - estimates.low) / 2
    return np.asarray(half + SHIFT_WEIGHT * abs(shift))


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
