from dataclasses import replace

import numpy as np
import pytest

from matlode.properties.endpoints import ENDPOINTS, Estimates
from matlode.properties.scores import BASELINES, compute_regression_scores, score, score_estimates
from matlode.properties.trees import SETTINGS
from matlode.representation.composition import composition_vectors


def test_perfect_predictions_score_perfectly():
    truth = np.array([1.0, 2.0, 4.0])
    assert compute_regression_scores(truth, truth) == {"mae": 0, "rmse": 0, "r2": 1}
    labels = np.array([0.0, 1.0, 1.0])
    perfect = score(ENDPOINTS["hull_probability_100_mev"], labels, labels)
    assert perfect == {"auc": 1, "brier": 0, "accuracy": 1, "f1": 1}


def test_logarithmic_endpoints_are_scored_in_logarithms_too():
    truth = np.array([1.0, 10.0, 100.0])
    scores = score(ENDPOINTS["thermal_conductivity"], truth, truth * np.e)
    assert scores["mae_ln"] == pytest.approx(1)
    assert "mae_ln" not in score(ENDPOINTS["band_gap"], truth, truth)


def test_the_mean_explains_nothing():
    truth = np.random.default_rng(0).normal(size=50)
    assert compute_regression_scores(truth, np.full(50, truth.mean()))["r2"] == pytest.approx(0)


def test_coverage_is_the_share_inside():
    truth = np.arange(4.0)
    estimates = Estimates(truth, truth - np.array([1, 1, 1, -1]), truth + np.array([1, 1, 1, 2]))
    scores = score_estimates(ENDPOINTS["bulk_modulus"], truth, estimates)
    assert scores["coverage"] == 0.75


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_and_order_does_not_matter(name, starter, monkeypatch):
    quick = replace(SETTINGS["standard"], n_rounds=100, max_depth=3)
    monkeypatch.setitem(SETTINGS, "standard", quick)
    endpoint = ENDPOINTS["bulk_modulus"]
    labels = endpoint.labels(starter)
    rows = np.flatnonzero(~np.isnan(labels))[:300]
    x, y = composition_vectors(starter.crystals.take(rows)), labels[rows]
    new = x[:40]
    forwards = BASELINES[name](endpoint, x, y, new)
    backwards = BASELINES[name](endpoint, x, y, new[::-1])[::-1]
    assert np.isfinite(forwards).all()
    np.testing.assert_allclose(forwards, backwards, rtol=1e-6)
    if name != "mean":
        assert np.abs(forwards - y[:40]).mean() < np.abs(y.mean() - y[:40]).mean()
