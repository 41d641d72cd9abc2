import numpy as np
import pytest

from matlode.data.formulas import parse_formula
from matlode.errors import MatlodeError
from matlode.jobs.toolbox import Toolbox
from matlode.optimisation.campaign import Campaign, select_diverse
from matlode.optimisation.goal import Scale, make_goal
from matlode.optimisation.samplers import SAMPLERS

ELEMENTS = ("B", "C", "N", "Ti", "W")


@pytest.fixture(scope="module")
def campaign():
    toolbox = Toolbox()
    goal = make_goal(
        maximize=["bulk_modulus"], elements=ELEMENTS, known_elements=ELEMENTS, max_elements=3,
        max_atoms=9,
    )  # fmt: skip
    scale = Scale({"bulk_modulus": 100.0}, {"bulk_modulus": 100.0})
    return Campaign(goal, toolbox.space, toolbox.models, scale, SAMPLERS["tpe"])


@pytest.fixture(scope="module")
def trials(campaign):
    start = campaign.space.sample_prior(64, np.random.default_rng(0))
    return campaign.run(start, 128, np.random.default_rng(1))[0]


def test_limits_hold_for_every_trial(trials):
    for formula in trials.formulas:
        amounts = parse_formula(str(formula))
        assert set(amounts) <= set(ELEMENTS)
        assert len(amounts) <= 3
        assert sum(amounts.values()) <= 9


def test_the_same_seed_gives_the_same_trials(campaign, trials):
    start = campaign.space.sample_prior(64, np.random.default_rng(0))
    again, n_known = campaign.run(start, 128, np.random.default_rng(1))
    assert n_known == 64
    np.testing.assert_array_equal(again.points, trials.points)
    np.testing.assert_array_equal(again.formulas, trials.formulas)


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
        _ = Toolbox(tmp_path).space
