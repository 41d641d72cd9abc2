"""Scores of predictions, and baseline models to compare them with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from matlode.properties.endpoints import Endpoint, Estimates
from matlode.properties.trees import SETTINGS, fit_trees
from matlode.representation.descriptors import compute_composition_descriptors

Array = NDArray[np.floating]


def compute_regression_scores(truth: Array, predicted: Array) -> dict[str, float]:
    """Compute MAE, RMSE (unit of the endpoint) and R²."""
    error = predicted - truth
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "r2": float(1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum()),
    }


def compute_probability_scores(truth: Array, predicted: Array) -> dict[str, float]:
    """Compute area under the ROC curve, Brier score, and accuracy and F1 at threshold 0.5."""
    from sklearn.metrics import f1_score, roc_auc_score

    return {
        "auc": float(roc_auc_score(truth, predicted)),
        "brier": float(((predicted - truth) ** 2).mean()),
        "accuracy": float(((predicted >= 0.5) == (truth >= 0.5)).mean()),
        "f1": float(f1_score(truth >= 0.5, predicted >= 0.5, zero_division=0.0)),
    }


def score(endpoint: Endpoint, truth: Array, predicted: Array) -> dict[str, float]:
    """Scores for the task of ``endpoint``, regression or probability.

    With a logarithmic transform also MAE and R² of the natural logarithm.
    """
    if endpoint.task == "probability":
        return compute_probability_scores(truth, predicted)
    scores = compute_regression_scores(truth, predicted)
    if endpoint.transform == "log":
        # a linear baseline may predict negative values
        floor = truth[truth > 0].min()
        logs = (np.log(np.maximum(values, floor)) for values in (truth, predicted))
        of_log = compute_regression_scores(*logs)
        scores |= {"mae_ln": of_log["mae"], "r2_ln": of_log["r2"]}
    return scores


def score_estimates(endpoint: Endpoint, truth: Array, estimates: Estimates) -> dict[str, float]:
    """Scores of the values; for a regression also coverage and mean width of the intervals."""
    scores = score(endpoint, truth, estimates.value)
    if endpoint.task == "regression":
        inside = (truth >= estimates.low) & (truth <= estimates.high)
        scores["coverage"] = float(inside.mean())
        scores["interval_width"] = float((estimates.high - estimates.low).mean())
    return scores


def predict_mean(endpoint: Endpoint, x: Array, y: Array, x_new: Array) -> Array:
    """Predict the mean of the training labels."""
    return np.full(len(x_new), y.mean())


def predict_ridge(endpoint: Endpoint, x: Array, y: Array, x_new: Array) -> Array:
    """Ridge regression on composition descriptors (of the 0/1 label for probabilities)."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    model.fit(compute_composition_descriptors(x), y)
    return np.asarray(model.predict(compute_composition_descriptors(x_new)))


def predict_nearest_formula(endpoint: Endpoint, x: Array, y: Array, x_new: Array) -> Array:
    """Predict the label of the nearest training composition (sum of absolute differences)."""
    from sklearn.neighbors import KNeighborsRegressor

    return np.asarray(KNeighborsRegressor(1, p=1).fit(x, y).predict(x_new))


def predict_element_statistics(endpoint: Endpoint, x: Array, y: Array, x_new: Array) -> Array:
    """XGBoost on composition descriptors, without structural information."""
    objective = "binary:logistic" if endpoint.task == "probability" else "reg:squarederror"
    model = fit_trees(
        compute_composition_descriptors(x), y, SETTINGS["standard"], objective=objective
    )
    return model.predict(compute_composition_descriptors(x_new))


BASELINES: dict[str, Callable[[Endpoint, Array, Array, Array], Array]] = {
    "mean": predict_mean,
    "ridge": predict_ridge,
    "nearest formula": predict_nearest_formula,
    "element statistics + XGBoost": predict_element_statistics,
}
"""name → (endpoint, training compositions, labels, new compositions) → predictions."""
