"""Gradient-boosted trees with calibrated intervals: one head per endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import grouped, load_artefact, save_artefact, understood, ungrouped
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates, find_endpoint
from matlode.properties.forest import Forest
from matlode.properties.intervals import (
    conformal_quantile,
    venn_abers,
    venn_abers_table,
)
from matlode.properties.trees import SETTINGS, TreeSettings, fit_trees
from matlode.records import Case, Face

CASES: tuple[Case, ...] = ("simulated", "decoded")
"""Every case, in the order of tables."""


@dataclass(frozen=True)
class Head:
    """A fitted model of one endpoint.

    Regression: boosted trees for the value, and boosted trees for the size of its error
    ("difficulty"); the interval is value ± factor × difficulty, the factor conformal (one per
    case). Probability: boosted trees for the chance, made a calibrated probability and an
    interval by a Venn-Abers table (one per case).
    """

    endpoint: Endpoint
    face: Face
    settings: TreeSettings
    value_model: Forest
    difficulty_model: Forest | None
    calibration: Mapping[str, NDArray[np.float64]]
    """case → factor (1,) for a regression, Venn-Abers table (m, 3) for a probability."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on and its held-out scores."""

    def predict(self, features: NDArray[np.floating], *, case: Case) -> Estimates:
        """Estimates for feature rows (n, n_columns); ``case`` says where their
        patterns come from."""
        raw = self.value_model.predict(features)
        if self.endpoint.task == "probability":
            return Estimates(*venn_abers(self.calibration[case], raw))
        half = float(self.calibration[case][0]) * self.difficulty(features)
        return self.endpoint.estimates(raw, half)

    def difficulty(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Expected size of the error, (n,), up to the conformal factor."""
        assert self.difficulty_model is not None
        return np.exp(self.difficulty_model.predict(features))

    def save(self, folder: Path) -> None:
        """Write the head as an artefact."""
        groups = {"calibration": self.calibration, "value": self.value_model.arrays()}
        if self.difficulty_model is not None:
            groups["difficulty"] = self.difficulty_model.arrays()
        header = {
            "endpoint": self.endpoint.name,
            "unit": self.endpoint.unit,
            "definition": self.endpoint.definition(),
            "face": self.face,
            "settings": asdict(self.settings),
            **self.report,
        }
        save_artefact(folder, kind="head", header=header, arrays=ungrouped(groups))

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read back what ``save`` wrote; raises ArtefactError if it cannot be used."""
        artefact = load_artefact(folder).require("head")
        with understood(folder):
            header, groups = artefact.header, grouped(artefact.arrays)
            difficulty = groups.get("difficulty")
            own = {"schema", "kind", "endpoint", "unit", "definition", "face", "settings", "arrays"}
            return cls(
                endpoint=endpoint_of(header),
                face=header["face"],
                settings=TreeSettings(**header["settings"]),
                value_model=Forest.from_arrays(groups["value"]),
                difficulty_model=Forest.from_arrays(difficulty) if difficulty else None,
                calibration=groups["calibration"],
                report={name: value for name, value in header.items() if name not in own},
            )


def endpoint_of(header: Mapping[str, Any]) -> Endpoint:
    """What a head predicts, as its header defines it; heads of before know their name alone."""
    if "definition" in header:
        return Endpoint.from_definition(header["definition"])
    return find_endpoint(header["endpoint"], ENDPOINTS)


def fit_head(
    endpoint: Endpoint,
    face: Face,
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    folds: NDArray[np.bool_],
    calibration: Mapping[Case, tuple[NDArray[np.floating], NDArray[np.floating]]],
    *,
    settings: TreeSettings | None = None,
) -> Head:
    """Fit a head on training rows and calibrate it on others.

    ``features`` (n, n_columns) and ``labels`` (n,) train the trees; ``folds`` (n,) halves them
    by formula for errors on unseen ones; ``calibration`` holds (features, labels) of other
    unseen formulas per case. Labels are in the endpoint's unit.
    """
    settings = settings or SETTINGS[face]
    labels = endpoint.to_model(np.asarray(labels, dtype=float))
    probability = endpoint.task == "probability"
    objective = "binary:logistic" if probability else "reg:squarederror"
    value_model = fit_trees(features, labels, settings, objective=objective)
    if probability:
        tables: dict[str, NDArray[np.float64]] = {
            case: venn_abers_table(value_model.predict(rows), truth)
            for case, (rows, truth) in calibration.items()
        }
        return Head(endpoint, face, settings, value_model, None, tables)
    errors = np.abs(cross_fit(features, labels, folds, settings) - labels)
    # logarithms: errors of every size count alike, and the prediction is positive
    floor = 0.05 * float(errors.mean()) or 1e-9
    difficulty_model = fit_trees(
        features,
        np.log(errors + floor),
        settings,
        objective="reg:squarederror",
        n_rounds=settings.difficulty_rounds,
        max_depth=5,
    )
    head = Head(endpoint, face, settings, value_model, difficulty_model, {})
    factors: dict[str, NDArray[np.float64]] = {}
    for case, (rows, truth) in calibration.items():
        error = np.abs(value_model.predict(rows) - endpoint.to_model(np.asarray(truth)))
        scaled = error / head.difficulty(rows)
        factors[case] = np.array([conformal_quantile(scaled)])
    return replace(head, calibration=factors)


def cross_fit(
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    folds: NDArray[np.bool_],
    settings: TreeSettings,
) -> NDArray[np.float64]:
    """Predictions (n,) of rows by a model that learned from the other half of the formulas."""
    predicted = np.empty(len(labels))
    for side in (folds, ~folds):
        model = fit_trees(
            features[~side],
            labels[~side],
            settings,
            objective="reg:squarederror",
            n_rounds=settings.cross_fit_rounds,
            eta=settings.cross_fit_eta,
        )
        predicted[side] = model.predict(features[side])
    return predicted
