"""How good the property network is when whole formulas, chemical systems or prototypes are new."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_json
from matlode.data.splits import SPLITS, TEST, TRAIN, Fold
from matlode.errors import GoalError, suggest
from matlode.jobs.property_recipes import fit_network
from matlode.jobs.recipes import Trainer
from matlode.jobs.train import TRAINING
from matlode.jobs.training_table import TrainingTable
from matlode.progress import Progress, silent
from matlode.properties.derived import DERIVATIONS, Derivation
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.scores import BASELINES, score, score_estimates
from matlode.properties.targets import AUXILIARY

UNITS = {
    endpoint.name: endpoint.unit
    for endpoint in (
        *ENDPOINTS.values(), *(d.endpoint for d in DERIVATIONS.values()), *AUXILIARY
    )
}  # fmt: skip
"""endpoint → unit, of everything that is scored."""

CASE = "simulated"
"""Patterns of real structures: what the decoded ones cost is told by ``matlode evaluate``."""
MAX_BASELINE_ROWS = 20_000
"""Baselines of endpoints with more training labels are left out: they take minutes each."""


def cross_validate(
    *,
    split: str = "chemical_system",
    n_folds: int = 5,
    data: Path | None = None,
    out: Path = Path("folds"),
    models: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """One row per endpoint and model: each score's mean and standard deviation over the folds.

    Every fold trains one network on the other folds' rows; the autoencoders, which see no
    labels, are those in use. Folds that are in ``out`` already are not made again, and an
    interrupted one goes on from its checkpoint. Raises GoalError for an unknown split.
    """
    if split not in SPLITS:
        raise GoalError(f'"{split}" is no split. {suggest(split, SPLITS)}')
    whole = TrainingTable.load(data)
    shared: dict[str, Any] = {}
    folds = []
    for number in range(n_folds):
        file = out / f"{split}-{number}-of-{n_folds}-{whole.sha256[:12]}.json"
        if not file.exists():
            table = replace(whole, fold=Fold(split, number, n_folds))
            trainer = Trainer(table, out, dict(TRAINING), progress, models=models, _made=shared)
            out.mkdir(parents=True, exist_ok=True)
            write_json(file, measure_fold(trainer, f"{split}-{number}"))
        folds.append(json.loads(file.read_text()))
        progress("folds", number + 1, n_folds, split)
    return _summary(folds, split)


def measure_fold(trainer: Trainer, name: str) -> dict[str, Any]:
    """{endpoint: {model: {"rows": n, scores}}} on the fold's test rows."""
    trainer = replace(trainer, settings={**trainer.settings, name: trainer.settings[NETWORK_MODEL]})
    network = fit_network(trainer, name, n_members=1)
    table = trainer.table
    test = table.roles == TEST
    compositions, patterns = table.compositions[test], table.patterns[test]
    outputs, widths = network.raw(compositions, patterns)
    answers = network.estimates(outputs, widths, case=CASE)
    found = {
        name: _scores(trainer, network.answers[name], estimates)
        for name, estimates in answers.items()
    }
    labels = {endpoint.name: table.labels(endpoint) for endpoint in network.answers.values()}
    for derivation in DERIVATIONS.values():
        if answers.keys() >= set(derivation.needs):
            truth = _derived_labels(derivation, labels, table.compositions)[test]
            estimates = derivation.estimate(answers, compositions)
            found[derivation.endpoint.name] = _own(derivation.endpoint, truth, estimates)
    for target in (t for t in AUXILIARY if t in network.endpoints):
        truth = table.labels(target)[test]
        value = target.from_model(network.values(target.name, outputs))
        if (~np.isnan(truth)).sum() >= 50:
            found[target.name] = _own(target, truth, Estimates(value, value, value), bare=True)
    return found


def _scores(trainer: Trainer, endpoint: Endpoint, estimates: Estimates) -> dict[str, Any]:
    table = trainer.table
    labels = table.labels(endpoint)
    test, learn = table.roles == TEST, trainer.rows(TRAIN, labels)
    found = _own(endpoint, labels[test], estimates)
    known = test & ~np.isnan(labels)
    if learn.sum() <= MAX_BASELINE_ROWS:
        for name, baseline in BASELINES.items():
            x, x_new = table.compositions[learn], table.compositions[known]
            predicted = baseline(endpoint, x, labels[learn], x_new)
            found[name] = {"rows": int(known.sum()), **score(endpoint, labels[known], predicted)}
    return found


def _own(
    endpoint: Endpoint, truth: NDArray[np.float64], estimates: Estimates, *, bare: bool = False
) -> dict[str, Any]:
    known = ~np.isnan(truth)
    if bare:
        scores = score(endpoint, truth[known], estimates.value[known])
    else:
        scores = score_estimates(endpoint, truth[known], estimates.take(known))
    return {"standard": {"rows": int(known.sum()), **scores}}


def _derived_labels(
    derivation: Derivation, labels: Mapping[str, NDArray[np.float64]], compositions: Any
) -> NDArray[np.float64]:
    """What the formula gives for the known labels, NaN where one is unknown."""
    inputs = [labels[name] for name in derivation.needs]
    exact = {name: Estimates(y, y, y) for name, y in zip(derivation.needs, inputs, strict=True)}
    value = derivation.estimate(exact, compositions).value
    return np.where(np.isnan(inputs).any(axis=0), np.nan, value)


def _summary(folds: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    rows = []
    for endpoint, models in folds[0].items():
        for model in models:
            parts = [fold[endpoint][model] for fold in folds if model in fold.get(endpoint, {})]
            scores = {}
            for key in parts[0].keys() - {"rows"}:
                values = [part[key] for part in parts]
                scores[key] = float(np.mean(values))
                scores[f"{key}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            rows.append(
                {
                    "endpoint": endpoint,
                    "unit": UNITS[endpoint],
                    "model": model,
                    "split": f"{len(parts)} folds by {split.replace('_', ' ')}",
                    "rows": sum(part["rows"] for part in parts),
                    "scores": dict(sorted(scores.items())),
                }
            )
    return rows
