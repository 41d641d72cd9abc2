"""Optuna studies shared by several processes, each of which may be lost.

Work has places 0, 1, 2, ... The unfinished work of a lost process is repeated at its place. Random
numbers derived from the place are therefore those of an uninterrupted study.
"""

from __future__ import annotations

import random
import re
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from matlode.errors import InputError

if TYPE_CHECKING:
    import optuna
    import sqlalchemy

HEARTBEAT_S = 5
"""Interval between the heartbeats of a process that works on a trial."""
GRACE_S = 60
"""Time without a heartbeat after which a process is considered lost."""
OPENING_ATTEMPTS = 3
"""If two processes create the tables of a new database at the same time, one of them fails and
finds the tables at its next attempt."""
MAX_RECORD_BYTES = 2**24 - 1
"""Largest record of a trial, in MySQL."""
_FIRST = "failed_trial"
"""Optuna's name of the system attribute with the number of the repeated trial."""


@dataclass(frozen=True)
class Retries:
    """Rules for repeating lost trials; a callback of Optuna's storages."""

    at_most: int | None = None
    """Largest number of repetitions; None: no limit."""
    kept: tuple[str, ...] = ()
    """User attributes that a repeated trial copies from the first."""

    def __call__(self, study: optuna.Study, lost: optuna.trial.FrozenTrial) -> None:
        """Repeat a lost trial; called by the process that marked it as failed."""
        trials, first = study.get_trials(deepcopy=False), _first_number(lost)
        if first in self.missing(trials):
            self.queue(study, trials[first])

    def missing(self, trials: Sequence[optuna.trial.FrozenTrial]) -> list[int]:
        """First trial numbers of failed work that is neither queued, running nor finished."""
        failures: dict[int, int] = {}
        held = set()
        for trial in trials:
            first = _first_number(trial)
            if trial.state.name == "FAIL":
                failures[first] = failures.get(first, 0) + 1
            else:
                held.add(first)
        limit = float("inf") if self.at_most is None else self.at_most
        return [first for first, n in failures.items() if first not in held and n <= limit]

    def queue(self, study: optuna.Study, first: optuna.trial.FrozenTrial) -> None:
        """Queue a repetition of the ``first`` trial."""
        import optuna

        attributes: dict[str, object] = {_FIRST: first.number}
        if "fixed_params" in first.system_attrs:  # set by enqueue_trial
            attributes["fixed_params"] = first.system_attrs["fixed_params"]
        kept = {name: first.user_attrs[name] for name in self.kept if name in first.user_attrs}
        again = optuna.create_trial(
            state=state_of("WAITING"), user_attrs=kept, system_attrs=attributes
        )
        study.add_trial(again)


@dataclass(frozen=True)
class SharedStudy:
    """A study with the repetition of lost trials and with records of finished ones."""

    study: optuna.Study
    storage: optuna.storages.RDBStorage | None = None
    """None: in memory, where no worker can be lost."""
    retries: Retries = Retries()
    _met: set[int] = field(default_factory=set)
    """Numbers of trials that were seen running."""
    _due: dict[int, float] = field(default_factory=dict)
    """First number of failed work that is not queued → time at which this process queues it."""
    _records: dict[int, bytes] = field(default_factory=dict)
    """Trial id → record, for a study in memory."""

    @classmethod
    def open(
        cls,
        url: str,
        name: str,
        *,
        retries: Retries | None = None,
        keeps_records: bool = False,
        **options: Any,
    ) -> SharedStudy:
        """Open the study ``name`` in the database at the SQLAlchemy ``url``; create a new one if
        there is none.

        ``keeps_records`` creates the table for ``keep``. ``options`` are passed to
        optuna.create_study. Raises InputError, without passwords, if the database cannot be
        used.
        """
        import optuna

        retries = retries or Retries()
        with _ignore_heartbeat_warnings():
            storage = _storage(url, retries, keeps_records=keeps_records)
            study = optuna.create_study(
                study_name=name, storage=storage, load_if_exists=True, **options
            )
        return cls(study, storage, retries)

    @classmethod
    def join(cls, url: str, name: str) -> SharedStudy:
        """Open an existing study; raises InputError if there is none."""
        import optuna

        with _ignore_heartbeat_warnings():
            storage = _storage(url, Retries())
            try:
                return cls(optuna.load_study(study_name=name, storage=storage), storage)
            except KeyError:
                raise InputError(f'no study "{name}" in {shown(url)}.') from None

    def close(self) -> None:
        """Close the connections to the database."""
        if self.storage is not None:
            self.storage.remove_session()
            self.storage.engine.dispose()

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials, in order of their numbers; read-only."""
        return self.study.get_trials(deepcopy=False)

    def ask(self) -> optuna.Trial:
        """Start the next trial; repetitions of lost ones come first."""
        with _ignore_heartbeat_warnings():
            return self.study.ask()

    def give_up(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> None:
        """Mark a trial as failed and queue its repetition, unless it has ended."""
        import optuna

        try:
            self.study._storage.set_trial_state_values(trial._trial_id, state_of("FAIL"))
        except optuna.exceptions.UpdateFinishedTrialError:
            return
        self.retries(self.study, self.trials()[trial.number])

    def keep(self, trial: optuna.Trial, record: bytes) -> None:
        """Write the record of a trial to a separate table; Optuna would keep attributes in memory
        for as long as the study is open."""
        if self.storage is None:
            self._records[trial._trial_id] = record
            return
        table, trial_id = _records_table(), trial._trial_id
        with self.storage.engine.begin() as connection:
            # SQLite reuses the numbers of deleted studies
            connection.execute(table.delete().where(table.c.trial_id == trial_id))
            connection.execute(table.insert().values(trial_id=trial_id, record=record))

    def kept(self, trial: optuna.trial.FrozenTrial) -> bytes:
        """The record of a finished trial; raises InputError if there is none."""
        record = self._records.get(trial._trial_id)
        if self.storage is not None:
            record = self._stored(trial._trial_id)
        if record is None:
            raise InputError(
                f"no record of trial {trial.number}: the database is damaged or from another "
                "version of matlode; start again under another name."
            )
        return record

    def _stored(self, trial_id: int) -> bytes | None:
        from sqlalchemy import inspect
        from sqlalchemy.exc import OperationalError, ProgrammingError

        assert self.storage is not None
        engine, table = self.storage.engine, _records_table()
        try:
            with engine.connect() as connection:
                row = connection.execute(table.select().where(table.c.trial_id == trial_id)).first()
        except (OperationalError, ProgrammingError):
            if inspect(engine).has_table(table.name):
                raise
            return None  # written by an earlier version
        return None if row is None else bytes(row.record)

    def is_given_up(self, trial: optuna.Trial) -> bool:
        """Whether another process considered the worker of this trial lost."""
        return self.trials()[trial.number].state.name == "FAIL"

    def queue_running(self) -> None:
        """Repeat all running trials; only for a database that no other process uses."""
        for trial in in_state(self.trials(), "RUNNING"):
            self.give_up(trial)
        trials = self.trials()
        for first in self.retries.missing(trials):
            self.retries.queue(self.study, trials[first])

    def queue_lost(self) -> None:
        """Repeat trials without a heartbeat for GRACE_S."""
        import optuna

        if self.storage is None:
            return
        with _ignore_heartbeat_warnings():
            optuna.storages.fail_stale_trials(self.study)
        trials = self.trials()
        for trial in in_state(trials, "RUNNING"):
            if trial.number not in self._met:
                # Optuna does not detect the loss of a process before its first heartbeat
                self.storage.record_heartbeat(trial._trial_id)
                self._met.add(trial.number)
        self._queue_unqueued(trials)

    def _queue_unqueued(self, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
        """Queue failed trials that were not queued because that process was lost as well."""
        now = time.monotonic()
        missing = self.retries.missing(trials)
        for first in [*self._due]:
            if first not in missing:
                del self._due[first]
        for first in missing:
            # random delay: all processes see it at the same time, one should act first
            wait = GRACE_S * random.uniform(1, 2)
            if now > self._due.setdefault(first, now + wait):
                self.retries.queue(self.study, trials[first])


class Alive(threading.Thread):
    """Thread that records a heartbeat of a trial every HEARTBEAT_S until it is stopped."""

    def __init__(self, shared: SharedStudy, trial: optuna.Trial) -> None:
        super().__init__(daemon=True)
        self._storage, self._trial_id = shared.storage, trial._trial_id
        self._over = threading.Event()
        if self._storage is not None:
            self._storage.record_heartbeat(self._trial_id)
            self.start()

    def run(self) -> None:
        """See threading.Thread."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        while not self._over.wait(HEARTBEAT_S):
            assert self._storage is not None
            with suppress(SQLAlchemyError, StorageInternalError):  # the next one may succeed
                self._storage.record_heartbeat(self._trial_id)

    def stop(self) -> None:
        """Stop the heartbeats."""
        self._over.set()
        if self.is_alive():
            self.join()


def in_state(
    trials: Sequence[optuna.trial.FrozenTrial], state: str
) -> list[optuna.trial.FrozenTrial]:
    """The trials in the Optuna state of this name."""
    return [trial for trial in trials if trial.state.name == state]


def places(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[int, int]:
    """Trial number → place of its work."""
    firsts = [t.number for t in trials if _FIRST not in t.system_attrs]
    place = {number: place for place, number in enumerate(firsts)}
    return {t.number: place[_first_number(t)] for t in trials}


def state_of(name: str) -> optuna.trial.TrialState:
    """The Optuna state of this name."""
    import optuna

    return optuna.trial.TrialState[name]


@contextmanager
def usable_storage(url: str) -> Iterator[None]:
    """Convert database errors in the block (such as a damaged file, a full disk or a lost server)
    to InputError without passwords."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        raise InputError(
            f"the storage {shown(url)} failed ({_reason(cause)}); once it works again, continue "
            "with the same command or `matlode resume`."
        ) from error


def shown(url: str) -> str:
    """The URL of a storage for printing, without user, password and options."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return "that was given"
    host = (parsed.host or "").rpartition("@")[2]  # a password may contain an @
    return f"{parsed.drivername}://{host}/{parsed.database or ''}"


def without_password(text: str) -> str:
    """Replace the passwords of URLs in a text by asterisks."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)


def _storage(
    url: str, retries: Retries, *, keeps_records: bool = False
) -> optuna.storages.RDBStorage:
    import optuna
    from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

    # several processes may write to one SQLite file and must wait for each other
    options = {"connect_args": {"timeout": GRACE_S}} if url.startswith("sqlite") else {}
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            storage = optuna.storages.RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT_S,
                grace_period=GRACE_S,
                heartbeat_stale_trial_callback=retries,
            )
            if keeps_records:
                _records_table().create(storage.engine, checkfirst=True)
            return storage
        except (SQLAlchemyError, ImportError, ValueError, LookupError) as error:
            others_table = isinstance(error, IntegrityError | ProgrammingError)
            if attempts_left and (others_table or "already exists" in str(error)):
                time.sleep(1)
                continue
            raise InputError(
                f"the storage {shown(url)} cannot be used ({_reason(error)}); expected a URL such "
                "as sqlite:///study.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, with "
                'the driver from `pip install "matlode[cluster]"`.'
            ) from None
    raise AssertionError  # the last attempt returns or raises


@cache
def _records_table() -> sqlalchemy.Table:
    from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table

    return Table(
        "matlode_records",
        MetaData(),
        Column("trial_id", Integer, primary_key=True, autoincrement=False),
        Column("record", LargeBinary(MAX_RECORD_BYTES), nullable=False),
    )


def _reason(error: BaseException) -> str:
    return without_password(str(error).partition("\n")[0])


@contextmanager
def _ignore_heartbeat_warnings() -> Iterator[None]:
    """Silence Optuna's warnings that heartbeats are experimental and not meant for use outside of
    its own loop."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        yield


def _first_number(trial: optuna.trial.FrozenTrial) -> int:
    return int(trial.system_attrs.get(_FIRST, trial.number))
