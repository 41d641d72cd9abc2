from dataclasses import replace

import numpy as np
import pytest

from matlode.optimisation.proposals import Draft, Ranking
from matlode.optimisation.trials import PROPOSERS
from matlode.optimisation.variations import N_DRAWN
from tests.optimisation.crystal_search import SETTINGS, evaluate_formulas, prepare_search


@pytest.fixture(scope="module")
def prepared(models, known):
    return prepare_search(models, known, n_start=400)


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
    known = prepared.known
    seen = set(known.formulas.tolist())
    varied = prepared.campaign.variations.vary(16, known, seen, np.random.default_rng(0))
    assert len(set(varied)) == len(varied) == 16 * N_DRAWN
    assert not seen & set(varied)
    goal, evaluator = prepared.campaign.goal, prepared.campaign.evaluator
    assert all(goal.limits.admit(formula) for formula in varied)
    found = evaluate_formulas(evaluator, varied)
    assert len(found) >= 32
    assert found.gains.mean() > known.gains.mean()


def test_the_best_variations_are_chosen_and_no_formula_twice(prepared):
    evaluator = prepared.campaign.evaluator
    draft = Draft(
        np.zeros((2, 88), dtype=np.float32), ("BTi", "CTi"), ("B2W", "BTi", "CW", "CNb"), 2
    )
    scores = {"B2W": 1.0, "CW": 3.0, "CNb": 2.0, "BTi": 4.0, "BNb": 5.0}
    ranking = Ranking([["CW", "BNb", "B2W"], ["BNb", "CW"]], scores)
    chosen = evaluator.choose(draft, ranking, {"CTi"})
    assert chosen.formulas == ("BTi", "CW", "CNb", "BNb")
    names = [PROPOSERS[at] for at in chosen.proposers]
    assert names == ["substitution", "variation", "variation", "sampler"]
    assert np.isnan(chosen.points).all(axis=1).tolist() == [True, True, True, False]


def test_without_substitutions_the_sampler_begins(models, known):
    prepared = prepare_search(models, known, substituted_share=0.0, varied_share=0.0)
    assert prepared.campaign.variations.count(0, 64) == (0, 0)
