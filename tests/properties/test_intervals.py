from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.isotonic import IsotonicRegression

from matlode.errors import ArtefactError
from matlode.properties.intervals import (
    COVERAGE,
    MIN_GROUP,
    apply_venn_abers,
    compute_conformal_quantile,
    fit_distance_factors,
    fit_venn_abers,
    look_up_factors,
)
from matlode.testing import ROUND_OFF, SAMPLING_SIGMAS
from tests.strategies import reals

scores_and_labels = st.lists(st.tuples(reals(-3, 3), st.booleans()), min_size=2, max_size=40)


def errors(rng: np.random.Generator, n: int) -> np.ndarray:
    """Sizes of errors with a heavy tail."""
    return np.abs(rng.standard_t(3, n))


@pytest.mark.parametrize("coverage", [0.5, COVERAGE, 0.99])
@pytest.mark.parametrize("n", [10, 99, 400])
def test_exchangeable_rows_are_covered(coverage, n):
    """Lei et al. (2018), theorem 2.2: between coverage and 1 / (n + 1) above."""
    n_seeds, n_new = 600, 50
    shares = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        limit = compute_conformal_quantile(errors(rng, n), coverage=coverage)
        shares.append((errors(rng, n_new) <= limit).mean())
    mean, standard_error = np.mean(shares), np.std(shares) / np.sqrt(n_seeds)
    assert mean >= coverage - SAMPLING_SIGMAS * standard_error
    assert mean <= coverage + 1 / (n + 1) + SAMPLING_SIGMAS * standard_error


@given(st.lists(reals(0, 5), min_size=10, max_size=60))
def test_the_quantile_is_the_smallest_that_covers_enough_of_the_calibration_rows(rows):
    sizes = np.array(rows)
    limit = compute_conformal_quantile(sizes)
    needed = int(np.ceil((len(rows) + 1) * COVERAGE))
    assert (sizes <= limit).sum() >= needed
    assert (sizes < limit).sum() < needed


@given(st.lists(reals(0, 5), min_size=10, max_size=30), reals(0.1, 4), st.randoms())
def test_the_quantile_has_the_unit_of_the_errors_and_no_order(rows, unit, random):
    limit = compute_conformal_quantile(np.array(rows))
    random.shuffle(rows)
    assert compute_conformal_quantile(unit * np.array(rows)) == pytest.approx(
        unit * limit, abs=1e-9
    )


def test_too_few_rows_promise_nothing():
    assert compute_conformal_quantile(np.ones(8)) == np.inf
    assert compute_conformal_quantile(np.ones(9)) == 1


@given(scores_and_labels)
def test_bounds_hold_the_probability_and_rise_with_the_score(rows):
    scores, labels = np.array(rows, dtype=float).T
    table = fit_venn_abers(scores, labels, n_points=30)
    new = np.linspace(scores.min() - 1, scores.max() + 1, 101)
    p, low, high = apply_venn_abers(table, new)
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert (low <= p + ROUND_OFF).all()
    assert (p <= high + ROUND_OFF).all()
    for bound in (p, low, high):
        assert (np.diff(bound) >= -ROUND_OFF).all()


@given(scores_and_labels)
def test_the_bounds_are_isotonic_fits_with_the_new_row_as_zero_and_as_one(rows):
    """Vovk and Petej (2014), algorithm 1, with scikit-learn's regression of all rows."""
    scores, labels = np.array(rows, dtype=float).T
    for score, *bounds in fit_venn_abers(scores, labels, n_points=5):
        for label, bound in zip((0.0, 1.0), bounds, strict=True):
            fit = IsotonicRegression(out_of_bounds="clip")
            fit.fit(np.append(scores, score), np.append(labels, label))
            assert fit.predict([score])[0] == pytest.approx(bound, abs=ROUND_OFF)


@given(scores_and_labels, st.sampled_from([np.exp, np.arctan, lambda s: 3 * s - 7]))
def test_only_the_order_of_the_scores_counts(rows, rising):
    scores, labels = np.array(rows, dtype=float).T
    before = fit_venn_abers(scores, labels, n_points=100)
    after = fit_venn_abers(rising(scores), labels, n_points=100)
    assert_allclose(after[:, 0], rising(before[:, 0]))
    assert_allclose(after[:, 1:], before[:, 1:], atol=ROUND_OFF)


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_are_calibrated_whatever_the_raw_scores_mean(seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.02, 0.98, 4000)
    labels = (rng.uniform(size=4000) < truth).astype(float)
    # an overconfident score: log odds three times too large
    scores = 3 * np.log(truth / (1 - truth))
    table = fit_venn_abers(scores[:1000], labels[:1000], n_points=60)
    p, low, high = apply_venn_abers(table, scores[1000:])
    for lower, upper in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)):
        inside = (p >= lower) & (p < upper)
        standard_error = np.sqrt(0.25 / inside.sum() + 0.25 / 250)
        gap = abs(labels[1000:][inside].mean() - p[inside].mean())
        assert gap < SAMPLING_SIGMAS * standard_error
    raw = 1 / (1 + np.exp(-scores[1000:]))
    assert np.mean((p - truth[1000:]) ** 2) < 0.25 * np.mean((raw - truth[1000:]) ** 2)
    assert np.mean(high - low) < 0.1


def test_a_score_without_information_gives_the_share_of_ones():
    scores = np.zeros(20)
    labels = np.repeat([0.0, 1.0], [15, 5])
    p, low, high = apply_venn_abers(fit_venn_abers(scores, labels), np.array([-1.0, 0.0, 1.0]))
    # isotonic regression of equal scores is their mean: 5 of 21 and 6 of 21
    assert_allclose(low, 5 / 21)
    assert_allclose(high, 6 / 21)
    assert_allclose(p, (6 / 21) / (1 - 5 / 21 + 6 / 21))


def test_perfectly_separated_scores_are_bounded_by_the_rows_on_their_side():
    scores, labels = np.arange(20.0), np.repeat([0.0, 1.0], 10)
    _, low, high = apply_venn_abers(fit_venn_abers(scores, labels), np.array([0.0, 19.0]))
    # among the ten zeros and a new one: at the lowest score 1 would pool with ten zeros
    assert_allclose([low[0], high[0]], [0, 1 / 11])
    assert_allclose([low[1], high[1]], [10 / 11, 1])


def test_the_table_rows_are_in_the_order_of_scores():
    table = fit_venn_abers(np.array([3.0, 1.0, 2.0, 2.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    assert_array_equal(table[:, 0], np.unique(table[:, 0]))
    assert (table[0, 0], table[-1, 0]) == (1, 3)


def growing_errors(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors that grow with a distance, as those of models far from what they know."""
    distances = rng.exponential(size=n)
    return errors(rng, n) * (1 + distances**2), distances


def test_every_distance_group_is_covered_where_one_factor_is_not_enough():
    """Vovk et al. (2005), proposition 4.7: conditional on the group, whatever its share."""
    n_seeds, shares, alone = 200, [], []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        sizes, distances = growing_errors(rng, 800)
        table = fit_distance_factors(sizes, distances)
        new, places = growing_errors(rng, 2000)
        far = (places > table[-3, 0]) & (places <= table[-2, 0])
        shares.append((new <= look_up_factors(table, places))[far].mean())
        alone.append((new <= compute_conformal_quantile(sizes))[far].mean())
    standard_error = np.std(shares) / np.sqrt(n_seeds)
    assert np.mean(shares) >= COVERAGE - SAMPLING_SIGMAS * standard_error
    assert np.mean(alone) < COVERAGE - 0.2


@given(st.integers(0, 50), st.integers(MIN_GROUP // 2, 12 * MIN_GROUP), reals(0.1, 9))
def test_factors_never_fall_with_distance_and_have_the_unit_of_the_errors(seed, n, unit):
    sizes, distances = growing_errors(np.random.default_rng(seed), n)
    table = fit_distance_factors(sizes, distances)
    assert (np.diff(table[:, 0]) > 0).all()
    assert (np.diff(table[:, 1]) >= 0).all()
    assert table[-1, 0] == np.inf
    scaled = fit_distance_factors(unit * sizes, distances)
    assert_allclose(scaled, table * [1, unit])


def test_groups_double_inwards_and_none_has_too_few_rows():
    distances = np.arange(760.0)
    table = fit_distance_factors(np.ones(760), distances)
    # 60 rows would be left for a group of their own
    assert_array_equal(table[:, 0], [459, 659, 759, np.inf])
    few = fit_distance_factors(np.ones(2 * MIN_GROUP - 1), distances[: 2 * MIN_GROUP - 1])
    assert_array_equal(few, [[2 * MIN_GROUP - 2, 1], [np.inf, 1]])


def test_beyond_what_was_seen_the_last_factor_holds():
    table = fit_distance_factors(np.ones(150), np.arange(150.0), beyond=3.0)
    places = np.array([0.0, 149.0, 149.5, np.inf, np.nan])
    assert_array_equal(look_up_factors(table, places), [1, 1, 3, 3, 3])
    # rows that are infinitely far count in no group
    more = fit_distance_factors(np.append(np.ones(150), 9), np.append(np.arange(150.0), np.inf))
    assert_array_equal(more[:, 1], [1, 1])


@pytest.mark.parametrize("n_finite", [0, 1, 8])
def test_with_few_finite_distances_one_factor_is_left_and_it_is_finite(n_finite):
    distances = np.append(np.arange(float(n_finite)), np.full(40, np.inf))
    sizes = np.linspace(0.5, 2, len(distances))
    table = fit_distance_factors(sizes, distances)
    assert_array_equal(table, [[np.inf, compute_conformal_quantile(sizes)]])
    assert np.isfinite(table[0, 1])


def test_one_factor_holds_everywhere_and_more_ask_for_distances():
    assert look_up_factors(np.array([2.0]), None) == 2
    with pytest.raises(
        ArtefactError, match=r"distances are missing: .* PropertyNetwork\.distances"
    ):
        look_up_factors(np.array([[1.0, 2.0], [np.inf, 3.0]]), None)
