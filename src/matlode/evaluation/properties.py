"""Scores of the shipped models on formulas that they never saw, beside baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.splits import TEST, TRAIN
from matlode.errors import GoalError, InputError
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Endpoint, Estimates, find_endpoint
from matlode.properties.heads import CASES
from matlode.properties.models import known_endpoints
from matlode.properties.own import MIN_ROWS, checked_labels, read_properties
from matlode.properties.scores import BASELINES, score, score_estimates
from matlode.properties.stored import read_stored_scores
from matlode.training.recipes import decoded_compositions
from matlode.training.table import TrainingTable


def stored_scores(
    endpoints: Sequence[str] | None = None, *, models: Path | None = None
) -> list[dict[str, Any]]:
    """What stands in the models' headers, measured when they were trained: one row per
    endpoint and model, with the rows and the split that it was measured on."""
    wanted = _endpoints(endpoints, known_endpoints(models))
    stored = list(read_stored_scores(models))
    return [
        _row(endpoint, found.model, found.test_rows, found.split, dict(found.scores))
        for endpoint in wanted
        for found in stored
        if found.endpoint == endpoint.name
    ]


def measure_scores(
    endpoints: Sequence[str] | None = None,
    *,
    data: Path | None = None,
    models: Path | None = None,
    properties: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Score the models on the test formulas of a table (default: $MATLODE_DATA, else the
    starter set), with baselines fitted on that table's training formulas.

    ``endpoints`` names properties (default: those of the TOML file ``properties``, else all);
    for one that has no model yet there are the baselines alone, which say before any
    training what composition is worth. Endpoints with fewer than MIN_ROWS labelled test rows
    are left out; raises InputError if none is left, GoalError for unknown names and for
    properties that their model was trained on in another sense.
    """
    own = read_properties(properties) if properties else {}
    loaded = Models(models)
    for name, endpoint in own.items():
        trained = loaded.endpoints.get(name, endpoint)
        if trained != endpoint:
            raise GoalError(
                f'{properties}: property "{name}" is {endpoint.definition()}, its model was '
                f"trained for {trained.definition()}; train it again or correct the file."
            )
    wanted = _endpoints(endpoints or list(own), {**loaded.endpoints, **own})
    table = TrainingTable.load(data)
    for endpoint in own.values():
        checked_labels(endpoint, table.materials, table=table.source)
    rows: list[dict[str, Any]] = []
    test = table.roles == TEST
    patterns = {"simulated": table.patterns[test]}
    patterns["decoded"] = loaded.space.reconstruct_patterns(patterns["simulated"])
    x = {"simulated": table.compositions[test]}
    predictable = loaded.endpoints
    x["decoded"] = decoded_compositions(loaded.space, x["simulated"])
    estimates = {
        case: loaded.properties.predict(
            x[case],
            patterns[case],
            case=case,
            names=[e.name for e in wanted if e.name in predictable],
        )
        for case in CASES
    }
    for done, endpoint in enumerate(wanted, start=1):
        labels = table.labels(endpoint)
        known = ~np.isnan(labels[test])
        if known.sum() >= MIN_ROWS[TEST]:
            rows += _score_endpoint(endpoint, table, estimates, known)
        progress("evaluate", done, len(wanted), endpoint.name)
    if not rows:
        raise InputError(
            f"{table.source} has fewer than {MIN_ROWS[TEST]} labelled test rows for "
            f"{', '.join(e.name for e in wanted)}; name a larger table with --data."
        )
    return rows


def _score_endpoint(
    endpoint: Endpoint,
    table: TrainingTable,
    estimates: Mapping[str, Mapping[str, Estimates]],
    known: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    labels = table.labels(endpoint)
    truth = labels[table.roles == TEST][known]
    split = f"test formulas of {table.source}"
    rows = []
    for case, of_case in estimates.items():
        if endpoint.name not in of_case:
            continue
        scores = score_estimates(endpoint, truth, of_case[endpoint.name].take(known))
        rows.append(_row(endpoint, f"standard, {case} pattern", len(truth), split, scores))
    for name, scores in baseline_scores(endpoint, table).items():
        rows.append(_row(endpoint, name, len(truth), split, scores))
    return rows


def baseline_scores(endpoint: Endpoint, table: TrainingTable) -> dict[str, dict[str, float]]:
    """Baseline → its scores on the labelled test rows, learned from the labelled training rows."""
    labels = table.labels(endpoint)
    learn, test = ((table.roles == role) & ~np.isnan(labels) for role in (TRAIN, TEST))
    x, y = table.compositions[learn], labels[learn]
    return {
        name: score(endpoint, labels[test], baseline(endpoint, x, y, table.compositions[test]))
        for name, baseline in BASELINES.items()
    }


def _endpoints(names: Sequence[str] | None, known: Mapping[str, Endpoint]) -> list[Endpoint]:
    return [find_endpoint(name, known) for name in names or known]


def _row(
    endpoint: Endpoint, model: str, rows: int, split: str, scores: dict[str, float]
) -> dict[str, Any]:
    return {
        "endpoint": endpoint.name,
        "unit": endpoint.unit,
        "model": model,
        "rows": rows,
        "split": split,
        "scores": scores,
    }
