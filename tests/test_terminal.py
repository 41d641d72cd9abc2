import re

import pytest

from matlode.terminal import Lines, Volume, show_progress, volume


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def told():
    """(lines so far, clock, progress with an interval of two seconds)."""
    lines, clock = [], Clock()
    return lines, clock, Lines(2.0, write=lines.append, clock=clock)


def test_every_stage_is_told_once_when_it_ends(told):
    lines, clock, tell = told
    tell("load", 0, 1)
    clock.now += 1.5
    tell("load", 1, 1, "all")
    tell("load", 1, 1, "all")
    assert lines == ["[    0.0 s] load: 0 of 1", "[    1.5 s] load: 1 of 1, took 1.5 s, all"]


def test_between_there_are_lines_no_oftener_than_the_interval_with_what_is_left(told):
    lines, clock, tell = told
    for done in range(101):
        tell("work", done, 100)
        clock.now += 0.5
    assert 20 < len(lines) <= 27
    assert "work: 8 of 100, about 46.0 s left" in lines[2]


def test_a_stage_told_only_at_its_end_began_when_the_one_before_ended(told):
    lines, clock, tell = told
    tell("one", 1, 1)
    clock.now += 65
    tell("two", 1, 1)
    assert "two: 1 of 1, took 1 min 5 s" in lines[-1]


def test_what_stays_unfinished_is_told_at_last(told):
    lines, _, tell = told
    tell("work", 0, 4)
    tell("work", 3, 4)
    assert len(lines) == 1
    tell.close()
    assert "work: 3 of 4" in lines[1]


def test_ctrl_c_tells_how_to_go_on_and_ends_with_130(capsys):
    with pytest.raises(SystemExit) as ended, show_progress(lambda: "Say it again."):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted. Say it again.\n"


@pytest.mark.parametrize("loud", Volume)
def test_stdout_is_left_to_the_results(loud, capsys):
    token = volume.set(loud)
    with show_progress(lambda: "") as tell:
        tell("work", 1, 1)
    volume.reset(token)
    out, err = capsys.readouterr()
    assert out == ""
    assert bool(re.search("work", err)) is (loud is not Volume.QUIET)
