"""Characteristics of a pattern as a series of numbers (the paper's Fig. S10).

Named as tsfresh names them (Christ et al., Neurocomputing 307, 72, 2018) and computed for many
patterns at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FLOOR = 0.005
"""Intensities below this part of the strongest point count as zero, as below a detector's
noise; decoders never say exactly zero."""

Array = NDArray[np.floating]


def _autocorrelation(lag: int) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        products = (centred[:, lag:] * centred[:, :-lag]).mean(axis=1)
        return products / np.maximum(x.var(axis=1), 1e-12)

    return compute


def _c3(x: Array, lag: int = 6) -> Array:
    return (x[:, 2 * lag :] * x[:, lag:-lag] * x[:, : -2 * lag]).mean(axis=1)


def _moment(order: int) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        return (centred**order).mean(axis=1) / np.maximum(x.std(axis=1), 1e-6) ** order

    return compute


def _number_peaks(x: Array, support: int = 3) -> Array:
    middle = x[:, support:-support]
    is_peak = np.ones(middle.shape, dtype=bool)
    for shift in range(1, support + 1):
        is_peak &= middle > x[:, support - shift : x.shape[1] - support - shift]
        is_peak &= middle > x[:, support + shift : x.shape[1] - support + shift]
    return is_peak.sum(axis=1).astype(float)


def _longest_strike_above_mean(x: Array) -> Array:
    above = x > x.mean(axis=1, keepdims=True)
    index = np.arange(1, x.shape[1] + 1)
    last_below = np.maximum.accumulate(np.where(above, 0, index), axis=1)
    return np.asarray((index - last_below).max(axis=1), dtype=float)


def _binned_entropy(x: Array, bins: int = 10) -> Array:
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    which = np.minimum((bins * (x - low) / np.maximum(high - low, 1e-12)).astype(int), bins - 1)
    share = np.stack([(which == b).mean(axis=1) for b in range(bins)], axis=1)
    return -np.where(share > 0, share * np.log(np.maximum(share, 1e-300)), 0.0).sum(axis=1)


def _ratio_beyond_r_sigma(x: Array, r: float = 3.0) -> Array:
    centred = np.abs(x - x.mean(axis=1, keepdims=True))
    return (centred > r * x.std(axis=1, keepdims=True)).mean(axis=1)


def _index_mass_quantile(x: Array, q: float = 0.5) -> Array:
    mass = np.cumsum(np.abs(x), axis=1)
    reached = mass >= q * mass[:, -1:] * (1 - 1e-12)
    return np.asarray((reached.argmax(axis=1) + 1) / x.shape[1], dtype=float)


def _energy_ratio_by_chunks(focus: int, chunks: int = 4) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        part = np.array_split(np.arange(x.shape[1]), chunks)[focus]
        return (x[:, part] ** 2).sum(axis=1) / np.maximum((x**2).sum(axis=1), 1e-12)

    return compute


def _linear_trend_slope(x: Array) -> Array:
    at = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2
    return np.asarray((x * at).sum(axis=1) / (at @ at), dtype=float)


CHARACTERISTICS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda x: x.mean(axis=1),
    "standard_deviation": lambda x: x.std(axis=1),
    "skewness": _moment(3),
    "kurtosis": _moment(4),
    "abs_energy": lambda x: (x**2).sum(axis=1),
    "mean_abs_change": lambda x: np.abs(np.diff(x, axis=1)).mean(axis=1),
    "cid_ce": lambda x: np.sqrt((np.diff(x, axis=1) ** 2).sum(axis=1)),
    "count_above_mean": lambda x: (x > x.mean(axis=1, keepdims=True)).sum(axis=1).astype(float),
    "longest_strike_above_mean": _longest_strike_above_mean,
    "number_peaks_3": _number_peaks,
    "ratio_beyond_3_sigma": _ratio_beyond_r_sigma,
    "autocorrelation_3": _autocorrelation(3),
    "autocorrelation_10": _autocorrelation(10),
    "c3_6": _c3,
    "binned_entropy_10": _binned_entropy,
    "first_location_of_maximum": lambda x: x.argmax(axis=1) / x.shape[1],
    "index_mass_quantile_0.5": _index_mass_quantile,
    "energy_ratio_by_chunks_4_0": _energy_ratio_by_chunks(0),
    "energy_ratio_by_chunks_4_3": _energy_ratio_by_chunks(3),
    "linear_trend_slope": _linear_trend_slope,
}
"""name → patterns (n, n_points) → values (n,). Kurtosis and skewness are population moments."""


def pattern_characteristics(patterns: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, len(CHARACTERISTICS)) of patterns (n, n_points), strongest point 1."""
    out = np.empty((len(patterns), len(CHARACTERISTICS)))
    for at in range(0, len(patterns), 1024):
        x = np.asarray(patterns[at : at + 1024], dtype=float)
        x = np.where(x < FLOOR, 0.0, x)
        for column, compute in enumerate(CHARACTERISTICS.values()):
            out[at : at + 1024, column] = compute(x)
    return out
