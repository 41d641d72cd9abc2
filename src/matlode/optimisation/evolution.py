"""Evolutionary samplers: CMA-ES and MAP-Elites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cmaes import CMA, get_warm_start_mgd

from matlode.optimisation.sampler import Array, History, Sampler, map_to_box, select_best_rows


@dataclass(frozen=True, kw_only=True)
class CMASampler(Sampler):
    """Covariance matrix adaptation (Hansen, arXiv:1604.00772), with the library ``cmaes``.

    It is initialised with the distribution of the best known points (Nomura et al., AAAI 2021).
    All generations are replayed for each batch, so that a suggestion depends on the history alone.
    """

    part: float = 0.1
    """Fraction of the known points, the best ones, that initialise the distribution."""
    start_width: float = 0.3
    """Initial standard deviation without known points, in widths of the box."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        d = len(bounds)
        unit, losses = history.to_unit_box(bounds), -history.merits
        population = max(n, 4 + int(3 * np.log(d)))
        seed = int(rng.integers(2**31))
        search = self._start(
            unit[: history.n_known], losses[: history.n_known], d, population, seed
        )
        n_replayed = history.n_known
        while n_replayed + population <= len(unit) and not search.should_stop():
            generation = slice(n_replayed, n_replayed + population)
            search.tell(list(zip(unit[generation], losses[generation], strict=True)))
            n_replayed += population
        return map_to_box(np.array([search.ask() for _ in range(n)]), bounds)

    def _start(self, known: Array, losses: Array, d: int, population: int, seed: int) -> CMA:
        mean, sigma, covariance = np.full(d, 0.5), self.start_width, np.eye(d)
        if len(known) * self.part >= 2:
            source = list(zip(known, losses, strict=True))
            mean, sigma, covariance = get_warm_start_mgd(source, gamma=self.part, alpha=0.1)
        return CMA(
            mean=np.clip(mean, 0, 1),
            sigma=sigma,
            cov=covariance,
            bounds=np.tile([0.0, 1.0], (d, 1)),
            population_size=population,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class EliteSampler(Sampler):
    """MAP-Elites (Mouret and Clune, arXiv:1504.04909) with the groups of the history as cells.

    The best point of each group is an elite. Offspring are elites displaced by a small isotropic
    step and along the line to another elite (Vassiliades and Mouret, GECCO 2018).
    """

    n_elites: int = 200
    """Number of best elites that have offspring."""
    width: float = 0.04
    """Standard deviation of the steps, in widths of the box."""
    line: float = 0.3
    """Standard deviation of the steps along the line, relative to the distance of the elites."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        elites = history.to_unit_box(
            bounds, select_best_rows(history, self.n_elites, max_per_group=1)
        )
        first, second = rng.integers(len(elites), size=(2, n))
        towards = elites[second] - elites[first]
        steps = self.width * rng.standard_normal(towards.shape)
        along = self.line * rng.standard_normal((n, 1)) * towards
        return map_to_box(elites[first] + steps + along, bounds)
