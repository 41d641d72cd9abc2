"""Whenever a campaign is killed, it goes on and ends as if nothing had happened.

In a campaign that costs nothing; ``tests/jobs/test_campaigns`` kills a real search once.
"""

from collections import Counter
from contextlib import closing

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from matlode.optimisation.campaign import BATCH, Campaign
from matlode.optimisation.ledger import Claim, Ledger
from matlode.optimisation.studies import SharedStudy
from tests.optimisation.cheap import START, CheapEvaluator, cheap_campaign
from tests.optimisation.crystal_search import assert_same as same

N_TRIALS = 3 * BATCH + 10
N_BATCHES = 4
MOMENTS = (
    (Campaign, "suggest"),
    (CheapEvaluator, "evaluate_points"),
    (Claim, "finish"),
    (SharedStudy, "keep"),
    (SharedStudy, "ask"),
    (SharedStudy, "kept"),
)
"""Calls before and after which a campaign may die."""
STEPS = 2 * (len(MOMENTS) * N_BATCHES + 1)
"""About as many as an undisturbed campaign has."""


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
    # who is killed gives nothing up
    patch.setattr(Claim, "__exit__", lambda claim, *_: claim.alive.stop())


def run(url, *, dies_at=None):
    """The trials, or None when it was killed; and how many batches are done then."""
    with pytest.MonkeyPatch.context() as patch, closing(Ledger.open(url, "c", {})) as ledger:
        ledger.release_all()
        if dies_at is not None:
            die_at(patch, dies_at)
        try:
            trials = cheap_campaign().run(START, N_TRIALS, seed=1, ledger=ledger)
        except Killed:
            trials = None
    with closing(Ledger.open(url, "c", {})) as ledger:
        return trials, ledger.standing().batches_done


@given(st.lists(st.integers(0, STEPS), min_size=1, max_size=3))
@example([2, 0, 1])
@example([9, 9, 9])
@settings(max_examples=6)
def test_kills_cost_nothing(undisturbed, tmp_path_factory, steps):
    url = f"sqlite:///{tmp_path_factory.mktemp('campaign')}/c.db"
    done = 0
    for step in [*steps, None]:
        trials, now = run(url, dies_at=step)
        assert now >= done
        done = now
        if trials is not None:
            same(trials, undisturbed)
    assert done == N_BATCHES
    with closing(Ledger.open(url, "c", {})) as ledger:
        finished = Counter(batch for batch, _ in ledger.finished())
    assert finished == dict.fromkeys(range(N_BATCHES), 1)


@pytest.mark.parametrize("step", [0, STEPS // 4, STEPS // 2])
def test_the_steps_are_those_of_a_campaign(tmp_path, step):
    """The law above would hold of no kill at all."""
    assert run(f"sqlite:///{tmp_path}/c.db", dies_at=step)[0] is None


def test_batches_depend_on_those_before(undisturbed):
    other = cheap_campaign().run(
        CheapEvaluator().evaluate_points(START.points + 0.01), N_TRIALS, seed=1
    )
    assert not np.array_equal(other.points[-BATCH:], undisturbed.points[-BATCH:])
