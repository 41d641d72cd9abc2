"""Gradient-boosted trees with calibrated intervals: one head per endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import load_artefact, save_artefact
from matlode.errors import ArtefactError
from matlode.properties.endpoints import Endpoint, find_endpoint
from matlode.properties.intervals import (
    COVERAGE,
    conformal_margin,
    venn_abers,
    venn_abers_table,
)

if TYPE_CHECKING:
    import xgboost

CASES = ("simulated", "decoded")
"""Where a pattern comes from: a real structure (or a measurement), or the latent space.
Intervals are calibrated for each apart, since users do both."""


@dataclass(frozen=True, kw_only=True)
class TreeSettings:
    """XGBoost's hyper-parameters under XGBoost's names."""

    n_rounds: int = 700
    max_depth: int = 7
    eta: float = 0.04
    alpha: float = 0.0
    gamma: float = 0.0
    lambda_: float = 3.0
    min_child_weight: float = 3.0
    subsample: float = 0.8
    colsample_bytree: float = 0.4
    colsample_bylevel: float = 1.0
    max_bin: int = 128
    quantile_rounds: int = 250
    """Rounds of the two quantile models behind an interval."""
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


@dataclass(frozen=True)
class Estimates:
    """Predictions of one endpoint for n materials, (n,) each, in the endpoint's unit."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    """Low end of the 90 % interval."""
    high: NDArray[np.float64]
    """High end of the 90 % interval."""


@dataclass(frozen=True)
class Head:
    """A fitted model of one endpoint.

    Regression: boosted trees for the value, two boosted quantile models made to cover by
    conformal margins (one per case). Probability: boosted trees for the log odds, made a
    probability and an interval by a Venn-Abers table (one per case).
    """

    endpoint: Endpoint
    face: str
    settings: TreeSettings
    value_model: xgboost.Booster
    quantile_model: xgboost.Booster | None
    calibration: Mapping[str, NDArray[np.float64]]
    """case → margin (1,) for a regression, Venn-Abers table (m, 3) for a probability."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on and its held-out scores."""

    def predict(self, features: NDArray[np.floating], *, case: str) -> Estimates:
        """Estimates for feature rows (n, n_columns); ``case`` is one of CASES."""
        raw = predict_trees(self.value_model, features)
        if self.endpoint.task == "probability":
            return Estimates(*venn_abers(self.calibration[case], raw))
        assert self.quantile_model is not None
        quantiles = predict_trees(self.quantile_model, features)
        margin = float(self.calibration[case][0])
        lowest = self.endpoint.lowest
        value = np.maximum(raw, lowest)
        low, high = quantiles.min(axis=1) - margin, quantiles.max(axis=1) + margin
        return Estimates(
            value, np.clip(low, lowest, value), np.maximum(np.maximum(high, value), lowest)
        )

    def save(self, folder: Path) -> None:
        """Write the head as an artefact (boosters as their own UBJSON bytes)."""
        arrays = {f"calibration/{case}": table for case, table in self.calibration.items()}
        boosters = {"value": self.value_model, "quantiles": self.quantile_model}
        for name, booster in boosters.items():
            if booster is not None:
                arrays[f"booster/{name}"] = np.frombuffer(booster.save_raw("ubj"), np.uint8)
        header = {
            "endpoint": self.endpoint.name,
            "unit": self.endpoint.unit,
            "face": self.face,
            "settings": asdict(self.settings),
            **self.report,
        }
        save_artefact(folder, kind="head", header=header, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read back what ``save`` wrote; raises ArtefactError if it cannot be used."""
        artefact = load_artefact(folder).require("head")
        header, arrays = artefact.header, artefact.arrays
        calibration = {case: arrays[f"calibration/{case}"] for case in CASES}
        quantiles = arrays.get("booster/quantiles")
        own = {"schema", "kind", "endpoint", "unit", "face", "settings", "arrays"}
        return cls(
            endpoint=find_endpoint(header["endpoint"]),
            face=header["face"],
            settings=TreeSettings(**header["settings"]),
            value_model=_booster(arrays["booster/value"], folder),
            quantile_model=None if quantiles is None else _booster(quantiles, folder),
            calibration=calibration,
            report={name: value for name, value in header.items() if name not in own},
        )


def fit_head(
    endpoint: Endpoint,
    face: str,
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    calibration: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    *,
    settings: TreeSettings | None = None,
) -> Head:
    """Fit a head on training rows and calibrate it on others.

    ``features`` (n, n_columns) and ``labels`` (n,) train the trees; ``calibration`` holds
    (features, labels) of unseen formulas per case.
    """
    settings = settings or SETTINGS[face]
    probability = endpoint.task == "probability"
    objective = "binary:logistic" if probability else "reg:squarederror"
    value_model = fit_trees(features, labels, settings, objective=objective)
    quantile_model = None
    if not probability:
        tail = (1 - COVERAGE) / 2
        quantile_model = fit_trees(
            features,
            labels,
            settings,
            objective="reg:quantileerror",
            n_rounds=settings.quantile_rounds,
            quantile_alpha=[tail, 1 - tail],
        )
    tables = {}
    for case, (rows, truth) in calibration.items():
        if probability:
            tables[case] = venn_abers_table(predict_trees(value_model, rows), truth)
        else:
            assert quantile_model is not None
            ends = predict_trees(quantile_model, rows)
            tables[case] = np.array([conformal_margin(truth, ends.min(1), ends.max(1))])
    return Head(endpoint, face, settings, value_model, quantile_model, tables)


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
    own = {"n_rounds", "quantile_rounds"}
    parameters = {names.get(k, k): v for k, v in asdict(settings).items() if k not in own}
    data = xgboost.QuantileDMatrix(features, label=labels, max_bin=settings.max_bin)
    return xgboost.train(
        {**parameters, "objective": objective, "tree_method": "hist", **extra},
        data,
        num_boost_round=n_rounds or settings.n_rounds,
    )


def predict_trees(booster: xgboost.Booster, features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Predictions of a booster, (n,) or (n, n_outputs)."""
    return np.asarray(booster.inplace_predict(np.asarray(features, np.float32)), dtype=float)


def _booster(raw: NDArray[np.uint8], folder: Path) -> xgboost.Booster:
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(raw.tobytes()))
    except xgboost.core.XGBoostError as error:
        raise ArtefactError(f"{folder}: not a readable XGBoost model ({error}).") from error
    return booster
