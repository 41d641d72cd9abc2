"""Whatever is killed or lost, a campaign goes on and ends as if nothing had happened.

In a campaign that costs nothing; ``tests/jobs/test_campaigns`` kills a real search once.
"""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from matlode.engine import Here, Processes
from matlode.optimisation.campaign import BLOCK, Campaign
from matlode.optimisation.record import Record
from tests.optimisation.cheap import START, CheapEvaluator, cheap_campaign
from tests.optimisation.crystal_search import assert_same as same

N_TRIALS = 5 * BLOCK + 10
N_BLOCKS = 6
MOMENTS = (
    (Campaign, "suggest"),
    (CheapEvaluator, "rank"),
    (CheapEvaluator, "evaluate"),
    (Record, "write"),
    (Record, "read"),
)
"""Calls before and after which a campaign may die."""
STEPS = 2 * (len(MOMENTS) - 1) * N_BLOCKS
"""About as many as an undisturbed campaign has."""
ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """In place of SIGKILL: nobody catches it, and nothing is given back."""


@pytest.fixture(scope="module")
def undisturbed():
    return cheap_campaign().run(START, N_TRIALS, seed=1)


def die_at(patch, step):
    """Die at this step, the first being 0."""
    left = [step]

    def count():
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    def counted(call):
        def count_and_call(*arguments, **options):
            count()
            answer = call(*arguments, **options)
            count()
            return answer

        return count_and_call

    for owner, name in MOMENTS:
        patch.setattr(owner, name, counted(getattr(owner, name)))


def run(url, *, dies_at=None):
    """The trials, or None when it was killed; and the blocks that are done then."""
    with pytest.MonkeyPatch.context() as patch, closing(Record.open(url, "c", {})) as record:
        if dies_at is not None:
            die_at(patch, dies_at)
        try:
            trials = cheap_campaign().run(START, N_TRIALS, seed=1, record=record)
        except Killed:
            trials = None
    with closing(Record.open(url, "c", {})) as record:
        return trials, record.list_finished()


@given(st.lists(st.integers(0, STEPS), min_size=1, max_size=3))
@example([2, 0, 1])
@example([9, 9, 9])
@settings(max_examples=6)
def test_kills_of_the_coordinator_cost_nothing(undisturbed, tmp_path_factory, steps):
    url = f"sqlite:///{tmp_path_factory.mktemp('campaign')}/c.db"
    done = set()
    for step in [*steps, None]:
        trials, now = run(url, dies_at=step)
        assert now >= done
        done = now
        if trials is not None:
            same(trials, undisturbed)
    assert done == set(range(N_BLOCKS))


@pytest.mark.parametrize("step", [0, STEPS // 4, STEPS // 2])
def test_the_steps_are_those_of_a_campaign(tmp_path, step):
    """The law above would hold of no kill at all."""
    assert run(f"sqlite:///{tmp_path}/c.db", dies_at=step)[0] is None


@pytest.fixture(scope="module")
def engines():
    with Here() as here, Processes(2) as two, Processes(4) as four:
        yield {1: here, 2: two, 4: four}


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_trials_do_not_depend_on_the_number_of_workers(undisturbed, engines, n):
    same(cheap_campaign().run(START, N_TRIALS, seed=1, engine=engines[n]), undisturbed)


def test_a_worker_that_is_killed_costs_nothing(undisturbed, engines, tmp_path):
    campaign = cheap_campaign(CheapEvaluator(killed_at=tmp_path))
    same(campaign.run(START, N_TRIALS, seed=1, engine=engines[2]), undisturbed)
    assert len(list(tmp_path.iterdir())) == N_BLOCKS + 1


def test_a_coordinator_that_is_killed_leaves_its_blocks(undisturbed, tmp_path):
    url = f"sqlite:///{tmp_path}/c.db"
    command = [sys.executable, "-m", "tests.optimisation.cheap", url, str(N_TRIALS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as coordinator:
        lines = [coordinator.stdout.readline() for _ in range(3)]
        coordinator.send_signal(signal.SIGKILL)
    assert lines[2] == f"{2 * BLOCK}\n"
    with closing(Record.open(url, "c", {})) as record:
        assert 3 <= len(record.list_finished()) < N_BLOCKS
        same(cheap_campaign().run(START, N_TRIALS, seed=1, record=record), undisturbed)


def test_generations_depend_on_those_before(undisturbed):
    other = cheap_campaign().run(
        CheapEvaluator().evaluate_points(START.points + 0.01), N_TRIALS, seed=1
    )
    assert not np.array_equal(other.points[-BLOCK:], undisturbed.points[-BLOCK:])
