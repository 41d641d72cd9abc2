"""The paper's Tables S3 and S4 and Figure S9 C, D: its recipe in five folds of random rows and by
formula."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from matlode.artefacts import read_arrays, write_atomically
from matlode.data.splits import CALIBRATION, TEST, TRAIN, Fold
from matlode.evaluation.cross_validation import collect_labels
from matlode.latent.networks import single
from matlode.latent.training import TrainingSettings, train
from matlode.properties.derived import GAS_CONSTANT
from matlode.properties.formation_net import FORMATION_NET, ReferenceFormationNet
from matlode.properties.models import hash_foundations
from matlode.properties.scores import compute_probability_scores, compute_regression_scores
from matlode.properties.trees import SETTINGS, TreeSettings, fit_trees
from matlode.training.model_table import MODELS
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

Array: TypeAlias = NDArray[np.floating]
Split: TypeAlias = Literal["random", "formula"]

SPLITS: tuple[Split, ...] = ("random", "formula")
MIN_ROWS = 100
"""Quantities with fewer labels are not measured."""
MIN_CLASS_ROWS = 10
"""Nor are classes of fewer rows: a fold might have none."""
SPREAD = 75.0
"""Labels of a regression are scaled to this standard deviation: that of the bulk moduli in GPa, for
which the paper chose its regularisation (Table S2)."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A row of Table S3 or S4, or the stability classifier of Figure S9."""

    name: str
    """Key of ``PAPER.numbers``."""
    labels: str
    """Key of ``collect_labels``."""
    title: str
    unit: str = ""
    rows_paper: int | None
    note: str = ""
    """How the rows differ from the paper's."""
    scale: float = 1.0
    """Factor from the unit of the labels to ``unit``."""
    logarithm: bool = False
    """Whether the natural logarithm is learned and scored."""
    is_class: bool = False
    negate: bool = False
    """Whether the paper's positive class is the complement of ours."""
    network: bool = False
    """Whether the model is the paper's network for the sign of the formation energy."""


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """How the models of a fold are trained."""

    n_folds: int = 5
    trees: TreeSettings = SETTINGS["reference"]
    network: TrainingSettings = MODELS[FORMATION_NET].training


_AFLOW = "AFLOW AEL/AGL, a later and larger release"
QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity(
            name="formation_energy", labels="formation_energy", title="formation energy",
            unit="eV/atom", rows_paper=130_998,
            note="one vintage (MP-2018); a third of the paper's rows",
        ),
        Quantity(
            name="thermal_conductivity", labels="thermal_conductivity_600k",
            title="thermal conductivity, 600 K", unit="ln(W/m/K)", rows_paper=5511,
            logarithm=True, note=f"{_AFLOW}; from 300 K by AGL's 1/T law",
        ),
        Quantity(
            name="heat_capacity_cv", labels="heat_capacity_cv", title="heat capacity Cv",
            unit="k_B/atom", rows_paper=2721, scale=1 / GAS_CONSTANT,
            note=f"{_AFLOW}; from the Debye temperature at 300 K",
        ),
        Quantity(
            name="heat_capacity_cp", labels="heat_capacity_cp", title="heat capacity Cp",
            unit="k_B/atom", rows_paper=2721, scale=1 / GAS_CONSTANT,
            note=f"{_AFLOW}; Cv + α²KVT at 300 K",
        ),
        Quantity(
            name="bulk_modulus", labels="bulk_modulus_vrh/aflow", title="bulk modulus",
            unit="GPa", rows_paper=2721, note=_AFLOW,
        ),
        Quantity(
            name="shear_modulus", labels="shear_modulus_vrh/aflow", title="shear modulus",
            unit="GPa", rows_paper=2721, note=_AFLOW,
        ),
        Quantity(
            name="debye_temperature", labels="debye_temperature", title="Debye temperature",
            unit="K", rows_paper=2721, note=_AFLOW,
        ),
        Quantity(
            name="thermal_expansion", labels="thermal_expansion", title="thermal expansion",
            unit="ln(1/K)", rows_paper=2721, logarithm=True, note=_AFLOW,
        ),
        Quantity(
            name="metal_probability", labels="metal_probability", title="gap above 0 eV",
            rows_paper=28_737, is_class=True, negate=True,
            note="Materials Project 2018; the paper's are of AFLOW",
        ),
        Quantity(
            name="magnetic_probability", labels="magnetic_probability", title="magnetic",
            rows_paper=30_787, is_class=True,
            note="mostly Materials Project; the paper's are of JARVIS-DFT",
        ),
        Quantity(
            name="formation_probability", labels="formation_probability",
            title="stability: formation energy at most 0", rows_paper=None, is_class=True,
            network=True, note="one vintage (MP-2018); the paper does not count its rows",
        ),
    )
}  # fmt: skip
"""name → quantity."""


@dataclass(frozen=True)
class Predicted:
    """Truth and prediction of the test rows of one fold, in the unit of the quantity."""

    truth: Array
    """(m,)."""
    value: Array
    """(m,); the probability of a class."""

    def score(self, quantity: Quantity) -> dict[str, float]:
        """Scores under the names of ``PAPER.numbers``."""
        if quantity.is_class:
            return compute_probability_scores(self.truth, self.value)
        ending = "_ln" if quantity.logarithm else ""
        scores = compute_regression_scores(self.truth, self.value)
        return {name + ending: value for name, value in scores.items()}


def read_labels(quantity: Quantity, table: TrainingTable) -> NDArray[np.float64]:
    """(n,), labels of a quantity as the paper prints it, NaN where unknown."""
    _, labels = collect_labels(table)[quantity.labels]
    if quantity.is_class:
        return 1 - labels if quantity.negate else labels
    values = quantity.scale * labels
    if quantity.logarithm:
        values = np.log(np.where(values > 0, values, np.nan))
    return values


def measure_folds(
    trainer: Trainer,
    quantity: Quantity,
    split: Split,
    out: Path,
    settings: FoldSettings,
) -> list[Predicted]:
    """Predict each row once, by a model that learned from the other folds (empty: too few labels).

    Folds that are in ``out`` already, of the same table, autoencoders and settings, are read.
    """
    labels = read_labels(quantity, trainer.table)
    known = labels[~np.isnan(labels)]
    rarer = min((known == 0).sum(), (known == 1).sum())
    if len(known) < MIN_ROWS or (quantity.is_class and rarer < MIN_CLASS_ROWS):
        return []
    out.mkdir(parents=True, exist_ok=True)
    key = _hash_conditions(trainer, settings)
    found = []
    for number in range(settings.n_folds):
        file = out / f"{quantity.name}-{split}-{number}-of-{settings.n_folds}-{key}.npz"
        if not file.exists():
            fold = Fold(split, number, settings.n_folds)
            roles = fold.roles(trainer.table.materials.frame)
            _save(file, _predict_fold(trainer, quantity, labels, roles, settings))
            trainer.progress(quantity.title, number + 1, settings.n_folds, split)
        stored = read_arrays(file)
        found.append(Predicted(stored["truth"].astype(float), stored["value"].astype(float)))
    return found


def _save(file: Path, fold: Predicted) -> None:
    write_atomically(
        file, lambda stream: np.savez_compressed(stream, truth=fold.truth, value=fold.value)
    )


def _hash_conditions(trainer: Trainer, settings: FoldSettings) -> str:
    """A short hash of everything besides the code that decides the predictions."""
    conditions = {
        "table": trainer.table.sha256,
        "autoencoders": hash_foundations(trainer.reference.models, "reference"),
        "settings": asdict(settings),
    }
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:12]


def _predict_fold(
    trainer: Trainer,
    quantity: Quantity,
    labels: NDArray[np.float64],
    roles: NDArray[np.str_],
    settings: FoldSettings,
) -> Predicted:
    points = np.hstack(trainer.reference.points)
    known = ~np.isnan(labels)
    test, learn = known & (roles == TEST), known & (roles != TEST)
    if quantity.network:
        network = train_stability(points, labels, np.where(known, roles, ""), settings.network)
        value = network.chance(single(points[test])).numpy().astype(float)
    else:
        value = fit_model(quantity, points[learn], labels[learn], settings.trees)(points[test])
    return Predicted(labels[test], value)


def fit_model(
    quantity: Quantity, points: Array, labels: Array, settings: TreeSettings
) -> Callable[[Array], Array]:
    """Boosted trees of points (n, 88) and labels (n,): a function of points (m, 88) that predicts
    the quantity (m,)."""
    if quantity.is_class:
        return fit_trees(points, labels, settings, objective="binary:logistic").predict
    centre, scale = float(labels.mean()), SPREAD / float(labels.std())
    trees = fit_trees(points, (labels - centre) * scale, settings, objective="reg:squarederror")
    return lambda new: centre + trees.predict(new) / scale


def train_stability(
    points: Array, labels: Array, roles: NDArray[np.str_], settings: TrainingSettings
) -> ReferenceFormationNet:
    """The paper's stability network, trained on the rows of TRAIN and stopped by those of
    CALIBRATION, of points (n, 88) with labels 0 or 1 (n,)."""
    network = MODELS[FORMATION_NET].build_network()
    assert isinstance(network, ReferenceFormationNet)
    parts = [
        [single(points[roles == role]), single(labels[roles == role])]
        for role in (TRAIN, CALIBRATION)
    ]
    network.fit(parts[0][0])
    train(network, parts[0], parts[1], settings, device=torch.device("cpu"))
    return network


def average_scores(
    folds: Sequence[Predicted], quantity: Quantity
) -> dict[str, tuple[float, float]]:
    """Score → mean and standard deviation over the folds."""
    scores = [fold.score(quantity) for fold in folds]
    return {
        name: (
            float(np.mean([of_one[name] for of_one in scores])),
            float(np.std([of_one[name] for of_one in scores], ddof=1)),
        )
        for name in scores[0]
    }


def measure_learning_curve(
    trainer: Trainer, quantity: Quantity, shares: Sequence[float], settings: FoldSettings
) -> dict[int, dict[str, float]]:
    """Number of training rows → scores on the first random fold, learned from a share of the
    others."""
    labels = read_labels(quantity, trainer.table)
    roles = Fold("random", 0, settings.n_folds).roles(trainer.table.materials.frame)
    order = np.random.default_rng(0).random(len(labels))
    found = {}
    for share in shares:
        kept = np.where((roles == TEST) | (order < share), labels, np.nan)
        n = int((~np.isnan(kept) & (roles != TEST)).sum())
        found[n] = _predict_fold(trainer, quantity, kept, roles, settings).score(quantity)
    return found
