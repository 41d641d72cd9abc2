"""Time-series characteristics of patterns (Fig. S10 of the paper).

Names and definitions are those of tsfresh (Christ et al., Neurocomputing 307, 72, 2018).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matlode.representation.diffraction import run_in_chunks

FLOOR = 0.005
"""Intensities below this fraction of the strongest point are set to zero, like values below the
noise of a detector. Decoded patterns are never exactly zero."""

CHARACTERISTICS = (
    "mean",
    "standard_deviation",
    "skewness",
    "kurtosis",
    "abs_energy",
    "mean_abs_change",
    "cid_ce",
    "count_above_mean",
    "longest_strike_above_mean",
    "number_peaks_3",
    "ratio_beyond_3_sigma",
    "autocorrelation_3",
    "autocorrelation_10",
    "c3_6",
    "binned_entropy_10",
    "first_location_of_maximum",
    "index_mass_quantile_0.5",
    "energy_ratio_by_chunks_4_0",
    "energy_ratio_by_chunks_4_3",
    "linear_trend_slope",
)
"""Names in the order of the columns of ``series.characterise``. Kurtosis and skewness are
population moments."""


def compute_characteristics(patterns: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the characteristics (n, len(CHARACTERISTICS)) of patterns (n, n_points).

    The strongest point of each pattern must be 1.
    """
    from matlode.representation.series import characterise

    out = np.empty((len(patterns), len(CHARACTERISTICS)))

    def fill(rows: slice) -> None:
        characterise(np.ascontiguousarray(patterns[rows], float), FLOOR, out[rows])

    run_in_chunks(fill, len(patterns), None)
    return out
