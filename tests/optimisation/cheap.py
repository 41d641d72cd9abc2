"""A campaign that costs nothing: no models, four dimensions; ledger and sampler are real."""

from __future__ import annotations

import sys
import time
from collections.abc import Container
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from matlode.optimisation import studies
from matlode.optimisation.campaign import Campaign
from matlode.optimisation.evaluators import Evaluator
from matlode.optimisation.goal import Goal, Objective, Scale
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.samplers import SAMPLERS
from matlode.optimisation.trials import Trials
from matlode.optimisation.valuation import Valuation

BOUNDS = np.array(4 * [[-1.0, 1.0]])


class CheapEvaluator(Evaluator):
    """In place of models, a function of the point."""

    def __init__(self) -> None:
        objectives = (Objective("bulk_modulus", "maximise"),)
        goal = Goal(objectives=objectives, ranges=(), preferences={}, allowed=("C",))
        self.valuation = Valuation(goal, Scale({}, {}, frozenset()))

    def evaluate_points(self, points: NDArray[np.floating], seen: Container[str] = ()) -> Trials:
        """As Evaluator."""
        points = np.asarray(points, dtype=np.float32)
        gains = -((points.astype(float) - 0.3) ** 2).sum(axis=1, keepdims=True)
        formulas = [f"C{1 + int(1e5 * abs(gain))}" for gain in gains[:, 0]]
        return Trials.of(points, formulas, gains, np.zeros((len(points), 0)), gains)


START = CheapEvaluator().evaluate_points(np.random.default_rng(0).uniform(-1, 1, (20, 4)))


def cheap_campaign() -> Campaign:
    """One whose every batch depends on those before."""
    return Campaign(CheapEvaluator(), BOUNDS, SAMPLERS["tpe"])


def work(url: str, n_trials: int, *, hangs: bool) -> None:
    """Be a worker of the campaign "shared"."""
    campaign = cheap_campaign()
    if hangs:

        def suggest(*_: object) -> None:
            print("claimed", flush=True)
            time.sleep(3600)

        Campaign.suggest = suggest
    with closing(Ledger.join(url, "shared")[0]) as ledger:
        trials = campaign.run(START, n_trials, seed=0, ledger=ledger)
    print(len(trials) - len(START))


if __name__ == "__main__":
    storage, n, grace_s, how = sys.argv[1:]
    studies.HEARTBEAT_S, studies.GRACE_S = 1, int(grace_s)
    work(storage, int(n), hangs=how == "hangs")
