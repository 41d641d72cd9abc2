"""Trees as plain arrays: the laws of a walk, then XGBoost's own answers, then foreign arrays."""

import json

import numpy as np
import pytest
import xgboost

from matlode.errors import ArtefactError
from matlode.properties.forest import LEAF, Forest
from matlode.properties.trees import TreeSettings, convert_booster, fit_trees


def by_hand(rows):
    """Two trees: 1 where x₀ < 0.5, else 10 where x₁ < 2, else 20; and a leaf of 0.25."""
    forest = Forest(
        np.array([0, LEAF, 1, LEAF, LEAF, LEAF], np.int16),
        np.array([0.5, 1, 2, 10, 20, 0.25], np.float32),
        np.array([0, 5], np.int32),
        base=100.0,
        logistic=False,
    )
    return forest.predict(np.array(rows, float))


def test_a_row_goes_down_by_its_features():
    found = by_hand([[0, 9], [0.5, 1], [0.5, 2], [9, 9]])
    np.testing.assert_array_equal(found, [101.25, 110.25, 120.25, 120.25])


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 200])
def test_a_row_is_answered_alike_in_any_company(n):
    rows = np.random.default_rng(n).uniform(0, 4, (n, 2))
    together = by_hand(rows)
    assert together.shape == (n,)
    np.testing.assert_array_equal(together, [by_hand([row])[0] for row in rows])


def data(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6)).astype(np.float32)
    return x, x[:, 0] * x[:, 1] + np.where(x[:, 2] > 0.3, 2.0, 0.0)


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic"])
def test_answers_are_xgboosts(objective):
    x, y = data(2000, 0)
    label = y > 1 if objective == "binary:logistic" else y
    booster = xgboost.train(
        {"objective": objective, "max_depth": 7, "base_score": 0.3}, xgboost.DMatrix(x, label), 40
    )
    forest = convert_booster(json.loads(booster.save_raw("json")))
    new = data(500, 1)[0]
    for logits, kind in ((False, "value"), (True, "margin")):
        expected = booster.inplace_predict(new, predict_type=kind)
        # 40 leaves of half precision
        np.testing.assert_allclose(forest.predict(new, logits=logits), expected, atol=2e-3)


def test_saved_trees_answer_the_same():
    x, y = data(300, 2)
    forest = fit_trees(x, y, TreeSettings(n_rounds=20), objective="reg:squarederror")
    again = Forest.from_arrays(forest.arrays())
    np.testing.assert_array_equal(again.predict(x), forest.predict(x))


def damaged(name, change):
    x, y = data(200, 3)
    arrays = fit_trees(x, y, TreeSettings(n_rounds=3), objective="reg:squarederror").arrays()
    return {**arrays, name: change(arrays[name])}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features", lambda a: np.zeros_like(a)),  # no end
        ("features", lambda a: a[:-1]),
        ("features", lambda a: a - 5),
        ("values", lambda a: a[:-1]),
        ("roots", lambda a: a + 1),
        ("roots", lambda a: a[:0]),
        ("roots", lambda a: a[::-1]),
        ("roots", lambda a: np.array([0, 10**6])),
        ("base", lambda a: a[:0]),
        ("features", lambda a: a[:, None]),
    ],
)
def test_arrays_that_are_no_trees_are_refused(name, change):
    with pytest.raises(ArtefactError, match="trees"):
        Forest.from_arrays(damaged(name, change))


def test_rows_of_too_few_columns_are_refused():
    x, y = data(200, 4)
    forest = fit_trees(x, y, TreeSettings(n_rounds=10), objective="reg:squarederror")
    with pytest.raises(ArtefactError, match="use feature column 5, but the rows have 3"):
        forest.predict(x[:, :3])
