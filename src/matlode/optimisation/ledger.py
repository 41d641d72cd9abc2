"""Who does which batch of a campaign, and what came out: an Optuna study.

A batch is one Optuna trial: claimed by one worker, finished once, its merit the trial's value,
its points and predictions in an attribute. The storage is Optuna's, in memory, SQLite,
PostgreSQL or MySQL, and its dashboard can open it. What a dead worker had claimed is claimed
again: by its next batch number, so that the same seed goes the same way.
"""

from __future__ import annotations

import json
import os
import platform
import re
import threading
import time
import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from matlode.errors import GoalError, InputError

if TYPE_CHECKING:
    import optuna

HEARTBEAT_S = 5
"""Workers are heard of before and after each batch."""
GRACE_S = 60
"""A worker that was not heard of for so long is dead: a batch takes about a second."""
POLL_S = 0.2
_RECORD = "trials"
_REQUEST = "request"
_WORKER = "worker"
_FIRST = "failed_trial"
"""Optuna's own name for the number of the trial that is done again."""


@dataclass(frozen=True)
class Claim:
    """A batch that this worker is to do."""

    study: optuna.Study
    trial: optuna.Trial
    batch: int
    """0, 1, 2 ..."""
    alive: Alive

    def finish(self, record: Mapping[str, Any], merit: float, formula: str) -> None:
        """Write what came out: all of it, or, if the worker dies before, nothing.

        Of a worker that was given up for dead nothing is taken: another has its batch.
        """
        import optuna

        self.alive.stop()
        try:
            self.trial.set_user_attr(_RECORD, dict(record))
            self.trial.set_user_attr("best_formula", formula)
            self.study.tell(self.trial, merit)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            if self.study.get_trials(deepcopy=False)[self.trial.number].state.name != "FAIL":
                raise


class Alive(threading.Thread):
    """Tells the storage that a worker lives, every HEARTBEAT_S until it stops."""

    def __init__(self, storage: optuna.storages.RDBStorage | None, trial_id: int) -> None:
        super().__init__(daemon=True)
        self._storage, self._trial_id = storage, trial_id
        self._over = threading.Event()
        if storage is not None:
            storage.record_heartbeat(trial_id)
            self.start()

    def run(self) -> None:
        """See threading.Thread."""
        while not self._over.wait(HEARTBEAT_S):
            assert self._storage is not None
            self._storage.record_heartbeat(self._trial_id)

    def stop(self) -> None:
        """No more of it."""
        self._over.set()
        if self.is_alive():
            self.join()


@dataclass(frozen=True)
class Ledger:
    """The batches of one campaign."""

    study: optuna.Study
    storage: optuna.storages.RDBStorage | None = None
    """None: in memory."""

    @classmethod
    def in_memory(cls) -> Ledger:
        """One that nobody shares and nothing survives."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return cls(optuna.create_study(direction="maximize"))

    @classmethod
    def open(cls, url: str, name: str, request: Mapping[str, Any]) -> Ledger:
        """The campaign ``name`` in the storage at ``url`` (SQLAlchemy's form), made if it is new.

        ``request`` is all that decides its course. Raises GoalError if the campaign was begun
        with another one, InputError if the storage cannot be used.
        """
        ledger = _connect(url, name, must_exist=False)
        text = json.dumps(request, sort_keys=True)
        begun = ledger.study.user_attrs.get(_REQUEST)
        if begun is None:
            ledger.study.set_user_attr(_REQUEST, text)
        elif begun != text:
            raise GoalError(
                f'the campaign "{name}" was begun with another goal, other settings or other '
                "models; give it another name, or join it with `matlode work`."
            )
        return ledger

    @classmethod
    def join(cls, url: str, name: str) -> tuple[Ledger, dict[str, Any]]:
        """A campaign that somebody began, and its request; raises InputError if there is none."""
        ledger = _connect(url, name, must_exist=True)
        if _REQUEST not in ledger.study.user_attrs:
            raise InputError(f'"{name}" in {without_password(url)} is no campaign of matlode.')
        return ledger, json.loads(ledger.study.user_attrs[_REQUEST])

    def close(self) -> None:
        """Give the connections back."""
        if self.storage is not None:
            self.storage.remove_session()
            self.storage.engine.dispose()

    def release_all(self) -> None:
        """Give back every claim: for a storage that no other worker has."""
        for trial in self._trials("RUNNING"):
            self._release(trial)

    def claim(self, n_batches: int) -> Claim | None:
        """A batch that nobody has done or does, None when all ``n_batches`` are finished.

        Waits while other workers do the last ones: if one dies, its batch is claimed.
        """
        while True:
            self._release_dead()
            batches = self._batches()
            if len({batches[t.number] for t in self._trials("COMPLETE")}) >= n_batches:
                return None
            if self._trials("WAITING") or len(set(batches.values())) < n_batches:
                with _heartbeats_are_no_news():
                    trial = self.study.ask()
                alive = Alive(self.storage, trial._trial_id)
                trial.set_user_attr(_WORKER, f"{trial.number}: {platform.node()} {os.getpid()}")
                batch = self._batches()[trial.number]
                if batch < n_batches:
                    return Claim(self.study, trial, batch, alive)
                # two workers saw the last free batch
                alive.stop()
                self.study.tell(trial.number, state=_state("FAIL"))
            time.sleep(POLL_S)

    def finished(self, *, except_for: Container[int] = ()) -> dict[int, dict[str, Any]]:
        """batch → record of those that are done, without the batches ``except_for``."""
        batches = self._batches()
        return {
            batches[trial.number]: trial.user_attrs[_RECORD]
            for trial in self._trials("COMPLETE")
            if batches[trial.number] not in except_for
        }

    def standing(self) -> dict[str, Any]:
        """How many batches are done, who works, and the best so far."""
        done = self._trials("COMPLETE")
        best = max(done, key=lambda t: float(t.value or 0.0), default=None)
        return {
            "batches_done": len(done),
            "workers": sorted(str(t.user_attrs.get(_WORKER, "?")) for t in self._trials("RUNNING")),
            "best_merit": None if best is None else best.value,
            "best_formula": None if best is None else best.user_attrs["best_formula"],
        }

    def _release_dead(self) -> None:
        """Give back what dead workers had claimed."""
        import optuna

        if self.storage is None:
            return
        with _heartbeats_are_no_news():
            optuna.storages.fail_stale_trials(self.study)
        for trial in self._trials("RUNNING"):
            # dead before its first heartbeat
            started = trial.datetime_start or datetime.now()
            silent = not str(trial.user_attrs.get(_WORKER)).startswith(f"{trial.number}:")
            if silent and abs(datetime.now() - started) > timedelta(seconds=GRACE_S):
                self._release(trial)

    def _release(self, trial: optuna.trial.FrozenTrial) -> None:
        import optuna

        try:
            self.study.tell(trial.number, state=_state("FAIL"))
        except ValueError:  # somebody else was faster
            return
        again = optuna.create_trial(
            state=_state("WAITING"), system_attrs={_FIRST: _first_number(trial)}
        )
        self.study.add_trial(again)

    def _trials(self, state: str) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(_state(state),))

    def _batches(self) -> dict[int, int]:
        """Optuna's number of each trial → its batch; one that is done again has that of the
        first."""
        trials = self.study.get_trials(deepcopy=False)
        firsts = [t.number for t in trials if _FIRST not in t.system_attrs]
        batches = {number: batch for batch, number in enumerate(firsts)}
        return {t.number: batches[_first_number(t)] for t in trials}


@contextmanager
def _heartbeats_are_no_news() -> Iterator[None]:
    """Optuna has called them experimental since its version 2.8, and does not expect them outside
    of its own loop."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        yield


def _state(name: str) -> optuna.trial.TrialState:
    import optuna

    return optuna.trial.TrialState[name]


def _first_number(trial: optuna.trial.FrozenTrial) -> int:
    return int(trial.system_attrs.get(_FIRST, trial.number))


def _connect(url: str, name: str, *, must_exist: bool) -> Ledger:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # several processes may write to one SQLite file: wait for each other
    options = {"connect_args": {"timeout": GRACE_S}} if url.startswith("sqlite") else {}
    try:
        with _heartbeats_are_no_news():
            storage = optuna.storages.RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT_S,
                grace_period=GRACE_S,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )
        if must_exist:
            study = optuna.load_study(study_name=name, storage=storage)
        else:
            study = optuna.create_study(
                study_name=name, storage=storage, direction="maximize", load_if_exists=True
            )
    except KeyError as error:
        raise InputError(f'no campaign "{name}" in {without_password(url)}.') from error
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = without_password(str(error).splitlines()[0])
        raise InputError(
            f"the storage {without_password(url)} cannot be used ({reason}); wanted is a URL "
            "such as sqlite:///campaign.db or postgresql+psycopg://user@host/name."
        ) from error
    return Ledger(study, storage)


@contextmanager
def usable_storage(url: str) -> Iterator[None]:
    """What a database refuses in the block (it is damaged, its disk is full, its server went away)
    is an InputError without passwords."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = without_password(str(cause).partition("\n")[0])
        raise InputError(
            f"the storage {without_password(url)} failed ({reason}); once it is in order, "
            "`matlode resume` goes on."
        ) from error


def without_password(text: str) -> str:
    """Text in which passwords of URLs are stars."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
