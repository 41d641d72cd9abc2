"""Fitting gradient-boosted trees: what heads are made of, and the property network listens to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.properties.forest import LEAF, Forest
from matlode.records import Face


@dataclass(frozen=True, kw_only=True)
class TreeSettings:
    """XGBoost's hyper-parameters under XGBoost's names."""

    n_rounds: int = 800
    max_depth: int = 8
    eta: float = 0.05
    alpha: float = 0.0
    gamma: float = 0.0
    lambda_: float = 3.0
    min_child_weight: float = 3.0
    subsample: float = 0.8
    colsample_bytree: float = 0.4
    colsample_bylevel: float = 1.0
    max_bin: int = 128
    difficulty_rounds: int = 150
    """Rounds of the model that says where errors are large."""
    cross_fit_rounds: int = 250
    """Rounds of the two models whose errors on unseen formulas it learns from."""
    cross_fit_eta: float = 0.12
    seed: int = 0


SETTINGS: dict[Face, TreeSettings] = {
    "standard": TreeSettings(),
    # Table S2; the number of rounds is not in it
    "reference": TreeSettings(
        n_rounds=1000,
        max_depth=6,
        eta=2.12e-2,
        alpha=1.91,
        gamma=0.783,
        lambda_=9.01,
        min_child_weight=1.0,
        subsample=0.846,
        colsample_bytree=0.888,
        colsample_bylevel=0.334,
        max_bin=256,
    ),
}
"""face → hyper-parameters."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Rows that trees do not learn from, and who hears how good they are on these."""

    features: NDArray[np.floating]
    """(m, n_columns)."""
    labels: NDArray[np.floating]
    """(m,), in the model's scale."""
    told: Callable[[int, float], None]
    """Hears the rounds so far and the mean absolute error, or log loss of a classifier."""
    every: int = 50
    """Rounds between two calls."""


NETWORK_TREES = TreeSettings(n_rounds=400, eta=0.1)
"""Of the trees that the property network listens to: half the size, and as good in company."""


def fit_trees(
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    settings: TreeSettings,
    *,
    objective: str,
    n_rounds: int | None = None,
    watch: Watch | None = None,
    **extra: Any,
) -> Forest:
    """One model by XGBoost; ``objective`` and ``extra`` under XGBoost's names.

    ``watch`` hears on the way how good it is on other rows; what it raises ends the training.
    """
    import xgboost

    names = {"lambda_": "lambda"}
    scale = 1.0 if objective == "binary:logistic" else _scale(labels)
    own = {"n_rounds", "difficulty_rounds", "cross_fit_rounds", "cross_fit_eta"}
    parameters = {names.get(k, k): v for k, v in asdict(settings).items() if k not in own}
    data = xgboost.QuantileDMatrix(features, label=labels / scale, max_bin=settings.max_bin)
    parameters |= {"objective": objective, "tree_method": "hist"} | extra
    watching: dict[str, Any] = {}
    if watch is not None:
        parameters["eval_metric"] = "logloss" if objective == "binary:logistic" else "mae"
        held = xgboost.QuantileDMatrix(
            watch.features, label=watch.labels / scale, max_bin=settings.max_bin, ref=data
        )
        watching = {"evals": [(held, "held")], "verbose_eval": False}
        watching["callbacks"] = [_callback(watch, scale)]
    booster = xgboost.train(
        parameters, data, num_boost_round=n_rounds or settings.n_rounds, **watching
    )
    return forest_of(json.loads(booster.save_raw("json")), scale)


def _callback(watch: Watch, scale: float) -> Any:
    import xgboost

    class Teller(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if (epoch + 1) % watch.every == 0:
                ((losses),) = evals_log["held"].values()
                # a log loss has no unit, and its scale is 1
                watch.told(epoch + 1, losses[-1] * scale)
            return False

    return Teller()


def _scale(labels: NDArray[np.floating]) -> float:
    """A power of ten that brings labels to the size that XGBoost can split by: gains below 1e-6
    count as none to it, so labels such as 1e-5 1/K would all be given their mean."""
    sigma = float(np.std(labels))
    if sigma == 0 or 0.1 <= sigma <= 1000:
        return 1.0
    return float(10.0 ** np.floor(np.log10(sigma)))


def forest_of(model: Mapping[str, Any], scale: float = 1.0) -> Forest:
    """The trees of XGBoost's JSON for a model of numbers without gaps, its output multiplied by
    ``scale``. Leaves are kept in half precision: their other digits are noise, and take space."""
    learner = model["learner"]
    logistic = learner["objective"]["name"] == "binary:logistic"
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    if logistic:  # kept as a chance
        base = float(np.log(base / (1 - base)))
    features: list[NDArray[np.integer]] = []
    values: list[NDArray[np.float64]] = []
    roots = [0]
    for tree in learner["gradient_booster"]["model"]["trees"]:
        order = _breadth_first(tree["left_children"], tree["right_children"])
        is_leaf = np.array(tree["left_children"])[order] < 0
        value = np.array(tree["split_conditions"], dtype=np.float64)[order]
        features.append(np.where(is_leaf, LEAF, np.array(tree["split_indices"])[order]))
        leaf = value.astype(np.float16).astype(np.float64) * scale
        values.append(np.where(is_leaf, leaf, value))
        roots.append(roots[-1] + len(order))
    return Forest(
        np.concatenate(features).astype(np.int16),
        np.concatenate(values).astype(np.float32),
        np.array(roots[:-1], dtype=np.int32),
        base * scale,
        logistic,
    )


def _breadth_first(left: list[int], right: list[int]) -> list[int]:
    order = [0]
    for node in order:  # grows as it is walked
        if left[node] >= 0:
            order += [left[node], right[node]]
    return order
