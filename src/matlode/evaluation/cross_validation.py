"""Cross-validation of the property models by formula, chemical system or prototype."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_json
from matlode.data.splits import SPLITS, TEST, TRAIN, Fold
from matlode.engine import Engine, Here, Shared, Task
from matlode.errors import GoalError, suggest
from matlode.evaluation.score_row import ScoreRow
from matlode.latent.space import list_trained_faces
from matlode.progress import Progress, silent
from matlode.properties.derived import DERIVATIONS, Derivation
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.scores import BASELINES, score, score_estimates
from matlode.properties.targets import AUXILIARY
from matlode.properties.trees import SETTINGS, fit_trees
from matlode.records import Basis, Face
from matlode.training.model_table import MODELS
from matlode.training.property_recipes import fit_network
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

UNITS = {
    endpoint.name: endpoint.unit
    for endpoint in (
        *ENDPOINTS.values(), *(d.endpoint for d in DERIVATIONS.values()), *AUXILIARY
    )
}  # fmt: skip
"""endpoint → unit, of everything that is scored."""

FOLD_FILE = re.compile(
    rf"(reference-)?(?P<split>{'|'.join(SPLITS)})-(?P<number>\d+)-of-(?P<n>\d+)-(?P<sha>\w+)"
)
MODEL_NAMES = {"standard": "standard, crystal", "reference": "reference, simulated pattern"}
"""Face → what its scores are called."""
BASIS: Basis = "crystal"
"""``matlode evaluate properties`` scores predictions from patterns, too."""
FOLD_TRAINING = {"batch_size": 512, "max_epochs": 8, "patience": 8}
"""Cheaper settings than those of the shipped network, which is a little better."""
MIN_AUXILIARY_ROWS = 50
MAX_BASELINE_ROWS = 20_000
"""Endpoints with more training labels get no baselines: each takes minutes."""
BASELINED = (
    "bulk_modulus_vrh/aflow", "shear_modulus_vrh/aflow", "heat_capacity_cv", "heat_capacity_cp",
    "vickers_hardness",
)  # fmt: skip
"""Auxiliary and derived properties that get baselines."""

FoldScores: TypeAlias = dict[str, dict[str, dict[str, float]]]
"""endpoint → model → "rows" and scores: what a fold's file holds."""


def cross_validate(
    *,
    split: str = "chemical_system",
    n_folds: int = 5,
    faces: Sequence[Face] | None = None,
    data: Path | None = None,
    out: Path = Path("folds"),
    models: Path | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> list[ScoreRow]:
    """Cross-validate the property models: one row per endpoint and model, with each score's mean
    and standard deviation over the folds (``read_fold_rows``, of this split).

    Every fold trains on the other folds' rows: for the standard face one network, for the
    reference face trees on the latent variables (default: both, if the reference's autoencoders
    are in ``models``). The autoencoders, which see no labels, are not trained again. The
    workers of ``engine`` (default: this process) train, on paths that they share. Folds that are
    in ``out`` already are read, and an interrupted one continues from its checkpoint. Raises
    GoalError for an unknown split or face.
    """
    faces = faces or list_trained_faces(models)
    if split not in SPLITS:
        raise GoalError(f'unknown split "{split}". {suggest(split, SPLITS)}')
    for face in faces:
        if face not in MEASURES:
            raise GoalError(f'unknown models "{face}". {suggest(face, MEASURES)}')
    whole = TrainingTable.load(data)
    shared = Trainer.of(whole, out, progress, models=models)
    if engine is not None:  # progress is shown by this process only
        shared = replace(shared, progress=silent)
    engine = engine or Here()
    trainer = engine.share(shared)
    open_folds: dict[Path, Task[FoldScores]] = {}
    for number in range(n_folds):
        for face in faces:
            name = f"{split}-{number}" if face == "standard" else f"{face}-{split}-{number}"
            file = out / f"{name}-of-{n_folds}-{whole.sha256[:12]}.json"
            if not file.exists():
                fold = Fold(split, number, n_folds)
                open_folds[file] = engine.submit(_measure, trainer, face, fold, name)
    out.mkdir(parents=True, exist_ok=True)
    results = engine.gather(open_folds.values())
    for done, (file, found) in enumerate(zip(open_folds, results, strict=True)):
        write_json(file, found)
        progress("folds", done + 1, len(open_folds), split)
    ending = f"{n_folds} folds by {split.replace('_', ' ')}"
    return [row for row in read_fold_rows(out, whole.sha256) if row.split == ending]


def _measure(trainer: Shared[Trainer], face: Face, fold: Fold, name: str) -> FoldScores:
    """Measure a fold, in a worker."""
    return MEASURES[face](trainer().with_fold(fold), name)


def measure_fold(trainer: Trainer, name: str) -> FoldScores:
    """Train the standard network on a fold and score it, with baselines, on the test rows."""
    spec = replace(MODELS[NETWORK_MODEL].with_settings(FOLD_TRAINING), name=name)
    network = fit_network(trainer, spec, n_members=1)
    table = trainer.table
    test = table.roles == TEST
    compositions, patterns = table.compositions[test], table.patterns[test]
    outputs, widths = network.raw(compositions, patterns, table.crystal_descriptors[test])
    distances = network.distances(compositions)
    answers = network.estimates(outputs, widths, case=BASIS, distances=distances)
    answers |= {
        name: derivation.estimate(answers, compositions)
        for name, derivation in DERIVATIONS.items()
        if answers.keys() >= set(derivation.needs)
    }
    auxiliary = {
        target.name: target.from_model(network.values(target.name, outputs))
        for target in AUXILIARY
        if target in network.endpoints
    }
    found: FoldScores = {}
    for target, labels in collect_labels(table).values():
        truth = labels[test]
        known = ~np.isnan(truth)
        if target.name in answers:
            scores = score_estimates(target, truth[known], answers[target.name].take(known))
        elif target.name in auxiliary and known.sum() >= MIN_AUXILIARY_ROWS:
            scores = score(target, truth[known], auxiliary[target.name][known])
        else:
            continue
        found[target.name] = {"standard": {"rows": int(known.sum()), **scores}}
        if target.name in ENDPOINTS or target.name in BASELINED:
            found[target.name] |= _score_baselines(table, target, labels)
    return found


def measure_reference_fold(trainer: Trainer, name: str) -> FoldScores:
    """Train the paper's XGBoost on the latent variables of its autoencoders, and score it."""
    table = trainer.table
    points = np.hstack(trainer.reference.points)
    test = table.roles == TEST
    found: FoldScores = {}
    for target, labels in collect_labels(table).values():
        learn, known = trainer.select_rows(TRAIN, labels), test & ~np.isnan(labels)
        truth = labels[known]
        shown = target not in AUXILIARY or target.name in BASELINED
        if not shown or min(learn.sum(), known.sum()) < MIN_AUXILIARY_ROWS:
            continue
        if np.ptp(truth) == 0:  # scores need two classes
            continue
        objective = "binary:logistic" if target.task == "probability" else "reg:squarederror"
        y = target.to_model(labels[learn])
        usable = np.isfinite(y)
        model = fit_trees(
            points[learn][usable], y[usable], SETTINGS["reference"], objective=objective
        )
        predicted = target.from_model(model.predict(points[known]))
        found[target.name] = {
            "reference": {"rows": int(known.sum()), **score(target, truth, predicted)}
        }
        trainer.progress(name, len(found), len(ENDPOINTS) + len(DERIVATIONS), target.name)
    return found


MEASURES: Mapping[Face, Callable[[Trainer, str], FoldScores]] = {
    "standard": measure_fold,
    "reference": measure_reference_fold,
}
"""face → how a fold of it is measured."""


def collect_labels(table: TrainingTable) -> dict[str, tuple[Endpoint, NDArray[np.float64]]]:
    """name → endpoint and labels (n,), NaN where unknown: of endpoints, of auxiliary targets, and
    of derived properties (computed from known labels)."""
    found = {e.name: (e, table.labels(e)) for e in (*ENDPOINTS.values(), *AUXILIARY)}
    known = {name: labels for name, (_, labels) in found.items()}
    for name, derivation in DERIVATIONS.items():
        labels = _derive_labels(derivation, known, table.compositions)
        found[name] = derivation.endpoint, labels
    return found


def _score_baselines(
    table: TrainingTable, endpoint: Endpoint, labels: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    learn = (table.roles == TRAIN) & ~np.isnan(labels)
    known = (table.roles == TEST) & ~np.isnan(labels)
    if learn.sum() > MAX_BASELINE_ROWS:
        return {}
    found = {}
    for name, baseline in BASELINES.items():
        x, x_new = table.compositions[learn], table.compositions[known]
        predicted = baseline(endpoint, x, labels[learn], x_new)
        found[name] = {"rows": int(known.sum()), **score(endpoint, labels[known], predicted)}
    return found


def _derive_labels(
    derivation: Derivation,
    labels: Mapping[str, NDArray[np.float64]],
    compositions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Values (n,) of a derived property for known labels, NaN where one is unknown."""
    inputs = [labels[name] for name in derivation.needs]
    exact = {name: Estimates(y, y, y) for name, y in zip(derivation.needs, inputs, strict=True)}
    value = derivation.estimate(exact, compositions).value
    return np.where(np.isnan(inputs).any(axis=0), np.nan, value)


def read_fold_rows(folder: Path, sha256: str) -> list[ScoreRow]:
    """One row per split, endpoint and model of the finished folds of the table ``sha256``:
    each score's mean and, for several folds, standard deviation."""
    groups: dict[tuple[str, int], list[FoldScores]] = defaultdict(list)
    for file in sorted(folder.glob(f"*-of-*-{sha256[:12]}.json")):
        if found := FOLD_FILE.fullmatch(file.stem):
            groups[found["split"], int(found["n"])].append(json.loads(file.read_text()))
    rows: list[ScoreRow] = []
    for (split, n), folds in sorted(groups.items(), key=lambda item: SPLITS.index(item[0][0])):
        parts: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        for fold in folds:
            for endpoint, models in fold.items():
                for model, of_model in models.items():
                    parts[endpoint, model].append(of_model)
        rows += [
            ScoreRow(
                endpoint=endpoint,
                unit=UNITS.get(endpoint, ""),
                model=MODEL_NAMES.get(model, model),
                split=f"{_format_count(len(of_folds), n)} folds by {split.replace('_', ' ')}",
                rows=sum(int(part["rows"]) for part in of_folds),
                scores=_average_scores(of_folds),
            )
            for (endpoint, model), of_folds in parts.items()
        ]
    return rows


def _format_count(n_done: int, n: int) -> str:
    return str(n) if n_done == n else f"{n_done} of {n}"


def _average_scores(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    scores = {}
    for key in (key for key in parts[0] if key != "rows"):
        values = [part[key] for part in parts if key in part]
        scores[key] = float(np.mean(values))
        if len(values) > 1:
            scores[f"{key}_sd"] = float(np.std(values, ddof=1))
    return scores
