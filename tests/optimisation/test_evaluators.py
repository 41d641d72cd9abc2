import numpy as np
import pytest

from matlode.optimisation.evaluators import N_CRYSTALS
from matlode.optimisation.goal import STABILITY
from tests.optimisation.crystal_search import evaluate_formulas, prepare_search


@pytest.fixture(scope="module")
def evaluator(models, known):
    return prepare_search(models, known).campaign.evaluator


def test_stiff_crystals_have_larger_merits_than_soft_ones(evaluator):
    trials = evaluate_formulas(evaluator, ["CW", "ClK", "B17C3N11"])
    # no known material has the stoichiometry of the last
    assert trials.formulas.tolist() == ["CW", "ClK"]
    stiff, soft = trials.merits(evaluator.valuation.goal)
    assert stiff > soft + 1


def test_results_do_not_depend_on_the_neighbours(evaluator):
    alone = evaluate_formulas(evaluator, ["BTi"])
    together = evaluate_formulas(evaluator, ["CW", "BTi", "B2W"])
    at = together.formulas.tolist().index("BTi")
    assert together.templates[at] == alone.templates[0]
    np.testing.assert_allclose(together.values[at], alone.values[0], rtol=1e-4)


def test_the_likeliest_crystal_to_be_stable_represents_a_formula(evaluator):
    owners, crystals, _ = evaluator.evaluate_crystals(["BTi"])
    assert 1 < len(owners) <= N_CRYSTALS
    chances = crystals.values[:, evaluator.valuation.goal.endpoints.index(STABILITY)]
    chosen = evaluate_formulas(evaluator, ["BTi"])
    assert chosen.templates[0] == crystals.templates[chances.argmax()]


def test_crystals_of_a_formula_are_of_different_types(evaluator):
    _, crystals, _ = evaluator.evaluate_crystals(["BTi"])
    library = evaluator.library
    types = {
        (library.space_groups[t], library.materials.crystals.n_atoms[t]) for t in crystals.templates
    }
    assert len(types) == len(crystals)


def test_formulas_that_were_seen_are_passed_over(evaluator, known, models):
    points = models.space.sample_prior(8, np.random.default_rng(0))
    first = evaluator.evaluate_points(points)
    second = evaluator.evaluate_points(points, set(first.formulas.tolist()))
    assert len(first) > 4
    assert not set(first.formulas) & set(second.formulas)


def test_nothing_to_evaluate_is_no_error(evaluator):
    assert len(evaluate_formulas(evaluator, [])) == 0
    assert len(evaluate_formulas(evaluator, ["B17C3N11"])) == 0
