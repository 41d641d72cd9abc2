"""The same results on any engine, whatever is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from matlode import engine as module
from matlode.engine import Here, Processes
from matlode.errors import InputError

ROOT = Path(__file__).parents[1]


def square(x):
    return x * x


def fail(x):
    raise ValueError(f"no {x}")


def work_and_die_once(marker, x):
    """Killed in its first attempt, as by a system that is short of memory."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)


def note_and_wait(folder, x, seconds):
    (Path(folder) / str(x)).write_text(str(os.getpid()))
    time.sleep(seconds)
    return x


def look_up(shared, x):
    return shared() + x, os.getpid()


def get_environment(name):
    return os.environ.get(name)


@pytest.fixture(scope="module")
def processes():
    with Processes(2) as engine:
        yield engine


@pytest.fixture(params=["here", "processes"])
def engine(request, processes):
    return processes if request.param == "processes" else Here()


def test_results_come_in_order(engine):
    tasks = [engine.submit(square, x) for x in range(7)]
    assert list(engine.gather(tasks)) == [x * x for x in range(7)]
    assert list(engine.stream(square, range(7))) == [x * x for x in range(7)]
    assert list(engine.stream(square, [])) == []


def test_errors_of_a_call_are_raised(engine):
    tasks = [engine.submit(fail, 1), engine.submit(square, 1)]
    with pytest.raises(ValueError, match="no 1"):
        list(engine.gather(tasks))


def test_shared_values_reach_every_worker_also_later_ones(engine):
    for value in (10, 20):
        shared = engine.share(value)
        tasks = [engine.submit(look_up, shared, x) for x in range(4)]
        assert [result for result, _ in engine.gather(tasks)] == [value + x for x in range(4)]


def test_items_are_read_as_they_are_needed(processes):
    taken = []

    def items():
        for x in range(100):
            taken.append(x)
            yield x

    results = processes.stream(square, items())
    assert next(results) == 0
    assert len(taken) <= 2 * processes.n_workers + 1
    results.close()


def test_a_killed_worker_loses_its_own_call_only(processes, tmp_path):
    tasks = [processes.submit(work_and_die_once, tmp_path / "x", 3)]
    tasks += [processes.submit(note_and_wait, tmp_path, x, 0.3) for x in (1, 2)]
    assert list(processes.gather(tasks)) == [9, 1, 2]


def test_a_call_that_kills_every_worker_is_given_up(processes):
    with pytest.raises(InputError, match="lost 3 times"):
        processes.submit(die, 0).result()
    assert processes.submit(square, 2).result() == 4


def test_a_worker_computes_with_one_thread(processes):
    assert processes.submit(get_environment, "OMP_NUM_THREADS").result() == "1"
    assert processes.submit(module.count_threads).result() == 1


def test_closing_ends_what_is_running_and_what_waits(tmp_path):
    engine = Processes(1)
    for x in range(3):
        engine.submit(note_and_wait, tmp_path, x, 100)
    wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "0").read_text())
    pid = int((tmp_path / "0").read_text())
    engine.close()
    wait_for(lambda: not is_running(pid))
    assert not (tmp_path / "1").exists()


def test_workers_end_with_a_coordinator_that_is_killed(tmp_path):
    text = (
        "import sys, time\nfrom matlode.engine import Processes\n"
        "from tests.test_engine import note_and_wait\n"
        "Processes(1).submit(note_and_wait, sys.argv[1], 1, 100).result()"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], cwd=ROOT)
    wait_for(lambda: (tmp_path / "1").exists() and (tmp_path / "1").read_text())
    pid = int((tmp_path / "1").read_text())
    assert is_running(pid)
    coordinator.kill()
    coordinator.wait()
    wait_for(lambda: not is_running(pid))


def is_running(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status != "Z"


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
