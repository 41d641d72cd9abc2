"""What matlode says of given crystals: properties, verdicts, nearest known material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from matlode.data.formulas import conventional_formula
from matlode.data.readers import read_materials
from matlode.data.tables import Materials
from matlode.errors import PatternError
from matlode.jobs.toolbox import Toolbox
from matlode.progress import Progress, silent
from matlode.records import DroppedRow
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.funnel import Screened, screen
from matlode.screening.novelty import KnownMaterials

CHUNK = 1024
"""Crystals predicted at once: patterns of a chunk take 6.5 MB."""


def predict(
    sources: Sequence[str | Path] | Materials,
    *,
    toolbox: Toolbox | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Predictions for crystals in files (CIF, POSCAR), folders or Parquet tables.

    One dictionary per crystal: ``file`` or ``id``, ``formula``, ``space_group`` (of the
    structure, by moyopy), ``predictions`` {endpoint: {value, low, high, unit}}, ``verdicts``,
    ``nearest_known``, and ``error`` (None, or why there is nothing else). Files that cannot
    be read are answered, not raised; InputError only if a source does not exist.
    """
    toolbox = toolbox or Toolbox()
    materials = sources if isinstance(sources, Materials) else read_materials(sources)
    answers: list[dict[str, Any]] = []
    for at in range(0, len(materials), CHUNK):
        rows = np.arange(at, min(at + CHUNK, len(materials)))
        answers += _predict_chunk(materials.take(rows), toolbox)
        progress("predict", len(answers), len(materials))
    return answers + [_refusal(dropped) for dropped in materials.dropped]


def _predict_chunk(materials: Materials, toolbox: Toolbox) -> list[dict[str, Any]]:
    refused: dict[int, str] = {}
    keep = np.arange(len(materials))
    patterns = np.zeros((0, 0))
    while len(keep):
        try:
            patterns = simulate_patterns(materials.crystals.take(keep))
            break
        except PatternError as error:
            refused |= {int(keep[i]): str(error) for i in error.indices}
            keep = np.delete(keep, list(error.indices))
    answers: list[dict[str, Any]] = [{} for _ in range(len(materials))]
    for refused_row, reason in refused.items():
        name = str(materials.frame["id"].iloc[refused_row])
        refusal = DroppedRow(name, reason, _is_file(materials, refused_row))
        answers[refused_row] = _refusal(refusal)
    if len(keep):
        good = materials.take(keep)
        compositions = composition_vectors(good.crystals)
        candidates = toolbox.candidates(
            list(good.frame["formula"]), compositions, patterns, case="simulated"
        )
        screened = screen(candidates, toolbox.rules)
        nearest = toolbox.known.nearest(compositions)
        for position, row in enumerate(keep):
            index = nearest[position][0]
            answers[row] = _answer(good, position, screened[position], toolbox.known, index)
    return answers


def _answer(
    materials: Materials, row: int, screened: Screened, known: KnownMaterials, nearest: int
) -> dict[str, Any]:
    from matlode.data.structures import space_group_number

    candidate = screened.candidate
    return {
        **_name(str(materials.frame["id"].iloc[row]), is_file=_is_file(materials, row)),
        "formula": conventional_formula(candidate.formula),
        "space_group": space_group_number(materials.crystals, row),
        "predictions": {name: asdict(p) for name, p in candidate.predictions.items()},
        "verdicts": [asdict(verdict) for verdict in screened.verdicts],
        "verdict": "accepted" if screened.accepted else "rejected",
        "nearest_known": f"{conventional_formula(known.formulas[nearest])} ({known.ids[nearest]})",
        "error": None,
    }


def _is_file(materials: Materials, row: int) -> bool:
    return "is_file" in materials.frame and bool(materials.frame["is_file"].iloc[row])


def _refusal(dropped: DroppedRow) -> dict[str, Any]:
    return {
        **_name(dropped.id, is_file=dropped.is_file),
        "formula": None,
        "space_group": None,
        "predictions": {},
        "verdicts": [],
        "verdict": None,
        "nearest_known": None,
        "error": dropped.reason,
    }


def _name(name: str, *, is_file: bool) -> dict[str, str]:
    return {"file": name} if is_file else {"id": name}
