from dataclasses import replace

import numpy as np
import pytest

from matlode.data.formulas import parse_formula
from matlode.errors import InputError, MatlodeError
from matlode.jobs.models import Models
from matlode.optimisation.campaign import (
    BATCH,
    MAX_BATCHES,
    Campaign,
    Trials,
    _TrialStore,
    batch_size,
    select_diverse,
)
from matlode.optimisation.goal import Goal, Objective, Range, Scale
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.preferences import Neutral
from matlode.optimisation.samplers import SAMPLERS
from matlode.screening.chemistry import ChargeNeutral

ELEMENTS = ("B", "C", "N", "Ti", "W")


@pytest.fixture(scope="module")
def campaign(models):
    goal = Goal(
        objectives=(Objective("bulk_modulus", "maximise"),),
        ranges=(Range("stable_probability", low=0.5),),
        preferences={"charge_neutral": 1.0},
        allowed=ELEMENTS,
        max_elements=3,
        max_atoms=9,
    )
    names = ("bulk_modulus", "stable_probability")
    scale = Scale(dict.fromkeys(names, 100.0), dict.fromkeys(names, 100.0), frozenset(names[1:]))
    return Campaign(goal, models.space, models.properties, scale, SAMPLERS["tpe"], (Neutral(),))


@pytest.fixture(scope="module")
def start(campaign):
    return campaign.space.sample_prior(64, np.random.default_rng(0))


@pytest.fixture(scope="module")
def trials(campaign, start):
    return campaign.run(start, 150, seed=1)[0]


def test_limits_hold_for_every_trial(trials):
    for formula in trials.formulas:
        amounts = parse_formula(str(formula))
        assert set(amounts) <= set(ELEMENTS)
        assert len(amounts) <= 3
        assert sum(amounts.values()) <= 9


def same(a, b):
    for name in ("points", "formulas", "systems", "gains", "shortfalls", "values"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_the_same_seed_gives_the_same_trials(campaign, start, trials):
    again, n_known = campaign.run(start, 150, seed=1)
    assert (n_known, len(again)) == (64, 64 + 150)
    same(again, trials)


def test_an_interrupted_campaign_ends_as_an_undisturbed_one(campaign, start, trials, tmp_path):
    url = f"sqlite:///{tmp_path}/campaign.db"
    ledger = Ledger.open(url, "c", {})
    claim = ledger.claim(3)
    claim.alive.stop()  # as dead as a worker can be in its own test
    first = Ledger.open(url, "c", {})
    first.release_all()
    campaign.run(start, 64, seed=1, ledger=first)
    again, _ = campaign.run(start, 150, seed=1, ledger=Ledger.open(url, "c", {}))
    same(again, trials)


def test_a_batch_that_fails_is_left_to_others(campaign, start, monkeypatch, tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/campaign.db", "c", {})

    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(campaign), "suggest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        campaign.run(start, 64, seed=1, ledger=ledger)
    again = Ledger.open(f"sqlite:///{tmp_path}/campaign.db", "c", {}).claim(1)
    assert again.batch == 0
    again.alive.stop()


def test_trials_survive_being_written_down(trials):
    same(Trials.unpacked(trials.packed()), trials)


def test_unbalanced_formulas_pay(campaign, trials):
    paid = trials.shortfalls[:, 1] > 0
    for formula, has_paid in zip(trials.formulas, paid, strict=True):
        assert has_paid != ChargeNeutral().grade(str(formula)).passed


def test_points_stay_in_the_box_of_the_latent_space(campaign, trials):
    found = trials.points[64:]
    assert (found >= campaign.space.bounds[:, 0] - 1e-6).all()
    assert (found <= campaign.space.bounds[:, 1] + 1e-6).all()


def test_the_search_climbs(campaign, trials):
    merits = trials.merits(campaign.goal)
    assert merits[-64:].mean() > merits[:64].mean()


def test_selection_is_distinct_ordered_and_bounded_per_system(campaign, trials):
    merits = trials.merits(campaign.goal)
    rows = select_diverse(trials, merits, 20, max_per_system=2)
    assert len(set(trials.formulas[rows])) == len(rows)
    assert np.all(np.diff(merits[rows]) <= 0)
    _, counts = np.unique(trials.systems[rows], return_counts=True)
    assert counts.max() <= 2


def test_models_without_a_folder_are_asked_for(tmp_path):
    with pytest.raises(MatlodeError, match="matlode train"):
        _ = Models(tmp_path).space


def test_formulas_that_hardly_differ_are_one_proposal(campaign, trials):
    few = replace(
        trials.take(np.zeros(4, dtype=int)),
        formulas=np.array(["B15Ti2", "B22Ti3", "B2Ti", "B22Ti3"]),
        systems=np.array(4 * ["B-Ti"]),
    )
    rows = select_diverse(few, np.array([2.0, 3.0, 1.0, 0.0]), 4, max_per_system=4)
    assert rows.tolist() == [1, 2]


@pytest.mark.parametrize("n_trials", [1, BATCH, 2048, BATCH * MAX_BATCHES, 1_000_000])
def test_long_campaigns_have_larger_batches(n_trials):
    size = batch_size(n_trials)
    assert size % BATCH == 0
    assert -(-n_trials // size) <= MAX_BATCHES
    assert size == BATCH or -(-n_trials // (size - BATCH)) > MAX_BATCHES


def test_batches_that_are_done_in_another_order_stand_in_theirs(trials):
    ledger = Ledger.in_memory()
    known, batches = trials.take(slice(5)), [trials.take(slice(a, a + 4)) for a in (5, 9, 13)]
    gathered = _TrialStore(known, n_trials=12, size=4)
    claims = [ledger.claim(3) for _ in range(3)]
    for done, rows in (([], range(5)), ([2], [*range(5), *range(13, 17)]), ([0, 1], range(17))):
        for batch in done:
            claims[batch].finish(batches[batch].packed(), 0.0, "X")
        gathered.add_finished(ledger)
        same(gathered.trials(), trials.take(np.array(rows)))


def test_a_damaged_record_is_told(trials):
    for text in (
        b"",
        trials.packed()[:-40],
        b"{}",
        b"[]",
        trials.packed().replace(b"points", b"p"),
    ):
        with pytest.raises(InputError, match="the record of a batch"):
            Trials.unpacked(text)


def test_formulas_longer_than_any_before_are_kept_whole(trials):
    ledger = Ledger.in_memory()
    long = replace(trials.take(slice(5, 9)), formulas=np.array(4 * ["B" * 60]))
    gathered = _TrialStore(trials.take(slice(5)), n_trials=4, size=4)
    ledger.claim(1).finish(long.packed(), 0.0, "X")
    gathered.add_finished(ledger)
    assert gathered.trials().formulas.tolist() == [*trials.formulas[:5], *long.formulas]
