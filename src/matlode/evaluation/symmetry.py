"""Scores of the space-group classifiers of both faces, on unseen rows or formulas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from matlode.artefacts import write_json
from matlode.data.splits import SPLITS, TEST, Fold
from matlode.errors import GoalError, suggest
from matlode.evaluation.score_row import ScoreRow
from matlode.latent.space import FACES
from matlode.progress import Progress, silent
from matlode.records import Face
from matlode.training.model_spec import ModelSpec
from matlode.training.model_table import MODELS
from matlode.training.recipes import fit_symmetry, score_symmetry_cases
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

N_PARTS = 10
"""One tenth of the rows (or formulas, ...) is the test set."""


def measure_symmetry(
    *,
    split: str = "random",
    faces: tuple[Face, ...] = FACES,
    data: Path | None = None,
    out: Path = Path("folds"),
    models: Path | None = None,
    epochs: int | None = None,
    progress: Progress = silent,
) -> list[ScoreRow]:
    """Train classifiers on nine tenths of a table and score them on the rest: one row per face
    and kind of input.

    The random split is the paper's; equal formulas are then in both parts. Scores that are in
    ``out`` already are read. Raises GoalError for an unknown split.
    """
    if split not in SPLITS:
        raise GoalError(f'unknown split "{split}". {suggest(split, SPLITS)}')
    whole = TrainingTable.load(data)
    table = replace(whole, fold=Fold(split, 0, N_PARTS))
    trainer = Trainer.of(table, out, progress, models=models)
    rows = []
    for face in faces:
        spec = find_symmetry_spec(face)
        file = out / f"{spec.name}-{split}-{whole.sha256[:12]}.json"
        if not file.exists():
            own = replace(spec, name=f"{spec.name}-{split}")
            if epochs is not None:
                own = own.with_settings({"max_epochs": epochs})
            assert own.network is not None
            classifier, _ = fit_symmetry(trainer, own, own.network())
            out.mkdir(parents=True, exist_ok=True)
            write_json(file, score_symmetry_cases(trainer, classifier))
            trainer.checkpoint(own.name).unlink(missing_ok=True)
        rows += make_symmetry_rows(
            face,
            json.loads(file.read_text()),
            split=f"a tenth by {split.replace('_', ' ')}",
            rows=int((table.roles == TEST).sum()),
        )
    return rows


def find_symmetry_spec(face: Face) -> ModelSpec:
    """The space-group classifier of a face."""
    return next(s for s in MODELS.values() if s.kind == "symmetry" and s.face == face)


def make_symmetry_rows(
    face: Face, cases: Mapping[str, Mapping[str, float]], *, split: str, rows: int | None
) -> list[ScoreRow]:
    """Rows of the scores of a classifier by input (``score_symmetry_cases``)."""
    return [
        ScoreRow(
            endpoint="space_group",
            model=f"{face}, {case}",
            face=face,
            given=case,
            rows=rows,
            split=split,
            scores=scores,
        )
        for case, scores in cases.items()
        # the reference ignores the composition
        if face == "standard" or case.endswith("without composition")
    ]
