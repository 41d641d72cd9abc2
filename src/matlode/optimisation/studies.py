"""Optuna studies that several processes share and any of them may die in.

Work has places 0, 1, 2 ...; what a dead process had begun is done again at its place, and whoever
draws chance from the place goes the way of a study that nothing interrupted.
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
"""How often a process says that it works on a trial."""
GRACE_S = 60
"""One that was silent for so long is dead."""
OPENING_ATTEMPTS = 3
"""Of two processes that make the tables of a new database at once, one fails and finds them
made a second later."""
MAX_RECORD_BYTES = 2**24 - 1
"""Of what a trial leaves behind, in MySQL."""
_FIRST = "failed_trial"
"""Optuna's own name for the number of the trial that is done again."""


@dataclass(frozen=True)
class Retries:
    """Which lost work is done again, and what stays with it; a callback of Optuna's storages."""

    at_most: int | None = None
    """What was lost more often is not done again."""
    kept: tuple[str, ...] = ()
    """User attributes that the trial done again has from the first."""

    def __call__(self, study: optuna.Study, lost: optuna.trial.FrozenTrial) -> None:
        """Called by the one process that has given up a trial."""
        trials, first = study.get_trials(deepcopy=False), _first_number(lost)
        if first in self.missing(trials):
            self.queue(study, trials[first])

    def missing(self, trials: Sequence[optuna.trial.FrozenTrial]) -> list[int]:
        """First numbers of work that failed and is neither queued nor running nor done."""
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
        """Have the work of the ``first`` trial done again."""
        import optuna

        attributes: dict[str, Any] = {_FIRST: first.number}
        if "fixed_params" in first.system_attrs:  # of a trial that enqueue_trial prescribed
            attributes["fixed_params"] = first.system_attrs["fixed_params"]
        kept = {name: first.user_attrs[name] for name in self.kept if name in first.user_attrs}
        again = optuna.create_trial(
            state=state_of("WAITING"), user_attrs=kept, system_attrs=attributes
        )
        study.add_trial(again)


@dataclass(frozen=True)
class SharedStudy:
    """A study, and what its dead processes have left."""

    study: optuna.Study
    storage: optuna.storages.RDBStorage | None = None
    """None: in memory, where nobody dies."""
    retries: Retries = Retries()
    _met: set[int] = field(default_factory=set)
    """Numbers of trials that were seen running."""
    _due: dict[int, float] = field(default_factory=dict)
    """First number of failed work that nobody has queued → when this process will."""
    _records: dict[int, bytes] = field(default_factory=dict)
    """Of a study in memory."""

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
        """The study ``name`` in the database at ``url`` (SQLAlchemy's form), made if it is new.

        ``keeps_records``: its trials are to ``keep`` some. ``options`` are those of
        optuna.create_study. Raises InputError, without password, if the
        database cannot be used.
        """
        import optuna

        retries = retries or Retries()
        with _heartbeats_are_no_news():
            storage = _storage(url, retries, keeps_records=keeps_records)
            study = optuna.create_study(
                study_name=name, storage=storage, load_if_exists=True, **options
            )
        return cls(study, storage, retries)

    @classmethod
    def join(cls, url: str, name: str) -> SharedStudy:
        """A study that somebody made; raises InputError if there is none."""
        import optuna

        with _heartbeats_are_no_news():
            storage = _storage(url, Retries())
            try:
                return cls(optuna.load_study(study_name=name, storage=storage), storage)
            except KeyError:
                raise InputError(f'no study "{name}" in {shown(url)}.') from None

    def close(self) -> None:
        """Give the connections back."""
        if self.storage is not None:
            self.storage.remove_session()
            self.storage.engine.dispose()

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All, in the order of their numbers: to be read, not changed."""
        return self.study.get_trials(deepcopy=False)

    def ask(self) -> optuna.Trial:
        """The next trial: of lost work first."""
        with _heartbeats_are_no_news():
            return self.study.ask()

    def give_up(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> None:
        """Have a trial that will not come to its end done again, unless it has ended."""
        import optuna

        try:
            self.study._storage.set_trial_state_values(trial._trial_id, state_of("FAIL"))
        except optuna.exceptions.UpdateFinishedTrialError:
            return
        self.retries(self.study, self.trials()[trial.number])

    def keep(self, trial: optuna.Trial, record: bytes) -> None:
        """Write what a trial leaves behind, in a table of its own: of attributes Optuna would hold
        a copy in memory for as long as the study is open."""
        if self.storage is None:
            self._records[trial._trial_id] = record
            return
        table, trial_id = _records_table(), trial._trial_id
        with self.storage.engine.begin() as connection:
            # of a study that was deleted: SQLite gives its numbers again
            connection.execute(table.delete().where(table.c.trial_id == trial_id))
            connection.execute(table.insert().values(trial_id=trial_id, record=record))

    def kept(self, trial: optuna.trial.FrozenTrial) -> bytes:
        """What a finished trial left behind; raises InputError if there is nothing."""
        record = self._records.get(trial._trial_id)
        if self.storage is not None:
            record = self._stored(trial._trial_id)
        if record is None:
            raise InputError(
                f"nothing is left of trial {trial.number}: its database is damaged or of another "
                "version of matlode; begin anew, under another name."
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
            return None  # a database of before
        return None if row is None else bytes(row.record)

    def is_given_up(self, trial: optuna.Trial) -> bool:
        """Whether another process took this one, which works on the trial, for dead."""
        return self.trials()[trial.number].state.name == "FAIL"

    def queue_running(self) -> None:
        """Take every running trial for lost: in a database that no other process has."""
        for trial in in_state(self.trials(), "RUNNING"):
            self.give_up(trial)
        trials = self.trials()
        for first in self.retries.missing(trials):
            self.retries.queue(self.study, trials[first])

    def queue_lost(self) -> None:
        """Take trials whose processes were silent for GRACE_S for lost."""
        import optuna

        if self.storage is None:
            return
        with _heartbeats_are_no_news():
            optuna.storages.fail_stale_trials(self.study)
        trials = self.trials()
        for trial in in_state(trials, "RUNNING"):
            if trial.number not in self._met:
                # one that died before its first heartbeat would never be missed
                self.storage.record_heartbeat(trial._trial_id)
                self._met.add(trial.number)
        self._queue_unqueued(trials)

    def _queue_unqueued(self, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
        """What failed, but whoever was to queue it died as well."""
        now = time.monotonic()
        missing = self.retries.missing(trials)
        for first in [*self._due]:
            if first not in missing:
                del self._due[first]
        for first in missing:
            # all see it at once; one of them shall be the first to act
            wait = GRACE_S * random.uniform(1, 2)
            if now > self._due.setdefault(first, now + wait):
                self.retries.queue(self.study, trials[first])


class Alive(threading.Thread):
    """Tells the storage that a process works on a trial, every HEARTBEAT_S until it stops."""

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
            with suppress(SQLAlchemyError, StorageInternalError):  # the next may come through
                self._storage.record_heartbeat(self._trial_id)

    def stop(self) -> None:
        """No more of it."""
        self._over.set()
        if self.is_alive():
            self.join()


def in_state(
    trials: Sequence[optuna.trial.FrozenTrial], state: str
) -> list[optuna.trial.FrozenTrial]:
    """Those in one of Optuna's states."""
    return [trial for trial in trials if trial.state.name == state]


def places(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[int, int]:
    """Optuna's number of each trial of a study → the place of its work."""
    firsts = [t.number for t in trials if _FIRST not in t.system_attrs]
    place = {number: place for place, number in enumerate(firsts)}
    return {t.number: place[_first_number(t)] for t in trials}


def state_of(name: str) -> optuna.trial.TrialState:
    """Optuna's state of this name."""
    import optuna

    return optuna.trial.TrialState[name]


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
        raise InputError(
            f"the storage {shown(url)} failed ({_reason(cause)}); once it is in order, "
            "the same command, or `matlode resume`, goes on."
        ) from error


def shown(url: str) -> str:
    """What may be printed of a storage's URL: neither user nor password nor options."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return "that was given"
    host = (parsed.host or "").rpartition("@")[2]  # a password may hold an @
    return f"{parsed.drivername}://{host}/{parsed.database or ''}"


def without_password(text: str) -> str:
    """Text in which passwords of URLs are stars."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)


def _storage(
    url: str, retries: Retries, *, keeps_records: bool = False
) -> optuna.storages.RDBStorage:
    import optuna
    from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

    # several processes may write to one SQLite file: wait for each other
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
                f"the storage {shown(url)} cannot be used ({_reason(error)}); wanted is a URL "
                "such as sqlite:///study.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, "
                'whose driver comes with `pip install "matlode[cluster]"`.'
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
def _heartbeats_are_no_news() -> Iterator[None]:
    """Optuna has called them experimental since its version 2.8, and does not expect them outside
    of its own loop."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        yield


def _first_number(trial: optuna.trial.FrozenTrial) -> int:
    return int(trial.system_attrs.get(_FIRST, trial.number))
