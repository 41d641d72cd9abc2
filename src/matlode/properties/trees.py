"""Fitting of gradient-boosted trees, for the heads and the property network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.properties.forest import LEAF, Forest
from matlode.records import Face

if TYPE_CHECKING:
    import xgboost


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
    """Rounds of the model that predicts the size of errors."""
    cross_fit_rounds: int = 250
    """Rounds of the two cross-fitted models whose errors that model is trained on."""
    cross_fit_eta: float = 0.12
    """Learning rate of these two models."""
    seed: int = 0


SETTINGS: dict[Face, TreeSettings] = {
    "standard": TreeSettings(),
    # Table S2 of the paper, which does not give the number of rounds
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
    """Held-out rows on which trees are evaluated during training, and the callback for it."""

    features: NDArray[np.floating]
    """(m, n_columns)."""
    labels: NDArray[np.floating]
    """(m,), in the scale of the model."""
    report: Callable[[int, float], None]
    """Callback that receives the number of rounds and the mean absolute error, or the log loss of a
    classifier."""
    every: int = 50
    """Rounds between two calls."""


NETWORK_TREES = TreeSettings()
"""Trees that are averaged with the property network."""


def fit_trees(
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    settings: TreeSettings,
    *,
    objective: str,
    n_rounds: int | None = None,
    watch: Watch | None = None,
    **extra: float,
) -> Forest:
    """Train a model with XGBoost on ``features`` (n, n_columns) and ``labels`` (n,).

    ``objective`` and ``extra`` parameters have XGBoost's names. ``watch`` evaluates the model on
    held-out rows during the training; an exception that its callback raises ends the training.
    """
    import xgboost

    names = {"lambda_": "lambda"}
    scale = 1.0 if objective == "binary:logistic" else _scale(labels)
    own = {"n_rounds", "difficulty_rounds", "cross_fit_rounds", "cross_fit_eta"}
    parameters = {names.get(k, k): v for k, v in asdict(settings).items() if k not in own}
    data = xgboost.QuantileDMatrix(features, label=labels / scale, max_bin=settings.max_bin)
    parameters |= {"objective": objective, "tree_method": "hist"} | extra
    evals: list[tuple[xgboost.DMatrix, str]] = []
    callbacks: list[xgboost.callback.TrainingCallback] = []
    if watch is not None:
        parameters["eval_metric"] = "logloss" if objective == "binary:logistic" else "mae"
        held = xgboost.QuantileDMatrix(
            watch.features, label=watch.labels / scale, max_bin=settings.max_bin, ref=data
        )
        evals, callbacks = [(held, "held")], [_make_callback(watch, scale)]
    booster = xgboost.train(
        parameters,
        data,
        num_boost_round=n_rounds or settings.n_rounds,
        evals=evals,
        callbacks=callbacks,
        verbose_eval=False,
    )
    return convert_booster(json.loads(booster.save_raw("json")), scale)


def _make_callback(watch: Watch, scale: float) -> xgboost.callback.TrainingCallback:
    import xgboost

    def report(
        model: xgboost.Booster,
        epoch: int,
        evals_log: Mapping[str, Mapping[str, Sequence[float]]],
    ) -> bool:
        if (epoch + 1) % watch.every == 0:
            ((losses),) = evals_log["held"].values()
            # a log loss has no unit, and its scale is 1
            watch.report(epoch + 1, losses[-1] * scale)
        return False

    callback = xgboost.callback.TrainingCallback()
    callback.after_iteration = report
    return callback


def _scale(labels: NDArray[np.floating]) -> float:
    """Power of ten by which labels are divided before training.

    XGBoost ignores gains below 1e-6, so it would predict the mean for labels such as 1e-5 1/K.
    """
    sigma = float(np.std(labels))
    if sigma == 0 or 0.1 <= sigma <= 1000:
        return 1.0
    return float(10.0 ** np.floor(np.log10(sigma)))


def convert_booster(model: Mapping[str, Any], scale: float = 1.0) -> Forest:
    """Convert XGBoost's JSON format to a ``Forest`` whose output is multiplied by ``scale``.

    Missing feature values are not supported. Leaves are rounded to half precision to save space;
    the further digits are noise.
    """
    learner = model["learner"]
    logistic = learner["objective"]["name"] == "binary:logistic"
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    if logistic:  # stored as a probability
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
    for node in order:  # grows during the iteration
        if left[node] >= 0:
            order += [left[node], right[node]]
    return order
