"""A search: batches of proposals, each depending on the trials before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.optimisation.evaluators import Evaluator
from matlode.optimisation.goal import Goal
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.sampler import History, Sampler
from matlode.optimisation.trials import Trials, TrialStore
from matlode.optimisation.variations import Variations
from matlode.progress import Progress, silent

BATCH = 64
"""Trials per batch: decoding and prediction are most efficient in batches."""
MAX_BATCHES = 2048
"""Largest number of batches. Long campaigns have larger batches instead, because each suggestion
takes all previous trials into account."""


def batch_size(n_trials: int) -> int:
    """Trials per batch in a campaign of ``n_trials``, a multiple of BATCH."""
    return BATCH * max(1, -(-n_trials // (BATCH * MAX_BATCHES)))


@dataclass(frozen=True)
class Campaign:
    """Searches the latent space for a goal.

    With several objectives, every batch draws new random weights, as in ParEGO (Knowles 2006), so
    that the search explores the Pareto front instead of one weighted sum.
    """

    evaluator: Evaluator
    bounds: NDArray[np.float64]
    """(d, 2), box of the latent points."""
    sampler: Sampler
    variations: Variations | None = None
    """Proposes a part of the trials; None: all are latent points."""

    @property
    def goal(self) -> Goal:
        """The goal of the search."""
        return self.evaluator.valuation.goal

    def suggest(
        self, trials: Trials, n_known: int, n: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Suggest the next n points (n, d); the first ``n_known`` trials are known materials."""
        weights = self.goal.weights
        if len(weights) > 1:
            weights = weights * rng.dirichlet(np.ones(len(weights)))
            weights = weights / weights.sum()
        merits = trials.merits(self.goal, weights)
        history = History(trials.points, merits, trials.systems, n_known)
        return self.sampler.suggest(history, self.bounds, n, rng).astype(np.float32)

    def run(
        self,
        known: Trials,
        n_trials: int,
        seed: int,
        *,
        ledger: Ledger | None = None,
        progress: Progress = silent,
    ) -> Trials:
        """Evaluate ``n_trials`` proposals after the ``known`` materials.

        Batches are claimed from the ``ledger`` (default: one in memory), which other workers may
        share; batches that it holds already are not repeated. Returns all trials, the known
        materials first and then in order of the batches. A batch has fewer trials than proposals
        if some of these lead to no crystal.
        """
        ledger = ledger or Ledger.in_memory()
        size = batch_size(n_trials)
        n_batches = -(-n_trials // size)
        store = TrialStore(known, n_trials, size)
        best = -np.inf
        while (claim := ledger.claim(n_batches)) is not None:
            with claim:
                store.add_finished(ledger)
                n = min(size, n_trials - claim.batch * size)
                rng = np.random.default_rng([seed, claim.batch])
                found = self._evaluate_batch(store, claim.batch * size, n, len(known), rng)
                merits = found.merits(self.goal)
                at = int(merits.argmax()) if len(merits) else None
                claim.finish(
                    found.packed(),
                    float("-inf") if at is None else float(merits[at]),
                    "" if at is None else str(found.formulas[at]),
                )
            best = max(best, float(merits.max(initial=-np.inf)))
            n_done = (len(store.batches) + 1) * size
            progress("search", n_done, n_batches * size, f"best merit {best:.2f}")
        store.add_finished(ledger)
        return store.trials()

    def _evaluate_batch(
        self, store: TrialStore, first: int, n: int, n_known: int, rng: np.random.Generator
    ) -> Trials:
        """Evaluate the proposals ``first`` to ``first + n``."""
        trials = store.trials()
        parts = []
        if self.variations is not None:
            parts.append(self.variations.evaluate(first, n, trials, store.formulas, rng))
            n -= sum(self.variations.count(first, n))
        if n:
            seen = store.formulas.union(*(part.formulas.tolist() for part in parts))
            points = self.suggest(trials, n_known, n, rng)
            parts.append(self.evaluator.evaluate_points(points, seen))
        return Trials.concatenate(parts)
