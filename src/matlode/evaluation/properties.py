"""Scores of the property models on unseen formulas, with baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.data.splits import TEST, TRAIN
from matlode.errors import GoalError, InputError
from matlode.evaluation.score_row import ScoreRow
from matlode.jobs.models import Models
from matlode.optimisation.goal_file import parse_names
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Endpoint, Estimates, find_endpoint
from matlode.properties.models import list_endpoints
from matlode.properties.own import MIN_ROWS, check_labels, read_properties
from matlode.properties.scores import BASELINES, score, score_estimates
from matlode.properties.stored import read_stored_scores
from matlode.records import Basis, describe_basis
from matlode.training.encoding import decode_compositions
from matlode.training.table import TrainingTable


def stored_scores(
    endpoints: str | Sequence[str] | None = None, *, models: Path | None = None
) -> list[ScoreRow]:
    """Read the scores in the models' headers, measured when they were trained: one row per
    endpoint and model.

    >>> {row.endpoint for row in stored_scores("bulk_modulus")}
    {'bulk_modulus'}
    """
    wanted = _find_endpoints(endpoints, list_endpoints(models))
    stored = list(read_stored_scores(models))
    return [
        _make_row(endpoint, found.model, found.test_rows, found.split, found.scores)
        for endpoint in wanted
        for found in stored
        if found.endpoint == endpoint.name
    ]


def measure_scores(
    endpoints: str | Sequence[str] | None = None,
    *,
    data: Path | None = None,
    models: Path | None = None,
    properties: Path | None = None,
    progress: Progress = silent,
) -> list[ScoreRow]:
    """Score the models on the test formulas of a table (default: $MATLODE_DATA, else the
    starter set), with baselines fitted on that table's training formulas.

    ``endpoints`` names properties (default: those of the TOML file ``properties``, else all).
    A property without a model gets the baselines alone: they show before any training how well
    the composition predicts it. Endpoints with fewer than MIN_ROWS labelled test rows are
    left out. Raises InputError if none remains, GoalError for unknown names and for properties
    whose definition differs from that of their model.

    >>> measure_scores(["bulk_modulus"])  # doctest: +SKIP
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
    wanted = _find_endpoints(endpoints or list(own), {**loaded.endpoints, **own})
    table = TrainingTable.load(data)
    for endpoint in own.values():
        check_labels(endpoint, table.materials, table=table.source)
    rows: list[ScoreRow] = []
    test = table.roles == TEST
    compositions, patterns = table.compositions[test], table.patterns[test]
    decoded = decode_compositions(loaded.space, compositions)
    images = loaded.space.reconstruct_patterns(patterns)
    names = [endpoint.name for endpoint in wanted if endpoint.name in loaded.endpoints]
    predict = partial(loaded.properties.predict, names=names)
    estimates: dict[Basis, dict[str, Estimates]] = {
        "crystal": predict(
            compositions, patterns, case="simulated", crystals=table.crystal_descriptors[test]
        ),
        "simulated": predict(compositions, patterns, case="simulated"),
        "decoded": predict(decoded, images, case="decoded"),
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
    estimates: Mapping[Basis, Mapping[str, Estimates]],
    known: NDArray[np.bool_],
) -> list[ScoreRow]:
    """Rows of the models and of the baselines; ``known`` marks the labelled test rows."""
    labels = table.labels(endpoint)
    truth = labels[table.roles == TEST][known]
    split = f"test formulas of {table.source}"
    rows = []
    for case, of_case in estimates.items():
        if endpoint.name not in of_case:
            continue
        scores = score_estimates(endpoint, truth, of_case[endpoint.name].take(known))
        rows.append(
            _make_row(endpoint, f"standard, {describe_basis(case)}", len(truth), split, scores)
        )
    for name, scores in score_baselines(endpoint, table).items():
        rows.append(_make_row(endpoint, name, len(truth), split, scores))
    return rows


def score_baselines(endpoint: Endpoint, table: TrainingTable) -> dict[str, dict[str, float]]:
    """Fit each baseline to the labelled training rows and score it on the labelled test rows."""
    labels = table.labels(endpoint)
    learn, test = ((table.roles == role) & ~np.isnan(labels) for role in (TRAIN, TEST))
    x, y = table.compositions[learn], labels[learn]
    return {
        name: score(endpoint, labels[test], baseline(endpoint, x, y, table.compositions[test]))
        for name, baseline in BASELINES.items()
    }


def _find_endpoints(
    names: str | Sequence[str] | None, known: Mapping[str, Endpoint]
) -> list[Endpoint]:
    return [find_endpoint(name, known) for name in (parse_names(names) if names else known)]


def _make_row(
    endpoint: Endpoint, model: str, rows: int, split: str, scores: Mapping[str, float]
) -> ScoreRow:
    return ScoreRow(
        endpoint=endpoint.name,
        unit=endpoint.unit,
        model=model,
        rows=rows,
        split=split,
        scores=scores,
    )
