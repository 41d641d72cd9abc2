"""Ways of choosing the next latent points, behind one ask/tell interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

Array = NDArray[np.float64]


class Sampler(ABC):
    """Proposes points of a box, given all points seen so far."""

    @abstractmethod
    def suggest(
        self,
        points: Array,
        merits: Array,
        bounds: Array,
        n: int,
        rng: np.random.Generator,
        *,
        groups: NDArray[np.str_] | None = None,
    ) -> Array:
        """(n, d) points inside ``bounds`` (d, 2).

        ``points`` (m, d) were seen and have ``merits`` (m,), larger is better. ``groups``
        (m,) names what kind of thing each was, so that a sampler can stay diverse.
        """


@dataclass(frozen=True, kw_only=True)
class RandomSampler(Sampler):
    """Uniform in the box: the baseline."""

    def suggest(
        self,
        points: Array,
        merits: Array,
        bounds: Array,
        n: int,
        rng: np.random.Generator,
        *,
        groups: NDArray[np.str_] | None = None,
    ) -> Array:
        """See Sampler."""
        return rng.uniform(bounds[:, 0], bounds[:, 1], (n, len(bounds)))


@dataclass(frozen=True, kw_only=True)
class TPESampler(Sampler):
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), for whole batches.

    The best points make the density l, the others g; both are mixtures of Gaussians
    truncated to the box. Of ``n_candidates`` draws from l the one with the largest l/g is
    taken. With ``multivariate`` a draw moves one good point in all variables together and
    l, g are products over variables inside the mixture (as in Falkner et al., ICML 2018, and
    Optuna); otherwise each variable has its own mixtures and is chosen alone, as in the paper
    (Hyperopt). In the multivariate form all pair distances are one matrix product.
    """

    n_good: int = 64
    """Points in l, at most a quarter of all."""
    n_candidates: int = 24
    max_per_group: int = 3
    """Of one group at most this many points count as good."""
    multivariate: bool = True
    bandwidth: float = 0.12
    """Standard deviation of the multivariate kernels, in widths of the box."""
    n_bad: int = 1024
    """Points in g: a random part, if there are more."""

    def suggest(
        self,
        points: Array,
        merits: Array,
        bounds: Array,
        n: int,
        rng: np.random.Generator,
        *,
        groups: NDArray[np.str_] | None = None,
    ) -> Array:
        """See Sampler."""
        low, width = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        unit = np.clip((points - low) / width, 0, 1)
        good = self._good(merits, groups)
        bad = np.setdiff1d(np.arange(len(points)), good)
        bad = rng.permutation(bad)[: self.n_bad]
        choose = self._joint if self.multivariate else self._independent
        return low + width * choose(unit[good], unit[bad], n, rng)

    def _good(self, merits: Array, groups: NDArray[np.str_] | None) -> NDArray[np.intp]:
        room = max(1, min(self.n_good, len(merits) // 4))
        order = np.argsort(-merits, kind="stable")
        if groups is None:
            return order[:room]
        taken: dict[str, int] = {}
        good = []
        for index in order:
            count = taken.get(groups[index], 0)
            if count < self.max_per_group:
                taken[groups[index]] = count + 1
                good.append(index)
                if len(good) == room:
                    break
        return np.array(good)

    def _joint(self, good: Array, bad: Array, n: int, rng: np.random.Generator) -> Array:
        parents = good[rng.integers(len(good), size=n * self.n_candidates)]
        draws = _truncated_normal(parents, np.full_like(parents, self.bandwidth), rng)
        ratio = self._log_density(draws, good) - self._log_density(draws, bad)
        best = ratio.reshape(n, self.n_candidates).argmax(axis=1)
        chosen: Array = draws.reshape(n, self.n_candidates, -1)[np.arange(n), best]
        return chosen

    def _log_density(self, x: Array, centres: Array) -> Array:
        """log of the mixture at x (m, d), up to the constant that l and g share."""
        if len(centres) == 0:
            return np.zeros(len(x))
        s = self.bandwidth
        squared = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
        # what the box cuts off each kernel
        inside = np.log(ndtr((1 - centres) / s) - ndtr(-centres / s)).sum(axis=1)
        density = logsumexp(-squared / (2 * s * s) - inside, axis=1) - np.log(len(centres))
        return np.asarray(density)

    def _independent(self, good: Array, bad: Array, n: int, rng: np.random.Generator) -> Array:
        d = good.shape[1]
        good, bad = np.sort(good, axis=0), np.sort(bad, axis=0)
        widths_good, widths_bad = _neighbour_widths(good), _neighbour_widths(bad)
        rows = rng.integers(len(good), size=(n * self.n_candidates, d))
        columns = np.arange(d)
        draws = _truncated_normal(good[rows, columns], widths_good[rows, columns], rng)
        # the densities are one-dimensional: on a grid they are made once for all draws
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


SAMPLERS: dict[str, Sampler] = {
    "tpe": TPESampler(),
    "tpe-independent": TPESampler(multivariate=False),
    "random": RandomSampler(),
}
"""name → sampler."""


def _truncated_normal(mean: Array, std: Array, rng: np.random.Generator) -> Array:
    """Draws of normals cut off outside [0, 1]."""
    low, high = ndtr(-mean / std), ndtr((1 - mean) / std)
    return np.clip(mean + std * ndtri(low + rng.random(mean.shape) * (high - low)), 0, 1)


def _neighbour_widths(x: Array) -> Array:
    """Kernel widths as in Hyperopt: the larger distance to a neighbour, within limits."""
    ends = np.concatenate([np.zeros((1, x.shape[1])), x, np.ones((1, x.shape[1]))])
    gaps = np.maximum(ends[1:-1] - ends[:-2], ends[2:] - ends[1:-1])
    return np.clip(gaps, 1 / min(100, 1 + len(x)), 1)


def _grid_log_density(grid: Array, centres: Array, widths: Array) -> Array:
    """(n_grid, d), log of each variable's mixture, with the uniform prior as one kernel."""
    inside = ndtr((1 - centres) / widths) - ndtr(-centres / widths)
    weight = 1 / (np.sqrt(2 * np.pi) * widths * inside)
    total = np.ones((len(grid), centres.shape[1]))
    for row, x in enumerate(grid):
        total[row] += (weight * np.exp(-0.5 * ((x - centres) / widths) ** 2)).sum(axis=0)
    return np.log(total / (len(centres) + 1))
