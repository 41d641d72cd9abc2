"""The tree-structured Parzen estimator for batches, in a multivariate and an independent form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from matlode.data.batches import split_range
from matlode.optimisation.sampler import Array, History, Sampler, map_to_box, select_best_rows

DRAWS_AT_ONCE = 2048
"""Draws whose densities are computed at once; a batch of 64 points has 1,536."""


@dataclass(frozen=True, kw_only=True)
class TPESampler(Sampler):
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) for batches.

    The best points define the density l, the others the density g; both are mixtures of
    Gaussians truncated to the box. Each suggestion is the draw with the largest l/g among
    ``n_candidates`` draws from l. With ``multivariate``, a draw displaces one good point in all
    variables and the kernels are products over the variables (as in Falkner et al., ICML 2018,
    and Optuna). Otherwise each variable has its own mixtures and is chosen independently, as in
    Korolev et al. 2020 (Hyperopt).
    """

    n_good: int = 64
    """Points in l, at most a quarter of all."""
    n_candidates: int = 24
    """Draws per suggestion."""
    max_per_group: int = 3
    """Largest number of points in l from one group."""
    multivariate: bool = True
    bandwidth: float = 0.12
    """Standard deviation of the multivariate kernels, in widths of the box."""
    n_bad: int = 1024
    """Points in g; a random sample if there are more."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        n_seen = len(history.points)
        room = max(1, min(self.n_good, n_seen // 4))
        good = select_best_rows(history, room, max_per_group=self.max_per_group)
        bad = np.setdiff1d(np.arange(n_seen), good)
        bad = rng.permutation(bad)[: self.n_bad]
        choose = self._joint if self.multivariate else self._independent
        chosen = choose(history.to_unit_box(bounds, good), history.to_unit_box(bounds, bad), n, rng)
        return map_to_box(chosen, bounds)

    def _joint(self, good: Array, bad: Array, n: int, rng: np.random.Generator) -> Array:
        parents = good[rng.integers(len(good), size=n * self.n_candidates)]
        draws = _truncated_normal(parents, np.full_like(parents, self.bandwidth), rng)
        ratio = self._log_density(draws, good) - self._log_density(draws, bad)
        best = ratio.reshape(n, self.n_candidates).argmax(axis=1)
        chosen: Array = draws.reshape(n, self.n_candidates, -1)[np.arange(n), best]
        return chosen

    def _log_density(self, x: Array, centres: Array) -> Array:
        """(m,), logarithm of the mixture at x (m, d), up to a constant common to l and g."""
        if len(centres) == 0:
            return np.zeros(len(x))
        s = self.bandwidth
        # normalisation of the truncated kernels
        inside = np.log(ndtr((1 - centres) / s) - ndtr(-centres / s)).sum(axis=1)
        density = np.empty(len(x))
        # in chunks: all pair distances of a batch in a campaign of a million trials take 100 MB
        for rows in split_range(len(x), DRAWS_AT_ONCE):
            y = x[rows]
            squared = (y**2).sum(1)[:, None] - 2 * y @ centres.T + (centres**2).sum(1)
            density[rows] = logsumexp(-squared / (2 * s * s) - inside, axis=1)
        return density - np.log(len(centres))

    def _independent(self, good: Array, bad: Array, n: int, rng: np.random.Generator) -> Array:
        d = good.shape[1]
        good, bad = np.sort(good, axis=0), np.sort(bad, axis=0)
        widths_good, widths_bad = _neighbour_widths(good), _neighbour_widths(bad)
        rows = rng.integers(len(good), size=(n * self.n_candidates, d))
        columns = np.arange(d)
        draws = _truncated_normal(good[rows, columns], widths_good[rows, columns], rng)
        # one-dimensional densities: computed once on a grid and interpolated for all draws
        grid = np.linspace(0, 1, 257)
        ratio = _grid_log_density(grid, good, widths_good) - _grid_log_density(
            grid, bad, widths_bad
        )
        at = draws * (len(grid) - 1)
        left = np.minimum(at.astype(int), len(grid) - 2)
        part = at - left
        score = ratio[left, columns] * (1 - part) + ratio[left + 1, columns] * part
        best = score.reshape(n, self.n_candidates, d).argmax(axis=1)
        chosen: Array = np.take_along_axis(
            draws.reshape(n, self.n_candidates, d), best[:, None], axis=1
        )[:, 0]
        return chosen


def _truncated_normal(mean: Array, std: Array, rng: np.random.Generator) -> Array:
    """Draw from normal distributions truncated to [0, 1]."""
    low, high = ndtr(-mean / std), ndtr((1 - mean) / std)
    return np.clip(mean + std * ndtri(low + rng.random(mean.shape) * (high - low)), 0, 1)


def _neighbour_widths(x: Array) -> Array:
    """Kernel widths as in Hyperopt: the larger distance to an adjacent point, within limits."""
    ends = np.concatenate([np.zeros((1, x.shape[1])), x, np.ones((1, x.shape[1]))])
    gaps = np.maximum(ends[1:-1] - ends[:-2], ends[2:] - ends[1:-1])
    return np.clip(gaps, 1 / min(100, 1 + len(x)), 1)


def _grid_log_density(grid: Array, centres: Array, widths: Array) -> Array:
    """(n_grid, d), logarithm of the mixture of each variable, with a uniform prior kernel."""
    inside = ndtr((1 - centres) / widths) - ndtr(-centres / widths)
    weight = 1 / (np.sqrt(2 * np.pi) * widths * inside)
    total = np.ones((len(grid), centres.shape[1]))
    for row, x in enumerate(grid):
        total[row] += (weight * np.exp(-0.5 * ((x - centres) / widths) ** 2)).sum(axis=0)
    return np.log(total / (len(centres) + 1))
