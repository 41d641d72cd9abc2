"""Who does which batch of a campaign, and what came out: an Optuna study.

A batch is one Optuna trial: claimed by one worker, finished once, its merit the trial's value,
its points and predictions in a table beside Optuna's. The storage is Optuna's, in memory, SQLite,
PostgreSQL or MySQL, and its dashboard can open it. What a dead worker had claimed is claimed
again: by its next batch number, so that the same seed goes the same way.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from matlode.errors import GoalError, InputError
from matlode.optimisation.studies import Alive, SharedStudy, in_state, places, shown, state_of

if TYPE_CHECKING:
    import optuna

POLL_S = 0.2
_REQUEST = "request"
_WORKER = "worker"


@dataclass(frozen=True)
class Claim:
    """A batch that this worker is to do; as a context, left by an error, others may do it."""

    shared: SharedStudy
    trial: optuna.Trial
    batch: int
    """0, 1, 2 ..."""
    alive: Alive

    def finish(self, record: bytes, merit: float, formula: str) -> None:
        """Write what came out: all of it, or, if the worker dies before, nothing.

        Of a worker that was given up for dead nothing is taken: another has its batch.
        """
        import optuna

        self.alive.stop()
        try:
            self.shared.keep(self.trial, record)
            self.trial.set_user_attr("best_formula", formula)
            self.shared.study.tell(self.trial, merit)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            if not self.shared.is_given_up(self.trial):
                raise

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.alive.stop()
        if kind is not None:
            self.shared.give_up(self.trial)


@dataclass(frozen=True)
class Ledger:
    """The batches of one campaign."""

    shared: SharedStudy

    @classmethod
    def in_memory(cls) -> Ledger:
        """One that nobody shares and nothing survives."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return cls(SharedStudy(optuna.create_study(direction="maximize")))

    @classmethod
    def open(cls, url: str, name: str, request: Mapping[str, Any]) -> Ledger:
        """The campaign ``name`` in the storage at ``url`` (SQLAlchemy's form), made if it is new.

        ``request`` is all that decides its course. Raises GoalError if the campaign was begun
        with another one, InputError if the storage cannot be used.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        shared = SharedStudy.open(url, name, keeps_records=True, direction="maximize")
        text = json.dumps(request, sort_keys=True)
        begun = shared.study.user_attrs.get(_REQUEST)
        if begun is None:
            shared.study.set_user_attr(_REQUEST, text)
        elif begun != text:
            raise GoalError(
                f'the campaign "{name}" was begun with another goal, other settings or other '
                "models; give it another name, or join it with `matlode work`."
            )
        return cls(shared)

    @classmethod
    def join(cls, url: str, name: str) -> tuple[Ledger, dict[str, Any]]:
        """A campaign that somebody began, and its request; raises InputError if there is none."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        shared = SharedStudy.join(url, name)
        if _REQUEST not in shared.study.user_attrs:
            raise InputError(f'"{name}" in {shown(url)} is no campaign of matlode.')
        return cls(shared), json.loads(shared.study.user_attrs[_REQUEST])

    def close(self) -> None:
        """Give the connections back."""
        self.shared.close()

    def release_all(self) -> None:
        """Give back every claim: for a storage that no other worker has."""
        self.shared.queue_running()

    def claim(self, n_batches: int) -> Claim | None:
        """A batch that nobody has done or does, None when all ``n_batches`` are finished.

        Waits while other workers do the last ones: if one dies, its batch is claimed.
        """
        import optuna

        shared = self.shared
        while True:
            shared.queue_lost()
            trials = shared.trials()
            batches = places(trials)
            if len({batches[t.number] for t in in_state(trials, "COMPLETE")}) >= n_batches:
                return None
            if in_state(trials, "WAITING") or len(set(batches.values())) < n_batches:
                trial = shared.ask()
                batch = places(shared.trials())[trial.number]
                if batch < n_batches:
                    alive = Alive(shared, trial)
                    try:
                        trial.set_user_attr(_WORKER, f"{platform.node()} {os.getpid()}")
                    except optuna.exceptions.UpdateFinishedTrialError:  # given up meanwhile
                        alive.stop()
                        continue
                    return Claim(shared, trial, batch, alive)
                # two workers saw the last free batch
                shared.study.tell(trial.number, state=state_of("PRUNED"))
            time.sleep(POLL_S)

    def finished(self, *, except_for: Container[int] = ()) -> Iterator[tuple[int, bytes]]:
        """Batch and record of each that is done, without the batches ``except_for``."""
        trials = self.shared.trials()
        batches = places(trials)
        first: dict[int, optuna.trial.FrozenTrial] = {}
        # should a batch have been done twice, the first counts, for everybody
        done = in_state(trials, "COMPLETE")
        for trial in sorted(done, key=lambda t: t.datetime_complete or datetime.max):
            if batches[trial.number] not in except_for:
                first.setdefault(batches[trial.number], trial)
        for batch, trial in first.items():
            yield batch, self.shared.kept(trial)

    def standing(self) -> dict[str, Any]:
        """How many batches are done, who works, and the best so far."""
        trials = self.shared.trials()
        done, running = in_state(trials, "COMPLETE"), in_state(trials, "RUNNING")
        best = max(done, key=lambda t: float(t.value or 0.0), default=None)
        return {
            "batches_done": len(done),
            "workers": sorted(str(t.user_attrs.get(_WORKER, "?")) for t in running),
            "best_merit": None if best is None else best.value,
            "best_formula": None if best is None else best.user_attrs["best_formula"],
        }
