"""A campaign that costs nothing: no models, four dimensions; ledger and sampler are real."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from matlode.optimisation import studies
from matlode.optimisation.campaign import Campaign, Trials
from matlode.optimisation.goal import Goal, Objective, Scale
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.samplers import SAMPLERS

BOUNDS = np.array(4 * [[-1.0, 1.0]])
START = np.random.default_rng(0).uniform(-1, 1, (20, 4)).astype(np.float32)


class CheapCampaign(Campaign):
    """In place of models, a function of the point."""

    def evaluate(self, points: NDArray[np.floating]) -> Trials:
        """As Campaign."""
        points = np.asarray(points, dtype=np.float32)
        gains = -((points.astype(float) - 0.3) ** 2).sum(axis=1, keepdims=True)
        formulas = [f"C{1 + int(1e5 * abs(gain))}" for gain in gains[:, 0]]
        return Trials.of(points, formulas, gains, np.zeros((len(points), 0)), gains)


def cheap_campaign() -> CheapCampaign:
    """One whose every batch depends on those before."""
    objectives = (Objective("bulk_modulus", "maximise"),)
    goal = Goal(objectives=objectives, ranges=(), preferences={}, allowed=("C",))
    space = SimpleNamespace(bounds=BOUNDS)
    scale = Scale({}, {}, frozenset())
    return CheapCampaign(goal, space, None, scale, SAMPLERS["tpe"])


def work(url: str, n_trials: int, *, hangs: bool) -> None:
    """Be a worker of the campaign "shared"."""
    campaign = cheap_campaign()
    if hangs:

        def suggest(*_: object) -> None:
            print("claimed", flush=True)
            time.sleep(3600)

        CheapCampaign.suggest = suggest
    with closing(Ledger.join(url, "shared")[0]) as ledger:
        trials, n_known = campaign.run(START, n_trials, seed=0, ledger=ledger)
    print(len(trials) - n_known)


if __name__ == "__main__":
    storage, n, grace_s, how = sys.argv[1:]
    studies.HEARTBEAT_S, studies.GRACE_S = 1, int(grace_s)
    work(storage, int(n), hangs=how == "hangs")
