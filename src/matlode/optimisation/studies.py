"""Optuna studies that several processes share and any of them may die in.

Work has places 0, 1, 2 ...; what a dead process had begun is done again at its place, and whoever
draws chance from the place goes the way of a study that nothing interrupted.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from matlode.errors import InputError

if TYPE_CHECKING:
    import optuna

HEARTBEAT_S = 5
"""How often a process says that it works on a trial."""
GRACE_S = 60
"""One that was silent for so long is dead."""
OPENING_ATTEMPTS = 3
"""Of two processes that make the tables of a new database at once, one fails and finds them
made a second later."""
_FIRST = "failed_trial"
"""Optuna's own name for the number of the trial that is done again."""


@dataclass(frozen=True)
class SharedStudy:
    """A study, and what its dead processes have left."""

    study: optuna.Study
    storage: optuna.storages.RDBStorage | None = None
    """None: in memory, where nobody dies."""
    max_retries: int | None = None
    """What was lost so often after its first time is not done again."""
    _met: set[int] = field(default_factory=set)
    """Numbers of trials that were seen running."""
    _missing_since: dict[int, float] = field(default_factory=dict)
    """First number of failed work that is not queued → when this was first seen."""

    @classmethod
    def open(
        cls, url: str, name: str, *, max_retries: int | None = None, **options: Any
    ) -> SharedStudy:
        """The study ``name`` in the database at ``url`` (SQLAlchemy's form), made if it is new.

        ``options`` are those of optuna.create_study. Raises InputError, without user and
        password, if the database cannot be used.
        """
        import optuna

        with _heartbeats_are_no_news():
            storage = _storage(url, max_retries)
            study = optuna.create_study(
                study_name=name, storage=storage, load_if_exists=True, **options
            )
        return cls(study, storage, max_retries)

    @classmethod
    def join(cls, url: str, name: str) -> SharedStudy:
        """A study that somebody made; raises InputError if there is none."""
        import optuna

        with _heartbeats_are_no_news():
            storage = _storage(url, None)
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

    def queue_running(self) -> None:
        """Take every running trial for lost: in a database that no other process has."""
        import optuna

        for trial in in_state(self.trials(), "RUNNING"):
            try:
                self.study._storage.set_trial_state_values(trial._trial_id, state_of("FAIL"))
            except optuna.exceptions.UpdateFinishedTrialError:
                continue
        trials = self.trials()
        for first in _missing(trials, self.max_retries):
            _queue(self.study, trials[first])

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
        missing = _missing(trials, self.max_retries)
        for first in [*self._missing_since]:
            if first not in missing:
                del self._missing_since[first]
        for first in missing:
            if now - self._missing_since.setdefault(first, now) > GRACE_S:
                _queue(self.study, trials[first])


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
        while not self._over.wait(HEARTBEAT_S):
            assert self._storage is not None
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
    return f"{parsed.drivername}://{parsed.host or ''}/{parsed.database or ''}"


def without_password(text: str) -> str:
    """Text in which passwords of URLs are stars."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)


def _storage(url: str, max_retries: int | None) -> optuna.storages.RDBStorage:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    # several processes may write to one SQLite file: wait for each other
    options = {"connect_args": {"timeout": GRACE_S}} if url.startswith("sqlite") else {}
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT_S,
                grace_period=GRACE_S,
                heartbeat_stale_trial_callback=partial(_queue_again, max_retries=max_retries),
            )
        except (SQLAlchemyError, ImportError, ValueError) as error:
            if attempts_left and isinstance(error, SQLAlchemyError):
                time.sleep(1)
                continue
            raise InputError(
                f"the storage {shown(url)} cannot be used ({_reason(error)}); wanted is a URL "
                "such as sqlite:///study.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, "
                'whose driver comes with `pip install "matlode[cluster]"`.'
            ) from None
    raise AssertionError  # the last attempt returns or raises


def _reason(error: BaseException) -> str:
    return without_password(str(error).partition("\n")[0])


def _queue_again(
    study: optuna.Study, trial: optuna.trial.FrozenTrial, max_retries: int | None
) -> None:
    """Called by the one process that found a trial silent."""
    trials, first = study.get_trials(deepcopy=False), _first_number(trial)
    if first in _missing(trials, max_retries):
        _queue(study, trials[first])


def _missing(trials: Sequence[optuna.trial.FrozenTrial], max_retries: int | None) -> list[int]:
    """First numbers of work that failed and is neither queued nor running nor done."""
    failures: dict[int, int] = {}
    held = set()
    for trial in trials:
        first = _first_number(trial)
        if trial.state.name == "FAIL":
            failures[first] = failures.get(first, 0) + 1
        else:
            held.add(first)
    limit = float("inf") if max_retries is None else max_retries
    return [first for first, n in failures.items() if first not in held and n <= limit]


def _queue(study: optuna.Study, first: optuna.trial.FrozenTrial) -> None:
    import optuna

    attributes: dict[str, Any] = {_FIRST: first.number}
    if "fixed_params" in first.system_attrs:  # of a trial that enqueue_trial prescribed
        attributes["fixed_params"] = first.system_attrs["fixed_params"]
    again = optuna.create_trial(
        state=state_of("WAITING"), user_attrs=first.user_attrs, system_attrs=attributes
    )
    study.add_trial(again)


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
