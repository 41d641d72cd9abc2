import shutil
import signal
import time
from pathlib import Path

import pytest

from matlode.app import workshop as module
from matlode.app.processes import run, start
from matlode.app.wishes import Wishes
from matlode.app.workshop import Workshop
from matlode.errors import GoalError, InputError
from matlode.run_folder import RunFolder
from matlode.run_records import EvidenceTable
from tests.run_rows import evidence_row


@pytest.fixture
def workshop(tmp_path, known, monkeypatch):
    started = []
    monkeypatch.setattr(module, "start", lambda words, log: started.append(words))
    made = Workshop(tmp_path / "runs", known)
    made.started = started
    return made


def test_a_search_is_begun_as_the_command_line_would(workshop):
    wishes = Wishes()
    name = workshop.suggest_name(wishes)
    assert name == "bulk-modulus-1"
    workshop.begin(name, wishes)
    goal = workshop.folder / f"{name}.toml"
    assert goal.read_text() == wishes.to_toml()
    assert workshop.started == [["search", str(goal), "--out", str(workshop.folder / name)]]
    assert workshop.write_commands(name).startswith("matlode search ")
    assert workshop.suggest_name(wishes) == "bulk-modulus-2"


def test_what_was_stopped_is_resumed_and_what_had_not_begun_is_started_again(workshop):
    workshop.begin("mine", Wishes())
    workshop.resume("mine")
    assert workshop.started[0] == workshop.started[1]
    folder = workshop.folder / "mine"
    folder.mkdir()
    (folder / "request.json").touch()
    workshop.resume("mine")
    assert workshop.started[2:] == [["resume", str(folder)]]


def test_chosen_candidates_are_relaxed_with_those_of_before(workshop, hard_run):
    folder = workshop.folder / "hard"
    shutil.copytree(hard_run.folder, folder)
    workshop.relax("hard", [5, 2])
    (row, *_) = RunFolder(folder).read_candidates()
    examined = evidence_row(source_file=Path(row.structure_file).name)
    RunFolder(folder).write_evidence(
        EvidenceTable(primary_potential="a", second_potential="b", hull="c", structures=(examined,))
    )
    workshop.relax("hard", [5, 2])
    assert workshop.started == [
        ["relax", str(folder), "--only", "2,5"],
        ["relax", str(folder), "--only", "1,2,5"],
    ]


@pytest.mark.parametrize("name", ["", "../other", "a/b", "a.b", "-x", "x" * 100, "<b>"])
def test_names_that_are_paths_are_refused(workshop, name):
    with pytest.raises(InputError, match="cannot be the name"):
        workshop.begin(name, Wishes())
    assert workshop.started == []


def test_goals_that_nothing_can_meet_are_refused_before_anything_is_written(workshop):
    with pytest.raises(GoalError, match="nothing to search for"):
        workshop.begin("mine", Wishes(properties=[]))
    with pytest.raises(GoalError):
        workshop.begin("mine", Wishes(formula="no formula"))
    assert not workshop.folder.exists()


def test_runs_are_listed_latest_first(workshop, hard_run):
    assert workshop.list_runs() == []
    found = Workshop(hard_run.folder.parent, workshop.known).list_runs()
    assert hard_run.folder.name in found


def test_errors_of_commands_are_told(tmp_path):
    job = start(["show", str(tmp_path / "gone")], tmp_path / "log")
    job.process.wait(60)
    assert job.has_failed
    assert "no such run" in job.read_last_line()
    done = run(["show", str(tmp_path / "gone")])
    assert (done.returncode, "no such run" in done.stderr) == (1, True)


def test_a_job_is_stopped_as_by_ctrl_c(tmp_path):
    job = start(["search", "--maximize", "density", "--out", str(tmp_path / "r")], tmp_path / "log")
    while "load" not in job.read_last_line() and job.is_running:
        time.sleep(0.05)
    job.stop()
    job.process.wait(60)
    assert job.process.returncode in (130, -signal.SIGINT)
