"""Searches that are interrupted, on any number of workers: nothing is lost or done twice."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy.exc import OperationalError

from matlode.engine import Processes
from matlode.errors import GoalError, InputError
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.search import Request, read_standing, resume, search
from matlode.optimisation.campaign import BLOCK
from matlode.optimisation.record import Record
from tests.conftest import SMALL_SEARCH
from tests.optimisation.cheap import START, CheapEvaluator, cheap_campaign
from tests.optimisation.crystal_search import assert_same

KILLED = """
import os, signal, sys
from matlode.jobs import search as job
from matlode.optimisation.record import Record
from tests.conftest import SMALL_SEARCH

def die(*arguments, **more):
    os.kill(os.getpid(), signal.SIGKILL)

write, count = Record.write, []
def write_one(self, *arguments):
    count.append(1)
    die() if len(count) > 1 else write(self, *arguments)

how, folder = sys.argv[1:]
if how == "in a block":
    Record.write = write_one
    job.search(maximize=["bulk_modulus", "shear_modulus"], out=folder, settings=SMALL_SEARCH)
else:
    job.write_report = die
    job.resume(folder)
"""
ROOT = Path(__file__).parents[2]


def test_a_search_that_is_killed_twice_ends_as_an_undisturbed_one(hard_run, tmp_path):
    """In a block, and in the last step. Each process computes anew what it takes, so that the same
    seed is seen to give the same table, too."""
    folder = tmp_path / hard_run.folder.name
    for how, done in (("in a block", 1), ("in the last step", 3)):
        command = [sys.executable, "-c", KILLED, how, str(folder)]
        died = subprocess.run(command, capture_output=True, cwd=ROOT)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
        before = read_standing(folder)
        assert (before.blocks_done, before.blocks_wanted) == (done, 3)
    resume(folder)
    assert_same_results(folder, hard_run.folder)
    again = resume(folder)
    assert again.candidates["rank"].tolist() == hard_run.candidates["rank"].tolist()


def test_a_search_on_two_workers_gives_the_same_tables(hard_run, tmp_path):
    folder = tmp_path / hard_run.folder.name
    with Processes(2) as engine:
        search(
            maximize=["bulk_modulus", "shear_modulus"], out=folder, settings=SMALL_SEARCH,
            engine=engine,
        )  # fmt: skip
    assert_same_results(folder, hard_run.folder)


def test_lost_workers_and_a_lost_connection_change_no_table(hard_run, tmp_path, monkeypatch):
    """Four workers, all killed while they evaluate; the database does not answer for a while."""
    folder = tmp_path / hard_run.folder.name
    killed, refused, open_record = [], [], Record.open

    def kill_workers(stage, done, *_):
        if stage == "search" and done == 0:
            killed.extend(multiprocessing.active_children())
            for worker in killed:
                worker.kill()

    def open_unreliable(*arguments, **options):
        record = open_record(*arguments, **options)
        begin = record.database.begin

        def begin_later():
            if killed and len(refused) < 60:
                refused.append(OperationalError("insert", {}, ConnectionError("no answer")))
                raise refused[-1]
            return begin()

        monkeypatch.setattr(record.database, "begin", begin_later)
        monkeypatch.setattr(record.database.dialect, "name", "postgresql")
        return record

    monkeypatch.setattr(Record, "open", open_unreliable)
    monkeypatch.setattr("matlode.optimisation.record.RETRY_S", 0.01)
    with Processes(4) as engine:
        search(
            maximize=["bulk_modulus", "shear_modulus"], out=folder, settings=SMALL_SEARCH,
            engine=engine, progress=kill_workers,
        )  # fmt: skip
    assert killed
    assert len(refused) == 60
    assert_same_results(folder, hard_run.folder)


def assert_same_results(folder, wanted):
    """That two run folders hold the same results, byte for byte."""
    tables = ("candidates.csv", "verdicts.csv", "trials.csv", "map.csv")
    for name in (*tables, "funnel.json", "details.json"):
        assert (folder / name).read_bytes() == (wanted / name).read_bytes()


def test_a_run_knows_where_it_stands(hard_run):
    where = read_standing(hard_run.folder)
    assert (where.blocks_done, where.blocks_wanted) == (3, 3)
    assert where.best_formula


def test_one_process_at_a_time_works_on_a_folder(hard_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(hard_run.folder, folder)
    (folder / "provenance.json").unlink()
    with FileLock(folder / ".lock"), pytest.raises(InputError, match="another process"):
        resume(folder)


def test_a_run_of_other_models_is_not_gone_on_with(hard_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(hard_run.folder, folder)
    (folder / "provenance.json").unlink()
    request = json.loads((folder / "request.json").read_text())
    request["models"]["standard-properties"] = "0" * 64
    (folder / "request.json").write_text(json.dumps(request))
    with pytest.raises(GoalError, match="begun with other models"):
        resume(folder)


def test_what_is_no_run_folder_is_told(tmp_path):
    with pytest.raises(InputError, match=r"has no request\.json"):
        resume(tmp_path)
    (tmp_path / "request.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        resume(tmp_path)


@pytest.fixture
def postgresql(tmp_path):
    """URL of a server of its own, from Debian's packages."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    folder = tmp_path / "pg"
    folder.mkdir()
    user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = {"user": "postgres"}
        shutil.chown(folder, "postgres")
        for parent in list(folder.parents)[:-1]:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 1:
                parent.chmod(parent.stat().st_mode | 0o011)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"check": True, "capture_output": True, "cwd": "/", **user}
    data = folder / "data"
    run = [found[-1] / "initdb", "-D", data, "-U", "matlode", "--auth", "trust"]
    subprocess.run(run, **options)
    command = [found[-1] / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
    server = Server(command, [found[-1] / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], user)
    server.start()
    yield f"postgresql+psycopg://matlode@127.0.0.1:{port}/postgres", server
    server.stop()


class Server:
    """A database server that comes and goes."""

    def __init__(self, command, ready, user):
        self.command, self.ready, self.user = command, ready, user

    def start(self):
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(
            self.command, stdout=null, stderr=null, cwd="/", **self.user
        )
        while subprocess.run(self.ready, capture_output=True).returncode:
            assert self.process.poll() is None, "the server did not start"
            time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def test_a_server_that_goes_away_costs_nothing(postgresql):
    url, server = postgresql
    n_trials = 6 * BLOCK

    def restart(_stage, done, *_):
        if done == BLOCK:
            server.stop()
            threading.Timer(2, server.start).start()

    with closing(Record.open(url, "shared", {}, is_new=True)) as record:
        trials = cheap_campaign().run(START, n_trials, seed=0, record=record, progress=restart)
        assert record.list_finished() == set(range(6))
    assert_same(trials, cheap_campaign(CheapEvaluator()).run(START, n_trials, seed=0))
    with closing(Record.join(url, "shared")) as record:
        assert record.read_state().blocks_done == 6


def test_where_the_record_is_kept_is_not_written_down(tmp_path):
    url = "postgresql+psycopg://me:secret@host:5432/x"
    Request({}, SMALL_SEARCH, Models(), Known(), {}).save(tmp_path, url, "shared")
    assert "5432" not in (tmp_path / "request.json").read_text()
    assert url not in (tmp_path / "request.json").read_text()
    assert json.loads((tmp_path / "request.json").read_text())["shared"]
