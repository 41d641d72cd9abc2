"""Prediction intervals with a stated coverage, calibrated on held-out rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matlode.errors import ArtefactError

COVERAGE = 0.9
"""Nominal fraction of true values within an interval."""


def compute_conformal_quantile(
    errors: NDArray[np.floating], *, coverage: float = COVERAGE
) -> float:
    """Bound that the error of a new exchangeable row does not exceed with probability ``coverage``.

    Split conformal prediction: the ⌈(n + 1) coverage⌉-th smallest of n errors (Lei et al.,
    J. Am. Stat. Assoc. 113, 1094, 2018). Dividing the errors by an estimate of their size makes
    intervals wider where larger errors are expected (normalised scores, Papadopoulos et al.,
    ECML 2002). Infinite if n is too small for this coverage.
    """
    ordered = np.sort(errors)
    rank = int(np.ceil((len(ordered) + 1) * coverage))
    return float(ordered[rank - 1]) if rank <= len(ordered) else np.inf


MIN_GROUP = 100
"""Smallest number of calibration rows in a group of distances: with 100 rows the coverage is known
to 3 %."""


def fit_distance_factors(
    errors: NDArray[np.floating],
    distances: NDArray[np.floating],
    *,
    beyond: float = 0.0,
) -> NDArray[np.float64]:
    """Fit conformal factors by distance: a table (k, 2) of largest distance and factor.

    The last row is for distances beyond all calibration rows; its factor is at least ``beyond``.

    Split conformal prediction within groups of distance (Mondrian: Vovk et al., Algorithmic
    Learning in a Random World, 2005, ch. 4). It is equivalent to weighted conformal prediction
    (Tibshirani et al., NeurIPS 2019) with weights that are constant within a group, so coverage
    holds for any distribution of distances over the groups. Counted from the largest distance,
    groups have 100, 200, 400, ... of the n rows, so the few distant rows have a factor of their
    own.

    Factors never decrease with distance. Enlarging a factor can only increase the coverage.
    """
    finite = np.isfinite(distances)
    if not np.isfinite(
        compute_conformal_quantile(errors[finite])
    ):  # too few rows: one factor for all
        return np.array([[np.inf, max(compute_conformal_quantile(errors), beyond)]])
    order = np.argsort(distances[finite], kind="stable")
    near, sizes = distances[finite][order], errors[finite][order]
    cuts, size = [len(near)], MIN_GROUP
    while cuts[0] - size >= MIN_GROUP:
        cuts.insert(0, cuts[0] - size)
        size *= 2
    edges = np.unique(near[np.array(cuts) - 1]) if len(near) else np.zeros(0)
    group = np.searchsorted(edges, near)
    factors = [compute_conformal_quantile(sizes[group == i]) for i in range(len(edges))]
    furthest = max([beyond, *(f for f in factors if np.isfinite(f))])
    found = np.maximum.accumulate([*factors, furthest])
    return np.column_stack([[*edges, np.inf], found])


def look_up_factors(
    table: NDArray[np.floating], distances: NDArray[np.floating] | None
) -> float | NDArray[np.float64]:
    """Look up conformal factors (n,) for distances (n,) in a table of ``fit_distance_factors``.

    A table (1,) holds one factor for all distances, which is returned. Raises ArtefactError if
    the factors depend on distance and ``distances`` is None.
    """
    if table.ndim == 1:
        return float(table[0])
    if distances is None:
        raise ArtefactError(
            f"distances are missing: intervals depend on the distance of a composition from the "
            f"training data ({len(table)} factors); pass PropertyNetwork.distances(compositions)."
        )
    # NaN sorts behind all distances
    return np.asarray(table[np.searchsorted(table[:-1, 0], distances), 1])


def fit_venn_abers(
    scores: NDArray[np.floating], labels: NDArray[np.floating], *, n_points: int = 200
) -> NDArray[np.float64]:
    """Fit a table (n_points, 3) of score, lower and upper probability.

    Inductive Venn-Abers predictor (Vovk and Petej, UAI 2014): isotonic regression of the
    calibration rows and the new row, labelled 0 for the lower and 1 for the upper probability.
    It is evaluated at up to ``n_points`` calibration scores; ``apply_venn_abers`` interpolates.
    """
    from sklearn.isotonic import isotonic_regression

    unique, which, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean = np.bincount(which, weights=labels) / count
    chosen = np.unique(np.linspace(0, len(unique) - 1, n_points).round().astype(int))
    table = np.empty((len(chosen), 3))
    for row, at in enumerate(chosen):
        # the new row is added to the rows of equal score, with label 0, then 1
        weights = count.astype(float)
        weights[at] += 1
        ends = []
        for label in (0.0, 1.0):
            targets = mean.copy()
            targets[at] += (label - mean[at]) / weights[at]
            ends.append(isotonic_regression(targets, sample_weight=weights)[at])
        table[row] = unique[at], *ends
    return table


def apply_venn_abers(
    table: NDArray[np.floating], scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Convert scores (n,) to probabilities and their lower and upper ends, (n,) each.

    ``table`` is from ``fit_venn_abers``. The probability is p1 / (1 - p0 + p1), which minimises
    the regret of log loss (Vovk and Petej 2014).
    """
    low = np.interp(scores, table[:, 0], table[:, 1])
    high = np.interp(scores, table[:, 0], table[:, 2])
    low, high = np.minimum(low, high), np.maximum(low, high)
    return high / (1 - low + high), low, high
