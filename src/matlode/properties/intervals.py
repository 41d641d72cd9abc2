"""Intervals with a stated coverage, from rows that the models never saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matlode.errors import ArtefactError

COVERAGE = 0.9
"""Share of truths that an interval is meant to hold."""


def conformal_quantile(errors: NDArray[np.floating], *, coverage: float = COVERAGE) -> float:
    """The size that the error of a new, exchangeable row stays below with this probability.

    Split conformal prediction: the ⌈(n + 1) coverage⌉-th smallest of n errors (Lei et al.,
    J. Am. Stat. Assoc. 113, 1094, 2018). With errors divided by an estimate of their size,
    intervals become wide where models err (normalised scores, Papadopoulos et al., ECML 2002).
    Infinite if n is too small to promise anything.
    """
    ordered = np.sort(errors)
    rank = int(np.ceil((len(ordered) + 1) * coverage))
    return float(ordered[rank - 1]) if rank <= len(ordered) else np.inf


MIN_GROUP = 100
"""Calibration rows of a distance group: with 100 rows the share that its factor covers is
known to 3 %."""


def distance_factors(
    errors: NDArray[np.floating],
    distances: NDArray[np.floating],
    *,
    beyond: float = 0.0,
) -> NDArray[np.float64]:
    """(k, 2): up to which distance a conformal factor holds, and the factor; the last one is for
    what is further than every calibration row, and at least ``beyond``.

    Split conformal prediction in groups of distance (Mondrian: Vovk et al., Algorithmic Learning
    in a Random World, 2005, ch. 4), which is weighted conformal prediction (Tibshirani et al.,
    NeurIPS 2019) with weights that are constant within a group: whatever share of new rows lies
    at which distance, each group is covered. Counted from the furthest rows inwards, groups
    have 100, 200, 400, ... of the n rows, so that the rare far ones have a factor of their own.

    No factor is less than that of a nearer group: nothing is promised more for being further
    away, and widening never breaks a promise.
    """
    finite = np.isfinite(distances)
    if not np.isfinite(conformal_quantile(errors[finite])):  # too few: one factor for all
        return np.array([[np.inf, max(conformal_quantile(errors), beyond)]])
    order = np.argsort(distances[finite], kind="stable")
    near, sizes = distances[finite][order], errors[finite][order]
    cuts, size = [len(near)], MIN_GROUP
    while cuts[0] - size >= MIN_GROUP:
        cuts.insert(0, cuts[0] - size)
        size *= 2
    edges = np.unique(near[np.array(cuts) - 1]) if len(near) else np.zeros(0)
    group = np.searchsorted(edges, near)
    factors = [conformal_quantile(sizes[group == i]) for i in range(len(edges))]
    furthest = max([beyond, *(f for f in factors if np.isfinite(f))])
    found = np.maximum.accumulate([*factors, furthest])
    return np.column_stack([[*edges, np.inf], found])


def factor_at(
    table: NDArray[np.floating], distances: NDArray[np.floating] | None
) -> float | NDArray[np.float64]:
    """Conformal factors (n,) at distances (n,) from a table of ``distance_factors``; the one
    factor of a table (1,), which holds everywhere.

    Raises ArtefactError if factors depend on a distance that is not given.
    """
    if table.ndim == 1:
        return float(table[0])
    if distances is None:
        raise ArtefactError(
            f"intervals depend on how far a composition is ({len(table)} factors), and no "
            "distances were given; take them from PropertyNetwork.distances."
        )
    # unknown distances sort behind everything
    return np.asarray(table[np.searchsorted(table[:-1, 0], distances), 1])


def venn_abers_table(
    scores: NDArray[np.floating], labels: NDArray[np.floating], *, n_points: int = 200
) -> NDArray[np.float64]:
    """(n_points, 3): score, and the two probabilities between which the truth lies.

    Inductive Venn-Abers predictor (Vovk and Petej, UAI 2014): isotonic regression of the
    calibration rows with the new row labelled 0, then 1. Evaluated at up to
    ``n_points`` of the calibration scores; read in between with ``venn_abers``.
    """
    from sklearn.isotonic import isotonic_regression

    unique, which, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean = np.bincount(which, weights=labels) / count
    chosen = np.unique(np.linspace(0, len(unique) - 1, n_points).round().astype(int))
    table = np.empty((len(chosen), 3))
    for row, at in enumerate(chosen):
        # the new row joins the rows of its score with label 0, then 1
        weights = count.astype(float)
        weights[at] += 1
        ends = []
        for label in (0.0, 1.0):
            targets = mean.copy()
            targets[at] += (label - mean[at]) / weights[at]
            ends.append(isotonic_regression(targets, sample_weight=weights)[at])
        table[row] = unique[at], *ends
    return table


def venn_abers(
    table: NDArray[np.floating], scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Probability, and the low and high end of it, (n,) each, for raw scores (n,).

    The single probability p1 / (1 - p0 + p1) minimises the regret of log loss (ibid.).
    """
    low = np.interp(scores, table[:, 0], table[:, 1])
    high = np.interp(scores, table[:, 0], table[:, 2])
    low, high = np.minimum(low, high), np.maximum(low, high)
    return high / (1 - low + high), low, high
