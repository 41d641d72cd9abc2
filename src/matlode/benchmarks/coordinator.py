"""Benchmark of the coordinator: how many workers one process can keep busy, by simulation."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, TypeVarTuple, final

import numpy as np

from matlode.benchmarks.scale import LightEvaluator
from matlode.benchmarks.tables import Row, Tables
from matlode.engine import Engine, Shared, Task
from matlode.optimisation.campaign import BLOCK, GENERATION, Campaign, evaluate_proposals
from matlode.optimisation.goal import Goal, Objective, Scale
from matlode.optimisation.samplers import SAMPLERS
from matlode.optimisation.valuation import Valuation
from matlode.progress import Progress, silent

Result = TypeVar("Result")
Value = TypeVar("Value")
Arguments = TypeVarTuple("Arguments")

WORKERS = (1, 10, 100, 1000)
SECONDS_PER_TRIAL = (1e-3, 1e-2, 0.1, 1.0, 10.0)
N_KNOWN = 6000
N_GENERATIONS = 4
SIZE = 88
"""Latent variables."""


@final
class SimulatedEngine(Engine):
    """Computes in this process, and counts the time that ``n_workers`` would have taken.

    The coordinator's time is the processor time of this process without the calls; a call of
    ``evaluate_proposals`` takes ``seconds``, any other one nothing. The time for sending is not
    simulated.
    """

    n_workers = 0

    def __init__(self, n_workers: int, seconds: float) -> None:
        self.n_workers = n_workers
        self._seconds: dict[object, float] = {evaluate_proposals: seconds}
        self._free_at_s = [0.0] * n_workers
        self._began_s = time.process_time()

    @property
    def now_s(self) -> float:
        """Simulated time."""
        return time.process_time() - self._began_s

    def submit(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Task[Result]:
        """See Engine."""
        start_s = self.now_s
        found = function(*arguments)
        self._began_s += self.now_s - start_s  # calls take no time of the coordinator
        end_s = max(start_s, heapq.heappop(self._free_at_s)) + self._seconds.get(function, 0.0)
        heapq.heappush(self._free_at_s, end_s)
        return Task(partial(self._wait, end_s, found))

    def share(self, value: Value) -> Shared[Value]:
        """See Engine."""
        return lambda: value

    def close(self) -> None:
        """See Engine."""

    def _wait(self, end_s: float, found: Result) -> Result:
        self._began_s -= max(0.0, end_s - self.now_s)
        return found


def bench_coordinator(
    *,
    workers: Sequence[int] = WORKERS,
    seconds: Sequence[float] = SECONDS_PER_TRIAL,
    progress: Progress = silent,
) -> Tables:
    """Efficiency of campaigns without models, by number of workers and time per trial.

    One generation gives every worker a block. The efficiency is the time of the trials, divided by
    the number of workers and by the simulated time of the campaign.
    """
    rows: list[Row] = []
    for done, n in enumerate(workers):
        progress("coordinator", done, len(workers), f"{n} workers")
        generation = max(GENERATION, BLOCK * n)
        shares = {f"{t:g} s": _measure_efficiency(n, t, generation) for t in seconds}
        rows.append({"workers": n, "generation": generation, **shares})
    progress("coordinator", len(workers), len(workers))
    return {"share of the time in which workers work, by time per trial": rows}


def _measure_efficiency(n_workers: int, seconds_per_trial: float, generation: int) -> float:
    objectives = tuple(Objective(name, "maximise") for name in ("bulk_modulus", "shear_modulus"))
    goal = Goal(objectives=objectives, ranges=(), preferences={}, allowed=("C",))
    evaluator = LightEvaluator(Valuation(goal, Scale({}, {}, frozenset())))
    bounds = np.array(SIZE * [[-2.0, 2.0]])
    points = np.random.default_rng(0).uniform(-2, 2, (N_KNOWN, SIZE)).astype(np.float32)
    known = evaluator.evaluate_points(points)
    campaign = Campaign(evaluator, bounds, SAMPLERS["tpe"], generation=generation)
    simulated = SimulatedEngine(n_workers, BLOCK * seconds_per_trial)
    n_trials = N_GENERATIONS * generation
    campaign.run(known, n_trials, 0, engine=simulated)
    return round(n_trials * seconds_per_trial / n_workers / simulated.now_s, 3)
