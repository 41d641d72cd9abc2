"""Soft wishes: nothing is missing where they are met, and more the further away."""

import numpy as np
import pytest

from matlode.errors import GoalError
from matlode.jobs.wishes import draw_like_points, find_like_point, make_preferences
from matlode.optimisation.goal import Goal
from matlode.optimisation.preferences import Decoded, Near, Neutral, New, PatternLike
from matlode.representation.composition import composition_vectors, compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns


@pytest.fixture(scope="module")
def decoded(models, starter):
    few = starter.take(np.arange(0, 40, 2))
    compositions, patterns = composition_vectors(few.crystals), simulate_patterns(few.crystals)
    points = models.space.encode(compositions, patterns)
    return Decoded(points, tuple(few.frame["formula"]), compositions, patterns)


def formulas(*names):
    x = compute_formula_vectors(list(names))
    return Decoded(np.zeros((len(x), 88)), names, x, np.ones((len(x), 1601)))


def wanted(**preferences):
    texts = {name: text for name, text in preferences.items() if isinstance(text, str)}
    return Goal(objectives=(), ranges=(), preferences=dict.fromkeys(preferences, 1.0),
                allowed=("O",), **texts)  # fmt: skip


def test_charges_that_balance_or_need_not_cost_nothing():
    found = Neutral().shortfall(formulas("NaCl", "ClNa2", "FeNi"))
    assert found.tolist() == [0, 1, 0]


def test_known_formulas_are_not_new():
    assert New(known={"ClNa"}).shortfall(formulas("ClNa", "ClNa3")).tolist() == [1, 0]


def test_nearness_is_a_distance(decoded):
    found = Near(point=decoded.points[3].astype(float)).shortfall(decoded)
    assert found[3] == pytest.approx(0, abs=1e-6)
    assert (np.delete(found, 3) > 0.05).all()


def test_a_pattern_is_most_like_itself(decoded):
    found = PatternLike(pattern=decoded.patterns[5]).shortfall(decoded)
    assert found.argmin() == 5
    assert found[5] == pytest.approx(0, abs=1e-5)
    assert (found <= 2).all()


def test_all_preferences_of_a_goal_are_weighed_in_its_order(models, known, decoded, tmp_path):
    path = tmp_path / "my.xy"
    grid = np.linspace(10, 90, 1601)
    np.savetxt(path, np.column_stack([grid, 1000 * decoded.patterns[2]]), fmt="%.3f")
    goal = wanted(charge_neutral=1, plausible_pattern=1, novel=1, like="SrTiO3",
                  like_pattern=str(path))  # fmt: skip
    for preference in make_preferences(goal, models, known):
        found = preference.shortfall(decoded)
        assert found.shape == (20,)
        assert (found >= 0).all()
        assert np.isfinite(found).all()
    assert found.argmin() == 2


def test_likeness_begins_at_what_is_to_be_resembled(models, known, tmp_path):
    goal = wanted(like="NaCl")
    start = models.space.sample_prior(5, np.random.default_rng(0))
    found = draw_like_points(goal, models.space, known, start, np.random.default_rng(0))
    point = find_like_point("NaCl", models.space, known)
    assert found.shape == (64, 88)
    near = Near(point=point).shortfall(Decoded(found, (), found, found))
    assert near.max() < 0.4
    assert not len(draw_like_points(wanted(), models.space, known, start, np.random.default_rng(0)))


def test_a_formula_without_a_structure_is_half_a_point(models, known):
    assert find_like_point("Na7W5Cl3", models.space, known).shape == (24,)
    assert find_like_point("NaCl", models.space, known).shape == (88,)
    with pytest.raises(GoalError, match="neither a structure file nor a formula"):
        find_like_point("nothing.cif", models.space, known)
