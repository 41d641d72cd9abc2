"""Merits that crystals keep, and the rules by which a list is diverse."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from matlode.data.formulas import anonymise_formula
from matlode.jobs.shortlist import (
    compute_crystal_merits,
    rank_proposals,
    realise_proposals,
    screen_proposals,
)
from matlode.jobs.starts import SearchSettings, prepare_campaign
from matlode.optimisation.goal_file import make_goal
from matlode.progress import silent

SETTINGS = SearchSettings(trials=128, n_start=120, n_screened=40, n_realised=20, n_candidates=12)


@pytest.fixture(scope="module")
def goal(models, known):
    sections = {"maximize": ["bulk_modulus"], "elements": {"forbidden": ["Os", "Re"]}}
    return make_goal(sections, known_elements=known.elements, endpoints=models.endpoints)


@pytest.fixture(scope="module")
def prepared(goal, models, known):
    return prepare_campaign(goal, models, known, SETTINGS)


@pytest.fixture(scope="module")
def trials(prepared):
    found, n_known = prepared.run(SETTINGS)
    return found.take(np.arange(n_known, len(found)))


@pytest.fixture(scope="module")
def screen_trials(prepared, trials, models, known, rules):
    """Screen the trials with some settings."""
    return partial(screen_proposals, prepared.campaign, trials, models, known.prototypes, rules)


def test_a_search_begins_at_as_many_known_materials_as_asked_for(prepared):
    assert len(prepared.start) == SETTINGS.n_start
    assert len(np.unique(prepared.start, axis=0)) == SETTINGS.n_start


def test_half_of_the_start_is_better_than_chance(prepared):
    known = prepared.campaign.evaluate(prepared.start)
    merits = known.merits(prepared.campaign.goal)
    n_drawn = SETTINGS.n_start // 2
    assert merits[n_drawn:].mean() > merits[:n_drawn].mean() + 0.3


def test_openings_are_new_formulas_of_allowed_elements(prepared, known, goal, trials):
    n = round(SETTINGS.substituted_share * SETTINGS.trials)
    assert len(prepared.opening) == n
    opening = trials.take(np.arange(n))
    np.testing.assert_array_equal(opening.points, prepared.opening)
    # encoded and decoded: a few come back as another formula
    known = [str(f) in known.catalogue.rows_by_formula for f in opening.formulas]
    assert np.mean(known) < 0.1
    assert not (opening.compositions[:, ~goal.allowed_mask] > 0).any()


def test_without_substitutions_the_sampler_proposes_everything(goal, models, known):
    settings = replace(SETTINGS, substituted_share=0.0)
    assert len(prepare_campaign(goal, models, known, settings).opening) == 0


def test_crystals_of_stiff_materials_keep_more_than_those_of_soft_ones(prepared, models, known):
    formulas = ["CW", "ClK", "B17C3N11"]
    merits = compute_crystal_merits(prepared.campaign, models, known.prototypes, formulas)
    stiff, soft, strange = merits
    assert stiff > soft + 1
    assert np.isnan(strange)  # no known material has this stoichiometry


def test_merits_of_crystals_do_not_depend_on_their_neighbours(prepared, models, known):
    given = prepared.campaign, models, known.prototypes
    alone = [compute_crystal_merits(*given, [formula])[0] for formula in ("CW", "ClK")]
    together = compute_crystal_merits(*given, ["CW", "ClK"])
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_proposals_are_ordered_and_no_better_than_their_points(screen_trials, prepared, trials):
    found = screen_trials(SETTINGS)
    assert len(found) <= SETTINGS.n_screened
    best = {
        str(formula): trials.merits(prepared.campaign.goal)[trials.formulas == formula].max()
        for formula in trials.formulas
    }
    assert all(p.merit <= best[p.candidate.formula] + 1e-9 for p in found)
    accepted = [p.screened.accepted for p in found]
    assert accepted == sorted(accepted, reverse=True)
    missed = [bool(p.missed) for p in found if p.screened.accepted]
    assert missed == sorted(missed)
    merits = [p.merit for p in found if p.screened.accepted and not p.missed]
    assert merits == sorted(merits, reverse=True)


def test_what_lies_in_the_ranges_that_were_asked_for_comes_first(models, known, rules):
    settings = replace(SETTINGS, n_candidates=40)
    sections = {"maximize": ["stable_probability"], "within": {"bulk_modulus": "> 300"}}
    goal = make_goal(sections, known_elements=known.elements, endpoints=models.endpoints)
    prepared = prepare_campaign(goal, models, known, settings)
    found, n_known = prepared.run(settings)
    found = found.take(np.arange(n_known, len(found)))
    screened = screen_proposals(prepared.campaign, found, models, known.prototypes, rules, settings)
    built = realise_proposals(screened, prepared.campaign, models, known.builder, silent)
    accepted = [p for p in rank_proposals(built, settings) if p.screened.accepted]
    missed = [bool(p.missed) for p in accepted]
    assert 0 < sum(missed) < len(missed)
    assert missed == sorted(missed)
    for proposal in accepted:
        promises = [proposal.candidate.predictions, proposal.built_predictions]
        stiff = all(p["bulk_modulus"].value >= 300 for p in promises if p)
        assert stiff or proposal.missed


def test_no_system_and_no_prototype_fills_the_list(screen_trials, prepared, models, known):
    settings = replace(SETTINGS, max_per_system=2, max_per_prototype=1)
    screened = screen_trials(settings)
    built = realise_proposals(screened[:20], prepared.campaign, models, known.builder, silent)
    listed = rank_proposals(built, settings)
    types = Counter(
        (anonymise_formula(p.candidate.formula), p.built.space_group)
        for p in listed
        if p.built is not None
    )
    assert max(types.values()) == 1
    assert len(rank_proposals(built, SETTINGS)) >= len(listed)
