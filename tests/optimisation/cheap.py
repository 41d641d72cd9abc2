"""A campaign that costs nothing: no models, four dimensions; record and sampler are real."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Container
from contextlib import closing
from pathlib import Path

import numpy as np

from matlode.engine import Processes
from matlode.optimisation.campaign import BLOCK, Campaign
from matlode.optimisation.evaluators import Evaluator
from matlode.optimisation.goal import Goal, Objective, Scale
from matlode.optimisation.proposals import Draft, Proposals, Ranking
from matlode.optimisation.record import Record
from matlode.optimisation.samplers import SAMPLERS
from matlode.optimisation.trials import Trials
from matlode.optimisation.valuation import Valuation

BOUNDS = np.array(4 * [[-1.0, 1.0]])


class CheapEvaluator(Evaluator):
    """In place of models, a function of the point."""

    def __init__(self, *, pause_s: float = 0.0, killed_at: Path | None = None) -> None:
        objectives = (Objective("bulk_modulus", "maximise"),)
        goal = Goal(objectives=objectives, ranges=(), preferences={}, allowed=("C",))
        self.valuation = Valuation(goal, Scale({}, {}, frozenset()))
        self.pause_s = pause_s
        self.killed_at = killed_at
        """The worker is killed at the fourth evaluation of which this folder has notes."""

    def rank(self, draft: Draft) -> Ranking:
        """As Evaluator; formulas are those of the gains."""
        return Ranking([[formula] for formula in self._name(draft.points)], {})

    def choose(self, draft: Draft, ranking: Ranking, seen: Container[str]) -> Proposals:
        """As Evaluator; formulas may repeat, but depend on those before."""
        fresh = [choice not in seen for (choice,) in ranking.choices]
        formulas = tuple(choice for (choice,), is_new in zip(ranking.choices, fresh, strict=True)
                         if is_new)  # fmt: skip
        return Proposals(draft.points[fresh], formulas, np.zeros(sum(fresh), dtype=np.int8))

    def evaluate(self, proposals: Proposals) -> Trials:
        """As Evaluator."""
        time.sleep(self.pause_s)
        if self.killed_at is not None:
            (self.killed_at / str(time.monotonic_ns())).touch()
            if len(list(self.killed_at.iterdir())) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        points = proposals.points
        gains = -((points.astype(float) - 0.3) ** 2).sum(axis=1, keepdims=True)
        return Trials.of(points, proposals.formulas or (), gains, np.zeros((len(points), 0)), gains)

    @staticmethod
    def _name(points: np.ndarray) -> list[str]:
        gains = -((points.astype(float) - 0.3) ** 2).sum(axis=1)
        return [f"C{1 + int(1e5 * abs(gain))}" for gain in gains]


START = CheapEvaluator().evaluate_points(np.random.default_rng(0).uniform(-1, 1, (20, 4)))


def cheap_campaign(evaluator: Evaluator | None = None) -> Campaign:
    """One of two blocks per generation, whose every block depends on those before."""
    return Campaign(evaluator or CheapEvaluator(), BOUNDS, SAMPLERS["tpe"], generation=2 * BLOCK)


if __name__ == "__main__":
    url, n = sys.argv[1:]
    with closing(Record.open(url, "c", {})) as record, Processes(2) as engine:
        campaign = cheap_campaign(CheapEvaluator(pause_s=0.1))
        campaign.run(
            START, int(n), seed=1, engine=engine, record=record,
            progress=lambda *event: print(event[1], flush=True),
        )  # fmt: skip
