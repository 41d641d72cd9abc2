"""Bayesian optimisation with a Gaussian process from scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from matlode.optimisation.sampler import Array, History, Sampler, map_to_box


@dataclass(frozen=True, kw_only=True)
class GPSampler(Sampler):
    """Thompson sampling with a Gaussian process (Matérn 5/2, one length scale).

    The process is fitted to the best points and a random sample of the others. Each suggestion is
    the best of many candidates in one draw of the process. Most candidates are best points with
    some variables displaced by steps of all sizes, as in TuRBO (Eriksson et al., NeurIPS 2019);
    the others are uniform in the box.
    """

    n_best: int = 160
    n_others: int = 96
    n_candidates: int = 512
    moved: int = 20
    """Mean number of displaced variables of a candidate."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        unit, d = history.to_unit_box(bounds), len(bounds)
        if len(unit) < 2:
            return map_to_box(rng.random((n, d)), bounds)
        order = np.argsort(-history.merits, kind="stable")
        others = rng.permutation(order[self.n_best :])[: self.n_others]
        rows = np.concatenate([order[: self.n_best], others])
        kernel = ConstantKernel() * Matern(0.3 * np.sqrt(d), (0.01, 30), nu=2.5)
        process = GaussianProcessRegressor(
            kernel + WhiteKernel(1e-3, (1e-6, 1.0)), normalize_y=True, random_state=0
        )
        with warnings.catch_warnings():
            # a length scale at the end of its range is acceptable
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(unit[rows], history.merits[rows])
            candidates = self._candidates(unit[order[: max(n, 8)]], rng)
            mean, covariance = process.predict(candidates, return_cov=True)
        # Cholesky decomposition; sample_y of scikit-learn takes twenty times as long
        jitter = 1e-9 + 1e-6 * np.trace(covariance) / len(covariance)
        root = np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)))
        draws = mean[:, None] + root @ rng.standard_normal((len(candidates), n))
        return map_to_box(candidates[_first_each(draws)], bounds)

    def _candidates(self, best: Array, rng: np.random.Generator) -> Array:
        d = best.shape[1]
        parents = best[rng.integers(len(best), size=self.n_candidates)]
        moves = rng.random(parents.shape) < min(1.0, self.moved / d)
        size = 10 ** rng.uniform(-3.5, -0.5, (len(parents), 1))
        near = np.clip(parents + moves * size * rng.standard_normal(parents.shape), 0, 1)
        return np.concatenate([near, rng.random((self.n_candidates // 8, d))])


def _first_each(draws: Array) -> list[int]:
    """Of draws (m, n) the best row of each column that no column before has taken."""
    chosen: list[int] = []
    for column in draws.T:
        order = np.argsort(-column)
        chosen.append(next((int(row) for row in order if row not in chosen), int(order[0])))
    return chosen
