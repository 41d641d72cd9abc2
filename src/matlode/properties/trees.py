"""Gradient-boosted trees: what heads are made of, and what the property network listens to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.errors import ArtefactError

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
    """Rounds of the model that says where errors are large."""
    cross_fit_rounds: int = 250
    """Rounds of the two models whose errors on unseen formulas it learns from."""
    cross_fit_eta: float = 0.12
    seed: int = 0


SETTINGS = {
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
NETWORK_TREES = TreeSettings(n_rounds=400, eta=0.1)
"""Of the trees that the property network listens to: half the size, and as good in company."""


def fit_trees(
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    settings: TreeSettings,
    *,
    objective: str,
    n_rounds: int | None = None,
    **extra: Any,
) -> xgboost.Booster:
    """One XGBoost model; ``objective`` and ``extra`` under XGBoost's names."""
    import xgboost

    names = {"lambda_": "lambda"}
    scale = 1.0 if objective == "binary:logistic" else _scale(labels)
    own = {"n_rounds", "difficulty_rounds", "cross_fit_rounds", "cross_fit_eta"}
    parameters = {names.get(k, k): v for k, v in asdict(settings).items() if k not in own}
    data = xgboost.QuantileDMatrix(features, label=labels / scale, max_bin=settings.max_bin)
    booster = xgboost.train(
        parameters | {"objective": objective, "tree_method": "hist"} | extra,
        data,
        num_boost_round=n_rounds or settings.n_rounds,
    )
    booster.set_attr(scale=repr(scale))
    return booster


def _scale(labels: NDArray[np.floating]) -> float:
    """A power of ten that brings labels to the size that XGBoost can split by: gains below 1e-6
    count as none to it, so labels such as 1e-5 1/K would all be given their mean."""
    sigma = float(np.std(labels))
    if sigma == 0 or 0.1 <= sigma <= 1000:
        return 1.0
    return float(10.0 ** np.floor(np.log10(sigma)))


def predict_trees(
    booster: xgboost.Booster, features: NDArray[np.floating], *, logits: bool = False
) -> NDArray[np.float64]:
    """Predictions of a booster, (n,) or (n, n_outputs); ``logits`` in place of chances."""
    kind = "margin" if logits else "value"
    x = np.asarray(features, np.float32)
    raw = np.asarray(booster.inplace_predict(x, predict_type=kind), dtype=float)
    # trees of before were all of labels about 1
    return raw * float(booster.attr("scale") or 1.0)


def booster_bytes(booster: xgboost.Booster) -> NDArray[np.uint8]:
    """(n_bytes,), a booster as its own UBJSON."""
    return np.frombuffer(booster.save_raw("ubj"), np.uint8)


def booster_of(raw: NDArray[np.uint8], folder: Path) -> xgboost.Booster:
    """Read back what ``booster_bytes`` gave; raises ArtefactError if it cannot be used."""
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(raw.tobytes()))
    except xgboost.core.XGBoostError as error:
        raise ArtefactError(f"{folder}: not a readable XGBoost model ({error}).") from error
    return booster
