"""Assignment of the batches of a campaign to workers, and their results, in an Optuna study.

A batch is one Optuna trial: claimed by one worker and finished once, with its best merit as the
value of the trial and its points and predictions in an additional table. The storage is Optuna's
(in memory, SQLite, PostgreSQL or MySQL), so that Optuna's dashboard can open it. The batch of a
lost worker is claimed again under the same batch number, so that the same seed gives the same
campaign.
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
    """A batch claimed by this worker. As a context manager, it releases the batch on an error."""

    shared: SharedStudy
    trial: optuna.Trial
    batch: int
    """0, 1, 2 ..."""
    alive: Alive

    def finish(self, record: bytes, merit: float, formula: str) -> None:
        """Write the result of the batch, completely or not at all.

        The result is discarded if the worker was considered lost and another has its batch.
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
class LedgerState:
    """How far a campaign is."""

    batches_done: int
    workers: list[str]
    """Processes that are evaluating a batch."""
    best_merit: float | None
    """None before the first batch is done."""
    best_formula: str | None


@dataclass(frozen=True)
class Ledger:
    """The batches of one campaign."""

    shared: SharedStudy

    @classmethod
    def in_memory(cls) -> Ledger:
        """Create a ledger in memory, for one process."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return cls(SharedStudy(optuna.create_study(direction="maximize")))

    @classmethod
    def open(cls, url: str, name: str, request: Mapping[str, object]) -> Ledger:
        """Open the campaign ``name`` in the storage at the SQLAlchemy ``url``; create it if it is
        new.

        ``request`` contains everything that the results depend on. Raises GoalError if the
        campaign was started with another request, InputError if the storage cannot be used.
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
                f'the campaign "{name}" was started with another goal, other settings or other '
                "models; choose another name, or join it with `matlode work`."
            )
        return cls(shared)

    @classmethod
    def join(cls, url: str, name: str) -> tuple[Ledger, dict[str, Any]]:
        """Open an existing campaign and read its request; raises InputError if there is none."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        shared = SharedStudy.join(url, name)
        if _REQUEST not in shared.study.user_attrs:
            raise InputError(
                f'the study "{name}" in {shown(url)} is not a campaign of matlode; '
                "check the storage and the name."
            )
        return cls(shared), json.loads(shared.study.user_attrs[_REQUEST])

    def close(self) -> None:
        """Close the connections to the storage."""
        self.shared.close()

    def release_all(self) -> None:
        """Release every claimed batch; only for a storage that no other worker uses."""
        self.shared.queue_running()

    def claim(self, n_batches: int) -> Claim | None:
        """Claim a batch that is neither finished nor claimed; None if all are finished.

        Waits while other workers evaluate the last batches, and claims those of lost workers.
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
                    except optuna.exceptions.UpdateFinishedTrialError:  # considered lost meanwhile
                        alive.stop()
                        continue
                    return Claim(shared, trial, batch, alive)
                # another worker claimed the last free batch at the same time
                shared.study.tell(trial.number, state=state_of("PRUNED"))
            time.sleep(POLL_S)

    def finished(self, *, except_for: Container[int] = ()) -> Iterator[tuple[int, bytes]]:
        """Number and record of each finished batch, without the batches ``except_for``."""
        trials = self.shared.trials()
        batches = places(trials)
        first: dict[int, optuna.trial.FrozenTrial] = {}
        # if a batch was finished twice, all workers use the first result
        done = in_state(trials, "COMPLETE")
        for trial in sorted(done, key=lambda t: t.datetime_complete or datetime.max):
            if batches[trial.number] not in except_for:
                first.setdefault(batches[trial.number], trial)
        for batch, trial in first.items():
            yield batch, self.shared.kept(trial)

    def standing(self) -> LedgerState:
        """Number of finished batches, active workers, and the best merit and formula so far."""
        trials = self.shared.trials()
        done, running = in_state(trials, "COMPLETE"), in_state(trials, "RUNNING")
        best = max(done, key=lambda t: float(t.value or 0.0), default=None)
        return LedgerState(
            batches_done=len(done),
            workers=sorted(str(t.user_attrs.get(_WORKER, "?")) for t in running),
            best_merit=None if best is None else best.value,
            best_formula=None if best is None else best.user_attrs["best_formula"],
        )
