from dataclasses import replace

import numpy as np
import pytest

from matlode.errors import InputError
from matlode.optimisation.trials import Trials, TrialStore, select_diverse
from matlode.realisation.blueprints import MAX_SPECIES, Blueprints
from tests.optimisation.crystal_search import assert_same

N = 40


@pytest.fixture(scope="module")
def trials():
    rng = np.random.default_rng(0)
    formulas = [f"B{1 + row % 7}{('Ti', 'W')[row % 2]}{1 + row // 7}" for row in range(N)]
    return Trials.of(
        rng.normal(size=(N, 88)).astype(np.float32),
        formulas,
        rng.normal(size=(N, 2)),
        rng.random((N, 1)),
        rng.normal(size=(N, 3)),
        blueprints=Blueprints(
            rng.integers(100, size=N),
            rng.integers(90, size=(N, MAX_SPECIES)).astype(np.uint8),
            rng.random(N),
        ),
        proposer="variation",
    )


def test_trials_survive_being_written_down(trials):
    assert_same(Trials.unpacked(trials.packed(), trials), trials)


def test_selection_is_distinct_ordered_and_bounded_per_system(trials):
    merits = trials.gains[:, 0]
    rows = select_diverse(trials, merits, 20, max_per_system=2)
    assert len(set(trials.formulas[rows])) == len(rows)
    assert np.all(np.diff(merits[rows]) <= 0)
    _, counts = np.unique(trials.systems[rows], return_counts=True)
    assert counts.max() <= 2


def test_formulas_that_hardly_differ_are_one_proposal(trials):
    few = replace(
        trials.take(np.zeros(4, dtype=int)),
        formulas=np.array(["B15Ti2", "B22Ti3", "B2Ti", "B22Ti3"]),
        systems=np.array(4 * ["B-Ti"]),
    )
    rows = select_diverse(few, np.array([2.0, 3.0, 1.0, 0.0]), 4, max_per_system=4)
    assert rows.tolist() == [1, 2]


def test_blocks_that_are_added_in_another_order_stand_in_theirs(trials):
    known, blocks = trials.take(slice(5)), [trials.take(slice(a, a + 4)) for a in (5, 9, 13)]
    gathered = TrialStore(known, n_trials=12, size=4)
    for done, rows in (([], range(5)), ([2], [*range(5), *range(13, 17)]), ([0, 1], range(17))):
        for block in done:
            gathered.add(block, blocks[block])
        assert_same(gathered.trials(), trials.take(np.array(rows)))
    assert gathered.formulas == set(trials.formulas[:17].tolist())


def test_blocks_with_fewer_trials_than_proposals_leave_no_gap(trials):
    gathered = TrialStore(trials.take(slice(5)), n_trials=8, size=4)
    for block, rows in enumerate((slice(5, 7), slice(7, 7))):
        gathered.add(block, trials.take(rows))
    assert_same(gathered.trials(), trials.take(slice(7)))


def test_a_damaged_record_is_refused(trials):
    for text in (
        b"",
        trials.packed()[:-40],
        b"{}",
        b"[]",
        trials.packed().replace(b"points", b"p"),
        trials.packed().replace(b"B1Ti1 ", b""),
    ):
        with pytest.raises(InputError, match="the record of a block"):
            Trials.unpacked(text, trials)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        ({"values": np.full((N, 3), np.nan)}, "values has numbers that are not finite"),
        ({"points": np.full((N, 88), np.inf, np.float32)}, "points has numbers"),
        ({"gains": np.zeros((N, 1))}, r"gains has float64 \(1,\)"),
        ({"proposers": np.zeros(N)}, "proposers has float64"),
    ],
)
def test_a_record_of_no_trials_of_this_search_is_refused(trials, edit, text):
    with pytest.raises(InputError, match=text):
        Trials.unpacked(replace(trials, **edit).packed(), trials)


def test_formulas_longer_than_any_before_are_kept_whole(trials):
    long = replace(trials.take(slice(5, 9)), formulas=np.array(4 * ["B" * 60]))
    gathered = TrialStore(trials.take(slice(5)), n_trials=4, size=4)
    gathered.add(0, long)
    assert gathered.trials().formulas.tolist() == [*trials.formulas[:5], *long.formulas]
