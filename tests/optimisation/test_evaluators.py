import numpy as np
import pytest

from matlode.optimisation.evaluators import N_CRYSTALS
from matlode.optimisation.goal import STABILITY
from tests.optimisation.crystal_search import prepare_search


@pytest.fixture(scope="module")
def evaluator(models, known):
    return prepare_search(models, known).campaign.evaluator


def test_stiff_crystals_have_larger_merits_than_soft_ones(evaluator):
    trials = evaluator.evaluate_formulas(["CW", "ClK", "B17C3N11"], proposer="sampler")
    # no known material has the stoichiometry of the last
    assert trials.formulas.tolist() == ["CW", "ClK"]
    stiff, soft = trials.merits(evaluator.valuation.goal)
    assert stiff > soft + 1


def test_results_do_not_depend_on_the_neighbours(evaluator):
    alone = evaluator.evaluate_formulas(["BTi"], proposer="sampler")
    together = evaluator.evaluate_formulas(["CW", "BTi", "B2W"], proposer="sampler")
    at = together.formulas.tolist().index("BTi")
    assert together.templates[at] == alone.templates[0]
    np.testing.assert_allclose(together.values[at], alone.values[0], rtol=1e-4)


def test_the_likeliest_crystal_to_be_stable_represents_a_formula(evaluator):
    owners, crystals = evaluator.evaluate_crystals(["BTi"], proposer="sampler")
    assert 1 < len(owners) <= N_CRYSTALS
    chances = crystals.values[:, evaluator.valuation.goal.endpoints.index(STABILITY)]
    chosen = evaluator.evaluate_formulas(["BTi"], proposer="sampler")
    assert chosen.templates[0] == crystals.templates[chances.argmax()]


def test_crystals_of_a_formula_are_of_different_types(evaluator):
    _, crystals = evaluator.evaluate_crystals(["BTi"], proposer="sampler")
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
    assert len(evaluator.evaluate_formulas([], proposer="variation")) == 0
    assert len(evaluator.evaluate_formulas(["B17C3N11"], proposer="variation")) == 0
