from dataclasses import replace

import numpy as np
import pytest

from matlode.data.formulas import parse_formula
from matlode.engine import Processes
from matlode.errors import MatlodeError
from matlode.jobs.models import Models
from matlode.optimisation.campaign import BLOCK
from matlode.optimisation.trials import PROPOSERS
from matlode.screening.chemistry import ChargeNeutral
from tests.optimisation.crystal_search import ELEMENTS, SETTINGS, assert_same, prepare_search


@pytest.fixture(scope="module")
def prepared(models, known):
    return prepare_search(models, known)


def run(prepared, n_trials=SETTINGS.trials, **options):
    return prepared.campaign.run(prepared.known, n_trials, SETTINGS.seed, **options)


@pytest.fixture(scope="module")
def trials(prepared):
    return run(prepared)


@pytest.fixture(scope="module")
def found(prepared, trials):
    """Without the known materials."""
    return trials.take(np.arange(len(prepared.known), len(trials)))


def test_limits_hold_for_every_trial(found):
    for formula in found.formulas:
        amounts = parse_formula(str(formula))
        assert set(amounts) <= set(ELEMENTS)
        assert 2 <= len(amounts) <= 3
        assert sum(amounts.values()) <= 9


def test_every_trial_is_another_formula_with_a_crystal(prepared, found):
    assert len(set(found.formulas)) == len(found)
    assert not set(found.formulas) & set(prepared.known.formulas)
    crystals = found.blueprints.build(prepared.campaign.evaluator.library)
    for row, formula in enumerate(found.formulas):
        symbols = [site.specie.symbol for site in crystals.structure(row)]
        amounts = parse_formula(str(formula))
        assert {s: symbols.count(s) / len(symbols) for s in set(symbols)} == pytest.approx(
            {s: n / sum(amounts.values()) for s, n in amounts.items()}
        )


def test_all_proposers_take_part(found):
    counts = np.bincount(found.proposers, minlength=len(PROPOSERS))
    assert counts[PROPOSERS.index("known")] == 0
    assert (counts[1:] > 0).all()


def test_the_same_seed_gives_the_same_trials(prepared, trials):
    assert_same(run(prepared), trials)


def test_the_trials_do_not_depend_on_the_number_of_workers(prepared, trials):
    for n in (2, 3):
        with Processes(n) as engine:
            assert_same(run(prepared, engine=engine), trials)


def test_the_generation_decides(prepared, trials):
    campaign = replace(prepared.campaign, generation=BLOCK)
    found = campaign.run(prepared.known, SETTINGS.trials, SETTINGS.seed)
    first = len(prepared.known) + 30
    assert found.formulas[:first].tolist() == trials.formulas[:first].tolist()
    assert found.formulas.tolist() != trials.formulas.tolist()


def test_unbalanced_formulas_pay(trials):
    paid = trials.shortfalls[:, 1] > 0
    for formula, has_paid in zip(trials.formulas, paid, strict=True):
        assert has_paid != ChargeNeutral().grade(str(formula)).passed


def test_points_that_are_sampled_stay_in_the_box_of_the_latent_space(prepared, found):
    points = found.points[found.proposers == PROPOSERS.index("sampler")]
    bounds = prepared.campaign.bounds
    assert (points >= bounds[:, 0] - 1e-6).all()
    assert (points <= bounds[:, 1] + 1e-6).all()


def test_the_search_finds_better_materials_than_it_starts_from(prepared, found):
    goal = prepared.campaign.goal
    assert found.merits(goal)[-64:].mean() > prepared.known.merits(goal).mean()


def test_models_without_a_folder_are_asked_for(tmp_path):
    with pytest.raises(MatlodeError, match="matlode train"):
        _ = Models(tmp_path).space


def test_points_are_judged_as_decoded_when_asked(models, known):
    prepared = prepare_search(models, known, evaluate="points", trials=64)
    trials = prepared.campaign.run(prepared.known, 64, 1)
    found = trials.take(np.arange(len(prepared.known), len(trials)))
    assert len(found) == 64
    assert (found.templates == -1).all()
    amounts = models.space.formulas(found.points, prepared.campaign.goal.limits)
    np.testing.assert_allclose(
        found.compositions[:, amounts.any(axis=0)],
        (amounts / amounts.sum(axis=1, keepdims=True))[:, amounts.any(axis=0)],
    )
