"""How the model of expected volumes is trained, and how it is scored on unseen formulas."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.data.tables import Materials
from matlode.latent.weights import extract_weights
from matlode.properties.endpoints import ENDPOINTS, VOLUME, Estimates
from matlode.properties.expected_volume import ExpectedVolume
from matlode.properties.scores import BASELINES, score, score_estimates
from matlode.training.model_spec import ModelSpec
from matlode.training.trainer import Trainer

POLYMORPH_EV = 0.025
"""Phases of one formula that differ by less (eV/atom) are equally likely to be found."""
BASELINE_NAMES = ("mean", "ridge", "nearest formula")
"""Baselines that the model is compared with, each of the logarithm of the volume."""


def train_volume(trainer: Trainer, spec: ModelSpec) -> None:
    """Train the network on the lowest phase of each formula, calibrate its intervals on all, and
    score it beside baselines."""
    labels = trainer.table.labels(ENDPOINTS[VOLUME])
    rows = {role: trainer.select_rows(role, labels) for role in (TRAIN, CALIBRATION, TEST)}
    lowest = find_lowest_phases(trainer.table.materials)
    network = spec.build_network()
    data = {
        role: _build_tensors(trainer, labels, of_role & lowest) for role, of_role in rows.items()
    }
    log = trainer.fit(spec.name, network, data[TRAIN], data[CALIBRATION], spec.training)
    compositions, held = trainer.table.compositions, rows[CALIBRATION]
    model = ExpectedVolume.calibrate(extract_weights(network), compositions[held], labels[held])
    header = {
        **trainer.table.header,
        "training": asdict(spec.training),
        "architecture": dict(spec.architecture),
        "epochs": len(log),
        "rows": {role: int(of_role.sum()) for role, of_role in rows.items()},
        "lowest_rows": {role: int((of_role & lowest).sum()) for role, of_role in rows.items()},
        "scores": _score(model, compositions, labels, rows),
        "scores_of_lowest_rows": _score(
            model, compositions, labels, {role: of_role & lowest for role, of_role in rows.items()}
        ),
    }
    model.save(trainer.root, header)


def find_lowest_phases(materials: Materials) -> NDArray[np.bool_]:
    """Return (n,), whether each row is within POLYMORPH_EV of the lowest phase of its formula.

    Formulas without an energy above the hull keep all rows. High-pressure phases would bias the
    expected volume: there are more of silicon's than there are of the diamond structure.
    """
    energies = pd.Series(materials.label("energy_above_hull"))
    lowest = energies.groupby(materials.frame["formula"].to_numpy()).transform("min")
    return np.asarray(lowest.isna() | (energies <= lowest + POLYMORPH_EV))


def _build_tensors(
    trainer: Trainer, labels: NDArray[np.float64], rows: NDArray[np.bool_]
) -> list[torch.Tensor]:
    """Compositions (m, 100) and logarithms of volumes (m,)."""
    arrays = trainer.table.compositions[rows], np.log(labels[rows])
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]


def _score(
    model: ExpectedVolume,
    compositions: NDArray[np.float64],
    labels: NDArray[np.float64],
    rows: dict[str, NDArray[np.bool_]],
) -> dict[str, dict[str, float]]:
    """Scores of the test rows, of the model and of baselines fitted to the training rows."""
    endpoint, train, test = ENDPOINTS[VOLUME], rows[TRAIN], rows[TEST]
    truth, of_test = labels[test], compositions[test]
    scores = {"composition": score_estimates(endpoint, truth, model.predict(of_test))}
    scores["composition"]["band_coverage"] = _measure_coverage(model.predict_band(of_test), truth)
    for name in BASELINE_NAMES:
        predicted = BASELINES[name](endpoint, compositions[train], np.log(labels[train]), of_test)
        scores[name] = score(endpoint, truth, np.exp(predicted))
    return scores


def _measure_coverage(band: Estimates, truth: NDArray[np.float64]) -> float:
    return float(((band.low <= truth) & (truth <= band.high)).mean())
