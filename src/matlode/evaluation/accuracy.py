"""Write the page of all scores from the results of the other commands."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from matlode.artefacts import find_model, load_header, write_text
from matlode.data.splits import SPLITS, TEST, Fold
from matlode.evaluation.accuracy_data import HeldOut, draw_accuracy_figures
from matlode.evaluation.accuracy_page import ScoreTable, render_accuracy_page
from matlode.evaluation.cross_validation import read_fold_rows
from matlode.evaluation.properties import stored_scores
from matlode.evaluation.score_row import ScoreRow
from matlode.evaluation.symmetry import N_PARTS, make_symmetry_rows
from matlode.evaluation.systematic_errors import write_systematic_errors
from matlode.progress import Progress, silent
from matlode.properties.network import NETWORK_MODEL
from matlode.screening.plausibility import PLAUSIBILITY_MODEL
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL, SYMMETRY_MODEL
from matlode.training.model_table import MODELS
from matlode.training.table import TrainingTable

PAGE = Path("docs/accuracy.md")
COMMAND = "matlode evaluate accuracy"
ERRORS_PAGE = "systematic-errors.md"
"""Page of systematic errors, beside the page of scores."""
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
    """Write the page ``out`` from the models' headers and from the results of ``matlode evaluate
    folds`` and ``evaluate symmetry`` in ``folds``; nothing is trained. Returns ``out``.

    With ``figures`` the models also predict the held-out rows of the table ``data`` (default:
    $MATLODE_DATA, else the starter set): figures are drawn into that folder, the page gets the
    scores of derived properties, which no header holds, and ERRORS_PAGE is written beside it.
    """
    header = load_header(find_model(NETWORK_MODEL, models))
    sha256 = header["trained_on"]["sha256"]
    table = TrainingTable.load(data) if figures else None
    same = table if table and table.sha256 == sha256 else None
    rows = [
        *stored_scores(models=models),
        *read_fold_rows(folds, sha256),
        *read_symmetry_rows(folds, models, sha256, same),
        *read_plausibility_rows(models),
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, str] = {}
    if table and figures:
        held = HeldOut.predict(table, models, progress)
        stored = {row.key for row in rows}
        split = header["split"] if same else f"test formulas of {table.source}"
        rows += [row for row in held.score_rows(split) if row.key not in stored]
        drawn = draw_accuracy_figures(figures, held, progress)
        pictures = {p.stem: os.path.relpath(p, out.parent) for p in drawn if p.suffix == ".png"}
        write_text(out.parent / ERRORS_PAGE, write_systematic_errors(held, command=COMMAND))
    scores = ScoreTable(rows, header["trained_on"])
    write_text(out, render_accuracy_page(scores, command=COMMAND, figures=pictures))
    return out


def read_symmetry_rows(
    folder: Path, models: Path | None, sha256: str, table: TrainingTable | None
) -> list[ScoreRow]:
    """Rows of the space-group classifier in use, and of the classifiers that ``measure_symmetry``
    scored in ``folder``. Test rows of the latter are counted in ``table``, if there is one."""
    header = load_header(find_model(SYMMETRY_MODEL, models))
    rows = make_symmetry_rows(
        "standard", header["scores"], split=header["split"], rows=header["test_rows"]
    )
    for file in sorted(folder.glob(f"*-space-group-*-{sha256[:12]}.json")):
        if found := SYMMETRY_FILE.fullmatch(file.stem):
            split = found["split"]
            n = None
            if table:
                n = int((Fold(split, 0, N_PARTS).roles(table.materials.frame) == TEST).sum())
            rows += make_symmetry_rows(
                MODELS[found["name"]].face,
                json.loads(file.read_text()),
                split=f"a tenth by {split.replace('_', ' ')}",
                rows=n,
            )
    return rows


def read_plausibility_rows(models: Path | None) -> list[ScoreRow]:
    """One row per kind of pattern that the screen was measured on."""
    header = load_header(find_model(PLAUSIBILITY_MODEL, models))
    return [
        ScoreRow(endpoint="pattern", model=case, rows=None, split=header["split"], scores=scores)
        for case, scores in header["scores"].items()
    ]
