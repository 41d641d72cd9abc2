"""Property heads: gradient-boosted trees with calibrated intervals, one head per endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    convert_read_errors,
    flatten_groups,
    grouped,
    load_artefact,
    save_artefact,
)
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates, find_endpoint
from matlode.properties.forest import Forest
from matlode.properties.intervals import (
    apply_venn_abers,
    compute_conformal_quantile,
    fit_venn_abers,
)
from matlode.properties.trees import SETTINGS, TreeSettings, fit_trees
from matlode.records import Case, Face

CASES: tuple[Case, ...] = ("simulated", "decoded")
"""Every case, in the order of tables. Intervals are calibrated separately for each."""


@dataclass(frozen=True)
class Head:
    """A fitted model of one endpoint.

    Regression: boosted trees predict the value, and others the expected size of its error
    ("difficulty"). The interval is value ± factor × difficulty with one conformal factor per
    case. Probability: a Venn-Abers table (one per case) converts the output of boosted trees to
    a calibrated probability with an interval.
    """

    endpoint: Endpoint
    face: Face
    settings: TreeSettings
    value_model: Forest
    difficulty_model: Forest | None
    calibration: Mapping[str, NDArray[np.float64]]
    """case → factor (1,) for a regression, Venn-Abers table (m, 3) for a probability."""
    report: Mapping[str, object] = field(default_factory=dict)
    """Further entries of the header: training data and held-out scores."""

    def predict(self, features: NDArray[np.floating], *, case: Case) -> Estimates:
        """Estimates (n,) for feature rows (n, n_columns)."""
        raw = self.value_model.predict(features)
        if self.endpoint.task == "probability":
            return Estimates(*apply_venn_abers(self.calibration[case], raw))
        half = float(self.calibration[case][0]) * self.difficulty(features)
        return self.endpoint.estimates(raw, half)

    def difficulty(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Expected size of the error (n,) for feature rows (n, n_columns), up to the conformal
        factor."""
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
        save_artefact(folder, kind="head", header=header, arrays=flatten_groups(groups))

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read an artefact written by ``save``; raises ArtefactError if it cannot be used."""
        artefact = load_artefact(folder).require("head")
        with convert_read_errors(folder):
            header, groups = artefact.header, grouped(artefact.arrays)
            difficulty = groups.get("difficulty")
            own = {"schema", "kind", "endpoint", "unit", "definition", "face", "settings", "arrays"}
            return cls(
                endpoint=read_endpoint(header),
                face=header["face"],
                settings=TreeSettings(**header["settings"]),
                value_model=Forest.from_arrays(groups["value"]),
                difficulty_model=Forest.from_arrays(difficulty) if difficulty else None,
                calibration=groups["calibration"],
                report={name: value for name, value in header.items() if name not in own},
            )


def read_endpoint(header: Mapping[str, Any]) -> Endpoint:
    """The endpoint that the header of a head defines; older headers hold its name only."""
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
    """Fit a head to training rows and calibrate its intervals on others.

    The trees are trained on ``features`` (n, n_columns) and ``labels`` (n,). The mask ``folds``
    (n,) divides these rows by formula into two halves for cross-fitting. ``calibration`` maps
    each case to features and labels of formulas that are not in the training rows. Labels are in
    the endpoint's unit.
    """
    settings = settings or SETTINGS[face]
    labels = endpoint.to_model(np.asarray(labels, dtype=float))
    probability = endpoint.task == "probability"
    objective = "binary:logistic" if probability else "reg:squarederror"
    value_model = fit_trees(features, labels, settings, objective=objective)
    if probability:
        tables: dict[str, NDArray[np.float64]] = {
            case: fit_venn_abers(value_model.predict(rows), truth)
            for case, (rows, truth) in calibration.items()
        }
        return Head(endpoint, face, settings, value_model, None, tables)
    errors = np.abs(cross_fit(features, labels, folds, settings) - labels)
    # logarithm: errors of all sizes have equal weight, and the prediction is positive
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
        factors[case] = np.array([compute_conformal_quantile(scaled)])
    return replace(head, calibration=factors)


def cross_fit(
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    folds: NDArray[np.bool_],
    settings: TreeSettings,
) -> NDArray[np.float64]:
    """Predict each row (n,) with a model that was trained on the other half of ``folds``."""
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
