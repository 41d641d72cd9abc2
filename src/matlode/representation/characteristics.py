"""Characteristics of a pattern as a series of numbers (the paper's Fig. S10).

Named as tsfresh names them (Christ et al., Neurocomputing 307, 72, 2018) and computed for many
patterns at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matlode.representation.diffraction import for_each_chunk

FLOOR = 0.005
"""Intensities below this part of the strongest point count as zero, as below a detector's
noise; decoders never say exactly zero."""

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
"""In the order in which ``series.characterise`` gives them. Kurtosis and skewness are population
moments."""


def pattern_characteristics(patterns: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, len(CHARACTERISTICS)) of patterns (n, n_points), strongest point 1."""
    from matlode.representation.series import characterise

    out = np.empty((len(patterns), len(CHARACTERISTICS)))

    def fill(rows: slice) -> None:
        characterise(np.ascontiguousarray(patterns[rows], float), FLOOR, out[rows])

    for_each_chunk(fill, len(patterns), None)
    return out
