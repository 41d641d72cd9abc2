"""Work that dies with its process is done again at its place, once, and by one."""

import sqlite3
from contextlib import closing

import optuna
import pytest

from matlode.errors import InputError
from matlode.optimisation import studies
from matlode.optimisation.studies import Retries, SharedStudy, in_state, places, state_of


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def fail(shared, trial):
    """As a process that died before it could queue it again."""
    shared.storage.set_trial_state_values(trial._trial_id, state_of("FAIL"))


def place_of(shared, trial):
    return places(shared.trials())[trial.number]


def test_work_done_again_keeps_its_place_and_shifts_no_other(url):
    shared = SharedStudy.open(url, "s")
    done, lost = shared.ask(), shared.ask()
    shared.study.tell(done, 1.0)
    for _ in range(3):  # it dies again and again
        shared.queue_running()
        again = shared.ask()
        assert place_of(shared, again) == place_of(shared, lost) == 1
    shared.study.tell(again, 1.0)
    assert [place_of(shared, shared.ask()) for _ in range(2)] == [2, 3]


def test_what_was_prescribed_and_noted_is_kept_and_what_was_reported_is_not(url):
    shared = SharedStudy.open(url, "s", retries=Retries(kept=("start",)))
    shared.study.enqueue_trial({"x": 0.25}, user_attrs={"start": True})
    trial = shared.ask()
    trial.set_user_attr("record", "long")
    trial.report(1.0, step=1)
    shared.study._storage.set_trial_system_attr(trial._trial_id, "completed_rung_0", 1.0)
    shared.queue_running()
    again = shared.ask()
    assert again.suggest_float("x", 0, 1) == 0.25
    assert again.user_attrs == {"start": True}
    (frozen,) = in_state(shared.trials(), "RUNNING")
    assert frozen.intermediate_values == {}
    assert "completed_rung_0" not in frozen.system_attrs


def test_a_living_process_is_left_alone_and_a_silent_one_replaced_once(url, monkeypatch):
    monkeypatch.setattr(studies, "HEARTBEAT_S", 1)
    one, two = SharedStudy.open(url, "s"), SharedStudy.open(url, "s")
    living, silent = one.ask(), one.ask()
    for trial in (living, silent):
        one.storage.record_heartbeat(trial._trial_id)
    two.queue_lost()
    assert in_state(two.trials(), "WAITING") == []
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        past = "update trial_heartbeats set heartbeat = datetime(heartbeat, '-1 day')"
        database.execute(f"{past} where trial_id = {silent._trial_id}")
        database.commit()
    for shared in (one, two, one):
        shared.queue_lost()
    (queued,) = in_state(two.trials(), "WAITING")
    assert place_of(two, queued) == place_of(two, silent)
    assert [t.number for t in in_state(two.trials(), "RUNNING")] == [living.number]


def test_one_that_died_before_its_first_heartbeat_gets_one(url):
    shared = SharedStudy.open(url, "s")
    trial = shared.ask()
    (row,) = database_rows(url, "select count(*) from trial_heartbeats")
    assert row == (0,)
    for _ in range(2):
        shared.queue_lost()
    assert database_rows(url, "select trial_id from trial_heartbeats") == [(trial._trial_id,)]


def database_rows(url, query):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        return database.execute(query).fetchall()


def test_work_that_nobody_queued_is_queued_after_a_while(url, monkeypatch):
    shared, other = SharedStudy.open(url, "s"), SharedStudy.open(url, "s")
    fail(shared, shared.ask())
    now = [0.0]
    monkeypatch.setattr(studies.time, "monotonic", lambda: now[0])
    for seconds, n in ((0, 0), (studies.GRACE_S, 0), (2 * studies.GRACE_S + 1, 1)):
        now[0] = seconds
        shared.queue_lost()
        assert len(in_state(shared.trials(), "WAITING")) == n
    other.queue_lost()  # saw it only now, and it is queued
    now[0] *= 3
    other.queue_lost()
    assert len(in_state(shared.trials(), "WAITING")) == 1


@pytest.mark.parametrize(("at_most", "deaths"), [(0, 1), (2, 3)])
def test_what_kills_everybody_is_given_up(url, at_most, deaths):
    shared = SharedStudy.open(url, "s", retries=Retries(at_most))
    for _ in range(deaths):
        assert place_of(shared, shared.ask()) == 0
        shared.queue_running()
    assert place_of(shared, shared.ask()) == 1


def test_a_study_that_is_not_there_is_told(url):
    with pytest.raises(InputError, match=r'no study "s" in sqlite:///.*study.db'):
        SharedStudy.join(url, "s")


def test_in_memory_nobody_is_lost():
    shared = SharedStudy(optuna.create_study())
    trial = shared.ask()
    shared.queue_lost()
    assert [t.number for t in in_state(shared.trials(), "RUNNING")] == [trial.number]


def test_what_is_given_up_is_queued_at_once_and_what_has_ended_is_left(url):
    one, two = SharedStudy.open(url, "s"), SharedStudy.open(url, "s")
    lost, done = one.ask(), one.ask()
    one.study.tell(done, 1.0)
    for trial in (lost, lost, done):
        two.give_up(trial)
    (queued,) = in_state(one.trials(), "WAITING")
    assert place_of(one, queued) == place_of(one, lost)
    assert one.is_given_up(lost)
    assert not one.is_given_up(done)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://bob:se@cret@host:5/db?password=x", "postgresql+psycopg://host/db"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("s3cret", "that was given"),
    ],
)
def test_nothing_secret_is_shown_of_a_url(url, shown):
    assert studies.shown(url) == shown


@pytest.mark.parametrize("url", ["sqlite:///no/such/folder/{x}.db", "foo", "oracle9://x/y"])
def test_hopeless_urls_are_told_at_once(url, monkeypatch):
    monkeypatch.setattr(studies.time, "sleep", lambda _: pytest.fail("was tried again"))
    with pytest.raises(InputError, match="cannot be used"):
        SharedStudy.open(url, "s")
