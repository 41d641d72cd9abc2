"""What matlode says of given crystals: properties, verdicts, nearest known material."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from matlode.data.formulas import conventional_formula
from matlode.data.readers import material_parts, open_sources
from matlode.data.symmetry import find_space_group
from matlode.data.tables import Materials
from matlode.jobs.toolbox import Toolbox
from matlode.progress import Progress, silent
from matlode.records import DroppedRow
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_possible
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

    One dictionary per crystal, in order (those that cannot be read after the others of their
    part, of 1,024 or more): ``file`` or ``id``, ``formula``, ``space_group`` (of the
    structure, by moyopy), ``predictions`` {endpoint: {value, low, high, unit}}, ``verdicts``,
    ``nearest_known``, and ``error`` (None, or why there is nothing else). Files that cannot
    be read are answered, not raised; InputError only if a source does not exist.
    """
    return list(stream_predictions(sources, toolbox=toolbox, progress=progress))


def stream_predictions(
    sources: Sequence[str | Path] | Materials,
    *,
    toolbox: Toolbox | None = None,
    progress: Progress = silent,
) -> Iterator[dict[str, Any]]:
    """What ``predict`` answers, one by one; only a part of the sources is in memory at once."""
    toolbox = toolbox or Toolbox()
    if isinstance(sources, Materials):
        parts: Iterator[Materials] = _parts(sources)
        n_rows: float = len(sources) + len(sources.dropped)
    else:
        opened = open_sources(sources)
        # infinity, if one of them does not tell
        parts, n_rows = material_parts(opened, CHUNK), sum(source.n_rows for source in opened)
    return _answers(parts, toolbox, n_rows, progress)


def _parts(materials: Materials) -> Iterator[Materials]:
    for at in range(0, max(len(materials), 1), CHUNK):
        part = materials.take(np.arange(at, min(at + CHUNK, len(materials))))
        yield part if at + CHUNK >= len(materials) else replace(part, dropped=())


def _answers(
    parts: Iterable[Materials], toolbox: Toolbox, n_rows: float, progress: Progress
) -> Iterator[dict[str, Any]]:
    done = 0
    for part in parts:
        yield from _predict_chunk(part, toolbox)
        yield from map(_refusal, part.dropped)
        done += len(part) + len(part.dropped)
        progress("predict", done, n_rows)
    if done != n_rows:
        progress("predict", done, done)


def _predict_chunk(materials: Materials, toolbox: Toolbox) -> list[dict[str, Any]]:
    keep, patterns, refused = simulate_possible(materials.crystals)
    names = list(map(str, materials.frame["id"]))
    is_file = materials.frame.get("is_file", [False] * len(names))
    answers = [
        _refusal(DroppedRow(name, str(refused.get(row, "")), bool(of_file)))
        for row, (name, of_file) in enumerate(zip(names, is_file, strict=True))
    ]
    if len(keep):
        good = materials.take(keep)
        compositions = composition_vectors(good.crystals)
        candidates = toolbox.candidates(
            list(good.frame["formula"]), compositions, patterns, case="simulated"
        )
        screened = screen(candidates, toolbox.rules)
        nearest = toolbox.known.nearest(compositions)
        for position, row in enumerate(keep):
            group = find_space_group(good.crystals, position)
            index, _ = nearest[position]
            answers[row] |= _findings(screened[position], group, toolbox.known, index)
    return answers


def _findings(
    screened: Screened, space_group: int, known: KnownMaterials, nearest: int
) -> dict[str, Any]:
    candidate = screened.candidate
    return {
        "formula": conventional_formula(candidate.formula),
        "space_group": space_group,
        # quicker than dataclasses.asdict, which copies every number
        "predictions": {name: dict(vars(p)) for name, p in candidate.predictions.items()},
        "verdicts": [dict(vars(verdict)) for verdict in screened.verdicts],
        "verdict": "accepted" if screened.accepted else "rejected",
        "nearest_known": f"{conventional_formula(known.formulas[nearest])} ({known.ids[nearest]})",
        "error": None,
    }


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
