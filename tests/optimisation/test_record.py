"""The record of a campaign: whole, of one campaign, and refused when it was edited."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from matlode.errors import GoalError, InputError
from matlode.optimisation import record as module
from matlode.optimisation.record import Record, describe_cause, shown


@pytest.fixture
def file(tmp_path):
    return tmp_path / "c.db"


@pytest.fixture
def url(file):
    return f"sqlite:///{file}"


def test_blocks_are_read_as_they_were_written(url):
    with closing(Record.open(url, "a", {})) as record:
        record.write(1, b"of 1", 1.5, "X")
        record.write(0, b"of 0", None, "")
        record.write(2, b"of 2", 0.1 + 0.2, "Y")
        record.write(2, b"again", 0.1 + 0.2, "Y")
    with closing(Record.join(url, "a")) as record:
        assert record.list_finished() == {0, 1, 2}
        assert [record.read(block) for block in range(3)] == [b"of 0", b"of 1", b"again"]
        assert record.read_state() == (3, 1.5, "X")


def test_campaigns_of_one_database_are_apart(url):
    Record.open(url, "a", {}).write(0, b"a", 1.0, "X")
    other = Record.open(url, "b", {})
    assert other.list_finished() == set()
    assert other.read_state() == (0, None, None)


def test_a_campaign_belongs_to_one_goal(url):
    Record.open(url, "a", {"goal": 1}, is_new=True)
    Record.open(url, "a", {"goal": 1})
    with pytest.raises(GoalError, match="started with another goal"):
        Record.open(url, "a", {"goal": 2})
    with pytest.raises(GoalError, match="already; choose another name"):
        Record.open(url, "a", {"goal": 1}, is_new=True)
    with pytest.raises(InputError, match='no campaign "b"'):
        Record.join(url, "b")


@pytest.mark.parametrize("column", ["record", "best_merit", "best_formula", "sha256"])
@pytest.mark.parametrize("value", ["'abc'", "x'00ff'", "9e999", "-5", "''", "1.5", "'nan'"])
def test_a_value_of_any_other_type_is_refused(url, file, column, value):
    with closing(Record.open(url, "a", {})) as record:
        record.write(0, b"of 0", 1.0, "X")
    with closing(sqlite3.connect(file)) as database:
        database.executescript(f"update matlode_blocks set {column} = {value}")
    with closing(Record.join(url, "a")) as record:
        with pytest.raises(InputError, match="edited"):
            record.read(0)
        with pytest.raises(InputError, match="edited"):
            record.read_state()


@pytest.mark.parametrize(
    "damage",
    [
        "drop table matlode_blocks",
        "drop table matlode_campaigns",
        "alter table matlode_blocks drop column best_merit",
        "delete from matlode_campaigns",
        "update matlode_campaigns set version = 'abc'",
        "create table x as select * from matlode_blocks; drop table matlode_blocks; "
        "create table matlode_blocks as select * from x; "
        "update matlode_blocks set record = NULL, sha256 = NULL",
        b"",
        b"no database\n" * 100,
        bytes(8192),
        None,
    ],
    ids=lambda damage: str(damage)[:40],
)
def test_a_damaged_file_is_an_input_error(url, file, damage):
    with closing(Record.open(url, "a", {})) as record:
        record.write(0, 5000 * b"of 0", 1.0, "X")
    if isinstance(damage, str):
        with closing(sqlite3.connect(file)) as database:
            database.executescript(damage)
    else:
        file.write_bytes(file.read_bytes()[:9000] if damage is None else damage)
    with pytest.raises(InputError), module.usable_storage(url):  # noqa: SIM117
        with closing(Record.join(url, "a")) as record:
            record.read(0)


@pytest.mark.parametrize(
    "edit",
    [
        "update matlode_blocks set record = x'00' where block = 1",
        "update matlode_blocks set best_merit = 9 where block = 1",
        "update matlode_blocks set best_formula = 'Y' where block = 1",
        "update matlode_blocks set sha256 = '' where block = 1",
        "update matlode_blocks set block = 1 - block + 5; "
        "update matlode_blocks set block = block - 5",
        "delete from matlode_blocks where block = 1",
        "update matlode_campaigns set request = '[]'",
    ],
)
def test_edited_records_are_refused(url, file, edit):
    with closing(Record.open(url, "a", {})) as record:
        for block in (0, 1):
            record.write(block, b"of %d" % block, 1.0, "X")
    with closing(sqlite3.connect(file)) as database:
        database.executescript(edit)
    with closing(Record.join(url, "a")) as record, pytest.raises(InputError, match="edited"):
        record.read(1)


def test_a_record_of_another_version_is_refused(url, file):
    Record.open(url, "a", {}).close()
    with closing(sqlite3.connect(file)) as database:
        database.executescript("update matlode_campaigns set version = 2")
    with pytest.raises(InputError, match="version 2, not 1"):
        Record.open(url, "a", {})


def test_reading_a_campaign_writes_nothing(url, file):
    with closing(Record.open(url, "a", {})) as record:
        record.write(0, b"x", 1.0, "X")
    file.chmod(0o444)
    before = file.read_bytes()
    with closing(Record.join(f"sqlite:///file:{file}?mode=ro&uri=true", "a")) as record:
        assert record.read(0) == b"x"
    assert file.read_bytes() == before


def test_a_server_that_is_away_for_a_minute_loses_nothing(url, monkeypatch):
    record = Record.open(url, "a", {})
    now, begin = [0.0], record.database.begin

    def begin_when_back():
        if now[0] < 60:
            raise OperationalError("select 1", {}, ConnectionError("no answer"))
        return begin()

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    monkeypatch.setattr(record.database, "begin", begin_when_back)
    monkeypatch.setattr(record.database.dialect, "name", "postgresql")
    record.write(0, b"x", 1.0, "X")
    assert 60 <= now[0] < 65
    assert record.read(0) == b"x"


def test_a_server_that_stays_away_is_told(url, monkeypatch):
    record, now = Record.open(url, "a", {}), [0.0]

    def refuse():
        raise OperationalError("select 1", {}, ConnectionError("no answer"))

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    monkeypatch.setattr(record.database, "begin", refuse)
    monkeypatch.setattr(record.database.dialect, "name", "postgresql")
    with pytest.raises(InputError, match=r"no answer.*resume"), module.usable_storage(url):
        record.write(0, b"x", 1.0, "X")
    assert module.PATIENCE_S < now[0] < module.PATIENCE_S + 5


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql+psycopg://bob:se%40c@host:5/db?password=x", "postgresql+psycopg://host/db"),
        ("postgresql+psycopg://bob:se@cret@host:5/db", "that was given"),
        ("postgresql+psycopg://bob:s@cr/et@host:5/db", "that was given"),
        ("sqlite:///a@b@c.db", "sqlite:///a@b@c.db"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("s3cret", "that was given"),
    ],
)
def test_nothing_secret_is_shown_of_a_url(url, text):
    assert shown(url) == text


def test_passwords_become_stars():
    text = "postgresql+psycopg://me:s@e:cret@host/x and mysql://you:p@h"
    assert describe_cause(ValueError(text)) == (
        "postgresql+psycopg://me:***@host/x and mysql://you:***@h"
    )


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///no/such/folder/{x}.db", "foo", "oracle9://x/y",
        "postgresql+psycopg://me:secret@127.0.0.1:1/x",
        "postgresql+psycopg://me:x@secret@127.0.0.1:1/x", "mysql://me:@secret/secret@h/x",
    ],
)  # fmt: skip
def test_storages_that_cannot_be_used_are_told_at_once_without_passwords(url, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("was tried again"))
    with pytest.raises(InputError, match=r"cannot be used|more than one @") as told:
        Record.open(url, "a", {})
    assert "secret" not in str(told.value)
