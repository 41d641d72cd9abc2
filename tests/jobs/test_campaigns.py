"""Searches that are interrupted or shared: nothing is lost, nothing is done twice."""

import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from matlode.optimisation.ledger import Ledger

from matlode.errors import GoalError, InputError
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.search import Request, read_standing, resume, search
from matlode.optimisation import studies
from matlode.optimisation.campaign import Trials
from matlode.optimisation.studies import without_password
from tests.conftest import SMALL_SEARCH
from tests.optimisation.cheap import START, cheap_campaign

KILLED = """
import os, signal, sys
from matlode.jobs import search as job
from matlode.optimisation import ledger
from tests.conftest import SMALL_SEARCH

def die(*arguments, **more):
    os.kill(os.getpid(), signal.SIGKILL)

finish, count = ledger.Claim.finish, []
def finish_one(self, *arguments):
    count.append(1)
    die() if len(count) > 1 else finish(self, *arguments)

how, folder = sys.argv[1:]
if how == "in a batch":
    ledger.Claim.finish = finish_one
    job.search(maximize=["bulk_modulus", "shear_modulus"], out=folder, settings=SMALL_SEARCH)
else:
    job.write_report = die
    job.resume(folder)
"""
ROOT = Path(__file__).parents[2]


def test_a_search_that_is_killed_twice_ends_as_an_undisturbed_one(hard_run, tmp_path):
    """In a batch, and in the last step. Each process computes anew what it takes, so that the same
    seed is seen to give the same table, too."""
    folder = tmp_path / hard_run.folder.name
    for how, done in (("in a batch", 1), ("in the last step", 3)):
        command = [sys.executable, "-c", KILLED, how, str(folder)]
        died = subprocess.run(command, capture_output=True, cwd=ROOT)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
        before = read_standing(folder)
        assert (before.batches_done, before.batches_wanted) == (done, 3)
    resume(folder)
    tables = ("candidates.csv", "verdicts.csv", "trials.csv", "map.csv")
    for name in (*tables, "funnel.json", "details.json"):
        assert (folder / name).read_bytes() == (hard_run.folder / name).read_bytes()
    again = resume(folder)
    assert again.candidates["rank"].tolist() == hard_run.candidates["rank"].tolist()


def test_a_run_knows_where_it_stands(hard_run):
    where = read_standing(hard_run.folder)
    assert (where.batches_done, where.batches_wanted, where.workers) == (3, 3, [])
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


def test_a_campaign_belongs_to_one_goal(tmp_path):
    url = f"sqlite:///{tmp_path}/c.db"
    Ledger.open(url, "a", {"goal": 1})
    Ledger.open(url, "a", {"goal": 1})
    with pytest.raises(GoalError, match="started with another goal"):
        Ledger.open(url, "a", {"goal": 2})
    with pytest.raises(InputError, match='no study "b"'):
        Ledger.join(url, "b")


@pytest.mark.parametrize("url", ["nonsense", "postgresql+psycopg://me:secret@127.0.0.1:1/x"])
def test_storages_that_cannot_be_used_are_told_without_passwords(url):
    with pytest.raises(InputError, match="cannot be used") as told:
        Ledger.open(url, "a", {})
    assert "secret" not in str(told.value)


def test_passwords_become_stars():
    text = "postgresql+psycopg://me:se:cret@host/x and mysql://you:p@h"
    assert without_password(text) == "postgresql+psycopg://me:***@host/x and mysql://you:***@h"


def test_every_batch_is_claimed_once(tmp_path):
    url = f"sqlite:///{tmp_path}/c.db"
    one, two = Ledger.open(url, "a", {}), Ledger.open(url, "a", {})
    claims = [ledger.claim(4) for ledger in (one, two, one, two)]
    assert sorted(claim.batch for claim in claims) == [0, 1, 2, 3]
    for claim in claims:
        claim.finish(b"of %d" % claim.batch, 0.0, "X")
    assert one.claim(4) is None
    assert dict(two.finished(except_for={0})) == {n: b"of %d" % n for n in (1, 2, 3)}


def test_a_worker_given_up_for_dead_is_not_listened_to(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/c.db", "a", {})
    lost = ledger.claim(1)
    ledger.release_all()
    again = ledger.claim(1)
    assert again.batch == lost.batch == 0
    lost.finish(b"from the dead", 1.0, "X")
    again.finish(b"from the living", 1.0, "X")
    assert dict(ledger.finished()) == {0: b"from the living"}


def test_a_campaign_that_was_deleted_leaves_no_records_in_the_way(tmp_path):
    url = f"sqlite:///{tmp_path}/c.db"
    for text in (b"before", b"now"):  # SQLite gives the numbers of trials again
        with closing(Ledger.open(url, "a", {})) as ledger:
            ledger.claim(1).finish(text, 1.0, "X")
            assert dict(ledger.finished()) == {0: text}
        optuna.delete_study(study_name="a", storage=url)


def test_reading_a_campaign_writes_nothing(tmp_path):
    file = tmp_path / "c.db"
    with closing(Ledger.open(f"sqlite:///{file}", "a", {})) as ledger:
        ledger.claim(1).finish(b"x", 1.0, "X")
    file.chmod(0o444)
    before = file.read_bytes()
    with closing(Ledger.join(f"sqlite:///file:{file}?mode=ro&uri=true", "a")[0]) as ledger:
        assert dict(ledger.finished()) == {0: b"x"}
    assert file.read_bytes() == before


def test_a_campaign_without_its_records_is_told(tmp_path):
    file = tmp_path / "c.db"
    with closing(Ledger.open(f"sqlite:///{file}", "a", {})) as ledger:
        ledger.claim(1).finish(b"x", 1.0, "X")
    with closing(sqlite3.connect(file)) as database:
        database.execute("drop table matlode_records")
        database.commit()
    # as a database of before, which had none
    told = pytest.raises(InputError, match=r"no record of trial 0: .* start again")
    with closing(Ledger.open(f"sqlite:///{file}", "a", {})) as ledger, told:
        dict(ledger.finished())


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
    server = subprocess.Popen(
        [found[-1] / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user,
    )  # fmt: skip
    ready = [found[-1] / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, capture_output=True).returncode:
        assert server.poll() is None, "the server did not start"
        time.sleep(0.1)
    yield f"postgresql+psycopg://matlode@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)
    server.wait()


WORKER = """
import sys, time
from matlode.optimisation import campaign, studies
url, grace_s, hangs = sys.argv[1:]
studies.HEARTBEAT_S, studies.GRACE_S = 1, int(grace_s)
from matlode.jobs.search import work
if hangs == "hangs":
    def suggest(*arguments):
        print("claimed", flush=True)
        time.sleep(3600)
    campaign.Campaign.suggest = suggest
print(work(url, "shared"))
"""


def worker(url, *, grace_s=4, hangs=False):
    command = [sys.executable, "-c", WORKER, url, str(grace_s), "hangs" if hangs else "works"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=one_thread)


def begun_by_nobody(url, settings, goal):
    """A campaign in which no batch is done."""
    screens = {"comes_back": True}  # as every search has it
    request = Request(goal, settings, Models(), Known(), screens)
    Ledger.open(url, "shared", request.decisive()).close()


def cheap_worker(url, n_trials, *, hangs=False):
    how = "hangs" if hangs else "works"
    command = [sys.executable, "-m", "tests.optimisation.cheap", url, str(n_trials), "4", how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_workers_share_a_campaign_and_one_may_die(postgresql, monkeypatch):
    monkeypatch.setattr(studies, "HEARTBEAT_S", 1)
    monkeypatch.setattr(studies, "GRACE_S", 4)
    n_trials = 64 * 9
    Ledger.open(postgresql, "shared", {}).close()
    victim = cheap_worker(postgresql, n_trials, hangs=True)
    assert victim.stdout.readline() == "claimed\n"
    others = [cheap_worker(postgresql, n_trials) for _ in range(2)]
    victim.kill()
    victim.communicate()
    with closing(Ledger.join(postgresql, "shared")[0]) as ledger:
        trials = cheap_campaign().run(START, n_trials, seed=0, ledger=ledger)
        batches = dict(ledger.finished())
    assert len(trials) - len(START) == n_trials
    assert [other.communicate()[0] for other in others] == [f"{n_trials}\n"] * 2
    assert sorted(batches) == list(range(9))
    assert [len(Trials.unpacked(record)) for record in batches.values()] == [64] * 9


def test_where_batches_are_kept_is_not_written_down(tmp_path):
    url = "postgresql+psycopg://me:secret@host:5432/x"
    Request({}, SMALL_SEARCH, Models(), Known(), {}).save(tmp_path, url, "shared")
    assert "5432" not in (tmp_path / "request.json").read_text()
    assert url not in (tmp_path / "request.json").read_text()
    assert json.loads((tmp_path / "request.json").read_text())["shared"]


@pytest.mark.laboratory
def test_workers_share_a_search_and_one_may_die(postgresql, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "HEARTBEAT_S", 1)
    monkeypatch.setattr(studies, "GRACE_S", 4)
    settings = replace(SMALL_SEARCH, trials=64 * 9)
    goal = {"maximize": ["bulk_modulus"]}

    begun_by_nobody(postgresql, settings, goal)
    victim = worker(postgresql, hangs=True)
    assert victim.stdout.readline() == "claimed\n"
    others = [worker(postgresql) for _ in range(2)]
    victim.kill()
    victim.communicate()
    run = search(
        goal=goal, out=tmp_path / "run", storage=postgresql, campaign="shared", settings=settings
    )
    assert [other.communicate()[0] for other in others] == [f"{settings.trials}\n"] * 2
    with closing(Ledger.join(postgresql, "shared")[0]) as ledger:
        batches = dict(ledger.finished())
    assert sorted(batches) == list(range(9))
    names = [len(Trials.unpacked(record)) for record in batches.values()]
    assert names == [64] * 9
    assert len(run.candidates) > 0
    assert "5432" not in (run.folder / "request.json").read_text()
    assert postgresql not in (run.folder / "request.json").read_text()


@pytest.mark.hours
@pytest.mark.parametrize("n_workers", [1, 4, 16])
def test_many_workers_do_each_batch_once(postgresql, n_workers):
    settings = replace(SMALL_SEARCH, trials=64 * 160)
    begun_by_nobody(postgresql, settings, {"maximize": ["bulk_modulus"]})
    began = time.perf_counter()
    workers = [worker(postgresql, grace_s=60) for _ in range(n_workers)]
    assert [one.communicate()[0] for one in workers] == [f"{settings.trials}\n"] * n_workers
    seconds = time.perf_counter() - began
    memory_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{n_workers} workers: {seconds:.0f} s, {memory_gb:.2f} GB the largest")
    with closing(Ledger.join(postgresql, "shared")[0]) as ledger:
        batches = dict(ledger.finished())
        attempts = len(ledger.shared.trials())
    assert sorted(batches) == list(range(160))
    assert attempts <= 160 + n_workers  # no more than one claim too many of each
