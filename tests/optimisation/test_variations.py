from dataclasses import replace

import numpy as np
import pytest

from matlode.optimisation.trials import PROPOSERS
from tests.optimisation.crystal_search import SETTINGS, prepare_search


@pytest.fixture(scope="module")
def prepared(models, known):
    return prepare_search(models, known, n_start=400)


def evaluate(prepared, first, n, seen=()):
    variations, known = prepared.campaign.variations, prepared.known
    return variations.evaluate(first, n, known, seen, np.random.default_rng(0))


def test_the_opening_comes_first_then_a_share_of_each_batch(prepared):
    variations = replace(prepared.campaign.variations, share=0.25)
    n = len(variations.opening)
    # a few elements have no more substitutions into known materials than that
    assert 8 <= n <= round(SETTINGS.substituted_share * SETTINGS.trials)
    assert variations.count(0, n) == (n, 0)
    assert variations.count(n - 5, 45) == (5, 10)
    assert variations.count(n, 64) == (0, 16)


def test_openings_are_new_formulas_within_the_limits(prepared, known):
    opening, limits = prepared.campaign.variations.opening, prepared.campaign.goal.limits
    assert len(set(opening)) == len(opening)
    assert not set(opening) & set(known.catalogue.rows_by_formula)
    assert all(limits.admit(formula) for formula in opening)


def test_variations_are_new_and_better_than_chance(prepared):
    n = len(prepared.campaign.variations.opening)
    found = evaluate(prepared, n, 64, seen=set(prepared.known.formulas.tolist()))
    assert (found.proposers == PROPOSERS.index("variation")).all()
    assert 8 <= len(found) <= 16
    assert not set(found.formulas) & set(prepared.known.formulas)
    goal = prepared.campaign.goal
    assert all(goal.limits.admit(str(formula)) for formula in found.formulas)
    assert found.gains.mean() > prepared.known.gains.mean()


def test_without_substitutions_the_sampler_begins(models, known):
    prepared = prepare_search(models, known, substituted_share=0.0, varied_share=0.0)
    assert prepared.campaign.variations.count(0, 64) == (0, 0)
