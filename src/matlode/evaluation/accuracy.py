"""The page of all scores, from what the other commands measured."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from matlode.artefacts import find_model, load_header, write_text
from matlode.data.splits import SPLITS, TEST, Fold
from matlode.evaluation.accuracy_data import HeldOut, draw_accuracy_figures
from matlode.evaluation.accuracy_page import Evidence, Row, accuracy_page
from matlode.evaluation.cross_validation import fold_rows
from matlode.evaluation.properties import stored_scores
from matlode.evaluation.symmetry import N_PARTS
from matlode.progress import Progress, silent
from matlode.properties.network import NETWORK_MODEL
from matlode.screening.plausibility import PLAUSIBILITY_MODEL
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL, SYMMETRY_MODEL
from matlode.training.table import TrainingTable

PAGE = Path("docs/accuracy.md")
COMMAND = "matlode evaluate accuracy"
SYMMETRY_FILE = re.compile(
    rf"(?P<name>{SYMMETRY_MODEL}|{REFERENCE_SYMMETRY_MODEL})-(?P<split>{'|'.join(SPLITS)})-(?P<sha>\w+)"
)


def write_accuracy(
    *,
    data: Path | None = None,
    models: Path | None = None,
    folds: Path = Path("folds"),
    figures: Path | None = None,
    out: Path = PAGE,
    progress: Progress = silent,
) -> Path:
    """Write the page ``out`` from the models' headers and from what ``matlode evaluate folds``
    and ``evaluate symmetry`` left in ``folds``; nothing is trained. Returns ``out``.

    With ``figures`` the models also predict the rows of the table ``data`` (default:
    $MATLODE_DATA, else the starter set) that they never saw: figures are drawn into that
    folder, and the page gets the scores of derived properties, which no header holds.
    """
    header = load_header(find_model(NETWORK_MODEL, models))
    sha256 = header["trained_on"]["sha256"]
    table = TrainingTable.load(data) if figures else None
    same = table if table and table.sha256 == sha256 else None
    rows = [
        *stored_scores(models=models),
        *fold_rows(folds, sha256),
        *symmetry_rows(folds, models, sha256, same),
        *plausibility_rows(models),
    ]
    pictures: dict[str, str] = {}
    if table and figures:
        held = HeldOut.predict(table, models, progress)
        stored = {(row["endpoint"], row["split"], row["model"]) for row in rows}
        split = header["split"] if same else f"test formulas of {table.source}"
        new = held.scores(split)
        rows += [r for r in new if (r["endpoint"], r["split"], r["model"]) not in stored]
        drawn = draw_accuracy_figures(figures, held, progress)
        pictures = {p.stem: os.path.relpath(p, out.parent) for p in drawn if p.suffix == ".png"}
    evidence = Evidence(rows, header["trained_on"])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, accuracy_page(evidence, command=COMMAND, figures=pictures))
    return out


def symmetry_rows(
    folder: Path, models: Path | None, sha256: str, table: TrainingTable | None
) -> list[Row]:
    """Rows of the shipped space-group classifier, and of those that ``measure_symmetry`` left
    in ``folder``; their row counts are known where the ``table`` is at hand."""
    header = load_header(find_model(SYMMETRY_MODEL, models))
    rows = _symmetry("standard", header["scores"], header["split"], header["test_rows"])
    for file in sorted(folder.glob(f"*-space-group-*-{sha256[:12]}.json")):
        if found := SYMMETRY_FILE.fullmatch(file.stem):
            split = found["split"]
            n = None
            if table:
                n = int((Fold(split, 0, N_PARTS).roles(table.materials.frame) == TEST).sum())
            label = f"a tenth by {split.replace('_', ' ')}"
            scores = json.loads(file.read_text())
            rows += _symmetry(found["name"].partition("-")[0], scores, label, n)
    return rows


def _symmetry(
    face: str, cases: Mapping[str, dict[str, float]], split: str, rows: int | None
) -> list[Row]:
    return [
        {
            "endpoint": "space_group",
            "model": f"{face}, {case}",
            "split": split,
            "rows": scores.get("rows", rows),
            "scores": scores,
        }
        for case, scores in cases.items()
        # the paper's does not look at the composition
        if face == "standard" or case.endswith("without composition")
    ]


def plausibility_rows(models: Path | None) -> list[Row]:
    """One row per kind of pattern that the screen was tried on."""
    header = load_header(find_model(PLAUSIBILITY_MODEL, models))
    return [
        {
            "endpoint": "pattern",
            "model": case,
            "split": header["split"],
            "rows": scores.get("rows"),
            "scores": scores,
        }
        for case, scores in header["scores"].items()
    ]
