"""A search: generations of proposals, each depending on the trials of those before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.batches import split_range
from matlode.engine import Engine, Here, Shared, Task
from matlode.latent.forward import one_thread
from matlode.optimisation.evaluators import Evaluator
from matlode.optimisation.goal import Goal
from matlode.optimisation.proposals import Draft, Proposals, Ranking
from matlode.optimisation.record import Record
from matlode.optimisation.sampler import History, Sampler
from matlode.optimisation.trials import Trials, TrialStore
from matlode.optimisation.variations import Variations
from matlode.progress import Progress, silent

BLOCK = 64
"""Proposals that one worker evaluates at once: decoding and prediction are most efficient in
blocks, whose size must not depend on the number of workers (matrix products of other shapes have
other last digits)."""
GENERATION = 512
"""Proposals of a generation, by default."""


def count_blocks(n_trials: int) -> int:
    """Number of blocks of a campaign."""
    return -(-n_trials // BLOCK)


@dataclass(frozen=True)
class Campaign:
    """Searches the latent space for a goal.

    With several objectives, every block draws new random weights, as in ParEGO (Knowles 2006), so
    that the search explores the Pareto front instead of one weighted sum.
    """

    evaluator: Evaluator
    bounds: NDArray[np.float64]
    """(d, 2), box of the latent points."""
    sampler: Sampler
    variations: Variations | None = None
    """Proposes a part of the trials; None: all are latent points."""
    generation: int = GENERATION
    """Proposals that depend on the same trials; rounded up to whole blocks."""

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
        engine: Engine | None = None,
        record: Record | None = None,
        progress: Progress = silent,
    ) -> Trials:
        """Evaluate ``n_trials`` proposals after the ``known`` materials.

        The workers of the ``engine`` (default: this process) rank and evaluate; proposals are
        made and chosen here, and finished blocks are written to the ``record`` (default: one in
        memory). Blocks that it holds already are not evaluated again. Returns all trials, the
        known materials first and then in order of the blocks. A block has fewer trials than
        proposals if some of these lead to no crystal.
        """
        record, engine = record or Record.in_memory(), engine or Here()
        evaluator = engine.share(self.evaluator)
        store = TrialStore(known, n_trials, BLOCK)
        finished = record.list_finished()
        n_blocks = count_blocks(n_trials)
        best = -np.inf
        for generation in split_range(n_blocks, count_blocks(self.generation)):
            blocks = range(n_blocks)[generation]
            open_blocks = [block for block in blocks if block not in finished]
            results = self._evaluate(
                store, range(blocks.start, max(open_blocks, default=-1) + 1), open_blocks,
                len(known), n_trials, seed, evaluator, engine,
            )  # fmt: skip
            done = {}
            for block, found in zip(open_blocks, results, strict=True):
                merits = found.merits(self.goal)
                at = int(merits.argmax()) if len(merits) else None
                record.write(
                    block,
                    found.packed(),
                    None if at is None else float(merits[at]),
                    "" if at is None else str(found.formulas[at]),
                )
                done[block] = found
                best = max(best, float(merits.max(initial=-np.inf)))
                progress("search", block * BLOCK, n_trials, f"best merit {best:.2f}")
            for block in blocks:
                if block not in done:
                    done[block] = Trials.unpacked(record.read(block), known)
                store.add(block, done[block])
        progress("search", n_trials, n_trials)
        return store.trials()

    def _evaluate(
        self,
        store: TrialStore,
        blocks: range,
        open_blocks: list[int],
        n_known: int,
        n_trials: int,
        seed: int,
        evaluator: Shared[Evaluator],
        engine: Engine,
    ) -> Iterator[Trials]:
        """Yield the trials of the open blocks, in order. The formulas of a block depend on those
        that the blocks before it chose, so these are proposed again after an interruption."""
        trials, drafts, rankings = store.trials(), [], []
        for block in blocks:
            n = min(BLOCK, n_trials - block * BLOCK)
            rng = np.random.default_rng([seed, block])
            drafts.append(self._draft(trials, store.formulas, n_known, block * BLOCK, n, rng))
            rankings.append(engine.submit(rank_draft, evaluator, drafts[-1]))
        seen = set(store.formulas)
        tasks: list[Task[Trials]] = []
        for block, draft, ranking in zip(blocks, drafts, engine.gather(rankings), strict=True):
            proposals = self.evaluator.choose(draft, ranking, seen)
            seen.update(proposals.formulas or ())
            if block in open_blocks:
                tasks.append(engine.submit(evaluate_proposals, evaluator, proposals))
        return engine.gather(tasks)

    def _draft(
        self,
        trials: Trials,
        seen: set[str],
        n_known: int,
        first: int,
        n: int,
        rng: np.random.Generator,
    ) -> Draft:
        """Draft the proposals ``first`` to ``first + n``; ``seen`` are the formulas of the
        ``trials``."""
        if self.variations is None:
            return Draft(self.suggest(trials, n_known, n, rng))
        n_opening, n_varied = self.variations.count(first, n)
        opening = self.variations.opening[first : first + n_opening]
        varied = self.variations.vary(n_varied, trials, seen, rng)
        n_points = n - n_opening - n_varied
        size = len(self.bounds)
        points = np.zeros((0, size), dtype=np.float32)
        if n_points:
            points = self.suggest(trials, n_known, n_points, rng)
        return Draft(points, opening, tuple(varied), n_varied)


def rank_draft(evaluator: Shared[Evaluator], draft: Draft) -> Ranking:
    """Rank a draft, in a worker."""
    with one_thread():
        return evaluator().rank(draft)


def evaluate_proposals(evaluator: Shared[Evaluator], proposals: Proposals) -> Trials:
    """Evaluate proposals, in a worker."""
    with one_thread():
        return evaluator().evaluate(proposals)
